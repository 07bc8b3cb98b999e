"""Portraits in Discord: agreeing, looking at one's own, taking them back, and inviting.

What was typed is in no button's id: those name a draft in memory, which only the person whose
words they are can open. After a restart it is gone, and they are told that nothing was kept.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Protocol, cast

import aiosqlite
import discord
from discord import ui
from discord.ext import commands

from bot.acceptance import Also
from bot.delivery import galleries, words
from bot.delivery.asking import asker_of, permit
from bot.delivery.followups import FollowUps
from bot.delivery.forms import COMING
from bot.delivery.interactions import (
    Interaction,
    acknowledged,
    answered,
    channel_of,
    front_of,
    if_in_time,
    person_of,
    tell,
    told,
)
from bot.delivery.portrait_controls import TEMPLATE, Do, button
from bot.delivery.portrait_forms import ask_for_words
from bot.delivery.remade import RemadeButton
from bot.errors import ForbiddenError, InvalidRequestError, LimitError
from bot.judging import judge
from bot.model import Dream, DreamState
from bot.portraits import MAX_WORDS, Draft, Kept
from bot.sentences import say
from bot.store.portraits import Reach

PAGE = 5
_MOST = 50
_SEEN_BY = {
    Reach.SELF: say("only you see it"),
    Reach.CHANNEL: say("in one channel"),
    Reach.STREAM: say("in its stream"),
}
_STATES = {
    DreamState.WAITING: say("not drawn yet"),
    DreamState.DRAWING: say("being drawn"),
    DreamState.FAILED: say("could not be drawn"),
    DreamState.CANCELLED: say("cancelled"),
}
ALONE = say("Only you see this. Find it again with /portrait mine")
NOT_INVITED = say("This asks somebody else. Have a portrait of yourself drawn: /portrait draw")
NONE = say("You have no portraits. Have one drawn of your own words: /portrait draw")


class _HasFollowUps(Protocol):
    @property
    def follow_ups(self) -> FollowUps: ...


class PortraitButton(RemadeButton, template=TEMPLATE):
    """Does something with portraits, whatever was restarted since."""

    def __init__(self, item: ui.Button[Any], match: re.Match[str]) -> None:
        super().__init__(item, match)
        self._do, self._about = Do(match["do"]), match["about"]

    async def callback(self, interaction: Interaction) -> None:
        """Do it. Who may not is told so."""
        with if_in_time(f"A press of {self.custom_id}"):
            match self._do:
                case Do.CHANGE:
                    await _change(interaction, self._about)
                case Do.INVITED:
                    await _take_invitation(interaction, self._about)
                case Do.REVOKE:
                    await _ask_whether_to_revoke(interaction, self._about)
                case _:
                    async with acknowledged(interaction, in_place=True):
                        await self._act(interaction)

    async def _act(self, interaction: Interaction) -> None:
        portraits, person = front_of(interaction).portraits, person_of(interaction)
        match self._do:
            case Do.AGREE:
                await _agree(interaction, self._about)
            case Do.DISCARD:
                portraits.discard(self._about, person)
                await tell(interaction, say("Nothing was kept."), view=None)
            case Do.SURELY:
                await portraits.revoke(self._about, person)
                text = say("Taken back: your words and the picture are deleted.")
                await tell(interaction, text, view=None)
            case _:
                skip = int(self._about) if self._about.isdecimal() else 0
                await show_mine(interaction, min(skip, _MOST))


async def _change(interaction: Interaction, token: str) -> None:
    async with answered(interaction):
        draft = front_of(interaction).portraits.drafted(token, person_of(interaction))
        await ask_for_words(interaction, draft)


async def _agree(interaction: Interaction, token: str) -> None:
    portraits, person = front_of(interaction).portraits, person_of(interaction)
    draft = portraits.drafted(token, person)
    alone = draft.reach is Reach.SELF
    also = _for_one_alone(interaction, draft) if alone else await _for_all(interaction, draft)
    await portraits.consent(token, person, also)
    agreed = say("You agreed. It is being drawn. To take it back, now or ever: /portrait mine")
    lines = [agreed] if alone else [agreed, COMING]
    await tell(interaction, "\n".join(told(interaction, line) for line in lines), view=None)


async def _for_all(interaction: Interaction, draft: Draft) -> Also:
    return await permit(interaction, prompt=draft.words)


def _for_one_alone(interaction: Interaction, draft: Draft) -> Also:
    """Return what judges a portrait as any ask here, and shows it to the asker alone."""
    front, asker = front_of(interaction), asker_of(interaction)
    front.gate.check(asker, prompt=draft.words)
    follow_ups = cast(_HasFollowUps, interaction.client).follow_ups
    order = follow_ups.ordering(interaction, told(interaction, ALONE))

    async def also(connection: aiosqlite.Connection, dreams: Sequence[Dream]) -> None:
        await judge(front.gate, front.themes, asker, connection, dreams)
        await order(connection, dreams)

    return also


# --- one's own -----------------------------------------------------------------------------------


async def show_mine(interaction: Interaction, skip: int = 0) -> None:
    """Answer an acknowledged interaction with a page of the asker's portraits."""
    front = front_of(interaction)
    found = (await front.portraits.mine(person_of(interaction)))[skip:]
    if not found and not skip:
        await tell(interaction, NONE)
        return
    shown = found[:PAGE]
    pictures = await galleries.thumbnails(front, [one.dream for one in shown])
    files = galleries.files(pictures)
    names = {dream.id: file.filename for (dream, _), file in zip(pictures, files, strict=True)}
    view = ui.LayoutView(timeout=None)
    box: ui.Container[ui.LayoutView] = ui.Container()
    view.add_item(box)
    box.add_item(ui.TextDisplay(f"## {told(interaction, say('Your portraits'))}"))
    for one in shown:
        _list(interaction, box, one, names.get(one.dream.id))
    turns = []
    if skip:
        turns.append((max(0, skip - PAGE), say("Back")))
    if len(found) > PAGE:
        turns.append((skip + PAGE, say("More")))
    if turns:
        buttons = [button(interaction, Do.MINE, str(to), label) for to, label in turns]
        box.add_item(ui.ActionRow(*buttons))
    view.stop()
    await interaction.edit_original_response(view=view, attachments=files)


def _list(
    interaction: Interaction, box: ui.Container[ui.LayoutView], one: Kept, name: str | None
) -> None:
    """Add a portrait, what is kept with it, and the way to take it back."""
    standing = [f"<t:{one.portrait.consented_ms // 1000}:f>"]
    standing.append(told(interaction, _SEEN_BY[one.portrait.reach]))
    if one.dream.state in _STATES:
        standing.append(told(interaction, _STATES[one.dream.state]))
    said = words.plain(one.portrait.words, 2 * MAX_WORDS)
    text: ui.TextDisplay[Any] = ui.TextDisplay(f"“{said}”\n-# {' · '.join(standing)}")
    if name is None:
        box.add_item(text)
    else:
        picture: ui.Thumbnail[Any] = ui.Thumbnail(
            f"attachment://{name}", description=words.alt_text(one.dream)
        )
        box.add_item(ui.Section(text, accessory=picture))
    label = say("Take it back")
    revoke = button(interaction, Do.REVOKE, one.dream.id, label, discord.ButtonStyle.danger)
    box.add_item(ui.ActionRow(revoke))


async def _ask_whether_to_revoke(interaction: Interaction, dream_id: str) -> None:
    async with acknowledged(interaction):
        kept = await front_of(interaction).portraits.own(dream_id, person_of(interaction))
        question = say(
            "Take back “{words}”? These words, the picture and whatever you had drawn of it are "
            "deleted for good.",
            words=words.plain(kept.portrait.words, 200),
        )
        view = ui.View(timeout=None)
        label, style = say("Yes, take it back"), discord.ButtonStyle.danger
        view.add_item(button(interaction, Do.SURELY, dream_id, label, style))
        view.stop()
        await tell(interaction, question, view=view)


# --- inviting ------------------------------------------------------------------------------------

_INVITED = commands.CooldownMapping[Interaction](
    commands.Cooldown(3, 600.0), lambda interaction: interaction.user.id
)


async def invite(interaction: Interaction, user: discord.User | discord.Member) -> None:
    """Ask somebody, before all and without calling them, whether they want a portrait.

    It tells the bot nothing about them: what they are like is for them to say.
    """
    async with answered(interaction):
        front = front_of(interaction)
        channel_of(interaction)
        front.gate.check_person(asker_of(interaction))
        if user.bot:
            raise InvalidRequestError("person", "Bots have no portraits. Invite a person.")
        if user.id == interaction.user.id:
            raise InvalidRequestError("person", say("For yourself there is /portrait draw"))
        if wait_s := _INVITED.update_rate_limit(interaction):
            raise LimitError("You have invited several people just now. Try again later.", wait_s)
        text = say(
            "{host} asks {guest}: would you like a portrait, drawn of a few words about yourself? "
            "Only {guest} can say those words, and agree to it.",
            host=words.plain(interaction.user.display_name, 40),
            guest=words.plain(user.display_name, 40),
        )
        view = ui.View(timeout=None)
        label, style = say("Have my portrait drawn"), discord.ButtonStyle.primary
        view.add_item(button(interaction, Do.INVITED, str(user.id), label, style))
        view.stop()
        await interaction.response.send_message(str(text), view=view)


async def _take_invitation(interaction: Interaction, user_id: str) -> None:
    async with answered(interaction):
        if str(interaction.user.id) != user_id:
            raise ForbiddenError(NOT_INVITED)
        await ask_for_words(interaction)
