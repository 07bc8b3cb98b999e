"""Every setting of the scheduler process is explained, with its true default."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from generation.settings import Settings

PAGE = Path(__file__).resolve().parents[2] / "docs" / "scheduling.md"


def test_every_setting_is_explained_with_its_default() -> None:
    rows = {
        cells[1].strip(" `"): cells[2].strip(" `")
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if len(cells := line.split("|")) == 5
    }
    for field in msgspec.structs.fields(Settings):
        assert field.name in rows, f"docs/scheduling.md does not explain {field.name}"
        default = field.default
        shown = f"{default:g}" if isinstance(default, float) else default
        shown = shown if isinstance(shown, str) else json.dumps(shown)
        assert rows[field.name] == shown, field.name
