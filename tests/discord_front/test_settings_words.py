"""What `/settings` tells, in the language of who manages the server."""

from __future__ import annotations

from functools import partial

import pytest
from discord import Locale

from bot.settings import Effective
from bot.translations import LANGUAGES, in_language_of
from cogs.settings import told_of, words_of


def test_a_german_reads_what_holds_in_german() -> None:
    german = partial(in_language_of, Locale.german)
    here = Effective(allowed_role_ids=(1, 7), dreaming=False, max_count=3)
    told = told_of(here, 1, 9, german).split("\n")
    assert told[0] == "Träume dürfen gewünscht werden: **nein**"
    assert told[1] == "Von: alle, <@&7>"
    assert told[2] == "Gastgeber: wer Nachrichten verwalten darf"
    assert "Bilder in einem Wunsch: **3**" in told
    assert told[-1] == f"Das Beste des Tages wird gezeigt: **um 9:00 ({here.time_zone})**"
    # Nothing is left in English but what is the same in both.
    english = set(told_of(here, 1, 9).split("\n"))
    assert not english & set(told)


@pytest.mark.parametrize("word", ["never", "style", "seed", "model", "everybody", "steps"])
def test_blocked_words_are_shown_as_typed_in_every_language(word: str) -> None:
    said_too = [one for one in LANGUAGES if in_language_of(one, word) != word]
    assert said_too, "it is no word that the product says itself"
    for locale in LANGUAGES:
        own = partial(in_language_of, locale)
        assert words_of((word,), own) == word
        assert words_of((word, "fox"), own) == f"{word}, fox"
        many = words_of((word,) * 40, own)
        assert many.count(word) == 30 and "10" in many and "more" not in many
