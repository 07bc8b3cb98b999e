"""The judge itself: what Discord would refuse is found, and what it takes is not."""

from __future__ import annotations

from typing import Any

import pytest

from tests.discord_front import payloads
from tests.discord_front.oracle import answer_faults, event_faults, faults, needs_description

MESSAGES = "/channels/1/messages"
COMMANDS = "/applications/1/commands"
CALLBACK = "/interactions/1/token/callback"
GOOD = {"content": "x", "allowed_mentions": {"parse": []}}
V2 = 1 << 15


def button(**changes: Any) -> dict[str, Any]:
    return {"type": 2, "style": 1, "label": "Press", "custom_id": "b"} | changes


def row(*inner: dict[str, Any]) -> dict[str, Any]:
    return {"type": 1, "components": list(inner)}


def words(text: str = "x") -> dict[str, Any]:
    return {"type": 10, "content": text}


def gallery(count: int, **item: Any) -> dict[str, Any]:
    one = {"media": {"url": "attachment://a.png"}, "description": "A fox"} | item
    return {"type": 12, "items": [one] * count}


def said(**changes: Any) -> list[str]:
    return list(faults("POST", MESSAGES, GOOD | changes))


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"components": [row(button())]},
        {"content": None, "flags": V2, "components": [words(), gallery(1), row(button())]},
        {"content": None, "embeds": [{"title": "x"}]},
    ],
)
def test_what_discord_takes_is_no_fault(message: dict[str, Any]) -> None:
    assert said(**message) == []


@pytest.mark.parametrize(
    ("message", "finds"),
    [
        ({"content": ""}, "empty"),
        ({"content": "x" * 2001}, "2,000"),
        pytest.param({"colour": 1}, "unknown keys", marks=needs_description),
        ({"embeds": [{"description": "x" * 4000}] * 2}, "6,000"),
        ({"components": [row(button(custom_id=str(n))) for n in range(6)]}, "five rows"),
        ({"components": [row(*(button(custom_id=str(n)) for n in range(6)))]}, "a row of"),
        ({"components": [row(button(), button())]}, "twice"),
        ({"components": [row(button(custom_id="x" * 101))]}, "100 characters"),
        ({"components": [row(button(label="x" * 81))]}, "80 characters"),
        ({"content": None, "components": [words()]}, "without their flag"),
        ({"flags": V2, "components": [words()]}, "beside components V2"),
        ({"content": None, "flags": V2, "components": [words()] * 41}, "40 components"),
        ({"content": None, "flags": V2, "components": [words("x" * 4001)]}, "4,000"),
        ({"content": None, "flags": V2, "components": [gallery(11)]}, "gallery"),
        ({"content": None, "flags": V2, "components": [gallery(1, description="")]}, "do not see"),
    ],
)
def test_what_discord_refuses_is_found(message: dict[str, Any], finds: str) -> None:
    assert any(finds in fault for fault in said(**message)), said(**message)


def test_mentions_must_be_held_back() -> None:
    assert "mentions are not held back" in faults("POST", MESSAGES, {"content": "@everyone"})


@pytest.mark.parametrize(
    ("command", "finds"),
    [
        ({}, ""),
        ({"name": "Dream"}, "the name"),
        ({"name": "two words"}, "the name"),
        ({"description": "x" * 101}, "the description"),
        ({"name_localizations": {"de": "Traum"}}, "the name Traum"),
        (
            {
                "options": [
                    {"name": "a", "type": 3, "description": "x"},
                    {"name": "b", "type": 3, "description": "x", "required": True},
                ]
            },
            "required come first",
        ),
        ({"options": [{"name": "a", "type": 3, "description": "x"}] * 26}, "more than 25"),
        ({"options": [{"name": "A", "type": 1, "description": "x"}]}, "the name A"),
    ],
)
def test_commands_are_judged_down_to_their_options(command: dict[str, Any], finds: str) -> None:
    found = list(
        faults("PUT", COMMANDS, [{"name": "dream", "description": "x", "type": 1} | command])
    )
    assert (found == []) if not finds else any(finds in fault for fault in found), found


@needs_description
def test_forms_answers_and_events_are_judged() -> None:
    field = {"type": 4, "style": 1, "custom_id": "prompt"}
    form = {
        "title": "Steer",
        "custom_id": "f",
        "components": [{"type": 18, "label": "Words", "component": field}],
    }
    assert list(faults("POST", CALLBACK, {"type": 9, "data": form})) == []
    changes: list[dict[str, Any]] = [{"title": "x" * 46}, {"components": []}, {"custom_id": ""}]
    for change in changes:
        assert list(faults("POST", CALLBACK, {"type": 9, "data": form | change})), change
    assert list(faults("GET", "/nowhere", None)) == ["there is no such route"]
    channel = payloads.channel()
    assert list(event_faults("CHANNEL_UPDATE", channel)) == []
    assert list(event_faults("CHANNEL_UPDATE", channel | {"type": "text"}))
    assert list(answer_faults("POST", MESSAGES, 403, {"code": 50013, "message": "no"})) == []
    assert list(answer_faults("POST", MESSAGES, 403, {"code": "no"}))
