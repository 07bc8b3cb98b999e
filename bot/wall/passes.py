"""What a visitor may see beyond what everybody may: a pass, which is context of the request.

`Services` asks it wherever it says whether something may be seen. So no route can forget to hand it
on, and none can see more by it than `Services` lets it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from bot.signed_links import Grant, Shows


class Pass:
    """Says what may be seen at the moment it is asked, by whatever `grants` then gives.

    A dream alone is shown only where it is `with_dreams`: at the addresses that show it and
    nothing of what is around it.
    """

    def __init__(
        self, grants: Callable[[], Iterable[Grant]] = tuple, *, with_dreams: bool = False
    ) -> None:
        self._grants = grants
        self._with_dreams = with_dreams

    def theme(self, theme_id: int) -> bool:
        """Say whether a private theme's stream may be seen."""
        return self._has(Shows.THEME, str(theme_id))

    def dream(self, dream_id: str) -> bool:
        """Say whether a dream of a private theme may be seen."""
        return self._with_dreams and self._has(Shows.DREAM, dream_id)

    def _has(self, shows: Shows, id: str) -> bool:
        return any((grant.shows, grant.id) == (shows, id) for grant in self._grants())


_NONE = Pass()
_shown: ContextVar[Pass] = ContextVar("pass", default=_NONE)


def shown() -> Pass:
    """Return the pass of whoever looks."""
    return _shown.get()


@contextmanager
def showing(found: Pass) -> Iterator[None]:
    """Have a pass be that of whoever looks, for as long as this lasts."""
    before = _shown.set(found)
    try:
        yield
    finally:
        _shown.reset(before)
