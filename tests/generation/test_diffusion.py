"""The diffusion engine: samplers against formulas, runs that share a call and stay their own."""

from __future__ import annotations

import hashlib
import io
import itertools
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st
from PIL import Image, ImageOps
from torch import Tensor, nn

from generation.engine import BadCheckpointError, EngineError
from generation.engines.conditions import join, most_rows
from generation.engines.diffusion import DiffusionEngine, DiffusionRun, diffusion_options
from generation.engines.samplers import euler, flow_times, heun
from generation.protocol import EngineInfo, Job, ModelInfo, Recipe, Setting, Steer
from tests.generation import tiny

STRANGERS = itertools.count(100)


class TinyFlow:
    """A network of the right shapes with random weights: attention to text, then convolutions."""

    latent_channels = 4
    factor = 8
    dtype = torch.float32

    def __init__(self) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.words = nn.Embedding(256, 8)
            self.inward = nn.Conv2d(4, 8, 3, padding=1)
            self.outward = nn.Conv2d(8, 4, 3, padding=1)
            self.to_picture = nn.Linear(4, 3)
            self.to_latents = nn.Linear(3, 4)
        self.calls: list[int] = []
        self.closed = False

    def encode_prompt(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        tokens = [torch.tensor([0, *text.encode()[:30]]) for text in texts]
        longest = max(len(each) for each in tokens)
        padded = torch.stack([F.pad(each, (0, longest - len(each))) for each in tokens])
        mask = torch.stack([torch.arange(longest) < len(each) for each in tokens])
        return self.words(padded), mask

    def velocity(self, latents: Tensor, t: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        self.calls.append(len(latents))
        weight = mask[..., None].float()
        text = (states * weight).sum(dim=1) / weight.sum(dim=1)
        inner = self.inward(latents) + text[:, :, None, None] + t.view(-1, 1, 1, 1)
        return self.outward(inner.sin())  # type: ignore[no-any-return]

    def encode(self, pictures: Tensor) -> Tensor:
        small = F.avg_pool2d(pictures, 8).permute(0, 2, 3, 1)
        return self.to_latents(small).permute(0, 3, 1, 2)  # type: ignore[no-any-return]

    def decode(self, latents: Tensor) -> Tensor:
        return F.interpolate(self.preview(latents), scale_factor=8)

    def preview(self, latents: Tensor) -> Tensor:
        return self.to_picture(latents.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).sigmoid()  # type: ignore[no-any-return]

    def score(self, picture: Tensor, text: str) -> float | None:
        return float(picture.mean())

    def close(self) -> None:
        self.closed = True


def engine(*, exact: bool = False) -> DiffusionEngine:
    info = EngineInfo(
        name="tiny-diffusion",
        title="Tiny diffusion",
        models=(ModelInfo(name="tiny", title="tiny", licence="MIT"),),
        default_width=32,
        default_height=32,
        min_side=16,
        max_side=512,
        max_pixels=512 * 512,
        size_multiple=16,
        default_steps=10,
        max_steps=50,
        guidance=4.0,
        takes_init=True,
        takes_mask=True,
        takes_negative=True,
        steerable=True,
        options=diffusion_options(),
    )
    return DiffusionEngine(info, lambda _: TinyFlow(), device=tiny.CPU, exact=exact)


def job(
    *,
    seed: int = 1,
    prompt: str = "a red fox",
    steps: int = 10,
    init: bytes | None = None,
    mask: bytes | None = None,
    settings: dict[str, Setting] | None = None,
    **recipe: Any,
) -> Job:
    names = {hashlib.sha256(each).hexdigest(): each for each in (init, mask) if each is not None}
    return Job(
        id=str(seed),
        recipe=Recipe(
            engine="tiny-diffusion",
            model="tiny",
            prompt=prompt,
            width=recipe.pop("width", 32),
            height=recipe.pop("height", 32),
            steps=steps,
            seed=seed,
            settings=settings or {},
            init_sha256=None if init is None else hashlib.sha256(init).hexdigest(),
            mask_sha256=None if mask is None else hashlib.sha256(mask).hexdigest(),
            **recipe,
        ),
        stream="s",
        person="p",
        pictures=names,
    )


def finish(drawing: DiffusionEngine, run: DiffusionRun) -> bytes:
    while not run.done:
        drawing.step([run])
    assert run.error is None
    return drawing.image(run).tobytes()


def stranger(drawing: DiffusionEngine, **changes: Any) -> DiffusionRun:
    seed = next(STRANGERS)
    prompt = f"stranger number {seed} | at night:2 | fog:-1"
    guidance = 1.0 + seed % 5
    settings: dict[str, Setting] = {"level_guidance": float(seed % 3)}
    return drawing.begin(
        job(
            seed=seed,
            prompt=prompt,
            steps=20 + seed % 7,
            guidance=guidance,
            **{"settings": settings} | changes,
        ),
        None,
    )


@pytest.mark.parametrize("level", [0.0, 1.0, 2.5, 30.0])
def test_the_mean_is_guided_no_more_than_it_may_be(level: float) -> None:
    drawing = engine()
    led, unled, away = (
        drawing.begin(job(guidance=guidance, settings={"level_guidance": level}), None)
        for guidance in (4.0, 1.0, 0.0)
    )
    latents, t = led.latents[None], torch.ones(1)
    guided, towards, from_there = (drawing._guided([run])(latents, t) for run in (led, unled, away))
    mean = (-2, -1)
    lead = towards - from_there
    if level < 1:  # then even what is not guided does not go as far
        lead = drawing._guided([drawing.begin(job(guidance=1.0), None)])(latents, t) - from_there
    means = from_there.mean(mean) + min(4.0, level) * lead.mean(mean)
    assert torch.allclose(guided.mean(mean), means, atol=1e-5)
    apart = lead - lead.mean(mean, keepdim=True)
    expected = from_there - from_there.mean(mean, keepdim=True) + 4.0 * apart
    assert torch.allclose(guided - guided.mean(mean, keepdim=True), expected, atol=1e-5)


def test_an_old_recipe_is_drawn_without_what_has_come_since() -> None:
    options = diffusion_options(level=2.0, guidance_end=0.5)
    drawing = DiffusionEngine(
        msgspec.structs.replace(engine().info, options=options),
        lambda _: TinyFlow(),
        device=tiny.CPU,
    )
    kinds: list[dict[str, Setting]] = [
        {},
        {"level_guidance": 30.0, "guidance_end": 0.0},
        {"level_guidance": 2.0},
        {"guidance_end": 0.5},
        drawing.info.defaults,
    ]
    old, told, *others = (
        finish(drawing, drawing.begin(job(settings=settings), None)) for settings in kinds
    )
    before = engine()
    assert old == told == finish(before, before.begin(job(), None))
    assert len({old, *others}) == 4


@pytest.mark.parametrize("strength", [1.0, 0.4])
def test_guidance_ends_when_so_much_of_the_noise_is_left(strength: float) -> None:
    file = io.BytesIO()
    Image.new("RGB", (32, 32), "orange").save(file, "PNG")
    init = None if strength == 1.0 else file.getvalue()
    drawing = engine()
    settings: dict[str, Setting] = {"guidance_end": 0.5}
    given = job(settings=settings, strength=strength, init=init)
    recipes = [
        msgspec.structs.replace(given.recipe, **changes)
        for changes in (
            {},
            {"guidance": 1.0},
            {"steers": (Steer(8, "a whale", 1),)},
            {"steers": (Steer(0, "a whale", 1),)},  # a film's stop
        )
    ]
    run, plain, steered, filmed = (
        drawing.begin(msgspec.structs.replace(given, recipe=recipe), None) for recipe in recipes
    )
    asked = []
    latents = run.latents[None]
    while not run.done:
        t = run.times[run.step][None]
        led, unled = (drawing._guided([each])(latents, t) for each in (run, plain))
        ended = float(run.times[run.step]) < 0.5 * strength
        assert torch.equal(led, unled) is ended
        # A kept recipe has its steers from the beginning, which then say nothing yet.
        asked.append(drawing._guidance_now(steered))
        assert drawing._guidance_now(filmed) == (1.0 if ended else 4.0)
        drawing.step([run, plain, steered, filmed])
    assert set(asked[:5]) == {4.0} and set(asked[6:8]) == {1.0} and set(asked[8:]) == {4.0}


# --- samplers --------------------------------------------------------------------------------


def test_times_go_from_the_start_to_zero() -> None:
    assert flow_times(4).tolist() == [1.0, 0.75, 0.5, 0.25, 0.0]
    shifted = flow_times(10, start=0.6, shift=3.0)
    assert float(shifted[0]) == pytest.approx(0.6) and float(shifted[-1]) == 0
    even = torch.linspace(1, 0, 11)
    assert torch.allclose(shifted, 0.6 * 3 * even / (1 + 2 * even), atol=1e-6)
    assert (shifted.diff() < 0).all()


@pytest.mark.parametrize(("sampler", "order"), [(euler, 1), (heun, 2)])
def test_samplers_converge_with_their_order(sampler: Any, order: int) -> None:
    """On dx/dt = −x·sin(3t)·3, whose solution is known, halving the step divides the error."""

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        return -3 * x * torch.sin(3 * t).view(-1, 1, 1, 1)

    start = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    exact = torch.exp(1 - torch.cos(torch.tensor(3.0, dtype=torch.float64)))
    errors = []
    for steps in (64, 128):
        x, times = start, torch.linspace(1, 0, steps + 1, dtype=torch.float64)
        for now, then in itertools.pairwise(times):
            x, _ = sampler(velocity, x, now.view(1), then.view(1))
        errors.append(float((x - start * exact).abs()))
    assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.15)


def test_the_denoised_estimate_is_the_picture_of_a_straight_flow() -> None:
    picture, noise = torch.randn(2, 2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    for sampler in (euler, heun):
        t, then = torch.tensor([0.8, 0.3]), torch.tensor([0.5, 0.0])
        wide = t.view(-1, 1, 1, 1)
        x, denoised = sampler(
            lambda *_: noise - picture, (1 - wide) * picture + wide * noise, t, then
        )
        assert torch.allclose(denoised, picture, atol=1e-5)
        wide = then.view(-1, 1, 1, 1)
        assert torch.allclose(x, (1 - wide) * picture + wide * noise, atol=1e-5)


# --- the engine ------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["euler", "heun"])
def test_a_dream_is_drawn_to_its_end(sampler: str) -> None:
    drawing = engine()
    run = drawing.begin(job(steps=4, width=48, settings={"sampler": sampler}), None)
    assert drawing.preview(run).size == (48, 32)
    finish(drawing, run)
    assert run.step == 4 and run.score is not None
    assert drawing.image(run).size == (48, 32)
    # The last denoised estimate is the last latents: nothing is left to remove.
    assert torch.allclose(run.latents, run.denoised, atol=1e-6)


def test_a_step_of_a_plain_prompt_is_classifier_free_guidance() -> None:
    drawing = engine()
    run = drawing.begin(job(guidance=3.0), None)
    before, t, then = run.latents.clone(), run.times[:1], run.times[1:2]
    drawing.step([run])
    network = TinyFlow()
    with torch.no_grad():
        towards = network.velocity(before[None], t, *network.encode_prompt(["a red fox"]))
        away = network.velocity(before[None], t, *network.encode_prompt([""]))
    expected = before + (then - t) * (away + 3.0 * (towards - away))[0]
    assert torch.allclose(run.latents, expected, atol=1e-5)


def test_weights_negatives_and_guidance_one() -> None:
    drawing = engine()
    network = TinyFlow()
    run = drawing.begin(job(prompt="fox:3 | owl | fog:-1", negative="text", guidance=2.0), None)
    before, t, then = run.latents.clone(), run.times[:1], run.times[1:2]
    drawing.step([run])
    with torch.no_grad():
        fox, owl, fog, text = (
            network.velocity(before[None], t, *network.encode_prompt([word]))[0]
            for word in ("fox", "owl", "fog", "text")
        )
    away = (fog + text) / 2
    expected = away + 2.0 * (0.75 * fox + 0.25 * owl - away)
    assert torch.allclose(run.latents, before + (then - t) * expected, atol=1e-5)
    plain = drawing.begin(job(guidance=1.0), None)
    model = drawing._models["tiny"]
    assert isinstance(model, TinyFlow)
    model.calls.clear()
    drawing.step([plain])
    assert model.calls == [1]


def test_a_negative_weight_counts_as_much_as_it_says() -> None:
    drawing, network = engine(), TinyFlow()
    for prompt, share in (
        ("fox | fog:-0.25", 0.25),
        ("fox:3 | owl | fog:-1", 0.25),
        ("fox | fog:-9", 1),
    ):
        run = drawing.begin(job(prompt=prompt, guidance=2.0), None)
        before, t = run.latents.clone(), run.times[:1]
        with torch.no_grad():
            fog, nothing = (
                network.velocity(before[None], t, *network.encode_prompt([word]))[0]
                for word in ("fog", "")
            )
            shares = {each.weight: each for each in run.away[0]}
        away = torch.stack(
            [
                weight * network.velocity(before[None], t, each.states[None], each.mask[None])[0]
                for weight, each in shares.items()
            ]
        ).sum(dim=0)
        assert torch.allclose(away, share * fog + (1 - share) * nothing, atol=1e-6)


@pytest.mark.parametrize("steered", [False, True])
def test_a_steer_says_what_to_keep_away_from(steered: bool) -> None:
    """Whether the recipe says it from the beginning or it comes in mid-drawing."""
    drawing, network = engine(), TinyFlow()
    steer = Steer(2, "owl | snow:-0.5", 4)
    run = drawing.begin(job(prompt="fox | fog:-1", steers=() if steered else (steer,)), None)
    for _ in range(2):
        drawing.step([run])
    if steered:
        drawing.steer(run, steer)
    run = drawing.begin(job(prompt="fox | fog:-1", steers=(steer,)), drawing.checkpoint(run))
    for part in (0.25, 0.5, 0.75, 1.0, 1.0):
        before, t, then = run.latents.clone(), *run.times[run.step : run.step + 2, None]
        drawing.step([run])
        with torch.no_grad():
            fox, owl, fog, snow, nothing = (
                network.velocity(before[None], t, *network.encode_prompt([word]))[0]
                for word in ("fox", "owl", "fog", "snow", "")
            )
        towards = torch.lerp(fox, owl, part)
        # Half of what it is led away from is nothing: the snow counts half as much as the owl.
        away = torch.lerp(fog, (snow + nothing) / 2, part)
        expected = before + (then - t) * (away + 4.0 * (towards - away))
        assert torch.allclose(run.latents, expected, atol=1e-5), part


def test_a_steer_that_keeps_away_from_the_same_asks_for_it_once() -> None:
    drawing = engine()
    for prompt, onward in (("fox", "owl"), ("fox | fog:-1", "owl | fog:-1")):
        plain = drawing.begin(job(prompt=prompt), None)
        run = drawing.begin(job(prompt=prompt, steers=(Steer(0, onward, 3),)), None)
        model = drawing._models["tiny"]
        assert isinstance(model, TinyFlow)
        model.calls.clear()
        drawing.step([plain])
        drawing.step([run])
        assert model.calls == [2, 3]


def test_what_is_said_twice_is_asked_for_once() -> None:
    drawing = engine()
    steer = Steer(0, "owl | wood", 3)
    for prompt, steers, rows in (("fox | owl | fox", (), 3), ("fox | wood", (steer,), 4)):
        run = drawing.begin(job(prompt=prompt, steers=steers), None)
        model = drawing._models["tiny"]
        assert isinstance(model, TinyFlow)
        model.calls.clear()
        drawing.step([run])
        assert model.calls == [rows]
    once, twice = (
        drawing.begin(job(prompt=prompt), None) for prompt in ("fox:2 | owl", "fox | owl | fox")
    )
    drawing.step([once])
    drawing.step([twice])
    assert torch.allclose(once.latents, twice.latents, atol=1e-5)


@given(
    texts=st.lists(
        st.lists(st.sampled_from(["a", "b", "c", "d:0.5", "e:-1", "f:-3", "a:0"]), max_size=5),
        min_size=1,
        max_size=5,
    ),
    times=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 6)), min_size=4, max_size=4),
    negative=st.sampled_from(["", "fog", "e | fog:0.5"]),
    guidance=st.sampled_from([0.0, 1.0, 4.0]),
    level=st.sampled_from([0.0, 1.0, 30.0]),
)
@tries(max_examples=60, deadline=None)
def test_no_step_asks_for_more_rows_than_is_predicted(
    texts: list[list[str]],
    times: list[tuple[int, int]],
    negative: str,
    guidance: float,
    level: float,
) -> None:
    first, *onward = (" | ".join(["fox", *parts]) for parts in texts)
    steers = tuple(
        Steer(step, text, glide) for text, (step, glide) in zip(onward, sorted(times), strict=False)
    )
    asking = job(prompt=first, steers=steers, negative=negative, guidance=guidance)
    run = engine().begin(asking, None)
    asked = []
    for run.step in range(10):
        rows = join([run], tiny.CPU, levels=[level])
        asked.append(len(rows.owned))
    assert max(asked) == most_rows(run.recipe, guidance, min(guidance, level))


def test_memory_is_predicted_by_what_is_asked_for() -> None:
    drawing = engine()
    few, many = (
        [
            drawing.predict_bytes(job(prompt=prompt, width=128, height=128).recipe, runs)
            for runs in (8, 16)
        ]
        for prompt in ("a", " | ".join("abcdefghijklmno"))
    )
    assert many[1] - many[0] == 8 * (few[1] - few[0]) > 0  # sixteen rows for two


def test_runs_at_different_steps_share_one_call() -> None:
    drawing = engine()
    early, late = drawing.begin(job(), None), drawing.begin(job(prompt="a | b", seed=2), None)
    drawing.step([late])
    model = drawing._models["tiny"]
    assert isinstance(model, TinyFlow)
    model.calls.clear()
    drawing.step([early, late])
    assert model.calls == [5]


def test_company_changes_no_more_than_the_last_digits() -> None:
    drawing = engine()
    alone, among = (drawing.begin(job(steps=20), None) for _ in range(2))
    strangers = [stranger(drawing) for _ in range(2)]
    for step in range(20):
        drawing.step([alone])
        if step in (3, 6):
            strangers.append(stranger(drawing))
        if step == 5:
            del strangers[0]
        drawing.step([*strangers[:1], among, *strangers[1:]])
    assert tiny.difference(alone.latents, among.latents) < 1e-4


def test_in_exact_mode_company_changes_nothing() -> None:
    drawing = engine()
    alone, among = (drawing.begin(job(exact=True), None) for _ in range(2))
    strangers = [stranger(drawing, exact=True) for _ in range(3)]
    drawing.steer(strangers[0], Steer(0, "a blue whale", 3))
    while not alone.done:
        drawing.step([alone])
        drawing.step([*strangers, among])
    assert torch.equal(alone.latents, among.latents)
    assert drawing.batch_key(job().recipe) != drawing.batch_key(job(exact=True).recipe)


def test_the_same_recipe_gives_the_same_pixels_and_the_seed_matters() -> None:
    first, second = engine(), engine()
    pixels = finish(first, first.begin(job(), None))
    assert finish(second, second.begin(job(), None)) == pixels
    assert finish(second, second.begin(job(seed=2), None)) != pixels


def test_a_checkpoint_goes_on_to_the_same_picture() -> None:
    drawing = engine()
    given = job(steers=(Steer(2, "a blue whale", 4),))
    run = drawing.begin(given, None)
    for _ in range(4):
        drawing.step([run])
    saved = drawing.checkpoint(run)
    expected = finish(drawing, run)
    other = engine()
    resumed = other.begin(given, saved)
    assert resumed.step == 4
    assert finish(other, resumed) == expected


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.95])
def test_a_damaged_checkpoint_is_refused(keep: float) -> None:
    drawing = engine()
    saved = drawing.checkpoint(drawing.begin(job(), None))
    with pytest.raises(BadCheckpointError):
        drawing.begin(job(), saved[: int(len(saved) * keep)])
    with pytest.raises(BadCheckpointError, match="width"):
        drawing.begin(job(width=64), saved)


@pytest.mark.parametrize("glide_steps", [0, 4])
def test_a_steer_changes_the_picture_and_its_recipe_repeats_it(glide_steps: int) -> None:
    drawing = engine()
    unsteered = finish(drawing, drawing.begin(job(), None))
    run = drawing.begin(job(), None)
    for _ in range(3):
        drawing.step([run])
    drawing.steer(run, Steer(0, "a blue whale", glide_steps))
    steered = finish(drawing, run)
    assert steered != unsteered
    repeated = job(steers=run.recipe.steers)
    assert finish(drawing, drawing.begin(repeated, None)) == steered
    with pytest.raises(EngineError, match="finished"):
        drawing.steer(run, Steer(0, "more"))


def test_a_run_that_falls_apart_takes_nobody_with_it() -> None:
    drawing = engine()
    runs = [drawing.begin(job(seed=seed), None) for seed in (1, 2, 3)]
    healthy = [drawing.begin(job(seed=seed), None) for seed in (1, 2, 3)]
    runs[1].latents = torch.full_like(runs[1].latents, float("nan"))
    for _ in range(3):
        drawing.step(runs)
        drawing.step(healthy)
    assert runs[1].error is not None and runs[1].step == 0
    for row in (0, 2):
        assert tiny.difference(runs[row].latents, healthy[row].latents) < 1e-5


def test_strength_says_how_much_of_a_picture_is_left() -> None:
    file = io.BytesIO()
    Image.new("RGB", (32, 32), "teal").save(file, "PNG")
    drawing = engine()
    away = []
    with torch.no_grad():
        start = TinyFlow().encode(
            torch.tensor([0, 128 / 255, 128 / 255]).view(1, 3, 1, 1).expand(1, 3, 32, 32)
        )
    for strength in (0.1, 0.5, 1.0):
        run = drawing.begin(job(init=file.getvalue(), strength=strength), None)
        assert float(run.times[0]) == pytest.approx(strength)
        away.append(float((run.latents - start[0]).abs().mean()))
    assert away == sorted(away)
    assert torch.equal(run.latents, drawing.begin(job(), None).latents)


@pytest.mark.parametrize("sampler", ["euler", "heun"])
def test_with_a_mask_only_what_is_white_is_drawn_anew(sampler: str) -> None:
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (32, 32, 3), generator=random, dtype=torch.uint8).numpy()
    picture, mask = io.BytesIO(), io.BytesIO()
    Image.fromarray(pixels).save(picture, "PNG")
    white = Image.new("L", (32, 32))
    white.paste(255, (16, 0, 32, 32))
    white.save(mask, "PNG")
    drawing = engine()
    settings: dict[str, Setting] = {"sampler": sampler}
    asked = job(init=picture.getvalue(), mask=mask.getvalue(), strength=0.8, settings=settings)
    run, other = drawing.begin(asked, None), drawing.begin(job(seed=9, settings=settings), None)
    saved = b""
    while not run.done:
        drawing.step([run, other])
        saved = saved or drawing.checkpoint(run)
    drawn = np.asarray(drawing.image(run))
    assert np.array_equal(drawn[:, :16], pixels[:, :16])
    assert np.abs(drawn[:, 16:].astype(int) - pixels[:, 16:]).mean() > 5
    # Where the picture stays, its latents have come back to it, too.
    assert run.start is not None
    assert torch.allclose(run.latents[:, :, :2], run.start.latents[:, :, :2])
    resumed = drawing.begin(asked, saved)
    while not resumed.done:
        drawing.step([resumed])
    assert tiny.difference(resumed.latents, run.latents) < 1e-4


def test_more_is_drawn_around_a_picture() -> None:
    file = io.BytesIO()
    Image.radial_gradient("L").resize((48, 64)).convert("RGB").save(file, "PNG")
    drawing = engine()
    asked = job(init=file.getvalue(), strength=1.0, settings={"surround": 0.5}, width=48, height=64)
    run = drawing.begin(asked, None)
    while not run.done:
        drawing.step([run])
    drawn = np.asarray(drawing.image(run)).astype(int)
    # A quarter of 48 pixels is 12; margins are whole latents of 8, and less than a third.
    small = ImageOps.fit(Image.open(file), (48 - 2 * 8, 64 - 2 * 16), Image.Resampling.LANCZOS)
    assert np.abs(drawn[16:-16, 8:-8] - np.asarray(small)).max() <= 1
    assert run.start is not None and run.start.hole is not None
    assert float(run.start.hole[:, 2:-2, 1:-1].max()) == 0
    assert float(run.start.hole.sum()) == 6 * 8 - 4 * 4
    alone = drawing.begin(job(init=file.getvalue(), strength=1.0, width=48, height=64), None)
    assert alone.start is not None and alone.start.hole is None


def test_the_least_that_is_drawn_around_a_picture_is_a_latent() -> None:
    file = io.BytesIO()
    Image.radial_gradient("L").resize((128, 64)).convert("RGB").save(file, "PNG")
    for surround in (0.01, 0.06, 0.13):
        settings: dict[str, Setting] = {"surround": surround}
        asked = job(init=file.getvalue(), strength=1.0, settings=settings, width=128, height=64)
        run = engine().begin(asked, None)
        assert run.start is not None and run.start.hole is not None
        assert float(run.start.hole[:, 1:-1, 1:-1].max()) == 0
        assert float(run.start.hole.sum()) == 16 * 8 - 14 * 6


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"settings": {"surround": 0.3}}, "Give a picture"),
        ({"mask": b"GIF89a"}, "Give that picture"),
        ({"prompt": "fog:-1"}, "nothing to draw"),
        ({"width": 40}, "multiples"),
        ({"steps": 51}, "steps"),
        ({"settings": {"sampler": "magic"}}, "one of euler, heun"),
        ({"init": b"GIF89a"}, "cannot be read"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_a_sentence(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(EngineError, match=sentence):
        engine().begin(job(**changes), None)


def test_large_previews_are_one_pixel_a_latent() -> None:
    drawing = engine()
    run = drawing.begin(job(width=512, height=256), None)
    assert drawing.preview(run).size == (64, 32)
    assert drawing.image(run).size == (512, 256)


def test_unloading_closes_the_model() -> None:
    drawing = engine()
    drawing.load("tiny")
    drawing.load("tiny")
    model = drawing._models["tiny"]
    assert isinstance(model, TinyFlow)
    drawing.unload("tiny")
    drawing.unload("tiny")
    assert model.closed
