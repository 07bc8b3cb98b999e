"""Prompts that would fit a theme, offered as buttons to who asked for one that does not.

What was asked is remembered for as long as the message with the buttons can be answered, and not
over a restart. Pictures that came along are not kept for that; then there is only the sentence.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import discord
from discord import ui

from bot.model import DreamRequest
from bot.requests import uploads
from bot.subject import FarFromSubjectError
from bot.text import shorten

LASTS_S = 15 * 60.0
_MOST = 1000
_LABEL = 80


@dataclass(frozen=True)
class Offer:
    """What somebody asked for, and the prompts in place of theirs."""

    request: DreamRequest
    prompts: tuple[str, ...]
    until: float


class Offers:
    """The offers that can be taken."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._offers: OrderedDict[str, Offer] = OrderedDict()

    def view(self, error: FarFromSubjectError) -> ui.View | None:
        """Remember what fits in place of what was asked, and return its buttons, if there are any.

        A button's id is ``offer:<token>:<number>``.
        """
        request = error.request
        if uploads(request) or not error.suggestions:
            return None
        token = secrets.token_urlsafe(12)
        self._offers[token] = Offer(request, error.suggestions, self._clock() + LASTS_S)
        while len(self._offers) > _MOST:
            self._offers.popitem(last=False)
        view = ui.View(timeout=None)
        for nth, prompt in enumerate(error.suggestions):
            button: ui.Button[Any] = ui.Button(
                label=shorten(prompt, _LABEL),
                style=discord.ButtonStyle.primary,
                custom_id=f"offer:{token}:{nth}",
                row=nth,
            )
            view.add_item(button)
        view.stop()  # its buttons' ids say all; the library need not remember it
        return view

    def take(self, token: str, person_id: str) -> Offer | None:
        """Return an offer to a person, if it can still be taken; from then on it cannot."""
        offer = self._offers.get(token)
        if offer is None or offer.until < self._clock() or offer.request.person.id != person_id:
            return None
        return self._offers.pop(token)

    def put_back(self, token: str, offer: Offer) -> None:
        """Let an offer be taken again: nothing came of taking it."""
        self._offers[token] = offer
