"""A stream as an Atom feed, for feed readers.

Ids are UUIDs made of a dream's own id: they stay the same wherever the wall is reached, so that no
reader shows a picture twice after it has moved.

Source: RFC 4287 (The Atom Syndication Format); RFC 9562, section 5.5 (UUIDs of a name).
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from html import escape
from xml.etree import ElementTree

from bot.model import Dream, Theme
from bot.text import shorten, visible

MEDIA_TYPE = "application/atom+xml"
_NAMESPACE = "http://www.w3.org/2005/Atom"
_IDS = uuid.UUID("5d7f4c5e-7d0f-5f0c-9d5c-2f6f3a0a6d11")
_TITLE = 120
_NOBODY = "somebody"
# XML 1.0 has no characters for these, however they are written.
_NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

Address = Callable[[str], str]


def feed(
    theme: Theme,
    dreams: Sequence[Dream],
    address: Address,
    *,
    picture: Callable[[Dream], str],
    thumbnail: Callable[[Dream], str],
) -> bytes:
    """Return the feed of a theme's finished dreams, newest first, as UTF-8.

    `address` makes a whole address of a path; `picture` and `thumbnail` are paths.
    """
    ElementTree.register_namespace("", _NAMESPACE)
    root = ElementTree.Element(_tag("feed"))
    _text(root, "id", _urn(f"theme/{theme.slug}/{theme.created_ms}"))
    _text(root, "title", theme.title)
    if theme.topic:
        _text(root, "subtitle", theme.topic)
    newest_ms = max((_ended(dream) for dream in dreams), default=theme.created_ms)
    _text(root, "updated", _time(newest_ms))
    page = f"/s/{theme.slug}"
    _link(root, "self", address(f"{page}/feed.atom"), MEDIA_TYPE)
    _link(root, "alternate", address(page), "text/html")
    _text(root, "generator", "Dreamstream")
    for dream in dreams:
        _entry(root, dream, address, picture(dream), thumbnail(dream))
    document: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return document


def _entry(
    root: ElementTree.Element, dream: Dream, address: Address, picture: str, thumbnail: str
) -> None:
    assert dream.image is not None
    entry = ElementTree.SubElement(root, _tag("entry"))
    title = shorten(" ".join(dream.prompt.split()), _TITLE)
    _text(entry, "id", _urn(f"dream/{dream.id}"))
    _text(entry, "title", title if visible(title) else "Without words")
    _text(entry, "published", _time(_ended(dream)))
    _text(entry, "updated", _time(_ended(dream)))
    author = ElementTree.SubElement(entry, _tag("author"))
    _text(author, "name", dream.person.name if visible(dream.person.name) else _NOBODY)
    _link(entry, "alternate", address(f"/d/{dream.id}"), "text/html")
    enclosure = _link(entry, "enclosure", address(picture), "image/png")
    enclosure.set("length", str(dream.image.size_bytes))
    words = escape(_NOT_IN_XML.sub("", dream.prompt))
    content = _text(
        entry,
        "content",
        f'<p><a href="{escape(address(f"/d/{dream.id}"))}">'
        f'<img src="{escape(address(thumbnail))}" alt="{words}"></a></p><p>{words}</p>',
    )
    content.set("type", "html")


def _ended(dream: Dream) -> int:
    return dream.created_ms if dream.ended_ms is None else dream.ended_ms


def _urn(name: str) -> str:
    return uuid.uuid5(_IDS, name).urn


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")


def _link(
    parent: ElementTree.Element, relation: str, href: str, media_type: str
) -> ElementTree.Element:
    return ElementTree.SubElement(
        parent, _tag("link"), {"rel": relation, "href": href, "type": media_type}
    )


def _text(parent: ElementTree.Element, name: str, text: str) -> ElementTree.Element:
    element = ElementTree.SubElement(parent, _tag(name))
    element.text = _NOT_IN_XML.sub("", text)
    return element


def _tag(name: str) -> str:
    return f"{{{_NAMESPACE}}}{name}"
