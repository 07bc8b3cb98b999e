"""Every parser that meets strangers holds against inputs that nobody thought of; a short form."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from bot.errors import InvalidRequestError
from tests.fuzz import inputs, wall
from tests.fuzz.running import Target, run
from tests.fuzz.targets import all_targets

INPUTS = 40
REQUESTS = 120
"""As many as there are addresses, about."""


@pytest.fixture(scope="module", autouse=True)
def _ended() -> Iterator[None]:
    yield
    wall.close()


@pytest.mark.parametrize("target", all_targets(), ids=lambda target: target.name)
def test_it_holds(target: Target) -> None:
    inputs = REQUESTS if target.name == "wall" else INPUTS
    assert run([target], inputs, "suite") == []


def test_what_does_not_hold_is_found() -> None:
    def breaks(_given: str) -> None:
        raise KeyError("x")

    def mumbles(_given: str) -> None:
        raise InvalidRequestError("field", "list index")

    targets = (
        Target("breaks", inputs.text, breaks, (InvalidRequestError,)),
        Target("mumbles", inputs.text, mumbles, (InvalidRequestError,)),
    )
    assert [one.target for one in run(targets, 2, "1")] == ["breaks"] * 2 + ["mumbles"] * 2


@pytest.mark.parametrize(
    ("page", "holds"),
    [
        ('<body class="error"><h1 class="invitation shown">Not here.<small></small></h1>', True),
        ('<body class="error"><h1 class="invitation shown"><small></small></h1>', False),
        ('<body class="all"><p class="notice" role="alert" data-field="a">Too long.</p>', True),
        ('<body class="all"><p class="notice" role="alert"> </p>', False),
        ('<body class="all"><form></form>', False),
    ],
)
def test_an_error_without_a_sentence_is_found(page: str, holds: bool) -> None:
    with nullcontext() if holds else pytest.raises(AssertionError, match="sentence"):
        wall.check_sentence(b"content-type: text/html; charset=utf-8", page.encode())


def test_a_seed_gives_the_same_inputs_again() -> None:
    for make in (inputs.text, lambda source: inputs.mutated(source, [b"abcdefgh"])):
        assert make(random.Random("a")) == make(random.Random("a"))
