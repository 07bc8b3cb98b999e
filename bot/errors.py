"""The errors a person may meet, each a sentence that says what to do.

::

    DreamstreamError
    ├── ConfigError          the settings are wrong; holds every mistake found
    ├── StoreError           the database cannot be used
    │   └── NewerDatabaseError
    ├── DiskError            a file could not be kept (disk full, read-only)
    │   └── OutOfReachError       what is kept cannot be had now; its store does not answer
    ├── SchedulerError       the scheduler process cannot be had
    └── RequestError         what was asked cannot be done
        ├── InvalidRequestError   a value is wrong; holds the field's name
        ├── NotFoundError
        │   └── GoneError         it was deleted
        ├── ForbiddenError
        └── LimitError            too much at once; holds when to try again

`str(error)` is always fit to be shown to the person.
"""

from __future__ import annotations

from collections.abc import Sequence


class DreamstreamError(Exception):
    """The root of all of them.

    `counted` says that it stands in the figures of what was refused; it may pass who counts twice.
    """

    counted = False

    @property
    def sentence(self) -> str:
        """What it says, as it was given: a `bot.sentences.Sentence` is still one."""
        return str(self) if not self.args or type(self.args[0]) is str else self.args[0]


class ConfigError(DreamstreamError):
    """The settings are wrong. `mistakes` has a sentence for each."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(self.mistakes))


class StoreError(DreamstreamError):
    """The database cannot be used."""


class NewerDatabaseError(StoreError):
    """The database was written by a newer version of Dreamstream."""


class DiskError(DreamstreamError):
    """A file could not be kept: the disk is full, or may not be written.

    `where` is for the log alone: strangers need not know how the server is laid out.
    """

    def __init__(self, message: str, where: str = "") -> None:
        self.where = where
        super().__init__(message)


class OutOfReachError(DiskError):
    """What is kept cannot be had at present: its store does not answer. It is not lost."""


class SchedulerError(DreamstreamError):
    """The scheduler process cannot be had at present."""


class RequestError(DreamstreamError):
    """What was asked cannot be done."""


class InvalidRequestError(RequestError):
    """A value is wrong. `field` names it as the person knows it."""

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        super().__init__(message)


class NotFoundError(RequestError):
    """There is no such thing, or it may not be seen."""


class GoneError(NotFoundError):
    """It was there, and was deleted."""

    def __init__(self, message: str = "This dream was deleted.") -> None:
        super().__init__(message)


class ForbiddenError(RequestError):
    """The person may not do this."""


class LimitError(RequestError):
    """Too much at once. `retry_after_s` says when it may be tried again, where that is known."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)
