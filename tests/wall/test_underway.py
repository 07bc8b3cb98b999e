"""Sign-ins that are underway: those of a few networks keep nobody else's from coming through."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bot.wall import WallSettings, underway
from bot.wall.guard import networks_of
from bot.wall.underway import LASTS_S, Underway

PROXIED = WallSettings(mode="proxy")


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture(autouse=True)
def room_for_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(underway, "MOST", 64)


def begin(there: Underway, state: str, address: str) -> None:
    there.begin(state, b"hash", "verifier", "/", networks_of(address, PROXIED))


def of_a_site() -> Iterator[str]:
    """Addresses of which each counts as one, all of one hand."""
    return (f"2001:db8:aaaa:{nth:x}::1" for nth in range(1000))


def of_a_provider() -> Iterator[str]:
    return (f"2001:db8:{nth:x}::1" for nth in range(1000))


def of_a_24() -> Iterator[str]:
    return (f"203.0.113.{nth % 256}" for nth in range(1000))


def of_a_16() -> Iterator[str]:
    return (f"203.0.{nth % 256}.7" for nth in range(1000))


@pytest.mark.parametrize("crowd", [of_a_site, of_a_provider, of_a_24, of_a_16])
def test_whoever_has_a_network_pushes_out_their_own_alone(crowd: type[Iterator[str]]) -> None:
    there = Underway(Clock())
    others = {f"v4 {nth}": f"198.51.{nth}.1" for nth in range(10)}
    others |= {f"v6 {nth}": f"2a00:{nth:x}::1" for nth in range(10)}
    waiting = list(others.items())
    for nth, address in enumerate(crowd()):
        if nth % 40 == 0 and waiting:  # before, while and after there is room
            begin(there, *waiting.pop())
        begin(there, f"crowd {nth}", address)
        assert len(there) <= underway.MOST
    assert not waiting
    assert all(there.take(state) is not None for state in others)
    # What is left of the crowd is what it began last.
    left = [nth for nth in range(1000) if there.take(f"crowd {nth}") is not None]
    assert left == list(range(1000 - len(left), 1000)) and len(left) == underway.MOST - len(others)


def test_in_the_network_that_has_most_it_is_the_address_that_has_most_that_makes_room() -> None:
    there = Underway(Clock())
    begin(there, "neighbour", "203.0.113.1")
    for nth in range(200):
        begin(there, f"crowd {nth}", "203.0.113.2")
    assert there.take("neighbour") is not None


def test_each_is_good_once_and_for_a_while_and_then_makes_room() -> None:
    clock = Clock()
    there = Underway(clock)
    begin(there, "a", "203.0.113.1")
    clock.now_s = LASTS_S - 1
    begin(there, "b", "203.0.113.1")
    found = there.take("a")
    assert found is not None and (found.secret_sha256, found.verifier) == (b"hash", "verifier")
    assert there.take("a") is None and there.take("nosuch") is None
    begin(there, "c", "203.0.113.1")
    clock.now_s = 2 * LASTS_S - 1
    assert there.take("b") is None
    begin(there, "d", "203.0.113.1")
    assert len(there) == 1
    assert there.take("d") is not None
    assert not there._counts and not there._states
