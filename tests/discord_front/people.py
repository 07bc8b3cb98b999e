"""What people do in the loopback Discord: commands, buttons, forms, permissions."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.discord_front import payloads, places
from tests.discord_front.looks import labels_of, walk
from tests.discord_front.payloads import CHANNEL, Json, snowflake
from tests.discord_front.rest import Asked, Rest

_LEFT_OUT = ("user", "deaf", "mute")  # of a member who is named in an option


@dataclass(frozen=True)
class File:
    """What somebody attaches to a command."""

    name: str
    data: bytes


class People(ABC):
    """Everybody but the bot."""

    rest: Rest
    may: dict[int, int]
    """What people may do, as permission bits; whoever is not in it may do everything."""
    speaks: dict[int, str]
    """The languages of people; whoever is not in it has American English."""

    @abstractmethod
    async def until(self, condition: Callable[[], Any], what: str) -> Any:
        """Return what the condition gives, as soon as it is true of it."""

    @abstractmethod
    async def tell(self, name: str, data: Json) -> None:
        """Tell the shard whose guild an event is of."""

    async def slash(
        self, name: str, /, *, by: int = payloads.ANN, place: int = CHANNEL, **options: Any
    ) -> Asked:
        """Send a command, `theme show` with a subcommand; return what becomes of it."""
        data = self._command_data(name, place, options)
        return await self._interact(2, data, by, place)

    async def type_into(self, name: str, option: str, text: str, /, **options: Any) -> list[Json]:
        """Type into an option of a command; return the choices that are offered."""
        asked = await self.typing(name, option, text, by=payloads.ANN, place=CHANNEL, **options)
        choices: list[Json] = (await self.callback(asked))["data"]["choices"]
        return choices

    async def typing(
        self, name: str, option: str, text: str, /, *, by: int, place: int, **options: Any
    ) -> Asked:
        """Type into an option of a command; return what becomes of it."""
        data = self._command_data(name, place, options | {option: text})
        inner = data["options"]
        while inner and inner[0]["type"] in (1, 2):
            inner = inner[0]["options"]
        next(one for one in inner if one["name"] == option)["focused"] = True
        return await self._interact(4, data, by, place)

    async def choose(self, name: str, message: Json, *, by: int = payloads.ANN) -> Asked:
        """Choose a command from a message's menu."""
        command = next(one for one in self.rest.commands if (one["type"], one["name"]) == (3, name))
        data = {
            "id": command["id"],
            "name": name,
            "type": 3,
            "target_id": message["id"],
            "resolved": {"messages": {message["id"]: message}},
        }
        return await self._interact(2, data, by, int(message["channel_id"]))

    async def press(self, message: Json, label: str, *, by: int = payloads.ANN) -> Asked:
        """Press a button of a message, as it was when it was looked at."""
        found = [one for one in walk(message["components"]) if one.get("label") == label]
        assert found, f"there is no button {label}: {labels_of(message)}"
        return await self.press_button(message, found[0], by=by)

    async def press_button(self, message: Json, button: Json, *, by: int) -> Asked:
        """Press one of a message's buttons."""
        data = {"component_type": 2, "custom_id": button["custom_id"], "id": button["id"]}
        place = int(message["channel_id"])
        return await self._interact(3, data, by, place, message=message)

    async def pick(self, message: Json, menu: Json, values: list[str], *, by: int) -> Asked:
        """Choose from a menu of a message."""
        data = {
            "component_type": 3,
            "custom_id": menu["custom_id"],
            "id": menu["id"],
            "values": values,
        }
        return await self._interact(3, data, by, int(message["channel_id"]), message=message)

    async def submit(
        self, form: Json, value: str, *, by: int = payloads.ANN, place: int = CHANNEL
    ) -> Asked:
        """Fill and send a form with one field."""
        field = form["components"][0]["component"]
        filled = {"type": 4, "id": 2, "custom_id": field["custom_id"], "value": value}
        row = {"type": 18, "id": 1, "component": filled}
        return await self.send_form(form["custom_id"], [row], by=by, place=place)

    async def send_form(
        self, custom_id: str, rows: list[Json], *, by: int, place: int = CHANNEL
    ) -> Asked:
        """Send a form whose fields are filled."""
        return await self._interact(5, {"custom_id": custom_id, "components": rows}, by, place)

    async def callback(self, asked: Asked) -> Json:
        """Return how an interaction was acknowledged."""
        found: Json = await self.until(lambda: asked.callback, "an acknowledgement")
        return found

    async def answer(self, asked: Asked) -> str:
        """Return the sentence that an interaction was answered with."""
        body: Json = await self.until(lambda: asked.answer, "an answer")
        return str(body.get("content"))

    async def permit(self, channel_id: int, denied: int) -> None:
        """Take permissions from everybody in a channel, and give back all others."""
        channel = self.rest.channels[channel_id]
        overwrite = {"id": channel["guild_id"], "type": 0, "allow": "0", "deny": str(denied)}
        channel = channel | {"permission_overwrites": [overwrite] if denied else []}
        self.rest.channels[channel_id] = channel
        await self.tell("CHANNEL_UPDATE", channel)

    async def react(
        self, message: Json, emoji: str, *, by: int = payloads.ANN, there: bool = True
    ) -> None:
        """Put a reaction onto a message, or take it away."""
        channel = self.rest.channels[int(message["channel_id"])]
        data: Json = {
            "user_id": str(by),
            "channel_id": message["channel_id"],
            "message_id": message["id"],
            "guild_id": channel["guild_id"],
            "emoji": {"id": None, "name": emoji},
            "burst": False,
            "type": 0,
        }
        if there:
            data["member"] = payloads.member(by, "ann" if by == payloads.ANN else "guest")
            data["message_author_id"] = message["author"]["id"]
            data["burst_colors"] = []
        await self.tell(f"MESSAGE_REACTION_{'ADD' if there else 'REMOVE'}", data)

    def _command_data(self, name: str, place: int, options: Json) -> Json:
        top, *below = name.split(" ")
        command = next(one for one in self.rest.commands if one["name"] == top)
        node = command
        for part in below:
            node = next(one for one in node["options"] if one["name"] == part)
        kinds = {one["name"]: one["type"] for one in node.get("options", [])}
        files = {
            str(snowflake()): self.rest.upload(place, value.name, value.data)
            for value in options.values()
            if isinstance(value, File)
        }
        files = {one["id"]: one for one in files.values()}
        numbers = iter(files)
        given: list[Json] = [
            {"name": k, "type": kinds[k], "value": next(numbers) if isinstance(v, File) else v}
            for k, v in options.items()
        ]
        for depth, part in enumerate(reversed(below)):
            given = [{"name": part, "type": 2 if depth else 1, "options": given}]
        data = {"id": command["id"], "name": top, "type": 1, "options": given}
        found = {"attachments": files} | self._meant(place, kinds, options)
        found = {name: those for name, those in found.items() if those}
        return data | ({"resolved": found} if found else {})

    def _meant(self, place: int, kinds: dict[str, int], options: Json) -> Json:
        """Return the people, roles and channels that are named in options."""
        guild_id = int(self.rest.channels[place].get("guild_id", 0))
        people = [int(value) for name, value in options.items() if kinds[name] == 6]
        users = {str(one): payloads.user(one, f"guest{one - payloads.ANN}") for one in people}
        members = {
            str(one): {k: v for k, v in payloads.member(one, "").items() if k not in _LEFT_OUT}
            for one in people
            if guild_id
        }
        roles = {
            str(value): self.rest.roles[guild_id]
            for name, value in options.items()
            if kinds[name] == 8
        }
        channels = {
            str(value): self.rest.channels[int(value)]
            | {"permissions": str(self.rest.permissions(int(value)))}
            for name, value in options.items()
            if kinds[name] == 7
        }
        return {"users": users, "members": members, "roles": roles, "channels": channels}

    async def _interact(self, kind: int, data: Json, by: int, place: int, **more: Any) -> Asked:
        channel = self.rest.channels[place]
        permissions = str(self.rest.permissions(place))
        if not self.rest.invited(place):
            more |= places.context_of(channel, by)
        made = payloads.interaction(
            kind, data, by=by, place=channel, permissions=permissions, **more
        )
        made["locale"] = self.speaks.get(by, made["locale"])
        if by in self.may and "member" in made:
            made["member"]["permissions"] = str(self.may[by])
        asked = self.rest.asked[made["id"]] = Asked(made, time.monotonic())
        await self.tell("INTERACTION_CREATE", made)
        return asked
