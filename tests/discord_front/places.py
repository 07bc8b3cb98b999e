"""Where people ask besides a server's ordinary channel, and what Discord says of it there.

Threads and age-restricted channels are of the bot's own server. In direct messages with the bot it
may not post of itself; in those of others, and in servers that have not invited it, it is only
because a person has installed it: it learns of the interaction, and of nothing else.
"""

from __future__ import annotations

from typing import Any

from tests.discord_front import payloads
from tests.discord_front.payloads import ANN, BOT, CHANNEL, CHANNEL_B, GUILD, GUILD_B, Json
from tests.discord_front.rest import Rest

THREAD = CHANNEL + 10
ADULTS = CHANNEL_B + 11
ABROAD_GUILD = GUILD + (5 << 22)
ABROAD = CHANNEL + (5 << 22)
GROUP = CHANNEL + 12
_DIRECT = CHANNEL + (9 << 22)
_DIRECT_MAY = "442368"  # to attach files, embed links and mention everyone, which is always told


def direct(person: int) -> int:
    """Return the channel of a person's direct messages with the bot."""
    return _DIRECT + person - ANN


def open_all(rest: Rest, people: int) -> list[int]:
    """Open every kind of place for so many people; return those that all share."""
    rest.channels[ADULTS] = payloads.channel(ADULTS, GUILD_B) | {"nsfw": True, "name": "adults"}
    rest.channels[THREAD] = payloads.thread(THREAD, rest.channels[CHANNEL], ANN, "a side track")
    rest.channels[ABROAD] = payloads.channel(ABROAD, ABROAD_GUILD)
    rest.channels[GROUP] = {"id": str(GROUP), "type": 3, "name": None, "recipients": _guests(3)}
    for person in range(ANN, ANN + people):
        number = direct(person)
        them = [payloads.user(BOT, "dreamstream", is_bot=True)]
        rest.channels[number] = {"id": str(number), "type": 1, "name": None, "recipients": them}
    return [CHANNEL, CHANNEL_B, THREAD, ADULTS, ABROAD, GROUP]


def reader_of(place: Json, number: int) -> int | None:
    """Return who alone sees a place, for direct messages with the bot."""
    return number - _DIRECT + ANN if place["type"] == 1 else None


def context_of(place: Json, by: int) -> Json:
    """Return what an interaction says of how the bot came to a place that is not its own."""
    if place["type"] == 1:
        return {
            "context": 1,
            "authorizing_integration_owners": {"0": "0", "1": str(by)},
            "app_permissions": _DIRECT_MAY,
        }
    found: Json = {"authorizing_integration_owners": {"1": str(by)}}
    if place["type"] == 3:
        return found | {"context": 2, "app_permissions": _DIRECT_MAY}
    return found | {"context": 0, "app_permissions": payloads.ALL_PERMISSIONS}


def offered(command: Json, place: Json, *, invited: bool) -> bool:
    """Say whether people are offered a command there; `invited` is whether the bot is a member."""
    context = {1: 1, 3: 2}.get(place["type"], 0)
    contexts = command.get("contexts")
    kinds = command.get("integration_types") or [0]
    if contexts is not None and context not in contexts:
        return False
    return 1 in kinds if context == 2 or (context == 0 and not invited) else True


def _guests(count: int) -> list[Any]:
    return [payloads.user(ANN + one, f"guest{one}") for one in range(1, 1 + count)]
