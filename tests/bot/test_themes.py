"""Themes: checked, made once, and in the stream."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from bot.channels import Channels
from bot.errors import ForbiddenError, InvalidRequestError, NotFoundError
from bot.model import AskedBy, DreamState, EventKind, Person, Theme, Visibility
from bot.prompts import expand
from bot.rights import Actor
from tests.bot.drawer import ANN, request, services, until


async def test_the_default_theme_is_there_once(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        theme = await s.themes.ensure_default()
        assert (theme.slug, theme.title) == ("open", "Open canvas")
        assert await s.themes.list() == [theme]
        assert await s.themes.get("open") == await s.themes.by_id(theme.id) == theme
    async with services(tmp_path) as s:
        assert await s.themes.list() == [theme]


async def test_a_theme_is_made_changed_and_used(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        theme = await s.themes.create(
            "Castles",
            " Misty  castles ",
            person=ANN,
            template="{prompt}, oil on canvas",
            visibility="link",
            weight=2.0,
            colour="#AABBCC",
        )
        assert (theme.slug, theme.title) == ("castles", "Misty castles")
        assert (theme.visibility, theme.colour) == (Visibility.LINK, "#aabbcc")
        await until(lambda: s.drawer.shares == {"open": 1.0, "castles": 2.0})
        changed = await s.themes.change("castles", modifiers="fog:0.5", weight=3.0)
        await until(lambda: s.drawer.shares == {"open": 1.0, "castles": 3.0})
        (dream,) = await s.dreams.ask(request("a gate", theme="castles"))
        assert dream.recipe.prompt == "a gate, oil on canvas | fog:0.5"
        assert dream.prompt == "a gate"
        kinds = [event.kind for event in await s.feed.replay(theme_id=changed.id, after=0)]
        assert kinds == [EventKind.THEME, EventKind.THEME, EventKind.ASKED]
        assert (await s.job(dream.id)).stream == "castles"


async def test_changes_at_once_are_all_kept(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        wanted: dict[str, Any] = {
            "title": "Fog",
            "topic": "Only fog.",
            "template": "{prompt} in fog",
            "modifiers": "grey",
            "steps": 12,
            "weight": 2.0,
        }
        await asyncio.gather(
            *(s.themes.change("open", **{name: value}) for name, value in wanted.items())
        )
        theme = await s.themes.get("open")
        assert {name: getattr(theme, name) for name in wanted} == wanted


@pytest.mark.parametrize(
    ("slug", "details", "field"),
    [
        ("open", {}, "slug"),
        ("", {}, "slug"),
        ("a b", {}, "slug"),
        ("-a", {}, "slug"),
        ("a" * 41, {}, "slug"),
        ("../etc", {}, "slug"),
        ("a", {"template": "no place"}, "template"),
        ("a", {"template": "{prompt} {prompt}"}, "template"),
        ("a", {"template": "{prompt}" + "a" * 600}, "template"),
        ("a", {"template": "{prompt}" + "|a" * 32}, "template"),
        ("a", {"modifiers": "a|" * 33}, "modifiers"),
        ("a", {"negative": "a|" * 33}, "negative"),
        ("a", {"topic": "a" * 301}, "topic"),
        ("a", {"colour": "red"}, "colour"),
        ("a", {"weight": 0.0}, "weight"),
        ("a", {"weight": float("nan")}, "weight"),
        ("a", {"width": 0}, "width"),
        ("a", {"visibility": "secret"}, "visibility"),
        ("a", {"palette": "a" * 41}, "palette"),
        ("a", {"palette": ",".join(f"word {n}" for n in range(61))}, "palette"),
        ("a", {"palette": "ivy" * 10_000}, "palette"),
        ("a", {"palette": "fog:2"}, "palette"),
        ("a", {"max_side": 0}, "max_side"),
        ("a", {"max_side": 128, "width": 256, "height": 64}, "max_side"),
        ("a", {"asked_by": "nobody"}, "asked_by"),
        ("a", {"holds": "suggest"}, "subject"),
        ("a", {"subject": "a" * 301}, "subject"),
        ("a", {"strictness": float("nan")}, "strictness"),
        ("a", {"picture_sha256": "../x"}, "picture"),
        ("a", {"id": 5}, "id"),
        ("a", {"nonsense": 5}, "nonsense"),
    ],
)
async def test_wrong_themes_are_refused(
    tmp_path: Path, slug: str, details: dict[str, Any], field: str
) -> None:
    async with services(tmp_path) as s:
        with pytest.raises(InvalidRequestError) as caught:
            await s.themes.create(slug, "A", **details)
        assert caught.value.field == field
        with pytest.raises(InvalidRequestError, match="title"):
            await s.themes.create("b", "\u200b")
        assert len(await s.themes.list()) == 1
        with pytest.raises(NotFoundError, match="no theme called"):
            await s.themes.get(slug if slug != "open" else "closed")


async def test_a_paused_theme_takes_nothing_more_and_finishes_what_it_has(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        [before] = await s.dreams.ask(request("a red fox"))
        await s.themes.change("open", paused=True)
        with pytest.raises(ForbiddenError, match="paused"):
            await s.dreams.ask(request("an owl"))
        await s.draw(before.id)
        done = await s.dreams.wait(before.id)
        assert done.state is DreamState.DONE
        with pytest.raises(ForbiddenError, match="paused"):
            await s.dreams.redo(done.id, done.person, same_seed=True)
        await s.themes.change("open", paused=False)
        assert len(await s.dreams.ask(request("an owl"))) == 1


async def test_a_palette_is_a_word_list_of_its_theme_alone(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        theme = await s.themes.create(
            "castles",
            "Castles",
            palette=" ivy,a  drawbridge\n\nravens , ivy,\u200b",
            template="{prompt} with __palette__",
        )
        assert theme.palette == "ivy, a drawbridge, ravens"
        assert await s.themes.get("castles") == theme
        words = {"ivy", "a drawbridge", "ravens"}
        assert {expand("a gate", theme, seed) for seed in range(40)} == {
            f"a gate with {word}" for word in words
        }
        (dream,) = await s.dreams.ask(request("__palette__", theme="castles", seed=3))
        assert set(dream.recipe.prompt.split(" with ")) <= words
    other = Theme(id=1, slug="a", title="A")
    assert expand("__palette__ __mood__", other, 1).startswith("__palette__ ")


async def test_only_those_a_theme_is_for_ask_in_it_whichever_way(tmp_path: Path) -> None:
    cat, dog = Person("discord:1", "Cat"), Person("discord:2", "Dog")
    at_machine = Person("local:7", "you")
    async with services(tmp_path) as s:
        await s.themes.create("ours", "Ours", person=cat, guild_id=1)
        (first,) = await s.dreams.ask(request("a fox", theme="ours", person=ANN))
        await s.draw(first.id)
        await s.dreams.wait(first.id)

        async def may(person: Person, *, moderates: bool = False, guild_id: int = 1) -> set[str]:
            """Say by which doors somebody gets in, past the refusals of the others."""
            actor = Actor(person, guild_id=guild_id, moderates=moderates)
            here = {"guild_id": guild_id, "channel_id": 7, "moderates": moderates}
            doors: dict[str, Callable[[], Awaitable[Any]]] = {
                "ask": lambda: s.dreams.ask(request("a fox", theme="ours", person=person, **here)),
                "again": lambda: s.offspring.reroll(first.id, actor),
                "vary": lambda: s.offspring.variations(first.id, actor, count=1),
                "recipe": lambda: s.dreams.draw_recipe("ours", person, first.recipe),
                "redo": lambda: s.dreams.redo(first.id, person, same_seed=True),
            }
            inside = set()
            for name, door in doors.items():
                try:
                    await door()
                    inside.add(name)
                except ForbiddenError as error:
                    assert "Ask" in str(error)
            return inside

        everywhere = {"ask", "again", "vary", "recipe", "redo"}
        assert await may(ANN) == everywhere
        await s.themes.change("ours", asked_by="members")
        assert (await may(ANN), await may(dog)) == (set(), everywhere)
        await s.themes.change("ours", asked_by=AskedBy.HOSTS)
        assert (await may(ANN), await may(dog)) == (set(), set())
        assert await may(dog, moderates=True) == {"ask", "again", "vary"}
        # Who moderates another server is no host of what was made in this one.
        assert await may(dog, moderates=True, guild_id=2) == set()
        assert await may(cat) == await may(at_machine) == everywhere
        await s.themes.change("ours", person=dog, topic="Ours.")
        assert await may(dog) == everywhere


async def test_what_is_retired_takes_nothing_more(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        await s.themes.change("open", retired=True)
        with pytest.raises(ForbiddenError, match="no longer in use"):
            await s.dreams.ask(request("an owl"))


async def test_a_theme_ends_and_what_ships_comes_back(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        channels = Channels(s.store, s.themes)
        await s.themes.create("cats", "Cats", person=ANN, steps=9)
        await channels.bind(1, 2, "cats")
        (before,) = await s.dreams.ask(request("a cat", theme="cats"))
        ended = await s.themes.retire("cats", person=ANN)
        assert (ended.retired, ended.visibility) == (True, Visibility.LINK)
        assert (await channels.theme_of(1)).slug == "open"
        with pytest.raises(NotFoundError, match="no longer in use"):
            await channels.bind(1, 2, "cats")
        with pytest.raises(InvalidRequestError, match="no longer in use"):
            await s.themes.create("cats", "Cats")
        with pytest.raises(InvalidRequestError, match="stays"):
            await s.themes.retire("open")
        assert [one.id for one in await s.dreams.unfinished(ended.id)] == [before.id]
        again = await s.themes.take_up("cats", "Cats again", person=ANN, topic="Cats.")
        assert (again.id, again.title, again.retired) == (ended.id, "Cats again", False)
        assert (again.steps, again.visibility) == (None, Visibility.PUBLIC)
        with pytest.raises(InvalidRequestError, match="already"):
            await s.themes.take_up("cats", "Cats")
