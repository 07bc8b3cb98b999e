"""Ids rise strictly, whatever the clock does."""

from __future__ import annotations

import pytest

from bot import ids


def test_ids_rise_and_have_one_form() -> None:
    maker = ids.IdMaker()
    made = [maker.next() for _ in range(2000)]
    assert made == sorted(set(made))
    assert all(ids.is_id(one) for one in made)


def test_ids_rise_across_a_restart_with_the_clock_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    newest = ids.IdMaker().next()
    monkeypatch.setattr(ids, "now_ms", lambda: 5)
    assert ids.IdMaker(newest).next() > newest
    assert ids.time_of(ids.IdMaker().next()) == 5


def test_other_texts_are_no_ids() -> None:
    good = ids.IdMaker().next()
    for bad in ("", good[1:], good + "0", good.upper(), "../" + good[3:], "l" * ids.LENGTH):
        assert not ids.is_id(bad)
