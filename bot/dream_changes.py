"""Changing the course of dreams: ending, deleting and steering them, by who may.

An unfinished dream is in the care of `bot.unfinished`; what is left of one that was deleted is
taken away by `bot.removal`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from bot.drawing import Drawer
from bot.dream_reader import DreamReader
from bot.errors import GoneError, InvalidRequestError, SchedulerError
from bot.library import Library
from bot.limits import Limits
from bot.model import Dream, Theme
from bot.monitoring.metrics import counts_refusals
from bot.options import mixes, side_by_side
from bot.prompts import expand, pictures_in
from bot.removal import Removal
from bot.requests import check_wanted
from bot.rights import Actor, check_may_change
from bot.sentences import say
from bot.side_tasks import SideTasks
from bot.store import Store
from bot.themes import Themes
from bot.unfinished import Unfinished
from bot.values import check_person, check_prompt
from generation.protocol import EngineInfo, Recipe

SteeringGuard = Callable[[Dream, Actor], Awaitable[None]]
"""Judges who wants to steer a dream; it may raise what refuses them."""


def usual_glide(recipe: Recipe) -> int:
    """Return over how many steps a dream glides where nobody says it."""
    return min(10, recipe.last_step)


class DreamChanges(DreamReader):
    """The dreams there are, and what may become of them."""

    def __init__(
        self,
        store: Store,
        unfinished: Unfinished,
        library: Library,
        themes: Themes,
        drawer: Drawer,
        limits: Limits,
    ) -> None:
        super().__init__(store, unfinished)
        self._themes = themes
        self._drawer = drawer
        self._limits = limits
        self._removal = Removal(store, library)
        self._tasks = SideTasks()
        self._steering_guards: list[SteeringGuard] = []

    def guard_steering(self, guard: SteeringGuard) -> None:
        """Have every steer from now on pass a guard, too."""
        self._steering_guards.append(guard)

    async def cancel(self, dream_id: str, actor: Actor) -> None:
        """End an unfinished dream.

        Raises:
            NotFoundError: there is no such dream.
            ForbiddenError: it is neither theirs nor theirs to moderate.
            InvalidRequestError: it is over already.
            DiskError, StoreError: nothing can be kept at present.
        """
        dream = await self.existing(dream_id)
        check_may_change(dream, actor)
        active = self._unfinished.get(dream_id)
        if active is None or not await self._tasks.finish(
            self._unfinished.cancel(active, check_person(actor.person))
        ):
            raise InvalidRequestError("dream", "This dream is over already.")

    async def delete(self, dream_id: str, actor: Actor) -> None:
        """Take a dream away for good: its words, recipe, picture and files. A tombstone stays.

        One that is not over is ended first. Once this returns, it is deleted, whatever dies.

        Raises:
            NotFoundError: there is no such dream; a GoneError where it was deleted before.
            ForbiddenError: it is neither theirs nor theirs to moderate.
            DiskError, StoreError: nothing can be written at present; it is still there.
        """
        check_may_change(await self.existing(dream_id), actor)
        actor = msgspec.structs.replace(actor, person=check_person(actor.person))
        await self._tasks.finish(self._delete(dream_id, actor))

    async def _delete(self, dream_id: str, actor: Actor) -> None:
        while not (dream := await self.existing(dream_id)).state.final:
            active = self._unfinished.get(dream_id)
            if active is None:  # it is being accepted, or ended, at this very moment
                await asyncio.sleep(0.05)
            else:
                await self._unfinished.cancel(active, actor.person)
        # Before, so that a crash leaves none; and after, since its end may just be putting one by.
        await self._unfinished.forget_checkpoint(dream_id)
        if not await self._removal.bury(dream, actor):
            raise GoneError
        await self._unfinished.forget_checkpoint(dream_id)
        if dream.image is not None and any(
            theme.picture_sha256 == dream.image.sha256 for theme in self._themes.known
        ):
            await self._themes.reread()
        await self._removal.remove_files()

    async def remove_files(self) -> None:
        """Remove the files that nothing names any more; what cannot be goes at the next start."""
        await self._tasks.finish(self._removal.remove_files())

    @counts_refusals
    async def steer(
        self,
        dream_id: str,
        actor: Actor,
        prompt: str,
        glide_steps: int | None = None,
        *,
        check: Callable[[str, Theme], None] | None = None,
    ) -> None:
        """Let an unfinished dream glide to another prompt. It is done when the feed says so.

        Without `glide_steps` it takes those of `usual_glide`.
        Once this returns, it is asked of whatever draws until it is answered, whatever dies.
        `check` may refuse the prompt as it is drawn in the dream's theme, by raising.

        Raises:
            NotFoundError: there is no such dream.
            ForbiddenError: it is neither theirs nor theirs to moderate.
            InvalidRequestError: it is over, its engine cannot be steered, or a value is wrong.
            LimitError: too many steers of it wait for an answer.
            SchedulerError: nothing can be drawn at present.
            DiskError, StoreError: nothing can be kept at present.
        """
        dream = await self.existing(dream_id)
        check_may_change(dream, actor)
        for guard in self._steering_guards:
            await guard(dream, actor)
        prompt = check_prompt(prompt, self._limits)
        recipe = dream.recipe
        glide_steps = usual_glide(recipe) if glide_steps is None else glide_steps
        if not 0 <= glide_steps <= recipe.last_step:
            raise InvalidRequestError(
                "glide", f"The glide takes 0 to {recipe.last_step} steps, not {glide_steps}."
            )
        engine = next((e for e in self._drawer.engines if e.name == recipe.engine), None)
        if engine is not None and not engine.steerable:
            raise InvalidRequestError(
                "dream", f"{engine.title} cannot be steered. Ask for a remix instead."
            )
        theme = await self._themes.by_id(dream.theme_id)
        active = self._unfinished.get(dream_id)
        if active is None or active.ending:
            raise InvalidRequestError("dream", "This dream is over already.")
        if not self._drawer.up:
            raise SchedulerError("Drawing is just starting again. Try to steer in a moment.")
        placed = side_by_side(recipe.settings)
        expanded = expand(prompt, theme, recipe.seed, placed=placed)
        if engine is not None:
            _check_drawable(expanded, recipe, engine, placed=placed)
        if check is not None:
            check(expanded, theme)
        if not await self._tasks.finish(
            self._unfinished.steering.ask(active, check_person(actor.person), expanded, glide_steps)
        ):
            raise InvalidRequestError("dream", "This dream is over already.")


def _check_drawable(prompt: str, recipe: Recipe, engine: EngineInfo, *, placed: bool) -> None:
    """Refuse a steer's words that its engine could not draw.

    A dream that waits takes its steers into its recipe unseen: it would fail when it begins.
    """
    check_wanted(prompt, engine)
    there = len(recipe.picture_sha256s)
    if there and not mixes(engine):
        for number in sorted(pictures_in(prompt, placed=placed)):
            if not 1 <= number <= there:
                raise InvalidRequestError(
                    "prompt",
                    say(
                        "The prompt speaks of picture {number}; this dream has {count}.",
                        number=number,
                        count=there,
                    ),
                )
