from __future__ import annotations

import hashlib
from ipaddress import ip_address, ip_network

import pytest
from aiohttp import ClientSession, CookieJar
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict
from yarl import URL

from bot.wall import WallSettings
from bot.wall.guard import address_of, block_of, networks_of
from tests.wall.conftest import Scene


async def status_of(visitor: ClientSession, method: str, path: str, **headers: str) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    data = {"prompt": "moons"} if method == "POST" else None
    async with visitor.request(method, path, headers=named, data=data) as response:
        return response.status


async def test_every_answer_is_guarded(scene: Scene, visitor: ClientSession) -> None:
    dream = await scene.draw("two moons")
    assert dream.image is not None
    paths = {
        "/s/planets": 200,
        f"/d/{dream.id}": 200,
        f"/i/{dream.image.sha256}.png?d={dream.id}": 200,
        "/static/wall.js": 200,
        "/s/planets/events": 200,
        "/nowhere": 404,
        "/healthz": 200,
    }
    for path, status in paths.items():
        async with visitor.get(path) as response:
            assert response.status == status, path
            headers = response.headers
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        assert headers["X-Frame-Options"] == "DENY"


async def test_the_policys_nonce_is_the_pages_own(scene: Scene, visitor: ClientSession) -> None:
    seen = set()
    for _ in range(2):
        async with visitor.get("/s/planets") as response:
            text = await response.text()
            nonce = response.headers["Content-Security-Policy"].split("'nonce-")[1].split("'")[0]
        assert f'<style nonce="{nonce}">' in text
        assert text.count("<style") == 1
        assert "<script>" not in text
        assert " style=" not in text
        assert " onclick=" not in text
        seen.add(nonce)
    assert len(seen) == 2


async def test_a_post_from_another_site_is_turned_away(
    scene: Scene, visitor: ClientSession
) -> None:
    own = str(scene.url.origin())
    path = "/s/planets/dreams"
    assert await status_of(visitor, "POST", path, Sec_Fetch_Site="cross-site") == 403
    # Another program on this machine is the same site, but not the same origin.
    assert await status_of(visitor, "POST", path, Sec_Fetch_Site="same-site") == 403
    assert await status_of(visitor, "POST", path, Origin="http://evil.example") == 403
    assert await status_of(visitor, "POST", path, Origin="http://127.0.0.1:1") == 403
    assert await status_of(visitor, "POST", path, Origin="null") == 403
    assert scene.dreams.requests == []
    assert await status_of(visitor, "POST", path, Origin=own) == 200
    sent = {"Origin": own, "Sec_Fetch_Site": "same-origin"}
    assert await status_of(visitor, "POST", path, **sent) == 200


async def test_a_name_that_was_made_to_point_here_is_turned_away(
    scene: Scene, visitor: ClientSession
) -> None:
    for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", ""):
        assert await status_of(visitor, "GET", "/s/planets", Host=host) == 421, host
    for host in ("localhost:8642", "127.0.0.1", "192.168.1.7:8642", "[::1]:8642", "LOCALHOST"):
        assert await status_of(visitor, "GET", "/s/planets", Host=host) == 200, host


async def test_health_is_told_to_any_name(scene: Scene, visitor: ClientSession) -> None:
    for path in ("/healthz", "/readyz"):
        assert await status_of(visitor, "GET", path, Host="dreamstream.default.svc:8642") == 200
    assert await status_of(visitor, "GET", "/healthz/", Host="evil.example") == 421


async def test_behind_a_proxy_the_public_name_counts(scene: Scene) -> None:
    wall = scene.make(
        WallSettings(mode="proxy", port=0, public_url="https://wall.example", guests_may_ask=True)
    )
    assert await wall.start() == URL("https://wall.example")
    try:
        [(host, port)] = wall.addresses
        async with ClientSession(base_url=f"http://{host}:{port}") as visitor:
            assert await status_of(visitor, "GET", "/s/planets", Host="wall.example") == 200
            assert await status_of(visitor, "GET", "/s/planets") == 421
            sent = {"Host": "wall.example", "Origin": "https://wall.example"}
            assert await status_of(visitor, "POST", "/s/planets/dreams", **sent) == 200
            headers = {"Host": "wall.example"}
            async with visitor.get("/s/planets", headers=headers) as response:
                assert "; Secure" in response.headers["Set-Cookie"]
    finally:
        await wall.stop()


@pytest.mark.parametrize(
    ("remote", "said", "expected"),
    [
        # Who is no proxy of ours may say what they like.
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("::ffff:127.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        # What a visitor wrote there themselves stands before what the proxy heard.
        ("127.0.0.1", ["1.2.3.4, 198.51.100.1"], "198.51.100.1"),
        ("127.0.0.1", ["1.2.3.4", "198.51.100.1"], "198.51.100.1"),
        # Through two proxies that are trusted, and past one that is not.
        ("127.0.0.1", ["1.2.3.4, 198.51.100.1, 10.1.2.3"], "198.51.100.1"),
        ("127.0.0.1", ["1.2.3.4, 192.0.2.7, 198.51.100.1"], "198.51.100.1"),
        # Who has one address of IPv6 has all of its network.
        ("127.0.0.1", ["[2001:db8::1]:443"], "2001:db8::/64"),
        ("2001:db8:0:1:2:3:4:5", ["198.51.100.1"], "2001:db8:0:1::/64"),
        ("127.0.0.1", ["198.51.100.1:4711"], "198.51.100.1"),
        ("127.0.0.1", ["nonsense"], "127.0.0.1"),
        ("127.0.0.1", ["," * 9999], "127.0.0.1"),
    ],
)
def test_a_proxys_word_is_believed_of_trusted_proxies_alone(
    remote: str, said: list[str], expected: str
) -> None:
    trusted = tuple(ip_network(one) for one in ("127.0.0.0/8", "10.0.0.0/8"))
    headers = CIMultiDict([("X-Forwarded-For", one) for one in said])
    request = make_mocked_request("GET", "/", headers=headers)
    request = request.clone(remote=remote)
    assert address_of(request, WallSettings(mode="proxy", trusted_proxies=trusted)) == expected
    here = address_of(request, WallSettings(mode="local", trusted_proxies=trusted))
    assert ip_address(here) == ip_address(remote.removeprefix("::ffff:"))


@pytest.mark.parametrize(
    ("address", "networks"),
    [
        ("198.51.100.1", ("198.51.0.0/16", "198.51.100.0/24", "198.51.100.1")),
        ("::ffff:198.51.100.1", ("198.51.0.0/16", "198.51.100.0/24", "198.51.100.1")),
        (
            "2001:db8:aaaa:bbbb:cccc::1",
            ("2001:db8::/32", "2001:db8:aaaa::/48", "2001:db8:aaaa:bbbb::/64"),
        ),
        ("unix", ("unix", "unix", "unix")),
    ],
)
def test_an_address_is_in_networks_but_in_a_room(address: str, networks: tuple[str, ...]) -> None:
    proxied, local = WallSettings(mode="proxy"), WallSettings()
    assert networks_of(address, proxied) == networks
    assert networks[-1] == block_of(address, proxied)
    assert networks_of(address, local) == (block_of(address, local),)


async def test_a_guest_is_known_by_a_cookie_that_nobody_else_can_read(
    scene: Scene, visitor: ClientSession
) -> None:
    async with visitor.get("/s/planets") as response:
        cookie = response.headers["Set-Cookie"]
        text = await response.text()
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    token = response.cookies["dreamer"].value
    assert token not in text
    async with visitor.post("/s/planets/dreams", data={"prompt": "moons"}) as response:
        assert "Set-Cookie" not in response.headers
    [request] = scene.dreams.requests
    assert request.person.id == f"guest:{hashlib.sha256(token.encode()).hexdigest()[:24]}"
    async with visitor.get(f"/d/{next(iter(scene.dreams.dreams))}") as response:
        text = await response.text()
    assert token not in text
    assert request.person.id not in text


@pytest.mark.parametrize("token", ["", "short", "x" * 500, "; Path=/"])
async def test_a_forged_cookie_is_replaced(scene: Scene, token: str) -> None:
    jar = CookieJar(unsafe=True)
    jar.update_cookies({"dreamer": token}, scene.url)
    async with (
        ClientSession(base_url=scene.url, cookie_jar=jar) as visitor,
        visitor.get("/s/planets") as response,
    ):
        assert response.cookies["dreamer"].value not in ("", token)


async def test_pictures_and_files_set_no_cookie(scene: Scene, visitor: ClientSession) -> None:
    dream = await scene.draw("two moons")
    assert dream.image is not None
    for path in ("/static/wall.css", f"/t/{dream.image.sha256}.webp?d={dream.id}", "/healthz"):
        async with visitor.get(path) as response:
            assert response.status == 200
            assert "Set-Cookie" not in response.headers


async def test_the_static_files_are_kept_by_their_version(
    scene: Scene, visitor: ClientSession
) -> None:
    async with visitor.get("/static/wall.js?v=1") as response:
        assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    async with visitor.get("/static/wall.js") as response:
        assert response.headers["Cache-Control"] == "public, no-cache"
        assert response.content_type == "text/javascript"
    for path in ("/static/", "/static/..%2fserver.py", "/static/../server.py", "/static/vendor"):
        async with visitor.get(path) as response:
            assert response.status == 404, path
