"""The commands, one by one: what they do, and what they say to bad input."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import discord
import msgspec
import pytest

from bot.delivery.galleries import PAGE
from bot.errors import InvalidRequestError, NotFoundError
from bot.help import pages
from bot.model import Dream, Person, Relation, Shape
from bot.rights import Actor
from bot.signed_links import Shows, SignedLinks
from bot.sizes import shaped
from bot.store import deliveries
from bot.store.forgetting import NOBODY
from cogs.dream import request_of
from generation.protocol import Recipe
from tests.bot.drawer import FOURIER, png, request, until
from tests.discord_front.world import World, buttons_of, text_of, world


def member(there: World, name: str, **granted: bool) -> Any:
    """Return a member with these permissions."""
    guild = there.env.guild
    role = guild.create_role(name, permissions=discord.Permissions(**granted))
    return guild.add_member(there.env.create_user(name), roles=[role])


async def said(who: Any, there: World, command: str, **options: Any) -> str:
    """Have somebody use a command; return what only they are told."""
    result = await who.slash(there.channel, command, **options)
    assert result.ephemeral
    message = result.response.message
    return message.content or text_of(message)


async def waiting(there: World) -> list[Dream]:
    return await there.parts.dreams.unfinished(None)


async def drawn(there: World, **changes: Any) -> Dream:
    """Return a finished dream that was asked for elsewhere than here."""
    (dream,) = await there.parts.dreams.ask(request(**changes))
    await there.parts.draw(dream.id)
    return await there.parts.dreams.wait(dream.id)


def values(offered: Sequence[dict[str, Any]]) -> list[str]:
    assert len(offered) <= 25
    return [choice["value"] for choice in offered]


# --- asking --------------------------------------------------------------------------------


async def test_dream_takes_all_that_decides_a_picture(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        dream_id, _ = await there.ask(
            prompt="a red fox:2 | fog",
            style="watercolour, at night",
            shape="wide",
            engine="clip",
            options="cutouts=16, kind=hard, tiled=yes",
            steps=7,
            seed=5,
            film=True,
        )
        recipe = (await there.parts.dreams.get(dream_id)).recipe
        assert recipe.prompt == "a red fox, watercolour, at night:2 | fog"
        theme = await there.parts.themes.get("open")
        assert (recipe.width, recipe.height) == shaped(FOURIER, Shape.WIDE, theme)
        own = {"rate": 0.1, "cutouts": 16, "kind": "hard", "tiled": True}
        assert recipe.settings == own
        assert (recipe.steps, recipe.seed, recipe.film, recipe.until_step) == (7, 5, True, None)
        for options, says in (
            ({"shape": "wide", "size": "64"}, "not both"),
            ({"shape": "wide", "engine": "diffusion"}, "no room for wide"),
            ({"options": "cutouts"}, "cutouts=16"),
            ({"options": "nonsense=1"}, "no setting"),
            ({"options": "cutouts=1000"}, "from 1 to 128"),
            ({"mask": ("mask.png", png())}, "cannot redraw"),
            ({"sketch": ("lines.png", png())}, "cannot be led by a sketch"),
            ({"init": ("fox.gif", b"GIF89a")}, "not a picture"),
            ({"strength": 0.5}, "Give that picture too"),
        ):
            sentence = await said(there.ann, there, "dream", **({"prompt": "x"} | options))
            assert says in sentence, sentence
        assert len(await waiting(there)) == 1
        with pytest.raises(InvalidRequestError, match="square, portrait"):
            request_of("x", None, "round", None, None)


async def test_a_journey_goes_where_the_arrows_lead(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        await said(
            there.ann,
            there,
            "journey",
            prompt="a forest -> a city -> the sea",
            engine="clip",
            style="oil",
            seconds=2.0,
            zoom="1.05@0, 0.95@12",
            turn="1",
            loop=True,
            film_format="gif",
        )
        (dream,) = await waiting(there)
        journey = dream.recipe.journey
        assert journey is not None and journey.kind == "camera" and journey.frames == 24
        assert [stop.prompt for stop in journey.stops] == [
            "a forest, oil", "a city, oil", "the sea, oil", "a forest, oil",
        ]  # fmt: skip
        assert [(key.frame, key.value) for key in journey.zoom] == [(0, 1.05), (12, 0.95)]
        assert dream.recipe.film_format == "gif" and journey.rotate[0].value == 1
        for options, says in (
            ({"zoom": "far"}, "for each frame"),
            ({"kind": "walk", "turn": "3"}, "nothing moves"),
            ({"seconds": 30.0}, "up to 20 seconds"),
            ({"engine": "diffusion"}, "draws no journeys. CLIP-steered can."),
        ):
            asked = {"prompt": "a -> b", "engine": "clip"} | options
            sentence = await said(there.ann, there, "journey", **asked)
            assert says in sentence, sentence
        assert len(await waiting(there)) == 1
        await there.parts.draw(dream.id)
        done = await there.parts.dreams.wait(dream.id)
        assert {"continue", "animate"}.isdisjoint(there.parts.offspring.can(done))


async def test_what_is_typed_is_completed(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        ann, here = there.ann, there.channel
        assert "oil on canvas" in values(await ann.autocomplete(here, "dream", "style", ""))
        styles = values(await ann.autocomplete(here, "dream", "style", "pixel art, WATER"))
        assert styles[0] == "pixel art, watercolour"
        assert "pixel art, pixel art" not in values(
            await ann.autocomplete(here, "dream", "style", "pixel art, pix")
        )

        async def options(typed: str, **filled: Any) -> list[str]:
            filled = {"prompt": "x"} | filled
            return values(await ann.autocomplete(here, "dream", "options", typed, **filled))

        assert await options("", engine="clip") == ["rate=", "cutouts=", "kind=", "tiled="]
        assert await options("cutouts=8, k", engine="clip") == ["cutouts=8, kind="]
        assert await options("cutouts=8, kind=h") == ["cutouts=8, kind=hard"]
        assert await options("cutouts=8, cut") == []
        assert await options("tiled=") == ["tiled=true", "tiled=false"]
        assert await options("cutouts=77") == ["cutouts=77"]
        assert await options("", engine="diffusion") == []
        assert await options("x" * 99) == []


async def test_exploring_draws_first_looks(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        assert "4 first looks" in await said(there.ann, there, "explore", prompt="a fox", count=4)
        dreams = await waiting(there)
        assert [dream.relation for dream in dreams] == 4 * [Relation.EXPLORE]
        assert {dream.recipe.until_step for dream in dreams} == {30}
        seeds = [dream.recipe.seed for dream in dreams]
        assert seeds == list(range(seeds[0], seeds[0] + 4))
        await said(there.ann, there, "explore", prompt="an owl", count=5, after=12)
        assert (await waiting(there))[-1].recipe.until_step == 12
        await until(lambda: len(there.cards()) == 2)  # one card each
        by = Person("discord:1", "admin")
        guild_id = there.env.guild.id
        await there.parts.settings.change_guild(guild_id, by, explore=False)
        assert "Exploring is off" in await said(there.ann, there, "explore", prompt="a fox")


# --- changing ------------------------------------------------------------------------------


async def test_steering_by_command(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        assert "no dream" in await said(there.ann, there, "steer", words="a whale")
        first, _ = await there.ask(prompt="a first fox")
        second, _ = await there.ask(prompt="a second fox")
        await there.parts.begin(second)
        assert "over 10 steps" in await said(there.ann, there, "steer", words="a whale")
        await said(there.ann, there, "steer", words="an owl", dream=first, glide=0)
        steers = there.parts.drawer.steers
        assert steers == [(second, "a whale", 10), (first, "an owl", 0)]
        for options, says in (
            ({"dream": first, "glide": 101}, "0 to 100 steps"),
            ({"dream": "nonsense"}, "Which dream"),
            ({"words": " ", "dream": first}, "empty"),
        ):
            sentence = await said(there.ann, there, "steer", **({"words": "x"} | options))
            assert says in sentence, sentence
        assert "Only ann" in await said(there.bob, there, "steer", words="x", dream=first)
        guild_id, by = there.env.guild.id, Person("discord:1", "admin")
        await there.parts.settings.change_guild(guild_id, by, blocked_words=["whale"])
        assert "blocked here" in await said(there.ann, there, "steer", words="a Whale")
        assert len(there.parts.drawer.steers) == 2


async def test_drawing_once_more(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        dream_id, _ = await there.ask(prompt="a fox", seed=7, engine="clip", steps=9)
        await there.parts.draw(dream_id)
        before = (await there.parts.dreams.wait(dream_id)).recipe

        async def again(**options: Any) -> Recipe:
            assert "Once more" in await said(there.bob, there, "redo", dream=dream_id, **options)
            dream = (await waiting(there))[-1]
            assert (dream.parent_id, dream.relation) == (dream_id, Relation.REROLL)
            assert dream.person.name == "bob"
            return dream.recipe

        assert await again(same_seed=True) == before
        other = await again()
        assert other == msgspec.structs.replace(before, seed=other.seed)
        larger = await again(same_seed=True, size="64x96", steps=20)
        assert larger == msgspec.structs.replace(before, width=64, height=96, steps=20)
        assert (await again(steps=3)).seed != before.seed
        for options, says in (
            ({"dream": dream_id, "size": "big"}, "384x256"),
            ({"dream": dream_id, "steps": 5000}, "1 to 1,000"),
            ({"dream": "nonsense"}, "Which dream"),
            ({"dream": "0" * len(dream_id)}, "no such dream"),
        ):
            sentence = await said(there.bob, there, "redo", **options)
            assert says in sentence, sentence


# --- looking -------------------------------------------------------------------------------


async def test_a_dream_is_found_by_its_message(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        dream_id, card = await there.ask(seed=7)
        # The message is there a moment before it is written down which one it is.
        for _ in range(1000):
            (row,) = await deliveries.of_dream(there.parts.store, dream_id)
            if row.message_id is not None:
                break
            await asyncio.sleep(0.01)
        link = f"https://discord.com/channels/{there.env.guild.id}/{there.channel.id}/{card.id}"
        assert "Seed: 7" in await said(there.bob, there, "recipe", dream=f" <{link}> ")
        assert "a red fox" in await said(there.bob, there, "show", dream=link)
        nothing = link.replace(str(card.id), str(card.id + 1))
        for wrong in (nothing, link.replace(str(card.id), "9" * 20)):
            assert "shows no dream" in await said(there.bob, there, "show", dream=wrong)
        owner = Actor((await there.parts.dreams.get(dream_id)).person)
        await there.parts.moderation.delete(dream_id, owner)
        assert "deleted" in await said(there.bob, there, "show", dream=link)
        assert "deleted" in await said(there.bob, there, "recipe", dream=dream_id)


async def test_a_stream_shows_its_pictures(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        assert "Nothing has been drawn" in await said(there.ann, there, "stream latest")
        assert "Nobody has marked" in await said(there.ann, there, "stream best")
        assert "You have no pictures" in await said(there.ann, there, "stream mine")
        assert "no page" in await said(there.ann, there, "stream link")
        others = [await drawn(there, prompt=f"picture {n}", seed=n) for n in range(PAGE + 2)]
        mine, _ = await there.ask(prompt="a *red* fox")
        await there.parts.draw(mine)
        await there.parts.dreams.wait(mine)
        there.client.front = replace(there.client.front, wall_url="https://wall.example")

        result = await there.ann.slash(there.channel, "stream latest")
        message = result.response.message
        assert len(message.attachments) == PAGE
        assert r"1\. **a \*red\* fox** · ann" in text_of(message)
        assert f"<https://wall.example/d/{mine}>" in text_of(message)
        assert "https://wall.example/s/open" in text_of(message)
        assert "picture 2" not in text_of(message)
        galleries = [
            one
            for part in message.components
            for one in getattr(part, "children", ())
            if isinstance(one, discord.components.MediaGalleryComponent)
        ]
        assert all(item.description for item in galleries[0].items)
        turned = await there.ann.click(result.response, label="More")
        assert r"11\. **picture 2**" in text_of(turned.response.message)
        assert len(turned.response.message.attachments) == 3
        # From a page one goes on to any of its pictures, and what can be done with it.
        looked = await there.ann.select(
            turned.response.message, [others[1].id], custom_id="gallery:look"
        )
        assert looked.ephemeral and "picture 1" in text_of(looked.response.message)
        assert "Another seed" in buttons_of(looked.response.message)
        back = await there.ann.click(turned.response, label="Back")
        assert "fox" in text_of(back.response.message)

        for dream, names in ((others[3], ("ann", "bob")), (others[5], ("ann",))):
            for name in names:
                await there.parts.moderation.favourite(dream.id, Person(f"guest:{name}", name))
        best = await said(there.ann, there, "stream best")
        assert best.index("picture 3") < best.index("picture 5")
        assert "♥ 2" in best
        assert "fox" not in best
        own = await said(there.ann, there, "stream mine")
        assert "fox" in own
        assert "picture" not in own.replace("Your pictures", "")
        assert "<https://wall.example/s/open>" in await said(there.ann, there, "stream link")


async def test_help_has_pages_with_pictures(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        result = await there.ann.slash(there.channel, "help")
        page = result.response.message
        assert result.ephemeral
        assert "/dream prompt" in text_of(page)
        assert {file.filename for file in page.attachments} == {
            "beach-11.webp",
            "strawberry.webp",
        }
        for one in pages()[1:]:
            result = await there.ann.click(result.response, label=one.name)
            page = result.response.message
            assert one.title in text_of(page)
            drawn_here = [example.file for example in one.pictures]
            assert [file.filename for file in page.attachments] == drawn_here


# --- hosts, moderators, administrators -------------------------------------------------------


async def test_a_theme_is_shown_listed_and_changed(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        host = member(there, "host", manage_channels=True)
        assert "no theme of its own" in await said(host, there, "theme edit", title="Mine")
        await said(host, there, "theme create", name="castles", title="Castles", size="64x96")
        told = await said(
            host, there, "theme edit", template="a castle of {prompt}", steps=5, colour="#102030"
        )
        assert "Changed. **Castles**" in told
        assert "Around every prompt: a castle of {prompt}" in told
        assert "Size: 64×96" in told
        dream_id, _ = await there.ask(prompt="glass", engine="clip")
        recipe = (await there.parts.dreams.get(dream_id)).recipe
        assert recipe.prompt == "a castle of glass"
        assert (recipe.width, recipe.height, recipe.steps) == (64, 96, 5)
        told = await said(host, there, "theme edit", clear="size", visibility="link")
        assert "Size" not in told
        assert "Seen by: Who has the link" in told
        assert "→ Castles (`castles`)" in await said(host, there, "theme list")
        assert "Open canvas" in await said(host, there, "theme show", theme="open")
        for options, says in (
            ({}, "Say what is to change"),
            ({"template": "nothing"}, "must hold {prompt} once"),
            ({"size": "huge"}, "384x256"),
            ({"colour": "red"}, "#7c6cff"),
        ):
            sentence = await said(host, there, "theme edit", **options)
            assert says in sentence, sentence
        await there.client.front.channels.bind(1, 2, "castles")  # another server takes it up
        assert "not this server's alone" in await said(host, there, "theme edit", title="Ours")
        known = {one.name: one for one in await there.client.tree.fetch_commands()}
        there.env.guild.set_command_permissions(known["theme"], {there.ann: True})
        assert "Only who may manage" in await said(there.ann, there, "theme edit", title="Mine")


async def test_settings_bind_the_channel(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        admin = member(there, "admin", manage_guild=True)
        painters = there.env.guild.create_role("Painters")
        assert "as the machine allows" in await said(admin, there, "settings show")
        told = await said(admin, there, "settings server", max_count=2, per_hour=9)
        assert "Pictures in one ask: **2**" in told
        assert "At most 2 pictures" in await said(there.ann, there, "dream", prompt="x", count=3)
        await said(admin, there, "settings channel", max_count=1, dreaming=False)
        assert "Try another one" in await said(there.ann, there, "dream", prompt="x")
        told = await said(admin, there, "settings channel", reset=True)
        assert "Pictures in one ask: **2**" in told
        await said(admin, there, "settings words", add="Whale, red fox")
        assert "blocked" in await said(there.ann, there, "dream", prompt="a RED fox")
        assert await said(admin, there, "settings words") == "||whale, red fox||"
        await said(admin, there, "settings words", remove="red fox")
        assert "blocked" in await said(there.ann, there, "dream", prompt="x", negative="whale")
        await there.ask(prompt="a red fox")
        await said(admin, there, "settings role", role=painters, what="allowed_role_ids")
        assert "certain roles" in await said(there.ann, there, "dream", prompt="x")
        await said(admin, there, "settings role", role=painters, what="allowed_role_ids", may=False)
        everybody = there.env.guild.default_role
        told = await said(admin, there, "settings role", role=everybody, what="allowed_role_ids")
        assert "By: everybody" in told
        await there.ask(prompt="an owl")
        assert "Say what is to change" in await said(admin, there, "settings server")
        known = {one.name: one for one in await there.client.tree.fetch_commands()}
        there.env.guild.set_command_permissions(known["settings"], {there.ann: True})
        for command in ("settings show", "settings server", "settings channel", "settings words"):
            assert "Only who may manage" in await said(there.ann, there, command)


async def test_moderators_keep_order(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        mod = member(there, "mod", manage_messages=True)
        assert "Nobody is blocked" in await said(mod, there, "moderate blocked")
        told = await said(
            mod, there, "moderate block", person=there.ann, hours=2, reason="too *loud*"
        )
        assert r"**ann**, until <t:" in told
        assert r"too \*loud\*" in told
        assert "may not ask" in await said(there.ann, there, "dream", prompt="x")
        assert "ann" in await said(mod, there, "moderate blocked")
        assert "yourself" in await said(mod, there, "moderate block", person=mod)
        assert "may ask again" in await said(mod, there, "moderate unblock", person=there.ann)
        assert "was not blocked" in await said(mod, there, "moderate unblock", person=there.ann)
        dream_id, _ = await there.ask()
        assert "Deleted" in await said(mod, there, "moderate delete", dream=dream_id)
        assert "deleted" in await said(mod, there, "moderate delete", dream=dream_id)
        log = (await said(mod, there, "moderate log")).splitlines()
        assert [line.split(" mod ")[1].split()[0] for line in log] == [
            "deleted",
            "ended",
            "unblocked",
            "blocked",
        ]
        known = {one.name: one for one in await there.client.tree.fetch_commands()}
        there.env.guild.set_command_permissions(known["moderate"], {there.ann: True})
        # Settings are called as the commands call them.
        guild_id, admin = there.env.guild.id, Person("discord:1", "admin")
        await there.parts.settings.change_guild(guild_id, admin, nsfw="never", allowed_role_ids=())
        await there.parts.settings.change_channel(guild_id, there.channel.id, admin, per_hour=3)
        newest = (await said(mod, there, "moderate log")).splitlines()[:2]
        assert newest[0].endswith(f"changed settings: per hour in <#{there.channel.id}>")
        assert newest[1].endswith("settings: who may ask, adult words in the whole server")
        for command in ("moderate blocked", "moderate log"):
            assert "Only who may manage" in await said(there.ann, there, command)
        told = await said(there.ann, there, "moderate block", person=there.bob)
        assert "Only who may manage" in told
        # Who was forgotten is called nothing in what is kept, but told back as they were named.
        async with there.parts.store.write() as connection:
            await connection.execute(
                "UPDATE person SET name = ? WHERE id = ?", (NOBODY, f"discord:{there.ann.id}")
            )
        assert "**ann**" in await said(mod, there, "moderate block", person=there.ann)
        assert f"**{NOBODY}**" in await said(mod, there, "moderate blocked")


async def test_who_does_not_publish_is_not_in_the_stream(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        assert "is shown on the wall" in await said(there.ann, there, "privacy wall")
        assert "stays where you ask" in await said(there.ann, there, "privacy wall", publish=False)
        dream_id, _ = await there.ask()
        await there.parts.draw(dream_id)
        assert not (await there.parts.dreams.wait(dream_id)).published
        assert "Nothing has been drawn" in await said(there.bob, there, "stream latest")
        assert "fox" in await said(there.ann, there, "stream mine")
        other = there.env.guild.create_text_channel("other")
        result = await there.bob.slash(other, "show", dream=dream_id)
        assert "no such dream" in result.response.content
        assert "is shown" in await said(there.ann, there, "privacy wall", publish=True)


# --- what is sent to Discord -----------------------------------------------------------------


async def test_where_commands_are_offered(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        commands = there.client.tree.get_commands()
        for command in commands:
            at = command.to_dict(there.client.tree)
            servers_only = command.name in ("theme", "settings", "moderate", "party", "game")
            assert at["integration_types"] == ([0] if servers_only else [0, 1]), command.name
            assert at["contexts"] == ([0] if servers_only else [0, 1, 2])
            needed = {"theme": "manage_channels", "settings": "manage_guild"}
            needed |= {"moderate": "manage_messages"}
            wanted = needed.get(command.name)
            permissions = wanted and discord.Permissions(**{wanted: True}).value
            assert at.get("default_member_permissions") == permissions, command.name
        menus = [one.name for one in commands if isinstance(one, discord.app_commands.ContextMenu)]
        assert len(menus) == 4


async def test_a_command_that_has_changed_says_so(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        tree = there.client.tree
        known = tree.get_command("queue")
        assert isinstance(known, discord.app_commands.Command)
        tree.remove_command("queue")  # as if it were gone in a newer version
        assert "has changed" in await said(there.ann, there, "queue")
        tree.add_command(discord.app_commands.Group(name="queue", description="x"))
        assert "has changed" in await said(there.ann, there, "queue")
        # The simulation notes whatever the library reports, also what we answer.
        with pytest.raises(ExceptionGroup) as noted:
            there.env.raise_errors()
        assert [type(one) for one in noted.value.exceptions] == [
            discord.app_commands.CommandNotFound,
            discord.app_commands.CommandSignatureMismatch,
        ]


async def test_where_no_server_is(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        zoe = there.env.create_user("zoe")
        offered = zoe.available_commands()
        assert {"dream", "explore", "show", "stream mine", "help", "privacy export"} <= set(offered)
        assert not any(name.startswith(("theme", "settings", "moderate")) for name in offered)
        result = await zoe.slash("help")
        assert "/dream prompt" in text_of(result.response.message)
        result = await zoe.slash("queue")
        assert "Nothing is being drawn" in result.response.content
        result = await zoe.slash("stream latest")
        assert "Nothing has been drawn" in text_of(result.response.message)
        result = await zoe.slash("dream", prompt="a red fox", seed=7)
        assert "only you see this" in result.response.content
        (dream,) = await waiting(there)
        assert (dream.guild_id, dream.recipe.seed) == (None, 7)
        result = await zoe.slash("show", dream=dream.id)
        assert "a red fox" in text_of(result.response.message)
        result = await zoe.slash("cancel")
        assert "Cancelled" in result.response.content


async def test_who_manages_the_channel_gives_links_that_expire(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        links, host = SignedLinks.open(tmp_path), member(there, "Hosts", manage_channels=True)
        there.client.front = replace(
            there.client.front, wall_url="https://wall.example", links=links
        )
        dream_id, _ = await there.ask(prompt="a red fox")
        await there.parts.draw(dream_id)
        await there.parts.dreams.wait(dream_id)
        assert "Only who may manage" in await said(there.bob, there, "stream link", hours=2)
        assert "Only who may manage" in await said(there.bob, there, "stream link", end=True)
        told = await said(host, there, "stream link", hours=2)
        token = re.search(r"<https://wall\.example/l/([^>]+)>", told)
        assert token is not None
        grant = links.read(token[1])
        assert grant.shows is Shows.THEME and f"<t:{grant.until_ms // 1000}:f>" in told
        one = await said(host, there, "stream link", dream=dream_id)
        other = re.search(r"/l/([^>]+)>", one)
        assert other is not None and "a red fox" in one
        assert (links.read(other[1]).shows, links.read(other[1]).id) == (Shows.DREAM, dream_id)
        assert "No link to" in await said(host, there, "stream link", end=True)
        with pytest.raises(NotFoundError):
            links.read(token[1])
        assert links.read(other[1]).id == dream_id
        await said(host, there, "stream link", end=True, dream=dream_id)
        with pytest.raises(NotFoundError):
            links.read(other[1])
