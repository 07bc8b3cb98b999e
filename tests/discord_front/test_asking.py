"""Who may ask for what in a channel: every way of asking goes through the same door."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import discord
import simcord

from bot.errors import LimitError
from bot.gate import Asker
from bot.judging import judge
from bot.model import DreamState, Person
from bot.rights import Actor
from generation.protocol import Failed
from tests.bot.drawer import ANN, BOB, request, services, until
from tests.discord_front.world import World, buttons_of, world

MODERATOR = Person("discord:9", "Mo")


async def asked(there: World, who: Any, **options: Any) -> str:
    """Have somebody ask; return what they alone were told."""
    result = await who.slash(there.channel, "dream", **({"prompt": "a red fox"} | options))
    return said(result)


def said(result: simcord.InteractionResult) -> str:
    assert result.ephemeral
    assert result.response is not None
    return str(result.response.content)


async def waiting(there: World) -> int:
    return len(await there.parts.dreams.unfinished(None))


def place(there: World) -> tuple[int, int]:
    return there.channel.guild.id, there.channel.id


async def change(there: World, **changes: Any) -> None:
    await there.parts.settings.change_channel(*place(there), MODERATOR, **changes)


async def test_who_is_blocked_or_lacks_a_role_is_told_so(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        guild_id, _ = place(there)
        ann = Person(f"discord:{there.ann.id}", "ann")
        moderator = Actor(MODERATOR, guild_id=guild_id, moderates=True)
        await there.parts.moderation.block(guild_id, ann, moderator, reason="@everyone foxes")
        assert "A moderator says" in await asked(there, there.ann)
        await there.parts.moderation.unblock(guild_id, ann, moderator)
        role = there.channel.guild.create_role("dreamers")
        member = there.channel.guild.add_member(there.env.create_user("cat"), roles=[role])
        await change(there, allowed_role_ids=[role.id])
        assert "certain roles" in await asked(there, there.ann)
        assert await waiting(there) == 0
        assert there.cards() == []
        await asked(there, member)
        assert await waiting(there) == 1


async def test_blocked_words_are_found_wherever_they_are_typed(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        dream_id, card = await there.ask(prompt="a red fox")
        await change(there, blocked_words=["snark", "fox"], allowed_words=["red fox"])
        refusals = [
            await asked(there, there.ann, prompt="a 5nark"),
            await asked(there, there.ann, prompt="a tree", engine="diffusion", negative="snark"),
            await asked(there, there.ann, prompt="{sn|sn}{ark|ark}"),
        ]
        await there.parts.begin(dream_id)
        form = await there.ann.click(card, label="Steer")
        refusals.append(said(await there.ann.submit_modal(form, {"prompt": "a snark"})))
        await there.parts.draw(dream_id)
        await until(lambda: "Another seed" in buttons_of(there.cards()[-1]))
        form = await there.ann.click(there.cards()[-1], label="Remix")
        refusals.append(said(await there.ann.submit_modal(form, {"prompt": "a snark"})))
        # Words that were blocked only after they were said are not to be said again.
        await change(there, allowed_words=[])
        refusals.append(said(await there.bob.click(there.cards()[-1], label="Another seed")))
        for refusal in refusals:
            assert "blocked here" in refusal
            assert "nark" not in refusal
        assert await waiting(there) == 0
        assert (await there.parts.dreams.get(dream_id)).recipe.steers == ()


async def test_many_asks_at_once_do_not_pass_a_limit_together(tmp_path: Path) -> None:
    async with services(tmp_path) as parts:
        await parts.settings.change_channel(7, 70, MODERATOR, per_channel=3, per_person=2)

        async def ask(person: Person) -> int:
            asker = Asker(person, guild_id=7, channel_id=70)
            wish = request(person=person, guild_id=7, channel_id=70)
            try:
                judging = partial(judge, parts.gate, parts.themes, asker)
                return len(await parts.dreams.ask(wish, judging))
            except LimitError as error:
                assert "waiting at once" in str(error)
                return 0

        assert sum(await asyncio.gather(*(ask(who) for who in (ANN, BOB) * 6))) == 3
        assert len(await parts.dreams.unfinished(None)) == 3


async def test_what_fails_is_given_back(tmp_path: Path) -> None:
    async with world(tmp_path, retry_delays_s=()) as there:
        await change(there, per_hour=2)
        ids = []
        for _ in range(2):
            dream_id, _ = await there.ask()
            ids.append(dream_id)
        assert "within an hour" in await asked(there, there.ann)
        assert "within an hour" not in await asked(there, there.bob)
        await there.parts.begin(ids[0])
        await there.parts.dreams.on_message(Failed(job_id=ids[0], reason="Out of luck."))
        assert (await there.parts.dreams.wait(ids[0])).state is DreamState.FAILED
        assert "within an hour" not in await asked(there, there.ann)
        assert "within an hour" in await asked(there, there.ann)
        # Cancelled before it began is given back; after that it is not.
        author = Actor(Person(f"discord:{there.ann.id}", "ann"))
        await there.parts.dreams.cancel(ids[1], author)
        await there.ask()
        (newest, *_) = reversed(await there.parts.dreams.unfinished(None))
        await there.parts.begin(newest.id)
        await there.parts.dreams.cancel(newest.id, author)
        assert "within an hour" in await asked(there, there.ann)


async def test_an_age_restricted_channel_keeps_its_dreams_to_itself(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        assert "age-restricted" in await asked(there, there.ann, prompt="a nude in oil")
        channel = there.client.get_channel(there.channel.id)
        assert isinstance(channel, discord.TextChannel)
        channel.nsfw = True
        await there.ask(prompt="a nude in oil")
        channel.nsfw = False
        await there.ask(prompt="a tree")
        await change(there, published=False)
        await there.ask(prompt="a bird")
        dreams = await there.parts.dreams.unfinished(None)
        assert {dream.prompt: dream.published for dream in dreams} == {
            "a nude in oil": False,
            "a tree": True,
            "a bird": False,
        }


async def test_what_is_not_published_is_in_no_other_channels_queue(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        elsewhere = there.channel.guild.create_text_channel("elsewhere")
        await there.parts.moderation.set_publishes(Person(f"discord:{there.ann.id}", "ann"), False)
        await there.ask(prompt="a quiet wish")
        for who, channel, listed in (
            (there.bob, there.channel, True),
            (there.ann, elsewhere, True),
            (there.bob, elsewhere, False),
        ):
            assert ("a quiet wish" in said(await who.slash(channel, "queue"))) is listed


async def test_what_others_make_of_a_dream_is_published_only_where_that_is(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as there:
        parts, bob = there.parts, there.bob
        for published in (False, True):
            ann = Person(f"discord:{there.ann.id}", "ann")
            await parts.moderation.set_publishes(ann, published)
            first_id, card = await there.ask(prompt="ann's own words", count=2)
            for dream in await parts.dreams.together(first_id):
                await parts.draw(dream.id)
            await until(lambda: not there.client.delivery.unsettled)
            await bob.slash(there.channel, "redo", dream=first_id)
            await bob.slash(there.channel, "redo", dream=first_id, steps=3)
            await bob.click(card, label="Other seeds")
            theirs = await parts.dreams.unfinished(None)
            assert len(theirs) == 4, [dream.prompt for dream in theirs]
            me = Person("local:me", "me")
            theirs.append(await parts.dreams.redo(first_id, me, same_seed=True))
            assert [dream.published for dream in theirs] == [published] * 5
            for dream in theirs:
                await parts.draw(dream.id)
            await until(lambda: not there.client.delivery.unsettled)
