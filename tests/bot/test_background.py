"""Asking for what nobody waits for: many at once, counted apart, known as such to the drawer."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from bot.errors import LimitError
from bot.limits import Limits
from bot.rights import Actor
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
