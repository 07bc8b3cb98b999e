"""The script for a GPU keeps what its parts find, however they end, and makes the page of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu, gpu_parts, plain, report
from generation import starter as _starter

PAGE = f"# Page\n\nbefore\n\n{report.BEGIN}\nold\n{report.END}\n\nafter\n"


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Have parts that take no time: a program that stands in for `benchmarks.gpu_parts`."""
    (tmp_path / "parts.py").write_text(
        "import json, sys, time\n"
        "part, out = sys.argv[1], sys.argv[3]\n"
        "with open(out + '/figures.jsonl', 'a') as file:\n"
        "    file.write(json.dumps({'part': part, 'name': 'n', 'value': 1}) + '\\n')\n"
        "    if part == 'slow': file.write('{\"part\": ')\n"
        "if part == 'slow': time.sleep(60)\n"
        "if part == 'absent': print('no GPU'); sys.exit(77)\n"
        "if part == 'wrong': print('it is wrong'); sys.exit(1)\n"
    )
    monkeypatch.setattr(gpu, "SLICES", {"good": 20, "wrong": 20, "absent": 20, "slow": 4})
    monkeypatch.setattr(gpu, "PARTS_COMMAND", (sys.executable, str(tmp_path / "parts.py")))
    return tmp_path / "out"


def test_each_part_is_told_of_and_what_it_found_is_kept(few: Path) -> None:
    parts = ["wrong", "slow", "absent", "good"]
    found = gpu.run(few, device="cpu", tiny=True, seconds=60, parts=parts)
    assert json.loads((few / "gpu.json").read_text()) == found
    states = {name: about["state"] for name, about in found["parts"].items()}
    assert states == {"wrong": "failed", "slow": "cut", "absent": "skipped", "good": "ok"}
    assert found["parts"]["wrong"]["why"] == "it is wrong"
    figures = {name: about["figures"] for name, about in found["parts"].items()}
    assert figures == {name: {"n": 1} for name in parts}


def test_when_the_time_is_up_the_rest_is_left_out(few: Path) -> None:
    found = gpu.run(few, device="cpu", tiny=True, seconds=gpu.LEAST_S - 1, parts=["good"])
    assert found["parts"]["good"]["state"] == "left out"
    assert found["parts"]["good"]["figures"] == {}


def test_every_part_has_a_slice() -> None:
    assert list(gpu.SLICES) == list(gpu_parts.PARTS)


def test_what_is_to_be_carried_is_pinned() -> None:
    command = gpu.wheels("3.12")
    assert "--python-version 3.12" in command
    assert "msgspec==" in command and " torch==" not in command


def asked(part: str, out: Path) -> gpu_parts.Asked:
    return gpu_parts.Asked(part, torch.device("cpu"), tiny=True, seconds=60, out=out)


@pytest.mark.skipif("vqgan" not in _starter.available(), reason="the starter models are needed")
def test_memory_runs_out_and_all_is_drawn(tmp_path: Path) -> None:
    gpu_parts.out_of_memory(asked("out-of-memory", tmp_path))
    noted = [json.loads(line) for line in (tmp_path / "figures.jsonl").read_text().splitlines()]
    figures = {one["name"]: one["value"] for one in noted}
    assert figures["times that memory ran out"] >= 1 and figures["drawn"] == 4


def test_only_a_gpu_is_waited_for(tmp_path: Path) -> None:
    with pytest.raises(gpu_parts.NotHereError):
        gpu_parts.waiting(asked("waiting", tmp_path))


def test_both_sides_of_the_pair_draw_with_the_same_networks() -> None:
    both = plain.pair(torch.device("cpu"), tiny=True, side=64)
    model: Any = both.engine._load_model("")  # type: ignore[attr-defined]
    assert model._unet is both.pipeline.unet and model._vae is both.pipeline.vae


RESULTS: dict[str, Any] = {
    "device": "cuda",
    "tiny": False,
    "seconds": 400.0,
    "parts": {
        "machine": {
            "state": "ok",
            "why": "",
            "seconds": 9.0,
            "figures": {"name": "A card", "torch": "2.11"},
        },
        "step": {
            "state": "cut",
            "why": "too | long",
            "seconds": 90.0,
            "figures": {"1 together, it/s": 161.2},
        },
        "together": {
            "state": "ok",
            "why": "",
            "seconds": 90.0,
            "figures": {"ratio_to_classic": {"1": 5.0, "16": 11.0}},
        },
    },
}


def test_the_page_is_made_of_the_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, results = tmp_path / "page.md", tmp_path / "gpu.json"
    page.write_text(PAGE)
    results.write_text(json.dumps(RESULTS))
    assert report.main([str(results), "--page", str(page)]) == 0
    text = page.read_text()
    assert text.startswith("# Page\n\nbefore\n") and text.endswith("\n\nafter\n")
    assert "old" not in text and "A card" in text
    assert "| ≥ 150 it/s | 161 it/s | reached |" in text
    assert "| ≥ 12.0 × | 11.0 × | missed |" in text
    assert "| ≤ 10.0 % | not measured |  |" in text
    assert "too / long" in text
    assert report.main([str(results), "--page", str(page)]) == 0
    assert page.read_text() == text  # writing it again changes nothing

    results.write_text(json.dumps(RESULTS | {"tiny": True}))
    assert report.main([str(results), "--page", str(page)]) == 1
    assert "Run it without" in capsys.readouterr().err
    assert page.read_text() == text
    page.write_text("no marks")
    results.write_text(json.dumps(RESULTS))
    assert report.main([str(results), "--page", str(page)]) == 1


def test_the_page_of_the_project_has_the_marks() -> None:
    text = report.PAGE.read_text(encoding="utf-8")
    assert text.count(report.BEGIN) == text.count(report.END) == 1
