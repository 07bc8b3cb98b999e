"""The buttons of portraits: what each does is said by its id, and never what somebody typed."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import discord
from discord import ui

from bot.delivery.interactions import Interaction, told
from bot.sentences import Sentence
from bot.text import shorten


class Do(StrEnum):
    """What a button does: with a draft, a portrait, a page of them, or an invitation."""

    AGREE = "agree"
    CHANGE = "change"
    DISCARD = "discard"
    REVOKE = "revoke"
    SURELY = "surely"
    MINE = "mine"
    INVITED = "invited"


TEMPLATE = rf"portrait:(?P<do>{'|'.join(Do)}):(?P<about>[0-9a-z]{{1,20}})"


def button(
    interaction: Interaction,
    do: Do,
    about: str,
    label: Sentence,
    style: discord.ButtonStyle = discord.ButtonStyle.secondary,
) -> ui.Button[Any]:
    """Return a button that does something about a draft, a portrait, a page or a person."""
    return ui.Button(
        label=shorten(told(interaction, label), 80), style=style, custom_id=f"portrait:{do}:{about}"
    )
