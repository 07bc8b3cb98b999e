"""Bundles: what they tell and leave out, that nothing typed is more than words, that they last."""

from __future__ import annotations

import asyncio
import re
import zipfile
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from PIL import Image as Pillow

from bot.errors import InvalidRequestError
from bot.model import Dream
from bot.parties.model import Stage
from bot.publish import building
from bot.publish.story import of_party
from bot.publish.texts import markdown
from bot.recipes import read_document
from tests.bot.test_parties import GUEST, HOST, THIRD, Room, room

NASTY = (
    "<script>alert(1)</script> **bold** [x](javascript:1) @everyone <@1> \"' | & www.example.com"
)


@pytest.fixture(autouse=True)
def no_film(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Leave films to the tests of films: each is a process of its own."""
    if "filmed" not in request.keywords:
        monkeypatch.setattr(building, "film_of", lambda *_: False)


class Page(HTMLParser):
    """What is in a page: its elements, where it leads, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def links(self) -> set[str]:
        return {
            str(attributes[name])
            for _, attributes in self.tags
            for name in ("href", "src", "poster")
            if attributes.get(name) is not None
        }


def check_pages(folder: Path) -> None:
    """Check that a bundle's pages run nothing, lead nowhere else, and can be read by all."""
    pages = sorted(folder.rglob("*.html"))
    assert pages
    for path in pages:
        page = Page(path.read_text(encoding="utf-8"))
        assert not {"script", "iframe", "object", "style", "base"} & {tag for tag, _ in page.tags}
        for tag, attributes in page.tags:
            assert not [name for name in attributes if name.startswith("on") or name == "style"]
            if tag == "img":
                assert attributes.get("alt"), path
        assert page.all("html") == [{"lang": "en"}]
        assert len(page.all("h1")) == 1 and page.all("main") and page.all("title")
        levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
        assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))
        ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
        for link in page.links():
            if link.startswith("#"):
                assert link[1:] in ids, f"{path}: {link}"
            else:
                assert ":" not in link and not link.startswith("/"), f"{path}: {link}"
                assert (path.parent / unquote(link)).is_file(), f"{path}: {link}"


async def evening(r: Room) -> tuple[str, list[Dream]]:
    """Hold a party with words, two sketches and one that grew, votes and a hidden name."""
    party = await r.joined(GUEST, THIRD)
    await r.parties.associate(party, GUEST, "an empty bench")
    await r.parties.associate(party, THIRD, NASTY[:60])
    party = await r.parties.move(party, HOST, Stage.SKETCH)
    first = await r.drawn(party, GUEST, "an empty bench")
    second = await r.drawn(party, THIRD, NASTY)
    party = await r.parties.move(party, HOST, Stage.ELABORATE)
    child = await r.parties.grow(party, HOST, first.id, "in the snow")
    await r.s.draw(child.id, colour="#335577")
    child = await r.s.dreams.wait(child.id)
    party = await r.parties.move(party, HOST, Stage.CHOOSE)
    await r.parties.favour(party, GUEST, child.id)
    await r.parties.credit(party, THIRD.person, False)
    return party.id, [first, second, child]


async def test_a_bundle_tells_an_evening_to_anyone_and_leads_nowhere_else(tmp_path: Path) -> None:
    async with room(tmp_path) as r:
        party_id, (first, second, child) = await evening(r)
        record = await r.parties.record(await r.parties.get(party_id))
        into = tmp_path / "out"
        made = await asyncio.to_thread(
            building.bundle, of_party(record), r.s.library, into, whole=True
        )
        assert (made.pictures, made.left_out, made.film) == (3, 0, None)
        check_pages(into)
        index = Page(made.index.read_text(encoding="utf-8"))
        assert "loneliness" in index.text and "an empty bench, in the snow" in index.text
        assert "Cee" not in index.text and "Bob: guest, 1 picture" in index.text
        assert "<script>alert(1)</script>" in index.text  # as words
        grown = Page((into / "p" / "3.html").read_text(encoding="utf-8"))
        assert "1.html" in {link.rpartition("/")[2] for link in grown.links()}
        assert f"Seed: {child.recipe.seed}" in grown.text and "1 favourite" in grown.text
        with zipfile.ZipFile(made.originals) as archive:
            names = archive.namelist()
            assert [name[:3] for name in names if name.endswith(".png")] == ["001", "002", "003"]
            document = read_document(archive.read(names[0]))
            assert document is not None and document.recipe == first.recipe
            assert f"Seed: {first.recipe.seed}" in archive.read(names[1]).decode()
        assert made.whole is not None
        with zipfile.ZipFile(made.whole) as archive:
            there = {path.relative_to(into).as_posix() for path in into.rglob("*.*")}
            assert {name.partition("/")[2] for name in archive.namelist()} == there - {"whole.zip"}
        with Pillow.open(made.sheet) as sheet:
            assert sheet.width > 256
        assert second.person.name not in made.post.read_text(encoding="utf-8")


async def test_what_was_typed_is_nothing_but_words_in_the_post(tmp_path: Path) -> None:
    written = markdown("a\u202eb\n# @everyone <@1> [x](http://y) `z` https://q.example *b* _c_ ~d~")
    assert "\u202e" not in written and "\n" not in written
    plain = re.sub(r"\\[\W_]", "", written)  # without what is escaped
    assert not re.search(r"[#<>\[\]()`*_~:]|@\w|\w\.\w", plain)
    assert re.sub(r"\\(?=[\W_])", "", written).replace("\u200b", "") == (
        "ab # @everyone <@1> [x](http://y) `z` https://q.example *b* _c_ ~d~"
    )


async def test_pictures_that_are_gone_or_damaged_are_left_out_and_counted(tmp_path: Path) -> None:
    async with room(tmp_path) as r:
        party_id, (first, second, child) = await evening(r)
        record = await r.parties.record(await r.parties.get(party_id))
        assert first.image is not None and second.image is not None and child.image is not None
        r.s.library.path(first.image.sha256).unlink()
        r.s.library.path(second.image.sha256).write_bytes(b"\x89PNG no more")
        into = tmp_path / "out"
        made = building.bundle(of_party(record), r.s.library, into)
        assert (made.pictures, made.left_out) == (1, 2)
        check_pages(into)
        assert "2 pictures were missing or damaged" in made.index.read_text(encoding="utf-8")
        r.s.library.path(child.image.sha256).unlink()
        with pytest.raises(InvalidRequestError, match="none of the pictures"):
            building.bundle(of_party(record), r.s.library, tmp_path / "none")
        assert not (tmp_path / "none").exists()
        with pytest.raises(InvalidRequestError, match="not empty"):
            building.bundle(of_party(record), r.s.library, into)
        assert {path.name for path in tmp_path.glob(".part-*")} == set()
