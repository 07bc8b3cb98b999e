"""Prompts that are offered in place of one that is far from a theme's subject."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import discord

from bot.delivery.offers import LASTS_S, Offers
from bot.model import Holds
from bot.subject import FarFromSubjectError, Subjects
from tests.bot.drawer import png, request, until
from tests.bot.test_subject import SUBJECT, Reader
from tests.discord_front.world import World, world


@asynccontextmanager
async def castles(folder: Path) -> AsyncIterator[World]:
    """Give a channel whose theme answers what is far from castles with suggestions."""
    async with world(folder) as there:
        parts = there.parts
        parts.drawer.perceptors = ("reader",)
        parts.drawer.embed = Reader().embed  # type: ignore[method-assign]
        subjects = Subjects(parts.seeing)
        parts.dreams.hold_subjects(subjects.hold)
        await parts.themes.create("castles", "Castles", subject=SUBJECT, holds=Holds.SUGGEST)
        channels = there.client.front.channels
        await channels.bind(there.channel.id, there.channel.guild.id, "castles")
        try:
            yield there
        finally:
            await subjects.close()


def labels(message: discord.Message) -> list[str]:
    return [
        button.label or ""
        for row in message.components
        if isinstance(row, discord.ActionRow)
        for button in row.children
        if isinstance(button, discord.Button)
    ]


async def test_a_press_on_an_offer_asks_for_it_as_everything_else_was_asked(
    tmp_path: Path,
) -> None:
    async with castles(tmp_path) as there:
        typed = {
            "prompt": "a red <@123456789012345678> car",
            "seed": 7,
            "count": 2,
            "engine": "clip",
        }
        answer = await there.ann.slash(there.channel, "dream", **typed)
        assert answer.ephemeral and "This stream is about misty castles." in answer.response.content
        assert "<@123456789012345678>" not in answer.response.content, (
            "what was typed mentions nobody"
        )
        message = answer.response.message
        offered = labels(message)
        assert len(offered) == 3 and all(SUBJECT in label for label in offered)
        assert there.cards() == [] and await there.parts.dreams.unfinished(None) == []
        await there.ann.click(message, label=offered[1])
        await until(lambda: len(there.cards()) == 1)
        asked = await there.parts.dreams.unfinished(None)
        assert [(one.prompt, one.recipe.seed) for one in asked] == [
            (offered[1], 7),
            (offered[1], 8),
        ]
        assert {one.person.name for one in asked} == {"ann"}
        assert "appear" in answer.response.content and labels(answer.response.message) == []


async def test_an_offer_whose_bot_was_restarted_says_so(tmp_path: Path) -> None:
    async with castles(tmp_path) as there:
        answer = await there.ann.slash(there.channel, "dream", prompt="a red racing car")
        message = answer.response.message
        there.client.offers = Offers()
        await there.ann.click(message, label=labels(message)[0])
        assert "Ask again" in answer.response.content
        assert await there.parts.dreams.unfinished(None) == []


def test_offers_last_as_long_as_their_message_and_keep_no_pictures() -> None:
    now = [0.0]
    offers = Offers(clock=lambda: now[0])

    def offered() -> str:
        view = offers.view(FarFromSubjectError("castles", ["one", "two"], request("a car")))
        assert view is not None
        button = view.children[0]
        assert isinstance(button, discord.ui.Button) and button.custom_id is not None
        return button.custom_id.split(":")[1]

    person = request("a car").person.id
    token = offered()
    assert offers.take(token, "discord:9") is None
    offer = offers.take(token, person)
    assert offer is not None and offer.prompts == ("one", "two")
    assert offers.take(token, person) is None
    offers.put_back(token, offer)
    now[0] = LASTS_S + 1
    assert offers.take(token, person) is None
    assert offers.view(FarFromSubjectError("castles", ["one"], request("car", init=png()))) is None
