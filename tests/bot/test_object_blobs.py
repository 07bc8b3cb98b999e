"""Pictures in a store of objects: over real HTTP, and with every fault that one can have."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
from obstore import exceptions
from obstore.store import MemoryStore

from bot import doctor, library_place
from bot.backup.making import copy_entry
from bot.backup.model import Entry
from bot.blob_cache import BlobCache
from bot.blobs import Blobs, FolderBlobs, UnreachableError, file_key, picture_key
from bot.config import Config, LibraryPlace
from bot.errors import DiskError, NotFoundError, OutOfReachError
from bot.library import Library, UnreadableError
from bot.library_place import FOLDER, open_objects, placed
from bot.model import DreamState
from bot.object_blobs import ObjectBlobs, Objects
from bot.removal import Removal
from bot.rights import Actor
from bot.store import Store
from generation.protocol import Attachment, Recipe
from tests.bot.drawer import ANN, finished, png, request, services, until
from tests.fakes import s3

RECIPE = Recipe(engine="clip", model="m", prompt="a fox", width=64, height=48, steps=9, seed=1)
DATA = b"some bytes"
KEY = file_key(hashlib.sha256(DATA).hexdigest())


def files_under(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def paths_in(store: Faulty) -> list[str]:
    return sorted(one["path"] for page in store.memory.list() for one in page)


class Faulty:
    """A store in memory that fails as it is told to; what it withholds it gives to nobody."""

    def __init__(self) -> None:
        self.memory = MemoryStore()
        self.fault: Callable[[str], object] = lambda what: None
        self.after: Callable[[str], object] = lambda what: None
        self.asked: list[str] = []
        self.withheld: set[str] = set()
        self.slow: dict[str, float] = {}

    def __getattr__(self, what: str) -> Callable[..., Any]:
        real = getattr(self.memory, what)

        def call(*given: Any, **named: Any) -> Any:
            self.asked.append(what)
            self.fault(what)
            if what == "get" and given[0] in self.slow:
                time.sleep(self.slow[given[0]])
            if what == "get" and given[0] in self.withheld:
                raise exceptions.PermissionDeniedError("AccessDenied")
            found = real(*given, **named)
            self.after(what)
            return found

        return call


def silent(*whats: str) -> Callable[[str], None]:
    def fail(what: str) -> None:
        if not whats or what in whats:
            raise TimeoutError("nothing came")

    return fail


def blobs_of(store: Objects, folder: Path, most_bytes: int = 10**7, **named: Any) -> ObjectBlobs:
    return ObjectBlobs(store, BlobCache(folder, most_bytes), "s3://tests", rest_s=0, **named)


@pytest.fixture
def store() -> Faulty:
    return Faulty()


async def until_none(store: Store, sql: str) -> None:
    async with asyncio.timeout(10):
        while await store.read(sql):  # noqa: ASYNC110 - rows wake nobody
            await asyncio.sleep(0.01)


# --- over HTTP ---------------------------------------------------------------------------------


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[s3.FakeS3]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.SECRET)
    with s3.fake_s3() as served:
        yield served


def over_http(fake: s3.FakeS3, folder: Path, rest_s: float = 0) -> ObjectBlobs:
    where = f"s3://{s3.BUCKET}/a/b"
    place = LibraryPlace(store=where, endpoint=fake.url, region=s3.REGION)
    objects = open_objects(where, place, answer_s=1, retries=1)
    return ObjectBlobs(objects, BlobCache(folder, 10**7), where, rest_s=rest_s)


def test_a_store_that_fails_is_tried_again_a_bounded_time(fake: s3.FakeS3, tmp_path: Path) -> None:
    blobs = over_http(fake, tmp_path)
    fake.fail["PUT"] = s3.BROKEN
    with pytest.raises(DiskError, match="does not answer"):
        blobs.put(KEY, DATA)
    assert [method for method, _ in fake.requests] == ["PUT", "PUT"]
    fake.fail.clear()
    fake.unsaid = True
    with pytest.raises(DiskError, match="does not answer"):
        blobs.put(KEY, DATA)
    fake.unsaid = False
    blobs.put(KEY, DATA)
    fake.hanging = True
    began = time.monotonic()
    with pytest.raises(UnreachableError, match="does not answer"):
        blobs.raw(KEY)
    assert time.monotonic() - began < 10
    fake.hanging = False
    assert blobs.raw(KEY) == DATA


def test_what_is_archived_is_no_outage_whatever_else_is(fake: s3.FakeS3, tmp_path: Path) -> None:
    blobs = over_http(fake, tmp_path)
    assert blobs.claim("one") == "one"
    other = file_key(hashlib.sha256(b"other").hexdigest())
    blobs.put(KEY, DATA)
    blobs.put(other, b"other")
    reader = over_http(fake, tmp_path / "copies")
    claim, mine = "a/b/library", f"a/b/{KEY}"
    for archived in ({mine}, {mine, claim}):
        fake.archived = archived
        fake.requests.clear()
        with pytest.raises(OSError, match="archived this object; restore it") as caught:
            reader.raw(KEY)
        assert not isinstance(caught.value, UnreachableError)
        assert len(fake.requests) == 1, "the answer says enough"
        assert reader.raw(other) == b"other"
    fake.archived = {claim}
    fake.fail["GET"] = s3.DENIED  # of nothing, not even of its own
    with pytest.raises(UnreachableError, match="refuses the key"):
        reader.raw(KEY)
    fake.fail["GET"] = s3.BROKEN
    with pytest.raises(UnreachableError, match="does not answer"):
        reader.raw(KEY)


def test_one_object_that_fails_is_no_outage_where_the_stores_own_is_archived_or_gone(
    fake: s3.FakeS3, tmp_path: Path
) -> None:
    blobs = over_http(fake, tmp_path)
    assert blobs.claim("one") == "one"
    blobs.put(KEY, DATA)
    reader = over_http(fake, tmp_path / "copies")
    fake.withheld = {f"a/b/{KEY}"}
    fake.archived = {"a/b/library"}
    with pytest.raises(OSError, match="does not give this object") as caught:
        reader.raw(KEY)
    assert not isinstance(caught.value, UnreachableError)
    later = over_http(fake, tmp_path / "later")
    with pytest.raises(UnreachableError, match="archived the object “library”"):
        later.claim("one")
    with pytest.raises(DiskError, match="archived the object “library”"):
        later.put(KEY, DATA)
    fake.archived = set()
    del fake.objects["a/b/library"]
    with pytest.raises(OSError, match="does not give this object"):
        reader.raw(KEY)
    later.put(KEY, DATA)
    assert fake.objects["a/b/library"][0] == b"one", "said once more"


@pytest.mark.parametrize("conditions", [True, False])
def test_of_two_who_claim_a_store_at_once_the_first_has_it(
    fake: s3.FakeS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, conditions: bool
) -> None:
    fake.conditions = conditions
    early, late = over_http(fake, tmp_path / "early"), over_http(fake, tmp_path / "late")
    real = late._claimed

    def claimed() -> str | None:
        found = real()
        if found is None:
            assert early.claim("early") == "early"  # right after the other one had looked
        return found

    monkeypatch.setattr(late, "_claimed", claimed)
    assert late.claim("late") == "early"
    with pytest.raises(DiskError, match="another Dreamstream"):
        late.put(KEY, DATA)
    early.put(KEY, DATA)


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (s3.FULL, "takes no more; its quota is used up"),
        (s3.SKEWED, "clocks of the picture store and of this machine"),
        (s3.DENIED, "refuses the key"),
        ((400, "AuthorizationHeaderMalformed"), r"refuses .* \(AuthorizationHeaderMalformed\)"),
    ],
)
def test_a_store_that_takes_nothing_gives_and_removes_all_the_same(
    fake: s3.FakeS3, tmp_path: Path, failure: tuple[int, str], reason: str
) -> None:
    blobs, reader = over_http(fake, tmp_path, rest_s=60), over_http(fake, tmp_path / "reader")
    other = file_key(hashlib.sha256(b"other").hexdigest())
    for key, data in ((KEY, DATA), (other, b"other")):
        blobs.put(key, data)
    fake.fail["PUT"] = failure
    changes: list[Callable[[], None]] = [lambda: blobs.put(KEY, DATA), blobs.probe]
    for change in changes:
        with pytest.raises(DiskError, match=reason):
            change()
    assert blobs.raw(KEY) == DATA
    blobs.delete(other)  # as room is made
    with pytest.raises(FileNotFoundError):
        reader.raw(other)
    fake.fail.clear()
    blobs.put(other, b"other")  # at once
    fake.fail = dict.fromkeys(("HEAD", "GET"), failure)
    with pytest.raises(UnreachableError, match=reason):
        blobs.size(KEY)


def test_what_a_store_does_not_do_is_let_alone_and_nothing_else(
    fake: s3.FakeS3, tmp_path: Path
) -> None:
    blobs = over_http(fake, tmp_path, rest_s=60)
    blobs.put(KEY, DATA)
    fake.fail["PUT"] = s3.BROKEN
    asked = []
    changes: list[Callable[[], None]] = [lambda: blobs.put(KEY, DATA)] * 2
    for change in (*changes, blobs.probe):
        fake.requests.clear()
        with pytest.raises(DiskError, match="does not answer"):
            change()
        asked.append(len(fake.requests))
    assert asked == [2, 0, 2], "a trial is made all the same"
    assert blobs.raw(KEY) == DATA, "it does not take, and gives"
    fake.fail = {"GET": s3.BROKEN, "LIST": s3.BROKEN}
    with pytest.raises(UnreachableError, match="does not answer"):
        blobs.raw(KEY)
    fake.fail.clear()
    with pytest.raises(UnreachableError, match="does not answer"):
        list(blobs.list("files"))
    blobs.probe()
    assert [one.key for one in blobs.list("files")] == [KEY]


def test_a_trial_finds_out_what_a_key_may_not_do(fake: s3.FakeS3, tmp_path: Path) -> None:
    over_http(fake, tmp_path / "owner").claim("one")
    visitor, owner = over_http(fake, tmp_path / "a"), over_http(fake, tmp_path / "b")
    assert owner.claim("one") == "one"
    for blobs in (visitor, owner):
        blobs.probe()
        for method in ("PUT", "DELETE", "LIST"):
            fake.fail = {method: s3.DENIED}
            with pytest.raises(DiskError, match="refuses the key"):
                blobs.probe()
        fake.fail.clear()
        fake.listing = False
        with pytest.raises(DiskError, match="refuses the key"):
            blobs.probe()
        fake.listing = True
        fake.objects.pop("a/b/.part-probe-visit", None)
    # The trial object is the visitor's own, and may be read where others' are not. One object that
    # is not to be had is no outage, so a trial does not ask for it: the doctor does.
    fake.withheld = {"a/b/library"}
    visitor.probe()
    with pytest.raises(UnreachableError, match="refuses the key"):
        visitor.claim(None)
    fake.withheld.clear()
    fake.archived = {"a/b/library"}
    with pytest.raises(UnreachableError, match="archived the object “library”"):
        visitor.claim(None)


def test_the_log_says_the_same_once_in_a_while(
    fake: s3.FakeS3, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blobs = over_http(fake, tmp_path, rest_s=60)
    fake.fail = {"GET": s3.DENIED, "PUT": s3.FULL}
    for _ in range(3):
        with pytest.raises(UnreachableError, match="refuses the key"):
            blobs.raw(KEY)
    with pytest.raises(DiskError, match="quota"):
        blobs.put(KEY, DATA)
    assert [("quota" in line, "refuses" in line) for line in caplog.messages] == [
        (False, True),
        (True, False),
    ]


def test_the_log_says_what_a_client_says_last(
    fake: s3.FakeS3, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        place = LibraryPlace(
            store="s3://a1b", endpoint=f"http://127.0.0.1:{unused.getsockname()[1]}"
        )
        objects = open_objects("s3://a1b", place, retries=0)
        with pytest.raises(UnreachableError, match="does not answer"):
            blobs_of(objects, tmp_path).raw(KEY)
    fake.fail["GET"] = (400, "AuthorizationHeaderMalformed")
    with pytest.raises(UnreachableError):
        over_http(fake, tmp_path).raw(KEY)
    silence, refusal = caplog.messages
    assert "Connection refused" in silence
    assert refusal.endswith("AuthorizationHeaderMalformed)") and "<" not in refusal


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_a_certificate_that_is_not_trusted_is_told_as_that_and_may_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def openssl(*given: str) -> None:
        subprocess.run(["openssl", *given], cwd=tmp_path, check=True, capture_output=True)

    new, days = ("req", "-newkey", "rsa:2048", "-nodes"), ("-days", "2")
    (tmp_path / "names").write_text("subjectAltName=IP:127.0.0.1\n", encoding="ascii")
    openssl(*new, "-x509", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ours", *days)
    openssl(*new, "-keyout", "leaf.key", "-out", "leaf.csr", "-subj", "/CN=a store")
    openssl("x509", "-req", "-in", "leaf.csr", "-CA", "ca.pem", "-CAkey", "ca.key", *days,
            "-extfile", "names", "-out", "leaf.pem")  # fmt: skip
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "leaf.pem", tmp_path / "leaf.key")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.SECRET)
    with s3.fake_s3(tls) as fake:
        with pytest.raises(DiskError, match="certificate is not trusted here"):
            over_http(fake, tmp_path).put(KEY, DATA)
        assert "UnknownIssuer" in caplog.text
        assert fake.requests == []
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        blobs = over_http(fake, tmp_path)
        blobs.put(KEY, DATA)
        assert blobs.raw(KEY) == DATA


# --- faults ------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["put", "head"])
def test_nothing_counts_as_kept_before_the_store_says_so(
    store: Faulty, tmp_path: Path, what: str
) -> None:
    blobs = blobs_of(store, tmp_path)
    store.after = silent(what)  # done, and not said
    with pytest.raises(DiskError, match="does not answer"):
        blobs.put(KEY, DATA)
    assert blobs.here(KEY) is None
    store.after = lambda what: None
    blobs.put(KEY, DATA)
    assert blobs.get(KEY) == DATA


def test_what_is_kept_in_another_size_does_not_count(store: Faulty, tmp_path: Path) -> None:
    blobs = blobs_of(store, tmp_path)
    store.after = lambda what: what == "put" and store.memory.put(KEY, b"less")
    with pytest.raises(DiskError, match="kept 4 of 10 bytes"):
        blobs.put(KEY, DATA)


def test_wrong_bytes_are_given_to_nobody(store: Faulty, tmp_path: Path) -> None:
    blobs = blobs_of(store, tmp_path)
    store.memory.put(KEY, b"other byte")
    for read in (blobs.get, blobs.local):
        with pytest.raises(OSError, match="not what its name says"):
            read(KEY)
    assert blobs.here(KEY) is None
    blobs.put(KEY, DATA)
    assert blobs.get(KEY) == DATA
    blobs.path(KEY).write_bytes(b"other byte")  # and the copy is as little believed
    assert blobs.get(KEY) == DATA
    blobs.path(KEY).write_bytes(b"torn")
    assert blobs.local(KEY).read_bytes() == DATA
    blobs.path(KEY).write_bytes(b"other byte")
    assert blobs_of(store, tmp_path).local(KEY).read_bytes() == DATA, "by the next process"


def test_a_store_that_did_not_answer_is_let_alone_for_a_while(
    store: Faulty, tmp_path: Path
) -> None:
    blobs = ObjectBlobs(store, BlobCache(tmp_path, 10**6), "s3://tests", rest_s=60)
    store.fault = silent()
    for _ in range(5):
        with pytest.raises(UnreachableError):
            blobs.raw(KEY)
    assert store.asked == ["get", "get"]  # the object, and whether it is that one alone
    with pytest.raises(DiskError):
        blobs.probe()
    store.fault = lambda what: None
    blobs.probe()
    blobs.put(KEY, DATA)


def test_an_object_that_alone_is_not_given_is_no_outage(
    store: Faulty, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blobs = ObjectBlobs(store, BlobCache(tmp_path, 10**6), "s3://tests", rest_s=60)
    other = file_key(hashlib.sha256(b"other").hexdigest())
    for key, data in ((KEY, DATA), (other, b"other")):
        store.memory.put(key, data)
    store.withheld.add(KEY)
    for read in (blobs.raw, blobs.get, blobs.local):
        with pytest.raises(OSError, match="does not give this object") as caught:
            read(KEY)
        assert not isinstance(caught.value, UnreachableError)
        assert blobs.raw(other) == b"other", "the store is not let alone for it"
    assert KEY in caplog.text
    blobs.put(KEY, DATA)
    store.withheld.clear()
    assert blobs.raw(KEY) == DATA


def test_an_outage_that_ends_between_two_requests_is_no_matter_of_the_object(
    store: Faulty, tmp_path: Path
) -> None:
    blobs = blobs_of(store, tmp_path)
    store.memory.put(KEY, DATA)

    def once(what: str) -> None:
        store.fault = lambda what: None
        raise TimeoutError

    store.fault = once
    assert blobs.raw(KEY) == DATA


def test_a_store_that_gives_nothing_back_is_not_well(store: Faulty, tmp_path: Path) -> None:
    store.fault = silent("get")
    with pytest.raises(DiskError, match="does not answer"):
        blobs_of(store, tmp_path).probe()


@pytest.mark.parametrize("theirs", [False, True])
def test_a_store_that_was_silent_at_the_start_is_claimed_before_anything_changes_there(
    store: Faulty, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, theirs: bool
) -> None:
    monkeypatch.setattr(library_place, "open_objects", lambda *_: store)
    if theirs:
        blobs_of(store, tmp_path / "theirs").claim("theirs")
        store.memory.put(KEY, DATA)
    store.fault = silent()
    blobs = library_place.open_library(LibraryPlace(store="s3://tests/a"), tmp_path)
    with pytest.raises(DiskError, match="does not answer"):
        blobs.probe()
    assert placed(tmp_path) == FOLDER, "nothing of ours can lie there yet"
    store.fault = lambda what: None
    if theirs:
        changes: list[Callable[[], None]] = [
            blobs.probe,
            lambda: blobs.put(file_key(hashlib.sha256(b"ours").hexdigest()), b"ours"),
            lambda: blobs.delete(KEY),
        ]
        for change in changes:
            with pytest.raises(DiskError, match="the pictures of another Dreamstream"):
                change()
        assert [one.key for one in blobs.list("files")] == [KEY]
        assert placed(tmp_path) == FOLDER
    else:
        blobs.probe()
        assert placed(tmp_path) == "s3://tests/a"
        blobs.put(KEY, DATA)
        other = blobs_of(store, tmp_path / "other")
        assert other.claim("second") == library_place.read_id(tmp_path)


EMPTIED = r"has no pictures, though .* library\.endpoint"


@pytest.mark.parametrize(
    "foreign", [None, ".part-probe-visit", "a dump", "images/logo.png", "files/ab/notes"]
)
def test_another_store_of_the_same_name_is_not_taken_for_the_librarys(
    store: Faulty, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, foreign: str | None
) -> None:
    settings = LibraryPlace(store="s3://tests/a")
    other = Faulty()
    stores = [store]
    monkeypatch.setattr(library_place, "open_objects", lambda *_: stores[0])
    own = library_place.open_library(settings, tmp_path).claim(None)
    stores[0] = other
    if foreign is not None:
        other.memory.put(foreign, b"anything")
    before = paths_in(other)
    blobs = library_place.open_library(settings, tmp_path)
    changes: list[Callable[[], None]] = [
        blobs.probe,
        lambda: blobs.put(KEY, DATA),
        lambda: blobs.delete(KEY),
    ]
    for change in changes:
        with pytest.raises(DiskError, match=EMPTIED):
            change()
    visitor = library_place.open_library(settings, tmp_path, alone=False)
    for one in (blobs, visitor):
        for read in (one.get, one.raw, one.local, one.size):
            with pytest.raises(UnreachableError, match=EMPTIED):
                read(KEY)
    visitor.close()
    assert paths_in(other) == before
    stores[0] = store
    library_place.open_library(settings, tmp_path).put(KEY, DATA)
    # Who lost the object that says whose it is, but nothing else, goes on.
    store.memory.delete("library")
    assert library_place.open_library(settings, tmp_path).claim(None) == own
    stores[0] = other
    (tmp_path / "store").unlink()
    library_place.open_library(settings, tmp_path).put(KEY, DATA)
    assert placed(tmp_path) == settings.store


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("claimed", [True, False])
def test_what_is_missing_from_the_librarys_own_store_is_missing_and_nothing_more_is_asked(
    store: Faulty, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone: bool, claimed: bool
) -> None:
    settings = LibraryPlace(store="s3://tests/a")
    monkeypatch.setattr(library_place, "open_objects", lambda *_: store)
    library_place.open_library(settings, tmp_path).put(KEY, DATA)
    if not claimed:
        store.memory.delete("library")
    blobs = library_place.open_library(settings, tmp_path, alone=alone)
    other = file_key(hashlib.sha256(b"other").hexdigest())
    store.asked.clear()
    for read in (blobs.get, blobs.raw, blobs.local):
        with pytest.raises(FileNotFoundError):
            read(other)
    assert blobs.size(other) is None
    assert store.asked == ["get"] * 3 + ["head"]
    blobs.close()


@pytest.mark.parametrize("theirs", [False, True])
def test_nothing_is_missing_before_it_is_known_whose_a_store_is_that_was_silent(
    store: Faulty, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, theirs: bool
) -> None:
    settings = LibraryPlace(store="s3://tests/a")
    monkeypatch.setattr(library_place, "open_objects", lambda *_: store)
    library_place.open_library(settings, tmp_path).probe()
    if theirs:
        store.memory = MemoryStore()
        blobs_of(store, tmp_path / "theirs").claim("theirs")
    store.fault = silent()
    blobs = library_place.open_library(settings, tmp_path)
    store.fault = lambda what: None
    for read in (blobs.get, blobs.raw, blobs.local):
        error = UnreachableError if theirs else FileNotFoundError
        with pytest.raises(error, match="of another Dreamstream" if theirs else "no such object"):
            read(KEY)
    with pytest.raises(UnreachableError) if theirs else nullcontext():
        assert blobs.size(KEY) is None


def test_trials_that_are_cut_off_leave_one_object_and_the_next_removes_it(
    store: Faulty, tmp_path: Path
) -> None:
    blobs = blobs_of(store, tmp_path)
    blobs.claim("ours")
    store.fault = silent("delete")
    for _ in range(3):
        with pytest.raises(DiskError, match="does not answer"):
            blobs.probe()
    assert sum(len(page) for page in store.memory.list()) == 2
    store.fault = lambda what: None
    blobs.probe()
    assert [one["path"] for page in store.memory.list() for one in page] == ["library"]


def test_what_is_deleted_while_it_is_fetched_leaves_no_copy(store: Faulty, tmp_path: Path) -> None:
    blobs = blobs_of(store, tmp_path / "a")
    blobs_of(store, tmp_path / "b").put(KEY, DATA)

    def delete(what: str) -> None:
        if what == "get":
            blobs.delete(KEY)

    store.after = delete
    with pytest.raises(FileNotFoundError):
        blobs.get(KEY)
    assert not blobs.path(KEY).exists()


def test_a_copy_that_went_bad_keeps_nothing_from_a_backup(store: Faulty, tmp_path: Path) -> None:
    blobs = blobs_of(store, tmp_path / "cache")
    blobs.put(KEY, DATA)
    (tmp_path / "cache" / KEY).write_bytes(b"SOME BYTES")
    assert copy_entry(blobs, Entry(KEY, len(DATA)), tmp_path / "pool")
    assert (tmp_path / "pool" / KEY).read_bytes() == blobs.get(KEY) == DATA


def test_many_who_want_the_same_fetch_it_once(store: Faulty, tmp_path: Path) -> None:
    blobs_of(store, tmp_path / "a").put(KEY, DATA)
    store.asked.clear()
    go_on = threading.Event()
    store.fault = lambda what: what == "get" and go_on.wait(10)
    blobs = blobs_of(store, tmp_path / "b")
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(blobs.get(KEY))) for _ in range(4)]
    for thread in threads:
        thread.start()
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert found == [DATA] * 4
    assert store.asked.count("get") == 1


def test_the_copies_take_no_more_than_they_may_and_the_oldest_go_first(tmp_path: Path) -> None:
    now = [0.0]
    cache = BlobCache(tmp_path, 25, young_s=60, clock=lambda: now[0])
    content = {file_key(hashlib.sha256(data).hexdigest()): data for data in (b"a" * 10, b"b" * 10)}
    (first, second), third = content, KEY
    for key, data in content.items():
        cache.keep(key, data)
    now[0] = 100.0
    assert cache.read(first) == content[first]  # used again, so the other one is the oldest
    cache.keep(third, DATA)
    assert cache.find(second) is None
    assert not (tmp_path / second).exists()
    now[0] = 130.0
    cache.keep(second, content[second])  # nothing is old: it takes more for a while
    assert all(cache.find(key) for key in (first, second, third))
    later = BlobCache(tmp_path, 25, young_s=60)
    assert later.find(first) is not None
    later.keep(KEY, DATA)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) <= 25


# --- the library -------------------------------------------------------------------------------


@pytest.fixture(params=["folder", "objects"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path, store: Faulty) -> Blobs:
    if request.param == "folder":
        return FolderBlobs(tmp_path)
    return blobs_of(store, tmp_path / "cache")


async def test_pictures_and_files_are_kept_alike_wherever_they_lie(
    tmp_path: Path, blobs: Blobs
) -> None:
    library = Library(tmp_path, blobs=blobs)
    image = await library.keep(png(800, 400), RECIPE)
    assert await library.keep(png(800, 400), RECIPE) == image
    data = await library.read(image.sha256)
    assert hashlib.sha256(data).hexdigest() == image.sha256
    assert (await library.local(image.sha256)).read_bytes() == data
    assert (await library.read_thumbnail(image.sha256, 192))[:4] == b"RIFF"
    film = Attachment(name="film.mp4", media_type="video/mp4", data=b"a film")
    file = await library.keep_file(film)
    assert await library.read_file(file) == b"a film"
    assert (await library.local_file(file)).read_bytes() == b"a film"
    upload, plain = await library.keep_upload(png(colour="blue"))
    assert await library.hold(upload) == plain
    assert await library.keep_upload(plain) == (upload, plain), "what comes back is that picture"
    await library.probe()
    assert {one.key for place in ("images", "files") for one in blobs.list(place)} == {
        picture_key(image.sha256),
        picture_key(upload),
        file_key(file.sha256),
    }
    # What is referred to by nothing goes with the last who holds it.
    for _ in range(2):
        await library.let_go(upload, named=False)
        assert await library.read(upload) == plain
    await library.let_go(upload, named=False)
    with pytest.raises(NotFoundError):
        await library.read(upload)
    await library.let_go(file.sha256, named=True)
    await library.let_go(image.sha256, named=True)
    await library.let_go(image.sha256, named=False)

    async def unnamed() -> bool:
        return False

    async def named() -> bool:
        return True

    assert not await library.discard(image.sha256, named)
    assert await library.discard(image.sha256, unnamed)
    assert await library.discard(file.sha256, unnamed, file=True)
    for place in ("images", "files"):
        assert list(blobs.list(place)) == []
    assert files_under(tmp_path) == []
    library.close()


async def test_nobody_takes_hold_of_what_is_just_being_removed(
    tmp_path: Path, store: Faulty
) -> None:
    library = Library(tmp_path, blobs=blobs_of(store, tmp_path / "cache"))
    image = await library.keep(png(), RECIPE)
    await library.let_go(image.sha256, named=True)
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def unnamed() -> bool:
        asked.set()
        await go_on.wait()
        return False

    removal = asyncio.create_task(library.discard(image.sha256, unnamed))
    await asked.wait()
    again = asyncio.create_task(library.keep(png(), RECIPE))
    held = asyncio.create_task(library.hold(image.sha256))
    await asyncio.sleep(0.05)
    assert not again.done() and not held.done()
    go_on.set()
    assert await removal
    assert await again == image
    with suppress(NotFoundError):  # before it was there again, or after
        await held
    assert hashlib.sha256(await library.read(image.sha256)).hexdigest() == image.sha256
    library.close()


async def test_an_outage_is_not_a_loss(tmp_path: Path, store: Faulty) -> None:
    library = Library(tmp_path, blobs=blobs_of(store, tmp_path / "cache", copies_new=False))
    image = await library.keep(png(), RECIPE)
    await library.let_go(image.sha256, named=True)
    store.fault = silent()
    for ask in (library.read, library.hold, library.local):
        with pytest.raises(OutOfReachError, match="the picture store does not answer"):
            await ask(image.sha256)
    with pytest.raises(DiskError, match="does not answer"):
        await library.keep_upload(png(colour="blue"))
    store.fault = lambda what: None
    store.withheld.add(picture_key(image.sha256))
    for ask in (library.read, library.hold, library.local):
        with pytest.raises(UnreadableError, match="does not give this object"):
            await ask(image.sha256)
    store.withheld.clear()
    store.fault = silent()

    async def unnamed() -> bool:
        return False

    with pytest.raises(DiskError, match="does not answer"):
        await library.discard(image.sha256, unnamed)
    store.fault = lambda what: None
    assert await library.discard(image.sha256, unnamed)
    assert await library.left_held() == []
    library.close()


async def test_a_dreams_end_waits_for_the_store_and_its_deletion_too(
    tmp_path: Path, store: Faulty
) -> None:
    library = Library(tmp_path / "library", blobs=blobs_of(store, tmp_path / "library" / "cache"))
    async with services(tmp_path, library=library) as s:
        (dream,) = await s.dreams.ask(request())
        job = await s.begin(dream.id)
        store.fault = silent()
        await s.dreams.on_message(finished(job))
        await until(lambda: (live := s.dreams.live(dream.id)) is not None and live.notice)
        assert "The picture store does not answer." in (s.dreams.refusing or "")
        assert not (await s.dreams.get(dream.id)).state.final
        store.fault = lambda what: None
        done = await s.dreams.wait(dream.id)
        assert done.state is DreamState.DONE and done.image is not None
        key = picture_key(done.image.sha256)
        store.fault = silent("delete")
        await s.dreams.delete(dream.id, Actor(ANN))
        assert [row["sha256"] for row in await s.store.read("SELECT sha256 FROM doomed_file")] == [
            done.image.sha256
        ]
        removal = Removal(s.store, library, again_s=0.02)
        await removal.remove_files()
        store.fault = lambda what: None
        await until_none(s.store, "SELECT * FROM doomed_file")
        await removal.stop()
        with pytest.raises(FileNotFoundError):
            store.memory.head(key)
        assert not library.path(done.image.sha256).exists()
    library.close()


def test_the_doctor_names_a_store_whose_objects_are_kept_from_the_key(
    fake: s3.FakeS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    over_http(fake, tmp_path / "owner").claim("one")
    monkeypatch.setattr(
        doctor, "opened", lambda *_args, **_named: nullcontext(over_http(fake, tmp_path / "a"))
    )
    config = Config.model_validate({"library": {"store": "s3://dreams/a/b"}})
    assert doctor._library(config).mark is doctor.Mark.WELL
    fake.withheld = {"a/b/library"}
    found = doctor._library(config)
    assert found.mark is doctor.Mark.BAD
    assert "refuses the key" in found.text


def test_the_doctor_names_a_store_that_is_another_one_of_that_name(
    store: Faulty, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = [store]
    monkeypatch.setattr(library_place, "open_objects", lambda *_: stores[0])
    config = Config.model_validate(
        {"library": {"store": "s3://tests/a"}, "storage": {"data_dir": str(tmp_path)}}
    )
    library_place.open_library(config.library, tmp_path / "library").close()
    assert doctor._library(config).mark is doctor.Mark.WELL
    stores[0] = Faulty()
    found = doctor._library(config)
    assert found.mark is doctor.Mark.BAD
    assert "has no pictures, though" in found.text
    assert paths_in(stores[0]) == [], "no trial is left there"
