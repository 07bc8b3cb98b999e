"""The feed is read back as a feed reader does."""

from __future__ import annotations

from datetime import datetime
from xml.etree import ElementTree

from bot.atom import feed
from bot.model import Dream, DreamState, Image, Person, Theme
from generation.protocol import Recipe

ATOM = "{http://www.w3.org/2005/Atom}"
THEME = Theme(id=7, slug="planets", title="Far & near <b>", topic="", created_ms=1_700_000_000_000)


def dream(dream_id: str, prompt: str, ended_ms: int, name: str = "Ada") -> Dream:
    return Dream(
        id=dream_id,
        ask_id="a",
        theme_id=7,
        person=Person("guest:ada", name),
        prompt=prompt,
        recipe=Recipe(
            engine="diffusion", model="m", prompt=prompt, width=8, height=8, steps=1, seed=1
        ),
        state=DreamState.DONE,
        image=Image(sha256="0" * 64, width=8, height=8, size_bytes=321),
        created_ms=1_700_000_000_000,
        ended_ms=ended_ms,
    )


def read(*dreams: Dream, host: str = "https://wall.example") -> ElementTree.Element:
    data = feed(
        THEME,
        dreams,
        lambda path: host + path,
        picture=lambda dream: f"/i/{dream.id}.png?d=1&x",
        thumbnail=lambda dream: f"/t/{dream.id}.webp?d=1&x",
    )
    return ElementTree.fromstring(data)


def one(parent: ElementTree.Element, name: str) -> ElementTree.Element:
    found = parent.findall(ATOM + name)
    assert len(found) == 1, name
    return found[0]


def links(parent: ElementTree.Element) -> dict[str, dict[str, str]]:
    return {link.attrib["rel"]: link.attrib for link in parent.findall(ATOM + "link")}


def test_a_feed_has_all_that_the_standard_asks_for() -> None:
    root = read(dream("d2", "two <moons> & a fox", 2_000), dream("d1", "one", 9_500))
    assert root.tag == ATOM + "feed"
    assert one(root, "title").text == "Far & near <b>"
    assert (one(root, "id").text or "").startswith("urn:uuid:")
    # Of whatever came last, which need not be what was asked for last.
    assert datetime.fromisoformat(one(root, "updated").text or "").timestamp() == 9.5
    assert links(root)["self"]["href"] == "https://wall.example/s/planets/feed.atom"
    first, second = root.findall(ATOM + "entry")
    assert one(first, "title").text == "two <moons> & a fox"
    assert one(one(first, "author"), "name").text == "Ada"
    assert datetime.fromisoformat(one(first, "updated").text or "").timestamp() == 2
    assert links(first)["alternate"]["href"] == "https://wall.example/d/d2"
    enclosure = links(first)["enclosure"]
    assert (enclosure["href"], enclosure["type"], enclosure["length"]) == (
        "https://wall.example/i/d2.png?d=1&x",
        "image/png",
        "321",
    )
    content = one(first, "content")
    assert content.attrib["type"] == "html"
    assert "<p>two &lt;moons&gt; &amp; a fox</p>" in (content.text or "")
    assert one(first, "id").text != one(second, "id").text


def test_ids_stay_where_the_wall_moves() -> None:
    here, there = (
        read(dream("d1", "one", 2_000), host=host) for host in ("http://a:1", "https://b")
    )
    assert one(here, "id").text == one(there, "id").text
    assert one(one(here, "entry"), "id").text == one(one(there, "entry"), "id").text


def test_what_xml_cannot_say_is_left_out() -> None:
    entry = one(read(dream("d1", "a\x0bfox\x00\ud800", 2_000, name="\x00")), "entry")
    assert one(entry, "title").text == "a fox"
    assert one(one(entry, "author"), "name").text == "somebody"


def test_a_feed_without_pictures_and_a_picture_without_words() -> None:
    empty = read()
    assert datetime.fromisoformat(one(empty, "updated").text or "").timestamp() == 1_700_000_000
    assert empty.findall(ATOM + "entry") == []
    assert one(one(read(dream("d1", "", 2_000)), "entry"), "title").text == "Without words"
