"""An engine without torch, whose every mood can be ordered: slow, hung, crashing, out of memory.

Name it to a scheduler process as ``tests.fakes.engine:build_engines``. A recipe's `settings` say
how it behaves; see `FakeEngine.info` for what there is. Its picture depends on the recipe alone:
each step draws from the run's own random stream and mixes in the prompt of that step.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import struct
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from PIL import Image

from generation.engine import BadCheckpointError, BatchKey, Engine, EngineError, Run
from generation.protocol import EngineInfo, Job, ModelInfo, OptionInfo, Recipe, Steer

VERSION = 1
_STEP_S = float(os.environ.get("FAKE_STEP_S", "0"))  # where nobody can say it with a recipe


_HELD_S = 60.0
held: set[str] = set()
"""The jobs whose step in this process was, or is, held; and what a test sets to let them go on."""
let_go = threading.Event()


class OutOfMemoryError(RuntimeError):
    """Looks like torch's own."""


class State(msgspec.Struct):
    """What a checkpoint holds."""

    version: int
    step: int
    recipe: Recipe
    random_state: tuple[Any, ...]
    colour: tuple[float, float, float]


@dataclass
class FakeRun(Run):
    """A colour that wanders towards that of its prompt."""

    random: random.Random = field(default_factory=random.Random)
    colour: tuple[float, float, float] = (0.5, 0.5, 0.5)


def _options() -> tuple[OptionInfo, ...]:
    return (
        OptionInfo(name="step_s", help="Seconds that a step takes, as a start.", default=_STEP_S),
        OptionInfo(name="run_s", help="Seconds that each run adds to a step.", default=0.0),
        OptionInfo(name="hang_at", help="The step in which it hangs for ever.", default=-1),
        OptionInfo(name="hold_at", help="The step in which it waits for `let_go`.", default=-1),
        OptionInfo(name="crash_at", help="The step in which the process dies.", default=-1),
        OptionInfo(name="crash_attempts", help="In so many attempts it dies.", default=1_000_000),
        OptionInfo(name="raise_at", help="The step in which the whole batch fails.", default=-1),
        OptionInfo(name="error_at", help="The step in which this run fails.", default=-1),
        OptionInfo(name="oom_over", help="More runs than these do not fit.", default=1_000_000),
        OptionInfo(name="judge", help="What is loaded beside the model, if anything.", default=""),
        OptionInfo(name="begin", help="How beginning fails: error, raise, or not.", default=""),
        OptionInfo(name="show", help="How showing fails: raise, oom, or not.", default=""),
        OptionInfo(name="score", help="The score it ends with.", default=0.5),
    )


class FakeEyes:
    """Sees the mean colour of a picture, and reads ``#rrggbb`` as that colour, else as any."""

    names: tuple[str, ...] = ("colours", "stuck")

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, int]] = []
        self.rests = 0

    def look(
        self, name: str, pictures: Sequence[Image.Image], texts: Sequence[str]
    ) -> tuple[list[bytes], list[bytes]]:
        """Return unit vectors [3]; ``stuck`` never ends, an odd name is unknown, a word breaks."""
        self.asked.append((name, len(pictures), len(texts)))
        if name == "stuck":
            time.sleep(1e6)
        if name == "oom":
            raise OutOfMemoryError("the model does not fit")
        if name not in self.names:
            raise EngineError(f"There is no CLIP model called “{name}” on this machine.")
        if "a mistake" in texts:
            raise ValueError("a mistake")
        colours = [picture.resize((1, 1)).getpixel((0, 0)) for picture in pictures]
        wanted = [_colour_of(text) for text in texts]
        return [_unit(colour) for colour in colours], [_unit(colour) for colour in wanted]

    def rest(self) -> None:
        """Count it."""
        self.rests += 1


def _colour_of(text: str) -> bytes:
    if re.fullmatch(r"#[0-9a-f]{6}", text):
        return bytes.fromhex(text[1:])
    return hashlib.sha256(text.encode()).digest()[:3]


def _unit(colour: Any) -> bytes:
    length = sum(part * part for part in colour) ** 0.5 or 1.0
    return struct.pack("<3e", *(part / length for part in colour))


class FakeEngine:
    """See the module's docstring. `sleep` is a test's to replace; it has not got what it lacks."""

    def __init__(
        self,
        name: str = "fake",
        *,
        sleep: Callable[[float], None] = time.sleep,
        lacks: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.lacks = lacks
        self.sleep = sleep
        self.loaded: list[str] = []
        self.batches: list[tuple[str, ...]] = []
        self.eyes = FakeEyes()

    @property
    def info(self) -> EngineInfo:
        """What may be asked of it."""
        return EngineInfo(
            name=self.name,
            title="Fake",
            models=(
                ModelInfo(name="plain", title="Plain", licence="MIT"),
                ModelInfo(
                    name="other", title="Other", licence="MIT", available="other" not in self.lacks
                ),
                ModelInfo(
                    name="absent", title="Absent", licence="MIT", available=False, missing="No."
                ),
            ),
            default_width=64,
            default_height=64,
            min_side=8,
            max_side=1024,
            max_pixels=1024 * 1024,
            size_multiple=8,
            default_steps=20,
            max_steps=100_000,
            takes_init=True,
            takes_negative=True,
            steerable=True,
            continues=True,
            options=_options(),
        )

    def batch_key(self, recipe: Recipe) -> BatchKey:
        """Runs of one model, judge and size share a step."""
        return (self._model_key(recipe), recipe.width, recipe.height)

    def _model_key(self, recipe: Recipe) -> str:
        judge = recipe.settings.get("judge", "")
        return f"{recipe.model}+{judge}" if judge else recipe.model

    def predict_bytes(self, recipe: Recipe, runs: int) -> int:
        """Count 100 bytes a pixel."""
        return 100 * recipe.width * recipe.height * runs

    def load(self, model: str) -> None:
        """Load nothing; ``absent`` cannot be had."""
        if model == "absent":
            raise EngineError("The weights of absent are not here.")
        if model not in self.loaded:
            self.loaded.append(model)

    def unload(self, model: str) -> None:
        """Forget the model."""
        self.loaded.remove(model)

    def begin(self, job: Job, checkpoint: bytes | None) -> FakeRun:
        """Begin, or go on from a checkpoint."""
        mood = job.recipe.settings.get("begin", "")
        if mood == "error":
            raise EngineError("This cannot be drawn.")
        if mood == "raise":
            raise RuntimeError("an error in begin")
        run = FakeRun(job, job.recipe, random=random.Random(job.recipe.seed))
        if checkpoint is not None:
            try:
                state = msgspec.msgpack.decode(checkpoint, type=State)
            except msgspec.MsgspecError as error:
                raise BadCheckpointError("The checkpoint is damaged.") from error
            if state.version != VERSION:
                raise BadCheckpointError("The checkpoint is of another version.")
            version, internal, gauss = state.random_state
            run.random.setstate((version, tuple(internal), gauss))
            run.step, run.colour = state.step, state.colour
        return run

    def step(self, runs: Sequence[FakeRun]) -> None:
        """Advance each run, in the moods that their settings order."""
        assert len({self.batch_key(run.recipe) for run in runs}) == 1
        assert all(self._model_key(run.recipe) in self.loaded for run in runs)
        self.batches.append(tuple(run.job.id for run in runs))
        moods = [run.recipe.settings for run in runs]
        for run, mood in zip(runs, moods, strict=True):
            if run.step == mood.get("hang_at", -1):
                time.sleep(1e6)
            if run.step == mood.get("hold_at", -1):
                held.add(run.job.id)
                let_go.wait(_HELD_S)
            attempts = int(mood.get("crash_attempts", 1_000_000))
            if run.step == mood.get("crash_at", -1) and run.job.attempt < attempts:
                os._exit(77)
            if run.step == mood.get("raise_at", -1):
                raise RuntimeError(f"an error in step {run.step} of {run.job.id}")
            if len(runs) > int(mood.get("oom_over", 1_000_000)):
                raise OutOfMemoryError(f"{len(runs)} runs are too many")
        seconds = max(float(mood.get("step_s", 0.0)) for mood in moods)
        seconds += sum(float(mood.get("run_s", 0.0)) for mood in moods)
        if seconds:
            self.sleep(seconds)
        for run, mood in zip(runs, moods, strict=True):
            if run.step == mood.get("error_at", -1):
                run.error = EngineError("The loss is not a number.")
                continue
            target = _colour(_prompt(run.recipe, run.step))
            red, green, blue = (
                0.9 * here + 0.1 * there + run.random.uniform(-0.02, 0.02)
                for here, there in zip(run.colour, target, strict=True)
            )
            run.colour = (red, green, blue)
            run.step += 1
            run.loss = 1.0 / run.step
            if run.step == run.recipe.steps:
                run.score = float(mood.get("score", 0.5))

    def image(self, run: FakeRun) -> Image.Image:
        """Return a flat picture of the run's colour."""
        mood = run.recipe.settings.get("show", "")
        if mood == "raise":
            raise RuntimeError("an error in image")
        if mood == "oom":
            raise OutOfMemoryError("the picture does not fit")
        red, green, blue = (max(0, min(255, round(255 * part))) for part in run.colour)
        return Image.new("RGB", (run.recipe.width, run.recipe.height), (red, green, blue))

    def preview(self, run: FakeRun) -> Image.Image:
        """Return the same."""
        return self.image(run)

    def steer(self, run: FakeRun, steer: Steer) -> None:
        """Take any prompt but an empty one."""
        if not steer.prompt.strip():
            raise EngineError("There must be a prompt.")
        steers = (*run.recipe.steers, steer)
        run.recipe = msgspec.structs.replace(run.recipe, steers=steers)

    def checkpoint(self, run: FakeRun) -> bytes:
        """Save all there is."""
        state = State(VERSION, run.step, run.recipe, run.random.getstate(), run.colour)
        return msgspec.msgpack.encode(state)


def _prompt(recipe: Recipe, step: int) -> str:
    prompt = recipe.prompt
    for steer in recipe.steers:
        if step >= steer.step:
            prompt = steer.prompt
    return prompt


def _colour(prompt: str) -> tuple[float, float, float]:
    hashed = zlib.crc32(prompt.encode())
    return (hashed & 255) / 255, (hashed >> 8 & 255) / 255, (hashed >> 16 & 255) / 255


def expected_colour(recipe: Recipe) -> tuple[int, int, int]:
    """Return the pixel that the recipe's picture must have, drawn here and alone."""
    engine = FakeEngine(sleep=lambda _: None)
    calm = msgspec.structs.replace(recipe, settings={})
    engine.load(recipe.model)
    run = engine.begin(Job(id="alone", recipe=calm, stream="", person=""), None)
    while not run.done:
        engine.step([run])
    pixel = engine.image(run).getpixel((0, 0))
    assert isinstance(pixel, tuple)
    red, green, blue = pixel
    return int(red), int(green), int(blue)


def build_engines(
    *, device: str, models_dir: str, exact: bool, **_others: object
) -> dict[str, Engine[Any]]:
    """Return the fake engine, as the scheduler process asks for it."""
    return {"fake": FakeEngine()}


def without_other(
    *, device: str, models_dir: str, exact: bool, **_others: object
) -> dict[str, Engine[Any]]:
    """Return the fake engine where one of its models is not installed."""
    return {"fake": FakeEngine(lacks=("other",))}


def without_colours(
    *, device: str, models_dir: str, exact: bool, **_others: object
) -> dict[str, Engine[Any]]:
    """Return the fake engine where one of the perceptors is not installed."""
    engine = FakeEngine()
    engine.eyes.names = ("stuck",)
    return {"fake": engine}


def no_device(
    *, device: str, models_dir: str, exact: bool, **_others: object
) -> dict[str, Engine[Any]]:
    """Fail to make engines, in a way that can be told."""
    raise EngineError(f"There is no device called {device} on this machine.")


def broken(
    *, device: str, models_dir: str, exact: bool, **_others: object
) -> dict[str, Engine[Any]]:
    """Fail to make engines, in a way that nobody foresaw."""
    raise RuntimeError("the driver is of last year")


def late(*, device: str, models_dir: str, exact: bool, **_others: object) -> dict[str, Engine[Any]]:
    """Fail to make engines until the folder of models is there."""
    if not Path(models_dir).is_dir():
        raise EngineError("The disk with the models is not mounted.")
    return {"fake": FakeEngine()}


def recipe(prompt: str = "a red fox", **changes: Any) -> Recipe:
    """Return a recipe for the fake engine."""
    known: dict[str, Any] = {
        "engine": "fake",
        "model": "plain",
        "prompt": prompt,
        "width": 64,
        "height": 64,
        "steps": 20,
        "seed": 7,
    }
    return Recipe(**(known | changes))


def job(job_id: str = "d1", person: str = "ann", stream: str = "s", **changes: Any) -> Job:
    """Return a job for the fake engine; what is not the job's own goes into its recipe."""
    mine = ("checkpoint", "attempt", "init", "background")
    own: dict[str, Any] = {key: changes.pop(key) for key in mine if key in changes}
    if (init := own.pop("init", None)) is not None:
        changes["init_sha256"] = hashlib.sha256(init).hexdigest()
        own["pictures"] = {changes["init_sha256"]: init}
    return Job(id=job_id, recipe=recipe(**changes), stream=stream, person=person, **own)
