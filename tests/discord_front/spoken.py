"""Which sentences the program tells, read from its own source."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_TOLD = (
    "bot/channels.py",
    "bot/checking/reviews.py",
    "bot/checking/service.py",
    "bot/client.py",
    "bot/delivery/*.py",
    "bot/craft.py",
    "bot/dreams.py",
    "bot/errors.py",
    "bot/games/*.py",
    "bot/gate.py",
    "bot/inits.py",
    "bot/limits.py",
    "bot/model_choice.py",
    "bot/offspring.py",
    "bot/options.py",
    "bot/outpainting.py",
    "bot/parents.py",
    "bot/portraits.py",
    "bot/parties/*.py",
    "bot/privacy/*.py",
    "bot/publish/service.py",
    "bot/ranking.py",
    "bot/repainting.py",
    "bot/requests.py",
    "bot/rights.py",
    "bot/search.py",
    "bot/seeing.py",
    "bot/settings.py",
    "bot/sizes.py",
    "bot/studies.py",
    "bot/theme_files.py",
    "bot/theme_pictures.py",
    "bot/themes.py",
    "bot/upload_process.py",
    "bot/uploads.py",
    "cogs/changing.py",
    "cogs/dream.py",
    "cogs/looking.py",
    "cogs/moderate.py",
    "cogs/painting.py",
    "cogs/words.py",
    "cogs/portrait.py",
    "cogs/privacy.py",
    "cogs/settings.py",
    "cogs/theme.py",
)
"""Where somebody on Discord is told something."""


@cache
def sentences() -> frozenset[str]:
    """Return what is said, and the errors that have no values, of all that people are told."""
    found: set[str] = set()
    for pattern in _TOLD:
        for path in _ROOT.glob(pattern):
            found |= set(_said(_parsed(path)))
    return frozenset(found)


@cache
def strings() -> frozenset[str]:
    """Return every string that stands in the program."""
    files = [*_ROOT.glob("bot/**/*.py"), *_ROOT.glob("cogs/*.py")]
    return frozenset(
        text for path in files for node in ast.walk(_parsed(path)) for text in _text(node)
    )


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _said(tree: ast.Module) -> Iterator[str]:
    named = _assigned(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "say":
            said = list(_meant(node.args[0], named))
            assert said, f"nobody knows what is said by {ast.unparse(node)}"
            yield from said
        elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            for argument in node.exc.args:
                yield from (text for text in _meant(argument, named) if " " in text)


def _assigned(tree: ast.Module) -> dict[str, list[ast.expr]]:
    found = defaultdict(list)
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                found[getattr(target, "id", "")].append(node.value)
    return found


def _meant(node: ast.expr, named: dict[str, list[ast.expr]]) -> Iterator[str]:
    """Yield the strings that an expression may be."""
    if isinstance(node, ast.Name):
        for value in named.get(node.id, ()):
            if not isinstance(value, ast.Name):
                yield from _meant(value, named)
    elif isinstance(node, ast.Subscript):
        yield from _meant(node.value, named)
    elif isinstance(node, ast.Dict):
        for value in node.values:
            yield from _meant(value, named)
    else:
        yield from _text(node)


def _text(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
