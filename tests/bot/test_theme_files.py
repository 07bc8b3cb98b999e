"""Themes as files: what is written is read, and what is wrong is named."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.errors import InvalidRequestError, NotFoundError
from bot.model import AskedBy, Holds, Theme, Visibility
from bot.palettes import PALETTES
from bot.prompts import expand
from bot.sentences import option
from bot.theme_files import MAX_BYTES, file_name, read, shipped, shipped_one, write
from bot.themes import NOT_IN_FILES, checked
from bot.translations import LANGUAGES, in_language_of
from tests.bot.drawer import services

FULL = Theme(
    id=9,
    slug="misty",
    title="Misty “castles” \\ back",
    topic="Line's end — and ümlauts 🦊",
    template='a "castle" of {prompt}',
    modifiers="fog:0.5",
    negative="text",
    palette="ivy, a drawbridge",
    preset="doorway",
    engine="diffusion",
    model="starter",
    width=384,
    height=256,
    steps=30,
    max_side=512,
    max_steps=60,
    max_count=4,
    asked_by=AskedBy.MEMBERS,
    subject="misty castles",
    holds=Holds.BLEND,
    strictness=0.25,
    weight=2.5,
    autopilot=30,
    autopilot_seconds=600,
    autopilot_quiet=5,
    autopilot_alone=True,
    paused=True,
    colour="#102030",
    visibility=Visibility.LINK,
    created_ms=5,
)


def test_all_that_a_theme_says_is_in_its_file() -> None:
    found = read(write(FULL))
    assert (found.slug, found.title) == (FULL.slug, FULL.title)
    again = checked(Theme(id=9, slug=found.slug, title=found.title, created_ms=5), found.details)
    assert again == FULL
    written = msgspec.toml.decode(write(FULL), type=dict)
    fields = set(Theme.__struct_fields__)
    assert set(written) - {"format"} == fields - {"id", "created_ms"} - NOT_IN_FILES
    assert file_name(FULL) == "misty.toml"


@settings(max_examples=50, deadline=None)
@given(
    texts=st.lists(st.text(max_size=60), min_size=4, max_size=4),
    size=st.one_of(st.none(), st.tuples(st.integers(1, 9999), st.integers(1, 9999))),
    weight=st.floats(0.001, 100),
)
def test_whatever_people_write_comes_back(
    texts: list[str], size: tuple[int, int] | None, weight: float
) -> None:
    title, topic, template, negative = texts
    base = Theme(id=0, slug="a", title=f"T{title}", weight=weight)
    try:
        theme = checked(
            msgspec.structs.replace(base, width=size and size[0], height=size and size[1]),
            {"topic": topic, "negative": negative, "template": f"{template}{{prompt}}"},
        )
    except InvalidRequestError:
        return  # a template that holds the place twice
    found = read(write(theme))
    assert checked(msgspec.structs.replace(base, title=found.title), found.details) == theme


@pytest.mark.parametrize(
    ("text", "field", "words"),
    [
        ('titel = "A"', "titel", "title"),
        ('title = "A"\nxyzzy = 1', "xyzzy", "There are"),
        ("title = 5", "title", "text"),
        ('slug = "a"', "title", "no title"),
        ('title = "A"\nwidth = "5"\nheight = 5', "width", "whole number"),
        ('title = "A"\nsteps = 1.5', "steps", "whole number"),
        ('title = "A"\nsteps = true', "steps", "whole number"),
        ('title = "A"\nwidth = 5', "width", "together"),
        ('title = "A"\nweight = "much"', "weight", "number"),
        ('title = "A"\nweight = nan', "weight", "weight"),
        ('title = "A"\nautopilot = true', "autopilot", "whole number"),
        ('title = "A"\nautopilot = -1', "autopilot", "from 0 to 2,000"),
        ('title = "A"\nautopilot_quiet = 1441', "autopilot_quiet", "from 0 to 1,440"),
        ('title = "A"\nautopilot_alone = 1', "autopilot_alone", "true or false"),
        ('title = "A"\npaused = "no"', "paused", "true or false"),
        (f'title = "A"\nweight = {"9" * 400}', "weight", "number"),
        ('title = "A"\ntemplate = "no place"', "template", "{prompt}"),
        ('title = "A"\ncolour = "red"', "colour", "#7c6cff"),
        ('title = "A"\nvisibility = "secret"', "visibility", "public"),
        ('title = "A"\npalette = ["ivy"]', "palette", "text"),
        ('title = "A"\npalette = "ivy, {a|b}"', "palette", "mean something"),
        ('title = "A"\npreset = "xyzzy"', "preset", "no preset"),
        ('title = "A"\nmax_side = 64.5', "max_side", "whole number"),
        ('title = "A"\nmax_count = 0', "max_count", "above 0"),
        ('title = "A"\nsteps = 9\nmax_steps = 8', "max_steps", "steps”, 9, is more"),
        ('title = "A"\nasked_by = "friends"', "asked_by", "everybody, members, hosts"),
        ('title = "A"\nholds = "blend"', "subject", "subject is"),
        ('title = "A"\nholds = true', "holds", "text"),
        ('title = "A"\nstrictness = "much"', "strictness", "such as 0.5"),
        ('title = "A"\nstrictness = 1.1', "strictness", "from 0 to 1"),
        ('title = "A"\npicture_sha256 = "aa"', "picture_sha256", "no “picture_sha256”"),
        ('title = "A"\nretired = true', "retired", "no “retired”"),
        ('title = "A"\nslug = "../etc"', "slug", "short name"),
        ('title = "A"\nformat = 2', "format", "newer"),
        ('title = "A"\nformat = "x"', "format", "format is 1"),
        ('title = "A"\n[theme]\nx = 1', "theme", "no “theme”"),
        ('title = "A"\nx = = 1', "file", "line 2"),
        ('title = "A"\nx = ' + "[" * 5000, "file", "TOML|read"),
        (f'title = "A"\nsteps = {"9" * 5000}', "file", "read"),
    ],
)
def test_a_mistake_is_named(text: str, field: str, words: str) -> None:
    with pytest.raises(InvalidRequestError, match=words) as caught:
        read(text.encode(), "a.toml")
    assert caught.value.field == field
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("steps = 9\nmax_steps = 8", {"steps", "max_steps"}),
        ('asked_by = "friends"', {"asked_by"}),
        ("max_count = 0", {"max_count"}),
        ("autopilot = -1", {"autopilot"}),
        (f'modifiers = "{"x" * 5000}"', {"modifiers"}),
    ],
)
def test_a_file_has_its_keys_in_every_language_and_a_command_its_options(
    text: str, keys: set[str]
) -> None:
    with pytest.raises(InvalidRequestError) as in_file:
        read(f'title = "A"\n{text}'.encode(), "a.toml")
    with pytest.raises(InvalidRequestError) as by_command:
        checked(Theme(id=1, slug="aa", title="A", created_ms=5), tomllib.loads(text))
    for locale in LANGUAGES:
        of_file = in_language_of(locale, in_file.value.sentence)
        of_command = in_language_of(locale, by_command.value.sentence)
        for key in keys:
            assert re.search(rf"\b{key}\b", of_file), of_file
            assert in_language_of(locale, option(key)) in of_command
        # Put into the language all the same.
        assert of_file != str(in_file.value)


def test_what_is_no_text_or_too_large_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="UTF-8"):
        read(b"\xff\xfe")
    with pytest.raises(InvalidRequestError, match="KiB"):
        read(b"#" * (MAX_BYTES + 1))
    assert read(b'\xef\xbb\xbftitle = "A"', "Foggy.toml").slug == "foggy"
    with pytest.raises(InvalidRequestError, match="short name"):
        read(b'title = "A"', "what a name.toml")


async def test_the_shipped_themes_can_be_made_and_drawn_from(tmp_path: Path) -> None:
    assert len(shipped()) >= 10
    subjects = {"planets", "cats", "doorways", "loneliness", "many-hands"}
    assert subjects <= set(shipped())
    async with services(tmp_path) as parts:
        for slug, one in shipped().items():
            theme = await parts.themes.create(one.slug, one.title, **one.details)
            assert theme.slug == slug and theme.topic
            drawn = {expand("a red fox", theme, seed) for seed in range(40)}
            assert all("a red fox" in prompt for prompt in drawn)
            assert not any(re.search(r"__|[{}]", prompt) for prompt in drawn), slug
            assert len(drawn) > 1, f"every picture of {slug} has the same words"
    with pytest.raises(NotFoundError, match=r"There are: .*doorways"):
        shipped_one("nothing")
    assert shipped_one(" Cats ").slug == "cats"


def test_the_word_lists_hold_no_word_twice() -> None:
    for name, words in PALETTES.items():
        assert len(set(words)) == len(words) >= 4, name
        assert all(word == word.strip() and word for word in words)
