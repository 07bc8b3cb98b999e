"""What the commands are called, and what is told, in other languages than English.

`bot/data/de.toml` and `fr.toml` hold the texts: the names of commands under their full English
names, the names of options, menus and choices under theirs, and descriptions under the English
text itself, so that one that was changed cannot keep an old translation. So do the sentences that
one reader is told (`bot.sentences`).
"""

from __future__ import annotations

import asyncio
from functools import cache
from importlib import resources

import msgspec
from discord import Locale
from discord.app_commands import (
    Choice,
    Command,
    ContextMenu,
    Group,
    Parameter,
    TranslationContextTypes,
    Translator,
    locale_str,
)
from discord.app_commands import TranslationContextLocation as Location

from bot.sentences import put_into

LANGUAGES = {Locale.german: "de", Locale.french: "fr"}
Texts = dict[str, dict[str, str]]
_DESCRIPTIONS = (
    Location.command_description,
    Location.group_description,
    Location.parameter_description,
)


class Translations(Translator):
    """Translates the tree's strings; English is as it stands in the code."""

    def __init__(self) -> None:
        self._texts: dict[Locale, Texts] = {}

    async def load(self) -> None:
        """Read the languages."""
        for locale, name in LANGUAGES.items():
            self._texts[locale] = await asyncio.to_thread(read_texts, name)
            await asyncio.to_thread(_sentences, name)

    async def translate(
        self, string: locale_str, locale: Locale, context: TranslationContextTypes
    ) -> str | None:
        """Return a string in a language, None where it has to be in English."""
        texts = self._texts.get(locale)  # asked first: of some thirty languages two are there
        place = None if texts is None else place_of(string, context)
        if texts is None or place is None:
            return None
        table, name = place
        return texts.get(table, {}).get(name)


def place_of(string: locale_str, context: TranslationContextTypes) -> tuple[str, str] | None:
    """Return the table and the name under which a string's translation stands."""
    if context.location in _DESCRIPTIONS:
        return "descriptions", string.message
    match context.data:
        case ContextMenu(name=name):
            return "menus", name
        case Command(qualified_name=name) | Group(qualified_name=name):
            return "commands", name
        case Parameter(display_name=name):
            return "options", name
        case Choice(name=name):
            return "choices", name
    return None


def in_language_of(locale: Locale, text: str) -> str:
    """Return a text in a reader's language; what has no translation stays in English."""
    language = LANGUAGES.get(locale)
    return str(text) if language is None else put_into(_sentences(language), text)


@cache
def _sentences(language: str) -> dict[str, str]:
    """Return what a language says for sentences, and calls options.

    Reads a file the first time, which is at the start.
    """
    texts = read_texts(language)
    return texts["options"] | texts["sentences"]


def read_texts(language: str) -> Texts:
    """Return all texts of a language, by table and name. May block."""
    data = resources.files("bot").joinpath(f"data/{language}.toml").read_bytes()
    return msgspec.toml.decode(data, type=Texts)
