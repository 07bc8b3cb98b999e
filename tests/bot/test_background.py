"""Asking for what nobody waits for: many at once, counted apart, known as such to the drawer."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from bot import configured
from bot.config_file import load_config
from bot.errors import ForbiddenError, LimitError
from bot.gate import Asker, Gate
from bot.library import Library
from bot.limits import Limits
from bot.rights import Actor
from bot.store import dreams
from tests.bot.drawer import ANN, BOB, png, request, services

FEW = Limits(per_person=2, everybody=3, background_per_person=5, background_everybody=7)


async def test_a_hundred_are_taken_and_handed_over_as_such(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        many = await s.dreams.ask(request(count=100, background=True))
        assert len(many) == 100 and all(dream.background for dream in many)
        assert len({dream.recipe.seed for dream in many}) == 100
        assert (await s.job(many[-1].id)).background
        (one,) = await s.dreams.ask(request())
        assert not (await s.job(one.id)).background
    async with services(tmp_path) as s:
        assert (await s.job(many[0].id)).background, "a restart does not change it"


async def test_they_are_counted_apart_from_what_is_waited_for(tmp_path: Path) -> None:
    async with services(tmp_path, limits=FEW) as s:
        await s.dreams.ask(request(count=5, background=True))
        await s.dreams.ask(request(count=2))
        with pytest.raises(LimitError, match="2 dreams waiting, and 2"):
            await s.dreams.ask(request())
        with pytest.raises(LimitError, match="5 dreams waiting in the background, and 5"):
            await s.dreams.ask(request(background=True))
        with pytest.raises(LimitError, match="in the background"):
            await s.dreams.ask(request(background=True, init=png()))
        with pytest.raises(LimitError, match="queue is full"):
            await s.dreams.ask(request(count=3, background=True, person=BOB))
        assert len(await s.dreams.ask(request(count=2, background=True, person=BOB))) == 2


async def test_children_of_what_is_not_published_are_not_published(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        (dream,) = await s.dreams.ask(request())
        await s.draw(dream.id)
        dream = await s.dreams.wait(dream.id)
        async with s.store.write() as connection:
            await connection.execute("UPDATE dream SET published = 0 WHERE id = ?", (dream.id,))
        child = await s.offspring.reroll(dream.id, Actor(BOB))
        assert not child.published
        assert not (await s.dreams.get(child.id)).published
        (other,) = await s.dreams.ask(request(person=ANN))
        assert replace(other, published=True) == other


async def test_a_server_counts_what_is_drawn_in_the_background_apart(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        gate = Gate(s.settings, s.moderation)
        asker = Asker(ANN, guild_id=1, channel_id=2)
        await s.settings.change_guild(
            1, BOB, per_person=1, per_channel=1, per_hour=1, max_count=1, per_person_background=5
        )
        gate.check(asker, count=5, background=True)
        with pytest.raises(LimitError, match="5 dreams waiting in the background"):
            gate.check(asker, count=6, background=True)
        with pytest.raises(LimitError, match="one picture"):
            gate.check(asker, count=2)

        async def counted(*, background: bool) -> tuple[int, int, int]:
            async with s.store.write() as connection:
                return await dreams.places_taken(
                    connection, ANN.id, guild_id=1, channel_id=2, since_ms=0, background=background
                )

        here: dict[str, Any] = {"guild_id": 1, "channel_id": 2}
        await s.dreams.ask(request(count=4, background=True, **here))
        await s.dreams.ask(request(**here))
        assert await counted(background=True) == (4, 4, 4)
        assert await counted(background=False) == (1, 1, 1)
        gate.check_waiting(asker, own=5, channel=5, hour=5, background=True)
        with pytest.raises(LimitError, match="in the background"):
            gate.check_waiting(asker, own=6, background=True)
        await s.settings.change_channel(1, 2, BOB, batch=False)
        with pytest.raises(ForbiddenError, match="Batches are off"):
            gate.check(asker, count=2, background=True)
        gate.check(asker)


async def test_the_settings_bound_the_background_and_what_is_kept_to_go_on(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(
        "[storage]\ncheckpoint_days = 0.5\ncheckpoint_gib = 1e-6\n"
        "[limits]\nbackground_per_person = 3\nbackground_total = 4\npictures_per_batch = 2\n"
    )
    config = load_config(path)
    bounds = configured.limits(config)
    assert bounds.most_at_once(background=True) == 2
    bounds.check(3, own=0, everybody=0, background=True)
    with pytest.raises(LimitError, match="3 that a person"):
        bounds.check(4, own=0, everybody=0, background=True)
    with pytest.raises(LimitError, match="queue is full"):
        bounds.check(2, own=0, everybody=3, background=True)
    library = Library(tmp_path / "library")
    kept = configured.checkpoints(config, library)
    for name, size in (("older", 600), ("newer", 600)):
        kept.write(name, 1, bytes(size))
        kept.put_by(name)
        put_by = library.root / "checkpoints" / "kept" / f"{name}.checkpoint"
        os.utime(put_by, (time.time() - 60, time.time() - 60))
    assert kept.read_put_by("newer") == (1, bytes(600)) and kept.read_put_by("older") is None
    os.utime(put_by, (time.time() - 13 * 3600,) * 2)
    assert kept.retain() == 1
    library.close()
