"""What the commands are called in other languages than English.

`bot/data/de.toml` and `fr.toml` have a table for each command, under its full name: the key
`command` is the command itself, the others are its options; each is a name and a description. The
tables `menus` and `choices` translate the names of context menus and of choices.
"""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Mapping
from importlib import resources

from discord import Locale
from discord.app_commands import (
    Choice,
    Command,
    ContextMenu,
    Group,
    Parameter,
    TranslationContextLocation,
    TranslationContextTypes,
    Translator,
    locale_str,
)

LANGUAGES = {Locale.german: "de", Locale.french: "fr"}
Key = tuple[str, str, int]
"""A table, what it has in it, and which of its texts: 0 for the name, 1 for the description."""

_NAMES = (
    TranslationContextLocation.command_name,
    TranslationContextLocation.group_name,
    TranslationContextLocation.parameter_name,
    TranslationContextLocation.choice_name,
)


class Translations(Translator):
    """Translates the tree's strings; English is as it stands in the code."""

    def __init__(self) -> None:
        self._texts: dict[Locale, Mapping[Key, str]] = {}

    async def load(self) -> None:
        """Read the languages."""
        for locale, name in LANGUAGES.items():
            self._texts[locale] = await asyncio.to_thread(read_texts, name)

    async def translate(
        self, string: locale_str, locale: Locale, context: TranslationContextTypes
    ) -> str | None:
        """Return a string in a language, None where it has to be in English."""
        texts = self._texts.get(locale)
        key = key_of(context)
        return None if texts is None or key is None else texts.get(key)


def key_of(context: TranslationContextTypes) -> Key | None:
    """Return under which key a string's translation stands, None where it has none."""
    which = 0 if context.location in _NAMES else 1
    match context.data:
        case ContextMenu(name=name):
            return "menus", name, 0
        case Command(qualified_name=name) | Group(qualified_name=name):
            return name, "command", which
        case Parameter(command=command, name=name):
            return command.qualified_name, name, which
        case Choice(name=name):
            return "choices", name, 0
    return None


def read_texts(language: str) -> dict[Key, str]:
    """Return all texts of a language. May block."""
    text = resources.files("bot").joinpath(f"data/{language}.toml").read_text(encoding="utf-8")
    texts: dict[Key, str] = {}
    for table, entries in tomllib.loads(text).items():
        for name, found in entries.items():
            for which, one in enumerate([found] if isinstance(found, str) else found):
                texts[table, name, which] = one
    return texts
