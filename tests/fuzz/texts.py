"""What people type: prompts, options, lists, and how it is shown to others."""

from __future__ import annotations

import math
import random
import re
from functools import cache

from bot.atom import _NOT_IN_XML
from bot.delivery import words
from bot.errors import InvalidRequestError
from bot.ids import is_id, time_of
from bot.journeys import stops_of
from bot.limits import Limits
from bot.model import Theme
from bot.options import complete, parse_settings
from bot.palettes import listed
from bot.parties.reading import plain_code
from bot.prompts import choose, expand, says_anything, wanted
from bot.publish.texts import markdown
from bot.sizes import parse_size
from bot.studies import check_study, split_words
from bot.text import clean, shorten, visible
from bot.values import check_prompt
from bot.wordlist import Words, unsafe_words
from generation.prompts import format_prompts, parse
from generation.protocol import chosen_with_weights
from tests.bot.drawer import DIFFUSION, FOURIER
from tests.fuzz.inputs import mutated_text, text
from tests.fuzz.running import Target

_THEME = Theme(
    id=1, slug="t", title="T", template="a {prompt}, {oil|ink}", modifiers="__mood__:0.5"
)
_BLOCKED = ("badword", "two words", "ban*", "禁止")
_LIVE = re.compile(r"@(?:everyone|here)|<[@#:at/i]|\[[^\]]*\]\(|[*_~`|]")


def typed(random: random.Random) -> str:
    """Return something long or short, of one sort or of many."""
    if random.randrange(8) == 0:
        return (text(random, 8) or "|") * random.choice((100, 500))
    sound = random.choice(
        (
            "a misty castle:2 | oil on canvas:0.5 | text, watermark:-1",
            "a {red|green {x|y}} __mood__ \\{fox\\} / sea:2:0.5",
            "cutouts=16, kind=soft, warm, rate=0.1",
            "384x256",
            "one:1 + another:0.5",
            "https://discord.com/channels/1/2/3",
        )
    )
    return mutated_text(random, sound) if random.randrange(2) else text(random)


def _prompt(given: str) -> None:
    cleaned = clean(given)
    assert clean(cleaned) == cleaned
    assert choose(given, 7) == choose(given, 7)
    for placed in (False, True):
        drawn = expand(given, _THEME, 7, placed=placed)
        assert drawn == clean(drawn)
        prompts = parse(drawn, placed=placed)
        assert all(math.isfinite(one.weight) and one.text.strip() for one in prompts)
    assert all(math.isfinite(weight) for _, weight in wanted(cleaned))
    if any(visible(words) for words, _ in wanted(cleaned)):
        assert says_anything(cleaned, wanted=True)
    read = parse(given)
    assert parse(format_prompts(read)) == read
    stops_of(given)


def _checked_prompt(given: str) -> None:
    prompt = check_prompt(given, Limits())
    assert check_prompt(prompt, Limits()) == prompt


def _options(given: str) -> None:
    for engine in (FOURIER, DIFFUSION):
        settings = complete({}, engine)
        assert complete(settings, engine) == settings
    complete(parse_settings(given), FOURIER)


def _lists(given: str) -> None:
    parse_size(given)
    chosen_with_weights(given, ("one", "another"))
    check_study(split_words(given))
    listed(given)


def _ids(given: str) -> None:
    if is_id(given):
        assert time_of(given) >= 0
    code = plain_code(given)
    assert plain_code(code) == code


def _shown(given: str) -> None:
    given = clean(given)
    for length in (1, 2, 3, 40, 600):
        shown = words.plain(given, length)
        assert len(shown) <= length
        assert not _LIVE.search(_read(shown)), shown
    assert shorten(markdown(given), 100)[:100] is not None
    assert not _NOT_IN_XML.search(_NOT_IN_XML.sub("", given))


def _read(shown: str) -> str:
    """Return what Discord looks for markup in: not in links, nor behind a backslash."""
    return re.sub(r"\\[^0-9A-Za-z\s]|https?://[^\s<>\[\]()|*`\\]+", "", shown)


@cache
def _blocked() -> Words:
    return Words.of((*_BLOCKED, *unsafe_words()))


def disguised(random: random.Random) -> tuple[str, str]:
    """Return a blocked word as people hide it, among other words."""
    word = random.choice(("badword", "two words", "bandage", "禁止"))
    word = "".join(
        random.choice((sign, sign.upper(), sign + "\u200b", sign + "\u0301", _wide(sign)))
        for sign in word
    )
    return f"{random.choice(('a', 'x, ', ''))} {word} {random.choice(('', '!', 'of gold'))}", word


def _wide(sign: str) -> str:
    return chr(ord(sign) + 0xFEE0) if "a" <= sign <= "z" else sign


def _finds(given: tuple[str, str]) -> None:
    whole, _word = given
    assert _blocked().within(whole)
    assert not _blocked().within("a quiet lake at dawn")


def _words(given: str) -> None:
    found = _blocked().within(given, ("two words of mine",))
    assert found == _blocked().within(given, ("two words of mine",))
    assert _blocked().within(given) or not found, "an exception made a word be found"


TARGETS = (
    Target("prompt", typed, _prompt),
    Target("prompt as asked", typed, _checked_prompt, (InvalidRequestError,)),
    Target("options", typed, _options, (InvalidRequestError,)),
    Target("sizes and lists", typed, _lists, (InvalidRequestError,)),
    Target("ids and codes", typed, _ids),
    Target("shown in Discord", typed, _shown),
    Target("blocked words", typed, _words),
    Target("disguised words", disguised, _finds),
)
