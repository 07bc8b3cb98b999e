"""Themes hang on channels, chosen by those who manage them."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import discord
import msgspec
import pytest
from PIL import Image as Pillow

from bot.checking.service import PictureChecks
from bot.delivery.theme_words import all_of
from bot.model import Person, PictureCheck
from tests.bot.drawer import png
from tests.discord_front import payloads
from tests.discord_front.world import World, world


def upload_of(name: str, text: str) -> tuple[str, bytes]:
    """Return a file as somebody uploads it."""
    return name, text.encode()


def team_of(person_id: int, role: str) -> payloads.Json:
    """Return a team that somebody else owns, and that this person is in."""
    members = [
        {"user": payloads.user(number, "one"), "membership_state": 2, "role": in_it}
        for number, in_it in ((payloads.ANN, "admin"), (person_id, role))
    ]
    owner = str(payloads.ANN)
    return {"id": "7", "icon": None, "name": "us", "owner_user_id": owner, "members": members}


def host_of(there: World) -> Any:
    """Return a member who may manage channels."""
    guild = there.env.guild
    role = guild.create_role("Hosts", permissions=discord.Permissions(manage_channels=True))
    return guild.add_member(there.env.create_user("host"), roles=[role])


async def test_a_channels_theme_shapes_what_is_asked_there(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        host = host_of(there)
        result = await host.slash(there.channel, "theme show")
        assert "Open canvas" in result.response.content
        result = await host.slash(
            there.channel,
            "theme create",
            name="castles",
            title="Misty *castles*",
            template="a castle of {prompt}",
            colour="#102030",
        )
        assert r"Misty \*castles\*" in result.response.content
        dream_id, card = await there.ask(prompt="glass")
        assert (await there.parts.job(dream_id)).recipe.prompt == "a castle of glass"
        assert card.components[0].accent_colour == discord.Colour(0x102030)  # type: ignore[union-attr]
        other = there.env.guild.create_text_channel("other")
        offered = await host.autocomplete(other, "theme here", "theme", "cast")
        assert [choice["value"] for choice in offered] == ["castles", "misty-castles"]
        await host.slash(other, "theme here", theme="castles")
        assert (await there.client.front.channels.theme_of(other.id)).slug == "castles"
        result = await host.slash(other, "theme away")
        assert "Open canvas" in result.response.content
        result = await host.slash(there.channel, "theme create", name="castles", title="Again")
        assert "already" in result.response.content
        result = await host.slash(there.channel, "theme here", theme="absent")
        assert "no theme" in result.response.content


async def test_a_private_theme_is_not_hung_elsewhere(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        host = host_of(there)
        await there.parts.themes.create("secret", "Secret", visibility="private")
        result = await host.slash(there.channel, "theme here", theme="secret")
        assert "no such theme" in result.response.content
        assert await host.autocomplete(there.channel, "theme here", "theme", "sec") == []
        # Who made one can take it off and hang it again; another host cannot hang it elsewhere.
        await host.slash(
            there.channel, "theme create", name="ours", title="Ours", visibility="private"
        )
        await host.slash(there.channel, "theme away")
        result = await host.slash(there.channel, "theme here", theme="ours")
        assert "**Ours**" in result.response.content
        other = there.env.guild.create_text_channel("other")
        result = await host_of(there).slash(other, "theme here", theme="ours")
        assert "no such theme" in result.response.content


async def test_a_theme_is_not_given_what_cannot_draw(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        host = host_of(there)
        oils = {"name": "oils", "title": "Oils"}
        for command, more in (("theme create", oils), ("theme edit", {})):
            result = await host.slash(there.channel, command, engine="oil", **more)
            assert "no engine" in result.response.content
            inks = {"name": "inks", "title": "Inks", "engine": "clip"}
            await host.slash(there.channel, "theme create", **inks)
        assert [theme.slug for theme in await there.parts.themes.list()] == ["open", "inks"]


async def test_who_does_not_manage_the_channel_may_not_choose(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        # A server's settings may let others use the command.
        known = {one.name: one for one in await there.client.tree.fetch_commands()}
        there.env.guild.set_command_permissions(known["theme"], {there.ann: True})
        result = await there.ann.slash(there.channel, "theme away")
        assert "Only who may manage" in result.response.content


async def test_a_theme_rests_and_goes_on(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        host = host_of(there)
        await host.slash(there.channel, "theme create", name="castles", title="Castles")
        result = await host.slash(there.channel, "theme pause")
        assert "**Castles** rests." in result.response.content
        result = await there.ann.slash(there.channel, "dream", prompt="a red fox")
        assert "This theme is paused" in result.response.content
        result = await host.slash(there.channel, "theme show")
        assert "Paused: yes" in result.response.content
        german: Any = SimpleNamespace(locale=discord.Locale.german)
        told = all_of(german, await there.parts.themes.get("castles"))
        assert "Zu sehen für: Alle an der Wand" in told and "Ruht: ja" in told
        result = await host.slash(there.channel, "theme pause", paused=False)
        assert "**Castles** goes on." in result.response.content
        assert not (await there.parts.themes.get("castles")).paused


async def test_how_much_of_the_machine_a_theme_gets_is_for_the_bots_owner(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        host, themes = host_of(there), there.parts.themes
        mine: dict[str, Any] = {"share": 2.5, "autopilot": 40}

        def owned_by(**whom: Any) -> None:
            data: Any = payloads.application() | whom
            there.client._application = discord.AppInfo(there.client._connection, data)

        for whose in (
            {"owner": payloads.user(payloads.ANN, "ann")},
            {"team": team_of(host.id, "read_only")},
        ):
            owned_by(**whose)
            result = await host.slash(
                there.channel, "theme create", name="castles", title="Castles", **mine
            )
            assert "only the bot's owner says" in result.response.content
        assert [theme.slug for theme in await themes.list()] == ["open"]
        owned_by(owner=payloads.user(host.id, "host"))
        await host.slash(there.channel, "theme create", name="castles", title="Castles", **mine)
        made = await themes.get("castles")
        assert (made.weight, made.autopilot) == (2.5, 40)
        result = await host.slash(there.channel, "theme show")
        assert "Share of the machine: 2.5\nDreams a day by itself: 40" in result.response.content
        owned_by(team=team_of(host.id, "developer"))
        await host.slash(there.channel, "theme edit", share=1.0, autopilot=0)
        made = await themes.get("castles")
        assert (made.weight, made.autopilot) == (1.0, 0)


async def test_a_theme_goes_out_as_a_file_and_comes_in_as_one(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        host, themes = host_of(there), there.parts.themes
        await host.slash(
            there.channel, "theme create", name="castles", title="Castles", colour="#102030"
        )
        result = await host.slash(there.channel, "theme export")
        (file,) = result.response.attachments
        assert file.filename == "castles.toml" and result.ephemeral
        data = (await file.read()).decode()
        assert 'colour = "#102030"' in data
        # Under another name it is another theme; what the machine gives it is not the file's.
        data = data.replace("weight = 1.0", "weight = 50.0").replace("Castles", "Towers")
        other = there.env.guild.create_text_channel("other")
        upload = upload_of("castles.toml", data)
        result = await host.slash(other, "theme import", file=upload, name="towers")
        assert "Towers" in result.response.content
        made = await themes.get("towers")
        assert (made.title, made.colour, made.weight) == ("Towers", "#102030", 1.0)
        assert (await there.client.front.channels.theme_of(other.id)).slug == "towers"
        # The theme that the channel carries is changed by its own file; nothing else is.
        result = await host.slash(other, "theme import", file=upload)
        assert "already" in result.response.content
        short = upload_of("towers.toml", 'title = "Spires"')
        await host.slash(other, "theme import", file=short)
        again = await themes.get("towers")
        assert (again.title, again.id, again.weight) == ("Spires", made.id, 1.0)
        assert again.colour == "#7c6cff", "as if nothing had been said"
        for wrong, words in (
            (upload_of("a.toml", 'titel = "A"'), "Is “title” meant?"),
            (upload_of("a.toml", "#" * 40_000), "32 KiB"),
        ):
            result = await host.slash(other, "theme import", file=wrong)
            assert words in result.response.content
        result = await host.slash(
            there.channel, "theme import", file=upload_of("open.toml", 'title = "Mine"')
        )
        assert "already" in result.response.content


async def test_a_shipped_theme_is_added_when_it_is_used(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        host = host_of(there)
        offered = await host.autocomplete(there.channel, "theme here", "theme", "plan")
        assert [choice["value"] for choice in offered] == ["planets"]
        result = await host.slash(there.channel, "theme here", theme="planets")
        assert "Planets and their landscapes" in result.response.content
        other = there.env.guild.create_text_channel("other")
        await host.slash(other, "theme here", theme="planets")
        slugs = [theme.slug for theme in await there.parts.themes.list()]
        assert slugs == ["open", "planets"]
        offered = await host.autocomplete(other, "theme here", "theme", "plan")
        assert [choice["value"] for choice in offered] == ["planets"]


async def test_a_theme_ends_for_good_and_its_stream_stays(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        host = host_of(there)
        other = there.env.guild.create_text_channel("other")
        await host.slash(there.channel, "theme create", name="castles", title="Castles")
        await host.slash(other, "theme here", theme="castles")
        dream_id, _ = await there.ask(prompt="a gate")
        left = await host.slash(there.channel, "theme remove")
        asked = await host.slash(there.channel, "theme remove")
        assert "End **Castles**" in asked.response.content and asked.ephemeral
        pressed = await host.click(asked.response, label="Yes, end it")
        assert "**Castles** has ended." in pressed.response.message.content
        for channel in (there.channel, other):
            assert (await there.client.front.channels.theme_of(channel.id)).slug == "open"
        theme = await there.parts.themes.get("castles")
        assert theme.retired and theme.visibility == "link"
        assert (await there.parts.dreams.get(dream_id)).theme_id == theme.id
        result = await host.slash(there.channel, "theme here", theme="castles")
        assert "no longer in use" in result.response.content
        offered = await host.autocomplete(there.channel, "theme here", "theme", "castles")
        assert [choice["value"] for choice in offered] == ["misty-castles"]
        result = await host.slash(there.channel, "theme create", name="castles", title="Again")
        assert "no longer in use" in result.response.content
        # The button that is left ends nothing else.
        await host.slash(there.channel, "theme create", name="towers", title="Towers")
        pressed = await host.click(left.response, label="Yes, end it")
        assert "hangs here no more" in pressed.response.message.content
        assert not (await there.parts.themes.get("towers")).retired


@pytest.mark.parametrize("made_in", [None, 9], ids=["at the wall", "in another server"])
async def test_a_theme_that_was_made_elsewhere_is_not_for_this_server_to_change(
    tmp_path: Path, made_in: int | None
) -> None:
    async with world(tmp_path) as there:
        host, themes = host_of(there), there.parts.themes
        await themes.create("fog", "Fog", guild_id=made_in, person=Person("discord:99", "Fay"))
        result = await host.slash(there.channel, "theme here", theme="fog")
        assert "now carries" in result.response.content
        before = await themes.get("fog")
        upload = upload_of("fog.toml", 'title = "Mine"')
        for command, options in (
            ("edit", {"title": "Mine"}),
            ("pause", {}),
            ("remove", {}),
            ("import", {"file": upload}),
        ):
            result = await host.slash(there.channel, f"theme {command}", **options)
            assert "not made in this server" in result.response.content, command
        assert await themes.get("fog") == before

        # Whoever made it changes it wherever it hangs; what a server made, each of its hosts does.
        await themes.change("fog", person=Person(f"discord:{host.id}", "host"), topic="Grey.")
        result = await host.slash(there.channel, "theme edit", title="Haze")
        assert "Changed. **Haze**" in result.response.content
        await host.slash(there.channel, "theme create", name="castles", title="Castles")
        second = host_of(there)
        result = await second.slash(there.channel, "theme edit", title="Towers")
        assert "Changed. **Towers**" in result.response.content


async def test_what_ships_can_be_ended_and_brought_back(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        host = host_of(there)
        await host.slash(there.channel, "theme here", theme="planets")
        before = await there.parts.themes.get("planets")
        await there.parts.themes.retire("planets")
        result = await host.slash(there.channel, "theme here", theme="planets")
        assert "now carries" in result.response.content
        after = await there.parts.themes.get("planets")
        assert (after.id, after.retired, after.visibility) == (before.id, False, before.visibility)
        result = await host.slash(there.channel, "theme away")
        assert "Open canvas" in result.response.content


async def test_a_theme_has_bounds_words_and_a_picture(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        host, themes = host_of(there), there.parts.themes
        result = await host.slash(
            there.channel,
            "theme create",
            name="castles",
            title="Castles",
            palette="ivy, ravens",
            max_side=96,
            asked_by="hosts",
            upload=("tower.png", png(40, 30)),
        )
        assert "now carries" in result.response.content
        theme = await themes.get("castles")
        assert theme.picture_sha256 is not None
        result = await there.ann.slash(there.channel, "dream", prompt="a gate")
        assert "only those who made it" in result.response.content
        await host.slash(there.channel, "theme edit", asked_by="everybody", max_count=1)
        result = await there.ann.slash(there.channel, "dream", prompt="a gate", size="128")
        assert "at most 96 pixels" in result.response.content
        dream_id, _ = await there.ask(prompt="__palette__")
        await there.parts.draw(dream_id)
        dream = await there.parts.dreams.wait(dream_id)
        assert dream.image is not None and dream.recipe.prompt in ("ivy", "ravens")
        told = await host.slash(there.channel, "theme edit", picture=dream_id)
        assert "At most: 96 pixels a side, 1 at once" in told.response.content
        theme = await themes.get("castles")
        assert theme.picture_sha256 == dream.image.sha256


class Eyes:
    """Finds something in every red picture, and in no other."""

    async def score(self, data: bytes, media_type: str = "image/png") -> float:
        with Pillow.open(io.BytesIO(data)) as picture:
            return 0.9 if picture.getpixel((0, 0)) == (255, 0, 0) else 0.0


async def test_a_picture_that_is_not_taken_leaves_nothing_made_or_changed(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        host, parts, themes = host_of(there), there.parts, there.parts.themes
        looks = PictureChecks(parts.library, parts.settings, Eyes(), PictureCheck.SPOILER)
        parts.dreams.check_pictures(looks)
        dream_id, _ = await there.ask()

        async def told(command: str, **options: Any) -> str:
            result = await host.slash(there.channel, command, **options)
            return str(result.response.content)

        async def refused(command: str, **options: Any) -> None:
            """See that none of the pictures is taken, and nothing else done."""
            before = await themes.list()
            bad = ("bad.png", b"no picture")
            large = ("large.png", bytes(parts.library.uploads.max_bytes + 1))
            adult = ("adult.png", png(40, 30, "red"))
            assert "not a picture" in await told(command, upload=bad, **options)
            assert "Make it smaller" in await told(command, upload=large, **options)
            assert "no picture yet" in await told(command, picture=dream_id, **options)
            assert "Which dream?" in await told(command, picture="absent", **options)
            assert "Give either" in await told(command, picture=dream_id, upload=adult, **options)
            assert "for adults" in await told(command, upload=adult, **options)
            assert await themes.list() == before
            assert not await parts.store.read("SELECT * FROM image")
            assert not [*parts.library.root.glob("images/**/*.png")]

        made = {"name": "towers", "title": "Towers"}
        await refused("theme create", **made)
        assert "now carries" in await told(
            "theme create", upload=("tower.png", png(8, 8, "blue")), **made
        )
        theme = await themes.get("towers")
        assert theme.picture_sha256 is not None
        await told("theme edit", clear="picture")
        await refused("theme edit", title="Spires", topic="Of stone.")
        await told("theme edit", title="Spires", upload=("tower.png", png(8, 8, "blue")))
        assert await themes.get("towers") == msgspec.structs.replace(theme, title="Spires")


async def test_a_theme_that_is_not_made_keeps_no_picture(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        host = host_of(there)
        tower = ("tower.png", png(40, 30))
        result = await host.slash(
            there.channel, "theme create", name="Bad name", title="Towers", upload=tower
        )
        assert "short name" in result.response.content
        assert not await there.parts.store.read("SELECT * FROM image")
        assert not [*there.parts.library.root.glob("images/**/*.png")]
