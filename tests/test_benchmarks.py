"""The benchmarks measure like with like, and run."""

from __future__ import annotations

import argparse
import json

import pytest
import torch

from benchmarks import classic, company, find, search, step, wall
from bot.search import MOST
from generation.canvases.vqgan import VQGANCanvas
from training.lists import word_list

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def starter() -> step.Networks:
    return step.networks("starter", CPU)


def test_the_classic_loop_draws_and_steers_as_ours_does(starter: step.Networks) -> None:
    vqgan, perceptor, see = starter
    loop = classic.ClassicLoop(vqgan, perceptor, see, step.TEXT, side=64, cutouts=4, seed=3)
    z = loop._z.detach().clone()
    ours = VQGANCanvas(vqgan, CPU).draw({"z": z}, {}, 64, 64)
    assert torch.allclose(loop._picture(), ours, atol=1e-5)
    losses = [loop.step() for _ in range(6)]
    assert min(losses[3:]) < losses[0]
    assert not torch.equal(loop._z.detach(), z)


def test_resampling_keeps_a_flat_picture_flat() -> None:
    flat = torch.full((1, 3, 90, 90), 0.25)
    for size in (40, 90, 128):
        assert torch.allclose(
            classic.resample(flat, size), torch.tensor(0.25).expand(1, 3, size, size)
        )


def test_a_step_is_measured_against_the_classic_loop() -> None:
    arguments = argparse.Namespace(
        device="cpu", networks="starter", side=32, cutouts=2, runs=[1, 2], warmup=0, turns=1
    )
    found = step.measure(arguments)
    ratios = found["ratio_to_classic"]
    assert isinstance(ratios, dict)
    assert set(ratios) == {"classic", "ours, 1 together", "ours, 2 together"}
    assert ratios["classic"] == 1
    assert all(ratio > 0 for ratio in ratios.values())


def test_company_is_compared_with_being_alone(capsys: pytest.CaptureFixture[str]) -> None:
    company.main(
        ["--engine", "fourier-clip", "--side", "32", "--steps", "8", "--prompts", "1",
         "--precision", "fp32"]
    )  # fmt: skip
    found = json.loads(capsys.readouterr().out)
    assert found["prompts"] == 1
    assert 0 < found["first_steps"] < 1e-4
    assert found["mean_score"] == found["largest_score"] < 0.01


def test_the_words_to_be_found_are_held_out() -> None:
    held_out, development = (find.words_of(name) for name in ("held-out", "development"))
    assert len(held_out) == len(set(held_out)) == 50
    assert not set(held_out) & set(development)
    named = word_list("common_nouns") | word_list("further_nouns") | word_list("synonyms")
    for groups in find.SETS.values():
        assert not named & set(groups["nouns"])


def test_recall_counts_the_places_of_the_right_ones() -> None:
    assert find.recall([0, 0, 4, 5]) == {"at_1": 0.5, "at_5": 0.75}
    places = dict.fromkeys(find.words_of("held-out"), 9) | {"lynx": 0, "a golden key": 4}
    found = find.by_group("held-out", places)
    assert found["all"] == {"at_1": 0.02, "at_5": 0.04}
    assert found["nouns"] == {"at_1": 0.04, "at_5": 0.04}
    assert found["phrases"] == {"at_1": 0.0, "at_5": 0.04}


def test_a_search_is_measured_against_a_plain_product() -> None:
    found = search.measure(500, turns=1)
    ratios = found["ratio_to_plain"]
    assert isinstance(ratios, dict) and ratios["plain"] == 1 and "ours" in ratios
    vectors, wanted = search.made(500)
    best = sorted(range(500), key=lambda row: -float(vectors[row] @ wanted[0]))[:MOST]
    near = search.on_a_shelf(vectors, codes=True).nearest(wanted[0], MOST)
    assert [one.id for one in near] == [str(row) for row in best]


async def test_a_walls_watchers_are_counted_and_each_has_every_picture(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"SHORT": 50, "DREAMS": 3, "LOOKS": 1, "GAP_S": 0.03}.items():
        monkeypatch.setattr(f"benchmarks.wall.{name}", value)
    result = await wall.measure(60, 1, browser=False)
    for size in ("50", "60"):
        by_watchers = result["watched"][size]
        assert by_watchers["0"]["bytes_per_dream"] == 0
        # A watcher that has not had the end of each dream would be a KeyError.
        assert by_watchers["1"]["bytes_per_dream"] > 1000
        assert 0 < by_watchers["1"]["late_max_ms"] < 10_000
    assert result["pages"]["60"]["older, deep"]["bytes"] > 10_000
    wall.show(result)
    assert "one more watcher costs" in capsys.readouterr().out
