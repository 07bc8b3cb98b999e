"""Hold single values that a person gave to their bounds: words, numbers, a seed, who they are.

Each is returned as it is kept, or refused with a sentence that says what would be right.
"""

from __future__ import annotations

import math
import secrets

from bot.errors import InvalidRequestError
from bot.limits import Limits
from bot.model import Person
from bot.prompts import count_prompts, says_anything
from bot.sentences import option, say
from bot.text import clean, shorten, visible

SEEDS = 2**32
MAX_PERSON_ID = 200
MAX_PERSON_NAME = 80


def check_prompt(text: str, limits: Limits, field: str = "prompt") -> str:
    """Return the prompt as it is kept: cleaned, not empty, not too long, not too many in one.

    Raises:
        InvalidRequestError: it is empty, too long or of too many parts.
    """
    limit = limits.prompt_length
    # Far too long ones are not worth the cleaning.
    prompt = clean(text) if len(text) <= 50 * limit else text
    if len(prompt) > limit:
        raise InvalidRequestError(
            field,
            say(
                "The {field} has {count:,} characters; at most {limit:,} are taken. Shorten it.",
                field=option(field),
                count=len(prompt),
                limit=limit,
            ),
        )
    if not visible(prompt.replace("|", "").replace(":", "")) or not says_anything(prompt):
        raise InvalidRequestError(
            field,
            say(
                "The {field} is empty. Say in a few words what should be drawn.",
                field=option(field),
            ),
        )
    count = count_prompts(prompt)
    if count > limits.prompt_parts:
        raise InvalidRequestError(
            field,
            say(
                "The {field} has {count:,} parts between bars; at most {limit:,} are taken. Put "
                "commas in place of bars.",
                field=option(field),
                count=count,
                limit=limits.prompt_parts,
            ),
        )
    return prompt


def check_person(person: Person) -> Person:
    """Return the person with a name that can be shown.

    Raises:
        InvalidRequestError: the id is not one.
    """
    if not person.id or len(person.id) > MAX_PERSON_ID or clean(person.id) != person.id:
        raise InvalidRequestError("person", "It is not known who asks. Sign in again.")
    name = shorten(clean(person.name), MAX_PERSON_NAME)
    return Person(person.id, name if visible(name) else "someone")


def check_seed(seed: int | None, count: int = 1) -> int:
    """Return the first of `count` seeds in a row; a random one where none is given.

    Raises:
        InvalidRequestError: it is out of range.
    """
    if seed is None:
        return secrets.randbelow(SEEDS - count + 1)
    return whole("seed", seed, 0, SEEDS - count)


def whole(field: str, value: object, low: int, high: int) -> int:
    """Return a whole number from `low` to `high`, both included.

    Raises:
        InvalidRequestError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidRequestError(
            field,
            say(
                "For {field}, give a whole number from {low:,} to {high:,}, not {value}.",
                field=option(field),
                low=low,
                high=high,
                value=_show(value),
            ),
        )
    return value


def number(field: str, value: float | None, low: float, high: float, *, default: float) -> float:
    """Return a number from `low` to `high`, both included, or the default where none is given.

    Raises:
        InvalidRequestError: it is none of these.
    """
    if value is None:
        return default
    if isinstance(value, bool) or not math.isfinite(value) or not low <= value <= high:
        raise InvalidRequestError(
            field,
            say(
                "The {field} is a number from {low:g} to {high:g}, not {value}.",
                field=option(field),
                low=low,
                high=high,
                value=_show(value),
            ),
        )
    return float(value)


def _show(value: object) -> str:
    return shorten(clean(str(value)), 24)
