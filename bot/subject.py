"""Holding a theme's subject: what is far from it is answered with how it could fit, or blended.

What cannot be judged in time is let through: nobody waits for a machine that is busy drawing.
"""

from __future__ import annotations

import asyncio
import logging
import unicodedata
from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bot.errors import DreamstreamError, InvalidRequestError, SchedulerError
from bot.fitting import candidates, placed_in_journey, with_subject
from bot.model import DreamRequest, Holds, Theme
from bot.nearness import Background, Yardstick, unit
from bot.options import side_by_side
from bot.palettes import palettes_of
from bot.prompts import choose, wanted
from bot.requests import Plan
from bot.seeing import Seeing
from bot.sentences import say
from bot.side_tasks import SideTasks
from bot.styles import with_style
from bot.text import clean, shorten
from generation.protocol import MAX_EMBEDDED_TEXTS

if TYPE_CHECKING:
    from bot.vector_rows import Vector

log = logging.getLogger(__name__)

LIMIT_S = 2.0
"""How long an ask is held up by it at most."""
LOOK_UP_S = 60.0
"""How long looking up a subject, and the prompts of all kinds, may take on the side."""
SUGGESTIONS = 3
LEAST, MOST = -0.5, 1.5
"""The nearness that is wanted at strictness 0 and 1: see docs/themes.md for what passes."""
_MAX_PARTS = 8
_SUBJECTS_KEPT = 256
_PROMPTS_FILE = Path(__file__).parent / "data" / "prompts.txt"


class FarFromSubjectError(InvalidRequestError):
    """What a `request` asks for is far from its theme's subject; its `suggestions` are not."""

    def __init__(self, subject: str, suggestions: Sequence[str], request: DreamRequest) -> None:
        self.subject = subject
        self.suggestions = tuple(suggestions)
        self.request = request
        message = say(
            "This stream is about {subject}. Try: {suggestions}",
            subject=subject,
            suggestions=" · ".join(f"“{shorten(one, 200)}”" for one in suggestions),
        )
        super().__init__("prompt", message)


@dataclass(frozen=True)
class _Asked:
    """A prompt, or a stop of a journey, as it is drawn from a seed.

    `drawn` is what chance has made of it, in a study with the words that are tried (`style`).
    """

    text: str
    seed: int
    style: str
    drawn: str


@dataclass(frozen=True)
class _Judged:
    """What is asked: the mean [dim] of its parts' vectors, and how near it is.

    `weight` is the sum of its parts' weights.
    """

    asked: _Asked
    vector: Vector
    weight: float
    nearness: float


class Subjects:
    """Holds themes to their subjects. `close` it in the end."""

    def __init__(
        self, seeing: Seeing, *, unattended: Collection[str] = (), limit_s: float = LIMIT_S
    ) -> None:
        """`unattended` are the ids of those who read no answers: theirs is always blended."""
        self._seeing = seeing
        self._unattended = frozenset(unattended)
        self._limit_s = limit_s
        self._backgrounds: dict[str, Background] = {}
        self._yardsticks: OrderedDict[tuple[str, str], asyncio.Task[Yardstick | None]]
        self._yardsticks = OrderedDict()
        self._tasks = SideTasks()

    async def close(self) -> None:
        """End what is under way."""
        await self._tasks.stop()

    async def hold(self, plan: Plan, request: DreamRequest) -> Plan:
        """Return what is to be drawn for a request in a theme that may hold its subject.

        Raises:
            FarFromSubjectError: it is far from the subject, and the theme answers with suggestions.
        """
        theme = plan.theme
        holds = theme.holds
        if holds is not Holds.OFF and request.person.id in self._unattended:
            holds = Holds.BLEND
        # A part that is repainted is not what the picture is about.
        if holds is Holds.OFF or not plan.prompt or request.mask is not None:
            return plan
        if not readable(subject_of(theme)):
            return plan
        try:
            async with asyncio.timeout(self._limit_s):
                if holds is Holds.BLEND:
                    return await self._blended(plan)
                far = await self._suggested(plan, request)
        except (DreamstreamError, TimeoutError) as error:
            log.info("Not held to the subject of %s: %s", theme.slug, str(error) or "no time")
            return plan
        if far is not None:
            raise far
        return plan

    async def _blended(self, plan: Plan) -> Plan:
        subject, bound = subject_of(plan.theme), threshold(plan.theme.strictness)
        yardstick = await self._yardstick(subject)
        weights = [
            one.weight * await asyncio.to_thread(yardstick.weight, one.vector, bound)
            for one in await self._judged(plan, yardstick)
            if one.nearness < bound
        ]
        if not weights:
            return plan
        added = with_subject(subject, max(weights))
        theme = plan.theme
        modifiers = f"{theme.modifiers} | {added}" if theme.modifiers else added
        note = f"“{added}” was added: this stream is about that."
        return replace(
            plan,
            theme=msgspec.structs.replace(theme, modifiers=modifiers),
            note=f"{plan.note} {note}".strip(),
        )

    async def _suggested(self, plan: Plan, request: DreamRequest) -> FarFromSubjectError | None:
        theme = plan.theme
        subject, bound = subject_of(theme), threshold(theme.strictness)
        yardstick = await self._yardstick(subject)
        judged = await self._judged(plan, yardstick)
        # What is offered takes the place of what was typed, as its farthest picture has it.
        far: dict[str, _Judged] = {}
        for one in sorted(judged, key=lambda one: one.nearness):
            if one.nearness < bound:
                far.setdefault(one.asked.text, one)
        if not far:
            return None
        fitting = {
            text: await self._fitting(one.asked, plan, yardstick, bound)
            for text, one in far.items()
        }
        if plan.journey is not None:
            suggestions = placed_in_journey([stop.prompt for stop in plan.journey.stops], fitting)
        else:
            suggestions = fitting[plan.prompt]
        return FarFromSubjectError(subject, suggestions, request)

    async def _fitting(
        self, far: _Asked, plan: Plan, yardstick: Yardstick, bound: float
    ) -> list[str]:
        """Return prompts that fit, those that keep most of what was asked for first."""
        theme, subject = plan.theme, subject_of(plan.theme)
        typed = choose(far.text, far.seed, palettes_of(theme.palette))
        offered = {
            text: with_style(text, far.style, placed=side_by_side(plan.settings))
            for text in candidates(typed, subject, theme)
        }
        vectors = await self._embedded(offered.values(), self._seeing.perceptor(), self._limit_s)

        def chosen() -> list[str]:
            fit = [
                text
                for text, drawn in offered.items()
                if yardstick.nearness(vectors[drawn]) >= bound
            ]
            return fit[:SUGGESTIONS] or [subject]

        return await asyncio.to_thread(chosen)

    async def _judged(self, plan: Plan, yardstick: Yardstick) -> list[_Judged]:
        """Judge what was typed, without the theme's words: with those everything would fit."""
        parts = {one: parts_of(one.drawn) for one in _asked(plan)}
        judgeable = {one: some for one, some in parts.items() if some}
        vectors = await self._embedded(
            (word for some in judgeable.values() for word, _ in some),
            self._seeing.perceptor(),
            self._limit_s,
        )

        def judge() -> list[_Judged]:
            found = []
            for one, some in judgeable.items():
                total = sum(weight for _, weight in some)
                mixed = _mean([vectors[word] for word, _ in some], [each for _, each in some])
                found.append(_Judged(one, mixed, total, yardstick.nearness(unit(mixed))))
            return found

        return await asyncio.to_thread(judge)

    async def _yardstick(self, subject: str) -> Yardstick:
        """Return a subject's. What is begun is finished, also where nobody can wait for it."""
        key = (self._seeing.perceptor(), subject)
        task = self._yardsticks.get(key)
        if task is None or (task.done() and (task.cancelled() or task.result() is None)):
            task = self._yardsticks[key] = self._tasks.spawn(self._made(*key))
            while len(self._yardsticks) > _SUBJECTS_KEPT:
                self._yardsticks.popitem(last=False)
        yardstick = await asyncio.shield(task)
        if yardstick is None:
            raise SchedulerError("The subject could not be looked up.")
        return yardstick

    async def _made(self, perceptor: str, subject: str) -> Yardstick | None:
        try:
            if perceptor not in self._backgrounds:
                vectors = await self._embedded(list_prompts(), perceptor, LOOK_UP_S)
                self._backgrounds[perceptor] = await asyncio.to_thread(
                    Background, [*vectors.values()]
                )
            vectors = await self._embedded([subject], perceptor, LOOK_UP_S)
        except DreamstreamError as error:
            log.info("The subject “%s” could not be looked up: %s", subject, error)
            return None
        return await asyncio.to_thread(Yardstick, vectors[subject], self._backgrounds[perceptor])

    async def _embedded(
        self, texts: Iterable[str], perceptor: str, limit_s: float
    ) -> dict[str, Vector]:
        """Return the unit vectors [dim] of texts, as few asks as can be."""
        found: dict[str, Vector] = {}
        wanted = list(dict.fromkeys(texts))
        for start in range(0, len(wanted), MAX_EMBEDDED_TEXTS):
            some = wanted[start : start + MAX_EMBEDDED_TEXTS]
            seen = await self._seeing.embed(texts=some, perceptor=perceptor, limit_s=limit_s)
            found |= dict(zip(some, seen.texts, strict=True))
        return found


def subject_of(theme: Theme) -> str:
    """Return what a theme is about: its subject, or else its title."""
    return theme.subject or theme.title


def threshold(strictness: float) -> float:
    """Return how near a prompt has to be at a strictness, 0 to 1."""
    return LEAST + (MOST - LEAST) * strictness


def _asked(plan: Plan) -> list[_Asked]:
    """Return what is asked in every picture of a plan, each text once."""
    lists = palettes_of(plan.theme.palette)
    found: dict[tuple[str, str], _Asked] = {}
    for index in range(plan.count):
        seed, style = plan.seed_of(index), plan.study[index] if plan.study else ""
        if plan.journey is None:
            texts = [(plan.prompt, plan.prompt_of(index))]
        else:
            texts = [(stop.prompt, stop.prompt) for stop in plan.journey.stops]
        for text, worded in texts:
            drawn = choose(worded, seed, lists)
            found.setdefault((text, drawn), _Asked(text, seed, style, drawn))
    return [*found.values()]


def parts_of(prompt: str) -> list[tuple[str, float]]:
    """Return the parts of a prompt that can be judged, the heaviest few, with weights above 0.

    What is written in another script than Latin cannot be: most models read nothing else.
    """
    parts = [(clean(words), weight) for words, weight in wanted(prompt) if readable(words)]
    return sorted(parts, key=lambda part: -part[1])[:_MAX_PARTS]


def readable(text: str) -> bool:
    """Say whether a text has letters, most of them Latin."""
    letters = [sign for sign in text if sign.isalpha()]
    latin = sum(unicodedata.name(sign, "").startswith("LATIN") for sign in letters)
    return bool(letters) and 2 * latin >= len(letters)


@cache
def list_prompts() -> tuple[str, ...]:
    """Return prompts of all kinds, against which nearness is judged."""
    lines = _PROMPTS_FILE.read_text(encoding="utf-8").splitlines()
    return tuple(line for line in lines if line and not line.startswith("#"))


def _mean(vectors: Sequence[Vector], weights: Sequence[float]) -> Vector:
    import numpy as np  # slow to load, and seldom needed

    mean: Vector = np.average(vectors, axis=0, weights=weights).astype(np.float32)
    return mean
