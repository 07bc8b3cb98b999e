"""Reading a posted form's bytes: fields, and files with what is in them.

What browsers send is held to the letter, and all else is refused: what is lenient here is where two
programs read one request differently, and where time goes. Every step is a search in C, so the time
grows with the bytes alone.

Source: https://www.rfc-editor.org/rfc/rfc7578 (forms), https://www.rfc-editor.org/rfc/rfc2046#section-5.1
(boundaries), https://html.spec.whatwg.org/multipage/form-control-infrastructure.html#multipart-form-data
(how browsers write names)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import parse_qsl

from multidict import MultiDict, MultiDictProxy

FILES = "multipart/form-data"
"""The type of a form that may hold files."""
MOST_FIELDS = 256
"""More than any form here has: the longest is the prompt box with all options of an engine."""
_MOST_HEAD = 4096  # bytes, of the headers of one part
_BOUNDARY = re.compile(r';\s*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_PARAMETER = re.compile(r';[ \t]*(name|filename)="([^"]*)"', re.IGNORECASE)
_ESCAPED = {"%22": '"', "%0D": "\r", "%0A": "\n"}


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that was sent: its bytes, and what it was called where it came from."""

    filename: str
    data: bytes


Fields = MultiDictProxy[str | Upload]


def type_of(content_type: str) -> str:
    """Return the type that a header says, without its parameters."""
    return content_type.partition(";")[0].strip().lower()


def fields_of(content_type: str, body: bytes) -> Fields:
    """Return the fields of a form, in their order; none where it is of a type that has none.

    Raises:
        ValueError: it is not what its type says, or has more than `MOST_FIELDS`.
    """
    kind = type_of(content_type)
    if kind == FILES:
        found = _BOUNDARY.search(content_type)
        if found is None:
            raise ValueError("no boundary")
        return MultiDictProxy(MultiDict(_parts(body, (found[1] or found[2]).encode("ascii"))))
    if kind not in ("", "application/x-www-form-urlencoded"):
        return MultiDictProxy(MultiDict())
    pairs = parse_qsl(
        body.decode("utf-8"), keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict"
    )
    return MultiDictProxy(MultiDict(pairs))


def _parts(body: bytes, boundary: bytes) -> Iterator[tuple[str, str | Upload]]:
    before, *parts = (b"\r\n" + body).split(b"\r\n--" + boundary, MOST_FIELDS + 1)
    # A body that is cut off has no last boundary, and one of too many fields none in reach.
    if before or not parts or parts.pop()[:2] != b"--":
        raise ValueError("not enclosed by its boundary")
    for part in parts:
        head, blank, data = part.lstrip(b" \t").partition(b"\r\n\r\n")
        if not blank or not head.startswith(b"\r\n") or len(head) > _MOST_HEAD:
            raise ValueError("a part without its headers")
        named = _named(head.decode("utf-8"))
        name = named.get("name")
        if name is None:
            raise ValueError("a part without a name")
        # An input for a file in which none was chosen is sent with an empty name.
        yield name, Upload(filename, data) if (filename := named.get("filename")) else data.decode()


def _named(head: str) -> dict[str, str]:
    """Return the parameters of a part's disposition.

    Raises:
        ValueError: it has none, or its bytes are not to be taken as they are.
    """
    named: dict[str, str] | None = None
    for line in head.split("\r\n")[1:]:
        header, _, value = line.partition(":")
        match header.strip().lower():
            case "content-disposition" if named is None:
                if value.partition(";")[0].strip().lower() != "form-data":
                    raise ValueError("a part that is no field")
                named = {name.lower(): _plain(text) for name, text in _PARAMETER.findall(value)}
            case "content-disposition":
                raise ValueError("a part with two names")
            case "content-transfer-encoding" if value.strip().lower() not in _AS_IT_IS:
                raise ValueError("a part in an encoding that forms have no more")
            case "content-encoding":
                raise ValueError("a part that is compressed")
    if named is None:
        raise ValueError("a part without a name")
    return named


_AS_IT_IS = ("7bit", "8bit", "binary")


def _plain(text: str) -> str:
    for escape, meant in _ESCAPED.items():
        text = text.replace(escape, meant)
    return text
