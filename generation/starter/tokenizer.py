"""CLIP's byte-pair encoding, by the vocabulary that open_clip ships, without loading open_clip.

A text is repaired and lowered, cut into words, numbers and signs, and each of those is put together
from its bytes by the rules, the earliest learnt first. Its tokens are open_clip's own.

Source: https://github.com/openai/CLIP (MIT): `simple_tokenizer.py`, as open_clip has it.
"""

from __future__ import annotations

import functools
import gzip
import html
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import ftfy
import regex
import torch
from torch import Tensor

_MERGES = 49152 - 256 - 2
"""How many of the file's rules CLIP knows."""
_BEGIN, _END = "<start_of_text>", "<end_of_text>"
_PIECES = regex.compile(
    rf"{_BEGIN}|{_END}|'s|'t|'re|'ve|'m|'ll|'d|\p{{L}}+|\p{{N}}|[^\s\p{{L}}\p{{N}}]+",
    regex.IGNORECASE,
)
_CACHED_WORDS = 1 << 16


@dataclass(frozen=True)
class _Vocabulary:
    tokens: dict[str, int]
    ranks: dict[tuple[str, str], int]


class ClipTokenizer:
    """Turns texts into tokens: that of the beginning, the text's own, that of the end, zeros."""

    def __init__(self, context_length: int) -> None:
        self.context_length = context_length

    def encode(self, text: str) -> list[int]:
        """Return a text's own tokens, all of them."""
        cleaned = html.unescape(html.unescape(ftfy.fix_text(text)))
        found: list[int] = []
        for piece in _PIECES.findall(" ".join(cleaned.split()).lower()):
            found += _tokens(piece)
        return found

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return tokens [texts, context_length]; a longer text ends early."""
        tokens = _vocabulary().tokens
        rows = torch.zeros(len(texts), self.context_length, dtype=torch.long)
        for row, text in zip(rows, texts, strict=True):
            kept = self.encode(text)[: self.context_length - 2]
            row[: len(kept) + 2] = torch.tensor([tokens[_BEGIN], *kept, tokens[_END]])
        return rows


@functools.lru_cache(_CACHED_WORDS)
def _tokens(piece: str) -> tuple[int, ...]:
    known = _vocabulary().tokens
    if piece in (_BEGIN, _END):
        return (known[piece],)
    letters = _letters()
    parts = [letters[byte] for byte in piece.encode()]
    parts[-1] += "</w>"
    return tuple(known[part] for part in _merged(parts, _vocabulary().ranks))


def _merged(parts: list[str], ranks: dict[tuple[str, str], int]) -> list[str]:
    """Return the parts with neighbours put together, always the pair that was learnt first."""
    while len(parts) > 1:
        pairs = pairwise(parts)
        first = min(pairs, key=lambda pair: ranks.get(pair, len(ranks)))
        if first not in ranks:
            break
        made: list[str] = []
        for part in parts:
            # What was put together is longer than the left one of its pair, so never taken for it.
            if made and (made[-1], part) == first:
                made[-1] += part
            else:
                made.append(part)
        parts = made
    return parts


@functools.cache
def _letters() -> dict[int, str]:
    """Return the sign that stands for each byte: itself, or one from 256 on if it has none."""
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1),
             *range(ord("®"), ord("ÿ") + 1)]  # fmt: skip
    hidden = [byte for byte in range(256) if byte not in shown]
    # In this order, for the tokens are numbered by it.
    return {byte: chr(byte) for byte in shown} | {
        byte: chr(256 + place) for place, byte in enumerate(hidden)
    }


@functools.cache
def _vocabulary() -> _Vocabulary:
    spec = find_spec("open_clip")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("open_clip is not installed; its vocabulary is CLIP's")
    packed = Path(spec.origin).with_name("bpe_simple_vocab_16e6.txt.gz").read_bytes()
    lines = gzip.decompress(packed).decode().split("\n")[1 : 1 + _MERGES]
    pairs = [(left, right) for left, right in (line.split() for line in lines)]
    letters = list(_letters().values())
    names = [*letters, *(letter + "</w>" for letter in letters), *map("".join, pairs), _BEGIN, _END]
    return _Vocabulary(
        {name: token for token, name in enumerate(names)},
        {pair: rank for rank, pair in enumerate(pairs)},
    )
