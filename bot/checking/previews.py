"""Which previews of a forming picture are shown, where finished ones are checked.

Looking at every preview would cost a machine without a GPU a good part of what it draws with, and
what a picture becomes shows late. So one is looked at when the picture is a quarter done, one at
the half and one at three quarters. Where the setting is strict, none is shown before the first of
them has passed, and each of those not before it has itself; elsewhere they are shown meanwhile.
From the first that does not pass there are no more: what was shown is replaced by its cover.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from bot.active import Active
from bot.checking.service import STRICT, PictureChecks
from bot.model import PictureCheck
from bot.side_tasks import SideTasks

_PARTS = 4

Show = Callable[[Active, bytes], None]


@dataclass
class _State:
    """What is known of one forming picture: the quarter looked at last, and what was said."""

    quarter: int = 0
    passed: bool = False
    looking: bool = False
    covered: bool = False


class Previews:
    """Lets previews through. `stop` it in the end."""

    def __init__(self, checks: PictureChecks, show: Show) -> None:
        """`show` is called with previews that may be shown later than they came."""
        self._checks = checks
        self._show = show
        self._states: WeakKeyDictionary[Active, _State] = WeakKeyDictionary()
        self._tasks = SideTasks()

    async def stop(self) -> None:
        """Look at no more."""
        await self._tasks.stop()

    def let_through(self, active: Active, webp: bytes, step: int, steps: int) -> bool:
        """Say whether a preview may be shown at once; have it looked at where that is due."""
        setting = self._checks.setting_of(active.dream)
        if setting is PictureCheck.OFF:
            if not active.dream.published or self._checks.default is PictureCheck.OFF:
                return True
            setting = self._checks.default  # the wall shows it, too
        state = self._states.setdefault(active, _State())
        if state.covered:
            return False
        quarter = min(_PARTS - 1, _PARTS * step // max(1, steps))
        due = quarter > state.quarter and not state.looking
        if due:
            state.looking, state.quarter = True, quarter
            self._tasks.spawn(self._look(active, state, webp, setting))
        if setting not in STRICT:
            return True
        return state.passed and not due

    async def _look(
        self, active: Active, state: _State, webp: bytes, setting: PictureCheck
    ) -> None:
        try:
            passes = await self._checks.preview_passes(webp)
            if active.ended.is_set():
                return
            if passes:
                state.passed = True
                if setting in STRICT:
                    self._show(active, webp)
            elif passes is False:
                state.covered = True
                self._show(active, await self._checks.covered(webp, setting))
        finally:
            state.looking = False
