"""What a picture costs the real database: every transaction of one that is asked for in Discord."""

from __future__ import annotations

import hashlib
import statistics
import time
from pathlib import Path

from bot.ids import IdMaker, now_ms
from bot.model import Dream, DreamState, EventKind, Image, Person, Theme
from bot.store import Store, deliveries, dream_states, events, images, people, themes
from bot.store.deliveries import DeliveryState
from generation.protocol import Recipe

RECIPE = Recipe(
    engine="clip", model="m", prompt="a fox in the snow", width=256, height=256, steps=300, seed=1
)


async def seconds_a_picture(folder: Path, pictures: int) -> float:
    """Return how long the one writer is busy with a picture (median), on the disk of `folder`.

    Six transactions: accepted, begun, sent for the first time and known, done, and the card closed.
    Vectors for the search come in groups and checkpoints with long pictures: neither is counted.
    """
    store = await Store.open(folder / "scale.db")
    ids, person = IdMaker(), Person("discord:1", "Ann")
    try:
        async with store.write() as connection:
            theme = await themes.insert(
                connection, Theme(id=0, slug="open", title="Open", created_ms=1)
            )
        took_s: list[float] = []
        for _ in range(pictures):
            began_s = time.perf_counter()
            await _life(store, theme, person, ids.next())
            took_s.append(time.perf_counter() - began_s)
        return statistics.median(took_s)
    finally:
        await store.close()


async def _life(store: Store, theme: Theme, person: Person, dream_id: str) -> None:
    dream = Dream(
        id=dream_id,
        ask_id=dream_id,
        theme_id=theme.id,
        person=person,
        prompt=RECIPE.prompt,
        recipe=RECIPE,
        state=DreamState.WAITING,
        created_ms=now_ms(),
    )
    async with store.write() as connection:
        await people.upsert(connection, person, now_ms())
        await dream_states.insert(connection, [dream])
        await deliveries.order(connection, [dream], 1, 2, now_ms())
        await events.append(
            connection, EventKind.ASKED, theme.id, now_ms(), dream_id=dream_id, person_id=person.id
        )
    (row,) = await deliveries.of_dream(store, dream_id)
    async with store.write() as connection:
        await deliveries.begin_send(connection, row.id, now_ms())
    async with store.write() as connection:
        await deliveries.sent(connection, row.id, row.id, now_ms())
    async with store.write() as connection:
        await dream_states.to_drawing(connection, dream_id, 0, now_ms())
    sha256 = hashlib.sha256(dream_id.encode()).hexdigest()
    image = Image(sha256=sha256, width=256, height=256, size_bytes=1)
    async with store.write() as connection:
        await images.insert(connection, image, now_ms())
        await dream_states.to_done(
            connection, dream_id, RECIPE, image, gpu_s=1.0, score=None, now_ms=now_ms()
        )
        await events.append(
            connection, EventKind.DONE, theme.id, now_ms(), dream_id=dream_id, person_id=person.id
        )
    async with store.write() as connection:
        closed = await deliveries.close(
            connection, row, DeliveryState.SETTLED, now_ms(), shown="{}", there=1
        )
    assert closed, "the card is open still"
