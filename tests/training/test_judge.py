"""The judge tells pictures apart by what they show, and says so in figures."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from training import evaluate, judge
from training.shards import HELD_OUT, make_shard


def _pairs(count: int, concepts: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return features and text vectors of pairs that share one of a few concepts."""
    generator = torch.Generator().manual_seed(0)
    seen = torch.randn(concepts, 1280, generator=generator)
    said = F.normalize(torch.randn(concepts, 384, generator=generator), dim=-1)
    which = torch.arange(count) % concepts
    noise = torch.randn(count, 1280, generator=generator)
    return seen[which] + 0.3 * noise, said[which]


def test_heads_bring_pictures_and_their_words_together() -> None:
    features, vectors = _pairs(96, 12)
    heads = judge.fit(features[12:], vectors[12:], seed=0, epochs=20)
    with torch.no_grad():
        image, text = heads.images(features[:12]), heads.texts(vectors[:12])
    assert evaluate.retrieval(image, text)["top1"] >= 0.9
    untrained = judge.Heads().eval()
    with torch.no_grad():
        guess = evaluate.retrieval(untrained.images(features[:12]), untrained.texts(vectors[:12]))
    assert guess["top1"] <= 0.5


class _ByColour:
    """A judge that knows red, green and blue."""

    def images(self, pictures: torch.Tensor) -> torch.Tensor:
        return F.normalize(pictures.mean((2, 3)), dim=-1)

    def texts(self, texts: list[str]) -> torch.Tensor:
        return torch.tensor([[float(name in text) for name in ("red", "green", "blue")]
                             for text in texts])  # fmt: skip


def test_figures_are_told_by_kind(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_shard("square", HELD_OUT, 3)
    chosen = [("object", "red"), ("object", "green"), ("scene", "blue")]
    drawn = [Image.new("RGB", (32, 32), name) for name in ("red", "green", "red")]
    monkeypatch.setattr(judge, "load", lambda: None)
    assert evaluate.judged(drawn, chosen) == {}
    monkeypatch.setattr(judge, "load", _ByColour)
    monkeypatch.setattr(evaluate, "_HELD_OUT_COUNT", 3)
    figures = evaluate.judged(drawn, chosen)
    assert figures["judge_by_kind"]["object"]["top1"] == 1.0
    assert figures["judge_by_kind"]["scene"]["top1"] == 0.0
    assert figures["judge_on_drawn"]["top1"] == pytest.approx(2 / 3, abs=1e-3)
    assert figures["judge_on_drawn"]["top5"] == 1.0


def test_several_drawings_of_the_prompts_are_told_together_and_each(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_shard("square", HELD_OUT, 3)
    chosen = [("object", "red"), ("object", "green"), ("scene", "blue")]
    drawn = [Image.new("RGB", (32, 32), name) for name in ("red", "green", "red")]
    again = [Image.new("RGB", (32, 32), name) for name in ("blue", "green", "blue")]
    monkeypatch.setattr(judge, "load", _ByColour)
    monkeypatch.setattr(evaluate, "_HELD_OUT_COUNT", 3)
    figures = evaluate.judged([*drawn, *again], chosen, times=2)
    each = [turn["top1"] for turn in figures["judge_on_each_drawing"]]
    assert each == [pytest.approx(2 / 3, abs=1e-3), pytest.approx(2 / 3, abs=1e-3)]
    assert figures["judge_on_drawn"]["top1"] == pytest.approx(4 / 6, abs=1e-3)
    assert figures["judge_by_kind"]["object"]["top1"] == 0.75
    assert figures["judge_by_kind"]["scene"]["top1"] == 0.5
