"""Journeys with any engine: a film whose frames are runs of that engine.

`JourneyEngine` stands before an engine. Runs without a journey pass through it untouched; a journey
is one run that holds the run of its present frame, and a step of it is a step of that. So a journey
shares batches with plain pictures of its engine, and previews, cancel, steer, fairness and
checkpoints are those of any run.

- With a *camera*, each frame starts from the one before it, moved (`generation.moving`).
- On a *walk*, an engine that is `Walks` draws each frame from noise, between two stops. With any
  other it is one long run whose prompt glides, and its frames are looks at that.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import msgspec
from PIL import Image

from generation.engine import (
    BadCheckpointError,
    BatchKey,
    Between,
    Checks,
    Engine,
    EngineError,
    Eyes,
    HasEyes,
    MakesFiles,
    Run,
    Walks,
)
from generation.engines.steering import note_steer, steer_taken
from generation.journeys import (
    frame_begin,
    frame_end,
    frame_recipe,
    journey_of,
    leg_of,
    value_at,
    whole_recipe,
)
from generation.moving import moved
from generation.protocol import (
    Attachment,
    EngineInfo,
    Job,
    Journey,
    JourneyKind,
    Recipe,
    Steer,
)

_MAGIC = b"DREAMJOURNEY1"


@dataclass(kw_only=True)
class JourneyRun(Run):
    """A journey under way.

    `inner` draws frame `frame`, over `start` (PNG; empty where it starts from none). `picture` is
    the newest finished frame.

    Invariant: `step` is where `inner` is, counted from the journey's beginning.
    """

    journey: Journey
    inner: Run
    frame: int = 0
    start: bytes = b""
    picture: Image.Image | None = None


class _Saved(msgspec.Struct, array_like=True):
    frame: int
    start: bytes
    inner: bytes


class JourneyEngine:
    """An engine that can go on journeys, too; see `generation.engine.Engine`."""

    def __init__(self, engine: Engine[Any]) -> None:
        self._engine = engine

    @property
    def info(self) -> EngineInfo:
        """What may be asked of it."""
        return self._engine.info

    @property
    def eyes(self) -> Eyes | None:
        """Those of the engine."""
        return self._engine.eyes if isinstance(self._engine, HasEyes) else None

    # --- models ----------------------------------------------------------------------------

    def batch_key(self, recipe: Recipe) -> BatchKey:
        """Journeys share steps with pictures that are like their frames."""
        return self._engine.batch_key(self._first(recipe))

    def predict_bytes(self, recipe: Recipe, runs: int) -> int:
        """Estimate what as many frames take, of those that take most."""
        kinds = self._kinds_of_frames(recipe)
        return max(self._engine.predict_bytes(each, runs) for each in kinds)

    def load(self, model: str) -> None:
        """Have it ready."""
        self._engine.load(model)

    def unload(self, model: str) -> None:
        """Let go of it."""
        self._engine.unload(model)

    # --- a run's life ----------------------------------------------------------------------

    def begin(self, job: Job, checkpoint: bytes | None) -> Run:
        """Begin a picture, or a journey at its first frame or where it was."""
        if job.recipe.journey is None:
            plain: Run = self._engine.begin(job, checkpoint)
            return plain
        journey = journey_of(job.recipe)
        if journey.kind not in {known.kind for known in self.info.journeys}:
            raise EngineError(
                f"{self.info.title} cannot draw such a journey. Choose another kind, or another "
                "engine."
            )
        frame, start, inner = _unpacked(checkpoint, journey)
        run = JourneyRun(
            job=job,
            recipe=job.recipe,
            journey=journey,
            inner=Run(job, job.recipe),
            frame=frame,
            start=start,
        )
        self._begin_frame(run, inner)
        self._check_further(run)
        run.notices = run.inner.notices
        return run

    def step(self, runs: Sequence[Run]) -> None:
        """Advance pictures and frames of journeys together."""
        runs = [run for run in runs if not run.done]
        for run in runs:
            if isinstance(run, JourneyRun) and run.inner.done:
                self._go_on(run)
        inner = [_innermost(run) for run in runs if not run.done]
        # A journey's first frame may be unlike its others.
        keys = {id(run): str(self._engine.batch_key(run.recipe)) for run in inner}
        for _, alike in groupby(
            sorted(inner, key=lambda run: keys[id(run)]), key=lambda run: keys[id(run)]
        ):
            self._engine.step(list(alike))
        for run in runs:
            if isinstance(run, JourneyRun) and run.error is None:
                self._follow(run)

    def image(self, run: Run) -> Image.Image:
        """Return the frame that is being drawn."""
        if isinstance(run, JourneyRun) and run.inner.done and run.picture is not None:
            return run.picture
        return self._engine.image(_innermost(run))

    def preview(self, run: Run) -> Image.Image:
        """Return the newest finished frame, or a likeness of the first one."""
        if isinstance(run, JourneyRun) and run.picture is not None:
            return run.picture
        return self._engine.preview(_innermost(run))

    def attachments(self, run: Run) -> tuple[Attachment, ...]:
        """Return what the engine makes of a finished picture. Of a journey, that is its film."""
        if isinstance(run, JourneyRun) or not isinstance(self._engine, MakesFiles):
            return ()
        return self._engine.attachments(run)

    def steer(self, run: Run, steer: Steer) -> None:
        """Let the prompt glide to another; a journey does not come back from there to its stops."""
        if not isinstance(run, JourneyRun):
            self._engine.steer(run, steer)
            return
        taken = steer_taken(run, steer)
        if run.inner.done:
            # It is the next frame's, whose engine says whether it can draw that.
            self._go_on(run)
            if run.error is not None:
                raise run.error
            taken = steer_taken(run, steer)
        self._engine.steer(run.inner, msgspec.structs.replace(taken, step=run.inner.step))
        note_steer(run, taken)
        run.notices = run.inner.notices

    def checkpoint(self, run: Run) -> bytes:
        """Return the frame's checkpoint with what the frame is."""
        if not isinstance(run, JourneyRun):
            return self._engine.checkpoint(run)
        inner = self._engine.checkpoint(run.inner)
        return _MAGIC + msgspec.msgpack.encode(_Saved(run.frame, run.start, inner))

    # --- from frame to frame ---------------------------------------------------------------

    def _first(self, recipe: Recipe) -> Recipe:
        return recipe if recipe.journey is None else frame_recipe(recipe, recipe.journey, 0)

    def _kinds_of_frames(self, recipe: Recipe) -> list[Recipe]:
        """Return recipes of which one asks for as much as any frame does.

        What is drawn between two stops may ask for the prompts of both.
        """
        journey = recipe.journey
        if journey is None:
            return [recipe]
        if self._is_one_run(journey):
            return [whole_recipe(recipe, journey)]
        start = "0" * 64 if journey.kind is JourneyKind.CAMERA else None
        between = (stop.frame + 1 for stop in journey.stops if stop.frame + 1 < journey.frames)
        later = [frame_recipe(recipe, journey, frame, start) for frame in between]
        return [self._first(recipe), *later]

    def _is_one_run(self, journey: Journey) -> bool:
        """Whether it is one long run, of which frames are looks."""
        return journey.kind is JourneyKind.WALK and not isinstance(self._engine, Walks)

    def _begin_frame(self, run: JourneyRun, checkpoint: bytes | None) -> None:
        """Make the run of the journey's present frame."""
        job, journey = run.job, run.journey
        if self._is_one_run(journey):
            run.inner = self._engine.begin(_job(job, whole_recipe(run.recipe, journey)), checkpoint)
            run.step = run.inner.step
            return
        if run.start:
            name = hashlib.sha256(run.start).hexdigest()
            job = msgspec.structs.replace(job, pictures=job.pictures | {name: run.start})
            recipe = frame_recipe(run.recipe, journey, run.frame, name)
        else:
            recipe = frame_recipe(run.recipe, journey, run.frame)
        if journey.kind is JourneyKind.WALK and isinstance(self._engine, Walks):
            between = _between(journey, run.frame)
            recipe = msgspec.structs.replace(
                recipe, prompt=between.prompt, steers=_own_steers(run, recipe)
            )
            run.inner = self._engine.begin_between(_job(job, recipe), between, checkpoint)
        else:
            run.inner = self._engine.begin(_job(job, recipe), checkpoint)
            run.inner.earlier = frame_begin(run.recipe, journey, run.frame)
            if run.recipe.init_sha256 is not None:
                run.inner.first_strength = run.recipe.strength
        run.step = frame_begin(run.recipe, journey, run.frame) + run.inner.step

    def _check_further(self, run: JourneyRun) -> None:
        """Refuse what could not be drawn of later frames before the first one is.

        Those of one long run are part of it.
        """
        journey, engine = run.journey, self._engine
        if self._is_one_run(journey) or not isinstance(engine, Checks):
            return
        start = "0" * 64 if journey.kind is JourneyKind.CAMERA else None
        later = frame_recipe(run.recipe, journey, 1, start)
        for stop in journey.stops:
            try:
                engine.check(msgspec.structs.replace(later, prompt=stop.prompt))
            except EngineError as error:
                raise EngineError(
                    f"The frames after the first cannot be drawn like this. {error}"
                ) from error

    def _go_on(self, run: JourneyRun) -> None:
        """Begin the next frame; where that cannot be, the journey ends with the reason."""
        journey, frame = run.journey, run.frame + 1
        try:
            start = b""
            if journey.kind is JourneyKind.CAMERA:
                start = _moved(run.picture or self._engine.image(run.inner), journey, frame)
            run.frame, run.start = frame, start
            self._begin_frame(run, None)
        except EngineError as error:
            run.error = error

    def _follow(self, run: JourneyRun) -> None:
        """Take over what the frame's step has come to; keep the frame's picture at its end."""
        inner = run.inner
        begin = (
            0 if self._is_one_run(run.journey) else frame_begin(run.recipe, run.journey, run.frame)
        )
        run.step, run.loss, run.error = begin + inner.step, inner.loss, inner.error
        if run.error is None and run.step == frame_end(run.recipe, run.journey, run.frame):
            run.picture = self._engine.image(inner)
            run.score = inner.score
            if self._is_one_run(run.journey) and not inner.done:
                run.frame += 1


def with_journeys(engines: Mapping[str, Engine[Any]]) -> dict[str, Engine[Any]]:
    """Return engines, those that can draw journeys with the way to do so."""
    return {
        name: JourneyEngine(engine) if engine.info.journeys else engine
        for name, engine in engines.items()
    }


def _innermost(run: Run) -> Run:
    return run.inner if isinstance(run, JourneyRun) else run


def _job(job: Job, recipe: Recipe) -> Job:
    return msgspec.structs.replace(job, recipe=recipe, checkpoint=None)


def _own_steers(run: JourneyRun, recipe: Recipe) -> tuple[Steer, ...]:
    """Return the steers of a frame but for the leg: on a walk the engine is told of that."""
    return recipe.steers[len(recipe.steers) - len(run.recipe.steers) :]


def _between(journey: Journey, frame: int) -> Between:
    place, part = leg_of(journey, frame)
    one = journey.stops[place]
    other = journey.stops[place + 1] if part else one
    return Between(one.prompt, other.prompt, (one.noise, other.noise), part)


def _moved(picture: Image.Image, journey: Journey, frame: int) -> bytes:
    """Return what the next frame is drawn over, as PNG."""
    shown = moved(
        picture,
        zoom=value_at(journey.zoom, frame, 1.0),
        pan_x=value_at(journey.pan_x, frame, 0.0),
        pan_y=value_at(journey.pan_y, frame, 0.0),
        rotate=value_at(journey.rotate, frame, 0.0),
    )
    file = io.BytesIO()
    shown.save(file, "PNG", compress_level=1)
    return file.getvalue()


def _unpacked(checkpoint: bytes | None, journey: Journey) -> tuple[int, bytes, bytes | None]:
    """Return frame, start and the frame's own checkpoint.

    Raises:
        BadCheckpointError: it is damaged, or not of this journey.
    """
    if checkpoint is None:
        return 0, b"", None
    try:
        if not checkpoint.startswith(_MAGIC):
            raise ValueError("of another kind")
        saved = msgspec.msgpack.decode(checkpoint[len(_MAGIC) :], type=_Saved)
        if not 0 <= saved.frame < journey.frames:
            raise ValueError("of another journey")
    except (ValueError, msgspec.MsgspecError) as error:
        raise BadCheckpointError("The saved state of this dream is damaged.") from error
    return saved.frame, saved.start, saved.inner
