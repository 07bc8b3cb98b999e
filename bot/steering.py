"""Steers of unfinished dreams, from the wish to the scheduler process's answer.

A steer is kept from when it is asked for until it is answered, and handed to every scheduler
process until then: so none is lost with a process, and the recipe has each that was taken once.
"""

from __future__ import annotations

import aiosqlite
import msgspec

from bot.active import Active
from bot.disk import TROUBLE, DiskWatch
from bot.errors import LimitError
from bot.handover import Handover
from bot.ids import now_ms
from bot.model import EventKind, Person
from bot.notes import Notes
from bot.store import Store, events, people, steers
from bot.store import dream_states as rows
from generation.protocol import Steered

MAX_STEERS_WAITING = 100


class Steering:
    """Asks for steers, and notes what became of them."""

    def __init__(self, store: Store, disk: DiskWatch, handover: Handover, notes: Notes) -> None:
        self._store = store
        self._disk = disk
        self._handover = handover
        self._note = notes

    async def ask(self, active: Active, person: Person, prompt: str, glide_steps: int) -> bool:
        """Keep a steer and hand it over; say whether the dream was unfinished.

        Once this returns the steer is sent to every scheduler process until one has answered it.

        Raises:
            LimitError: too many of this dream wait for an answer.
            DiskError, StoreError: nothing can be kept at present.
        """
        at_ms = now_ms()
        try:
            async with self._store.write() as connection:
                if len(active.steers) >= MAX_STEERS_WAITING:
                    raise LimitError("This dream has many steers waiting. Try again in a moment.")
                await people.upsert(connection, person, at_ms)
                steer = await steers.insert(
                    connection, active.dream.id, person, prompt, glide_steps, at_ms
                )
        except TROUBLE as error:
            self._disk.report(error)
            raise
        if steer is None:
            return False
        self._handover.steer(active, steer)
        return True

    async def refused(self, active: Active) -> None:
        """Let go of a steer that the scheduler process did not take."""
        asked = active.steer_refused()
        if asked is not None:
            steer_id = asked.id
            await self._note(lambda connection: steers.delete(connection, steer_id))

    async def taken(self, active: Active, message: Steered) -> bool:
        """Write a steer into the dream's recipe; say whether it was not there already."""
        recipe = active.dream.recipe
        active.heard(message.notices)
        asked = active.steer_taken(message.steer)
        if message.steer in recipe.steers and asked is None:
            return False
        if message.steer not in recipe.steers:
            recipe = msgspec.structs.replace(recipe, steers=(*recipe.steers, message.steer))
        active.dream = msgspec.structs.replace(active.dream, recipe=recipe)
        person = active.dream.person if asked is None else asked.person

        async def write(connection: aiosqlite.Connection) -> None:
            at_ms = now_ms()
            if asked is not None:
                await steers.delete(connection, asked.id)
            await people.upsert(connection, person, at_ms)
            if await rows.set_recipe(connection, active.dream.id, recipe):
                await events.append(
                    connection,
                    EventKind.STEERED,
                    active.dream.theme_id,
                    at_ms,
                    dream_id=active.dream.id,
                    person_id=person.id,
                    payload={"step": message.steer.step},
                )

        await self._note(write)
        return True
