"""Who asks at the wall signed in asks by the rules of the server that they would ask in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request

from bot.audit import Why
from bot.checking.service import Brought, PictureChecks
from bot.errors import ForbiddenError, InvalidRequestError, LimitError
from bot.gate import Asker
from bot.membership import Place
from bot.model import AskedBy, Person, PictureCheck, Visibility
from bot.rights import Actor, moderates
from bot.store import people
from bot.store.portraits import Reach
from bot.wall import WallSettings
from bot.wall.here import actor_of
from bot.wall.passes import Pass, showing, shown
from bot.wall.server_rules import KEPT, MUTE_THERE, NO_STEER, NOT_HERE, ServerRules
from tests.bot.drawer import Services, png, request, services
from tests.bot.test_repainting import PAINTER, done, half, up

ANN = Person("discord:5", "Ann")
MOD = Person("discord:9", "Mod")
GUILD, CHANNEL = 7, 70


class Member:
    def __init__(self, person: Person, *places: Place) -> None:
        self.person = person
        self._places = places

    async def places(self, theme_id: int) -> Sequence[Place]:
        return self._places

    async def private_places(self, theme_id: int) -> Sequence[Place]:
        return self._places

    async def private_themes(self) -> Sequence[int]:
        return ()

    async def place(self, guild_id: int, channel_id: int) -> Place | None:
        here = [one for one in self._places if one.channel_id == channel_id]
        return here[0] if here and here[0].guild_id == guild_id else None


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Services]:
    async with services(tmp_path) as parts:
        await parts.up()
        await parts.settings.start()
        await parts.moderation.start()
        await parts.themes.create("hidden", "Hidden", visibility=Visibility.PRIVATE)
        yield parts


@contextmanager
def rules(parts: Services, *, guests_ask: bool) -> Iterator[ServerRules]:
    """Have them judge for as long as this lasts."""
    made = ServerRules(parts.gate, parts.themes, guests_ask=guests_ask)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(parts.dreams, "_placer", made.place)
        yield made


def place(**more: Any) -> Place:
    return Place(**({"guild_id": GUILD, "channel_id": CHANNEL, "asks": True} | more))


async def asks(parts: Services, *places: Place, by: Person = ANN, prompt: str = "a fox") -> Any:
    """Ask signed in, with these channels that carry the theme; return the dream as it is kept."""
    theme = await parts.themes.get("hidden")
    with showing(Pass(member=Member(ANN, *places))):
        await shown().learn(theme.id)
        (dream,) = await parts.dreams.ask(request(prompt, theme="hidden", person=by))
    return await parts.dreams.get(dream.id)


async def test_what_they_ask_for_counts_where_they_would_ask(parts: Services) -> None:
    await parts.settings.change_channel(GUILD, CHANNEL, MOD, picture_check=PictureCheck.REFUSE)
    with rules(parts, guests_ask=False):
        dream = await asks(parts, place())
        assert (dream.guild_id, dream.channel_id, dream.published) == (GUILD, CHANNEL, True)
        assert dream.checked_as is PictureCheck.REFUSE and dream.person == ANN
        await parts.settings.change_guild(GUILD, MOD, per_person=1)
        with pytest.raises(LimitError, match="one dream waiting"):
            await asks(parts, place())
        # Another channel with the theme, of another server, has limits of its own.
        other = await asks(parts, place(guild_id=8, channel_id=80))
        assert other.guild_id == 8


async def test_what_their_server_refuses_is_refused_and_leaves_nothing(parts: Services) -> None:
    with rules(parts, guests_ask=True):
        await parts.settings.change_guild(GUILD, MOD, blocked_words=("badger",))
        with pytest.raises(InvalidRequestError, match="blocked"):
            await asks(parts, place(), prompt="a badger")
        await parts.settings.change_guild(GUILD, MOD, allowed_role_ids=(3,))
        with pytest.raises(ForbiddenError, match="certain roles"):
            await asks(parts, place())
        assert (await asks(parts, place(role_ids=frozenset({3})))).guild_id == GUILD
        await parts.settings.change_guild(GUILD, MOD, allowed_role_ids=(), published=False)
        with pytest.raises(ForbiddenError, match="not shown at the wall") as refused:
            await asks(parts, place())
        assert str(refused.value) == KEPT
        with pytest.raises(ForbiddenError, match="not shown at the wall"):
            await asks(parts, place(guild_id=9, channel_id=90, age_restricted=True))
    rows = await parts.store.read("SELECT count(*) AS count FROM dream")
    assert rows[0]["count"] == 1


async def test_where_they_may_not_write_they_ask_as_guests_do(parts: Services) -> None:
    with rules(parts, guests_ask=False), pytest.raises(ForbiddenError) as refused:
        await asks(parts, place(asks=False))
    assert str(refused.value) == NOT_HERE
    with rules(parts, guests_ask=False), pytest.raises(ForbiddenError):
        await asks(parts)
    with rules(parts, guests_ask=True), pytest.raises(ForbiddenError):
        await asks(parts, place(asks=False))  # who may read a private stream there, and not write
    with rules(parts, guests_ask=True):
        assert (await asks(parts)).guild_id is None
        await parts.themes.change("hidden", visibility=Visibility.PUBLIC)
        assert (await asks(parts, place(asks=False))).guild_id is None


async def test_who_wants_nothing_on_the_wall_asks_for_nothing_there(parts: Services) -> None:
    async with parts.store.write() as connection:
        await people.upsert(connection, ANN, 0)
        await people.set_publishes(connection, ANN.id, publishes=False)
    with rules(parts, guests_ask=True), pytest.raises(ForbiddenError, match="/privacy wall"):
        await asks(parts, place())


async def test_others_are_none_of_its_business(parts: Services) -> None:
    with rules(parts, guests_ask=False):
        assert (await asks(parts, by=Person("guest:x", "x"))).guild_id is None
        (dream,) = await parts.dreams.ask(request("a fox", theme="hidden", person=ANN))
        assert dream.guild_id is None


async def test_who_moderates_there_moderates_here(parts: Services) -> None:
    with rules(parts, guests_ask=False):
        dream = await asks(parts, place())
    request = make_mocked_request("GET", "/")
    settings = WallSettings(mode="proxy")
    for places, may in (
        ([place(moderates=True)], True),
        ([place()], False),
        ([place(guild_id=8, moderates=True), place()], False),
    ):
        with showing(Pass(member=Member(MOD, *places))):
            await shown().learn(dream.theme_id)
            assert moderates(dream, actor_of(request, settings, dream)) is may
            assert not actor_of(request, settings).moderates


async def test_a_steer_has_no_blocked_words_either(parts: Services) -> None:
    await parts.settings.change_guild(GUILD, MOD, blocked_words=("badger",))
    theme = await parts.themes.get("hidden")
    with rules(parts, guests_ask=False) as judging:
        dream = await asks(parts, place())
        # It is the dream's own channel that counts: none with the theme was looked for.
        with showing(Pass(member=Member(ANN, place()))):
            check = await judging.check_steer(dream)
            assert check is not None
            check("a fox", theme)
            with pytest.raises(InvalidRequestError):
                check("a badger", theme)
            await parts.settings.change_guild(GUILD, MOD, allowed_role_ids=(3,))
            with pytest.raises(ForbiddenError, match="certain roles"):
                check("a fox", theme)
        # Who was muted, though they ask elsewhere, writes no words into its card.
        muted = Member(ANN, place(asks=False), place(channel_id=71))
        with showing(Pass(member=muted)):
            with pytest.raises(ForbiddenError) as refused:
                await judging.check_steer(dream)
            with pytest.raises(ForbiddenError):
                await judging.member_of(dream)
        assert str(refused.value) == MUTE_THERE
        # Who was banned, or whom Discord does not tell of, is in no channel.
        with (
            showing(Pass(member=Member(ANN, place(channel_id=71)))),
            pytest.raises(ForbiddenError) as refused,
        ):
            await judging.check_steer(dream)
        assert str(refused.value) == NO_STEER
        # Whoever else it may be is held to the same words, as at a party of that server.
        check = await judging.check_steer(dream)
        assert check is not None
        with pytest.raises(ForbiddenError):
            check("a fox", theme)
        nowhere = await parts.dreams.ask(request("a fox", theme="hidden", person=ANN))
        assert await judging.check_steer(nowhere[0]) is None


async def test_a_steer_of_a_theme_on_no_channel_is_judged_where_the_dream_is(
    parts: Services,
) -> None:
    await parts.settings.change_guild(GUILD, MOD, blocked_words=("badger",))
    [dream] = await parts.dreams.ask(
        request("a fox", person=ANN, guild_id=GUILD, channel_id=CHANNEL)
    )
    with rules(parts, guests_ask=True) as judging, showing(Pass(member=Member(ANN, place()))):
        check = await judging.check_steer(dream)
        with pytest.raises(InvalidRequestError, match="blocked"):
            await parts.dreams.steer(dream.id, Actor(ANN), "a badger", check=check)


async def test_nobody_is_told_of_a_refusal_where_another_place_takes_it(parts: Services) -> None:
    told: list[tuple[int | None, Why]] = []
    parts.gate.on_refusal(lambda _, guild_id, __, why: told.append((guild_id, why)))
    await parts.settings.change_guild(GUILD, MOD, blocked_words=("badger",))
    elsewhere = place(guild_id=8, channel_id=80)
    with rules(parts, guests_ask=False):
        assert (await asks(parts, place(), elsewhere, prompt="a badger")).guild_id == 8
        assert told == []
        await parts.settings.change_guild(8, MOD, blocked_words=("badger",))
        with pytest.raises(InvalidRequestError):
            await asks(parts, place(), elsewhere, prompt="a badger")
    assert told == [(GUILD, Why.BLOCKED_WORD)]


async def test_a_host_in_discord_is_one_here(parts: Services) -> None:
    theme = await parts.themes.create("ours", "Ours", person=MOD, guild_id=8)
    await parts.themes.change("ours", asked_by=AskedBy.HOSTS)
    theme = await parts.themes.get("ours")
    here, there = place(moderates=True), place(guild_id=8, channel_id=80, moderates=True)
    with rules(parts, guests_ask=True) as judging:
        for places, guild_id in (((here, there), 8), ((here,), None), ((), None)):
            with showing(Pass(member=Member(ANN, *places))):
                await shown().learn(theme.id)
                assert await judging.is_host(theme) is (guild_id is not None)
                asking = parts.dreams.ask(request("a fox", theme="ours", person=ANN))
                if guild_id is None:
                    with pytest.raises(ForbiddenError, match="those who made it"):
                        await asking
                else:
                    assert (await asking)[0].guild_id == guild_id
        with showing(Pass(member=Member(MOD))):
            assert await judging.is_host(theme)
        assert not await judging.is_host(theme)


async def test_a_portrait_for_one_alone_counts_there_and_is_shown_nowhere(
    parts: Services,
) -> None:
    theme = await parts.themes.get("hidden")
    with rules(parts, guests_ask=True), showing(Pass(member=Member(ANN, place()))):
        draft = await parts.portraits.draft(Asker(ANN), "a calm diver", Reach.SELF, theme)
        kept = await parts.portraits.consent(draft.token, ANN)
        dream = await parts.dreams.get(kept.dream.id)
        assert (dream.guild_id, dream.channel_id, dream.published) == (GUILD, None, False)
        draft = await parts.portraits.draft(Asker(ANN), "a calm diver", Reach.STREAM, theme)
        kept = await parts.portraits.consent(draft.token, ANN)
        dream = await parts.dreams.get(kept.dream.id)
        assert (dream.guild_id, dream.channel_id, dream.published) == (GUILD, CHANNEL, True)
        await parts.settings.change_guild(GUILD, MOD, blocked_words=("diver",))
        draft = await parts.portraits.draft(Asker(ANN), "a calm diver", Reach.SELF, theme)
        with pytest.raises(InvalidRequestError, match="blocked"):
            await parts.portraits.consent(draft.token, ANN)
    # Who reads there and does not write has nothing drawn there, though nothing was found out yet.
    reader = Pass(member=Member(ANN, place(asks=False)))
    with rules(parts, guests_ask=True), showing(reader):
        draft = await parts.portraits.draft(Asker(ANN), "a calm pilot", Reach.SELF, theme)
        with pytest.raises(ForbiddenError) as refused:
            await parts.portraits.consent(draft.token, ANN)
    assert str(refused.value) == NOT_HERE


class Uploads(PictureChecks):
    """Notes by which setting, and as of where, uploads are looked at."""

    def __init__(self, parts: Services) -> None:
        self._settings = parts.settings
        self.seen: list[tuple[PictureCheck, int | None, str]] = []

    async def check_upload(
        self, png: bytes, setting: PictureCheck, brought: Brought | None, field: str = "init"
    ) -> None:
        assert brought is not None
        self.seen.append((setting, brought.guild_id, field))


async def test_uploads_are_judged_by_the_server_that_they_are_for(parts: Services) -> None:
    checks = Uploads(parts)
    parts.dreams.check_pictures(checks)
    await parts.settings.change_guild(GUILD, MOD, picture_check=PictureCheck.REFUSE)
    with rules(parts, guests_ask=True), showing(Pass(member=Member(ANN, place()))):
        await parts.dreams.ask(request("a fox", theme="hidden", person=ANN, init=png(30, 20)))
    assert checks.seen == [(PictureCheck.REFUSE, GUILD, "init")]


async def test_a_painted_mask_is_judged_by_the_server_that_it_is_for(parts: Services) -> None:
    checks = Uploads(parts)
    await parts.settings.change_guild(GUILD, MOD, picture_check=PictureCheck.REFUSE)
    await up(parts, PAINTER)
    dream = await done(parts, theme="hidden", person=ANN)
    parts.dreams.check_pictures(checks)
    with rules(parts, guests_ask=True), showing(Pass(member=Member(ANN, place()))):
        child = await parts.offspring.redraw(dream.id, Actor(ANN), half())
    assert (child.guild_id, child.channel_id) == (GUILD, CHANNEL)
    assert checks.seen == [(PictureCheck.REFUSE, GUILD, "mask")]
