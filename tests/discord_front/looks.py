"""What is on a message of the loopback Discord's."""

from __future__ import annotations

from tests.discord_front.payloads import Json


def picture_url(message: Json) -> str | None:
    """Return where a message's picture is to be had."""
    for component in walk(message["components"]):
        if "items" in component:
            return str(component["items"][0]["media"]["url"])
    return None


def text_of(message: Json) -> str:
    """Return all that is written on a message."""
    return " ".join(one["content"] for one in walk(message["components"]) if "content" in one)


def labels_of(message: Json) -> list[str]:
    """Return what is written on a message's buttons."""
    return [one["label"] for one in walk(message["components"]) if "label" in one]


def walk(components: list[Json]) -> list[Json]:
    """Return components and all that is inside them."""
    found = []
    for one in components:
        found += [one, *walk(one.get("components", []))]
        if one.get("accessory"):
            found += walk([one["accessory"]])
    return found
