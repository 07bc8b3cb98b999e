"""``/words``, ``/word``, ``/study`` and ``/associate`` in a simulated Discord."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import discord
import pytest
from PIL import Image

from bot.delivery import sheets
from bot.model import Person
from bot.modifiers import kinds
from tests.bot.drawer import until
from tests.bot.test_seeing import Colours
from tests.discord_front.test_behaviour_cards import items_of, menus_of
from tests.discord_front.world import World, text_of, world


async def asked(there: World, command: str, **options: Any) -> tuple[list[str], discord.Message]:
    """Have Ann use a command that draws; return the dreams' ids and their card."""
    before = len(there.cards())
    result = await there.ann.slash(there.channel, command, **options)
    assert result.ephemeral and "side by side" in result.response.content
    await until(lambda: len(there.cards()) > before)
    dreams = await there.parts.dreams.unfinished(None)
    return [dream.id for dream in dreams], there.cards()[-1]


async def refused(there: World, command: str, **options: Any) -> str:
    result = await there.ann.slash(there.channel, command, **options)
    assert result.ephemeral and not there.cards()
    return str(result.response.content)


async def test_what_a_word_does_is_a_labelled_pair_on_one_card(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        ids, card = await asked(there, "word", word="woodcut", prompt="a fox")
        text = text_of(card)
        assert "**a fox**" in text and "`1` **without** · " in text and "`2` **woodcut** · " in text
        assert len(ids) == 2
        for dream_id, colour in zip(ids, ("red", "blue"), strict=True):
            await there.parts.draw(dream_id, colour)
        await there.shows(0, "`2` **woodcut** · done")
        await until(lambda: there.client.delivery.unsettled == 0)
        [card] = there.cards()
        [sheet] = items_of(card)
        assert "each labelled: without, woodcut" in (sheet.description or "")
        with Image.open(io.BytesIO(await card.attachments[0].read())) as picture:
            seen = picture.convert("RGB")
        assert seen.width == 2 * 512 + 4 and seen.height > 512 + 20
        left, right = (seen.crop((x, 256, x + 1, 257)).tobytes() for x in (256, 512 + 4 + 256))
        assert left[0] > 200 > 60 > left[2] and right[2] > 200 > 60 > right[0]
        below = seen.crop((0, 512, 512, seen.height)).convert("L")
        assert max(below.tobytes()) > 200, "there is a label"
        assert menus_of(card) == {f"pick:look:{ids[0]}:0": ids}


async def test_a_study_is_of_a_kind_or_of_ones_own_words(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        ids, card = await asked(there, "study", subject="a fox", kind="artist", count=4)
        assert "**a fox**" in text_of(card) and "`1` **by Vincent van Gogh**" in text_of(card)
        dreams = await there.parts.dreams.together(ids[0])
        assert [dream.studied for dream in dreams] == [
            one.words for one in kinds()[1].modifiers[:4]
        ]
        assert len({dream.recipe.seed for dream in dreams}) == 1
        await there.ann.slash(
            there.channel, "study", subject="a hare", words="fog, <@123456789012345678> *snow*"
        )
        await until(lambda: len(there.cards()) == 2)
        text = text_of(there.cards()[1])
        assert "**a hare**" in text and "**fog**" in text
        assert "<@1" not in text and "*snow*" not in text.replace("\\*snow\\*", "")


async def test_a_study_needs_words_that_may_be_said_here(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        assert "Say which words to try" in await refused(there, "study", subject="a fox")
        assert "plain" in await refused(there, "word", word="a|b", prompt="a fox")
        await there.parts.settings.change_guild(
            there.env.guild.id, Person("discord:1", "somebody"), blocked_words=("woodcut",)
        )
        said = await refused(there, "word", word="woodcut", prompt="a fox")
        assert "blocked here" in said


async def test_the_words_of_a_kind_are_shown_with_their_pictures(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        result = await there.ann.slash(there.channel, "words")
        assert result.ephemeral
        message = result.response.message
        assert "## Technique" in text_of(message) and "**watercolour** · " in text_of(message)
        [sheet] = items_of(message)
        assert "drawn with each of: oil on canvas" in (sheet.description or "")
        turned = await there.ann.select(message, ["light"], custom_id="words:kind")
        text = text_of(turned.response.message)
        assert "## Light and weather" in text and "**in fog** · " in text
        assert len(text) < 4000
        with Image.open(io.BytesIO(await turned.response.message.attachments[0].read())) as seen:
            assert seen.width > 5 * 144


def inked(sheet: bytes) -> bytes:
    """Return the part of a sheet of one small picture in which its label stands."""
    with Image.open(io.BytesIO(sheet)) as picture:
        return picture.convert("L").crop((0, 66, picture.width, picture.height)).tobytes()


@pytest.mark.parametrize("fonts", [sheets.FONTS, ()], ids=["of the machine", "Pillow's own"])
def test_a_label_loses_no_letter(fonts: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheets, "FONTS", fonts)
    sheets._label_font.cache_clear()
    try:

        def written(label: str) -> bytes:
            return inked(sheets.labelled_sheet([None], [label], 192))

        font = sheets._label_font(13)
        assert sheets._drawable("Albrecht Dürer, Doré", font) in (
            "Albrecht Dürer, Doré",
            "Albrecht Durer, Dore",
        )
        # What no font can draw leaves the number, and no empty boxes.
        assert written("\U0010fffd\U0010fffd") == written("1")
        assert written("a fox") != written("1")
        # A label that is far too long ends within two lines.
        assert len(written("word " * 60)) < 3 * len(written("word"))
    finally:
        sheets._label_font.cache_clear()


async def test_a_word_is_told_what_goes_with_it(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        result = await there.ann.slash(there.channel, "associate", word="red")
        assert "no CLIP model" in result.response.content
        there.parts.drawer.perceptors = ("colours",)
        there.parts.drawer.embed = Colours().embed  # type: ignore[method-assign]
        result = await there.ann.slash(there.channel, "associate", word="red *", count=3)
        assert result.ephemeral and "With “red \\*” go: " in result.response.content
        assert result.response.content.count(",") == 2
