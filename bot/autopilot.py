"""Keeps a quiet stream flowing: dreams that nobody asked for, within a budget, behind everybody.

It dreams in one theme at a time, one dream at a time, in the background, and begins none while
anybody's dream is not over. So a person who comes waits for no more than the step under way. What
it has spent is counted from the dreams themselves: a restart forgets nothing of it.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Collection, Iterable

from bot.dreams import Dreams
from bot.errors import RequestError
from bot.ids import now_ms
from bot.model import Dream, DreamRequest, Person, Relation, Theme, Visibility
from bot.palettes import PALETTES, listed
from bot.side_tasks import SideTasks
from bot.store import Store
from bot.store import autopilot as rows
from bot.themes import Themes

log = logging.getLogger(__name__)

PILOT = Person("local:autopilot", "autopilot")
LOOK_S = 15.0
REPEATS = 60  # of the last prompts of its theme it says none again
SEEDS = 40  # liked prompts, and recent ones, that it starts from
LONGEST = 240
DAY_MS = 24 * 3600 * 1000
_MINUTE_MS = 60 * 1000
_TRIES = 30
# What may be put after any prompt and still be about the same.
TWISTS = ("light", "mood", "season", "weather", "technique", "viewpoint", "colour")
# A prompt with any of these has a meaning of its own, which more words would change.
_GRAMMAR = frozenset("|{}_:→>\n")


class Autopilot:
    """Runs from `start` to `stop`. `watchers` says how many look at the wall."""

    def __init__(
        self,
        store: Store,
        themes: Themes,
        dreams: Dreams,
        *,
        watchers: Callable[[], int],
        clock: Callable[[], int] = now_ms,
        dice: random.Random | None = None,
    ) -> None:
        self._store = store
        self._themes = themes
        self._dreams = dreams
        self._watchers = watchers
        self._clock = clock
        self._dice = dice or random.Random()
        self._tasks = SideTasks()

    def start(self) -> None:
        """Look every `LOOK_S` whether a stream is quiet."""
        self._tasks.every(
            LOOK_S, self.look, "The autopilot rests", name="autopilot", after_s=LOOK_S
        )

    async def stop(self) -> None:
        """Begin no more; what is under way goes on at the next start."""
        await self._tasks.stop()

    async def look(self) -> Dream | None:
        """Ask for a dream where it is quiet and the budget allows it, and return it.

        Raises:
            DreamstreamError: nothing can be asked for at present.
        """
        themes = [theme for theme in await self._themes.list() if self._flies(theme)]
        if not themes or self._dreams.refusing or await self._dreams.unfinished(None):
            return None
        quiet: list[tuple[int, Theme]] = []
        at_ms = self._clock()
        for theme in themes:
            newest_ms = await rows.newest_ms(self._store, theme.id, at_ms)
            since_ms = theme.created_ms if newest_ms is None else newest_ms
            if since_ms > at_ms:
                since_ms = 0  # of a clock that was ahead
            if at_ms - since_ms >= theme.autopilot_quiet * _MINUTE_MS:
                quiet.append((since_ms, theme))
        # The one that has been quiet for longest first.
        for _, theme in sorted(quiet, key=lambda one: one[0]):
            if not await self._can_spend(theme) or (found := await self._words(theme)) is None:
                continue
            try:
                return await self._ask(theme, *found)
            except RequestError as error:
                # It stays the quietest: what its settings refuse must not silence the others.
                log.info("The autopilot can ask for nothing in %s: %s", theme.slug, error)
        return None

    async def _ask(self, theme: Theme, prompt: str, parent_id: str | None) -> Dream:
        [dream] = await self._dreams.ask(
            DreamRequest(
                theme=theme.slug,
                person=PILOT,
                prompt=prompt,
                seed=self._dice.getrandbits(32),
                background=True,
                parent_id=parent_id,
                relation=None if parent_id is None else Relation.REMIX,
            )
        )
        return dream

    def _flies(self, theme: Theme) -> bool:
        # What is private is watched nowhere.
        return (
            theme.autopilot > 0
            and not theme.paused
            and theme.visibility is not Visibility.PRIVATE
            and (theme.autopilot_alone or self._watchers() > 0)
        )

    async def _can_spend(self, theme: Theme) -> bool:
        at_ms = self._clock()
        midnight_ms = at_ms // DAY_MS * DAY_MS
        dreams, seconds = await rows.spent(self._store, PILOT.id, theme.id, midnight_ms, at_ms)
        return dreams < theme.autopilot and seconds < theme.autopilot_seconds

    async def _words(self, theme: Theme) -> tuple[str, str | None] | None:
        """Return a prompt that was not tried of late in the theme, and what dream it comes of.

        Half of the time it starts from what people like, by how many do; else from what people
        asked for, or from the theme's title. None where nothing new comes to mind.
        """
        tried = {_folded(one) for one in await rows.tried(self._store, theme.id, REPEATS)}
        liked = _plain(await rows.liked(self._store, theme.id, SEEDS))
        recent = _plain(await rows.recent(self._store, theme.id, PILOT.id, SEEDS))
        recent.append(rows.Seed("", theme.title, 1))
        for _ in range(_TRIES):
            seeds = liked if liked and self._dice.random() < 0.5 else recent
            [seed] = self._dice.choices(seeds, [one.weight for one in seeds])
            words = self._changed(seed.prompt, theme, tried)
            if _folded(words) not in tried:
                return words, seed.id or None
        return None

    def _changed(self, prompt: str, theme: Theme, tried: Collection[str]) -> str:
        """Return a prompt with one word of a list exchanged, or with one of another put after it.

        It stays a near neighbour: a picture of the same thing in another light, place or manner.
        Whatever of the theme's own palette was not tried of late is put after it first.
        """
        own = listed(theme.palette)
        untried = [
            word for word in own if not any(f" {_folded(word)} " in f" {one} " for one in tried)
        ]
        if untried:
            return f"{prompt}, {self._dice.choice(untried)}"
        ended = f"{prompt},"
        held = [
            (phrase, words)
            for words in (own, *PALETTES.values())
            for phrase in words
            if len(words) > 1 and (f" {phrase}," in ended or f" {phrase} " in ended)
        ]
        if held and self._dice.random() < 0.5:
            phrase, words = self._dice.choice(held)
            other = self._dice.choice([word for word in words if word != phrase])
            return f" {prompt} ".replace(f" {phrase}", f" {other}", 1).strip()
        return f"{prompt}, {self._dice.choice(PALETTES[self._dice.choice(TWISTS)])}"


def _plain(seeds: Iterable[rows.Seed]) -> list[rows.Seed]:
    return [
        seed
        for seed in seeds
        if seed.prompt and len(seed.prompt) <= LONGEST and _GRAMMAR.isdisjoint(seed.prompt)
    ]


def _folded(prompt: str) -> str:
    return " ".join(prompt.casefold().replace(",", " ").split())
