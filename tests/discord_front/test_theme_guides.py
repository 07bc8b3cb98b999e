"""The guide to a channel's theme: one message, pinned, that follows the theme that hangs there."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import discord
import pytest

from bot.delivery.theme_face import Face
from bot.model import Theme
from bot.rights import Actor
from bot.store import theme_guides as rows
from tests.bot.drawer import until
from tests.discord_front.world import World, buttons_of, gallery_of, text_of, world


def host_of(there: World) -> Any:
    """Return a member who may manage channels."""
    guild = there.env.guild
    role = guild.create_role("Hosts", permissions=discord.Permissions(manage_channels=True))
    return guild.add_member(there.env.create_user("host"), roles=[role])


def guides(there: World) -> list[discord.Message]:
    """Return the guides in the channel."""
    return [card for card in there.cards() if "Ask for a picture" in buttons_of(card)]


async def test_a_theme_that_is_hung_has_one_pinned_guide_that_follows_it(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        host = host_of(there)
        result = await host.slash(
            there.channel,
            "theme create",
            name="castles",
            title="Misty *castles*",
            topic="Castles that may be there or not.",
            palette="ivy, ravens",
            max_side=96,
        )
        assert "pinned" not in result.response.content
        (guide,) = guides(there)
        assert guide.pinned
        told = text_of(guide)
        assert r"Misty \*castles\*" in told and "may be there or not" in told
        assert "for one of these: ivy, ravens" in told and "at most 96 pixels a side" in told
        dream_id, _ = await there.ask(prompt="a gate")
        await there.parts.draw(dream_id)
        dream = await there.parts.dreams.wait(dream_id)
        await host.slash(there.channel, "theme edit", title="Towers", picture=dream_id)
        await until(lambda: gallery_of(guides(there)[0]) is not None)
        (same,) = guides(there)
        assert same.id == guide.id and "Towers" in text_of(same)
        # The picture goes from here, too, when its author deletes the dream.
        await there.parts.dreams.delete(dream_id, Actor(dream.person))
        await until(lambda: gallery_of(guides(there)[0]) is None)
        await host.slash(there.channel, "theme pause")
        await until(lambda: "rests at present" in text_of(guides(there)[0]))
        await host.slash(there.channel, "theme here", theme="planets")
        await until(lambda: "Planets" in text_of(guides(there)[0]))
        assert [one.id for one in guides(there)] == [guide.id]
        await host.slash(there.channel, "theme away")
        await until(lambda: guides(there) == [])
        result = await host.slash(there.channel, "theme guide")
        assert "nothing to guide to" in result.response.content


async def test_its_buttons_do_what_they_say(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        host = host_of(there)
        await host.slash(there.channel, "theme create", name="castles", title="Castles")
        (guide,) = guides(there)
        shown = await there.ann.click(guide, label="Help")
        assert shown.ephemeral
        form = await there.ann.click(guide, label="Ask for a picture")
        before = len(there.cards())
        await there.ann.submit_modal(form, {"prompt": "a gate of glass"})
        await until(lambda: len(there.cards()) > before)
        (dream,) = await there.parts.dreams.unfinished(None)
        assert dream.prompt == "a gate of glass"
        assert dream.theme_id == (await there.parts.themes.get("castles")).id
        assert len(guides(there)) == 1


async def test_one_that_is_deleted_stays_away_until_it_is_asked_for(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        host = host_of(there)
        await host.slash(there.channel, "theme create", name="castles", title="Castles")
        (guide,) = guides(there)
        await guide.delete()
        await there.parts.themes.change("castles", title="Towers")
        async with asyncio.timeout(20):  # until it has been noticed
            while await rows.every(there.parts.store):  # noqa: ASYNC110 (it is a row)
                await asyncio.sleep(0.01)
        assert guides(there) == []
        result = await host.slash(there.channel, "theme guide")
        assert "guide is pinned" in result.response.content
        (again,) = guides(there)
        assert again.id != guide.id and again.pinned
        # Deleted and asked for at once, before anything has noticed.
        await again.delete()
        await host.slash(there.channel, "theme guide")
        assert len(guides(there)) == 1


async def test_without_the_permission_it_is_posted_and_that_is_said(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        host = host_of(there)
        there.env.inject_error("PUT", "/channels/*/messages/pins/*", status=403, code=50013)
        result = await host.slash(there.channel, "theme create", name="castles", title="Castles")
        assert "I need Pin Messages" in result.response.content
        (guide,) = guides(there)
        assert not guide.pinned
        result = await host.slash(there.channel, "theme guide")
        assert "guide is pinned" in result.response.content
        assert [one.id for one in guides(there)] == [guide.id]


@pytest.mark.parametrize("known", [True, False], ids=["known", "only in the channel"])
async def test_a_crash_leaves_no_second_one(tmp_path: Path, known: bool) -> None:
    async with world(tmp_path) as there:
        host = host_of(there)
        await host.slash(there.channel, "theme create", name="castles", title="Castles")
        (guide,) = guides(there)
        await there.client.theme_guides.stop()
        if not known:  # it died between the sending and the writing down
            async with there.parts.store.write() as connection:
                await connection.execute(
                    "UPDATE theme_guide SET message_id = NULL, shown = '', created_ms = ?",
                    (int(guide.created_at.timestamp() * 1000),),  # as this Discord's clock has it
                )
        await there.parts.themes.change("castles", title="Towers")
        await there.client.theme_guides.start()
        await until(lambda: "Towers" in text_of(guides(there)[0]))
        assert [one.id for one in guides(there)] == [guide.id]


async def test_what_goes_wrong_with_one_look_is_not_the_end_of_all_guides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.delivery.theme_guides.FIRST_DELAY_S", 0.05)
    async with world(tmp_path) as there:
        host = host_of(there)
        await host.slash(there.channel, "theme create", name="castles", title="Castles")
        guides_of, read = there.client.theme_guides, asyncio.Event()
        face = guides_of.face_of

        async def fails_once(theme: Theme) -> Face:
            if not read.is_set():
                read.set()
                raise OSError("a picture that cannot be read")
            return await face(theme)

        monkeypatch.setattr(guides_of, "face_of", fails_once)
        await there.parts.themes.change("castles", title="Towers")
        await until(lambda: "Towers" in text_of(guides(there)[0]))
        assert read.is_set()


async def test_a_picture_that_goes_while_it_is_read_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path) as there:
        host = host_of(there)
        await host.slash(there.channel, "theme create", name="castles", title="Castles")
        dream_id, _ = await there.ask(prompt="a gate")
        await there.parts.draw(dream_id)
        await there.parts.dreams.wait(dream_id)

        async def gone(sha256: str, side: int) -> Path:
            return tmp_path / "gone.webp"

        monkeypatch.setattr(there.client.front.library, "make_thumbnail", gone)
        result = await host.slash(there.channel, "theme edit", picture=dream_id)
        assert "Picture: yes" in result.response.content
        await there.parts.themes.change("castles", title="Walls")
        await until(lambda: "Walls" in text_of(guides(there)[0]))
        assert gallery_of(guides(there)[0]) is None


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("asked", [False, True])
async def test_one_that_is_refused_for_too_long_waits_for_a_change_or_who_asks_for_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, asked: bool
) -> None:
    async with world(tmp_path) as there:
        host = host_of(there)
        await host.slash(there.channel, "theme create", name="castles", title="Castles")
        there.env.inject_error("PATCH", "/channels/*/messages/*", status=403, code=50013)
        await there.parts.themes.change("castles", title="Towers")
        await until(lambda: f"channel {there.channel.id} will not be shown: 403" in caplog.text)
        there.client.theme_guides.hurry()
        await there.parts.themes.create("other", "Another")  # all guides are looked at
        await asyncio.sleep(0.3)
        assert "Castles" in text_of(guides(there)[0])
        if asked:
            result = await host.slash(there.channel, "theme guide")
            assert "guide is pinned" in result.response.content
            assert "Towers" in text_of(guides(there)[0])
        else:
            await there.parts.themes.change("castles", title="Spires")
            await until(lambda: "Spires" in text_of(guides(there)[0]))
        assert len(guides(there)) == 1
