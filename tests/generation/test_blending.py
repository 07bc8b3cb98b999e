"""Starting from two pictures at once, in latents and in pixels."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import pytest
import torch
from msgspec.structs import replace

from generation.engine import EngineError
from generation.engines.blending import slerp
from generation.imaging import decode_picture
from generation.protocol import Job, Setting
from tests.generation import test_diffusion as flow
from tests.generation import tiny
from tests.generation.test_clip_steered import picture

TEAL, RED = picture("teal"), picture("red")


def with_picture(job: Job, data: bytes) -> Job:
    sha256 = hashlib.sha256(data).hexdigest()
    recipe = replace(job.recipe, picture_sha256s=(sha256,))
    return replace(job, recipe=recipe, pictures={**job.pictures, sha256: data})


def blending(part: float | None = None, **asked: Any) -> Job:
    settings: dict[str, Setting] = {} if part is None else {"blend": part}
    return with_picture(flow.job(init=TEAL, settings=settings, **asked), RED)


def test_the_way_between_latents_keeps_their_length() -> None:
    random = torch.Generator().manual_seed(1)
    first, second = torch.randn(2, 4, 16, 16, generator=random)
    for part in (0.0, 0.25, 0.5, 1.0):
        mixed = slerp(first, second, part)
        least, most = sorted((float(first.norm()), float(second.norm())))
        assert 0.95 * least <= float(mixed.norm()) <= 1.05 * most
    assert torch.lerp(first, second, 0.5).norm() < 0.8 * first.norm()
    assert tiny.difference(slerp(first, second, 0.0), first) < 1e-5
    assert tiny.difference(slerp(first, second, 1.0), second) < 1e-5
    # A quarter of the way by angle, on the arc that both span.
    east, north = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    quarter = torch.tensor([math.cos(math.pi / 8), math.sin(math.pi / 8)])
    assert tiny.difference(slerp(east, north, 0.25), quarter) < 1e-6


def test_what_points_the_same_way_is_mixed_in_a_line() -> None:
    one = torch.ones(2, 2)
    assert tiny.difference(slerp(one, 3 * one, 0.5), 2 * one) < 1e-6
    assert slerp(torch.zeros(2, 2), one, 0.5).isfinite().all()


def test_diffusion_starts_from_both_pictures() -> None:
    drawing = flow.engine()
    starts = []
    for part in (0.0, 0.5, 1.0):
        run = drawing.begin(blending(part), None)
        assert run.start is not None
        starts.append(run.start.latents)
    alone = drawing.begin(flow.job(init=TEAL), None).start
    other = drawing.begin(flow.job(init=RED), None).start
    assert alone is not None and other is not None
    assert torch.equal(starts[0], alone.latents)
    assert tiny.difference(starts[1], slerp(alone.latents, other.latents, 0.5)) < 1e-6
    assert tiny.difference(starts[2], other.latents) < 1e-5
    # Half of each where nothing is said.
    usual = drawing.begin(blending(), None).start
    assert usual is not None and torch.equal(usual.latents, starts[1])


def test_a_blend_is_drawn_again_and_goes_on_from_its_checkpoint() -> None:
    drawing, asked = flow.engine(exact=True), blending(0.4, strength=0.6)
    run = drawing.begin(asked, None)
    for _ in range(4):
        drawing.step([run])
    saved = drawing.checkpoint(run)
    whole = flow.finish(drawing, run)
    assert flow.finish(drawing, drawing.begin(asked, None)) == whole
    assert flow.finish(drawing, drawing.begin(asked, saved)) == whole
    other = drawing.begin(blending(0.6, strength=0.6), None)
    assert flow.finish(drawing, other) != whole


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (with_picture(flow.job(), RED), "start from, too"),
        (replace(blending(), pictures=flow.job(init=TEAL).pictures), "did not come with it"),
        (with_picture(flow.job(init=TEAL, mask=picture("white")), RED), "Leave out the mask"),
        (with_picture(flow.job(init=TEAL, settings={"surround": 0.3}), RED), "Leave out the mask"),
        (with_picture(flow.job(init=TEAL), b"GIF89a"), "cannot be read"),
        (blending(1.5), "blend"),
    ],
)
def test_what_cannot_be_blended_is_said(asked: Job, sentence: str) -> None:
    with pytest.raises(EngineError, match=sentence):
        flow.engine().begin(asked, None)


def test_steered_canvases_start_from_the_mean_of_pixels() -> None:
    engine = tiny.engine("fourier")
    asked = tiny.job("fourier", init=TEAL, settings={"blend": 0.25})
    run = engine.begin(with_picture(asked, RED), None)
    size = run.size
    mean = torch.lerp(decode_picture(TEAL, *size), decode_picture(RED, *size), 0.25)
    assert tiny.difference(run.start.anchor["picture"], mean) < 1e-6
    usual = engine.begin(with_picture(tiny.job("fourier", init=TEAL), RED), None)
    assert tiny.difference(usual.start.anchor["picture"], decode_picture(TEAL, *size)) < 1e-6
