"""Where prompts hold, what mirrors what, and how a picture changes size: against known answers."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from typing import Any

import pytest
import torch
from msgspec.structs import replace
from torch import Tensor

from bot.prompts import pictures_in, without_pictures
from generation.canvases.clouds import clouds
from generation.clip.chance import Streams
from generation.clip.cutouts import cut, plan
from generation.clip.losses import prompt_loss
from generation.clip.perceptor import Perceptor
from generation.clip.places import place_shares, size_weights
from generation.clip.symmetry import edge_asymmetry, semantic_asymmetry, tone_asymmetry
from generation.engine import EngineError
from generation.engines import clip_prompts
from generation.engines.clip_prompts import embed_prompts, score
from generation.engines.clip_run import ClipRun
from generation.engines.clip_steered import ClipSteeredEngine
from generation.prompts import Place, Prompt, parse
from generation.protocol import Job, Steer, chosen_with_weights
from generation.schedules import Schedule, read_schedule
from tests.generation import tiny
from tests.generation.colours import colour_perceptor
from tests.generation.test_clip_steered import finish, picture, pixels

CPU = torch.device("cpu")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Shelf:
    """Two perceptors, and who holds them."""

    def __init__(self, **perceptors: Perceptor) -> None:
        self._perceptors = perceptors
        self.names = tuple(perceptors)
        self.held: Counter[str] = Counter()

    def acquire(self, name: str) -> Perceptor:
        if name not in self._perceptors:
            raise EngineError(f"no {name}")
        self.held[name] += 1
        return self._perceptors[name]

    def release(self, name: str) -> None:
        self.held[name] -= 1


def engine_of(shelf: Shelf, model: str = "fourier") -> ClipSteeredEngine:
    info = tiny.engine(model).info
    options = tuple(
        replace(option, choices=shelf.names, default=shelf.names[0])
        if option.name == "perceptor"
        else option
        for option in info.options
    )
    info = replace(info, options=options, max_side=128, max_pixels=128 * 128)
    return ClipSteeredEngine(info, tiny.make_canvas, shelf, device=CPU)


def in_colours(model: str = "fourier") -> ClipSteeredEngine:
    return engine_of(Shelf(colours=colour_perceptor()), model)


# --- schedules -------------------------------------------------------------------------------


def test_a_schedule_holds_from_its_steps_on() -> None:
    schedule = read_schedule("overview", " 0.25@40, 0.75@0 ,0.5@60", low=0, high=1)
    assert [schedule.at(step) for step in (0, 39, 40, 59, 60, 999)] == [
        0.75, 0.75, 0.25, 0.25, 0.5, 0.5,
    ]  # fmt: skip
    assert [schedule.since(step) for step in (0, 39, 40, 61)] == [0, 0, 40, 60]
    assert read_schedule("overview", "", low=0, high=1) == Schedule()
    assert read_schedule("overview", "0.5", low=0, high=1).at(7) == 0.5


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("2@0", "from 0 to 1"),
        ("nan@0", "from 0 to 1"),
        ("0.5@-1", "entries like"),
        ("x@0", "entries like"),
        ("0.5@1.5", "entries like"),
        ("0.5@5", "begin with"),
        ("0.5@0, 0.7@0", "another step"),
        (", ".join(f"0.5@{step}" for step in range(40)), "at most 32"),
    ],
)
def test_a_wrong_schedule_is_said_in_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(EngineError, match=sentence):
        read_schedule("overview", text, low=0, high=1)


# --- several perceptors ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", (("a", 1.0),)),
        ("a:2 + b-1:0.5", (("a", 2.0), ("b-1", 0.5))),
        ("a+b-1", (("a", 1.0), ("b-1", 1.0))),
        ("x:y:3", (("x:y", 3.0),)),
        ("x:y", (("x:y", 1.0),)),
        ("a + a", ()),
        ("a:0", ()),
        ("a:-1", ()),
        ("a:nan", ()),
        ("a:101", ()),
        ("a +", ()),
        ("c", ()),
        ("", ()),
    ],
)
def test_choices_with_weights(text: str, expected: tuple[tuple[str, float], ...]) -> None:
    assert chosen_with_weights(text, ("a", "b-1", "x:y")) == expected


def test_perceptors_are_loaded_together_and_let_go_of_together() -> None:
    shelf = Shelf(one=tiny.perceptor(), other=tiny.perceptor())
    engine = engine_of(shelf)
    recipes = [
        tiny.job("fourier", prompt="red", settings={"perceptor": text}).recipe
        for text in ("one", "one:3 + other", "other + one:3", "one:5 + other:1", "other:2 + one")
    ]
    keys = [engine.batch_key(recipe)[0] for recipe in recipes]
    assert keys == ["fourier", *["fourier+one+other"] * 3, "fourier+other+one"]
    for key in map(str, keys):
        engine.load(key)
    assert shelf.held == {"one": 3, "other": 2}
    several = engine.predict_bytes(recipes[1], 1)
    assert several > engine.predict_bytes(recipes[0], 1)
    for key in map(str, {*keys}):
        engine.unload(key)
    assert not +shelf.held


def test_one_that_is_missing_leaves_none_behind() -> None:
    shelf = Shelf(one=tiny.perceptor(), other=tiny.perceptor())
    engine = engine_of(shelf)
    del shelf._perceptors["other"]
    with pytest.raises(EngineError, match="no other"):
        engine.load("fourier+one+other")
    assert not +shelf.held


def test_perceptors_pull_by_their_shares() -> None:
    """One wants red, one is blind to colour: with all the weight on red, the picture is redder."""

    class Blind(torch.nn.Module):
        def encode_image(self, pictures: Tensor) -> Tensor:
            return pictures.flatten(1)[:, :2] * 0 + torch.tensor([1.0, 0.0])

        def encode_text(self, tokens: Tensor) -> Tensor:
            return torch.tensor([[1.0, 0.0]]).expand(len(tokens), 2)

    blind = Perceptor(Blind(), torch.tensor, size=16, mean=(0,) * 3, std=(1,) * 3, device=CPU)
    blind._tokenizer = lambda texts: torch.zeros(len(texts), dtype=torch.long)
    engine = engine_of(Shelf(colours=colour_perceptor(), void=blind))
    losses = {}
    for text in ("colours", "colours:3 + void", "colours + void"):
        job = tiny.job("fourier", prompt="red", settings={"perceptor": text}, steps=1)
        run = engine.begin(job, None)
        engine.step([run])
        assert run.loss is not None
        losses[text] = run.loss
    assert losses["colours:3 + void"] == pytest.approx(0.75 * losses["colours"], rel=1e-4)
    assert losses["colours + void"] == pytest.approx(0.5 * losses["colours"], rel=1e-4)


# --- pictures as prompts ---------------------------------------------------------------------


def job_with_pictures(prompt: str, *colours: str, **changes: Any) -> Job:
    drawn = [picture(colour) for colour in colours]
    names = tuple(hashlib.sha256(data).hexdigest() for data in drawn)
    job = tiny.job("fourier", prompt=prompt, picture_sha256s=names, **changes)
    return replace(job, pictures=job.pictures | dict(zip(names, drawn, strict=True)))


def test_a_picture_is_a_prompt_with_a_weight() -> None:
    engine = in_colours()
    run = engine.begin(job_with_pictures("Picture 2:0.5 | red:-1", "lime", "blue"), None)
    second, red, first = run.aims[0].first
    assert torch.allclose(second.embedding, torch.tensor([0.0, 0.0, 1.0]), atol=0.05)
    assert (second.weight, red.weight) == (0.5, -1.0)
    assert torch.allclose(first.embedding, torch.tensor([0.0, 1.0, 0.0]), atol=0.05)
    assert first.weight == 1, "the prompt does not speak of it"


def test_a_picture_draws_the_dream_towards_it() -> None:
    engine = in_colours()
    blue = engine.begin(job_with_pictures("picture 1", "blue", steps=30), None)
    finish(engine, blue)
    red, _, wanted = pixels(engine, blue).mean(dim=(1, 2)).tolist()
    assert wanted > red + 0.03
    assert blue.score is None, "no words to compare with"


def test_a_steer_may_speak_of_pictures_and_its_recipe_repeats_it() -> None:
    engine = in_colours()
    run = engine.begin(job_with_pictures("red | picture 1:0.1", "blue", steps=8), None)
    engine.step([run])
    engine.steer(run, Steer(0, "picture 1:2", 3))
    steered = finish(engine, run)
    again = job_with_pictures("red | picture 1:0.1", "blue", steps=8, steers=run.recipe.steers)
    assert finish(engine, engine.begin(again, None)) == steered


@pytest.mark.parametrize("number", [0, 2, 999])
def test_a_picture_that_is_not_there_is_said(number: int) -> None:
    with pytest.raises(EngineError, match=f"speaks of picture {number}, but there is only one"):
        in_colours().begin(job_with_pictures(f"picture {number}", "blue"), None)


def test_a_picture_that_did_not_come_along_is_said() -> None:
    job = replace(job_with_pictures("red", "blue"), pictures={})
    with pytest.raises(EngineError, match="did not come"):
        in_colours().begin(job, None)


def test_without_pictures_it_is_only_words() -> None:
    recipe = tiny.job(prompt="picture 1").recipe
    (target,) = embed_prompts(tiny.perceptor(), recipe, "picture 1")
    assert torch.equal(target.embedding, tiny.perceptor().encode_text(["picture 1"])[0])


# --- panorama --------------------------------------------------------------------------------


def test_slashes_put_prompts_side_by_side() -> None:
    assert parse("a:2 / b:-1:.5 / c | oil:0.5", placed=True) == (
        Prompt("a", 2.0, place=Place(0, 3)),
        Prompt("b", -1.0, 0.5, Place(1, 3)),
        Prompt("c", place=Place(2, 3)),
        Prompt("oil", 0.5),
    )
    assert parse("a / / c", placed=True) == (
        Prompt("a", place=Place(0, 3)),
        Prompt("c", place=Place(2, 3)),
    )
    assert parse("and/or", placed=True) == (Prompt("and/or"),)
    assert parse(r"a \/ b", placed=True) == (Prompt("a / b"),)
    assert parse("a / b") == (Prompt("a / b"),)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("wraps", [False, True])
def test_shares_of_a_list_sum_to_one_everywhere(count: int, wraps: bool) -> None:
    centres = torch.linspace(-1, 1, 41)
    views = torch.eye(3).repeat(41, 1, 1) * torch.tensor([0.1, 0.1, 1.0])
    views[:, 0, 2] = centres
    shares = torch.stack(
        [place_shares(Place(index, count), views, 0.3, wraps=wraps) for index in range(count)]
    )
    assert torch.allclose(shares.sum(dim=0), torch.ones(41), atol=1e-5)
    for index in range(count):
        view = views[:1].clone()
        view[:, 0, 2] = (index + 0.5) / count * 2 - 1  # its own middle
        assert float(place_shares(Place(index, count), view, wraps=wraps)) == pytest.approx(1)
    assert torch.equal(
        place_shares(Place(0, count), torch.eye(3)[None], wraps=wraps), torch.tensor([1 / count])
    )


@pytest.mark.parametrize("order", [("red", "green", "blue"), ("blue", "red"), ("green", "blue")])
def test_every_prompt_appears_where_it_was_put(order: tuple[str, ...]) -> None:
    engine = in_colours()
    job = tiny.job(
        "fourier",
        prompt=" / ".join(order),
        width=96,
        height=32,
        steps=40,
        settings={"panorama": True, "cutouts": 24},
    )
    run = engine.begin(job, None)
    finish(engine, run)
    parts = pixels(engine, run).mean(dim=1).tensor_split(len(order), dim=1)
    channels = ("red", "green", "blue")
    for part, colour in zip(parts, order, strict=True):
        assert channels[int(part.mean(dim=1).argmax())] == colour


def test_a_panoramas_score_compares_each_prompt_with_its_place() -> None:
    picture = torch.zeros(3, 8, 30)
    for column, channel in enumerate((0, 1, 2)):
        picture[channel, :, 10 * column : 10 * column + 10] = 1
    judge = colour_perceptor()

    def scored(prompt: str, *, placed: bool = True) -> float | None:
        return score(judge, tiny.job(prompt=prompt).recipe, picture, placed=placed)

    assert scored("red / green / blue") == pytest.approx(1, abs=1e-3)
    assert scored("green / blue / red") == pytest.approx(0, abs=1e-3)
    assert scored("red:3 / blue / blue") == pytest.approx(4 / 5, abs=1e-3)
    assert scored("red / / ") == pytest.approx(1, abs=1e-3)
    assert scored("red / green / blue | grey") == pytest.approx(1, abs=1e-2)
    assert scored("red", placed=False) == pytest.approx(3**-0.5, abs=1e-2)


def test_without_the_setting_a_slash_is_text() -> None:
    run = tiny.engine().begin(tiny.job(prompt="heaven / hell"), None)
    (target,) = run.aims[0].first
    assert target.place is None


def test_large_or_small_crops_count_more() -> None:
    views = torch.eye(3).repeat(2, 1, 1)
    views[1, :2, :2] /= 2
    assert torch.allclose(size_weights(views, 40, 40, 0.0), torch.ones(2))
    assert torch.allclose(size_weights(views, 40, 40, 1.0), torch.tensor([4 / 3, 2 / 3]))
    assert torch.allclose(size_weights(views, 40, 40, -1.0), torch.tensor([2 / 3, 4 / 3]))


def test_shares_weigh_each_crop_of_the_loss() -> None:
    crops = torch.nn.functional.normalize(torch.randn(1, 3, 8, generator=seeded()), dim=-1)
    aims = torch.nn.functional.normalize(torch.randn(1, 2, 8, generator=seeded(1)), dim=-1)
    weights, stops = torch.tensor([[1.0, -2.0]]), torch.full((1, 2), -torch.inf)
    only = torch.zeros(1, 3, 2)
    only[0, 1, 0] = 3.0
    expected = prompt_loss(crops[:, 1:2], aims[:, :1], weights[:, :1], stops[:, :1])
    assert torch.allclose(prompt_loss(crops, aims, weights, stops, only), expected)


# --- symmetry --------------------------------------------------------------------------------


def test_pairs_of_crops_lie_in_each_others_mirror_image() -> None:
    for kind in ("classic", "augmented", "scheduled"):
        views = plan(
            kind, Streams.seeded(3, CPU), count=7, size=16, width=60, height=40, pairs=True,
            overview=0.5,
        ).views  # fmt: skip
        first, second = views[:3], views[4:]
        assert torch.allclose(second[:, 0, 2], -first[:, 0, 2])
        assert torch.allclose(second[:, 1, 2], first[:, 1, 2])
        assert torch.allclose(second[:, 0, 0], first[:, 0, 0])


def test_tone_and_edges_of_a_symmetric_picture_are_symmetric() -> None:
    half = torch.rand(2, 3, 32, 20, generator=seeded())
    mirrored = torch.cat([half, half.flip(3)], dim=3)
    for measure in (edge_asymmetry, tone_asymmetry):
        assert float(measure(mirrored).abs().max()) < 1e-6
        noise = torch.rand(2, 3, 32, 40, generator=seeded())
        dark = torch.cat([noise[..., :20] * 0.1, noise[..., 20:]], dim=3)
        assert float(measure(dark).min()) > 1e-4
    colours = torch.zeros(1, 3, 32, 40, dtype=torch.float64)
    colours[..., 20:] = 0.5
    # Far from the middle the blur has both values: the mean is a little below their difference.
    assert 0.4 < float(tone_asymmetry(colours)) < 0.5
    assert float(tone_asymmetry(torch.flip(colours, (3,)))) == pytest.approx(
        float(tone_asymmetry(colours))
    )


def test_semantic_symmetry_of_known_embeddings() -> None:
    text = torch.eye(4, dtype=torch.float64)[:2]
    same = torch.tensor([0.0, 0.0, 0.3, 0.4], dtype=torch.float64)
    other = torch.tensor([0.0, 0.0, 0.4, -0.3], dtype=torch.float64)
    for beyond, expected in ((same, 0.0), (other, 1.0), (-same, 2.0)):
        crops = torch.stack([text[0] + same, text[1] + beyond])[None]
        assert float(semantic_asymmetry(crops, text[None])) == pytest.approx(expected, abs=1e-6)
    odd = torch.stack([text[0] + same, torch.ones(4), text[1] + same])[None]
    texts = torch.stack([text[0], torch.zeros(4), text[1]])[None]
    assert float(semantic_asymmetry(odd, texts)) == pytest.approx(0, abs=1e-6)


def test_what_one_side_shows_beyond_its_prompt_comes_to_the_other() -> None:
    """Left: red, with green in it. Right: blue. Then green is what is missing on the right."""
    judge = colour_perceptor()
    sides = torch.tensor([[0.8, 0.5, 0.1], [0.1, 0.1, 0.8]])[:, :, None, None]
    sides = sides.expand(2, 3, 16, 16).clone().requires_grad_()
    texts = judge.encode_text(["red", "blue"])[None]
    loss = semantic_asymmetry(judge.encode_image(sides)[None], texts)
    (gradient,) = torch.autograd.grad(loss.sum(), sides)
    green = gradient[1, 1].mean()
    assert float(green) < 0, "more green on the right brings them together"
    before = float(loss)
    for _ in range(200):
        loss = semantic_asymmetry(judge.encode_image(sides)[None], texts)
        (gradient,) = torch.autograd.grad(loss.sum(), sides)
        with torch.no_grad():
            sides[1] -= 20 * gradient[1]
    assert float(loss) < before / 2
    assert float(sides[1, 1].mean()) > 0.15


@pytest.mark.parametrize("symmetry", ["edge", "tone", "semantic"])
def test_a_symmetric_dream_is_more_symmetric(symmetry: str) -> None:
    engine = in_colours()
    found = {}
    for chosen in ("none", symmetry):
        job = tiny.job(
            "fourier",
            prompt="red / blue",
            width=64,
            steps=60,
            settings={
                "panorama": True,
                "symmetry": chosen,
                "symmetry_weight": 10.0,
                "cutouts": 8,
            },
        )
        run = engine.begin(job, None)
        finish(engine, run)
        found[chosen] = _asymmetry(symmetry, pixels(engine, run))
    assert found[symmetry] < 0.8 * found["none"]


def _asymmetry(symmetry: str, drawn: Tensor) -> float:
    if symmetry == "semantic":
        judge = colour_perceptor()
        left, right = drawn[:, :, :28], drawn[:, :, 36:]
        crops = torch.stack([judge.look(left), judge.look(right)])[None]
        return float(semantic_asymmetry(crops, judge.encode_text(["red", "blue"])[None]))
    measure = edge_asymmetry if symmetry == "edge" else tone_asymmetry
    return float(measure(drawn[None]))


# --- scheduled cutouts -----------------------------------------------------------------------


@pytest.mark.parametrize(("overview", "whole"), [(0.75, 6), (0.25, 2), (0.0, 0), (1.0, 8)])
def test_overviews_show_the_whole_and_some_crops_are_grey(overview: float, whole: int) -> None:
    streams = Streams.seeded(1, CPU)
    chosen = plan(
        "scheduled", streams, count=8, size=16, width=64, height=32, cut_pow=5.0,
        overview=overview, grey=0.5,
    )  # fmt: skip
    across = chosen.views[:, :2, 0].norm(dim=1)
    assert int((across > 0.9).sum()) == whole
    colourful = torch.rand(1, 3, 32, 64, generator=seeded())
    crops = cut("scheduled", colourful, [dataclasses.replace(chosen, noise=None)], [streams], 16)[0]
    spread = (crops.amax(dim=1) - crops.amin(dim=1)).amax(dim=(1, 2))
    assert int((spread < 1e-4).sum()) == whole // 2 + round(0.5 * (8 - whole))


def test_the_schedule_of_overviews_counts_in_steps() -> None:
    engine = tiny.engine("fourier")
    settings: dict[str, Any] = {"cutout_kind": "scheduled", "overview": "1@0, 0@3", "grey": ""}
    short = engine.begin(tiny.job("fourier", steps=4, settings=settings), None)
    long = engine.begin(tiny.job("fourier", steps=9, settings=settings), None)
    for _ in range(4):
        engine.step([short, long])
    assert tiny.difference(pixels(engine, short), pixels(engine, long)) < 1e-5


# --- tiling ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "factor"), [("vqgan", 4), ("dvae", 8)])
@pytest.mark.parametrize("tiling", ["across", "down", "both"])
def test_a_rolled_grid_of_codes_gives_the_rolled_picture(
    model: str, factor: int, tiling: str
) -> None:
    plain = tiny.make_canvas(model)
    tiled = plain.tiled(tiling)
    run = plain.start(48, 32, seeded(2), None)
    (name,) = run.parameters
    value = run.parameters[name][None]
    for axis, goes_on in ((3, tiling != "down"), (2, tiling != "across")):
        moved = {name: value.roll(2, dims=axis)}
        for canvas, seamless in ((tiled, goes_on), (plain, False)):
            with torch.no_grad():
                expected = canvas.draw({name: value}, {}, 48, 32).roll(2 * factor, dims=axis)
                drawn = canvas.draw(moved, {}, 48, 32)
            assert (tiny.difference(drawn, expected) < 1e-4) is seamless
    with torch.no_grad():
        # Nothing of it stays behind in the shared network.
        again = plain.draw({name: value}, {}, 48, 32)
        assert torch.equal(again, tiny.make_canvas(model).draw({name: value}, {}, 48, 32))


@pytest.mark.parametrize("tiling", ["none", "across", "down", "both"])
def test_clouds_go_on_at_the_opposite_edge(tiling: str) -> None:
    picture = clouds(90, 64, torch.Generator().manual_seed(3), tiling)
    for axis, ways in ((2, ("across", "both")), (1, ("down", "both"))):
        steepest = float(picture.diff(dim=axis).abs().max())
        seam = float((picture.select(axis, 0) - picture.select(axis, -1)).abs().max())
        assert (seam <= steepest) == (tiling in ways)


def test_a_tile_that_begins_with_clouds_has_no_seam() -> None:
    """A jump at the edge would stay: a spectrum draws it, and hardly a step reaches it."""
    settings: dict[str, Any] = {"tiling": "both", "start": "clouds", "cutouts": 4}
    engine = tiny.engine("fourier")
    run = engine.begin(tiny.job("fourier", steps=5, settings=settings), None)
    finish(engine, run)
    drawn = pixels(engine, run)
    for axis in (1, 2):
        seam = (drawn.select(axis, 0) - drawn.select(axis, -1)).abs().max()
        assert float(seam) <= float(drawn.diff(dim=axis).abs().max())


def test_crops_of_a_tiled_picture_lie_over_its_edges() -> None:
    """Red is wanted in the middle and blue at the edges; only across the seam is that in order."""
    engine = in_colours()
    job = tiny.job(
        "fourier",
        prompt="blue / red",
        width=96,
        steps=40,
        settings={"panorama": True, "cutouts": 24, "tiling": "across"},
    )
    run = engine.begin(job, None)
    finish(engine, run)
    red, _, blue = pixels(engine, run).mean(dim=1).unbind()
    left, right = slice(16, 32), slice(64, 80)
    assert blue[left].mean() > red[left].mean()
    assert red[right].mean() > blue[right].mean()
    # The crossing at the seam is as gentle as the one in the middle.
    share = red / (red + blue)
    assert abs(float(share[:4].mean() - share[-4:].mean())) < 0.25


# --- growing ---------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["fourier", "vqgan", "siren", "dvae"])
def test_a_picture_is_carried_from_size_to_size(model: str) -> None:
    engine = tiny.engine(model)
    settings: dict[str, Any] = {"sides": "16@0, 48@3, 32@5"}
    job = tiny.job(model, width=48, height=32, steps=7, settings=settings, init=picture())
    run = engine.begin(job, None)
    sizes = [run.size]
    while not run.done:
        engine.step([run])
        assert run.error is None
        sizes.append(run.size)
    small = (16, 16)  # no side is less than the engine's least
    last = (32, 24) if model == "dvae" else (32, 20)  # two thirds, in whole codes
    assert sizes == [small, small, small, (48, 32), (48, 32), last, last, last]
    assert engine.image(run).size == (48, 32)


def test_growing_keeps_what_is_seen() -> None:
    engine = tiny.engine("fourier")
    job = tiny.job("fourier", width=48, height=48, steps=9, settings={"sides": "24@0, 48@4"})
    run = engine.begin(job, None)
    for _ in range(3):
        engine.step([run])
    before = engine._drawn(run).clone()
    engine.step([run])
    assert run.size == (48, 48)
    assert all(not value.any() for value in run.exp_avg.values())
    after = engine._drawn(run)
    assert float((after - before).abs().mean()) < 0.1


@pytest.mark.parametrize("model", ["fourier", "siren"])
@pytest.mark.parametrize("at", [2, 3, 4, 6])
def test_a_run_that_grows_goes_on_from_its_checkpoint(model: str, at: int) -> None:
    engine = tiny.engine(model)
    job = tiny.job(
        model, steps=6, width=32, settings={"sides": "16@0, 32@3"}, init=picture(), strength=0.2
    )
    run = engine.begin(job, None)
    for _ in range(at):
        engine.step([run])
    saved = engine.checkpoint(run)
    expected = finish(engine, run)
    assert finish(engine, engine.begin(job, saved)) == expected


@pytest.mark.parametrize("model", ["fourier", "vqgan"])
@pytest.mark.parametrize(
    ("sides", "alike"),
    [("32@0, 32@4", "32@0"), ("31@0, 32@3, 31@6", "32@0"), ("16@0, 32@3, 31@6", "16@0, 32@3")],
)
def test_what_changes_no_size_changes_nothing(model: str, sides: str, alike: str) -> None:
    """Adam goes on with its moments, and so with its count of them. Sizes are whole eights here."""

    def drawn(text: str) -> bytes:
        engine = tiny.engine(model, exact=True)
        engine._info = replace(engine.info, size_multiple=8)
        return finish(
            engine, engine.begin(tiny.job(model, steps=9, settings={"sides": text}), None)
        )

    assert drawn(sides) == drawn(alike)
    assert alike == "32@0" or drawn(alike) != drawn("32@0")


def test_runs_of_several_sizes_share_a_key_and_not_their_pixels() -> None:
    engine = tiny.engine("fourier")
    job = tiny.job("fourier", steps=8, settings={"sides": "16@0, 32@4"})
    alone, among = engine.begin(job, None), engine.begin(job, None)
    ahead = engine.begin(tiny.job("fourier", seed=9, steps=8, settings=job.recipe.settings), None)
    for _ in range(3):
        engine.step([ahead])
    for _ in range(8):
        engine.step([alone])
        engine.step([run for run in (among, ahead) if not run.done])
    assert tiny.difference(pixels(engine, alone), pixels(engine, among)) < 1e-3


# --- sentences -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"sides": "64@0"}, "from 16 to 32"),
        ({"symmetry": "semantic", "tiling": "both"}, "left and a right edge"),
        ({"symmetry": "semantic", "cutout_kind": "pooled"}, "crops of both sides"),
        ({"symmetry": "semantic", "cutouts": 1}, "at least 2"),
        ({"perceptor": "tiny + tiny"}, "several of them"),
        ({"perceptor": "clip"}, "perceptor is one of tiny"),
        ({"overview": "many"}, "entries like"),
    ],
)
def test_what_does_not_go_together_is_said(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(EngineError, match=sentence):
        tiny.engine().begin(tiny.job(settings=settings), None)


def test_compositions_batch_and_steer_like_all_else() -> None:
    """In company the same, with every setting of composition at work."""
    engine = tiny.engine("fourier")
    settings: dict[str, Any] = {
        "panorama": True,
        "symmetry": "semantic",
        "tiling": "down",
        "crop_weighting": 1.0,
        "cutout_kind": "scheduled",
    }

    def begun(seed: int) -> ClipRun:
        job = tiny.job("fourier", seed=seed, steps=12, prompt="a fox / a cat", settings=settings)
        return engine.begin(job, None)

    alone, among, stranger = begun(1), begun(1), begun(2)
    engine.steer(stranger, Steer(0, "a whale / the sea / night", 3))
    for _ in range(10):
        engine.step([alone])
        engine.step([stranger, among])
    assert tiny.difference(pixels(engine, alone), pixels(engine, among)) < 1e-4


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("a fox | picture 1:0.60 | picture 2:0.40", "a fox"),
        ("Picture1 | a castle:2 | picture 12:-0.3:5", "a castle:2"),
        ("picture 1", ""),
        ("a picture 1:2 | picture 1 of a fox", "a picture 1:2 | picture 1 of a fox"),
    ],
)
def test_what_speaks_of_pictures_is_what_the_engines_read_as_that(text: str, left: str) -> None:
    assert without_pictures(text) == left
    count = len(parse(text)) - len(parse(left))
    spoken_of = [one for one in parse(text) if clip_prompts._PICTURE.fullmatch(one.text.strip())]
    assert len(spoken_of) == count
    numbers = {int("".join(filter(str.isdigit, one.text))) for one in spoken_of}
    assert pictures_in(text) == pictures_in(f"a sea / {text}", placed=True) == numbers
