"""What comes over a wire: the scheduler's messages, posted forms, the ids of Discord's controls."""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
import random
import re
from functools import cache
from typing import Any

import msgspec
from discord import ui

import bot.delivery
import cogs
from bot.wall.multipart import Upload, fields_of
from generation import protocol
from generation.protocol import ProtocolError
from tests.fuzz.inputs import mutated, mutated_text
from tests.fuzz.running import Target

_BOTH = (protocol.ToScheduler, protocol.ToBot)


def _example(kind: Any) -> Any:
    """Return a value of a type."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        fields = msgspec.structs.fields(kind)
        return kind(**{one.name: _example(one.type) for one in fields})
    arguments: tuple[Any, ...] = getattr(kind, "__args__", ())
    match getattr(kind, "__origin__", None):
        case None if arguments:  # a union: the first that is something
            return _example(arguments[0])
        case origin if origin is dict:
            return {_example(arguments[0]): _example(arguments[1])}
        case origin if origin is tuple:
            return tuple(_example(one) for one in arguments if one is not Ellipsis)
    values: dict[Any, Any] = {bool: True, int: 3, float: 0.5, str: "ab", bytes: b"cd"}
    return values[kind] if kind in values else next(iter(kind))


@cache
def wire() -> tuple[bytes, ...]:
    """Return one of every message that there is."""
    kinds = [kind for both in _BOTH for kind in both.__args__]
    return tuple(protocol.encode(_example(kind)) for kind in kinds)


def damaged_message(random: random.Random) -> bytes:
    """Return a framed message with places changed; mostly its length is that of its body."""
    if random.randrange(10) == 0:
        body = bytes([random.choice((0x91, 0x81, 0xDC, 0xDD, 0xDF, 0xC6, 0xC9))]) * 5000
    elif random.randrange(10) == 0:
        return mutated(random, wire())
    else:
        body = mutated(random, [one[4:] for one in wire()])
    return len(body).to_bytes(4, "big") + body


def _message(data: bytes) -> None:
    for read in (protocol.read_for_scheduler, protocol.read_for_bot):
        asyncio.run(_read(read, data))


async def _read(read: Any, data: bytes) -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    try:
        found = await read(reader)
    except (ProtocolError, asyncio.IncompleteReadError) as error:
        assert len(str(error)) < 500, "an error as long as what was sent"
        return
    assert type(found).__name__ in {kind.__name__ for both in _BOTH for kind in both.__args__}


@cache
def controls() -> tuple[Any, ...]:
    """Return every kind of control whose id is read again after a restart."""
    for package in (bot.delivery, cogs):
        for one in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(one.name)
    found = [
        kind
        for kind in ui.DynamicItem.__subclasses__()
        if kind.__module__.startswith(("bot.", "cogs."))
    ]
    return tuple(sorted(found, key=lambda kind: kind.__qualname__))


def _template(kind: Any) -> re.Pattern[str]:
    pattern: re.Pattern[str] = kind.__discord_ui_compiled_template__
    return pattern


def forged_id(random: random.Random) -> str:
    """Return an id that a control might have had, or that somebody made up."""
    pattern = random.choice(controls())
    said = _sampled(random, _template(pattern).pattern)
    return said if random.randrange(3) else mutated_text(random, said)[:100]


def _sampled(random: random.Random, pattern: str) -> str:
    """Return a text that a pattern takes."""
    parsed = re._parser.parse(pattern)  # type: ignore[attr-defined]
    return "".join(_sample(random, operation, about) for operation, about in parsed)


def _sample(random: random.Random, operation: Any, about: Any) -> str:
    match str(operation):
        case "LITERAL":
            return chr(about)
        case "NOT_LITERAL" | "ANY":
            return random.choice("xY7 é")
        case "IN":
            return _of_class(random, about)
        case "CATEGORY":
            return "9" if "DIGIT" in str(about) else "w"
        case "BRANCH":
            return "".join(_sample(random, *one) for one in random.choice(about[1]))
        case "SUBPATTERN":
            return "".join(_sample(random, *one) for one in about[-1])
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            low, high, inner = about
            count = random.choice(
                (low, min(int(high), 40), random.randint(low, min(int(high), 40)))
            )
            return "".join(_sample(random, *one) for _ in range(count) for one in inner)
    return ""


def _of_class(random: random.Random, members: Any) -> str:
    operation, about = random.choice([one for one in members if str(one[0]) != "NEGATE"])
    if str(operation) == "RANGE":
        low, high = about
        return chr(random.choice((low, high, random.randint(low, high))))
    return _sample(random, operation, about)


def _control(custom_id: str) -> None:
    for kind in controls():
        found = _template(kind).fullmatch(custom_id)
        if found is None:
            continue
        item: Any = (ui.Select if "Menu" in kind.__name__ else ui.Button)(custom_id=custom_id[:100])
        if len(custom_id) > 100:
            continue  # Discord itself takes no longer ones
        made = asyncio.run(kind.from_custom_id(None, item, found))
        assert made.template.fullmatch(made.custom_id)
        for number in found.groupdict().values():
            assert not (number or "").isdigit() or len(number) <= 20


_PART = b"--b\r\nContent-Disposition: form-data; name="
_FORMS = (
    _PART
    + b'"prompt"\r\n\r\na fox\r\n'
    + _PART
    + b'"init"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n\x89PNG\r\n--b--\r\n',
    b"prompt=a+fox&name=%C3%96&option.scale=1&a=&=b",
)
_KINDS = (
    *("multipart/form-data; boundary=b", 'multipart/form-data; boundary="b"; charset=utf-16'),
    *("application/x-www-form-urlencoded", "", "multipart/form-data", "text/plain"),
)


def damaged_form(random: random.Random) -> tuple[str, bytes]:
    """Return a posted form with places changed, as of one of the types that there are."""
    kind = random.choice(_KINDS)
    return mutated_text(random, kind) if random.random() < 0.2 else kind, mutated(random, _FORMS)


def _form(given: tuple[str, bytes]) -> None:
    kind, body = given
    for name, value in fields_of(kind, body).items():
        assert isinstance(name, str)
        assert not isinstance(value, Upload) or value.data in body


TARGETS = (
    Target("wire messages", damaged_message, _message),
    Target("posted forms", damaged_form, _form, (ValueError,), told=False),
    Target("ids of controls", forged_id, _control),
)
