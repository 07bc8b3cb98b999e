"""Who asks at the wall signed in asks by the rules of the server that they would ask in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request

from bot.errors import ForbiddenError, InvalidRequestError, LimitError
from bot.membership import Place
from bot.model import Person, PictureCheck, Visibility
from bot.rights import moderates
from bot.store import people
from bot.wall import WallSettings
from bot.wall.here import actor_of
from bot.wall.passes import Pass, showing, shown
from bot.wall.server_rules import KEPT, NOT_HERE, ServerRules
from tests.bot.drawer import Services, request, services

ANN = Person("discord:5", "Ann")
MOD = Person("discord:9", "Mod")
GUILD, CHANNEL = 7, 70


class Member:
    def __init__(self, person: Person, *places: Place) -> None:
        self.person = person
        self._places = places

    async def places(self, theme_id: int) -> Sequence[Place]:
        return self._places

    async def private_themes(self) -> Sequence[int]:
        return ()


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
    """Have the guard judge for as long as this lasts."""
    made = ServerRules(parts.gate, parts.themes, guests_ask=guests_ask)
    guards = parts.dreams._acceptance._guards
    guards.append(made.guard)
    try:
        yield made
    finally:
        guards.remove(made.guard)


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
        with showing(Pass(member=Member(ANN, place()))):
            assert judging.check_steer(dream, theme) is None  # nothing was found out yet
            await shown().learn(theme.id)
            check = judging.check_steer(dream, theme)
            assert check is not None
            check("a fox", theme)
            with pytest.raises(InvalidRequestError):
                check("a badger", theme)
        assert judging.check_steer(dream, theme) is None
