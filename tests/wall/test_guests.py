"""Who a visitor is, signed in and not: nobody is called by the name of the other."""

from __future__ import annotations

from aiohttp.test_utils import make_mocked_request

from bot.model import Person
from bot.wall.guests import NAME_COOKIE, NAMELESS, TOKEN_COOKIE, guest_of, rename, sign_in

ANN = Person("discord:5", "Ann")


def test_the_guest_that_somebody_was_is_not_called_as_their_account_is() -> None:
    kept = f"{TOKEN_COOKIE}={'t' * 24}"
    for cookies, name in ((kept, NAMELESS), (f"{kept}; {NAME_COOKIE}=Lin%20B", "Lin B")):
        request = make_mocked_request("GET", "/", headers={"Cookie": cookies})
        before = guest_of(request).person
        sign_in(request, ANN)
        rename(request, "Eve")
        assert guest_of(request).persons == (ANN, before)
        assert (before.name, guest_of(request).name) == (name, ANN.name)


def test_who_signs_in_without_ever_having_been_a_guest_is_none() -> None:
    request = make_mocked_request("GET", "/")
    assert guest_of(request).new
    sign_in(request, ANN)
    assert guest_of(request).persons == (ANN,) and not guest_of(request).new
