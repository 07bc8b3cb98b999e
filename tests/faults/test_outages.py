"""A store of pictures that does not answer for a while: nothing is taken for lost, or given up."""

from __future__ import annotations

import asyncio
import zipfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from bot.blob_cache import BlobCache
from bot.blobs import FolderBlobs, file_key, picture_key
from bot.checking.reviews import MAX_TRIES
from bot.delivery.card import GALLERY
from bot.delivery.faces import NOT_KEPT, Faces, Room
from bot.errors import NotFoundError, OutOfReachError
from bot.library import Library, UnreadableError
from bot.model import Dream, DreamState, PictureCheck
from bot.object_blobs import ObjectBlobs
from bot.privacy.exporting import Exports
from bot.removal import Removal
from bot.store import picture_checks
from bot.unfinished import GIVEN_UP, MISSED
from bot.wall.errors import status_of
from tests.bot.drawer import ANN, Services, png, request, services, until
from tests.bot.test_object_blobs import Faulty, silent, until_none
from tests.bot.test_picture_checks import Checked
from tests.bot.test_search import draw
from tests.bot.test_seeing import Colours
from tests.discord_front.world import front_of


@dataclass
class Remote:
    """Services whose pictures lie in a store: of all but the last one used, there alone."""

    parts: Services
    store: Faulty
    cache: BlobCache

    def spoil(self, key: str) -> None:
        self.store.memory.put(key, b"spoilt")
        self.cache.drop(key)

    def withhold(self, key: str) -> None:
        self.store.withheld.add(key)
        self.cache.drop(key)

    def lose(self, key: str) -> None:
        self.store.memory.delete(key)
        self.cache.drop(key)

    def fall_silent(self, *whats: str) -> None:
        self.store.fault = silent(*whats)

    def answer(self) -> None:
        self.store.fault = lambda what: None

    async def dream(self) -> Dream:
        (dream,) = await self.parts.dreams.ask(request())
        await self.parts.draw(dream.id)
        return await self.parts.dreams.wait(dream.id)


@asynccontextmanager
async def remote(folder: Path) -> AsyncIterator[Remote]:
    store = Faulty()
    cache = BlobCache(folder / "library" / "cache", 0, young_s=0)
    blobs = ObjectBlobs(store, cache, "s3://tests", rest_s=0, copies_new=False)
    library = Library(folder / "library", blobs=blobs)
    async with services(folder, library=library) as parts:
        yield Remote(parts, store, cache)


async def test_a_dream_that_starts_from_a_picture_waits_for_it(tmp_path: Path) -> None:
    async with remote(tmp_path) as there:
        parts = there.parts
        parts.drawer.up = False
        (dream,) = await parts.dreams.ask(request(init=png(), strength=0.5))
        there.fall_silent()
        await parts.up()
        await asyncio.sleep(0.2)  # three times as long as all tries again would take
        assert "picture store does not answer" in (parts.dreams.refusing or "")
        assert not (await parts.dreams.get(dream.id)).state.final
        live = parts.dreams.live(dream.id)
        assert live is not None and live.notice == MISSED
        there.answer()
        await until(lambda: dream.id in parts.drawer.jobs)
        live = parts.dreams.live(dream.id)
        assert live is not None and live.notice == ""
        await parts.draw(dream.id)
        assert (await parts.dreams.wait(dream.id)).state is DreamState.DONE


@pytest.mark.parametrize("spoil", [Remote.spoil, Remote.withhold])
async def test_one_that_cannot_be_had_is_given_up_and_keeps_nobody_waiting(
    tmp_path: Path, spoil: Callable[[Remote, str], None]
) -> None:
    async with remote(tmp_path) as there:
        parts = there.parts
        parts.drawer.up = False
        (dream,) = await parts.dreams.ask(request(init=png(), strength=0.5))
        assert dream.recipe.init_sha256 is not None
        spoil(there, picture_key(dream.recipe.init_sha256))
        await parts.up()
        ended = await parts.dreams.wait(dream.id)
        assert ended.reason == "The picture that this dream starts from cannot be read."
        assert parts.dreams.refusing is None


@pytest.mark.parametrize("at_once", [True, False])
async def test_one_that_is_never_had_of_a_store_that_is_else_well_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    monkeypatch.setattr("bot.unfinished.MOST_MISSED", 3)
    monkeypatch.setattr("bot.unfinished.MISSED_FOR_S", 0.0 if at_once else 3600.0)
    monkeypatch.setattr("bot.unfinished.LONGEST_MISSED_S", 0.02)
    async with remote(tmp_path) as there:
        parts = there.parts
        parts.drawer.up = False
        (dream,) = await parts.dreams.ask(request(init=png(), strength=0.5))
        assert dream.recipe.init_sha256 is not None
        # An archive has taken the oldest objects: also the one that says whose the store is.
        there.withhold("library")
        there.withhold(picture_key(dream.recipe.init_sha256))
        begun = len(there.store.asked)
        await parts.up()
        if at_once:
            ended = await parts.dreams.wait(dream.id)
            assert (ended.state, ended.reason) == (DreamState.FAILED, GIVEN_UP)
            assert parts.dreams.refusing is None
            return
        refusing = set[str | None]()
        async with asyncio.timeout(10):
            while there.store.asked[begun:].count("put") <= 4:  # trials that went well
                refusing.add(parts.dreams.refusing)
                await asyncio.sleep(0.005)
        assert refusing == {None}  # one picture is no outage: others go on asking
        assert not (await parts.dreams.get(dream.id)).state.final
        parts.drawer.up = False
        await asyncio.sleep(0.1)  # longer than until it is tried again: nothing was read
        live = parts.dreams.live(dream.id)
        assert live is not None and live.notice == MISSED
        # In an outage it waits like all else, and what is missed then does not count.
        there.fall_silent()
        await parts.up()
        await until(lambda: parts.dreams.refusing is not None)
        there.answer()
        await until(lambda: parts.dreams.refusing is None)
        there.store.withheld.clear()
        await parts.draw(dream.id)
        assert (await parts.dreams.wait(dream.id)).state is DreamState.DONE


async def test_no_look_at_a_picture_is_counted_meanwhile(tmp_path: Path) -> None:
    async with remote(tmp_path) as there:
        checked = Checked(there.parts, PictureCheck.SPOILER)
        checked.eyes.broken = True
        dream = await checked.dream()
        checked.eyes.broken = False
        there.fall_silent()
        for _ in range(MAX_TRIES + 1):
            with pytest.raises(OutOfReachError):
                await checked.reviews.look_again()
        there.answer()
        assert await checked.reviews.look_again() == 1
        assert (await there.parts.dreams.get(dream.id)).veil is None
        assert not await picture_checks.unchecked(there.parts.store, MAX_TRIES, 9)


async def test_a_picture_that_alone_is_not_given_keeps_no_other_from_being_looked_at(
    tmp_path: Path,
) -> None:
    async with remote(tmp_path) as there:
        checked = Checked(there.parts, PictureCheck.SPOILER)
        checked.eyes.broken = True
        withheld, other = [await checked.dream() for _ in range(2)]
        checked.eyes.broken = False
        first, *_ = await picture_checks.unchecked(there.parts.store, MAX_TRIES, 9)
        assert (first.dream_id, first.original_sha256) == (withheld.id, first.original_sha256)
        assert first.original_sha256 is not None
        there.withhold(picture_key(first.original_sha256))
        assert await checked.reviews.look_again() == 1
        assert (await there.parts.dreams.get(other.id)).veil is None
        for _ in range(MAX_TRIES):
            await checked.reviews.look_again()
        assert not await picture_checks.unchecked(there.parts.store, MAX_TRIES, 9)


@pytest.mark.parametrize("gone", [False, True])
async def test_nor_does_one_that_was_lost_or_cannot_be_had(tmp_path: Path, gone: bool) -> None:
    async with remote(tmp_path) as there:
        checked = Checked(there.parts, PictureCheck.SPOILER)
        checked.eyes.broken = True
        absent, other = [await checked.dream() for _ in range(2)]
        checked.eyes.broken = False
        first, *_ = await picture_checks.unchecked(there.parts.store, MAX_TRIES, 9)
        assert first.dream_id == absent.id and first.original_sha256 is not None
        key = picture_key(first.original_sha256)
        if gone:
            there.lose(key)
            assert await checked.reviews.look_again() == 1
        else:
            there.withhold("library")  # nothing says that the store gives others
            there.withhold(key)
            for _ in range(MAX_TRIES + 1):
                with pytest.raises(OutOfReachError):
                    await checked.reviews.look_again()
            there.store.withheld.clear()
            assert await checked.reviews.look_again() == 1  # of that no try was counted
        assert (await there.parts.dreams.get(other.id)).veil is None


async def test_so_many_that_cannot_be_had_keep_no_other_from_being_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.checking.reviews._PAGE", 2)
    async with remote(tmp_path) as there:
        checked = Checked(there.parts, PictureCheck.SPOILER)
        checked.eyes.broken = True
        for _ in range(3):
            await checked.dream()
        checked.eyes.broken = False
        *absent, other = await picture_checks.unchecked(there.parts.store, MAX_TRIES, 9)
        there.withhold("library")
        for check in absent:
            there.withhold(picture_key(check.original_sha256 or ""))
        with pytest.raises(OutOfReachError):
            await checked.reviews.look_again()
        assert await checked.reviews.look_again() == 1
        assert (await there.parts.dreams.get(other.dream_id)).veil is None
        there.store.withheld.clear()
        assert await checked.reviews.look_again() == 2


@pytest.mark.parametrize("fault", ["withheld", "lost", "unreachable", "slow"])
async def test_what_one_picture_is_not_found_for_keeps_no_other_from_being_found(
    tmp_path: Path, fault: str
) -> None:
    async with remote(tmp_path) as there:
        parts = there.parts
        parts.drawer.perceptors = ("colours",)
        parts.drawer.embed = Colours().embed  # type: ignore[method-assign]
        absent, *_ = [await draw(parts, "blue") for _ in range(3)]
        image = (await parts.dreams.wait(absent)).image
        assert image is not None
        key = picture_key(image.sha256)
        there.cache.drop(key)
        match fault:
            case "withheld":
                there.withhold(key)
            case "lost":
                there.lose(key)
            case "unreachable":
                there.withhold("library")
                there.withhold(key)
            case "slow":
                there.store.slow = {key: 0.3}
        await parts.looker.start()
        theme = await parts.themes.get("open")
        await draw(parts, "blue")

        def found() -> int:
            shelf = parts.looker.shelf(theme.id)
            return 0 if shelf is None else len(shelf)

        await until(lambda: found() >= 3)
        if fault in ("unreachable", "slow"):  # it is come back to
            there.store.withheld.clear()
            await until(lambda: found() == 4)
        await until(lambda: parts.looker.complete)
        assert found() == (4 if fault in ("unreachable", "slow") else 3)


async def test_no_card_says_that_its_picture_is_lost(tmp_path: Path) -> None:
    async with remote(tmp_path) as there:
        dream = await there.dream()
        assert dream.image is not None
        faces = Faces(front_of(there.parts))
        there.fall_silent()
        with pytest.raises(OutOfReachError):
            await faces.of(dream.id, [dream.id], Room())
        there.answer()
        face = await faces.of(dream.id, [dream.id], Room())
        assert face is not None and face.shown[0].picture is not None
        there.spoil(picture_key(dream.image.sha256))
        face = await faces.of(dream.id, [dream.id], Room())
        assert face is not None and face.shown[0].note == NOT_KEPT


async def test_no_sheet_is_made_without_a_picture_that_is_there(tmp_path: Path) -> None:
    async with remote(tmp_path) as there:
        dreams = [await there.dream() for _ in range(GALLERY + 1)]
        for path in (tmp_path / "library" / "thumbnails").rglob("*.webp"):
            path.unlink()
        faces, ids = Faces(front_of(there.parts)), [dream.id for dream in dreams]
        there.fall_silent()
        with pytest.raises(OutOfReachError):
            await faces.of(ids[0], ids, Room())
        there.answer()
        face = await faces.of(ids[0], ids, Room())
        assert face is not None and face.sheets


async def test_no_copy_of_ones_own_is_finished_without_its_pictures(tmp_path: Path) -> None:
    async with remote(tmp_path) as there:
        dream = await there.dream()
        exports = Exports(
            there.parts.store, there.parts.library, tmp_path / "exports", reserve_bytes=0
        )
        await exports.start()
        there.fall_silent()
        with pytest.raises(OutOfReachError):
            await exports.make(ANN)
        there.answer()
        made = await exports.make(ANN)  # at once: the one that failed does not count
        with zipfile.ZipFile(made.path) as found:
            assert f"pictures/{dream.id}.png" in found.namelist()
        assert dream.image is not None
        there.withhold(picture_key(dream.image.sha256))
        later = Exports(there.parts.store, there.parts.library, tmp_path / "later", reserve_bytes=0)
        await later.start()
        made = await later.make(ANN)
        with zipfile.ZipFile(made.path) as found:
            assert f"pictures/{dream.id}.png" not in found.namelist()
        for one in (exports, later):
            await one.stop()


async def test_the_wall_says_later_and_not_never(tmp_path: Path) -> None:
    async with remote(tmp_path) as there:
        dream = await there.dream()
        assert dream.image is not None
        there.fall_silent()
        with pytest.raises(OutOfReachError) as caught:
            await there.parts.library.local(dream.image.sha256)
        assert not isinstance(caught.value, NotFoundError) and status_of(caught.value) == 503


async def test_what_was_kept_for_nothing_goes_once_the_store_answers(tmp_path: Path) -> None:
    async with remote(tmp_path) as there:
        parts, library = there.parts, there.parts.library
        removal = Removal(parts.store, library, again_s=0.02)
        await removal.start()
        refused, _ = await library.keep_upload(png())
        taken, _ = await library.keep_upload(png(colour="blue"))
        there.fall_silent("delete")
        await library.let_go(refused, named=False)
        await library.let_go(taken, named=False)
        # Meanwhile somebody else brings the second, and has a dream of it.
        (dream,) = await parts.dreams.ask(request(init=png(colour="blue"), strength=0.5))
        assert dream.recipe.init_sha256 == taken
        await asyncio.sleep(0.05)
        assert library.blobs.size(picture_key(refused)) is not None
        there.answer()
        await until(lambda: library.blobs.size(picture_key(refused)) is None)
        await until_none(parts.store, "SELECT * FROM doomed_file")
        assert library.blobs.size(picture_key(taken)) is not None
        assert await library.left_held() == []
        await removal.stop()


async def test_a_picture_that_comes_back_heals_the_damaged_one(tmp_path: Path) -> None:
    async with remote(tmp_path) as there:
        parts, dream = there.parts, await there.dream()
        assert dream.image is not None
        whole = await parts.library.read(dream.image.sha256)
        there.spoil(picture_key(dream.image.sha256))
        with pytest.raises(UnreadableError, match="not what its name says"):
            await parts.library.read(dream.image.sha256)
        (second,) = await parts.dreams.ask(request(init=whole, strength=0.5))
        assert parts.dreams.refusing is None
        assert second.recipe.init_sha256 == dream.image.sha256
        assert await parts.library.read(dream.image.sha256) == whole


def test_a_file_that_cannot_be_read_is_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs, key = FolderBlobs(tmp_path), file_key("ab" * 32)
    blobs.put(key, b"damaged")

    def unreadable(path: Path) -> bytes:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", unreadable)
        blobs.put(key, b"whole")
    assert blobs.get(key) == b"whole"
