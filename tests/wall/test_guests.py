"""Who a visitor is, signed in and not: nobody is called by the name of the other."""

from __future__ import annotations

from http.cookies import Morsel, SimpleCookie

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import make_mocked_request

from bot.model import DreamRequest, Person
from bot.wall import WallSettings
from bot.wall.guests import (
    HOST_PREFIX,
    NAME_COOKIE,
    NAMELESS,
    TOKEN_COOKIE,
    Guest,
    guest_of,
    remember,
    rename,
    sign_in,
)
from tests.wall.conftest import Scene

ANN = Person("discord:5", "Ann")
KEPT, PLANTED = "k" * 32, "p" * 32
HOST_TOKEN, HOST_NAME = HOST_PREFIX + TOKEN_COOKIE, HOST_PREFIX + NAME_COOKIE
HTTPS = WallSettings(mode="proxy", public_url="https://wall.example")


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


async def visit(
    settings: WallSettings, host: str, cookies: str, *, account: Person | None = None
) -> tuple[Guest, dict[str, Morsel[str]]]:
    """Return who a visitor is, and the cookies that they are sent."""
    found: list[Guest] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        if account is not None:
            sign_in(request, account)
        found.append(guest_of(request))
        return web.Response()

    headers = {"Host": host, "Cookie": cookies}
    response = await remember(settings)(make_mocked_request("GET", "/", headers=headers), handler)
    sent = SimpleCookie()
    for cookie in response.cookies.values():
        sent.load(cookie.OutputString())
    return found[0], dict(sent)


async def test_behind_https_a_guests_cookies_are_of_this_host_alone() -> None:
    guest, sent = await visit(HTTPS, "wall.example", "")
    assert sent.keys() == {HOST_TOKEN, HOST_NAME}
    assert sent[HOST_TOKEN].value == guest.token
    for cookie in sent.values():  # else a browser does not take a cookie of such a name
        assert cookie["secure"] and cookie["path"] == "/" and not cookie["domain"]
        assert cookie["httponly"] and cookie["samesite"] == "Lax"
    # It is known again, whatever another host of the domain has planted beside it.
    for planted in ("", f"; {TOKEN_COOKIE}={PLANTED}; {NAME_COOKIE}=Eve"):
        cookies = f"{HOST_TOKEN}={KEPT}; {HOST_NAME}=Lin{planted}"
        assert await visit(HTTPS, "wall.example", cookies) == (Guest(KEPT, "Lin"), {})


@pytest.mark.parametrize("account", [None, ANN])
async def test_a_guest_of_before_goes_on_as_who_they_were(account: Person | None) -> None:
    cookies = f"{TOKEN_COOKIE}={KEPT}; {NAME_COOKIE}=Lin%20B"
    guest, sent = await visit(HTTPS, "wall.example:443", cookies, account=account)
    before = Guest(KEPT, "Lin B")
    assert guest.persons == ((before.person,) if account is None else (account, before.person))
    assert {name: cookie.value for name, cookie in sent.items()} == {
        HOST_TOKEN: KEPT,
        HOST_NAME: "Lin%20B",
        TOKEN_COOKIE: "",
        NAME_COOKIE: "",
    }
    for name in (TOKEN_COOKIE, NAME_COOKIE):
        assert sent[name]["max-age"] == "0" and sent[name]["path"] == "/"
    # Once: as the browser comes now, nothing more is set.
    now = f"{HOST_TOKEN}={KEPT}; {HOST_NAME}=Lin%20B"
    guest, sent = await visit(HTTPS, "wall.example", now, account=account)
    assert before.person in guest.persons and sent == {}


@pytest.mark.parametrize(
    ("settings", "host"),
    [
        (WallSettings(), "127.0.0.1:8642"),
        (WallSettings(mode="proxy", public_url="http://wall.lan"), "wall.lan"),
        (WallSettings(public_url="https://wall.example"), "127.0.0.1:8642"),
    ],
)
async def test_where_somebody_may_come_by_http_cookies_are_as_they_were(
    settings: WallSettings, host: str
) -> None:
    _, sent = await visit(settings, host, "")
    assert sent.keys() == {TOKEN_COOKIE, NAME_COOKIE}
    assert await visit(settings, host, f"{TOKEN_COOKIE}={KEPT}") == (Guest(KEPT), {})


async def test_who_is_renamed_as_their_cookie_is_taken_over_keeps_the_new_name() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        rename(request, "Lin")
        return web.Response()

    headers = {"Host": "wall.example", "Cookie": f"{TOKEN_COOKIE}={KEPT}; {NAME_COOKIE}=Eve"}
    request = make_mocked_request("POST", "/", headers=headers)
    response = await remember(HTTPS)(request, handler)
    found = {name: cookie.value for name, cookie in response.cookies.items()}
    assert found[HOST_TOKEN] == KEPT and found[HOST_NAME] == "Lin" and not found[TOKEN_COOKIE]


async def test_what_a_guest_of_before_asked_for_is_still_theirs_at_the_wall(scene: Scene) -> None:
    wall = scene.make(WallSettings(port=0, mode="proxy", public_url="https://wall.example"))
    await wall.start()
    asked = DreamRequest(theme="planets", person=Guest(KEPT).person, prompt="two moons")
    (dream,) = await scene.dreams.ask(asked)
    url = f"http://127.0.0.1:{wall.addresses[0][1]}/d/{dream.id}"

    async def look(browser: ClientSession, cookie: str) -> tuple[bool, set[str]]:
        headers = {"Host": "wall.example", "Cookie": cookie, "Accept": "text/html"}
        async with browser.get(url, headers=headers) as response:
            text = await response.text()
            assert response.status == 200
            return f'action="/d/{dream.id}/cancel"' in text, set(response.cookies)

    async with ClientSession() as browser:
        both = {HOST_TOKEN, HOST_NAME, TOKEN_COOKIE, NAME_COOKIE}
        assert await look(browser, f"{TOKEN_COOKIE}={KEPT}") == (True, both)
        assert await look(browser, f"{HOST_TOKEN}={KEPT}") == (True, set())
        planted = f"{HOST_TOKEN}={PLANTED}; {TOKEN_COOKIE}={KEPT}"
        assert await look(browser, planted) == (False, set())
    await wall.stop()
