"""Where in Discord something counts as asked for that is asked for from elsewhere.

It is chosen before anything of what is asked for is judged, and handed on with it: so uploads,
hosts, limits and words are judged by one and the same place, as if it were asked for there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import aiosqlite

from bot.acceptance import Also
from bot.model import Dream, Person, PictureCheck, Theme

if TYPE_CHECKING:
    from bot.gate import Asker  # which knows the dreams


@dataclass(frozen=True)
class Standing:
    """A place in Discord that somebody asks in from elsewhere: the `asker` as it judges them.

    `checked_as` is how it wants pictures checked, None where it says nothing. `judge` judges the
    dreams in the transaction that accepts them, by the rules of the place.
    """

    asker: Asker
    checked_as: PictureCheck | None
    judge: Also

    def judging(self, also: Also | None) -> Also:
        """Return what judges dreams once `also` has written what belongs to them."""

        async def both(connection: aiosqlite.Connection, dreams: Sequence[Dream]) -> None:
            if also is not None:
                await also(connection, dreams)
            await self.judge(connection, dreams)

        return both


class Placer(Protocol):
    """Chooses where something counts that is asked for in no place."""

    async def __call__(
        self, theme: Theme, person: Person, *, prompt: str, count: int, background: bool
    ) -> Standing | None:
        """Return the place; None where what is asked for is in none.

        Raises:
            ForbiddenError, LimitError, InvalidRequestError: it may not be asked for.
        """
        ...
