"""What all messages of ours have in common: a look that can be compared, and controls with ids."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any

from discord import ui


def looks_of(view: ui.LayoutView) -> str:
    """Return a digest of all that a layout shows: 32 hexadecimal signs, the same in every process.

    What is in its files counts by their names alone.
    """
    components = view.to_components()  # type: ignore[no-untyped-call]
    # `json` takes a sentence (`bot.sentences`) for the string that it is; msgspec does not.
    seen = json.dumps(components, ensure_ascii=False, separators=(",", ":"))
    return hashlib.blake2b(seen.encode(), digest_size=16).hexdigest()


def id_among(components: Iterable[Any], pattern: re.Pattern[str]) -> re.Match[str] | None:
    """Return the first custom id that a pattern takes whole, among components and inside them."""
    for component in components:
        found = pattern.fullmatch(getattr(component, "custom_id", None) or "")
        found = found or id_among(getattr(component, "children", ()), pattern)
        if found is not None:
            return found
    return None
