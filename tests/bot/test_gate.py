"""Settings, who may ask by them, and who is blocked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from bot.errors import ForbiddenError, InvalidRequestError, LimitError, StoreError
from bot.gate import Asker, Gate
from bot.ids import now_ms
from bot.model import Act, Person
from bot.moderation import MAX_REASON
from bot.rights import Actor
from bot.settings import MAX_TERMS, ChannelSettings, Effective, GuildSettings, Nsfw, Settings
from tests.bot.drawer import ANN, BOB, Services, request, services

GUILD, CHANNEL, THREAD = 7, 70, 700
MODERATOR = Actor(Person("discord:9", "Mo"), guild_id=GUILD, moderates=True)


def asker(**changes: Any) -> Asker:
    plain = Asker(ANN, guild_id=GUILD, channel_id=CHANNEL)
    return msgspec.structs.replace(plain, **changes)


def gate_of(s: Services) -> Gate:
    return Gate(s.settings, s.moderation)


# --- settings -----------------------------------------------------------------------------------


async def test_settings_hold_at_once_and_after_a_restart(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        assert s.settings.effective(GUILD, CHANNEL) == Effective()
        await s.settings.change_guild(GUILD, BOB, per_person=3, blocked_words=[" Snark", "snark"])
        await s.settings.change_guild(GUILD, BOB, max_count=4)
        await s.settings.change_channel(
            GUILD, CHANNEL, BOB, per_person=1, blocked_words=["boojum"], nsfw="never"
        )
        await s.settings.change_channel(GUILD, THREAD, BOB, max_count=2, dreaming=False)
        wanted = Effective(
            per_person=1, max_count=4, blocked_words=("snark", "boojum"), nsfw=Nsfw.NEVER
        )
        in_thread = msgspec.structs.replace(wanted, max_count=2, dreaming=False)
    async with services(tmp_path) as s:
        assert s.settings.effective(GUILD, CHANNEL) == wanted
        assert s.settings.effective(GUILD, THREAD, CHANNEL) == in_thread
        assert s.settings.effective(GUILD, CHANNEL + 1).per_person == 3
        assert s.settings.effective(GUILD + 1, CHANNEL) == Effective()
        assert s.settings.effective(None, CHANNEL) == Effective()
        await s.settings.change_channel(GUILD, CHANNEL, BOB, per_person=None)
        assert s.settings.effective(GUILD, THREAD, CHANNEL).per_person == 3
        assert s.settings.channel(GUILD, CHANNEL).nsfw is Nsfw.NEVER
        assert s.settings.guild(GUILD + 1) == GuildSettings()
        log = await s.moderation.log(GUILD)
        assert [entry.act for entry in log] == [Act.SETTINGS] * 5
        assert log[0].by == BOB
        assert [entry.channel_id for entry in log] == [CHANNEL, THREAD, CHANNEL, None, None]
        assert log[-1].detail == {"changed": ["blocked_words", "per_person"]}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"per_person": -1}, "whole number from 0"),
        ({"per_hour": True}, "whole number from 0"),
        ({"max_count": 101}, "to 100"),
        ({"per_channel": "5"}, "whole number"),
        ({"dreaming": 1}, "on or off"),
        ({"explore": None}, "on or off"),
        ({"nsfw": "always"}, "Choose “channel”"),
        ({"allowed_role_ids": ["1"]}, "Choose roles"),
        ({"allowed_role_ids": list(range(51))}, "At most 50 roles"),
        ({"blocked_words": "snark"}, "separated by commas"),
        ({"blocked_words": ["x" * 61]}, "60 letters"),
        ({"blocked_words": ["*"]}, "needs a letter"),
        ({"blocked_words": [f"w{n}" for n in range(MAX_TERMS + 1)]}, "500 words"),
        ({"colour": "red"}, "no setting called “colour”"),
    ],
)
async def test_a_wrong_setting_is_told_and_nothing_changes(
    tmp_path: Path, change: dict[str, Any], sentence: str
) -> None:
    async with services(tmp_path, up=False) as s:
        with pytest.raises(InvalidRequestError, match=sentence):
            await s.settings.change_guild(GUILD, BOB, **({"per_person": 5} | change))
        assert s.settings.guild(GUILD) == GuildSettings()
        assert await s.moderation.log(GUILD) == []


async def test_a_change_that_cannot_be_kept_does_not_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with services(tmp_path, up=False) as s:

        def refuse(*_: object) -> None:
            raise StoreError("The database cannot be used.")

        monkeypatch.setattr(s.store, "write", refuse)
        with pytest.raises(StoreError):
            await s.settings.change_guild(GUILD, BOB, per_person=5)
        with pytest.raises(StoreError):
            await s.moderation.block(GUILD, ANN, MODERATOR)
        assert s.settings.effective(GUILD, CHANNEL) == Effective()
        assert s.moderation.blocked(GUILD) == []


async def test_settings_of_other_versions_are_read_as_far_as_they_are_known(
    tmp_path: Path,
) -> None:
    async with services(tmp_path, up=False) as s:
        async with s.store.write() as connection:
            await connection.execute(
                "INSERT INTO guild_settings VALUES (?, ?, 0)",
                (GUILD, '{"per_person": 4, "nsfw": "sometimes", "later": {"a": 1}}'),
            )
            await connection.execute(
                "INSERT INTO channel_settings VALUES (?, ?, ?, 0)",
                (CHANNEL, GUILD, '{"per_hour": 9, "later": 1}'),
            )
        settings = Settings(s.store)
        await settings.start()
        assert settings.guild(GUILD) == GuildSettings(per_person=4)
        assert settings.channel(GUILD, CHANNEL) == ChannelSettings(per_hour=9)


# --- who may ask --------------------------------------------------------------------------------


async def test_roles_say_who_may_ask(tmp_path: Path) -> None:
    async with services(tmp_path, up=False) as s:
        gate = gate_of(s)
        gate.check(asker())
        await s.settings.change_channel(
            GUILD, CHANNEL, BOB, allowed_role_ids=[1, 2], host_role_ids=[3]
        )
        for allowed in ({2}, {3}, {9, 1}):
            gate.check(asker(role_ids=frozenset(allowed)))
        gate.check(asker(moderates=True))
        gate.check(asker(channel_id=CHANNEL + 1))
        for refused in (asker(), asker(channel_id=THREAD, parent_id=CHANNEL)):
            with pytest.raises(ForbiddenError, match="certain roles"):
                gate.check(refused)
        assert gate.is_host(asker(role_ids=frozenset({3})))
        assert not gate.is_host(asker(role_ids=frozenset({1})))
        await s.settings.change_channel(GUILD, CHANNEL, BOB, dreaming=False)
        with pytest.raises(ForbiddenError, match="No dreams are asked for"):
            gate.check(asker(moderates=True))


async def test_how_many_and_whether_to_explore(tmp_path: Path) -> None:
    async with services(tmp_path, up=False) as s:
        gate = gate_of(s)
        gate.check(asker(), count=100, exploring=True)
        await s.settings.change_guild(GUILD, BOB, max_count=4, explore=False)
        gate.check(asker(), count=4)
        with pytest.raises(LimitError, match="At most 4 pictures"):
            gate.check(asker(), count=5)
        with pytest.raises(ForbiddenError, match="Exploring is off"):
            gate.check(asker(), exploring=True)


async def test_blocked_words_are_refused_without_being_repeated(tmp_path: Path) -> None:
    async with services(tmp_path, up=False) as s:
        gate = gate_of(s)
        await s.settings.change_guild(
            GUILD, BOB, blocked_words=["snark"], allowed_words=["snark island"]
        )
        gate.check(asker(), prompt="a map of Snark Island")
        with pytest.raises(InvalidRequestError, match="blocked here") as told:
            gate.check(asker(), prompt="a 5nark")
        assert "nark" not in str(told.value)
        gate.check(asker(guild_id=GUILD + 1), prompt="a snark")


async def test_words_for_adults_are_for_age_restricted_channels(tmp_path: Path) -> None:
    async with services(tmp_path, up=False) as s:
        gate, prompt = gate_of(s), "a nude in oil"
        with pytest.raises(InvalidRequestError, match="age-restricted"):
            gate.check(asker(), prompt=prompt)
        gate.check(asker(age_restricted=True), prompt=prompt)
        await s.settings.change_guild(GUILD, BOB, nsfw="never")
        with pytest.raises(InvalidRequestError, match="blocked here"):
            gate.check(asker(age_restricted=True), prompt=prompt)
        await s.settings.change_channel(GUILD, CHANNEL, BOB, nsfw="channel")
        gate.check(asker(age_restricted=True), prompt=prompt)
        await s.settings.change_guild(GUILD, BOB, allowed_words=["nude"])
        gate.check(asker(), prompt=prompt)


async def test_what_a_theme_brings_along_is_its_own(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        gate = gate_of(s)
        theme = await s.themes.create(
            "studies", "Studies", person=BOB, template="{prompt}, a nude study", negative="nsfw"
        )
        (dream,) = await s.dreams.ask(request("a tree", theme="studies", engine="diffusion"))
        assert "nude" in dream.recipe.prompt
        gate.check_dream(asker(), dream, theme)
        other = await s.themes.get("open")
        with pytest.raises(InvalidRequestError, match="for adults"):
            gate.check_dream(asker(), dream, other)
        for changes in (
            {"prompt": "an nsfw tree"},  # what it keeps out may not be asked for by that
            {"negative": "nsfw, naked"},
            {"settings": {"palette": "naked"}},
        ):
            recipe = msgspec.structs.replace(dream.recipe, **changes)
            with pytest.raises(InvalidRequestError, match="for adults"):
                gate.check_dream(asker(), msgspec.structs.replace(dream, recipe=recipe), theme)
        # Words that only come together when alternatives are chosen.
        (split,) = await s.dreams.ask(request("a {nak|nak}{ed|ed} tree"))
        gate.check(asker(), prompt=split.prompt)
        with pytest.raises(InvalidRequestError, match="for adults"):
            gate.check_dream(asker(), split, other)


# --- blocked people -----------------------------------------------------------------------------


async def test_who_is_blocked_is_told_until_when_and_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with services(tmp_path, up=False) as s:
        gate, at_ms = gate_of(s), now_ms()
        await s.moderation.block(
            GUILD, ANN, MODERATOR, reason="too\nmany foxes", until_ms=at_ms + 3 * 3600_000
        )
        with pytest.raises(ForbiddenError, match=r"3 hours\. A moderator says: too many foxes"):
            gate.check(asker())
        gate.check(asker(guild_id=GUILD + 1))
        gate.check(asker(person=BOB))
        (block,) = s.moderation.blocked(GUILD)
        assert (block.person, block.by) == (ANN, MODERATOR.person)
    async with services(tmp_path, up=False) as s:
        gate = gate_of(s)
        with pytest.raises(ForbiddenError, match="3 hours"):
            gate.check(asker())
        monkeypatch.setattr("bot.moderation.now_ms", lambda: at_ms + 3 * 3600_000)
        gate.check(asker())
        assert s.moderation.blocked(GUILD) == []
        monkeypatch.undo()
        await s.moderation.block(GUILD, ANN, MODERATOR)
        with pytest.raises(ForbiddenError, match=r"this server\. Ask a moderator"):
            gate.check(asker())
        assert await s.moderation.unblock(GUILD, ANN, MODERATOR)
        assert not await s.moderation.unblock(GUILD, ANN, MODERATOR)
        gate.check(asker())
        log = await s.moderation.log(GUILD)
        assert [entry.act for entry in log] == [Act.UNBLOCKED, Act.BLOCKED, Act.BLOCKED]
        assert {entry.person for entry in log} == {ANN}
        assert "foxes" not in str([entry.detail for entry in log])
        assert await s.moderation.log(GUILD, before=log[1].id) == [log[2]]


async def test_a_wrong_block_is_refused(tmp_path: Path) -> None:
    async with services(tmp_path, up=False) as s:
        for actor in (
            Actor(BOB),
            Actor(BOB, guild_id=GUILD),
            Actor(BOB, guild_id=GUILD + 1, moderates=True),
        ):
            with pytest.raises(ForbiddenError, match="Only who moderates"):
                await s.moderation.block(GUILD, ANN, actor)
            with pytest.raises(ForbiddenError, match="Only who moderates"):
                await s.moderation.unblock(GUILD, ANN, actor)
        with pytest.raises(InvalidRequestError, match="yourself"):
            await s.moderation.block(GUILD, MODERATOR.person, MODERATOR)
        with pytest.raises(InvalidRequestError, match="300 letters"):
            await s.moderation.block(GUILD, ANN, MODERATOR, reason="x" * (MAX_REASON + 1))
        for until_ms in (now_ms() - 1, now_ms() + 11 * 366 * 24 * 3600_000):
            with pytest.raises(InvalidRequestError, match="in the future"):
                await s.moderation.block(GUILD, ANN, MODERATOR, until_ms=until_ms)
        assert s.moderation.blocked(GUILD) == []


async def test_the_log_is_append_only(tmp_path: Path) -> None:
    async with services(tmp_path, up=False) as s:
        await s.moderation.block(GUILD, ANN, MODERATOR)
        for statement in (
            "UPDATE moderation_entry SET by_pseudonym = pseudonym",
            "DELETE FROM moderation_entry",
            "INSERT OR REPLACE INTO moderation_entry SELECT * FROM moderation_entry",
        ):
            with pytest.raises(Exception, match="append-only"):
                async with s.store.write() as connection:
                    await connection.execute(statement)


# --- favourites ---------------------------------------------------------------------------------


async def test_a_favourite_is_one_per_person_and_dream(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        first, second = await s.dreams.ask(request(count=2))
        assert await s.moderation.favourite(first.id, ANN) == (True, 1)
        assert await s.moderation.favourite(first.id, BOB) == (True, 2)
        assert await s.moderation.favourite(second.id, BOB) == (True, 1)
        assert await s.moderation.favourite(first.id, ANN) == (False, 1)
        assert await s.moderation.favourites([first.id, second.id, "none"]) == {
            first.id: 1,
            second.id: 1,
            "none": 0,
        }
        assert set(await s.moderation.liked(BOB)) == {first.id, second.id}
        await s.dreams.delete(first.id, Actor(ANN))
        assert await s.moderation.liked(BOB) == [second.id]
