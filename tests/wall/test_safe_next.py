"""Where somebody is led on to who has signed in: on this wall, whatever an address says."""

from __future__ import annotations

import re
from urllib.parse import urljoin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.wall.sign_in import safe_next


@pytest.mark.parametrize(
    ("next", "leads_to"),
    [
        ("/s/planets?before=x", "/s/planets?before=x"),
        ("", "/"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("/\t/evil.example", "/"),
        ("https://evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("/s/x\r\nSet-Cookie: a=b", "/"),
        ("/sign-in?next=/", "/"),
        ("/" + "x" * 600, "/"),
        ("/s/ü", "/"),
    ],
)
def test_it_leads_on_to_this_wall_alone(next: str, leads_to: str) -> None:
    assert safe_next(next) == leads_to


@given(st.from_regex(r"[/\\\t\r\n@:.a-z?#%\x7f]{1,20}"))
def test_whatever_it_is_asked_to_lead_on_to_is_here(next: str) -> None:
    path = safe_next(next)
    assert path.startswith("/") and path.isascii() and path.isprintable()
    # As browsers read it: a backslash is a slash, and tabs and line ends are nothing.
    read = re.sub(r"[\t\r\n]", "", path).replace("\\", "/")
    assert urljoin("https://wall.example/sign-in", read).startswith("https://wall.example/")
