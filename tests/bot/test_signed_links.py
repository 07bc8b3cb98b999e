"""Links that expire: what makes one good, and what makes it so no more."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.errors import ConfigError, InvalidRequestError, NotFoundError
from bot.signed_links import FILE, HOUR_MS, MOST_HOURS, Shows, SignedLinks


class Clock:
    def __init__(self) -> None:
        self.now_ms = 1_800_000_000_000

    def __call__(self) -> int:
        return self.now_ms


def test_a_link_is_good_until_it_is_over(tmp_path: Path) -> None:
    clock = Clock()
    links = SignedLinks.open(tmp_path, clock=clock)
    token, grant = links.make(Shows.DREAM, "0" * 16, 2)
    assert links.read(token) == grant
    assert grant.until_ms == clock.now_ms + 2 * HOUR_MS
    # Whoever starts the program again has the same key.
    assert SignedLinks.open(tmp_path, clock=clock).read(token) == grant
    clock.now_ms = grant.until_ms - 1
    assert links.read(token) == grant
    clock.now_ms += 1
    with pytest.raises(NotFoundError):
        links.read(token)


def test_no_link_lasts_for_ever(tmp_path: Path) -> None:
    links = SignedLinks.open(tmp_path)
    for hours in (0, -1, MOST_HOURS + 1, float("nan"), float("inf")):
        with pytest.raises(InvalidRequestError, match="1 to 720 hours"):
            links.make(Shows.THEME, "1", hours)


def test_a_changed_link_is_none(tmp_path: Path) -> None:
    links = SignedLinks.open(tmp_path / "a")
    token, _ = links.make(Shows.THEME, "12", 1)
    _, id, made, until, seal = token.split(".")
    forged = [
        f"d.{id}.{made}.{until}.{seal}",
        f"t.13.{made}.{until}.{seal}",
        f"t.{id}.{made}.{int(until) + 1}.{seal}",
        f"t.{id}.{int(made) + 1}.{until}.{seal}",
        f"t.{id}.{made}.{until}.{'A' * 43}",
        f"t.{id}.{made}.{until}.",
        token + "A",
        token + "\n",
        token.upper(),
        "",
    ]
    for one in forged:
        with pytest.raises(NotFoundError):
            links.read(one)
    with pytest.raises(NotFoundError):  # of another machine's key
        SignedLinks.open(tmp_path / "b").read(token)


async def test_what_is_withdrawn_is_good_no_more_and_what_is_made_after_is(tmp_path: Path) -> None:
    clock = Clock()
    links = SignedLinks.open(tmp_path, clock=clock)
    token, _ = links.make(Shows.THEME, "1", 5)
    other, grant = links.make(Shows.THEME, "2", 5)
    dreams, _ = links.make(Shows.DREAM, "1", 5)
    await links.withdraw(Shows.THEME, "1")
    for known in (links, SignedLinks.open(tmp_path, clock=clock)):
        with pytest.raises(NotFoundError):
            known.read(token)
        assert known.read(other) == grant
        assert known.read(dreams).shows is Shows.DREAM
    clock.now_ms += 1
    again, _ = links.make(Shows.THEME, "1", 5)
    assert links.read(again).id == "1"
    # What nobody can have a link of any more is forgotten.
    clock.now_ms += (MOST_HOURS + 1) * HOUR_MS
    await links.withdraw(Shows.THEME, "2")
    assert "t.1" not in (tmp_path / FILE).read_text()


def test_the_key_is_for_the_program_alone_and_a_damaged_one_is_told(tmp_path: Path) -> None:
    SignedLinks.open(tmp_path)
    path = tmp_path / FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for damaged in (b"", b"{}", b'{"key": "00"}', b'{"key": "zz"}', b"\xff"):
        path.write_bytes(damaged)
        with pytest.raises(ConfigError, match="Remove the file"):
            SignedLinks.open(tmp_path)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=300))
def test_nothing_that_is_typed_is_a_link(text: str) -> None:
    links = _LINKS
    with pytest.raises(NotFoundError):
        links.read(text)


@pytest.fixture(autouse=True, scope="module")
def _opened(tmp_path_factory: pytest.TempPathFactory) -> None:
    global _LINKS
    _LINKS = SignedLinks.open(tmp_path_factory.mktemp("links"))


_LINKS: SignedLinks
