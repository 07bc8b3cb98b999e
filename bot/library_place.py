"""Where a data folder's pictures and files lie: in the folder itself, or in a store of objects.

The settings say where they are to lie, and a note in the folder says where they do. Where the two
differ nothing starts: pictures would seem to be missing, and new ones would go elsewhere.
`bot.library_move` moves them, and changes the note.

Everything here blocks.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

from bot.blobs import PLACES, Blobs, FolderBlobs, UnreachableError
from bot.errors import ConfigError, DiskError
from bot.files import disk_sentences, write_atomic

if TYPE_CHECKING:
    from bot.config import LibraryPlace
    from bot.object_blobs import Objects

log = logging.getLogger(__name__)

FOLDER = "folder"
"""How the library's folder is called where stores have addresses."""
JOURNAL = "moving.json"
CACHE = "cache"
SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
"""Variables of the environment that are never to be shown."""
_NOTE = "store"
_ID = "id"
_KEYS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
_ADDRESS = re.compile(
    r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(?P<prefix>[A-Za-z0-9_.~/-]+))?"
)
_CONNECT_S, _ANSWER_S, _TRY_AGAIN_S = 5.0, 60.0, 15.0
_RETRIES = 3
_OWN_BYTES = 64 * 1024**2


def is_address(text: str) -> bool:
    """Say whether a text is the address of a store: ``s3://bucket`` or ``s3://bucket/prefix``."""
    found = _ADDRESS.fullmatch(text)
    if found is None:
        return False
    parts = (found["prefix"] or "a").split("/")
    return not any(part in ("", ".", "..") for part in parts)


def open_library(library: LibraryPlace, root: Path, *, alone: bool = True) -> Blobs:
    """Open where the settings want the pictures of the library folder `root` to lie.

    Who is not `alone` at work on the folder keeps its copies to itself. Who is notes the place,
    once it is this library's own and before anything is put there. Close it in the end.

    Raises:
        ConfigError: they do not lie there, or another library's do; or it cannot be used. A store
            that does not answer is claimed later: see `bot.object_blobs`.
        DiskError: the folder cannot be written.
    """
    check_place(root, library.store, alone=alone)
    where = library.store or FOLDER
    noting = partial(_note_once, root, where)
    blobs = open_blobs(where, library, root, alone=alone, on_claimed=noting)
    try:
        own = library_id(root) if alone and blobs.remote else None
        claim(blobs, own, read_id(root), kept=placed(root) == where)
    except UnreachableError as error:  # it may well be ours; if not, nothing is changed there
        log.warning("%s: %s", blobs.where, error.strerror)
    except BaseException:
        blobs.close()
        raise
    return blobs


@contextmanager
def opened(library: LibraryPlace, root: Path, *, alone: bool = True) -> Iterator[Blobs]:
    """Do as `open_library` does, and close it in the end."""
    with closing(open_library(library, root, alone=alone)) as blobs:
        yield blobs


@contextmanager
def store_of(library: LibraryPlace, root: Path) -> Iterator[Blobs | None]:
    """Open the store that the settings name, wherever the pictures lie now; None if it is none.

    Raises:
        ConfigError: it cannot be used.
    """
    if not library.store:
        yield None
        return
    with closing(open_blobs(library.store, library, root, alone=False)) as blobs:
        yield blobs


def open_blobs(
    where: str,
    library: LibraryPlace,
    root: Path,
    *,
    alone: bool = True,
    on_claimed: Callable[[], None] = lambda: None,
) -> Blobs:
    """Open the folder `root` itself (`FOLDER`), or a store, as the settings reach it.

    Who is `alone` has `on_claimed` called whenever the store is found to be the library's own.

    Raises:
        ConfigError: it cannot be used.
    """
    if where == FOLDER:
        return FolderBlobs(root)
    if importlib.util.find_spec("obstore") is None:
        raise ConfigError(
            ["library.store: that needs the extra “s3”: pip install 'dreamstream[s3]'."]
        )
    from bot.blob_cache import BlobCache
    from bot.object_blobs import ObjectBlobs

    objects = open_objects(where, library)
    if alone:
        cache = BlobCache(root / CACHE, _bytes(library.cache_gib))
        return ObjectBlobs(objects, cache, where, on_claimed=on_claimed)
    own = tempfile.TemporaryDirectory(prefix="dreamstream-")
    cache = BlobCache(Path(own.name), _OWN_BYTES, young_s=0)
    return ObjectBlobs(objects, cache, where, copies_new=False, on_close=own.cleanup)


def open_objects(
    where: str, library: LibraryPlace, *, answer_s: float = _ANSWER_S, retries: int = _RETRIES
) -> Objects:
    """Open a store by its address. Nothing is asked of it yet; keys come from the environment.

    Raises:
        ConfigError: there are no keys.
    """
    from obstore.store import S3Store

    found = _ADDRESS.fullmatch(where)
    assert found is not None, "the settings were checked"
    if library.endpoint and not any(os.environ.get(name) for name in _KEYS):
        raise ConfigError(
            [
                "library.store: there is no key for the picture store. Set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY in the environment."
            ]
        )
    return S3Store(
        found["bucket"],
        prefix=found["prefix"],
        config={
            "region": library.region,
            # The store refuses what does not arrive as it was sent.
            "checksum_algorithm": "SHA256",
            "disable_bulk_delete": True,  # not every store has it
            **({"endpoint": library.endpoint} if library.endpoint else {}),
        },
        client_options={
            "connect_timeout": timedelta(seconds=_CONNECT_S),
            "timeout": timedelta(seconds=answer_s),
            "allow_http": library.endpoint.startswith("http://"),
        },
        retry_config={
            "max_retries": retries,
            "retry_timeout": timedelta(seconds=_TRY_AGAIN_S),
            "backoff": {
                "init_backoff": timedelta(seconds=0.2),
                "max_backoff": timedelta(seconds=2),
                "base": 2,
            },
        },
    )


def check_place(root: Path, store: str, *, alone: bool) -> None:
    """See that the pictures lie where the settings say, or that there are none yet.

    Who has the folder `alone` removes the copies of what lies in no store any more.

    Raises:
        ConfigError: they lie elsewhere, or a move was cut off.
        DiskError: that cannot be written.
    """
    if (root / JOURNAL).exists():
        raise ConfigError(
            [
                f"library.store: a move of the pictures of {root} was cut off. Do the same "
                "“dreamstream library move” again: it goes on where it was."
            ]
        )
    wanted, there = store or FOLDER, placed(root)
    if wanted == there:
        if alone and there == FOLDER:
            drop_copies(root)
        return
    if there == FOLDER and not _has_any(root):
        return
    raise ConfigError(
        [
            f"library.store: the pictures of {root} are not there, but {_told(there)}. Set it to "
            f'"{"" if there == FOLDER else there}", or stop the bot and move them: dreamstream '
            f"library move {wanted}"
        ]
    )


def drop_copies(root: Path) -> None:
    """Remove the copies of what lies in a store, from where it does so no more.

    A deletion would pass them by; and once there is a store again, they would be taken for what
    it has.

    Raises:
        DiskError: they cannot be removed.
    """
    cache = root / CACHE
    linked = cache.is_symlink()  # to another disk, say, where it may not be alone
    with disk_sentences(root):
        for folder in [cache / place for place in PLACES] if linked else [cache]:
            if folder.exists():
                shutil.rmtree(folder)


def placed(root: Path) -> str:
    """Return where a library's pictures lie: `FOLDER`, or an address.

    Raises:
        DiskError: that cannot be read.
    """
    try:
        found = (root / _NOTE).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return FOLDER
    except (OSError, UnicodeDecodeError) as error:
        raise DiskError(f"{root / _NOTE} cannot be read ({error}).", str(root)) from error
    if found != FOLDER and not is_address(found):
        raise DiskError(f"{root / _NOTE} is damaged: it names no store.", str(root))
    return found


def note_path(root: Path) -> Path:
    """Return the file that notes where a library's pictures lie."""
    return root / _NOTE


def note_place(root: Path, where: str) -> None:
    """Write down where a library's pictures lie, so that it survives a power cut.

    Raises:
        DiskError: it cannot be written.
    """
    write_atomic(root / _NOTE, f"{where}\n".encode())


def _note_once(root: Path, where: str) -> None:
    if placed(root) != where:
        note_place(root, where)


def claim(blobs: Blobs, library: str | None, own: str | None, *, kept: bool = False) -> None:
    """Have a store be one library's alone, or see that it is, where `library` is None.

    Two of them in one place would each take the other's pictures for what nothing names. That the
    library is known to have `kept` its own there is for `Blobs.claim`.

    Raises:
        ConfigError: it is another's than `own`, which is None for who has been in none.
        OSError: it cannot be said.
    """
    found = blobs.claim(library, kept=kept)
    if found is not None and found != own:  # who has no id yet has been in none
        raise ConfigError(
            [
                f"library.store: {blobs.where} has the pictures of another Dreamstream. Give this "
                "one a prefix of its own; or, if its data folder was lost, put a backup back: "
                "dreamstream restore --take-store."
            ]
        )


def library_id(root: Path) -> str:
    """Return what a library is known by in a store; it gets one where it has none.

    Raises:
        DiskError: that cannot be written, or read.
    """
    found = read_id(root)
    if found is None:
        found = new_id()
        note_id(root, found)
    return found


def new_id() -> str:
    """Return what no library is known by yet."""
    return token_hex(8)


def id_path(root: Path) -> Path:
    """Return the file that notes what a library is known by in a store."""
    return root / _ID


def read_id(root: Path) -> str | None:
    """Return what a library is known by in a store; None where it has been in none.

    Raises:
        DiskError: that cannot be read.
    """
    try:
        return (root / _ID).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise DiskError(f"{root / _ID} cannot be read ({error}).", str(root)) from error


def note_id(root: Path, library: str) -> None:
    """Write down what a library is known by in a store.

    Raises:
        DiskError: that cannot be written.
    """
    write_atomic(root / _ID, f"{library}\n".encode())


def secrets() -> list[str]:
    """Return what of the environment is never to be shown."""
    return [value for name in SECRETS if (value := os.environ.get(name, ""))]


def _has_any(root: Path) -> bool:
    with suppress(OSError):
        return any(path.is_file() for place in PLACES for path in (root / place).rglob("*"))
    return True


def _told(where: str) -> str:
    return "in that folder itself" if where == FOLDER else f"in {where}"


def _bytes(gib: float) -> int:
    return int(gib * 1024**3)
