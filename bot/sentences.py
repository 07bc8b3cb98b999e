"""Sentences that can be told in another language than English.

A `Sentence` is its English text, and still knows what it was made of. So whatever raises or makes
one needs to know of no language; a front that knows its reader's puts it into that one.
"""

from __future__ import annotations

from collections.abc import Mapping


class Sentence(str):
    """An English text with the `template` and the `values` that it was made from."""

    __slots__ = ("template", "values")

    template: str
    values: Mapping[str, object]

    def __new__(cls, template: str, values: Mapping[str, object]) -> Sentence:
        """Make one; `values` fill the fields of `template`, as `str.format` does."""
        made = super().__new__(cls, template.format_map(values))
        made.template = template
        made.values = values
        return made

    def put_into(self, language: Mapping[str, str]) -> str:
        """Return it by a language's templates, each under its English one; else in English.

        Values that are sentences are put into it too; others, such as what somebody typed, stay.
        """
        values = {
            name: put_into(language, value) if isinstance(value, Sentence) else value
            for name, value in self.values.items()
        }
        return language.get(self.template, self.template).format_map(values)


def say(template: str, /, **values: object) -> Sentence:
    """Return a sentence; `{name}` in the template stands for the value of that name."""
    return Sentence(template, values)


def option(name: str) -> Sentence:
    """Return an option's name, which readers know by what commands call it in their language."""
    return Sentence(name, {})


def plain(value: object) -> str:
    """Return a sentence as the string that it is: msgspec, whose `enc_hook` this is, takes none.

    Raises:
        TypeError: it is something else.
    """
    if isinstance(value, Sentence):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not to be kept as JSON")


def put_into(language: Mapping[str, str], text: str) -> str:
    """Return a text by a language's templates; one without values is its own template."""
    if isinstance(text, Sentence):
        return text.put_into(language)
    return language.get(text, text)
