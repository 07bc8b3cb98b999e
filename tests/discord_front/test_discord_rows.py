"""Discord's tables: the upgrade that brings them, their guards, and a channel's theme."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import aiosqlite
import pytest

from bot.channels import Channels
from bot.errors import LimitError, NotFoundError
from bot.limits import Limits
from bot.model import Dream
from bot.rights import Actor
from bot.store import Store, deliveries, facts, migrate
from bot.store.deliveries import DeliveryState
from tests.bot.drawer import request, services


async def order(connection: aiosqlite.Connection, dreams: Sequence[Dream]) -> None:
    await deliveries.order(connection, dreams, 1, 2, 3)


def test_a_database_from_before_discord_keeps_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    migrate.upgrade(path, migrate.shipped()[:1])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO theme (slug, title, created_ms) VALUES ('a', 'A', 1)")
        connection.commit()
    assert migrate.upgrade(path) == 1
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT slug FROM theme").fetchall() == [("a",)]
        for table in ("channel_theme", "delivery", "fact"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    assert migrate.backup_path(path, 1).exists()


async def test_a_delivery_is_ordered_with_its_dream_or_not_at_all(tmp_path: Path) -> None:
    async with services(tmp_path, limits=Limits(per_person=2)) as parts:
        dreams = await parts.dreams.ask(request(count=2), order)
        [row] = await deliveries.open_rows(parts.store)
        assert row.dream_ids == tuple(dream.id for dream in dreams)
        with pytest.raises(LimitError):
            await parts.dreams.ask(request(), order)
        assert len(await deliveries.open_rows(parts.store)) == 1

        async def fails(connection: aiosqlite.Connection, dreams: Sequence[Dream]) -> None:
            raise RuntimeError("no")

        await parts.dreams.cancel(dreams[0].id, Actor(dreams[0].person))
        with pytest.raises(RuntimeError):
            await parts.dreams.ask(request(), fails)
        assert [dream.id for dream in await parts.dreams.unfinished(None)] == [dreams[1].id]


async def test_a_delivery_that_is_closed_changes_no_more(tmp_path: Path) -> None:
    async with services(tmp_path) as parts:
        await parts.dreams.ask(request(), order)
        [row] = await deliveries.open_rows(parts.store)
        assert (row.message_id, row.sends, row.state) == (None, 0, DeliveryState.OPEN)
        async with parts.store.write() as connection:
            await deliveries.begin_send(connection, row.id, 4)
            await deliveries.sent(connection, row.id, 77, 5)
            await deliveries.begin_send(connection, row.id, 6)  # too old: another one is sent
        [row] = await deliveries.open_rows(parts.store, row.dream_id)
        assert (row.message_id, row.replaced_id, row.sends) == (None, 77, 2)
        async with parts.store.write() as connection:
            await deliveries.sent(connection, row.id, 78, 7)
            assert await deliveries.close(connection, row, DeliveryState.SETTLED, 8, shown="done")
            assert not await deliveries.close(connection, row, DeliveryState.GIVEN_UP, 9)
            await deliveries.sent(connection, row.id, 79, 9)
        assert await deliveries.open_rows(parts.store) == []
        [row] = await deliveries.of_dream(parts.store, row.dream_id)
        assert (row.state, row.shown, row.message_id) == (DeliveryState.SETTLED, "done", 78)


async def test_a_message_that_could_not_be_replaced_is_still_its_rows(tmp_path: Path) -> None:
    async with services(tmp_path) as parts:
        await parts.dreams.ask(request(), order)
        [row] = await deliveries.open_rows(parts.store)
        async with parts.store.write() as connection:
            await deliveries.begin_send(connection, row.id, 4)
            await deliveries.sent(connection, row.id, 77, 5)
            await deliveries.begin_send(connection, row.id, 6)
            assert await deliveries.close(connection, row, DeliveryState.GIVEN_UP, 7)
        [row] = await deliveries.of_dream(parts.store, row.dream_id)
        assert (row.message_id, row.replaced_id) == (77, None)
        assert await deliveries.dreams_of_messages(parts.store, [77]) == {77: row.dream_ids}
        # Else it would show the dream for good.
        async with parts.store.write() as connection:
            await deliveries.reopen(connection, row.id, 8)
        assert len(await deliveries.open_rows(parts.store)) == 1


async def test_a_channel_without_a_theme_has_the_default_one(tmp_path: Path) -> None:
    async with services(tmp_path) as parts:
        channels = Channels(parts.store, parts.themes)
        castles = await parts.themes.create("castles", "Castles")
        assert (await channels.theme_of(5)).slug == "open"
        assert await channels.bind(5, 1, "castles") == castles
        assert await channels.theme_of(5) == castles
        assert await channels.theme_of(6, parent_id=5) == castles  # a thread
        with pytest.raises(NotFoundError):
            await channels.bind(5, 1, "absent")
        await channels.bind(5, 1, "open")
        assert (await channels.theme_of(5)).slug == "open"
        assert await channels.unbind(5)
        assert not await channels.unbind(5)


async def test_facts_are_kept(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "a.db")
    assert await facts.get(store, "x") is None
    for value in ("1", "2"):
        async with store.write() as connection:
            await facts.put(connection, "x", value)
        assert await facts.get(store, "x") == value
    for sql, index in (
        (deliveries.OPEN, "delivery_open"),
        (deliveries.OPEN_OF_DREAM, "delivery_dream_by_dream"),
    ):
        parameters = ("a",) * sql.count("?")
        plan = [row["detail"] for row in await store.read(f"EXPLAIN QUERY PLAN {sql}", parameters)]
        assert index in plan[0], plan
    await store.close()
