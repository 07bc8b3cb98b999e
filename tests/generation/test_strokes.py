"""Strokes: covered pixels against brute force, gradients against differences, SVG, the engine."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ElementTree

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from generation import starter
from generation.canvases import stroke_raster
from generation.canvases.stroke_raster import POINTS, Strokes, rasterise
from generation.canvases.strokes import STROKES_OPTION, StrokesCanvas
from generation.clip.chance import Streams, most_views
from generation.clip.cutouts import cut, plan
from generation.engines.clip_options import clip_options
from generation.engines.clip_run import ClipRun
from generation.engines.clip_steered import ClipSteeredEngine
from generation.protocol import EngineInfo, Job, ModelInfo, Steer
from tests.generation import tiny


def some_strokes(
    seed: int = 0, *, runs: int = 2, count: int = 12, side: float = 30.0, reach: float = 0.6
) -> Strokes:
    random = torch.Generator().manual_seed(seed)
    first = torch.rand(runs, count, 1, 2, generator=random)
    steps = (torch.rand(runs, count, POINTS - 1, 2, generator=random) - 0.5) * reach
    return Strokes(
        points=torch.cat([first, first + steps.cumsum(dim=2)], dim=2) * side,
        cubics=torch.randint(1, 4, (runs, count), generator=random),
        widths=1 + 5 * torch.rand(runs, count, generator=random),
        colours=torch.rand(runs, count, 4, generator=random),
    )


def reference(strokes: Strokes, run: int, width: int, height: int) -> np.ndarray:
    """Draw by looking from every pixel at 1,000 points of every cubic, one after another.

    They are at most 0.06 px apart, which is 0.03 of a distance, and 0.015 of what is covered.
    """
    y, x = np.meshgrid(np.arange(height) + 0.5, np.arange(width) + 0.5, indexing="ij")
    picture = np.ones((height, width, 3))
    t = np.linspace(0, 1, 1000)[:, None]
    for stroke in range(strokes.widths.shape[1]):
        points = strokes.points[run, stroke].double().numpy()
        square = np.full((height, width), np.inf)
        for cubic in range(int(strokes.cubics[run, stroke])):
            a, b, c, d = points[3 * cubic : 3 * cubic + 4]
            curve = (1 - t) ** 3 * a + 3 * (1 - t) ** 2 * t * b + 3 * (1 - t) * t**2 * c + t**3 * d
            for part in np.array_split(curve, 10):
                across, down = x[..., None] - part[:, 0], y[..., None] - part[:, 1]
                square = np.minimum(square, (across * across + down * down).min(axis=-1))
        away = float(strokes.widths[run, stroke]) / 2 - np.sqrt(square)
        cover = np.clip(away / 2 + 0.5, 0, 1)
        *colour, opacity = strokes.colours[run, stroke].double().tolist()
        alpha = (cover * opacity)[..., None]
        picture = picture * (1 - alpha) + alpha * np.array(colour)
    return picture.transpose(2, 0, 1)


@pytest.mark.parametrize(("width", "height"), [(32, 32), (37, 21)])
def test_pictures_are_those_of_brute_force(width: int, height: int) -> None:
    strokes = some_strokes()
    drawn = rasterise(strokes, width, height)
    assert drawn.shape == (2, 3, height, width)
    for run in range(2):
        expected = torch.from_numpy(reference(strokes, run, width, height)).float()
        # Where two branches of a stroke are almost equally near, the farther one may be found.
        off = (drawn[run] - expected).abs()
        assert float(off.mean()) < 3e-4 and float((off > 0.01).float().mean()) < 0.01


def test_gradients_are_those_of_small_differences() -> None:
    strokes = some_strokes(3, runs=1, count=4, side=20, reach=0.5)
    double = Strokes(
        strokes.points.double().requires_grad_(),
        strokes.cubics,
        strokes.widths.double().requires_grad_(),
        strokes.colours.double().requires_grad_(),
    )
    random = torch.Generator().manual_seed(1)
    look = torch.randn(1, 3, 20, 20, generator=random, dtype=torch.float64)
    leaves = {"points": double.points, "widths": double.widths, "colours": double.colours}
    found = torch.autograd.grad((rasterise(double, 20, 20) * look).sum(), list(leaves.values()))
    step = 1e-5
    for (name, leaf), gradient in zip(leaves.items(), found, strict=True):
        aside = torch.randn(leaf.shape, generator=random, dtype=torch.float64)
        with torch.no_grad():
            values = [
                (rasterise(_with(double, name, leaf + sign * step * aside), 20, 20) * look).sum()
                for sign in (1, -1)
            ]
        expected = float(values[0] - values[1]) / (2 * step)
        assert float((gradient * aside).sum()) == pytest.approx(expected, rel=2e-2)


def _with(strokes: Strokes, name: str, value: Tensor) -> Strokes:
    parts = {
        "points": strokes.points,
        "cubics": strokes.cubics,
        "widths": strokes.widths,
        "colours": strokes.colours,
    }
    return Strokes(**{**parts, name: value})


def test_an_opaque_stroke_hides_what_lies_below_and_gradients_know_it() -> None:
    points = torch.tensor([2.0, 8.0]).expand(1, 2, POINTS, 2).clone()
    points[..., 0] = torch.linspace(2, 14, POINTS)
    colours = torch.tensor([[[1.0, 0, 0, 1], [0, 0, 1, 1]]], requires_grad=True)
    strokes = Strokes(points, torch.full((1, 2), 3), torch.full((1, 2), 6.0), colours)
    drawn = rasterise(strokes, 16, 16)
    assert torch.equal(drawn[0, :, 8, 8], torch.tensor([0.0, 0, 1]))
    (gradient,) = torch.autograd.grad(drawn[0, :, 8, 8].sum(), colours)
    assert torch.equal(gradient[0, 0], torch.zeros(4)) and float(gradient[0, 1, 2]) == 1
    # The upper stroke's opacity trades blue (1) for red (1): nothing in the sum.
    assert float(gradient[0, 1, 3]) == pytest.approx(0)


def test_strokes_that_reach_nothing_leave_the_paper_white() -> None:
    strokes = some_strokes()
    away = Strokes(strokes.points + 500, strokes.cubics, strokes.widths, strokes.colours)
    assert torch.equal(rasterise(away, 24, 16), torch.ones(2, 3, 16, 24))


def test_working_in_small_groups_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    strokes = some_strokes(count=30)
    whole = rasterise(strokes, 40, 40)
    monkeypatch.setattr(stroke_raster, "_TOGETHER", {"cpu": 512})
    assert tiny.difference(rasterise(strokes, 40, 40), whole) < 1e-6


def test_strokes_start_within_their_bounds_and_the_seed_decides() -> None:
    canvas = StrokesCanvas(tiny.CPU)
    first, again, other = (
        canvas.start(64, 48, torch.Generator().manual_seed(seed), None, {"strokes": 40})
        for seed in (1, 1, 2)
    )
    assert first.parameters["points"].shape == (40, POINTS, 2)
    assert set(first.constants["cubics"].tolist()) == {1, 2, 3}
    assert torch.equal(first.parameters["points"], again.parameters["points"])
    assert not torch.equal(first.parameters["points"], other.parameters["points"])
    wild = {
        "points": torch.full((1, 2, POINTS, 2), -9e3),
        "widths": torch.tensor([[-3.0, 400.0]]),
        "colours": torch.tensor([[[-1.0, 0.5, 2.0, 9.0]] * 2]),
    }
    canvas.clamp(wild)
    assert wild["widths"].tolist() == [[1.0, 50.0]]
    assert wild["colours"][0, 0].tolist() == [0.0, 0.5, 1.0, 1.0]


def test_a_start_from_a_picture_looks_like_it() -> None:
    canvas = StrokesCanvas(tiny.CPU)
    picture = torch.zeros(3, 64, 96)
    picture[0, :, :48], picture[2, :, 48:] = 1.0, 1.0
    start = canvas.start(96, 64, torch.Generator().manual_seed(0), picture, {"strokes": 256})
    drawn = batched(canvas, start.parameters, start.constants, 96, 64)
    assert float((drawn - picture).abs().mean()) < 0.1
    plain = canvas.start(96, 64, torch.Generator().manual_seed(0), None, {"strokes": 256})
    white = batched(canvas, plain.parameters, plain.constants, 96, 64)
    assert float((white - picture).abs().mean()) > 0.4
    assert torch.equal(start.anchor["picture"], picture)


def test_the_svg_says_the_strokes_that_are_drawn() -> None:
    canvas = StrokesCanvas(tiny.CPU)
    start = canvas.start(112, 224, torch.Generator().manual_seed(5), None, {"strokes": 9})
    document = ElementTree.fromstring(canvas.svg(start.parameters, start.constants, 112, 224))
    assert document.attrib["viewBox"] == "0 0 112 224"
    paths = document.findall(".//{http://www.w3.org/2000/svg}path")
    assert len(paths) == 9
    for row, path in enumerate(paths):
        cubics = int(start.constants["cubics"][row])
        assert re.fullmatch(rf"M[-\d. ]+(C[-\d. ]+){{{cubics}}}", path.attrib["d"])
        numbers = [float(each) for each in re.findall(r"-?\d+\.\d+", path.attrib["d"])]
        used = start.parameters["points"][row, : 3 * cubics + 1] / 2  # 112 pixels for 224 units
        assert numbers == pytest.approx(used.flatten().tolist(), abs=0.006)
        assert float(path.attrib["stroke-width"]) == 0.5
        opacity = float(start.parameters["colours"][row, 3])
        assert float(path.attrib["stroke-opacity"]) == pytest.approx(opacity, abs=6e-4)


def test_the_svg_rendered_by_another_program_is_the_picture() -> None:
    resvg = pytest.importorskip("resvg_py")
    canvas = StrokesCanvas(tiny.CPU)
    picture = torch.rand(3, 96, 96, generator=torch.Generator().manual_seed(0))
    start = canvas.start(96, 96, torch.Generator().manual_seed(5), picture, {"strokes": 60})
    document = canvas.svg(start.parameters, start.constants, 96, 96)
    rendered = Image.open(io.BytesIO(bytes(resvg.svg_to_bytes(document)))).convert("RGB")
    theirs = torch.from_numpy(np.array(rendered)).permute(2, 0, 1) / 255
    ours = batched(canvas, start.parameters, start.constants, 96, 96)
    assert float((ours - theirs).abs().mean()) < 0.02


# --- crops for drawings ------------------------------------------------------------------------


def test_drawings_are_seen_askew_on_white() -> None:
    streams = Streams.seeded(1, tiny.CPU)
    drawn = plan("drawing", streams, count=6, size=16, width=64, height=64)
    black = cut("drawing", torch.zeros(1, 3, 64, 64), [drawn], [streams], 16)
    assert float(torch.minimum(black, 1 - black).max()) < 1e-5
    assert 0.02 < float(black.mean()) < 0.7
    views = most_views(torch.Generator().manual_seed(0), 500)
    area = views[:, 0, 0] * views[:, 1, 1]
    assert float(area.max()) <= 0.9001 and float(area.median()) > 0.7
    edges = views[:, :2, 2].abs() + torch.stack([views[:, 0, 0], views[:, 1, 1]], dim=1)
    assert float(edges.max()) <= 1.0001


# --- in the engine -----------------------------------------------------------------------------


def engine(*, exact: bool = False) -> ClipSteeredEngine:
    options = clip_options(
        tiny.Perceptors.names, cutouts=4, kind="drawing", learning_rate=1.0, start="chance"
    )
    info: EngineInfo = msgspec.structs.replace(
        tiny.engine().info,
        models=(ModelInfo(name="strokes", title="Strokes", licence="None"),),
        options=(*options, STROKES_OPTION),
    )
    return ClipSteeredEngine(
        info, lambda _name: StrokesCanvas(tiny.CPU), tiny.Perceptors(), device=tiny.CPU, exact=exact
    )


def job(seed: int = 1, **changes: object) -> Job:
    settings = {"strokes": 24, **changes.pop("settings", {})}  # type: ignore[dict-item]
    return tiny.job("strokes", seed=seed, settings=settings, **changes)  # type: ignore[arg-type]


def pixels(drawing: ClipSteeredEngine, run: ClipRun) -> Tensor:
    canvas = drawing._canvases["strokes"]
    with torch.no_grad():
        return batched(canvas, run.start.parameters, run.start.constants, 32, 32)  # type: ignore[arg-type]


def batched(
    canvas: StrokesCanvas,
    parameters: dict[str, Tensor],
    constants: dict[str, Tensor],
    width: int,
    height: int,
) -> Tensor:
    drawn: Tensor = canvas.draw(one_run(parameters), one_run(constants), width, height)
    return drawn[0]


def one_run(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value[None] for name, value in tensors.items()}


@pytest.mark.parametrize("exact", [False, True])
def test_company_changes_nothing(exact: bool) -> None:
    drawing = engine()
    alone = drawing.begin(job(steps=20, exact=exact), None)
    among = drawing.begin(job(steps=20, exact=exact), None)
    strangers = [drawing.begin(job(seed, steps=30, exact=exact), None) for seed in (7, 8)]
    drawing.steer(strangers[0], Steer(0, "a blue whale", 2))
    for step in range(10):
        drawing.step([alone])
        if step == 4:
            strangers[0] = drawing.begin(job(9, steps=30, exact=exact), None)
        drawing.step([strangers[0], among, strangers[1]])
        off = tiny.difference(pixels(drawing, alone), pixels(drawing, among))
        assert off == 0 if exact else off < 1e-4
    assert alone.step == 10


def test_a_drawing_is_resumed_and_comes_with_its_svg() -> None:
    drawing = engine()
    run = drawing.begin(job(steps=8), None)
    for _ in range(4):
        drawing.step([run])
    saved = drawing.checkpoint(run)
    resumed = engine()
    again = resumed.begin(job(steps=8), saved)
    for each, other in ((drawing, run), (resumed, again)):
        while not other.done:
            each.step([other])
    assert drawing.image(run).tobytes() == resumed.image(again).tobytes()
    (attachment,) = drawing.attachments(run)
    assert attachment.name == "drawing.svg" and attachment.media_type == "image/svg+xml"
    assert attachment.data.count(b"<path ") == 24
    pixelled = tiny.engine("fourier")
    assert pixelled.attachments(pixelled.begin(tiny.job("fourier"), None)) == ()


@pytest.mark.skipif("clip" not in starter.available(), reason="no starter CLIP in this checkout")
def test_strokes_draw_what_the_starter_clip_is_asked_for() -> None:
    from generation.engines.builders import shipped_models
    from generation.engines.perceptors import SharedPerceptors
    from generation.engines.strokes import build_strokes_clip
    from generation.models.library import Library

    perceptors = SharedPerceptors(Library(None, shipped_models()), tiny.CPU)
    drawing = build_strokes_clip(perceptors, tiny.CPU, exact=False)
    recipe_job = tiny.job(
        "strokes",
        prompt="green hills under a blue sky",
        steps=14,
        width=64,
        height=64,
        settings={"strokes": 48, "cutouts": 4, "start": "clouds"},
    )
    run = drawing.begin(recipe_job, None)
    before = drawing.score(run)
    while not run.done:
        drawing.step([run])
    assert before is not None and run.score is not None
    assert run.score > before + 0.1
