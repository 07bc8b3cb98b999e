"""Who comes in: by a code, which cannot be guessed, and as the guest of a cookie.

No party, one of another code and one that is not for the wall are answered alike. So is who was
sent away: for them there is no such party any more.
"""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from bot.errors import ForbiddenError, NotFoundError
from bot.model import Person, Theme
from bot.parties.acting import LEADERS, NOT_THERE
from bot.parties.model import Member, Role
from bot.parties.reading import WRONG_CODE
from bot.parties.service import Parties
from bot.rights import Actor
from bot.wall.guard import address_of
from bot.wall.guests import guest_of
from bot.wall.party.evening import Evening, Evenings
from bot.wall.rates import Rates
from bot.wall.settings import WallSettings

WRONG_CODES = 30
JOINS = 60
WINDOW_S = 600.0


class Door:
    """Lets requests in to the party that they name."""

    def __init__(self, settings: WallSettings, parties: Parties, evenings: Evenings) -> None:
        self._settings = settings
        self._parties = parties
        self._evenings = evenings
        self._guesses = Rates(
            WRONG_CODES,
            WINDOW_S,
            "Too many codes from where you are were wrong. Ask the host for the right one, and "
            "try again in a few minutes.",
        )
        self._joins = Rates(
            JOINS,
            WINDOW_S,
            "Many people came from where you are just now. Try again in a few minutes.",
        )

    async def see(self, request: web.Request, typed: str | None = None) -> Evening:
        """Return the party whose code a request names, or somebody typed.

        Raises:
            NotFoundError: there is none for them.
            LimitError: too many codes from this address were wrong.
        """
        code = request.match_info.get("code", "") if typed is None else typed
        address = address_of(request, self._settings)
        try:
            evening = await self._evenings.now((await self._parties.by_code(code)).id)
            members = _members_of(request, evening)
        except (ForbiddenError, NotFoundError):
            self._guesses.take(address)
            raise NotFoundError(WRONG_CODE) from None
        if not members:
            self._guesses.check(address)
        elif any(one.removed for one in members):
            raise NotFoundError(WRONG_CODE)
        return evening

    async def enter(self, request: web.Request) -> tuple[Evening, Member]:
        """Return the party that a request names, and who asks, who is there.

        Raises:
            As `see` does; ForbiddenError: they have not joined.
        """
        evening = await self.see(request)
        member = member_of(request, evening)
        if member is None or not (member.present or not evening.party.open):
            raise ForbiddenError(NOT_THERE)
        return evening, member

    async def join(self, request: web.Request, evening: Evening) -> None:
        """Let the guest in who shows a code.

        Raises:
            As `Parties.join` does; LimitError: too many came from this address.
        """
        member = member_of(request, evening)
        person = guest_of(request).person if member is None else member.person
        if member is None:
            self._joins.take(address_of(request, self._settings))
        await self._parties.join(evening.party, Actor(person), code=evening.party.code)

    def check_may_act(self) -> None:
        """Refuse where visitors of this wall only watch.

        Raises:
            ForbiddenError: it is such a wall.
        """
        if not self._settings.asking:
            raise ForbiddenError("This wall is for watching. Parties are held on Discord.")


def member_of(request: web.Request, evening: Evening) -> Member | None:
    """Return as whom a visitor takes part, None where they never did.

    Who signs in at a party goes on there as the guest that they came in as.
    """
    return _as_whom(_members_of(request, evening))


async def person_at(request: web.Request, parties: Parties | None, theme: Theme) -> Person:
    """Return as whom a visitor acts in a theme: at its party, where it has one, as `member_of`.

    As themselves where they never took part, too, and in any other theme.
    """
    guest = guest_of(request)
    if parties is None or len(guest.persons) == 1:
        return guest.person
    party = await parties.of_theme(theme.id)
    if party is None:
        return guest.person
    found = [await parties.member(party, one.id) for one in guest.persons]
    member = _as_whom([one for one in found if one is not None])
    return guest.person if member is None else member.person


def _as_whom(members: Sequence[Member]) -> Member | None:
    """Return who of those that somebody is at a party acts there: who is present, if one is.

    Of an account and the guest of a browser that are both there it is the guest: the account came
    in by another browser, which must not take from this one what is the guest's there.
    """
    # As `Guest.persons` has them the account comes first, and of equals `max` takes the first.
    return max(reversed(members), key=lambda one: one.present, default=None)


def _members_of(request: web.Request, evening: Evening) -> list[Member]:
    persons = guest_of(request).persons
    return [one for person in persons if (one := evening.member(person.id)) is not None]


def leads(member: Member) -> bool:
    """Say whether somebody who is there moves the party on."""
    return member.present and member.role in LEADERS


def is_host(member: Member) -> bool:
    """Say whether somebody is the host, to whom the rest of the desk belongs."""
    return member.present and member.role is Role.HOST
