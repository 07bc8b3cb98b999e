"""Journeys: frames that ordinary recipes draw, in order, wherever they were interrupted."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec.structs import replace
from PIL import Image

from generation.engine import BadCheckpointError, Engine, EngineError, Run
from generation.engines.conditions import Condition, mixed, most_rows
from generation.engines.diffusion import DiffusionEngine, diffusion_options
from generation.engines.journeys import JourneyEngine, JourneyRun, with_journeys
from generation.films import Film
from generation.journeys import (
    frame_begin,
    frame_end,
    frame_recipe,
    journey_of,
    leg_of,
    value_at,
    whole_recipe,
)
from generation.moving import warped
from generation.protocol import (
    EngineInfo,
    FilmFormat,
    Finished,
    Job,
    Journey,
    JourneyInfo,
    JourneyKind,
    Key,
    ModelInfo,
    Recipe,
    Steer,
    Stop,
)
from tests.generation import test_deepdream, test_latent_diffusion, tiny, tiny_pipelines
from tests.generation.test_diffusion import TinyFlow
from tests.generation.test_worker import Bench

BOTH = (
    JourneyInfo(kind=JourneyKind.CAMERA, frame_steps=2, strength=0.5),
    JourneyInfo(kind=JourneyKind.WALK, frame_steps=2),
)
STOPS = (Stop(0, "a forest"), Stop(2, "the sea", 1), Stop(5, "snow", 2))


def journey(kind: JourneyKind = JourneyKind.CAMERA, **changes: Any) -> Journey:
    known: dict[str, Any] = {
        "kind": kind,
        "frames": 6,
        "frame_steps": 2,
        "stops": STOPS,
        "strength": 0.5,
    }
    if kind is JourneyKind.CAMERA:
        known["zoom"] = (Key(0, 1.1),)
    return Journey(**(known | changes))


def steered(model: str = "fourier") -> Engine[Any]:
    engine = tiny.engine(model)
    engine._info = replace(engine.info, journeys=BOTH)
    return JourneyEngine(engine)


def diffusing(flow: TinyFlow | None = None) -> Engine[Any]:
    info = EngineInfo(
        name="tiny",
        title="Tiny",
        models=(ModelInfo(name="flow", title="Flow", licence="MIT"),),
        default_width=32,
        default_height=32,
        min_side=16,
        max_side=64,
        max_pixels=64 * 64,
        size_multiple=8,
        default_steps=4,
        max_steps=50,
        guidance=2.0,
        takes_init=True,
        steerable=True,
        journeys=BOTH,
        options=diffusion_options(),
    )
    return JourneyEngine(DiffusionEngine(info, lambda _: flow or TinyFlow(), device=tiny.CPU))


def clip_job(trip: Journey, **changes: Any) -> Job:
    return tiny.job("fourier", steps=4, journey=trip, **changes)


def flow_job(trip: Journey | None, **changes: Any) -> Job:
    recipe = Recipe(
        engine="tiny", model="flow", prompt="a forest", width=32, height=32, steps=4, seed=3,
        guidance=2.0, journey=trip, **changes,
    )  # fmt: skip
    return Job(id="j", recipe=recipe, stream="s", person="p")


CASES: dict[str, tuple[Callable[[], Engine[Any]], Callable[[], Job]]] = {
    "steered camera": (steered, lambda: clip_job(journey())),
    "steered walk": (steered, lambda: clip_job(journey(JourneyKind.WALK))),
    "diffusion camera": (diffusing, lambda: flow_job(journey())),
    "diffusion walk": (diffusing, lambda: flow_job(journey(JourneyKind.WALK))),
}


def go(engine: Engine[Any], run: Run, until: int = 10_000) -> list[bytes]:
    """Take steps; return the frames that a film would have."""
    film, frames = Film.of(run.recipe), []
    while not run.done and run.step < until:
        engine.step([run])
        if film.wants(run.step):
            frames.append(engine.preview(run).tobytes())
    if run.error is not None:
        raise run.error
    return frames


def test_memory_is_predicted_for_the_leg_that_asks_for_most() -> None:
    stops = (
        Stop(0, "a forest"),
        Stop(2, "the sea | waves", 1),
        Stop(5, "snow | houses | pines", 2),
    )
    for kind in JourneyKind:
        flow = TinyFlow()
        drawing = diffusing(flow)
        assert isinstance(drawing, JourneyEngine)
        recipe = flow_job(journey(kind, stops=stops)).recipe
        asked = [most_rows(each, 2.0) for each in drawing._kinds_of_frames(recipe)]
        go(drawing, drawing.begin(flow_job(recipe.journey), None))
        assert max(asked) == max(flow.calls) == 6, "two, three, and nothing to keep away from"
        large = replace(recipe, width=512, height=512)
        plain = replace(large, journey=None)
        assert drawing.predict_bytes(large, 8) > drawing.predict_bytes(plain, 8)


# --- arithmetic ------------------------------------------------------------------------------


def test_movements_go_straight_from_key_to_key() -> None:
    keys = (Key(10, 3.0), Key(0, 1.0))
    assert [value_at(keys, frame, 0.0) for frame in (0, 5, 10, 99)] == [1.0, 2.0, 3.0, 3.0]
    assert value_at((Key(4, 2.0),), 0, 1.0) == 2.0 and value_at((), 7, 1.0) == 1.0


def test_frames_follow_each_other_without_a_gap() -> None:
    trip = journey()
    recipe = flow_job(trip).recipe
    ends = [frame_end(recipe, trip, frame) for frame in range(6)]
    assert ends == [4, 6, 8, 10, 12, 14] and recipe.last_step == 14
    assert [frame_begin(recipe, trip, frame) for frame in range(6)] == [0, *ends[:-1]]
    assert [leg_of(trip, frame) for frame in (0, 1, 2, 5)] == [(0, 0), (0, 0.5), (1, 0), (2, 0)]


def test_the_prompt_has_arrived_in_the_last_step_of_a_stops_frame() -> None:
    from generation.clip.targets import glide_part

    trip = journey(JourneyKind.WALK)
    recipe = flow_job(trip).recipe
    first, second = whole_recipe(recipe, trip).steers
    assert glide_part(first, 3) == 0 and glide_part(first, 4) > 0
    assert glide_part(first, 6) < 1 and glide_part(first, 7) == 1, "frame 2 ends at step 8"
    assert glide_part(second, 7) == 0 and glide_part(second, 13) == 1
    third = frame_recipe(recipe, trip, 3, "sha")
    assert third.prompt == "the sea" and third.steers[0].prompt == "snow"
    assert glide_part(third.steers[0], 0) == glide_part(second, 8)
    assert len({frame_recipe(recipe, trip, frame, "sha").seed for frame in range(1, 6)}) == 5


@pytest.mark.parametrize(
    "changes",
    [
        {"frames": 1},
        {"frames": 10_000},
        {"frame_steps": 0},
        {"rate": 0},
        {"stops": ()},
        {"stops": (Stop(1, "late"),)},
        {"stops": (Stop(0, "a"), Stop(0, "b"))},
        {"stops": (Stop(0, "a"), Stop(7, "beyond"))},
        {"stops": (Stop(0, "a", noise=10_000),)},
        {"zoom": (Key(0, 0.0),)},
        {"rotate": (Key(0, float("nan")),)},
    ],
)
def test_what_contradicts_itself_is_refused_with_a_sentence(changes: dict[str, Any]) -> None:
    with pytest.raises(EngineError, match=r"\.$"):
        journey_of(flow_job(journey(**changes)).recipe)
    with pytest.raises(EngineError):
        diffusing().begin(flow_job(journey(**changes)), None)


@pytest.mark.parametrize(
    ("kind", "changes", "sentence"),
    [
        (JourneyKind.CAMERA, {"frame_steps": 51}, "1 to 50 steps"),
        (JourneyKind.WALK, {"frame_steps": 51}, "1 to 50 steps"),
        (JourneyKind.CAMERA, {"stops": (*STOPS[:2], Stop(4, "fog:-1"))}, "nothing to draw"),
        (JourneyKind.WALK, {"stops": (*STOPS[:2], Stop(4, "fog:-1"))}, "nothing to draw"),
    ],
)
def test_what_cannot_be_drawn_later_is_refused_at_the_beginning(
    kind: JourneyKind, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(EngineError, match=f"frames after the first .*{sentence}"):
        diffusing().begin(flow_job(journey(kind, **changes)), None)


def test_a_dreams_frames_need_a_step_for_each_octave() -> None:
    dreaming = test_deepdream.engine()
    dreaming._info = replace(dreaming.info, journeys=BOTH[:1])
    plain = test_deepdream.job(steps=6)

    def begun(frame_steps: int) -> Run:
        trip = journey(frame_steps=frame_steps, stops=(Stop(0, ""),))
        job = replace(plain, recipe=replace(plain.recipe, journey=trip))
        return JourneyEngine(dreaming).begin(job, None)

    with pytest.raises(EngineError, match=r"frames after the first .*3 octaves need"):
        begun(2)
    assert begun(3).step == 0


def test_a_consistency_models_frames_have_as_many_steps_as_their_strength_leaves(
    tmp_path: Path,
) -> None:
    tiny_pipelines.make(tmp_path / "lcm", "lcm")
    drawing = test_latent_diffusion.engine(tmp_path / "lcm")
    drawing._info = replace(drawing.info, journeys=BOTH[:1])
    plain = test_latent_diffusion.job(settings={"sampler": "lcm"})

    def begun(strength: float) -> Run:
        trip = journey(frame_steps=4, strength=strength)
        job = replace(plain, recipe=replace(plain.recipe, journey=trip))
        return JourneyEngine(drawing).begin(job, None)

    with pytest.raises(EngineError, match=r"frames after the first .*at most 3 steps, not 4"):
        begun(0.06)
    assert begun(0.08).step == 0


def test_a_kind_that_an_engine_does_not_know_is_refused() -> None:
    engine = tiny.engine("fourier")
    engine._info = replace(engine.info, journeys=BOTH[1:])
    with pytest.raises(EngineError, match="another kind"):
        JourneyEngine(engine).begin(clip_job(journey()), None)
    assert isinstance(with_journeys({"a": engine})["a"], JourneyEngine)
    engine._info = replace(engine.info, journeys=())
    assert with_journeys({"a": engine})["a"] is engine


# --- the camera ------------------------------------------------------------------------------


def slope() -> torch.Tensor:
    """Return a picture whose red says x and whose green says y, both in pixels of 255."""
    y, x = torch.meshgrid(torch.arange(48.0), torch.arange(64.0), indexing="ij")
    return torch.stack([x, y, torch.zeros_like(x)]) / 255


def test_pixels_come_from_where_the_formula_says() -> None:
    def at(x: int, y: int, **move: float) -> tuple[float, float]:
        whole = {"zoom": 1.0, "pan_x": 0.0, "pan_y": 0.0, "rotate": 0.0} | move
        red, green, _ = (255 * warped(slope(), **whole)[:, y, x]).tolist()
        return red, green

    assert at(20, 10) == pytest.approx((20, 10), abs=0.01)
    assert at(20, 10, pan_x=0.125, pan_y=0.25) == pytest.approx((28, 22), abs=0.01)
    # The middle is (31.5, 23.5).
    assert at(41, 13, zoom=2.0) == pytest.approx((31.5 + 4.75, 23.5 - 5.25), abs=0.08)
    # Turned clockwise by a quarter, what is shown to the right of the middle was above it.
    assert at(40, 23, rotate=90.0) == pytest.approx((31.5 - 0.5, 23.5 - 8.5), abs=0.08)
    # Beyond the edge it is mirrored: x = −12.5 − ½ of a pixel's edge shows what lies at 11.5.
    assert at(0, 20, pan_x=-0.1953125)[0] == pytest.approx(11.5, abs=0.1)


def test_a_camera_moves_what_it_shows() -> None:
    """With hardly anything drawn over, a zoomed journey is the picture enlarged."""
    trip = journey(frames=4, strength=0.05, zoom=(Key(0, 1.25),), stops=STOPS[:1])
    engine = steered()
    job = clip_job(trip, settings={"learning_rate": 1e-6})
    run = engine.begin(job, None)
    frames = [Image.frombytes("RGB", (32, 32), frame) for frame in go(engine, run)]
    assert len(frames) == 4
    first = frames[0]
    factor = 1.25**3
    side = 32 / factor
    box = (16 - side / 2, 16 - side / 2, 16 + side / 2, 16 + side / 2)
    enlarged = first.resize((32, 32), Image.Resampling.BICUBIC, box=box)

    def apart(other: Image.Image) -> float:
        one, two = (torch.frombuffer(bytearray(p.tobytes()), dtype=torch.uint8).float()
                    for p in (frames[3], other))  # fmt: skip
        return float((one - two).abs().mean())

    assert apart(enlarged) < 0.5 * apart(first), (apart(enlarged), apart(first))


# --- every kind of engine ----------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_a_journey_has_all_its_frames_and_the_last_is_its_picture(case: str) -> None:
    make, job = CASES[case]
    engine = make()
    run = engine.begin(job(), None)
    frames = go(engine, run)
    assert len(frames) == 6 and len(set(frames)) == 6
    assert run.step == 14 and run.score is not None
    assert engine.image(run).tobytes() == frames[-1]
    again = make()
    assert go(again, again.begin(job(), None)) == frames


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("step", [2, 4, 7, 8, 13])
def test_it_goes_on_from_any_step_as_if_nothing_had_been(case: str, step: int) -> None:
    make, job = CASES[case]
    engine = make()
    run = engine.begin(job(), None)
    go(engine, run, step)
    saved = engine.checkpoint(run)
    rest = go(engine, run)
    other = make()
    resumed = other.begin(job(), saved)
    assert resumed.step == step
    assert go(other, resumed) == rest


@pytest.mark.parametrize("case", CASES)
def test_its_first_frame_is_the_picture_of_its_first_prompt(case: str) -> None:
    make, job = CASES[case]
    engine, plain = make(), make()
    (first, *_) = go(engine, engine.begin(job(), None))
    alone = replace(job(), recipe=replace(job().recipe, journey=None, prompt="a forest"))
    run = plain.begin(alone, None)
    assert not isinstance(run, JourneyRun)
    go(plain, run)
    assert plain.image(run).tobytes() == first


def test_a_walks_last_frame_is_the_picture_of_its_last_prompt_and_noise() -> None:
    engine = diffusing()
    frames = go(engine, engine.begin(flow_job(journey(JourneyKind.WALK, frame_steps=4)), None))
    there = (Stop(0, "snow"), Stop(5, "snow"))
    still = journey(JourneyKind.WALK, frame_steps=4, stops=there)
    unmoved = go(engine, engine.begin(flow_job(still), None))
    assert len(set(unmoved)) == 1, "the same prompt and the same noise are the same picture"
    assert frames[-1] != unmoved[-1], "it is of another noise"
    noise = journey(JourneyKind.WALK, frame_steps=4, stops=(Stop(0, "x", 2), Stop(5, "snow", 2)))
    assert go(engine, engine.begin(flow_job(noise), None))[-1] == frames[-1]


def test_a_walk_keeps_away_from_what_its_stops_do_and_is_scored_by_the_last() -> None:
    """It passes from one stop's negative weights to the next one's, as from prompt to prompt."""
    scored: list[str] = []

    class Scoring(TinyFlow):
        def score(self, picture: torch.Tensor, text: str) -> float | None:
            scored.append(text)
            return super().score(picture, text)

    def drawn(stops: tuple[Stop, ...]) -> list[bytes]:
        engine = diffusing(Scoring())
        trip = journey(JourneyKind.WALK, frames=3, frame_steps=4, stops=stops)
        return go(engine, engine.begin(flow_job(trip), None))

    def alone(prompt: str) -> bytes:
        engine = diffusing()
        plain = flow_job(None)
        run = engine.begin(replace(plain, recipe=replace(plain.recipe, prompt=prompt)), None)
        go(engine, run)
        return engine.image(run).tobytes()

    first, second = "a forest | fog:-1", "the sea | ships:-1"
    walk = drawn((Stop(0, first), Stop(2, second)))
    assert scored == ["a forest", "a forest", "the sea"]
    assert (walk[0], walk[2]) == (alone(first), alone(second))
    bare = drawn((Stop(0, "a forest"), Stop(2, "the sea")))
    leaving = drawn((Stop(0, first), Stop(2, "the sea")))
    coming = drawn((Stop(0, "a forest"), Stop(2, second)))
    assert len({each[1] for each in (walk, bare, leaving, coming)}) == 4
    assert leaving[2] == bare[2] and coming[0] == bare[0]


@pytest.mark.parametrize("case", CASES)
def test_a_steer_turns_the_rest_of_it_and_can_be_repeated(case: str) -> None:
    make, job = CASES[case]
    engine = make()
    run = engine.begin(job(), None)
    before = go(engine, run, 7)
    engine.steer(run, Steer(run.step, "fire", 2))
    assert run.recipe.steers == (Steer(7, "fire", 2),)
    saved = engine.checkpoint(run)
    after = go(engine, run)
    plain = make()
    assert go(plain, plain.begin(job(), None))[len(before) :] != after
    third = make()
    assert go(third, third.begin(replace(job(), recipe=run.recipe), None)) == before + after
    fourth = make()
    assert go(fourth, fourth.begin(replace(job(), recipe=run.recipe), saved)) == after
    with pytest.raises(EngineError, match="finished"):
        engine.steer(run, Steer(14, "too late"))


@pytest.mark.parametrize("case", CASES)
def test_a_steer_between_two_frames_is_the_next_ones(case: str) -> None:
    make, job = CASES[case]
    engine = make()
    run = engine.begin(job(), None)
    before = go(engine, run, 6)
    with pytest.raises(EngineError):
        engine.steer(run, Steer(run.step, ""))
    assert not run.done, "what cannot be drawn is refused, and the journey goes on"
    assert run.recipe.steers == ()
    engine.steer(run, Steer(run.step, "fire", 2))
    assert run.recipe.steers == (Steer(run.step, "fire", 2),)
    after = go(engine, run)
    again = make()
    assert go(again, again.begin(replace(job(), recipe=run.recipe), None)) == before + after


def test_it_shares_steps_with_pictures_and_neither_changes_the_other() -> None:
    engine = diffusing()
    alone = go(engine, engine.begin(flow_job(journey()), None))
    run = engine.begin(flow_job(journey()), None)
    plain = engine.begin(replace(flow_job(None), id="plain"), None)
    assert engine.batch_key(run.recipe) == engine.batch_key(plain.recipe)
    film, frames = Film.of(run.recipe), []
    while not run.done:
        engine.step([run, plain])
        if film.wants(run.step):
            frames.append(engine.preview(run).tobytes())
    assert plain.done and plain.error is None
    apart = [
        max(abs(a - b) for a, b in zip(one, other, strict=True))
        for one, other in zip(frames, alone, strict=True)
    ]
    assert max(apart) <= 2


def test_a_damaged_checkpoint_is_told_from_a_damaged_journey() -> None:
    engine = diffusing()
    run = engine.begin(flow_job(journey()), None)
    go(engine, run, 7)
    saved = engine.checkpoint(run)
    shorter = flow_job(journey(frames=1 + 1, stops=STOPS[:1]))
    for bad in (b"", b"nonsense", saved[: len(saved) // 2], saved[:-1]):
        with pytest.raises(BadCheckpointError):
            engine.begin(flow_job(journey()), bad)
    with pytest.raises(BadCheckpointError):
        engine.begin(shorter, engine.checkpoint(run).replace(b"\x93\x02", b"\x93\x07", 1))


# --- between two prompts -----------------------------------------------------------------------


def condition(length: int, value: float, weight: float = 1.0) -> Condition:
    return Condition(
        torch.full((length, 2), value), torch.ones(length, dtype=torch.bool), weight,
        torch.full((3,), value),
    )  # fmt: skip


def test_prompts_of_as_many_tokens_turn_into_each_other() -> None:
    (half,) = mixed([condition(4, 0.0)], [condition(4, 1.0)], 0.25)
    assert half.weight == 1 and torch.all(half.states == 0.25)
    assert half.pooled is not None and torch.all(half.pooled == 0.25)


def test_prompts_of_other_lengths_are_both_asked() -> None:
    one, other = mixed([condition(4, 0.0)], [condition(5, 1.0)], 0.25)
    assert (one.weight, other.weight) == (0.75, 0.25)
    assert mixed([condition(4, 0.0)], [condition(5, 1.0)], 1)[0].states.shape == (5, 2)
    alone, gone = mixed([condition(4, 0.0, 0.5), condition(3, 0.0, 0.5)], [condition(4, 1.0)], 0.5)
    assert alone.weight == 0.75 and gone.weight == 0.25


# --- in the worker -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FilmFormat)
def test_the_worker_hands_out_the_film_with_every_frame(kind: FilmFormat) -> None:
    engine = diffusing()
    bench = Bench()
    bench.worker._engines = {"tiny": engine}
    job = flow_job(journey(stops=STOPS[:2]), film_format=kind)
    model = ("tiny", engine.batch_key(job.recipe)[0])
    bench.advance(job, steps=5, model=model)
    bench.worker._encoder._pending = 1000  # so far behind that previews are left out
    bench.advance(held=("j",), steps=20, model=model)
    (finished,) = bench.heard(Finished)
    (film,) = finished.attachments
    assert film.name == f"journey.{kind}"
    with Image.open(io.BytesIO(finished.png)) as last:
        last.load()
    if kind is FilmFormat.MP4:
        import av

        with av.open(io.BytesIO(film.data), "r") as container:
            shown = [
                Image.fromarray(frame.to_ndarray(format="rgb24"))
                for frame in container.decode(video=0)
            ]
            assert container.streams.video[0].average_rate == 12
    else:
        opened = Image.open(io.BytesIO(film.data))
        shown = []
        for place in range(getattr(opened, "n_frames", 1)):
            opened.seek(place)
            shown.append(opened.convert("RGB"))
        assert opened.info["loop"] == 0
    assert len(shown) == 6 and shown[0].size == (64, 64)
    assert shown[-1].resize((1, 1)) != shown[0].resize((1, 1))
