"""What styles may ask for: nothing that has a browser look through a whole page."""

from __future__ import annotations

import re

import pytest

from bot.wall.files import FOLDER

_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_SELECTOR = re.compile(r"([^{}]+)\{")
_WHOLE = ("html", "body", "main", ":root", "*")
# Those that hold a stream's pictures, however many.
_LONG = (".pictures", "#finished", ".mosaics", ".stream", ".watch")


def _having(css: str) -> list[tuple[str, str]]:
    """Return what each ``:has()`` is of, the last part before it, and what it asks for."""
    found = []
    for selector in _SELECTOR.findall(_COMMENT.sub("", css)):
        for match in re.finditer(r":has\(", selector):
            before = selector[: match.start()].removesuffix(":not(").removesuffix(", ")
            anchor = re.split(r"[\s>+~,]+(?![^(]*\))", before.strip())[-1]
            found.append((anchor, selector[match.end() :]))
    return found


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("*.css")))
def test_no_rule_looks_through_a_whole_page_for_what_it_has(name: str) -> None:
    for anchor, argument in _having((FOLDER / name).read_text(encoding="utf-8")):
        element = re.split(r"[.#:]", anchor)[0] if anchor != ":root" else anchor
        assert element not in _WHOLE, anchor
        assert anchor, f"a :has() of anything at all, in {name}"
        # Of what holds the pictures, only children and siblings may be asked for.
        if any(part in anchor for part in _LONG):
            assert argument.lstrip()[0] in ">~+", (anchor, argument)


def test_the_rule_is_read_as_browsers_read_it() -> None:
    css = "main:has(> #a) .b { } .c:not(:has(.d)) { } .e .f:has(*) { } /* .g:has(.h) { } */"
    assert [anchor for anchor, _ in _having(css)] == ["main", ".c", ".f"]
