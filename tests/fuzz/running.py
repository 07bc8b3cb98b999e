"""Throw inputs at parsers and judge what comes of it.

A parser answers, or raises what it declares; its sentence is one that a person can read; it takes
no longer and no more memory than it may; and what else is true of it is asserted in its `take`.
"""

from __future__ import annotations

import random
import sys
import time
import traceback
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

LIMIT_S = 2.0
_LIMIT_MIB = 300
"""More than a few small inputs and a checker's caches come to, and what a lying length asks for."""
_LONGEST_SENTENCE = 1500
_NOT_FOR_PEOPLE = ("Traceback", "Error:", "Exception", " object at 0x", "NoneType")


@dataclass(frozen=True)
class Target:
    """A parser: `make` an input, `take` it. `declared` may be raised; `told` are its sentences."""

    name: str
    make: Callable[[random.Random], Any]
    take: Callable[[Any], None]
    declared: tuple[type[BaseException], ...] = ()
    told: bool = True
    limit_s: float = LIMIT_S


@dataclass(frozen=True)
class Failure:
    """What a parser must not do, and the seed that makes it do so."""

    target: str
    seed: str
    given: str
    what: str

    def __str__(self) -> str:
        return f"{self.target}, seed {self.seed}: {self.what}\n    given {self.given}"


def input_of(target: Target, seed: str) -> Any:
    """Return the input of a seed, the same on every machine."""
    return target.make(random.Random(f"{target.name}:{seed}"))


def judge(target: Target, seed: str) -> Failure | None:
    """Try one input; None where all is well."""
    given = input_of(target, seed)
    begun, before = time.thread_time(), _most_mib()
    what = ""
    try:
        target.take(given)
    except target.declared as error:
        what = unclear(str(error)) if target.told else ""
        what = "asked for more memory than there was" if _wanted_memory(error) else what
    except Exception:
        what = traceback.format_exc(limit=-3)
    took_s = time.thread_time() - begun
    if not what and took_s > target.limit_s:
        what = f"took {took_s:.1f} s"
    if not what and _most_mib() - before > _LIMIT_MIB:
        what = f"took {_most_mib() - before} MiB more than anything before"
    return Failure(target.name, seed, repr(given)[:400], what) if what else None


def _wanted_memory(error: BaseException | None) -> bool:
    """Say whether this, or what it came of, was for want of memory."""
    while error is not None and not isinstance(error, MemoryError):
        error = error.__cause__ or error.__context__
    return error is not None


def _most_mib() -> int:
    """Return the most memory that this process ever had; 0 where it is not known."""
    if sys.platform != "linux":
        return 0
    import resource  # not everywhere

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def run(targets: Iterable[Target], inputs: int, seed: str) -> list[Failure]:
    """Try so many inputs at each target."""
    found = (judge(target, f"{seed}-{n}") for target in targets for n in range(inputs))
    return [one for one in found if one is not None]


def unclear(sentence: str) -> str:
    """Say what is wrong with a sentence, if anything is."""
    if not sentence or sentence.rstrip()[-1] not in ".!?":
        return f"no sentence: {sentence!r}"
    if max(map(len, sentence.splitlines())) > _LONGEST_SENTENCE:
        return f"a sentence of {len(sentence)} signs: {sentence[:200]!r}"
    if any(unicodedata.category(sign) in ("Cc", "Cs") and sign != "\n" for sign in sentence):
        return f"control signs in a sentence: {sentence!r}"
    if any(words in sentence for words in _NOT_FOR_PEOPLE):
        return f"not for people: {sentence!r}"
    return ""
