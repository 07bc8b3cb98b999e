"""What people type at random: sense, nonsense, and what only looks like the one or the other."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from typing import Any

from PIL import Image

from tests.discord_front import payloads
from tests.discord_front.looks import walk
from tests.discord_front.loopback import Discord
from tests.discord_front.payloads import ANN, Json
from tests.discord_front.people import File

_WORDS = (
    "a red fox", "ein blauer Wal", "un château dans la brume", "@everyone <@&1> <@1> @here",
    "a castle:2 | fog:-1", "fox:nan | :::", "```js\n`**__~~||", "\u202etfel ot thgir", "🦊" * 300,
    "日本語のプロンプト", "[a](https://example.org) # big", "x" * 1900, "a\n\n\nb\n> c", "nude",
    "-1", "::", "a | b | c | d:0", "{prompt} {0} %s", "\\", "<script>alert(1)</script>",
)  # fmt: skip
_TEXTS = {
    "engine": ("fake", "Fake", "nothing", ""),
    "model": ("nothing", "fake-small", "x" * 300),
    "size": ("64", "96x64", "banana", "99999", "0x0", "64x", "-64"),
    "options": ("step_s=0.01", "step_s=0.05", "error_at=2", "raise_at=2", "x", "step_s=fox",
                "score=nan", "step_s=0.01, step_s=0.02", "=", ","),
    "style": ("watercolour", "watercolour, ", "x" * 400),
    "colour": ("#ff8800", "red", "#ff", "teal!"),
    "template": ("a castle of {prompt}", "no place for it", "{prompt}{prompt}", "{0}"),
    "negative": ("fog", "@everyone"),
    "name": ("sea", "Sea Side", "open", "a" * 60, "🦊", "-"),
    "theme": ("open", "sea", "nothing", "<@1>"),
    "clear": ("template", "nothing"),
}  # fmt: skip
_NUMBERS = {
    "count": (1, 1, 2, 4, 12, 25, 100),
    "steps": (1, 5, 5, 10, 30, 2_000_000_000),
    "seed": (0, 7, 4_294_967_295),
    "after": (1, 3, 100_000),
    "glide": (0, 3, 10_000_000),
    "hours": (1, 24, 10_000_000),
}
Option = tuple[str, Json]


def _picture(size: int) -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").resize((size, size)).convert("RGB").save(out, "PNG")
    return out.getvalue()


class Nonsense:
    """Chooses what is typed, out of what the tree of commands takes."""

    def __init__(self, chance: random.Random, discord: Discord, people: int) -> None:
        self._chance = chance
        self._discord = discord
        self._people = people
        good = _picture(64)
        self._files = (
            File("fox.png", good), File("fox.png", good), File("fox.png", good[:200]),
            File("fox.exe", b"MZ"), File("none.png", b""), File("tiny.png", _picture(1)),
        )  # fmt: skip

    def words(self) -> str:
        """Return something to draw."""
        return self._chance.choice(_WORDS)

    def message(self, place: int) -> Json:
        """Return a message that somebody sent, with one picture or none."""
        chance = self._chance
        file = chance.choice(self._files)
        files = [self._discord.rest.upload(place, file.name, file.data)] * chance.choice((0, 1))
        made = payloads.message(payloads.snowflake(), place, {"content": self.words()}, files)
        return made | {"author": payloads.user(ANN + 1, "guest1")}

    def command(self) -> tuple[str, dict[str, Any]]:
        """Return a command, with options that Discord would let through."""
        name, node = self._chance.choice([*self._leaves()])
        if self._chance.random() < 0.35:  # else hardly anything would be drawn
            name = self._chance.choice(("dream", "dream", "explore"))
            node = dict(self._leaves())[name]
            return name, self._kindly(node)
        given = {}
        for option in node.get("options", []):
            if option.get("required") or self._chance.random() < 0.3:
                given[option["name"]] = self._value(option)
        return name, given

    def typed(self) -> tuple[str, str, str] | None:
        """Return a command, an option of it that makes proposals, and what is typed there."""
        found = [
            (name, option["name"])
            for name, node in self._leaves()
            for option in node.get("options", [])
            if option.get("autocomplete")
        ]
        if not found:
            return None
        name, option_name = self._chance.choice(found)
        texts = ("", "a", *_TEXTS.get(option_name, ()), self.words()[:100])
        return name, option_name, self._chance.choice(texts)

    def _kindly(self, node: Json) -> dict[str, Any]:
        """Return options with which something is drawn."""
        given: dict[str, Any] = {"prompt": self.words(), "steps": self._chance.choice((3, 10, 20))}
        given["options"] = f"step_s={self._chance.choice((0.0, 0.02, 0.1))}"
        counts = (4, 9) if node["name"] == "explore" else (1, 1, 2, 4, 11)
        return given | {"count": self._chance.choice(counts)}

    def _leaves(self) -> Iterator[Option]:
        for command in self._discord.rest.commands:
            if command.get("type", 1) == 1:
                yield from _below(command["name"], command)

    def _value(self, option: Json) -> Any:
        chance, name = self._chance, option["name"]
        if option.get("choices"):
            return chance.choice(option["choices"])["value"]
        match option["type"]:
            case 3:
                text = chance.choice((*_TEXTS.get(name, ()), self._dream(), self.words()))
                least = option.get("min_length", 0)
                return (text or "x" * least).ljust(least, "x")[: option.get("max_length", 6000)]
            case 4:
                found = chance.choice(_NUMBERS.get(name, (0, 1, 3, 50, 10**9)))
                return min(max(found, option.get("min_value", found)),
                           option.get("max_value", found))  # fmt: skip
            case 5:
                return chance.random() < 0.5
            case 6:
                return str(ANN + chance.randrange(self._people))
            case 7:
                there = self._discord.rest.channels
                kinds = option.get("channel_types", [0])
                return str(chance.choice([one for one in there if there[one]["type"] in kinds]))
            case 8:
                return str(chance.choice([*self._discord.rest.roles]))
            case 10:
                low, high = option.get("min_value", 0.0), option.get("max_value", 30.0)
                return chance.choice((low, high, (low + high) / 2))
            case 11:
                return chance.choice(self._files)
        raise AssertionError(f"nobody knows what to give to {option}")

    def _dream(self) -> str:
        """Return a name of a dream: that of one there was, by id or by message, or of none."""
        chance, messages = self._chance, [*self._discord.rest.messages.values()]
        if not messages or chance.random() < 0.2:
            return chance.choice(("nothing", "0" * 24, "https://discord.com/channels/1/2/3"))
        message = chance.choice(messages)
        ids = [
            one["custom_id"].split(":")[2]
            for one in walk(message["components"])
            if one.get("custom_id", "").startswith(("dream:", "card:"))
        ]
        guild = self._discord.rest.channels[int(message["channel_id"])]["guild_id"]
        link = f"https://discord.com/channels/{guild}/{message['channel_id']}/{message['id']}"
        named: list[str] = [*ids, link]
        return chance.choice(named)


def _below(name: str, node: Json) -> Iterator[Option]:
    inner = [one for one in node.get("options", []) if one["type"] in (1, 2)]
    if not inner:
        yield name, node
    for one in inner:
        yield from _below(f"{name} {one['name']}", one)
