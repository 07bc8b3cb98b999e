"""Pictures and files in a store of objects, such as S3, with copies of them on this machine.

What was put there counts as kept once the store says that it has it, in the size it has. What comes
back is hashed: an object with other bytes than its name says is not given to anybody. The network
is given a bounded time, and tried a bounded number of times; after a store has not answered, it is
let alone for a few seconds, so that people get a sentence at once and no thread waits for nothing.
Only what it did not do: a store that is full takes nothing, and gives all the same. One that
answers, and refuses, keeps nobody waiting, and is not let alone.
Who was to claim a store that did not answer does so before anything is put there or removed. One
object that is not given, where others are, is that object's own matter: nobody else waits for it.
That one is archived the store says itself; whatever else it says, another object is asked for.

`Objects` is what is asked of a store; the classes of `obstore.store` do it.
Source: https://developmentseed.org/obstore/latest/api/store/
"""

from __future__ import annotations

import errno
import hashlib
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from datetime import datetime
from enum import Enum, auto
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypedDict

from obstore import exceptions

from bot.blob_cache import BlobCache
from bot.blobs import PLACES, Blob, UnreachableError, sentence, sha256_of
from bot.errors import DiskError
from bot.files import TEMPORARY_PREFIX, write_atomic

log = logging.getLogger(__name__)

REST_S = 5.0
_SILENT = "the picture store does not answer"
_UNTRUSTED = (
    "the picture store's certificate is not trusted here; if its authority is your own, name the "
    "file with that one's certificate in SSL_CERT_FILE"
)
_REFUSED = "the picture store refuses the key; check the credentials and what they allow"
_NO_BUCKET = "the picture store has no such bucket"
_FULL = "the picture store takes no more; its quota is used up"
_CLOCKS = "the clocks of the picture store and of this machine differ too much; set them right"
_MANGLED = "what was sent did not reach the picture store as it was"
_UNKNOWN = "the picture store refuses what it is asked ({code})"
_ANOTHERS = (
    "the picture store has the pictures of another Dreamstream; give this one a prefix of its own"
)
_EMPTIED = (
    "the picture store has no pictures, though those of this Dreamstream are noted to lie there; "
    "it may be another one of that name, by library.endpoint; if it was emptied on purpose, remove "
    "the file “library/store” from the data folder and restart"
)
_WITHHELD = "the picture store answers, but does not give this object"
_ARCHIVED = (
    "the picture store has archived this object; restore it there, and have the bucket's rules "
    "leave pictures alone"
)
_CLAIM_ARCHIVED = (
    "the picture store has archived the object “library”, which says whose pictures these are; "
    "restore it there, and have the bucket's rules leave it alone"
)
_SPOILT = "its bytes in the picture store are not what its name says"
_PROBE_BYTES = 1024
_SHOWN = 500
_CLAIM = "library"
_STATUS = re.compile(r"status code: (\d{3})\b")
_CODE = re.compile(r"<Code>(\w{1,64})</Code>")
_CERTIFICATE = "InvalidCertificate("
_NO_SUCH_BUCKET = "NoSuchBucket"
_INVALID_STATE = "InvalidObjectState"
"""The answer to who wants an archived object: known to be there, by who may have it.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html#API_GetObject_Errors
"""
_ANSWERS = {
    _NO_SUCH_BUCKET: (errno.ENOENT, _NO_BUCKET),
    "QuotaExceeded": (errno.ENOSPC, _FULL),
    "RequestTimeTooSkewed": (errno.EACCES, _CLOCKS),
    "BadDigest": (errno.EIO, _MANGLED),
    "XAmzContentSHA256Mismatch": (errno.EIO, _MANGLED),
}
"""What is to be said of an error's code. Some are Ceph's alone: it tells a full quota by a 403.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
Source: https://github.com/ceph/ceph/blob/v16.2.15/src/rgw/rgw_common.cc
"""
_LATE = ("RequestTimeout", "TooManyRequests", "SlowDown")
"""Codes that say no more than that it did not come to an answer."""
_MISSING = (
    FileNotFoundError,
    exceptions.NotFoundError,
)  # obstore raises the one, and has the other


class Meta(TypedDict):
    """What a store says of an object."""

    path: str
    size: int
    last_modified: datetime


class Content(Protocol):
    """What a store answers to who wants an object."""

    def bytes(self) -> Any:
        """Read all of it, into something that is like bytes."""
        ...


class Objects(Protocol):
    """A store of objects, by their paths."""

    def put(
        self,
        path: str,
        file: bytes,
        *,
        use_multipart: bool,
        mode: Literal["create", "overwrite"] = "overwrite",
    ) -> object:
        """Keep an object, in place of what may be there, or (`create`) where there is none."""
        ...

    def get(self, path: str) -> Content:
        """Begin to read one."""
        ...

    def head(self, path: str) -> Any:
        """Return the `Meta` of one."""
        ...

    def delete(self, paths: str) -> object:
        """Remove one."""
        ...

    def list(self, prefix: str) -> Any:
        """Give lists of the `Meta` of all whose path begins with that folder."""
        ...


class ObjectBlobs:
    """A store of objects with copies of what was used of late. It is a `bot.blobs.Blobs`."""

    remote = True

    def __init__(
        self,
        objects: Objects,
        cache: BlobCache,
        where: str,
        *,
        rest_s: float = REST_S,
        copies_new: bool = True,
        on_close: Callable[[], None] = lambda: None,
        on_claimed: Callable[[], None] = lambda: None,
    ) -> None:
        """Keep copies in `cache`; of what is put there as well, where it `copies_new`.

        `where` is for people. For `rest_s` seconds a store that did not answer is let alone; one
        that did not take something still gives what it has, and the other way round.
        `on_claimed` is called once it is known to be whose it was to be, before anything is put
        there; where that raises a `DiskError` it is called again the next time.
        """
        self._objects = objects
        self._cache = cache
        self._where = where
        self._rest_s = rest_s
        self._copies_new = copies_new
        self._on_close = on_close
        self._on_claimed = on_claimed
        self._rests: dict[_Ask, _Rest] = {}
        self._said: tuple[str, float] = ("", float("-inf"))  # in the log, and until when
        self._own: str | None = None  # as whose it was to be claimed, and whether it is
        self._is_own = False
        self._is_doubted = False  # pictures are to be here already, and it may be another store
        self._lock = threading.Lock()
        self._fetches: dict[str, _Fetch] = {}

    @property
    def where(self) -> str:
        """Where it is, such as ``s3://bucket/prefix``."""
        return self._where

    def put(self, key: str, data: bytes) -> None:
        """Keep `data` as an object; it counts once the store says that it has it, whole."""
        with self._sentences():
            self._see_to_claim()
            with self._asked(_Ask.CHANGE):
                self._put(key, data)
        if self._copies_new:
            with suppress(DiskError):  # it is where it belongs, and can be fetched
                self._cache.keep(key, data)

    def get(self, key: str) -> bytes:
        """Return an object's bytes, which are what its name says."""
        data = self._cache.read(key)
        return self._fetched(key) if data is None else data

    def raw(self, key: str) -> bytes:
        """Return an object's bytes, whatever they are."""
        with self._asked(_Ask.READ):
            try:
                return self._bytes_of(key)
            except _MISSING:
                self._see_to_doubt()
                raise
            except (exceptions.BaseError, OSError) as error:
                why: Exception = error
            if not _is_archived(why):
                self._see_to_others()
                try:
                    return self._bytes_of(key)  # for an outage may just have ended
                except _MISSING:
                    self._see_to_doubt()
                    raise
                except (exceptions.BaseError, OSError) as error:
                    why = error
        reason = _ARCHIVED if _is_archived(why) else _WITHHELD
        log.warning("%s: %s: %s (%s)", self._where, key, reason, _told(why))
        raise OSError(errno.EIO, reason, key) from why

    def size(self, key: str) -> int | None:
        """Return an object's size."""
        try:
            with self._asked(_Ask.READ):
                try:
                    return int(self._objects.head(key)["size"])
                except _MISSING:
                    self._see_to_doubt()
                    raise
                except exceptions.BaseError as error:
                    if _is_refused(error):  # in an answer without a body, which says no more
                        self._see_to_others()
                    raise
        except FileNotFoundError:
            return None

    def delete(self, key: str) -> None:
        """Remove an object, and its copy. One that is being fetched meanwhile is not kept."""
        with self._sentences():
            self._see_to_claim()
            with suppress(FileNotFoundError), self._asked(_Ask.CHANGE):
                self._objects.delete(key)
            with self._lock:
                if (fetch := self._fetches.get(key)) is not None:
                    fetch.wanted = False
                self._cache.drop(key)

    def list(self, place: str) -> Iterator[Blob]:
        """Yield the objects of a place, as the store pages them."""
        with self._asked(_Ask.READ):
            pages = iter(self._objects.list(place))
        while True:
            with self._asked(_Ask.READ):
                page: Sequence[Meta] | None = next(pages, None)
            if page is None:
                return
            for one in page:
                yield Blob(one["path"], one["size"], one["last_modified"].timestamp())

    def claim(self, library: str | None, *, kept: bool = False) -> str | None:
        """Say whose store this is by a small object in it, which is made where there is none.

        Once this was asked for a library, nothing is put or removed before it is known to be that
        library's: it is asked again where the store did not answer. Once pictures were said to be
        `kept` here, none counts as missing before it is known that this is not another store.
        """
        self._is_doubted = self._is_doubted or kept
        if library is not None:
            self._own, self._is_own = library, False
        return self._claim(library)

    def leave(self) -> None:
        """Remove the object that says whose store this is."""
        with self._sentences():
            self._see_to_claim()
            with suppress(FileNotFoundError), self._asked(_Ask.CHANGE):
                self._objects.delete(_CLAIM)
        self._own = None

    def path(self, key: str) -> Path:
        """Return where its copy is, or would be."""
        return self._cache.root / key

    def here(self, key: str) -> Path | None:
        """Return where its copy is, if there is one."""
        return self._cache.find(key)

    def local(self, key: str) -> Path:
        """Return where its copy is, fetched first where need be."""
        path = self._cache.find(key)
        if path is None:
            data = self._fetched(key)
            path = self._cache.find(key)
            if path is None:  # the disk may have refused it
                try:
                    path = self._cache.keep(key, data)
                except DiskError as error:
                    raise UnreachableError(errno.EIO, str(error).rstrip(".")) from error
        return path

    def probe(self) -> None:
        """Put a small object, read it, list it and remove it; and try a file of this machine."""
        # One name, or each trial whose end is not reached would leave an object for ever.
        name = f"{TEMPORARY_PREFIX}probe-{self._own or 'visit'}"
        path = self._cache.root / name
        try:
            write_atomic(path, bytes(_PROBE_BYTES))
        finally:
            with suppress(OSError):
                path.unlink()
        with self._sentences():
            self._see_to_claim(resting=True)
            with self._asked(_Ask.CHANGE, resting=True):
                self._put(name, bytes(_PROBE_BYTES))
            with self._asked(_Ask.READ, resting=True):
                self._bytes_of(name)
                next(iter(self._objects.list(name)), None)
            with self._asked(_Ask.CHANGE, resting=True):
                self._objects.delete(name)

    def sweep(self) -> None:
        """Do nothing: an object is there whole or not at all, and the copies are looked at."""

    def close(self) -> None:
        """Let go of what belongs to it."""
        self._on_close()

    # --- the network ----------------------------------------------------------------------------

    def _see_to_claim(self, *, resting: bool = False) -> None:
        """See that the store is whose it was to be, before anything is changed there.

        Raises:
            OSError: it is another's; an UnreachableError where that cannot be said.
        """
        if self._own is None or self._is_own:
            return
        if self._claim(self._own, resting=resting) != self._own:
            raise PermissionError(errno.EACCES, _ANOTHERS)

    def _claim(self, library: str | None, *, resting: bool = False) -> str | None:
        with self._asked(_Ask.READ if library is None else _Ask.CHANGE, resting=resting):
            found = self._owner()
            if found is None and library is not None:
                try:
                    self._put(_CLAIM, library.encode(), mode="create")
                except exceptions.AlreadyExistsError:
                    pass  # of two who come at once, the first
                except (exceptions.NotSupportedError, exceptions.GenericError):
                    # The store knows no conditions. Or it is silent: then it is so once more.
                    if self._claimed() is None:
                        self._put(_CLAIM, library.encode())
                found = self._claimed()
        if library is not None and found == library:
            self._on_claimed()
            self._is_own = True
        return found

    def _put(
        self, path: str, data: bytes, *, mode: Literal["create", "overwrite"] = "overwrite"
    ) -> None:
        try:
            self._objects.put(path, data, use_multipart=False, mode=mode)
            found = int(self._objects.head(path)["size"])
        except _MISSING as error:  # right after it was put: there is no bucket
            raise UnreachableError(errno.ENOENT, _NO_BUCKET) from error
        if found != len(data):
            raise UnreachableError(
                errno.EIO, f"the picture store kept {found} of {len(data)} bytes"
            )

    def _bytes_of(self, path: str) -> bytes:
        return bytes(self._objects.get(path).bytes())

    def _claimed(self) -> str | None:
        try:
            return self._bytes_of(_CLAIM).decode(errors="replace")
        except _MISSING as error:
            if _NO_SUCH_BUCKET in str(error):
                raise
            return None

    def _owner(self) -> str | None:
        """Say whose store this is, None if nobody's; where it is in doubt, see that it is the one.

        Raises:
            UnreachableError: it is not, for it has no pictures either.
        """
        try:
            found = self._claimed()
        except exceptions.PermissionDeniedError as error:
            if not _is_archived(error):
                raise
            raise UnreachableError(errno.EACCES, _CLAIM_ARCHIVED) from error
        if self._is_doubted and found is None and not self._has_any():
            raise UnreachableError(errno.ENOENT, _EMPTIED)
        if self._own is None or found in (None, self._own):  # a visitor's caller knows whose it is
            self._is_doubted = False
        return found

    def _has_any(self) -> bool:
        """Say whether anything lies here by a name that a Dreamstream gives.

        Anything else may lie in a bucket: a trial that was cut off, or what is no Dreamstream's. A
        library's own names fill its first pages, so no other bucket is listed to its end.
        """
        pages = (next(iter(self._objects.list(place)), ()) for place in PLACES)
        return any(sha256_of(one["path"]) is not None for page in pages for one in page)

    def _see_to_doubt(self) -> None:
        """See that what is missing here is not in another store, of the same name.

        Raises:
            UnreachableError: it may be.
        """
        if self._is_doubted:
            self._owner()
        if self._is_doubted:
            raise UnreachableError(errno.EACCES, _ANOTHERS)

    def _see_to_others(self) -> None:
        """Ask for another object: where the store does not give that either, it is an outage.

        That the other is archived says as much as its bytes: the store is there, and knows the key.
        """
        try:
            self._claimed()
        except exceptions.PermissionDeniedError as error:
            if not _is_archived(error):
                raise

    def _read(self, key: str) -> bytes:
        data = self.raw(key)
        if hashlib.sha256(data).hexdigest() != sha256_of(key):
            raise OSError(errno.EIO, _SPOILT)
        return data

    def _fetched(self, key: str) -> bytes:
        """Read an object and keep a copy; whoever else wants it meanwhile waits for the same."""
        with self._lock:
            fetch = self._fetches.get(key)
            mine = fetch is None
            if fetch is None:
                fetch = self._fetches[key] = _Fetch()
        if not mine:
            return fetch.data.result()
        try:
            data = self._read(key)
            with self._lock:  # so that a deletion comes before the copy, or finds it
                if not fetch.wanted:
                    raise FileNotFoundError(errno.ENOENT, "it was deleted", key)
                with suppress(DiskError):
                    self._cache.keep(key, data)
        except BaseException as error:
            fetch.data.set_exception(error)
            raise
        else:
            fetch.data.set_result(data)
            return data
        finally:
            with self._lock:
                del self._fetches[key]

    @contextmanager
    def _asked(self, what: _Ask, *, resting: bool = False) -> Iterator[None]:
        """Turn what a store's client raises into what the operating system would.

        Raises:
            FileNotFoundError: there is no such object.
            UnreachableError: the store does not answer, or of late has not; or it refuses.
        """
        rest = self._rests.get(what)
        if rest is not None and not resting and time.monotonic() < rest.until_s:
            raise UnreachableError(*rest.trouble)
        try:
            yield
        except UnreachableError:
            raise
        except _MISSING as error:
            if _NO_SUCH_BUCKET in str(error):
                raise UnreachableError(errno.ENOENT, _NO_BUCKET) from error
            raise FileNotFoundError(errno.ENOENT, "there is no such object") from error
        except (exceptions.BaseError, OSError) as error:
            trouble = _refusal(error)
            if trouble is None:
                trouble = errno.ETIMEDOUT, _UNTRUSTED if _is_untrusted(error) else _SILENT
                self._rests[what] = _Rest(time.monotonic() + self._rest_s, trouble)
            self._say(trouble[1], error)
            raise UnreachableError(*trouble) from error
        else:
            self._rests.pop(what, None)

    def _say(self, reason: str, error: Exception) -> None:
        """Tell the log, but of the same no more often than who does not answer is asked."""
        said, until_s = self._said
        if reason != said or time.monotonic() >= until_s:
            self._said = reason, time.monotonic() + self._rest_s
            log.warning("%s: %s (%s)", self._where, reason, _told(error))

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        """Turn what keeps something from being kept into a `DiskError`."""
        try:
            yield
        except OSError as error:
            raise DiskError(sentence(error), self._where) from error


class _Ask(Enum):
    """What a store is asked for."""

    READ = auto()
    CHANGE = auto()


class _Rest(NamedTuple):
    """Until when a store is let alone, and why."""

    until_s: float
    trouble: tuple[int, str]


class _Fetch:
    """An object that is just being read, and whether it may be kept when it has come."""

    def __init__(self) -> None:
        self.data: Future[bytes] = Future()
        self.wanted = True


def _is_archived(error: Exception) -> bool:
    return isinstance(error, exceptions.PermissionDeniedError) and _INVALID_STATE in str(error)


def _refusal(error: Exception) -> tuple[int, str] | None:
    """Return what a store says against a request, as a number and a sentence; None if nothing.

    It is not to be known by the kind of error alone: the client has one for all that fails while it
    lists.
    """
    text = str(error)
    status, code = _STATUS.search(text), _CODE.search(text)
    if code is not None and code[1] in _ANSWERS:
        return _ANSWERS[code[1]]
    denied = isinstance(error, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError)
    if denied or (status is not None and status[1] in ("401", "403")):
        return errno.EACCES, _REFUSED
    if code is None or code[1] in _LATE or not _is_refused(error):
        return None
    return errno.EIO, _UNKNOWN.format(code=code[1])


def _is_refused(error: Exception) -> bool:
    status = _STATUS.search(str(error))
    return status is not None and status[1].startswith("4")


def _is_untrusted(error: Exception) -> bool:
    return _CERTIFICATE in str(error)


def _told(error: BaseException) -> str:
    """Return what a client says, without the pages that it may add: their code, or the last cause.

    What a client has to do with a socket it says in the lines after the first one alone, the cause
    of all causes last.
    """
    first, _, more = str(error).strip().partition("\n")
    said = first.partition("<")[0].rstrip(": ")[:_SHOWN]
    if (code := _CODE.search(first)) is not None:
        return f"{said}: {code[1]}"
    causes = [line.strip(" ,") for line in more.splitlines() if line.strip(" ,)}]")]
    return said if _STATUS.search(first) or not causes else f"{said}: {causes[-1][:_SHOWN]}"
