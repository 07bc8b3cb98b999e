"""YouTokenToMe's byte-pair encoding, read from its published text files.

A file counts characters and rules, then has a line of two numbers for each character (its code
point and its token), one of three for each rule (two tokens and the one that they become, in the
order in which they were learnt), and one with the tokens for unknown, padding, begin and end.

Source: https://github.com/VKCOM/YouTokenToMe (MIT): `BPEState::load` and `encode_sentence`.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from generation.models.checkpoints import CheckpointError

_WORD = "\N{LOWER ONE EIGHTH BLOCK}"
"""Stands before each word, and counts as a space itself."""
_SPACES = frozenset(" \t\n\v\f\r" + _WORD)
_MOST_NUMBERS = 4_000_000


@dataclass(frozen=True)
class BPE:
    """`characters` to tokens, and for two tokens that become one: the rule's rank, and that one."""

    characters: Mapping[str, int]
    rules: Mapping[tuple[int, int], tuple[int, int]]
    unknown: int
    padding: int
    begin: int
    end: int

    @property
    def size(self) -> int:
        """How many tokens there are: all are below it."""
        made = [token for _, token in self.rules.values()]
        special = (self.unknown, self.padding, self.begin, self.end)
        return 1 + max(*self.characters.values(), *made, *special)

    @classmethod
    def read(cls, path: Path) -> BPE:
        """Read a published file.

        Raises:
            CheckpointError: it is not there, or not such a file.
        """
        try:
            numbers = [int(each) for each in path.read_bytes().split(maxsplit=_MOST_NUMBERS)]
            characters, rules = numbers[:2]
            first_rule = 2 + 2 * characters
            last = first_rule + 3 * rules
            if min(characters, rules) < 0 or len(numbers) != last + 4:
                raise ValueError("there are too few numbers, or too many")
            tokens = {
                chr(code): token
                for code, token in zip(
                    numbers[2:first_rule:2], numbers[3:first_rule:2], strict=True
                )
            }
            if _WORD not in tokens or min(*tokens.values(), *numbers[first_rule:last], 0) < 0:
                raise ValueError("no token begins a word, or one is negative")
            triples = zip(*(numbers[first_rule + nth : last : 3] for nth in range(3)), strict=True)
            return cls(
                tokens,
                {(left, right): (rank, made) for rank, (left, right, made) in enumerate(triples)},
                *numbers[last:],
            )
        except (OSError, ValueError, OverflowError) as error:
            raise CheckpointError(
                f"{path.name} is not a tokenizer of YouTokenToMe, or is damaged. Fetch it again."
            ) from error

    def encode(self, text: str) -> list[int]:
        """Return a text's tokens, without those for begin and end."""
        return [token for _, tokens in self.words(text) for token in tokens]

    def words(self, text: str) -> Iterator[tuple[str, list[int]]]:
        """Yield each word of a text with its tokens."""
        for word in "".join(" " if each in _SPACES else each for each in text).split(" "):
            if word:
                yield word, self._merged(self._characters(word))

    def _characters(self, word: str) -> list[int | None]:
        """Return the tokens of a word's characters; unknown ones in a row are one None."""
        tokens: list[int | None] = [self.characters[_WORD]]
        known = True
        for character in word:
            token = self.characters.get(character)
            if token is not None or known:
                tokens.append(token)
            known = token is not None
        return tokens

    def _merged(self, tokens: list[int | None]) -> list[int]:
        """Apply rules, always the earliest one at its leftmost place."""
        before = list(range(-1, len(tokens) - 1))
        after = [*range(1, len(tokens)), -1]
        queue: list[tuple[int, int, int]] = []  # rank, place, and the token that is made

        def consider(left: int) -> None:
            a, b = tokens[left], tokens[after[left]]
            if a is not None and b is not None and (rule := self.rules.get((a, b))) is not None:
                heapq.heappush(queue, (rule[0], left, rule[1]))

        gone = set()
        for left in range(len(tokens) - 1):
            consider(left)
        while queue:
            rank, left, made = heapq.heappop(queue)
            right = after[left]
            a, b = tokens[left], tokens[right]
            if left in gone or right < 0 or a is None or b is None:
                continue
            if self.rules.get((a, b)) != (rank, made):
                continue  # one of the two has become something else since
            tokens[left] = made
            gone.add(right)
            after[left] = after[right]
            if after[left] >= 0:
                before[after[left]] = left
                consider(left)
            if before[left] >= 0:
                consider(before[left])
        return [
            self.unknown if token is None else token
            for place, token in enumerate(tokens)
            if place not in gone
        ]
