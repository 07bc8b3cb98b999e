"""Clean what people type: one form for one text, and nothing invisible that misleads."""

from __future__ import annotations

import re
import unicodedata

# Control signs but tab and line ends (those become spaces), lone surrogates, the embeddings,
# overrides and isolates that turn the direction of what follows, and signs without any width.
# Joiners, variation selectors and tags stay: emoji and several scripts are written with them.
_REMOVED = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff"
    "\u202a-\u202e\u2066-\u2069\u200b\u2060-\u2065\u206a-\u206f\ufeff\ufff0-\ufffb"
    "\U000e0000-\U000e001f\U000e0080-\U000e00ff\U000e01f0-\U000e0fff]"
)
_SPACE = re.compile(r"\s+")
_VISIBLE = ("L", "N", "P", "S")
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")  # letters and signs that show nothing


def clean(text: str) -> str:
    """Return the text in NFC, without control signs and direction overrides, on one line."""
    return _SPACE.sub(" ", unicodedata.normalize("NFC", _REMOVED.sub("", text))).strip()


def visible(text: str) -> bool:
    """Say whether there is anything to be seen in the text."""
    return any(unicodedata.category(sign)[0] in _VISIBLE and sign not in _BLANK for sign in text)


def shorten(text: str, length: int) -> str:
    """Return the text, cut to `length` signs with an ellipsis where it is longer."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"
