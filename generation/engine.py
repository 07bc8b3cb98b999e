"""What an engine is: something that advances runs, one step at a time.

Everything that draws here is an `Engine`. It begins a `Run` for a job and then, whenever the
scheduler says so, advances several runs by one step as one batch. Nothing in the product is
longer than a step, so progress, cancel, steer, pause, checkpoint and fairness need no help from
an engine: they happen between steps.

To add an engine, write a module in ``generation/engines`` with a class that has the methods of
`Engine`, and name it in ``generation/engines/builders.py``. Three promises are asked of it:

1. A run depends on its own job only. Random numbers come from the run's own generator (seeded
   before the first draw), and nothing is shared between the runs of a batch but arithmetic.
   Runs of `exact` jobs are stepped alone (`BatchKey` differs), so their rounding is fixed too.
2. `begin(job, checkpoint(run))` goes on where the run was: the same further steps give the same
   picture.
3. `step` raises only for what concerns the whole batch (out of memory). What concerns one run
   (a loss that is not a number) is put into `Run.error`, and the others go on.

What an engine may have besides, where it has any use for it: `Checks`, `MakesFiles`, `HasEyes`,
`Walks`.

An engine does not know: who asked, who waits, what time it is, Discord, or the disk (but for its
models' weights).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

from PIL import Image

from generation.protocol import Attachment, EngineInfo, Job, Recipe, Steer

BatchKey = tuple[Hashable, ...]


class EngineError(Exception):
    """Something a person can be told, as a sentence that says what to do."""


class BadCheckpointError(EngineError):
    """The checkpoint is damaged or of another version; the run can begin anew."""


@dataclass
class Run:
    """A picture in the making. Engines subclass it with their own state.

    `notices` are what the person should know of how the recipe is read, as in `Started`. A frame of
    a journey had `earlier` steps before it: all those of the frames that it goes on from. Of these
    the first was drawn with `first_strength`: its start picture's, or 1 where it had none.

    Invariant: `step` steps have been taken, each with the prompt that `recipe` says for it.
    """

    job: Job
    recipe: Recipe
    step: int = 0
    loss: float | None = None
    error: EngineError | None = None
    score: float | None = None
    notices: tuple[str, ...] = ()
    earlier: int = 0
    first_strength: float = 1.0

    @property
    def done(self) -> bool:
        """Whether no step is left to take."""
        return self.error is not None or self.step >= self.recipe.last_step


R = TypeVar("R", bound=Run)
R_co = TypeVar("R_co", bound=Run, covariant=True)
R_contra = TypeVar("R_contra", bound=Run, contravariant=True)


class Engine(Protocol[R]):
    """A family of picture-makers. See the module's docstring for what it promises."""

    @property
    def info(self) -> EngineInfo:
        """What may be asked of it. Cheap: no weights are loaded for it."""
        ...

    def batch_key(self, recipe: Recipe) -> BatchKey:
        """Say which runs may share a step: those with equal keys.

        The first item is the model key: what `load` must have ready.
        """
        ...

    def predict_bytes(self, recipe: Recipe, runs: int) -> int:
        """Estimate the peak device memory, in bytes, of a step of so many such runs."""
        ...

    def load(self, model: str) -> None:
        """Have on the device what a model key names. A second call costs nothing.

        Raises:
            EngineError: they are not here, or damaged; the sentence says what to do.
        """
        ...

    def unload(self, model: str) -> None:
        """Let go of what a model key names."""
        ...

    def begin(self, job: Job, checkpoint: bytes | None) -> R:
        """Make a run at its first step, or where `checkpoint` left it.

        Raises:
            EngineError: the job cannot be drawn.
            BadCheckpointError: only the checkpoint is at fault.
        """
        ...

    def step(self, runs: Sequence[R]) -> None:
        """Advance each run by one step, all as one batch. Their batch keys are equal."""
        ...

    def image(self, run: R) -> Image.Image:
        """Return what the run shows now: RGB, of the recipe's size."""
        ...

    def preview(self, run: R) -> Image.Image:
        """Return a cheap likeness of `image`, of any size."""
        ...

    def steer(self, run: R, steer: Steer) -> None:
        """Let the prompt glide to another from the run's present step on.

        Raises:
            EngineError: it cannot be steered, or not to this.
        """
        ...

    def checkpoint(self, run: R) -> bytes:
        """Return all that `begin` needs to go on: safetensors with its format version."""
        ...


@runtime_checkable
class Checks(Protocol):
    """An engine that can say what it cannot draw before the pictures for it are there."""

    def check(self, recipe: Recipe) -> None:
        """Refuse what `Engine.begin` would refuse of the recipe itself. It may load the model.

        Raises:
            EngineError: as there.
        """
        ...


@dataclass(frozen=True)
class Between:
    """A place between two stops of a journey, `part` (0..1) of the way from one to the other.

    `noises` are which of the seed's noises the stops are of: 0 is what it gives a picture.
    """

    prompt: str
    onward: str
    noises: tuple[int, int]
    part: float


@runtime_checkable
class Walks(Protocol[R_co]):
    """An engine that can draw pictures between two prompts and two noises, each by itself."""

    def begin_between(self, job: Job, between: Between, checkpoint: bytes | None) -> R_co:
        """Make a run of what lies there; at part 0 it is that of the job, whose prompt it has.

        Raises:
            As `Engine.begin` does.
        """
        ...


@runtime_checkable
class MakesFiles(Protocol[R_contra]):
    """An engine that can hand out more of a finished run than its picture: a drawing as SVG."""

    def attachments(self, run: R_contra) -> tuple[Attachment, ...]:
        """Return the files of a run that is done. Their names are different, and few."""
        ...


@runtime_checkable
class Eyes(Protocol):
    """The CLIP models of a machine, as those use them who only want to look at pictures."""

    @property
    def names(self) -> tuple[str, ...]:
        """Those whose weights are here, the preferred one first."""
        ...

    def look(
        self, name: str, pictures: Sequence[Image.Image], texts: Sequence[str]
    ) -> tuple[list[bytes], list[bytes]]:
        """Return the unit vectors of RGB pictures and of texts, as little-endian float16.

        Raises:
            EngineError: there is no such model here, or it is damaged.
        """
        ...

    def rest(self) -> None:
        """Let go of what was loaded for looking."""
        ...


@runtime_checkable
class HasEyes(Protocol):
    """An engine that shares the CLIP models that it draws with."""

    @property
    def eyes(self) -> Eyes | None:
        """Where to look with them; None where there are none."""
        ...
