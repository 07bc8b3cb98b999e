"""Settings: the example file explains all of them, and the product uses all of them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from pydantic import BaseModel

from bot.config import Backup, Config
from bot.config_file import load_config

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "config.example.toml"


def test_the_example_holds_every_setting_with_its_default() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    # A setting without a default stands there commented out; give it back to the reader.
    as_file = re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE)
    config = load_config(EXAMPLE)
    anchored = {"storage": config.storage, "backup": config.backup}
    assert config == load_config(None).model_copy(update=anchored)
    assert config.backup.model_copy(update={"folder": Path("backups")}) == Backup()
    for name, keys in sections(Config).items():
        body = as_file.split(f"[{name}]\n", 1)[1].split("\n[", 1)[0]
        for key in keys:
            match = re.search(rf"^(# .+\n)+(.+\n)?{key} = ", body, flags=re.MULTILINE)
            assert match, f"config.example.toml should explain {name}.{key}"


def sections(table: type[BaseModel], before: str = "") -> dict[str, list[str]]:
    """Return the keys of every table, by its name: those that are no tables themselves."""
    found: dict[str, list[str]] = {}
    for key, field in table.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found |= sections(kind, f"{before}{key}.")
        else:
            found.setdefault(before.rstrip("."), []).append(key)
    return found


def read_settings(path: Path) -> set[tuple[str, str]]:
    """Return what code reads as ``section.key``, of a name or of an attribute."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            if isinstance(node.value, ast.Attribute):
                found.add((node.value.attr, node.attr))
            elif isinstance(node.value, ast.Name):
                found.add((node.value.id, node.attr))
    return found


def test_every_setting_is_used() -> None:
    used = {
        pair
        for path in (ROOT / "bot").rglob("*.py")
        if path.name not in ("config.py", "config_file.py")  # which read them for others to use
        for pair in read_settings(path)
    }
    settings = {
        (name.rpartition(".")[2], key) for name, keys in sections(Config).items() for key in keys
    }
    assert settings - used == set()
