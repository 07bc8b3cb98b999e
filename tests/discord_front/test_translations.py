"""Every string of the commands is there in every language, within Discord's limits."""

from __future__ import annotations

import re
import string
from typing import Any

import discord
import pytest
from discord.app_commands import TranslationContextTypes, locale_str
from discord.ext import commands

from bot import translations
from bot.client import COGS
from bot.command_sync import fingerprint
from bot.errors import GoneError, LimitError
from bot.help import pages
from bot.sentences import option, say
from bot.translations import LANGUAGES, Translations, in_language_of, place_of, read_texts
from tests.discord_front import spoken
from tests.discord_front.oracle import check_requests

MAX_LABEL = 45  # of a form's field, and of its title


class Recorder(Translations):
    """Remembers where each string was looked for."""

    def __init__(self) -> None:
        super().__init__()
        self.places: set[tuple[str, str] | None] = set()

    async def translate(
        self, string: locale_str, locale: discord.Locale, context: TranslationContextTypes
    ) -> str | None:
        self.places.add(place_of(string, context))
        return await super().translate(string, locale, context)


async def the_tree(translator: Translations) -> Any:
    """Return the tree of a client that has all commands."""
    client = commands.AutoShardedBot("!", intents=discord.Intents.none())
    for name in COGS:
        await client.load_extension(name)
    await client.tree.set_translator(translator)
    return client.tree


async def payload_of(tree: Any) -> list[dict[str, Any]]:
    return [await one.get_translated_payload(tree, tree.translator) for one in tree.get_commands()]


async def test_every_string_has_its_translation_and_none_is_left_over() -> None:
    recorder = Recorder()
    await payload_of(await the_tree(recorder))
    assert len(recorder.places) > 150
    for language in LANGUAGES.values():
        texts = {
            (table, name)
            for table, names in read_texts(language).items()
            for name in names
            if table != "sentences"
        }
        assert recorder.places - texts == set(), language
        assert texts - recorder.places == set(), language


async def test_the_commands_are_within_discords_limits_in_every_language() -> None:
    payload = await payload_of(await the_tree(Translations()))
    assert {one["name_localizations"]["de"] for one in payload} >= {"traum", "Vergrößern"}
    # The judge knows lengths, letters, and names that come twice, in each language.
    check_requests([("PUT", "/applications/1/commands", payload)])


@pytest.mark.parametrize("language", LANGUAGES.values())
def test_every_sentence_has_its_translation_and_none_is_left_over(language: str) -> None:
    there = read_texts(language)["sentences"]
    worded = {text for text in spoken.sentences() if re.search("[a-z]", re.sub("{.*?}", "", text))}
    assert worded - set(there) == set()
    assert set(there) - spoken.strings() == set()
    for english, translated in there.items():
        assert fields(translated) == fields(english), english


@pytest.mark.parametrize("language", LANGUAGES.values())
def test_what_may_label_a_field_fits_there_in_every_language(language: str) -> None:
    for english, translated in read_texts(language)["sentences"].items():
        prose = re.search(r"[{*]|[.!…](\s|$)", english)
        if len(english) <= MAX_LABEL and not prose:
            assert len(translated) <= MAX_LABEL, translated


@pytest.mark.parametrize("language", LANGUAGES.values())
def test_a_sentence_calls_commands_as_its_readers_know_them(language: str) -> None:
    texts = read_texts(language)
    for english, translated in texts["sentences"].items():
        meant = [texts["commands"][name] for name in re.findall(r"(?<!\w)/([a-z]+)", english)]
        assert re.findall(r"(?<!\w)/(\w+)", translated) == meant, english


@pytest.mark.parametrize("language", LANGUAGES.values())
def test_help_has_the_same_pages_and_calls_things_as_its_readers_know_them(language: str) -> None:
    texts = read_texts(language)
    named = {
        " ".join(_name(texts, name, depth) for depth in range(1, 3)).strip()
        for name in texts["commands"]
    }
    options = set(texts["options"].values())
    for page, english in zip(pages(language), pages(), strict=True):
        assert page.pictures == english.pictures
        assert len(page.text) < 2000 and len(page.name) <= 80
        for quoted in re.findall(r"`([^`]+)`", page.text):
            if quoted.startswith("/"):
                command, *given = re.split(r" (?=\w+:)", quoted.removeprefix("/"))
                assert command in named, quoted
                assert {one.partition(":")[0] for one in given} <= options, quoted
            else:
                assert quoted in options or f"`{quoted}`" in english.text, quoted


def _name(texts: dict[str, dict[str, str]], name: str, depth: int) -> str:
    """Return the part of a command's name that stands so deep."""
    parts = name.split(" ")[:depth]
    return texts["commands"][" ".join(parts)] if len(parts) == depth else ""


def fields(template: str) -> list[tuple[str, str | None]]:
    """Return what a template has places for; only English sets off thousands by commas."""
    parts = string.Formatter().parse(template.replace(":,}", "}"))
    return sorted((name, form) for _, name, form, _ in parts if name is not None)


def test_a_sentence_is_told_in_the_language_of_its_reader() -> None:
    dreams = say("{count} dreams", count=3)
    text = say(
        "In this channel a person may have {dreams} waiting at once. Wait for one to finish, or "
        "cancel one.",
        dreams=dreams,
    )
    assert text == (
        "In this channel a person may have 3 dreams waiting at once. Wait for one to finish, or "
        "cancel one."
    )
    assert "darf eine Person 3 Träume gleichzeitig" in in_language_of(discord.Locale.german, text)
    assert in_language_of(discord.Locale.japanese, text) == text
    assert in_language_of(discord.Locale.french, "what nobody says") == "what nobody says"
    # What somebody typed is left alone, whatever it is.
    typed = say("Cancelled: {prompt}", prompt="{0.__class__} Cancelled.")
    assert in_language_of(discord.Locale.german, typed) == "Abgebrochen: {0.__class__} Cancelled."
    # Options are called as the commands call them.
    steps = say("The {field} is written like 256 or 384x256.", field=option("size"))
    assert in_language_of(discord.Locale.german, steps).startswith("„größe“ schreibt man")
    error = LimitError(text)
    assert error.sentence is text and str(error) == text
    assert GoneError().sentence == "This dream was deleted."


@pytest.mark.parametrize("language", LANGUAGES.values())
def test_a_translation_keeps_what_is_to_be_typed(language: str) -> None:
    for english, translated in read_texts(language)["descriptions"].items():
        for kept in (
            "{prompt}",
            "/explore",
            "/batch",
            "#7c6cff",
            "384x256",
            "cutouts=16",
            "misty-castles",
        ):
            assert (kept in english) == (kept in translated), english


async def test_another_translation_is_another_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    before = await fingerprint(await the_tree(Translations()))
    assert await fingerprint(await the_tree(Translations())) == before

    def changed(language: str) -> translations.Texts:
        texts = read_texts(language)
        texts["options"]["seed"] = "korn"
        return texts

    monkeypatch.setattr(translations, "read_texts", changed)
    assert await fingerprint(await the_tree(Translations())) != before
