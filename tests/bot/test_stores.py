"""What a store of objects must do for a library: asked of the fake one, and of a real one.

The real one is named by the environment, as ``http://host:port/bucket`` or ``https://host/bucket``
in `DREAMSTREAM_TEST_S3`, with its key in `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` and its
region, if it has one, in `AWS_REGION`. Each test works below a prefix of its own there, and removes
what it left.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bot.blob_cache import BlobCache
from bot.blobs import FILES, PLACES, Blobs, FolderBlobs, UnreachableError, file_key, picture_key
from bot.config import LibraryPlace
from bot.errors import ConfigError, DiskError
from bot.library import Library
from bot.library_move import move
from bot.library_place import FOLDER, open_objects, placed
from bot.object_blobs import ObjectBlobs, Objects
from generation.protocol import Recipe
from tests.bot.drawer import png
from tests.fakes import s3
from tests.fakes.http import Spoils, relay

VARIABLE = "DREAMSTREAM_TEST_S3"
DATA = b"some bytes"
KEY = file_key(hashlib.sha256(DATA).hexdigest())
RECIPE = Recipe(engine="clip", model="m", prompt="a fox", width=64, height=48, steps=9, seed=1)


@dataclass(frozen=True)
class Served:
    """A store, and a prefix of it that is this test's; a page of its listings has so many."""

    url: str
    bucket: str
    region: str
    page: int
    prefix: str = field(default_factory=lambda: f"dreamstream-test-{secrets.token_hex(8)}")

    @property
    def where(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"

    def objects(self, where: str = "") -> Objects:
        """Open it, as the library does."""
        where = where or self.where
        place = LibraryPlace(store=where, endpoint=self.url, region=self.region)
        return open_objects(where, place, answer_s=20, retries=1)

    def blobs(self, folder: Path, where: str = "") -> ObjectBlobs:
        """Open it with copies in a folder."""
        cache = BlobCache(folder, 10**7)
        return ObjectBlobs(self.objects(where), cache, where or self.where, rest_s=0)

    def paths(self) -> set[str]:
        """Return what is there at all."""
        bucket = self.objects(f"s3://{self.bucket}")
        pages = bucket.list(self.prefix)
        return {one["path"].removeprefix(f"{self.prefix}/") for page in pages for one in page}


@pytest.fixture(params=["fake", "real"])
def served(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    if request.param == "fake":
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.KEY)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.SECRET)
        with s3.fake_s3() as fake:
            yield Served(fake.url, s3.BUCKET, s3.REGION, s3.PAGE)
        return
    if not (named := os.environ.get(VARIABLE)):
        pytest.skip(f"{VARIABLE} names no store to try; it would be like http://host:port/bucket")
    url = urlsplit(named)
    real = Served(
        f"{url.scheme}://{url.netloc}",
        url.path.strip("/"),
        os.environ.get("AWS_REGION", "us-east-1"),
        1000,
    )
    bucket = real.objects(f"s3://{real.bucket}")  # with the right keys, whatever the test does
    yield real
    with ThreadPoolExecutor(8) as threads:
        left = [one["path"] for page in bucket.list(real.prefix) for one in page]
        list(threads.map(bucket.delete, left))


def test_what_is_put_is_there_until_it_is_deleted(served: Served, tmp_path: Path) -> None:
    blobs, other = served.blobs(tmp_path / "one"), served.blobs(tmp_path / "other")
    kept = {
        file_key(hashlib.sha256(data).hexdigest()): data
        for data in (b"", *(bytes([number]) * 10**number for number in range(6)))
    }
    for key, data in kept.items():
        assert blobs.size(key) is None
        blobs.put(key, data)
        assert blobs.size(key) == len(data)
    assert served.paths() == set(kept)
    sizes = {key: len(data) for key, data in kept.items()}
    assert {one.key: one.size_bytes for one in blobs.list(FILES)} == sizes
    assert list(blobs.list("images")) == []
    for key, data in kept.items():
        assert other.get(key) == other.raw(key) == other.local(key).read_bytes() == data
        blobs.delete(key)
        blobs.delete(key)
        with pytest.raises(FileNotFoundError):
            other.raw(key)
    blobs.probe()
    assert served.paths() == set()


def test_a_store_is_claimed_by_one_library_and_left(served: Served, tmp_path: Path) -> None:
    blobs, other = served.blobs(tmp_path / "one"), served.blobs(tmp_path / "other")
    assert (other.claim(None), blobs.claim("one"), other.claim("two")) == (None, "one", "one")
    with pytest.raises(DiskError, match="another Dreamstream"):
        other.put(KEY, DATA)
    assert served.paths() == {"library"}
    blobs.leave()
    assert other.claim("two") == "two"
    other.put(KEY, DATA)


def test_of_many_who_claim_a_store_at_once_one_has_it(served: Served, tmp_path: Path) -> None:
    many = [served.blobs(tmp_path / str(number)) for number in range(6)]
    at_once = threading.Barrier(len(many))

    def claim(number: int) -> str | None:
        at_once.wait(30)
        return many[number].claim(f"library {number}")

    with ThreadPoolExecutor(len(many)) as threads:
        found = set(threads.map(claim, range(len(many))))
    assert found == {many[0].claim(None)}


def test_a_listing_of_more_than_a_page_has_each_once(served: Served, tmp_path: Path) -> None:
    objects = served.objects()
    content = [b"%d" % number for number in range(served.page + 5)]
    keys = [file_key(hashlib.sha256(data).hexdigest()) for data in content]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda key: objects.put(key, DATA, use_multipart=False), keys))
    assert sorted(one.key for one in served.blobs(tmp_path).list(FILES)) == sorted(keys)


def test_what_a_store_refuses_is_a_sentence_without_its_secrets(
    served: Served,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    served.blobs(tmp_path).put(KEY, DATA)
    secret = os.environ["AWS_SECRET_ACCESS_KEY"]
    with monkeypatch.context() as patch:
        patch.setenv("AWS_SECRET_ACCESS_KEY", "another secret")
        stranger = served.blobs(tmp_path / "stranger")
    nowhere = served.blobs(tmp_path / "nowhere", f"s3://nowhere-{secrets.token_hex(8)}/a")
    for blobs, reason in ((stranger, "refuses the key"), (nowhere, "no such bucket")):
        for change in (
            lambda blobs=blobs: blobs.put(KEY, DATA),
            lambda blobs=blobs: blobs.delete(KEY),
            blobs.probe,
        ):
            with pytest.raises(DiskError, match=reason):
                change()
        for ask in (
            lambda blobs=blobs: blobs.raw(KEY),
            lambda blobs=blobs: blobs.claim("another"),
            lambda blobs=blobs: list(blobs.list(FILES)),
        ):
            with pytest.raises(UnreachableError, match=reason):
                ask()
    assert served.paths() == {KEY}
    assert "another secret" not in caplog.text and secret not in caplog.text
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(ConfigError, match="Set AWS_ACCESS_KEY_ID"):
        served.objects()


def test_what_is_spoilt_behind_our_back_is_given_to_nobody(served: Served, tmp_path: Path) -> None:
    blobs, other = served.blobs(tmp_path / "one"), served.blobs(tmp_path / "other")
    blobs.put(KEY, DATA)
    served.objects().put(KEY, b"x" * len(DATA), use_multipart=False)
    for read in (other.get, other.local):
        with pytest.raises(OSError, match="not what its name says"):
            read(KEY)
    blobs.put(KEY, DATA)
    assert other.get(KEY) == DATA
    served.objects().delete(KEY)
    with pytest.raises(FileNotFoundError):
        served.blobs(tmp_path / "third").get(KEY)
    assert other.get(KEY) == DATA, "of its copy"


def test_what_a_line_spoils_is_neither_kept_nor_given(served: Served, tmp_path: Path) -> None:
    with relay(served.url) as line:
        far = replace(served, url=line.url)
        blobs, other = far.blobs(tmp_path / "one"), far.blobs(tmp_path / "other")
        line.spoils = Spoils.SENT
        with pytest.raises(DiskError, match="did not reach the picture store as it was"):
            blobs.put(KEY, DATA)
        assert served.paths() == set(), "it was refused"
        line.spoils = Spoils.TOLD
        with pytest.raises(DiskError, match="does not answer"):
            blobs.put(KEY, DATA)
        assert served.paths() == {KEY}, "nobody knows that"
        line.spoils = None
        blobs.put(KEY, DATA)
        line.spoils = Spoils.GIVEN
        with pytest.raises(OSError, match="not what its name says"):
            other.get(KEY)
        line.spoils = Spoils.HALF
        assert other.get(KEY) == DATA, "the rest of it was asked for"


async def test_a_library_keeps_and_discards_there(served: Served, tmp_path: Path) -> None:
    blobs = served.blobs(tmp_path / "copies")
    await asyncio.to_thread(blobs.claim, "one")
    library = Library(tmp_path / "library", blobs=blobs)
    image = await library.keep(png(400, 200), RECIPE)
    assert await library.keep(png(400, 200), RECIPE) == image
    upload, plain = await library.keep_upload(png(colour="blue"))
    await library.probe()
    there = {"library", picture_key(image.sha256), picture_key(upload)}
    assert await asyncio.to_thread(served.paths) == there
    again = Library(tmp_path / "again", blobs=served.blobs(tmp_path / "more copies"))
    assert hashlib.sha256(await again.read(image.sha256)).hexdigest() == image.sha256
    assert await again.read(upload) == plain
    await library.let_go(upload, named=False)
    for _ in range(2):
        await library.let_go(image.sha256, named=True)

    async def unnamed() -> bool:
        return False

    assert await library.discard(image.sha256, unnamed)
    assert await asyncio.to_thread(served.paths) == {"library"}
    library.close()
    again.close()


def test_a_library_moves_there_and_back(served: Served, tmp_path: Path) -> None:
    folder = FolderBlobs(tmp_path)
    content = {}
    for number in range(3 * s3.PAGE):
        data = b"%d" % number * 1000
        key = (picture_key if number % 2 else file_key)(hashlib.sha256(data).hexdigest())
        content[key] = data
        folder.put(key, data)

    def open_blobs(where: str) -> Blobs:
        return folder if where == FOLDER else served.blobs(tmp_path / "cache", where)

    moved = move(tmp_path, served.where, open_blobs)
    assert (moved.files, moved.left, placed(tmp_path)) == (len(content), [], served.where)
    assert served.paths() == {*content, "library"}
    assert [one for place in PLACES for one in folder.list(place)] == []
    moved = move(tmp_path, FOLDER, open_blobs)
    assert (moved.files, moved.left, placed(tmp_path)) == (len(content), [], FOLDER)
    assert served.paths() == set(), "it is nobody's any more"
    there = {one.key: folder.get(one.key) for place in PLACES for one in folder.list(place)}
    assert there == content
