"""A server's log of decisions, page by page, for those who moderate there and for nobody else.

Which page, and of what, stands in the button's id: it goes on for as long as its message is there.
Who may look is asked again at each page.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from discord import app_commands, ui

from bot.delivery import words
from bot.delivery.interactions import (
    Interaction,
    acknowledged,
    channel_of,
    front_of,
    if_in_time,
    moderator_of,
    tell,
    told,
)
from bot.delivery.remade import RemadeButton
from bot.model import Act, ModerationEntry
from bot.sentences import Sentence, option, say
from bot.text import shorten

PAGE = 12
_MAX_TEXT = 1900
_LARGEST_ID = 2**63 - 1
_ALONE = {
    Act.DELETED: "{who} deleted a dream",
    Act.CANCELLED: "{who} ended a dream",
    Act.SETTINGS: "{who} changed settings: {names}",
    Act.COVERED: "The check of pictures covered a picture",
    Act.RELEASED: "{who} released a picture",
    Act.CONFIRMED: "{who} left a picture covered",
    Act.CONSENT: "{who} took back a portrait",
}
"""What somebody did, or did about what is their own."""
_ABOUT = {
    Act.DELETED: "{who} deleted a dream of {whom}",
    Act.CANCELLED: "{who} ended a dream of {whom}",
    Act.BLOCKED: "{who} blocked {whom}",
    Act.UNBLOCKED: "{who} unblocked {whom}",
    Act.SETTINGS: "{who} changed settings: {names}",
    Act.COVERED: "The check of pictures covered a picture of {whom}",
    Act.RELEASED: "{who} released a picture of {whom}",
    Act.CONFIRMED: "{who} left a picture covered of {whom}",
    Act.REFUSED: "The rules refused {whom}",
    Act.CONSENT: "{who} took back a portrait of {whom}",
}
_WHY = {
    "blocked_word": "a blocked word",
    "adult_word": "a word for adults",
    "blocked": "they are blocked",
    "closed": "no dreams are asked for there",
    "role": "they have none of the roles",
    "limit": "a limit",
    "upload": "an uploaded picture for adults",
    "flagged": "found",
    "unchecked": "not checked in time",
}
_SETTINGS = {
    "allowed_role_ids": "who may ask",
    "host_role_ids": "hosts",
    "blocked_words": "blocked words",
    "allowed_words": "exceptions",
    "nsfw": "adult words",
    "picture_check": "pictures for adults",
}
"""What settings are called that are not options of the commands by the same name."""
_KINDS = {
    Act.REFUSED: "What was refused",
    Act.COVERED: "Pictures that were covered",
    Act.RELEASED: "Pictures that were released",
    Act.CONFIRMED: "Pictures that were left covered",
    Act.DELETED: "What was deleted",
    Act.CANCELLED: "Dreams that were ended",
    Act.BLOCKED: "Who was blocked",
    Act.UNBLOCKED: "Who was unblocked",
    Act.SETTINGS: "Changes of settings",
    Act.CONSENT: "Portraits that were taken back",
}
KINDS = [app_commands.Choice(name=name, value=act.value) for act, name in _KINDS.items()]


@dataclass(frozen=True)
class Page:
    """A page of the log: entries before an id, of a kind, about a person (0 for everybody)."""

    before: int = _LARGEST_ID
    what: Act | None = None
    person: int = 0

    @property
    def custom_id(self) -> str:
        """The id of the button that leads here."""
        return f"log:{self.before}:{self.what or ''}:{self.person}"


def kind_of(text: str | None) -> Act | None:
    """Return the kind of entries that was chosen, if it is one: anybody may send anything."""
    return Act(text) if text in set(Act) else None


async def tell_page(interaction: Interaction, page: Page) -> None:
    """Answer an acknowledged interaction with a page.

    Raises:
        ForbiddenError: who asks does not moderate here.
    """
    moderator_of(interaction)
    guild_id, _ = channel_of(interaction)
    entries = await front_of(interaction).moderation.log(
        guild_id,
        before=page.before,
        limit=PAGE + 1,
        act=page.what,
        person_id=f"discord:{page.person}" if page.person else None,
    )
    lines: list[str] = []
    for one in entries[:PAGE]:
        line = shorten(line_of(one, partial(told, interaction)), _MAX_TEXT)
        if lines and sum(map(len, lines)) + len(lines) + len(line) > _MAX_TEXT:
            break
        lines.append(line)
    if not lines:
        await tell(interaction, say("There is nothing in the log."), view=None)
        return
    view: ui.View | None = None
    if len(entries) > len(lines):
        older = replace(page, before=entries[len(lines) - 1].id)
        view = ui.View(timeout=None)
        view.add_item(ui.Button(label=told(interaction, say("Older")), custom_id=older.custom_id))
        view.stop()  # its id says all
    await tell(interaction, "\n".join(lines), view=view)


class LogButton(
    RemadeButton,
    template=r"log:(?P<before>[0-9]{1,19}):(?P<what>[a-z]{0,20}):(?P<person>[0-9]{1,20})",
):
    """Leads to a page of the log."""

    def __init__(self, button: ui.Button[Any], match: re.Match[str]) -> None:
        super().__init__(button, match)
        self._page = Page(
            min(int(match["before"]), _LARGEST_ID), kind_of(match["what"]), int(match["person"])
        )

    async def callback(self, interaction: Interaction) -> None:
        """Show the page in place of the one that the button is under."""
        with if_in_time(f"A press of {self.custom_id}"):
            async with acknowledged(interaction, in_place=True):
                await tell_page(interaction, self._page)


def line_of(entry: ModerationEntry, put: Callable[[str], str]) -> str:
    """Return an entry as a line; `put` puts a text into its reader's language."""
    parts = [f"<t:{entry.at_ms // 1000}:f> {put(_done(entry, put))}"]
    if entry.dream_id is not None:
        parts.append(f"`{entry.dream_id}`")
    if entry.channel_id is not None:
        parts.append(put(say("in {channel}", channel=f"<#{entry.channel_id}>")))
    elif entry.act is Act.SETTINGS:
        parts.append(put(say("in the whole server")))
    why = str(entry.detail.get("why") or entry.detail.get("verdict"))
    if why in _WHY:
        score, second = entry.detail.get("nsfw"), entry.detail.get("second")
        said = [put(say(_WHY[why])), score, f"CLIP {second}" if second else None]
        parts.append(f"({', '.join(filter(None, said))})")
    if times := entry.detail.get("times"):
        parts.append(put(say("{times} times", times=times)))
    return " ".join(parts)


def _done(entry: ModerationEntry, put: Callable[[str], str]) -> Sentence:
    by, person = entry.by, entry.person
    who = words.plain(by.name, 40)
    names = ", ".join(_setting(str(name), put) for name in entry.detail.get("changed", ()))
    if entry.act in _ALONE and (person is None or person.id == by.id):
        return say(_ALONE[entry.act], who=who, names=names)
    whom = "" if person is None else words.plain(person.name, 40)
    if entry.act is Act.DELETED and entry.dream_id is None:
        return say("{who} deleted something of {whom} in a game", who=who, whom=whom)
    return say(_ABOUT[entry.act], who=who, whom=whom, names=names)


def _setting(name: str, put: Callable[[str], str]) -> str:
    if name in _SETTINGS:
        return put(say(_SETTINGS[name]))
    return put(option(name)).replace("_", " ")
