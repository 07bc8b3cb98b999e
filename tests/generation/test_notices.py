"""What a person is told of words that a model does not read."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from generation.engine import Engine
from generation.engines import build_engines
from generation.engines.latent_diffusion import LatentDiffusionEngine, latent_options
from generation.engines.latent_kinds import build_latent_engines
from generation.engines.notices import lost_words
from generation.engines.perceptors import SharedPerceptors
from generation.engines.stable_diffusion import StableDiffusion
from generation.models.library import Library
from generation.prompts import words_beyond
from generation.protocol import EngineInfo, Job, ModelInfo, Recipe, Setting, Steer
from tests.generation import (
    test_guided,
    test_latent_diffusion,
    test_rudalle_engine,
    tiny,
    tiny_pipelines,
)

# Of the first 75 tokens of CLIP's tokenizer each of these words is one.
LONG = " ".join(["sea"] * 75 + ["tiger", "boat"])


@pytest.mark.parametrize("room", [0, 1, 4, 9, 10])
def test_words_are_lost_from_the_first_that_does_not_fit(room: int) -> None:
    text = "a bcd  ef ghij"

    def letters(part: str) -> int:
        return len(part.replace(" ", ""))

    lost = words_beyond(text, letters, room)
    kept = text.split()[: len(text.split()) - len(lost.split())]
    assert letters("".join(kept)) <= room
    assert lost == "" or letters("".join([*kept, lost.split()[0]])) > room
    assert [*kept, *lost.split()] == text.split()


def test_the_sentence_stays_short() -> None:
    assert lost_words("tiger boat").count("“tiger boat”") == 1
    assert len(lost_words("word " * 500)) < 300


def of_clip(prompt: str, negative: str = "", steers: tuple[Steer, ...] = ()) -> tuple[str, ...]:
    asked = tiny.job("vqgan", prompt=prompt, negative=negative, steers=steers)
    return tiny.engine().begin(asked, None).notices


def of_guided(prompt: str, negative: str = "", steers: tuple[Steer, ...] = ()) -> tuple[str, ...]:
    asked = test_guided.job(prompt=prompt, negative=negative, steers=steers)
    return test_guided.engine().begin(asked, None).notices


@functools.cache
def starter() -> Engine[Any]:
    return build_engines(device="cpu", models_dir=None, exact=False)["diffusion"]


def of_starter(prompt: str, negative: str = "", steers: tuple[Steer, ...] = ()) -> tuple[str, ...]:
    recipe = Recipe(
        engine="diffusion", model="starter-diffusion", prompt=prompt, negative=negative,
        width=64, height=64, steps=2, seed=1, steers=steers,
    )  # fmt: skip
    notices = starter().begin(Job(id="a", recipe=recipe, stream="s", person="p"), None).notices
    return tuple(notices)


@pytest.mark.parametrize("notices", [of_clip, of_guided, of_starter])
def test_words_beyond_the_models_length_are_named(notices: Callable[..., tuple[str, ...]]) -> None:
    fits = " ".join(["sea"] * 25)
    assert notices(fits) == ()
    (said,) = notices(LONG)
    assert "These words do not count" in said
    # Each part is read by itself, the negative one too.
    assert notices(f"{fits} | {fits}:0.5 | {fits}:0.1", fits) == ()
    assert "do not count" in notices("a fox", LONG)[0]
    # What is asked for last counts.
    assert notices(LONG, steers=(Steer(0, "a fox"),)) == ()
    assert "do not count" in notices("a fox", steers=(Steer(0, LONG),))[0]


def test_a_steer_changes_what_is_told() -> None:
    drawing = tiny.engine()
    run = drawing.begin(tiny.job("vqgan", prompt=LONG), None)
    assert "“tiger boat”" in run.notices[0]
    drawing.steer(run, Steer(0, "a fox"))
    assert not len(run.notices)
    drawing.steer(run, Steer(0, LONG))
    assert "tiger boat" in run.notices[0]


def test_what_is_read_in_pieces_is_read_whole(tmp_path: Path) -> None:
    tiny_pipelines.make(tmp_path / "sd")
    info = EngineInfo(
        name="tiny", title="Tiny", models=(ModelInfo(name="tiny", title="tiny", licence="MIT"),),
        default_width=32, default_height=32, min_side=16, max_side=64, max_pixels=4096,
        size_multiple=8, default_steps=4, max_steps=9, options=latent_options(),
    )  # fmt: skip
    drawing = LatentDiffusionEngine(
        info, lambda _: StableDiffusion(tmp_path / "sd", tiny.CPU), device=tiny.CPU
    )

    def begun(prompt: str) -> torch.Tensor:
        recipe = Recipe(
            engine="tiny", model="tiny", prompt=prompt, width=32, height=32, steps=2, seed=1
        )
        run = drawing.begin(Job(id="a", recipe=recipe, stream="s", person="p"), None)
        assert run.notices == ()
        return run.prompts[0][0].states

    # Its tokens are single letters here: both words at the end are in the last piece.
    assert not torch.equal(begun(f"{LONG}"), begun(LONG.replace("boat", "goat")))


@pytest.mark.parametrize(("kind", "keeps_away"), [("sd", True), ("lcm", False)])
def test_negative_words_count_or_the_person_is_told(
    kind: str, keeps_away: bool, tmp_path: Path
) -> None:
    tiny_pipelines.make(tmp_path / kind, kind)
    drawing = test_latent_diffusion.engine(tmp_path / kind)

    def drawn(prompt: str, negative: str = "") -> tuple[bytes, tuple[str, ...]]:
        settings: dict[str, Setting] = {"sampler": "lcm"}
        asked = test_latent_diffusion.job(prompt=prompt, negative=negative, settings=settings)
        run = drawing.begin(asked, None)
        return test_latent_diffusion.finish(drawing, run).tobytes(), run.notices

    plain, notices = drawn("a fox")
    assert notices == ()
    for prompt, negative in (("a fox", "fog"), ("a fox | fog:-1", "")):
        other, notices = drawn(prompt, negative)
        assert (other != plain) is keeps_away
        assert bool(notices) is not keeps_away
        assert keeps_away or "do not count: “fog”" in notices[0]
    run = drawing.begin(test_latent_diffusion.job(prompt="a fox | fog:-1"), None)
    drawing.steer(run, Steer(0, "a fox"))
    assert run.notices == ()


def test_what_takes_no_negative_words_does_not_offer_to(tmp_path: Path) -> None:
    library = Library(tmp_path)
    shared = SharedPerceptors(library, tiny.CPU)
    made = build_latent_engines(library, shared, tiny.CPU, exact=False)
    assert {each.info.name: each.info.takes_negative for each in made} == {
        "stable-diffusion": True,
        "stable-diffusion-xl": True,
        "turbo-diffusion": True,
        "consistency": False,
    }


def test_a_model_that_was_taught_russian_says_so() -> None:
    drawing = test_rudalle_engine.engine()
    (said,) = drawing.begin(test_rudalle_engine.job(prompt="a fox"), None).notices
    assert "reads Russian" in said
    lost, _ = drawing.begin(test_rudalle_engine.job(prompt="a fox in the snow"), None).notices
    assert "the snow”" in lost
    assert drawing.begin(test_rudalle_engine.job(prompt="лиса"), None).notices == ()
