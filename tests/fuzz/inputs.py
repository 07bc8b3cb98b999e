"""Make inputs that go wrong in new ways: what strangers might send, from nothing but a seed."""

from __future__ import annotations

import random
from collections.abc import Sequence

_SIGNS = (
    *"abz019 _-.,:;|/\\{}[]()<>@#*~`!?=\"'&%$^+",
    *"\0\t\n\r\x1b\x7f\x85\u00a0\u200b\u200d\u202e\u2066\u2028\ufeff\ufffe\U000e0041\U0010ffff",
    *"éßİıſﬁﷺ\u0301\u0489\u1160\u3164漢🦊\ud800\udfff",
)
_PIECES = (
    *("{a|b}", "__mood__", ":1", ":-1:0.5", ":1e999", ":٣", "\\|", " / ", " -> ", "a=1, ", "NaN"),
    *("@everyone", "<@1>", "<@&12345678901234567>", "[a](http://b.c)", "||x||", "```", "> ", "# "),
    *("../", "\0", "%2e%2e%2f", "http://[::1", "1e400", "0x" + "f" * 40, "-0", "1_0", "９", "true"),
    *("a\u0301" * 40, "\u202eabc", "b\u200da\u200bd", "ｂａｄ", "{" * 40, "}" * 40, "[" * 40),
)
_NUMBERS = (0, 1, 2, 4, 8, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)


def text(random: random.Random, longest: int = 200) -> str:
    """Return a text of signs and pieces that mean something to one grammar or another."""
    parts = (
        random.choice(random.choice((_SIGNS, _PIECES))) * random.choice((1, 1, 1, 7))
        for _ in range(random.randrange(12))
    )
    return "".join(parts)[:longest]


def mutated_text(random: random.Random, seed: str) -> str:
    """Return a text that was sound, with some places of it changed."""
    for _ in range(random.randint(1, 4)):
        begin = random.randrange(len(seed) + 1)
        end = min(len(seed), begin + random.choice((0, 0, 1, 1, 2, 8, 40)))
        other = random.choice((text(random, 20), "", seed[begin:end] * 2))
        seed = seed[:begin] + other + seed[end:]
    return seed


def mutated(random: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Return bytes that were sound, cut, spliced, repeated, or with bits and lengths changed."""
    data = bytearray(random.choice(seeds))
    for _ in range(random.choice((1, 1, 2, 3, 8))):
        begin = random.randrange(len(data) + 1)
        end = min(len(data), begin + random.choice((1, 2, 4, 16, 64)))
        match random.randrange(8):
            case 0:
                data = data[:begin]
            case 1:
                del data[begin:end]
            case 2:
                data[begin:begin] = data[begin:end] * random.choice((1, 2, 30))
            case 3:
                width = random.choice((1, 2, 4, 8))
                order = random.choice(("big", "little"))
                number = random.choice(_NUMBERS) & (256**width - 1)
                data[begin : begin + width] = number.to_bytes(width, order)
            case 4:
                other = random.choice(seeds)
                data[begin:] = other[random.randrange(len(other) + 1) :]
            case 5:
                data[begin:end] = random.randbytes(end - begin)
            case 6 if begin < len(data):
                data[begin] ^= 1 << random.randrange(8)
            case _:
                data[begin:begin] = text(random, 30).encode("utf-8", "surrogatepass")
    return bytes(data)
