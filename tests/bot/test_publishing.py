"""Bundles: what they tell and leave out, that nothing typed is more than words, that they last."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import re
import threading
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from aiohttp import ClientSession
from msgspec.structs import replace
from PIL import Image as Pillow
from yarl import URL

from bot.__main__ import main
from bot.errors import ForbiddenError, InvalidRequestError, NotFoundError
from bot.files import disk_sentences
from bot.model import Dream, Visibility
from bot.parties.model import FinalePicture, Party, Record, Stage, Standing
from bot.parties.reading import SOMEBODY
from bot.publish import building, film, pages
from bot.publish.model import FILM, WHOLE, Entry, Story
from bot.publish.service import Publishing
from bot.publish.story import of_days, of_party
from bot.publish.texts import markdown
from bot.recipes import read_document
from bot.rights import Actor
from bot.store import favourites, people
from bot.wall import Wall, WallSettings
from bot.wall.party.evening import Evenings
from tests.bot.drawer import ANN, request, services, until
from tests.bot.test_parties import GUEST, HOST, THIRD, Room, room, until_async
from tests.bot.test_unattended import counted

NASTY = (
    "<script>alert(1)</script> **bold** [x](javascript:1) @everyone <@1> \"' | & www.example.com"
)


@pytest.fixture(autouse=True)
def no_film(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave films to the test of films: each is a process of its own."""
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
        assert all(after <= before + 1 for before, after in pairwise(levels))
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


def test_a_bundle_of_a_machine_without_a_clock_can_be_packed(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("an evening", encoding="utf-8")
    os.utime(tmp_path / "page.html", (60, 60))
    building._whole(tmp_path, lambda: None)
    with zipfile.ZipFile(tmp_path / WHOLE) as archive:
        assert archive.getinfo("bundle/page.html").date_time[0] == 1980


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
        assert not await asyncio.to_thread(lambda: list(tmp_path.glob(".part-*")))


async def test_a_stream_of_many_has_pages_and_the_most_liked_first(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        (dream,) = await s.dreams.ask(request("a red fox"))
        await s.draw(dream.id)
        dream = await s.dreams.wait(dream.id)
        theme = await s.themes.get("open")
        many = tuple(
            Entry(dream=replace(dream, id=f"{number:016d}"), likes=number == 77)
            for number in range(pages.ON_PAGE + 10)
        )
        deep = tuple(
            replace(entry, parent_id=many[number - 1].dream.id if number else None)
            for number, entry in enumerate(many)
        )
        story = Story(title=NASTY, topic="", when="today", theme=theme, entries=deep)
        into = tmp_path / "out"
        made = building.bundle(story, s.library, into)
        assert made.pictures == len(many)
        check_pages(into)
        assert len(Page((into / "pictures-2.html").read_text(encoding="utf-8")).all("img")) == 10
        assert {path.name for path in into.glob("sheet*")} == {"sheet.webp", "sheet-2.webp"}


async def test_a_day_holds_what_was_asked_for_on_it_and_no_name_of_who_hides(
    tmp_path: Path,
) -> None:
    async with services(tmp_path) as s:
        theme = await s.themes.get("open")
        asked = [(await s.dreams.ask(request(words)))[0] for words in ("a fox", "a hare", "a cat")]
        for number, dream in enumerate(asked):
            await s.draw(dream.id, colour=f"#{number:02x}4488")
            await s.dreams.wait(dream.id)
        async with s.store.write() as connection:
            await favourites.put(connection, [asked[1].id], ANN.id, 1)
        await s.dreams.delete(asked[2].id, Actor(ANN))
        today = datetime.now(UTC).date()
        story = await of_days(s.store, theme, today, today)
        assert [entry.dream.prompt for entry in story.entries] == ["a hare", "a fox"]
        assert story.entries[0].likes == 1 and story.entries[0].dream.person == ANN
        async with s.store.write() as connection:
            await people.set_publishes(connection, ANN.id, publishes=False)
        story = await of_days(s.store, theme, None, None)
        assert {entry.dream.person.name for entry in story.entries} == {""}
        before = await of_days(s.store, theme, None, today - timedelta(days=1))
        after = await of_days(s.store, theme, today + timedelta(days=1), None)
        assert before.entries == () == after.entries


async def test_the_host_has_a_bundle_made_and_a_deleted_dream_is_in_none(tmp_path: Path) -> None:
    async with room(tmp_path) as r:
        party_id, (first, _, child) = await evening(r)
        publishing = r.s.publishing
        await publishing.start()
        with pytest.raises(ForbiddenError, match="Only the host"):
            await publishing.make(party_id, GUEST)
        with pytest.raises(NotFoundError):
            await publishing.make("0" * 16, HOST)
        assert await publishing.bundle_of(party_id) is None
        await publishing.make(party_id, HOST)
        assert publishing.making(party_id)
        made = await publishing.wait(party_id)
        assert made == await publishing.bundle_of(party_id)
        assert made.pictures == 3 and made.whole is not None
        home = made.folder.parent
        await until(
            lambda: {path.name for path in home.iterdir()} == {"bundle.json", made.folder.name}
        )

        publishing.changed("0" * 16)  # of another party: nothing is made anew
        publishing.changed(first.id)
        await until(lambda: publishing.making(party_id))
        anew = await publishing.wait(party_id)
        assert anew.folder != made.folder and anew.told == made.told
        await until(lambda: not made.folder.exists())

        await r.s.dreams.delete(child.id, HOST)
        await until(lambda: not anew.folder.exists())
        again = await publishing.wait(party_id)
        assert again.pictures == 2 and child.id not in again.told.dream_ids
        assert "in the snow" not in again.index.read_text(encoding="utf-8")

        await r.parties.credit(await r.parties.get(party_id), GUEST.person, False)
        publishing._checked.clear()
        assert await publishing.bundle_of(party_id) is None
        unnamed = await publishing.wait(party_id)
        assert "Bob" not in unnamed.index.read_text(encoding="utf-8")
        assert first.id in unnamed.told.dream_ids


async def test_asking_for_a_bundle_waits_for_none_that_is_being_made(tmp_path: Path) -> None:
    async with room(tmp_path) as r:
        party_id, _ = await evening(r)
        publishing = r.s.publishing
        going = threading.Event()
        busy = asyncio.create_task(publishing._run(going.wait, 30))
        try:
            async with asyncio.timeout(10):
                await publishing.make(party_id, HOST)
            assert publishing.making(party_id) and not busy.done()
            assert (tmp_path / "library" / "bundles" / party_id / "wanted").exists()
        finally:
            going.set()
            await busy
        assert (await publishing.wait(party_id)).pictures == 3


async def test_what_is_asked_for_as_another_is_done_is_noted_until_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with room(tmp_path) as r:
        party_id, _ = await evening(r)
        publishing = r.s.publishing
        ending, going = threading.Event(), threading.Event()
        done_with = publishing._shelf.done_with

        def slowly(party_id: str) -> None:
            ending.set()
            going.wait(30)
            done_with(party_id)

        monkeypatch.setattr(publishing._shelf, "done_with", slowly)
        await publishing.make(party_id, HOST)
        await asyncio.to_thread(ending.wait, 30)
        asked = asyncio.create_task(publishing.make(party_id, HOST))
        await asyncio.sleep(0.2)  # it comes as far as it can
        ending.clear()
        going.set()
        await asked
        # A process that died now would make it at its next start.
        assert publishing.making(party_id)
        assert (tmp_path / "library" / "bundles" / party_id / "wanted").exists()
        assert (await publishing.wait(party_id)).pictures == 3
        assert not (tmp_path / "library" / "bundles" / party_id / "wanted").exists()


async def test_a_start_waits_for_no_bundle_to_be_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with room(tmp_path) as r:
        party_id, (first, *_) = await evening(r)
        await r.s.publishing.make(party_id, HOST)
        made = await r.s.publishing.wait(party_id)
        going, record = asyncio.Event(), r.parties.record

        async def slow(party: Party) -> Record:
            await going.wait()
            return await record(party)

        monkeypatch.setattr(r.parties, "record", slow)
        await r.s.dreams.delete(first.id, GUEST)  # while nothing ran that looks after bundles
        later = Publishing(r.parties, r.s.library, r.s.feed)
        async with asyncio.timeout(10):
            await later.start()
        shown = asyncio.create_task(later.bundle_of(party_id))
        await asyncio.sleep(0.05)
        assert not shown.done(), "nobody sees it before it was looked at"
        going.set()
        assert await shown is None
        assert (await later.wait(party_id)).pictures == 2
        assert not made.folder.exists()
        await later.stop()


async def test_a_party_that_came_to_its_end_in_a_crash_gets_its_bundle(tmp_path: Path) -> None:
    async with room(tmp_path) as r:
        party_id, _ = await evening(r)
        party = await r.parties.move(await r.parties.get(party_id), HOST, Stage.PUBLISHED)
        empty = await r.opened()
        await r.parties.move(empty, HOST, Stage.PUBLISHED)
        for _ in range(2):  # and then the process died; the second start has nothing to do
            later = Publishing(r.parties, r.s.library, r.s.feed)
            await later.start()
            await until_async(lambda later=later: later.bundle_of(party_id))
            made = await later.wait(party_id)
            await later.stop()
        assert made.pictures == 3
        happened = await r.happened(party)
        assert happened.count("bundled") == 1 and happened[-1] == "bundled"
        assert "bundled" not in await r.happened(empty)


async def test_a_mistake_in_the_making_of_a_bundle_is_told_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("nobody foresaw this")

    monkeypatch.setattr("bot.publish.service.bundle", fail)
    before = counted("bundles")
    async with room(tmp_path) as r:
        party_id, _ = await evening(r)
        await r.s.publishing.make(party_id, HOST)
        with pytest.raises(NotFoundError, match="could not be made"):
            await r.s.publishing.wait(party_id)
    assert counted("bundles") == before + 1


async def test_a_page_of_pictures_has_its_bundle_looked_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with room(tmp_path) as r:
        party_id, _ = await evening(r)
        publishing = r.s.publishing
        await publishing.make(party_id, HOST)
        made = await publishing.wait(party_id)
        looked: list[str] = []
        record = r.parties.record

        async def counted(party: Party) -> Record:
            looked.append(party.id)
            return await record(party)

        monkeypatch.setattr(r.parties, "record", counted)
        publishing._checked.clear()
        found = await asyncio.gather(*(publishing.bundle_of(party_id) for _ in range(60)))
        assert found == [made] * 60 and looked == [party_id]


async def test_what_was_asked_for_is_made_by_the_next_start(tmp_path: Path) -> None:
    async with room(tmp_path) as r:
        party_id, (first, *_) = await evening(r)
        publishing = r.s.publishing
        await r.s.library.run(publishing._shelf.want, party_id)  # and then the process died
        later = Publishing(r.parties, r.s.library, r.s.feed)
        await later.start()
        made = await later.wait(party_id)
        await later.stop()
        # Half a bundle, and one that tells what was deleted while nothing ran, are not shown.
        (made.folder.parent / "half").mkdir()
        await r.s.dreams.delete(first.id, GUEST)
        last = Publishing(r.parties, r.s.library, r.s.feed)
        await last.start()
        assert (await last.wait(party_id)).pictures == 2
        assert not made.folder.exists() and not (made.folder.parent / "half").exists()
        await last.stop()


async def test_a_full_disk_is_told_and_leaves_the_bundle_that_there_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with room(tmp_path) as r:
        party_id, _ = await evening(r)
        publishing = r.s.publishing
        await publishing.start()
        await publishing.make(party_id, HOST)
        made = await publishing.wait(party_id)

        def full(*_: object) -> None:
            with disk_sentences(tmp_path):
                raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(building, "_originals", full)
        await publishing.make(party_id, HOST)
        assert await publishing.wait(party_id) == made
        assert "disk is full" in publishing.trouble(party_id)
        assert made.index.is_file()


async def test_the_wall_shows_a_bundle_to_who_may_see_its_party(tmp_path: Path) -> None:
    async with room(tmp_path) as r:
        party_id, _ = await evening(r)
        await r.s.publishing.start()
        await r.s.publishing.make(party_id, HOST)
        await r.s.publishing.wait(party_id)
        wall = Wall(
            WallSettings(port=0),
            themes=r.s.themes,
            dreams=r.s.dreams,
            feed=r.s.feed,
            library=r.s.library,
            drawer=r.s.drawer,
            offspring=r.s.offspring,
            search=r.s.search,
            seeing=r.s.seeing,
            parties=r.parties,
            publishing=r.s.publishing,
        )
        url = await wall.start()
        try:
            async with ClientSession(base_url=url) as visitor:
                page = await visitor.get(f"/b/{party_id}")
                assert page.status == 200 and page.url.path == f"/b/{party_id}/"
                assert "loneliness" in await page.text()
                policy = page.headers["Content-Security-Policy"]
                assert policy.startswith("default-src 'none'") and "script" not in policy
                style = await visitor.get(f"/b/{party_id}/style.css")
                assert style.status == 200 and style.content_type == "text/css"
                zipped = await visitor.get(f"/b/{party_id}/originals.zip")
                assert zipped.headers["Content-Disposition"].startswith("attachment")
                assert zipfile.is_zipfile(io.BytesIO(await zipped.read()))
                for path in ("..%2fbundle.json", "%2e%2e/bundle.json", "p", "p/99.html", "%00"):
                    outside = await visitor.get(URL(f"/b/{party_id}/{path}", encoded=True))
                    assert outside.status == 404, path
                party = await r.parties.get(party_id)
                theme = await r.parties.theme_of(party)
                await r.s.themes.change(theme.slug, visibility=Visibility.PRIVATE)
                assert (await visitor.get(f"/b/{party_id}/")).status == 404
                assert (await visitor.get(f"/b/{party_id}/originals.zip")).status == 404
        finally:
            await wall.stop()


def test_a_film_shows_each_picture_as_it_formed(tmp_path: Path) -> None:
    import av

    files = []
    for number, colour in enumerate(("red", "green", "blue")):
        files.append(str(tmp_path / f"{number}.webp"))
        Pillow.new("RGB", (96, 64), colour).save(files[-1])
    forming = tmp_path / "forming.mp4"
    film.write([film.Shot(files[0]), film.Shot(files[1])], forming)
    shots = [
        film.Shot(files[0]),
        film.Shot(files[1], grew_of=files[0]),
        film.Shot(files[2], forming=str(forming)),
    ]
    into = tmp_path / FILM
    assert film.film_of(shots, into, lambda: False)
    with av.open(str(into)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (640, 426)
        frames: Iterator[Any] = container.decode(video=0)
        seen = [frame.to_image() for frame in frames]
    middles = [picture.getpixel((320, 213)) for picture in seen]
    assert middles[0][0] > 200 and middles[-1][2] > 200
    assert max(green for _, green, _ in middles[: len(middles) // 2]) > 100
    assert len(seen) > 3 * film._HOLD + film._LAST_HOLD
    assert not film.film_of([film.Shot(str(tmp_path / "none.webp"))] * 2, tmp_path / "x.mp4", bool)
    assert not (tmp_path / "x.mp4").exists()


async def test_the_command_makes_a_bundle_beside_a_running_bot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with room(tmp_path / "data") as r:
        party_id, _ = await evening(r)
        code = (await r.parties.get(party_id)).code
        (tmp_path / "config.toml").write_text(
            f"[storage]\ndata_dir = {str(tmp_path / 'data')!r}\n", encoding="utf-8"
        )

        async def publish(*arguments: str) -> int:
            given = ["publish", "--config", str(tmp_path / "config.toml"), *arguments]
            return await asyncio.to_thread(main, given)

        for name, into in ((party_id, "one"), (code.upper(), "two")):
            assert await publish("party", name, "--into", str(tmp_path / into), "--zip") == 0
            assert "3 pictures" in capsys.readouterr().out
            assert (tmp_path / into / "whole.zip").is_file()
        theme = await r.parties.theme_of(await r.parties.get(party_id))
        assert await publish("theme", theme.slug, "--into", str(tmp_path / "three")) == 0
        for wrong, why in (
            (("party", "12345678"), "No party takes this code"),
            (("theme", "open"), "no picture was finished"),
            (("theme", theme.slug, "--day", "tomorrow"), "write the day like"),
            (("theme", theme.slug, "--since", "2026-02-02", "--until", "2026-02-01"), "Swap"),
        ):
            assert await publish(*wrong, "--into", str(tmp_path / "four")) == 1
            assert why in capsys.readouterr().err
        assert not (tmp_path / "four").exists()


def test_that_others_were_preferred_is_no_vote_for_a_picture() -> None:
    lost = Standing(dream_id="1", place=10, score=-1.0, losses=1)
    assert pages.votes_of(lost) == "preferred in 0 of 1 comparison" and not pages.liked(lost)
    for one in ({"wins": 1}, {"points": 1}, {"favourites": 1}):
        assert pages.liked(replace(lost, **one))


async def test_what_the_finale_made_is_by_whose_picture_was_chosen(tmp_path: Path) -> None:
    async with room(tmp_path) as r:
        party_id, (first, second, _) = await evening(r)
        record = await r.parties.record(await r.parties.get(party_id))
        (node,) = [node for node in record.nodes if node.dream.id == first.id]
        large = replace(
            node,
            entry=replace(node.entry, dream_id="z" * 16, stage=Stage.FINALE),
            dream=replace(node.dream, id="z" * 16, person=ANN),
            parent_id=second.id,
        )
        chosen = FinalePicture(dream_id=second.id, redrawn_id=large.dream.id, done=True)
        record = replace(record, nodes=(*record.nodes, large), finale=(chosen,))
        story = of_party(record)
        assert [entry.dream.person.name for entry in story.entries] == ["Bob", "", "Ann", ""]
        into = tmp_path / "out"
        building.bundle(story, r.s.library, into)
        check_pages(into)
        told = Page((into / "index.html").read_text(encoding="utf-8")).text
        assert "It was picture 2" in told
        assert "of picture 2, drawn large" in told


async def test_a_finale_is_its_authors_wherever_it_is_published(tmp_path: Path) -> None:
    async with room(tmp_path) as r:
        party_id, (first, *_) = await evening(r)
        party = await r.parties.move(await r.parties.get(party_id), HOST, Stage.FINALE)
        chosen_id, made = first.id, []
        for colour in ("#102030", "#203040"):  # what the finale made may be chosen once more
            (picture,) = await r.parties.finale(party, HOST, [chosen_id])
            assert picture.redrawn_id is not None
            await r.s.draw(picture.redrawn_id, colour=colour)
            chosen_id = (await r.s.dreams.wait(picture.redrawn_id)).id
            made.append(chosen_id)
        assert (await r.s.dreams.existing(chosen_id)).person == HOST.person, "who had it drawn"
        theme = await r.parties.theme_of(party)
        now = await Evenings(r.parties, r.s.feed).now(party.id)
        assert {now.dreams[one].person for one in made} == {GUEST.person}
        for story in (
            of_party(await r.parties.record(party)),
            await of_days(r.s.store, theme, None, None),
        ):
            by = {entry.dream.id: entry.dream.person for entry in story.entries}
            assert {by[one] for one in made} == {GUEST.person}
        async with r.s.store.write() as connection:
            await people.set_publishes(connection, GUEST.person.id, publishes=False)
        story = await of_days(r.s.store, theme, None, None)
        by = {entry.dream.id: entry.dream.person for entry in story.entries}
        assert {by[one] for one in made} == {SOMEBODY}, "nor as whose who had it drawn"
