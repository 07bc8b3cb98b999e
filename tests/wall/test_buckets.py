"""How much one address may fetch of the wall."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.cookies import SimpleCookie
from ipaddress import ip_network

import pytest
from aiohttp import ClientResponse, ClientSession
from aiohttp.test_utils import make_mocked_request
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import Template

from bot.monitoring.metrics import WALL_SLOWED
from bot.wall import WallSettings, buckets
from bot.wall.buckets import COSTS, SLOW_DOWN, Buckets, Cost
from bot.wall.files import Files
from bot.wall.marks import Marks
from bot.wall.rendering import Renderer
from tests.wall.conftest import Scene
from tests.wall.routes import RULES

HTMX = {"HX-Request": "true"}
# Parts that binary fractions hold, so that the model is right to the last bit.
PER_S, MOST = 4.0, 20.0
TICK_S = 1 / 64
steps = st.lists(
    st.tuples(
        st.integers(0, 600), st.sampled_from("abc"), st.sampled_from([c.value for c in Cost])
    ),
    max_size=120,
)


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Model:
    """A token bucket as it is told: so many tokens, and when they were counted."""

    def __init__(self) -> None:
        self.tokens, self.at_s = MOST, 0.0

    def take(self, cost: float, now_s: float) -> float:
        self.tokens = min(MOST, self.tokens + (now_s - self.at_s) * PER_S)
        self.at_s = now_s
        if self.tokens < cost:
            return (cost - self.tokens) / PER_S
        self.tokens -= cost
        return 0.0


@settings(max_examples=60, deadline=None)
@given(steps)
def test_each_key_has_a_bucket_of_its_own_that_fills_steadily(
    taken: list[tuple[int, str, int]],
) -> None:
    clock = Clock()
    tried = Buckets(PER_S, MOST, clock=clock)
    models = {key: Model() for key in "abc"}
    for ticks, key, cost in taken:
        clock.now_s += ticks * TICK_S
        assert tried.take(key, cost) == models[key].take(cost, clock.now_s)
    clock.now_s += MOST / PER_S
    tried.take("later", 1)
    tried.take("later still", 1)
    assert len(tried) <= 2 + 1  # three were full, and two go for each that comes


@settings(max_examples=60, deadline=None)
@given(steps, st.integers(1, 20))
def test_within_any_time_no_more_is_had_than_fits_and_has_come_since(
    taken: list[tuple[int, str, int]], cost: int
) -> None:
    clock = Clock()
    tried = Buckets(PER_S, MOST, clock=clock)
    had: list[tuple[float, int]] = []
    for ticks, _, much in taken:
        clock.now_s += ticks * TICK_S
        if not tried.take("a", much):
            had.append((clock.now_s, much))
    for first, (since_s, _) in enumerate(had):
        in_all = 0
        for at_s, much in had[first:]:
            in_all += much
            assert in_all <= MOST + (at_s - since_s) * PER_S
    # Who comes again when they were told to is served, and not before.
    wait_s = tried.take("a", cost)
    if wait_s:
        clock.now_s += wait_s - TICK_S
        assert tried.take("a", cost) == TICK_S
        clock.now_s += TICK_S
        assert not tried.take("a", cost)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 60)), max_size=200))
def test_so_many_are_remembered_and_no_more(taken: list[tuple[int, int]]) -> None:
    clock = Clock()
    tried = Buckets(PER_S, MOST, remembered=8, clock=clock)
    for milliseconds, key in taken:
        clock.now_s += milliseconds / 1000
        tried.take(str(key), 5)
        assert len(tried) <= 8


@pytest.mark.parametrize("per_s", [1, 3, 7, 500, 333_333])
def test_who_fetched_nothing_may_take_all_at_once_whatever_the_clock_says(per_s: int) -> None:
    wall = WallSettings(requests_per_address=per_s)
    clock = Clock()
    for clock.now_s in (0.0, 0.1, 86_400.7, 123_456_789.3):
        tried = Buckets(per_s, wall.requests_at_once, clock=clock)
        assert not tried.take("a", wall.requests_at_once)
        wait_s = tried.take("a", Cost.LITTLE)
        assert wait_s == pytest.approx(1 / per_s, rel=0.05)
    assert wall.requests_at_once >= max(Cost)


def test_costs_are_of_addresses_that_there_are() -> None:
    assert set(COSTS) <= set(RULES)


@asynccontextmanager
async def flooded(scene: Scene, per_s: int) -> AsyncIterator[ClientSession]:
    wall = scene.make(WallSettings(port=0, mode="proxy", requests_per_address=per_s))
    await wall.start()
    try:
        [(host, port)] = wall.addresses
        async with ClientSession(base_url=f"http://{host}:{port}") as session:
            yield session
    finally:
        await wall.stop()


async def fetch(
    session: ClientSession, address: str | None, path: str = "/static/icon.svg", **headers: str
) -> tuple[ClientResponse, str]:
    if address is not None:
        headers["X-Forwarded-For"] = address
    async with session.get(path, headers=headers) as response:
        return response, await response.text()


async def test_a_flood_is_refused_while_another_address_is_served(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    monkeypatch.setattr(Buckets.__init__, "__kwdefaults__", {"remembered": 99, "clock": clock})
    refused = WALL_SLOWED.labels("little")._value.get()
    async with flooded(scene, 2) as session:
        flood = [await fetch(session, "2001:db8::1") for _ in range(45)]
        assert [one.status for one, _ in flood] == [200] * 40 + [429] * 5
        assert WALL_SLOWED.labels("little")._value.get() == refused + 5
        last, said = flood[-1]
        assert (last.headers["Retry-After"], said) == ("1", f"{SLOW_DOWN}\n")
        assert [record.message.partition(",")[0] for record in caplog.records] == [
            "An address fetches more than wall.requests_per_address allows"
        ]
        assert "2001:db8" not in caplog.text
        # The rest of their network is theirs; another is not, nor is what the proxy itself asks.
        for address, status in (("2001:db8::2", 429), ("2001:db8:0:1::1", 200), (None, 200)):
            assert (await fetch(session, address))[0].status == status
        for path in ("/healthz", "/readyz"):
            assert (await fetch(session, "2001:db8::1", path))[0].status == 200
        # As they want it told, and nothing is taken for it.
        page, whole = await fetch(session, "2001:db8::1", "/s/planets", Accept="text/html")
        assert page.headers["Retry-After"] == "3"
        assert page.content_type == "text/html" and f">{SLOW_DOWN}<" in whole
        assert "<style" not in whole  # which would need a nonce of its own each time
        part, said = await fetch(session, "2001:db8::1", "/s/planets", **HTMX)
        assert part.status == 429 and said.startswith('<p class="notice"') and SLOW_DOWN in said
        # One page for all, who therefore are given no cookie, and nothing is rendered for it again.
        with monkeypatch.context() as patched:
            patched.setattr(Template, "render", None)
            for again in ("/s/planets", "/nowhere"):
                other, page_again = await fetch(session, "2001:db8::1", again, Accept="text/html")
                assert (other.status, page_again, other.cookies) == (429, whole, SimpleCookie())
                assert (await fetch(session, "2001:db8::1", again, **HTMX))[1] == said
        told, _ = await fetch(session, "2001:db8::1", Accept="application/json")
        assert await told.json() == {"error": SLOW_DOWN}
        clock.now_s += 0.5
        assert [(await fetch(session, "2001:db8::1"))[0].status for _ in range(2)] == [200, 429]


def test_a_page_that_is_the_same_for_everybody_knows_all_that_any_page_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known: list[set[str]] = []

    def render(_: Template, *contexts: dict[str, object], **named: object) -> str:
        known.append({name for context in (*contexts, named) for name in context})
        return ""

    renderer = Renderer(WallSettings(port=0), Files(), Marks())
    monkeypatch.setattr(Template, "render", render)
    renderer.page(make_mocked_request("GET", "/"), "error.html", sentence=SLOW_DOWN)
    renderer.refusal(SLOW_DOWN)
    page, refusal = known
    assert "missing" in page and page <= refusal


@pytest.mark.parametrize(
    ("heard", "counted"),
    [
        ("", None),
        ("2001:db8::77", "2001:db8::/64"),
        ("2001:db8:0:1::77", "2001:db8:0:1::/64"),
        ("203.0.113.7", "203.0.113.7"),
    ],
)
def test_visitors_count_also_where_the_proxy_is_in_their_network(
    heard: str, counted: str | None
) -> None:
    proxy = "2001:db8::1"
    wall = WallSettings(mode="proxy", trusted_proxies=(ip_network(proxy),))
    headers = {"X-Forwarded-For": heard} if heard else {}
    request = make_mocked_request("GET", "/", headers).clone(remote=proxy)
    assert buckets._counted(request, wall) == counted


async def test_a_stream_of_events_counts_once_and_a_search_as_much(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[tuple[str, float]] = []
    take = Buckets.take

    def noted(self: Buckets, key: str, cost: float) -> float:
        taken.append((key, cost))
        return take(self, key, cost)

    monkeypatch.setattr(buckets.Buckets, "take", noted)
    dream = await scene.ask("two moons")
    async with flooded(scene, 500) as session:
        headers = {"X-Forwarded-For": "203.0.113.7"}
        async with session.get("/s/planets/events?again=1", headers=headers) as stream:
            await stream.content.readuntil(b"\n\n")
            scene.dreams.finish(dream.id)
            await stream.content.readuntil(b"done")
        for path in ("/s/planets/search?q=moons", "/nowhere", "/s/planets"):
            await fetch(session, "203.0.113.7", path)
    assert taken == [("203.0.113.7", cost) for cost in (Cost.PAGE, Cost.MUCH, Cost.PAGE, Cost.PAGE)]


async def test_nobody_is_refused_where_there_is_no_bound_nor_at_the_machine(
    scene: Scene,
) -> None:
    async with flooded(scene, 0) as session:
        for _ in range(30):
            assert (await fetch(session, "203.0.113.7"))[0].status == 200
    scene.wall = scene.make(WallSettings(port=0, requests_per_address=1))
    url = await scene.wall.start()
    async with ClientSession(base_url=url) as session:
        for _ in range(30):
            assert (await fetch(session, None))[0].status == 200
