"""Whose turn it is in a channel: Discord's limits are kept, and nobody holds up the others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.delivery import pace
from bot.delivery.pace import BURST, Pace, Urgency


@pytest.fixture(autouse=True)
def quick() -> None:
    """The real limits hold here."""


def run(asked: Pace, until_s: float, wants: dict[int, Urgency]) -> list[tuple[float, int]]:
    """Send whatever may be sent; every card that was sent wants to be sent again."""
    sent: list[tuple[float, int]] = []
    now_s = 0.0
    while now_s < until_s:
        key, wait_s = asked.next(now_s)
        if key is None:
            assert wait_s is not None
            now_s += max(wait_s, 1e-9)
            continue
        asked.begin(key)
        asked.sent(key, now_s, posted=True)
        sent.append((now_s, key))
        if wants[key] is Urgency.END:
            asked.drop(key)
        else:
            asked.want(key, wants[key], now_s, posted=True)
    return sent


def test_a_message_is_edited_three_seconds_apart() -> None:
    asked = Pace()
    asked.want(1, Urgency.FORMING, 0.0, posted=True)
    times = [at for at, _ in run(asked, 30.0, {1: Urgency.FORMING})]
    assert times == [3.0 * n for n in range(10)]


def test_an_end_goes_before_what_forms_and_new_before_forming() -> None:
    asked = Pace()
    asked.want(1, Urgency.FORMING, 0.0, posted=True)
    asked.want(2, Urgency.NEW, 0.1, posted=False)
    asked.want(3, Urgency.END, 0.2, posted=True)
    order = []
    while (key := asked.next(1.0)[0]) is not None:
        asked.begin(key)
        asked.sent(key, 1.0, posted=key != 2)
        order.append(key)
    assert order == [3, 2, 1]


def test_an_end_is_not_forgotten_for_news_of_less_weight() -> None:
    asked = Pace()
    asked.want(1, Urgency.END, 0.0, posted=True)
    asked.want(1, Urgency.FORMING, 1.0, posted=True)
    asked.want(2, Urgency.NEW, 0.0, posted=False)
    assert asked.next(2.0) == (1, None)


def test_forty_cards_take_turns_within_the_channels_limit() -> None:
    asked = Pace()
    wants = dict.fromkeys(range(40), Urgency.FORMING)
    for key in wants:
        asked.want(key, Urgency.FORMING, 0.0, posted=True)
    sent = run(asked, 120.0, wants)
    counts = [sum(key == one for _, key in sent) for one in wants]
    assert max(counts) - min(counts) <= 1
    for index in range(len(sent) - BURST):
        assert sent[index + BURST][0] - sent[index][0] >= pace.WINDOW_S - 1e-6


def test_what_only_waits_in_the_queue_does_not_crowd_out_what_forms() -> None:
    asked = Pace()
    wants = dict.fromkeys(range(30), Urgency.WAITING) | {99: Urgency.FORMING}
    for key, urgency in wants.items():
        asked.want(key, urgency, 0.0, posted=True)
    sent = run(asked, 300.0, wants)
    of = {one: sum(key == one for _, key in sent) for one in wants}
    assert of[99] > 2 * max(of[key] for key in range(30))
    assert min(of.values()) > 3


def test_what_could_not_be_sent_is_tried_again_later_and_holds_up_nobody() -> None:
    asked = Pace()
    asked.want(1, Urgency.END, 0.0, posted=False)
    asked.want(2, Urgency.FORMING, 0.0, posted=True)
    asked.begin(1)
    asked.later(1, Urgency.NEW, 0.0, 10.0)
    assert asked.next(1.0) == (2, None)
    asked.drop(2)
    key, wait_s = asked.next(1.0)
    assert (key, wait_s) == (None, 9.0)
    assert asked.next(10.0) == (1, None)
    asked.drop(1)
    assert asked.next(10.0) == (None, None)


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.sampled_from(Urgency), st.floats(0.0, 4.0)), max_size=80
    )
)
def test_limits_hold_whatever_is_asked(asks: list[tuple[int, Urgency, float]]) -> None:
    asked, now_s = Pace(), 0.0
    edits: list[tuple[float, int]] = []
    posted: set[int] = set()
    wanted: set[int] = set()
    for key, urgency, pause_s in asks:
        now_s += pause_s
        asked.want(key, urgency, now_s, posted=key in posted)
        wanted.add(key)
        while (turn := asked.next(now_s)[0]) is not None:
            asked.begin(turn)
            asked.sent(turn, now_s, posted=turn in posted)
            wanted.discard(turn)
            if turn in posted:
                edits.append((now_s, turn))
            posted.add(turn)
    for index, (at_s, key) in enumerate(edits):
        earlier = [when for when, other in edits[:index] if other == key]
        assert all(at_s - when >= pace.FORMING_S - 1e-6 for when in earlier[-1:])
        assert index < BURST or at_s - edits[index - BURST][0] >= pace.WINDOW_S - 1e-6
    for _ in range(200):
        key_now, wait_s = asked.next(now_s)
        if key_now is not None:
            asked.begin(key_now)
            asked.sent(key_now, now_s, posted=key_now in posted)
            posted.add(key_now)
            wanted.discard(key_now)
        elif wait_s is None:
            break
        else:
            now_s += wait_s + 1e-9
    assert not wanted  # everything that was wanted was shown in the end


def test_attempts_that_failed_count_for_the_limits() -> None:
    asked = Pace()
    for key in range(BURST + 1):
        asked.want(key, Urgency.NEW, 0.0, posted=False)
    for _ in range(BURST):
        key_, _ = asked.next(0.0)
        assert key_ is not None
        asked.begin(key_)
        asked.tried(key_, 0.0, posted=False)
        asked.later(key_, Urgency.NEW, 0.0, 60.0)
    assert asked.next(0.0) == (None, pace.WINDOW_S)


def test_a_refusal_closes_edits_for_as_long_as_it_says_but_not_new_messages() -> None:
    asked = Pace()
    for key, posted in ((1, True), (2, True), (3, False)):
        asked.want(key, Urgency.FORMING if posted else Urgency.NEW, 0.0, posted=posted)
    asked.begin(1)
    asked.tried(1, 0.0, posted=True, closed_s=20.0)
    asked.later(1, Urgency.FORMING, 0.0, 20.0)
    assert asked.next(0.0) == (3, None)
    asked.begin(3)
    asked.sent(3, 0.0, posted=False)
    assert asked.next(0.0) == (None, 20.0)


@pytest.mark.parametrize("posted", [False, True])
def test_what_failed_may_have_been_a_new_message_and_an_edit(posted: bool) -> None:
    asked = Pace()
    for key_ in range(BURST):
        asked.want(key_, Urgency.END, 0.0, posted=posted)
        asked.tried(key_, 0.0, posted=posted)
        asked.drop(key_)
    asked.want(BURST, Urgency.END, 0.0, posted=not posted)
    assert asked.next(0.0) == (None, pace.WINDOW_S)


def test_a_message_is_not_tried_again_before_it_may_be_edited_again() -> None:
    asked = Pace()
    asked.want(1, Urgency.END, 0.0, posted=True)
    asked.begin(1)
    asked.tried(1, 0.0, posted=True)
    asked.later(1, Urgency.END, 0.0, 600.0)
    asked.hurry(1)
    assert asked.next(0.0) == (None, pace.FORMING_S)


def test_what_could_not_be_sent_is_tried_at_once_when_there_is_reason_to() -> None:
    asked = Pace()
    asked.want(1, Urgency.NEW, 0.0, posted=False)
    asked.begin(1)
    asked.later(1, Urgency.NEW, 0.0, 600.0)
    assert asked.next(1.0) == (None, 599.0)
    asked.hurry(1)
    assert asked.next(1.0) == (1, None)


def test_what_an_earlier_process_may_have_sent_counts_for_the_limits() -> None:
    asked = Pace()
    asked.assume_full(10.0)
    asked.want(1, Urgency.END, 10.0, posted=True)
    asked.want(2, Urgency.NEW, 10.0, posted=False)
    assert asked.next(10.0) == (None, pace.WINDOW_S)


def test_a_card_that_is_taken_up_again_keeps_its_distance() -> None:
    asked = Pace()
    asked.want(1, Urgency.END, 0.0, posted=True)
    asked.begin(1)
    asked.sent(1, 0.0, posted=True)
    asked.drop(1)
    asked.want(1, Urgency.END, 1.0, posted=True)
    assert asked.next(1.0) == (None, pace.FORMING_S - 1.0)
