"""What comes too often from one address is refused, however many addresses there are."""

from __future__ import annotations

import pytest

from bot.errors import LimitError
from bot.wall import rates
from bot.wall.rates import Rates


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_so_much_comes_from_each_within_any_time_and_it_is_said_when_more_may() -> None:
    clock = Clock()
    bound = Rates(2, 10.0, "Too much.", clock=clock)
    for clock.now_s in (0.0, 4.0):
        bound.take("a")
    with pytest.raises(LimitError, match="Too much") as refused:
        bound.take("a")
    assert refused.value.retry_after_s == 6.0
    bound.take("b")
    clock.now_s = 10.0
    bound.take("a")


def test_another_address_costs_no_look_at_all_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "_SWEPT_AT", 64)
    clock, looks = Clock(), 0
    bound, recent = Rates(30, 600.0, "Too much.", clock=clock), Rates._recent

    def counted(self: Rates, key: str) -> object:
        nonlocal looks
        looks += 1
        return recent(self, key)

    monkeypatch.setattr(Rates, "_recent", counted)
    many = 20 * 64
    for number in range(many):
        bound.take(str(number))
    assert looks < 4 * many
    clock.now_s = 600.0
    for number in range(many + 1):  # and none is remembered for longer than it counts
        bound.take(f"later {number}")
    assert len(bound._times) <= 2 * many


def test_of_more_addresses_than_are_remembered_those_that_did_nothing_for_longest_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rates, "_MOST_KEYS", 3)
    bound = Rates(2, 10.0, "Too much.", clock=Clock())
    for key in ("a", "b", "c", "a", "d"):
        bound.take(key)
    assert [*bound._times] == ["c", "a", "d"]
    with pytest.raises(LimitError):
        bound.take("a")
    for number in range(100):
        bound.take(str(number))
        assert len(bound._times) == 3
