"""What the dreams service asks of whatever draws, and what it is told in return.

`Drawer` is implemented by ``bot.supervisor``, which keeps a scheduler process alive behind it;
tests implement it without a process. `DrawingListener` is implemented by ``bot.dreams``.

While the drawer is down, what is handed to it is dropped: the listener knows every unfinished
dream and submits them all again in `on_up`. So nothing is queued in two places.
"""

from __future__ import annotations

from typing import Protocol

from generation.protocol import EngineInfo, Job, ToBot, Welcome


class DrawingListener(Protocol):
    """Told of what happens in the scheduler process, one call at a time, in order."""

    async def on_up(self, welcome: Welcome) -> None:
        """A scheduler process is ready and knows of no job yet."""
        ...

    async def on_down(self, suspects: tuple[str, ...], reason: str, outside: bool = False) -> None:
        """It died. `suspects` are the jobs that were in the step (or load) it died in.

        `outside` says that it was killed, and not by the drawer. Also told of one that could not
        start, and so never came up.
        """
        ...

    async def on_message(self, message: ToBot) -> None:
        """It said something (anything but `Welcome`, `CannotStart`, `Beat` and `Figures`)."""
        ...


class Drawer(Protocol):
    """Takes jobs. Calls return at once, but for `handed_over`."""

    @property
    def up(self) -> bool:
        """Whether a scheduler process is ready."""
        ...

    @property
    def paused(self) -> str | None:
        """Why no new dreams are taken (it cannot start, or keeps crashing), a sentence; or None."""
        ...

    @property
    def device(self) -> str:
        """The device, in words; empty before the first `Welcome`."""
        ...

    @property
    def engines(self) -> tuple[EngineInfo, ...]:
        """What the newest `Welcome` offered; empty before the first."""
        ...

    def submit(self, job: Job) -> None:
        """Hand over a job."""
        ...

    async def handed_over(self) -> None:
        """Wait until there is room for more: most of what was handed over has left this process.

        Returns too when the process that was to have it is gone.
        """
        ...

    def cancel(self, job_id: str) -> None:
        """Ask for a job's end."""
        ...

    def steer(self, job_id: str, prompt: str, glide_steps: int) -> None:
        """Ask for a change of a job's prompt."""
        ...

    def weights(self, streams: dict[str, float]) -> None:
        """Set the streams' shares."""
        ...
