"""Themes: checked, made once, and in the stream."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from bot.errors import ForbiddenError, InvalidRequestError, NotFoundError
from bot.model import DreamState, EventKind, Visibility
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
        ("a", {"topic": "a" * 301}, "topic"),
        ("a", {"colour": "red"}, "colour"),
        ("a", {"weight": 0.0}, "weight"),
        ("a", {"weight": float("nan")}, "weight"),
        ("a", {"width": 0}, "width"),
        ("a", {"visibility": "secret"}, "visibility"),
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
