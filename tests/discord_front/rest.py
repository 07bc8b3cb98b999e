"""What Discord's REST routes do, as far as a bot of messages and interactions uses them.

Each route checks what Discord checks and answers with its codes; nothing here knows of sockets.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import Any

from tests.discord_front import payloads
from tests.discord_front.payloads import BOT, Json, snowflake

VIEW, SEND, ATTACH, HISTORY = 1 << 10, 1 << 11, 1 << 15, 1 << 16
PUBLIC_THREADS, SEND_IN_THREADS = 1 << 35, 1 << 38
_MAX_FOLLOW_UPS = 5  # where only a person has installed the bot
_ACKNOWLEDGE_S = 3.0
_PIN_MESSAGES = 1 << 51
_TOKEN_S = 15 * 60.0
_IS_V2 = 1 << 15
# Which answers a kind of interaction takes: a command, a component, an autocomplete, a form.
_ANSWERS = {2: {4, 5, 9}, 3: {4, 5, 6, 7, 9}, 4: {8}, 5: {4, 5, 6, 7}}


class Refused(Exception):
    """Discord does not do it."""

    def __init__(self, status: int, code: int, message: str) -> None:
        self.status = status
        self.body: Json = {"message": message, "code": code}
        super().__init__(f"{status} {code} {message}")


@dataclass
class Asked:
    """An interaction, from when it was sent to the bot."""

    interaction: Json
    at_s: float
    acknowledged_s: float | None = None
    callback: Json | None = None
    answer: Json | None = None
    expired: bool = False
    follow_ups: list[int] = field(default_factory=list)


class Rest:
    """The guilds, their channels and messages, the commands and the interactions."""

    def __init__(self, base: str, mistakes: list[str]) -> None:
        self.base = base
        self.shards = 1
        self.at_once = 1
        self.roles = {one: payloads.role(one) for one in (payloads.GUILD, payloads.GUILD_B)}
        self.channels = {
            payloads.CHANNEL: payloads.channel(),
            payloads.CHANNEL_B: payloads.channel(payloads.CHANNEL_B, payloads.GUILD_B),
        }
        self.messages: dict[int, Json] = {}
        self.follow_ups: dict[int, Json] = {}
        self.deleted: list[int] = []
        self.files: dict[str, bytes] = {}
        self.commands: list[Json] = []
        self.syncs = 0
        self.asked: dict[str, Asked] = {}
        self.edits: dict[int, list[float]] = {}
        self.posts: dict[int, list[float]] = {}
        self.loses_files = False  # the CDN then knows of nothing that is uploaded
        self.upload_limit = 10 * 1024 * 1024
        self.gateway_url = ""
        self.nonces: dict[tuple[int, str], int] = {}
        self.members: dict[int, set[int]] = {one: set() for one in self.roles}
        """Who may be asked for; what somebody does says by itself who they are."""
        self._mistakes = mistakes

    def handle(
        self, method: str, path: str, query: Json, body: Any, files: dict[int, tuple[str, bytes]]
    ) -> tuple[int, Any]:
        """Carry out a request of the bot's; return the status and the answer.

        Raises:
            Refused: Discord would not.
        """
        match method, path.strip("/").split("/"):
            case "GET", ["users", "@me"]:
                return 200, payloads.bot_user()
            case "GET", [*_, "applications", "@me"]:
                return 200, payloads.application()
            case "GET", ["gateway", "bot"]:
                limit = {"total": 1000, "remaining": 999, "reset_after": 1}
                limit["max_concurrency"] = self.at_once
                started = {"shards": self.shards, "session_start_limit": limit}
                return 200, {"url": self.gateway_url} | started
            case "GET", ["guilds", guild, "members", person]:
                return 200, self._member(int(guild), int(person))
            case "PUT", ["applications", _, "commands"]:
                self.syncs += 1
                self.commands = [_registered(one) for one in body]
                return 200, self.commands
            case "POST", ["interactions", number, token, "callback"]:
                return 200, self._acknowledge(number, token, body)
            case "PATCH", ["webhooks", _, token, "messages", "@original"]:
                return 200, self._answer(token, body, files)
            case "POST", ["webhooks", _, token]:
                return 200, self._follow_up(token, body, files)
            case "PATCH", ["webhooks", _, token, "messages", number]:
                return 200, self._change_follow_up(token, int(number), body, files)
            case "DELETE", ["webhooks", _, token, "messages", number]:
                self._of_token(token)
                if self.follow_ups.pop(int(number), None) is None:
                    raise Refused(404, 10008, "Unknown Message")
                return 204, None
            case "POST", ["channels", channel, "messages"]:
                return 200, self._post(int(channel), body, files)
            case "PATCH", ["channels", channel, "messages", number]:
                return 200, self._edit(int(channel), int(number), body, files)
            case "POST", ["channels", channel, "threads"]:
                return 201, self._begin_thread(int(channel), snowflake(), body)
            case "POST", ["channels", channel, "messages", number, "threads"]:
                self._message(int(channel), int(number))
                return 201, self._begin_thread(int(channel), int(number), body)
            case "GET", ["channels", channel]:
                self._may(int(channel), 0)
                return 200, self.channels[int(channel)]
            case "PATCH", ["channels", channel]:
                return 200, self._change_thread(int(channel), body)
            case "PUT", ["channels", channel, "thread-members", _]:
                self._may(int(channel), 0)
                if "thread_metadata" not in self.channels[int(channel)]:
                    raise Refused(404, 10003, "Unknown Channel")
                return 204, None
            case "GET", ["channels", channel, "messages"]:
                return 200, self._history(int(channel), query)
            case "PUT", ["channels", channel, "messages", "pins", number]:
                self._may(int(channel), _PIN_MESSAGES)
                self._message(int(channel), int(number))["pinned"] = True
                return 204, None
            case "DELETE", ["channels", channel, "messages", number]:
                self._message(int(channel), int(number))
                self.deleted.append(int(number))
                del self.messages[int(number)]
                return 204, None
        self._mistakes.append(f"nobody knows {method} {path}")
        raise Refused(404, 0, "404: Not Found")

    def permissions(self, channel_id: int) -> int:
        """Return what the bot may do in a channel, as bits."""
        channel = self.channels[channel_id]
        if not self.invited(channel_id):
            return 0
        bits = int(self.roles[int(channel["guild_id"])]["permissions"])
        if "thread_metadata" in channel:
            channel = self.channels[int(channel["parent_id"])]
        for overwrite in channel["permission_overwrites"]:
            bits = bits & ~int(overwrite["deny"]) | int(overwrite["allow"])
        return bits

    def invited(self, channel_id: int) -> bool:
        """Return whether a channel is of a guild that the bot is a member of."""
        return int(self.channels[channel_id].get("guild_id", 0)) in self.roles

    def upload(self, channel_id: int, name: str, data: bytes) -> Json:
        """Put a file on the CDN; return it as an attachment."""
        path = f"{channel_id}/{snowflake()}/{name}"
        if not self.loses_files:
            self.files[path] = data
        return payloads.attachment(name, data, f"{self.base}/attachments/{path}")

    def _member(self, guild_id: int, user_id: int) -> Json:
        if guild_id not in self.roles:
            raise Refused(403, 50001, "Missing Access")
        if user_id not in self.members[guild_id]:
            raise Refused(404, 10007, "Unknown Member")
        found = payloads.member(user_id, f"guest{user_id - payloads.ANN}")
        return {name: value for name, value in found.items() if name != "permissions"}

    # --- interactions ------------------------------------------------------------------------

    def _acknowledge(self, number: str, token: str, body: Json) -> Json:
        asked = self.asked.get(number)
        if asked is None or asked.interaction["token"] != token:
            raise Refused(404, 10062, "Unknown interaction")
        if asked.acknowledged_s is not None:
            raise Refused(400, 40060, "Interaction has already been acknowledged.")
        if time.monotonic() - asked.at_s > _ACKNOWLEDGE_S:
            raise Refused(404, 10062, "Unknown interaction")
        if body["type"] not in _ANSWERS[asked.interaction["type"]]:
            raise Refused(400, 50035, f"Invalid Form Body: type {body['type']}")
        asked.acknowledged_s, asked.callback = time.monotonic(), body
        if body["type"] == 4:
            asked.answer = body["data"]
        told = {"id": number, "type": asked.interaction["type"]}
        return {"interaction": told}

    def _of_token(self, token: str) -> Asked:
        found = [one for one in self.asked.values() if one.interaction["token"] == token]
        if not found or found[0].callback is None:
            raise Refused(404, 10015, "Unknown Webhook")
        if found[0].expired or time.monotonic() - found[0].at_s > _TOKEN_S:
            raise Refused(401, 50027, "Invalid Webhook Token")
        return found[0]

    def _answer(self, token: str, body: Json, files: dict[int, tuple[str, bytes]]) -> Json:
        asked = self._of_token(token)
        if asked.callback is None or asked.callback["type"] not in (4, 5, 6):
            raise Refused(404, 10008, "Unknown Message")
        asked.answer = body
        channel_id = int(asked.interaction["channel_id"])
        attachments = self._attached(channel_id, body, files)
        return _checked(lambda: payloads.message(snowflake(), channel_id, body, attachments))

    def _follow_up(self, token: str, body: Json, files: dict[int, tuple[str, bytes]]) -> Json:
        asked = self._of_token(token)
        if asked.answer is None and asked.callback is not None and asked.callback["type"] == 5:
            # The first takes the place of “… is thinking”, which is then no more to be edited.
            asked.callback = {"type": 4}
        channel_id = int(asked.interaction["channel_id"])
        attachments = self._attached(channel_id, body, files)
        number = snowflake()
        made = _checked(lambda: payloads.message(number, channel_id, body, attachments))
        asked.follow_ups.append(number)
        by_user_alone = "0" not in asked.interaction["authorizing_integration_owners"]
        if by_user_alone and len(asked.follow_ups) > _MAX_FOLLOW_UPS:
            self._mistakes.append("more than five follow-ups where a person installed the bot")
            raise Refused(400, 40094, "Too many follow-up messages")
        self.follow_ups[number] = made
        return made

    def _change_follow_up(
        self, token: str, number: int, body: Json, files: dict[int, tuple[str, bytes]]
    ) -> Json:
        asked = self._of_token(token)
        if number not in self.follow_ups:
            raise Refused(404, 10008, "Unknown Message")
        old = self.follow_ups[number]
        channel_id = int(asked.interaction["channel_id"])
        attachments = self._attached(channel_id, body, files, old["attachments"])
        self.follow_ups[number] = _checked(lambda: payloads.edited(old, body, attachments))
        return self.follow_ups[number]

    # --- threads -----------------------------------------------------------------------------

    def _begin_thread(self, channel_id: int, number: int, body: Json) -> Json:
        """Begin a thread; one of a message has its id."""
        self._may(channel_id, PUBLIC_THREADS)
        if number in self.channels:
            raise Refused(400, 160004, "A thread has already been created for this message")
        made = payloads.thread(number, self.channels[channel_id], BOT, body["name"])
        self.channels[number] = made
        return made

    def _change_thread(self, channel_id: int, body: Json) -> Json:
        self._may(channel_id, 0)
        thread = self.channels[channel_id]
        if "thread_metadata" not in thread:
            raise Refused(403, 50013, "Missing Permissions")
        if "archived" in body:
            thread["thread_metadata"]["archived"] = body["archived"]
        return thread

    # --- messages ----------------------------------------------------------------------------

    def _post(self, channel_id: int, body: Json, files: dict[int, tuple[str, bytes]]) -> Json:
        in_thread = "thread_metadata" in self.channels.get(channel_id, {})
        self._may(channel_id, (SEND_IN_THREADS if in_thread else SEND) | (ATTACH if files else 0))
        nonce = (channel_id, str(body.get("nonce")))
        if body.get("enforce_nonce") and self.nonces.get(nonce) in self.messages:
            return self.messages[self.nonces[nonce]]
        if not (body.get("content") or body.get("components") or body.get("embeds") or files):
            raise Refused(400, 50006, "Cannot send an empty message")
        attachments = self._attached(channel_id, body, files)
        number = snowflake()
        made = _checked(lambda: payloads.message(number, channel_id, body, attachments))
        self.messages[number] = made
        if body.get("nonce") is not None:
            self.nonces[nonce] = number
        self.posts.setdefault(channel_id, []).append(time.monotonic())
        return made

    def _edit(
        self, channel_id: int, number: int, body: Json, files: dict[int, tuple[str, bytes]]
    ) -> Json:
        old = self._message(channel_id, number)
        self._may(channel_id, ATTACH if files else 0)
        flags = body.get("flags")
        if flags is not None and old["flags"] & _IS_V2 and not flags & _IS_V2:
            raise Refused(400, 50035, "Invalid Form Body: components V2 cannot be taken back")
        attachments = self._attached(channel_id, body, files, old["attachments"])
        made = _checked(lambda: payloads.edited(old, body, attachments))
        self.messages[number] = made
        self.edits.setdefault(number, []).append(time.monotonic())
        return made

    def _history(self, channel_id: int, query: Json) -> list[Json]:
        self._may(channel_id, 0)
        if not self.permissions(channel_id) & HISTORY:
            return []
        limit = int(query.get("limit", 50))
        if not 1 <= limit <= 100:
            raise Refused(400, 50035, "Invalid Form Body: limit")
        here = sorted(n for n, one in self.messages.items() if one["channel_id"] == str(channel_id))
        if "after" in query:  # the oldest after it, newest first
            here = [n for n in here if n > int(query["after"])][:limit]
        elif "before" in query:
            here = [n for n in here if n < int(query["before"])]
        return [self.messages[n] for n in here[-limit:][::-1]]

    def _message(self, channel_id: int, number: int) -> Json:
        self._may(channel_id, 0)
        if number not in self.messages:
            raise Refused(404, 10008, "Unknown Message")
        return self.messages[number]

    def _may(self, channel_id: int, needed: int) -> None:
        if channel_id not in self.channels:
            raise Refused(404, 10003, "Unknown Channel")
        granted = self.permissions(channel_id)
        if not granted & VIEW:
            raise Refused(403, 50001, "Missing Access")
        if needed & ~granted:
            raise Refused(403, 50013, "Missing Permissions")

    def _attached(
        self,
        channel_id: int,
        body: Json,
        files: dict[int, tuple[str, bytes]],
        old: list[Json] | None = None,
    ) -> list[Json]:
        """Return a message's attachments: the new, and of the old those that are named."""
        if sum(len(data) for _, data in files.values()) > self.upload_limit:
            raise Refused(413, 40005, "Request entity too large")
        if "attachments" not in body:
            if files:
                self._mistakes.append("files that no attachment names")
            return old or []
        kept = {one["id"]: one for one in old or []}
        made, used = [], set()
        for one in body["attachments"] or []:
            if str(one["id"]) in kept:
                made.append(kept[str(one["id"])])
            elif int(one["id"]) in files:
                used.add(int(one["id"]))
                name, data = files[int(one["id"])]
                made.append(self.upload(channel_id, one.get("filename") or name, data))
            else:
                raise Refused(400, 50035, f"Invalid Form Body: attachment {one['id']}")
        if used != set(files):
            self._mistakes.append("files that no attachment names")
        return made


def _checked(make: Any) -> Json:
    try:
        made: Json = make()
    except KeyError as name:
        raise Refused(400, 50035, f"Invalid Form Body: there is no file {name}") from None
    return made


def _registered(command: Json) -> Json:
    if not re.fullmatch(r"[-_'\w]{1,32}", command["name"]) and command.get("type", 1) == 1:
        raise Refused(400, 50035, f"Invalid Form Body: the name {command['name']}")
    return {
        "id": str(snowflake()),
        "application_id": str(payloads.APPLICATION),
        "version": str(snowflake()),
        "default_member_permissions": None,
        "description": "",
        "options": [],
    } | {key: value for key, value in command.items() if value is not None}
