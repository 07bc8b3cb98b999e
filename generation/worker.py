"""Carries out assignments on one device: loads, begins, steps, shows, saves, finishes.

A worker knows engines only as `generation.engine.Engine`. It decides nothing: which runs, in which
order and for how long comes with the assignment. What it has to say to the people goes to `emit`
as messages of the protocol (the times that only the scheduler knows are zero in them); what the
scheduler must know is the `Report` that `advance` returns.

One thread calls `advance`; `post`, `stop` and `doing` may be used from any.
"""

from __future__ import annotations

import logging
import math
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from PIL import Image

from generation import logs
from generation.assignment import Assignment, Fault, Report
from generation.device import Device, is_out_of_memory
from generation.engine import BadCheckpointError, Engine, EngineError, HasEyes, MakesFiles, Run
from generation.films import Film, Frame, unwrap
from generation.looking import answer
from generation.planning import peaks_of
from generation.previews import Encoder, Pace
from generation.protocol import (
    MAX_FILE_BYTES,
    MAX_FILES,
    Activity,
    Attachment,
    Cancel,
    Checkpoint,
    Embed,
    Failed,
    Job,
    Progress,
    Refused,
    Started,
    Steer,
    Steered,
    SteerJob,
    ToBot,
)
from generation.residency import ModelKey
from generation.settings import Settings

_log = logging.getLogger(__name__)

OVERTAKEN = "A newer prompt was taken before this one."
BROKEN = "Something went wrong while drawing this; the log has the details."
TOO_LARGE = (
    "This picture does not fit into the machine's memory. Try a smaller size, or try again later."
)


@dataclass(frozen=True)
class Doing:
    """What the worker is at, since when (by its clock), and how long that may last."""

    activity: Activity
    since: float
    limit_s: float
    job_ids: tuple[str, ...] = ()


@dataclass
class _Turn:
    """What has come of the assignment so far."""

    assignment: Assignment
    steps: dict[str, int] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    step_times: list[tuple[int, float]] = field(default_factory=list)
    told: set[str] = field(default_factory=set)
    load_s: float | None = None
    model_bytes: int = 0
    peaks: dict[str, tuple[int, ...]] = field(default_factory=dict)
    strays: list[SteerJob] = field(default_factory=list)


class Worker:
    """One device and the runs on it."""

    def __init__(
        self,
        engines: Mapping[str, Engine[Any]],
        device: Device,
        emit: Callable[[ToBot], None],
        settings: Settings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engines = engines
        self._device = device
        self._emit = emit
        self._settings = settings
        self._clock = clock
        self._encoder = Encoder(emit, settings.preview_px)
        self._previews = Pace(settings.preview_s, eager=True)
        self._checkpoints = Pace(settings.checkpoint_s, eager=False)
        self._runs: dict[str, Run] = {}
        self._films: dict[str, Film] = {}
        self._newest: dict[str, int] = {}  # the numbers of the newest steers that were taken
        self._loaded: set[ModelKey] = set()
        # All engines share what they look with.
        having = (engine for engine in engines.values() if isinstance(engine, HasEyes))
        self._eyes = next((found.eyes for found in having if found.eyes is not None), None)
        self._mail: deque[Cancel | SteerJob] = deque()
        self._stop = threading.Event()
        self._doing = Doing(Activity.IDLE, clock(), 0.0)

    # --- from any thread -------------------------------------------------------------------

    @property
    def doing(self) -> Doing:
        """What it is at."""
        return self._doing

    @property
    def perceptors(self) -> tuple[str, ...]:
        """The models that can look at pictures, the preferred one first."""
        return self._eyes.names if self._eyes is not None else ()

    def post(self, message: Cancel | SteerJob) -> None:
        """Have a run cancelled or steered before its next step."""
        self._mail.append(message)

    def stop(self) -> None:
        """Have `advance` return after the present step."""
        self._stop.set()

    # --- from the worker's thread ----------------------------------------------------------

    def drop_cancelled(self) -> None:
        """Let go of what was cancelled after its turn; else it holds memory until the next one.

        The steers that came before go with it: the answer would be passed on to nobody. The rest of
        the mail is left to that turn, in its order: it answers steers, and may be what begins the
        run that a cancel means.
        """
        rest: list[Cancel | SteerJob] = []
        for message in self._take_mail():
            if isinstance(message, Cancel) and message.job_id in self._runs:
                self._drop(message.job_id)
                rest = [before for before in rest if before.job_id != message.job_id]
            else:
                rest.append(message)
        self._mail.extendleft(reversed(rest))  # what is posted meanwhile stays behind them

    def advance(self, assignment: Assignment) -> Report:
        """Carry out an assignment."""
        turn = _Turn(assignment)
        began = self._clock()
        fault: Fault | None = None
        try:
            self._prepare(turn)
            # What went before is not these steps': loading, looking, and steps that failed.
            self._device.peak_bytes()
            self._draw(turn)
        except Exception as error:
            fault = Fault(is_out_of_memory(error), "".join(traceback.format_exception(error)))
        # Outside the except block: there, the traceback would keep the failed step's tensors
        # alive, and nothing could be freed.
        for job_id in assignment.job_ids:
            run = self._runs.get(job_id)
            if run is not None:
                turn.steps[job_id] = run.step
                if fault is not None:
                    self._drop(job_id)
                elif job_id not in turn.told:
                    self._tell(turn, run)
        if fault is not None:
            _log.warning("dreams %s: %s", ", ".join(assignment.job_ids), fault.detail)
            if fault.out_of_memory and self._eyes is not None:
                self._eyes.rest()
            self._device.free()
        self._sort_out(turn)
        report = Report(
            seconds=max(0.0, self._clock() - began - (turn.load_s or 0.0)),
            steps=turn.steps,
            ended=tuple(turn.ended),
            step_times=tuple(turn.step_times),
            fault=fault,
            load_s=turn.load_s,
            model_bytes=turn.model_bytes,
            peak_bytes=self._device.peak_bytes() if turn.step_times and fault is None else 0,
            peaks=turn.peaks,
            strays=tuple(turn.strays),
        )
        self._at(Activity.IDLE, 0.0)
        return report

    def prewarm(self, model: ModelKey) -> tuple[float, int]:
        """Load a model ahead; return the seconds and bytes it took.

        Raises:
            EngineError: it cannot be had.
        """
        self._at(Activity.LOAD, self._settings.load_limit_s)
        try:
            return self._load(model)
        finally:
            self._at(Activity.IDLE, 0.0)

    def look(self, ask: Embed) -> None:
        """Answer an ask for vectors. Steps wait for it, so it is bounded."""
        self._at(Activity.LOAD, self._settings.load_limit_s)
        try:
            self._emit(answer(self._eyes, ask))
        finally:
            self._at(Activity.IDLE, 0.0)

    def checkpoint_all(self) -> None:
        """Save every run, and wait until all that was to be sent has been."""
        for run in self._runs.values():
            self._save(run)
        self._encoder.finish()

    # --- one assignment --------------------------------------------------------------------

    def _prepare(self, turn: _Turn) -> None:
        """Make room, load the model and begin the runs that are not begun."""
        assignment = turn.assignment
        for steer in assignment.steers:
            self.post(steer)  # first: whatever becomes of this turn, they are not lost
        for job_id in assignment.suspend:
            run = self._runs.get(job_id)
            if run is not None:
                self._save(run)
                if job_id in self._films:
                    self._encoder.flush()  # it may be taken up again from there at once
                self._drop(job_id)
        for model in assignment.unload:
            self._engines[model[0]].unload(model[1])
            self._loaded.discard(model)
        if assignment.unload:
            self._device.free()
        if assignment.model not in self._loaded:
            self._at(Activity.LOAD, self._settings.load_limit_s, assignment.job_ids)
            try:
                turn.load_s, turn.model_bytes = self._load(assignment.model)
            except EngineError as error:
                for job_id in assignment.job_ids:
                    self._fail(turn, job_id, str(error))
                return
        for job in assignment.jobs:
            self._at(Activity.LOAD, self._settings.load_limit_s, (job.id,))
            self._begin(turn, job)

    def _load(self, model: ModelKey) -> tuple[float, int]:
        before_bytes, began = self._device.used_bytes(), self._clock()
        self._engines[model[0]].load(model[1])
        self._device.synchronize()
        self._loaded.add(model)
        return self._clock() - began, max(0, self._device.used_bytes() - before_bytes)

    def _begin(self, turn: _Turn, job: Job) -> None:
        engine = self._engines[job.recipe.engine]
        frames: list[Frame] = []
        try:
            try:
                checkpoint = job.checkpoint
                if checkpoint is not None:
                    checkpoint, frames = unwrap(checkpoint)
                run = engine.begin(job, checkpoint)
            except (BadCheckpointError, ValueError) as error:
                if job.checkpoint is None:
                    raise
                _log.warning("dream %s: begins anew: %s", job.id, error)
                run = engine.begin(msgspec.structs.replace(job, checkpoint=None), None)
        except EngineError as error:
            self._fail(turn, job.id, str(error))
        except Exception as error:
            if is_out_of_memory(error):
                raise
            _log.exception("dream %s: could not be begun", job.id)
            self._fail(turn, job.id, BROKEN, repr(error))
        else:
            self._runs[job.id] = run
            self._reckon(turn, run)
            if job.recipe.film or job.recipe.journey is not None:
                past = [frame for frame in frames if frame.step <= run.step]
                self._films[job.id] = Film.of(job.recipe, past)
            recipe = job.recipe
            _log.info(
                "dream %s: begins at step %d of %d, with %s/%s",
                job.id,
                run.step,
                recipe.last_step,
                recipe.engine,
                recipe.model,
            )
            self._emit(Started(job.id, run.step, run.notices))

    def _reckon(self, turn: _Turn, run: Run) -> None:
        """Predict a run's memory again, now that more is known of it; else what stands stands.

        Its model is loaded, or it was steered: while it glides, it draws by both prompts.
        """
        engine = self._engines[run.recipe.engine]
        try:
            turn.peaks[run.job.id] = peaks_of(engine, run.recipe, self._settings.max_batch)
        except Exception as error:  # an engine's mistake, which is no fault of the others' runs
            _log.warning("dream %s: its memory cannot be predicted: %r", run.job.id, error)

    def _draw(self, turn: _Turn) -> None:
        """Take the steps, and after each see to those runs."""
        assignment = turn.assignment
        engine = self._engines[assignment.model[0]]
        began = self._clock()
        for nth in range(assignment.steps):
            self._read_mail(turn)
            runs = [self._runs[job_id] for job_id in assignment.job_ids if job_id in self._runs]
            for run in [run for run in runs if run.done]:
                self._end(turn, engine, run)
            runs = [run for run in runs if not run.done]
            late = nth > 0 and self._clock() - began > 2 * assignment.quantum_s
            if not runs or late or self._stop.is_set():
                return
            self._at(Activity.STEP, assignment.step_limit_s, tuple(run.job.id for run in runs))
            before = self._clock()
            engine.step(runs)
            self._device.synchronize()
            turn.step_times.append((len(runs), self._clock() - before))
            for run in runs:
                if run.done:
                    self._end(turn, engine, run)
                else:
                    self._show(turn, engine, run)

    def _show(self, turn: _Turn, engine: Engine[Any], run: Run) -> None:
        """Send a preview and a checkpoint where they are due, and film it."""
        now = self._clock()
        film = self._films.get(run.job.id)
        shown = self._previews.due(run.job.id, now)
        filmed = film is not None and film.wants(run.step)
        kept = filmed and film is not None and film.keeps_all
        if kept or ((shown or filmed) and not self._encoder.behind):
            try:
                picture = engine.preview(run)
                if film is not None and filmed:
                    self._encoder.frame(film, run.step, picture)
                if shown:
                    self._tell(turn, run, picture)
            except Exception:
                _log.exception("dream %s: no preview", run.job.id)
            if shown:
                self._previews.done(run.job.id, self._clock(), self._clock() - now)
        now = self._clock()
        if self._checkpoints.due(run.job.id, now):
            self._save(run)
            self._checkpoints.done(run.job.id, self._clock(), self._clock() - now)

    def _tell(self, turn: _Turn, run: Run, picture: Image.Image | None = None) -> None:
        turn.told.add(run.job.id)
        progress = Progress(
            job_id=run.job.id,
            step=run.step,
            steps=run.recipe.last_step,
            ends_in_s=0.0,
            loss=run.loss,
        )
        self._encoder.progress(progress, picture)

    def _end(self, turn: _Turn, engine: Engine[Any], run: Run) -> None:
        """Send the finished picture, or why there is none."""
        job_id = run.job.id
        if run.error is not None:
            self._fail(turn, job_id, str(run.error))
            return
        self._at(Activity.ENCODE, turn.assignment.step_limit_s, (job_id,))
        picture: Image.Image | None = None
        for _ in range(2):
            out_of_memory, detail = False, ""
            try:
                picture = engine.image(run)
                break
            except Exception as error:
                out_of_memory, detail = is_out_of_memory(error), repr(error)
                _log.exception("dream %s: its picture cannot be had", job_id)
            self._device.free()
        if picture is None:
            reason = TOO_LARGE if out_of_memory else BROKEN
            self._fail(turn, job_id, reason, detail, retry=out_of_memory)
            return
        film = self._films.get(job_id)
        if film is not None:
            self._encoder.frame(film, run.step, picture)
        if run.recipe.journey is None and (
            run.recipe.until_step is not None or engine.info.continues
        ):
            self._save(run)  # another job may go on from here
        self._encoder.finished(
            job_id,
            run.recipe,
            run.score,
            picture,
            self._attachments(engine, run),
            film,
        )
        self._drop(job_id)
        turn.ended.append(job_id)
        _log.info("dream %s: drawn, after step %d", job_id, run.step)

    def _attachments(self, engine: Engine[Any], run: Run) -> tuple[Attachment, ...]:
        """Return what the engine makes besides the picture; without it the picture still counts.

        What would not be kept is left out here: with it, all might be too large to be sent.
        """
        if not isinstance(engine, MakesFiles):
            return ()
        try:
            made = engine.attachments(run)
        except Exception:
            _log.exception("dream %s: its files cannot be had", run.job.id)
            return ()
        small = [file for file in made if len(file.data) <= MAX_FILE_BYTES]
        # A film comes after them.
        kept = tuple(small[: MAX_FILES - (run.job.id in self._films)])
        if len(kept) < len(made):
            left_out = ", ".join(file.name for file in made if file not in kept)
            _log.warning("dream %s: too large or too many to be kept: %s", run.job.id, left_out)
        return kept

    def _read_mail(self, turn: _Turn) -> None:
        mail = self._take_mail()
        # Steers that waited with the scheduler may be older than what was posted meanwhile.
        mail.sort(key=lambda one: one.number if isinstance(one, SteerJob) else math.inf)
        try:
            while mail:
                message = mail[0]
                run = self._runs.get(message.job_id)
                if isinstance(message, Cancel):
                    if run is not None:
                        self._drop(message.job_id)
                        if message.job_id in turn.assignment.job_ids:
                            turn.ended.append(message.job_id)
                elif run is None:
                    turn.strays.append(message)
                else:
                    self._steer(turn, run, message)
                del mail[0]
        finally:
            self._mail.extendleft(reversed(mail))

    def _sort_out(self, turn: _Turn) -> None:
        """Take from the mail, at the end of a turn, the steers of runs that are not here."""
        rest: list[Cancel | SteerJob] = []
        for message in self._take_mail():
            if isinstance(message, SteerJob) and message.job_id not in self._runs:
                turn.strays.append(message)
            else:
                rest.append(message)
        self._mail.extendleft(reversed(rest))

    def _take_mail(self) -> list[Cancel | SteerJob]:
        mail = []
        while self._mail:
            mail.append(self._mail.popleft())
        return mail

    def _steer(self, turn: _Turn, run: Run, message: SteerJob) -> None:
        job_id = run.job.id
        if message.number < self._newest.get(job_id, 0):
            # It went to where the run had been: what was asked for last is what is drawn.
            self._emit(Refused(job_id, OVERTAKEN))
            return
        steer = Steer(run.step, message.prompt, message.glide_steps)
        before = len(run.recipe.steers)
        try:
            self._engines[run.recipe.engine].steer(run, steer)
        except EngineError as error:
            self._emit(Refused(job_id, str(error)))
        except Exception as error:
            if is_out_of_memory(error):
                raise
            _log.exception("dream %s: could not be steered", job_id)
            self._emit(Refused(job_id, "The new prompt could not be taken."))
        else:
            if len(run.recipe.steers) == before:  # an engine that notes none itself
                steers = (*run.recipe.steers, steer)
                run.recipe = msgspec.structs.replace(run.recipe, steers=steers)
            self._reckon(turn, run)
            self._newest[job_id] = message.number
            # As it was taken, which may be otherwise than it was asked for.
            self._emit(Steered(job_id, run.recipe.steers[-1], run.notices, message.number))

    def _save(self, run: Run) -> None:
        """Send a checkpoint. Where none can be made, an older one must do."""
        try:
            data = self._engines[run.recipe.engine].checkpoint(run)
        except Exception:
            _log.exception("dream %s: no checkpoint", run.job.id)
            return
        checkpoint = Checkpoint(run.job.id, run.step, data)
        film = self._films.get(run.job.id)
        if film is None:
            self._emit(checkpoint)
        else:
            self._encoder.checkpoint(checkpoint, film)

    def _fail(
        self, turn: _Turn, job_id: str, reason: str, detail: str = "", retry: bool = False
    ) -> None:
        self._drop(job_id)
        turn.ended.append(job_id)
        self._emit(Failed(job_id=job_id, reason=reason, detail=detail, retry=retry))

    def _drop(self, job_id: str) -> None:
        self._runs.pop(job_id, None)
        self._films.pop(job_id, None)
        self._newest.pop(job_id, None)
        self._previews.forget(job_id)
        self._checkpoints.forget(job_id)

    def _at(self, activity: Activity, limit_s: float, job_ids: tuple[str, ...] = ()) -> None:
        self._doing = Doing(activity, self._clock(), limit_s, job_ids)
        logs.about(job_ids)
