"""Who may import whom: cogs → bot → generation.protocol, and no torch in the bot process."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@cache
def imports_of(path: Path) -> tuple[str, ...]:
    return tuple(_imported(path))


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def breaches(folder: str, forbidden: tuple[str, ...], allowed: tuple[str, ...] = ()) -> list[str]:
    found = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        for name in imports_of(path):
            inside = any(name == root or name.startswith(root + ".") for root in forbidden)
            excepted = any(name == root or name.startswith(root + ".") for root in allowed)
            if inside and not excepted:
                found.append(f"{path.relative_to(ROOT)} imports {name}")
    return found


def test_generation_imports_neither_front() -> None:
    forbidden = ("bot", "cogs", "discord", "aiohttp", "aiosqlite", "training", "tests")
    assert breaches("generation", forbidden) == []


def test_bot_knows_only_the_protocol_of_generation() -> None:
    found = breaches("bot", ("generation", "cogs", "torch", "training"), ("generation.protocol",))
    # The one place that joins the cogs to the client names them by string, not by import.
    assert [line for line in found if not line.endswith("imports generation")] == []


def test_cogs_speak_to_bot_only() -> None:
    forbidden = ("generation", "torch", "aiosqlite", "sqlite3", "aiohttp")
    assert breaches("cogs", forbidden, ("generation.protocol",)) == []


def test_run_time_does_not_need_training() -> None:
    for folder in ("bot", "cogs", "generation"):
        assert breaches(folder, ("training",)) == []


def modules_of(*folders: str) -> list[str]:
    names = []
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return [name for name in names if not name.endswith("__main__")]


@pytest.mark.parametrize("entry", ["bot.__main__", "generation.protocol", "*"])
def test_the_bot_process_loads_without_torch(entry: str) -> None:
    names = modules_of("bot", "cogs") if entry == "*" else [entry]
    code = (
        "import importlib, sys\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        "heavy = {'torch', 'numpy', 'diffusers', 'open_clip', 'transformers'} & set(sys.modules)\n"
        "sys.exit(f'loaded {sorted(heavy)}' if heavy else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_large_libraries_are_loaded_only_by_what_needs_them() -> None:
    """Each takes as long to load as torch: nothing that a start, or a starter model, needs may."""
    diffusers_own = {"generation/starter/transformer.py", "generation/starter/pipeline.py"}
    slow = ("diffusers", "transformers", "open_clip", "torchvision", "timm",
            "generation.starter.transformer", "generation.starter.pipeline")  # fmt: skip
    at_once = []
    for path in sorted((ROOT / "generation").rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        body = ast.parse(path.read_text(encoding="utf-8")).body
        for node in body if name not in diffusers_own else ():
            if isinstance(node, ast.Import | ast.ImportFrom):
                modules = [alias.name for alias in node.names]
                if isinstance(node, ast.ImportFrom):
                    modules = [node.module or ""]
                at_once += [f"{name}: {one}" for one in modules if one.startswith(slow)]
    assert at_once == []
