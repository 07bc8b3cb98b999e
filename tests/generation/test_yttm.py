"""The reader of YouTokenToMe's files against that program's own answers, and against its rule."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import pytest

from generation.models.checkpoints import CheckpointError
from generation.models.yttm import BPE

# What youtokentome 1.0.6 learnt of six short lines (40 tokens), as it wrote it down.
FILE = """15 21
1089 8
1081 18
1086 9
1099 13
1078 16
1083 12
1088 14
1080 6
1072 11
1090 7
1082 10
1103 17
9601 4
1087 15
97 5
9 7 19
5 5 20
10 19 21
4 21 22
4 20 23
6 8 24
24 11 25
12 25 26
4 26 27
14 13 28
4 8 29
28 16 30
29 15 31
4 30 32
31 6 33
33 7 34
32 11 35
32 6 36
35 17 37
36 18 38
23 20 39
1 0 2 3
"""
# What youtokentome 1.0.6 makes of these texts with that file.
ANSWERS = {
    "кот и лиса": [22, 4, 6, 27],
    "рыжая лиса спит": [37, 27, 34],
    "  кот\tкот ": [22, 22],
    "aaaaa": [39, 5],
    "日本кот日本語": [4, 1, 21, 1],
    "": [],
    "ёж": [4, 1, 16],
    "рыжийрыжая": [38, 30, 11, 17],
    "▁кот▁": [22],
}


@pytest.fixture
def bpe(tmp_path: Path) -> BPE:
    path = tmp_path / "bpe.model"
    path.write_text(FILE)
    return BPE.read(path)


@pytest.mark.parametrize("text", ANSWERS)
def test_texts_become_youtokentomes_tokens(bpe: BPE, text: str) -> None:
    assert bpe.encode(text) == ANSWERS[text]


def test_a_file_tells_its_size_and_its_special_tokens(bpe: BPE) -> None:
    assert bpe.size == 40
    assert (bpe.unknown, bpe.padding, bpe.begin, bpe.end) == (1, 0, 2, 3)


def merged_one_by_one(bpe: BPE, word: str) -> list[int]:
    """Look through the whole word for each merge: slow, and plainly the rule."""
    tokens: list[int | None] = [bpe.characters["▁"]]
    for nth, character in enumerate(word):
        token = bpe.characters.get(character)
        if token is not None or nth == 0 or word[nth - 1] in bpe.characters:
            tokens.append(token)
    while True:
        found = [
            (bpe.rules[left, right], place)
            for place, (left, right) in enumerate(pairwise(tokens))
            if left is not None and right is not None and (left, right) in bpe.rules
        ]
        if not found:
            return [bpe.unknown if token is None else token for token in tokens]
        (_, made), place = min(found)
        tokens[place : place + 2] = [made]


def test_the_earliest_rule_comes_first_and_of_its_places_the_leftmost(bpe: BPE) -> None:
    chance = random.Random(3)
    for _ in range(500):
        pieces = ("лис", "кот", "рыж", "a", "aa", "спи", "т", "й", "?", "日本")
        word = "".join(chance.choices(pieces, k=chance.randint(1, 12)))
        assert bpe.encode(word) == merged_one_by_one(bpe, word)
    assert len(bpe.encode("a" * 100_000)) < 50_000  # in no more than a moment


@pytest.mark.parametrize(
    "damaged",
    [
        "",
        "one two",
        FILE[:100],
        FILE + "5",
        "1 0\n97 4\n1 0 2 3",  # no token begins a word
        "1 1\n9601 4\n4 4 -5\n1 0 2 3",
        "1 0\n99999999 4\n1 0 2 3",
        "-1 1\n9601 4\n1 0 2 3",
    ],
)
def test_what_is_not_such_a_file_is_refused_in_a_sentence(tmp_path: Path, damaged: str) -> None:
    path = tmp_path / "bpe.model"
    path.write_text(damaged)
    with pytest.raises(CheckpointError, match=r"bpe\.model is not a tokenizer"):
        BPE.read(path)
    with pytest.raises(CheckpointError, match="Fetch it again"):
        BPE.read(tmp_path / "nothing.model")
