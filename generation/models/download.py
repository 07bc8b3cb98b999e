"""Fetching published files: resumed where they stopped, from mirrors, checked before they count.

A file grows as ``FILE.part`` and gets its name only when it is whole: of the published size, and
of the published SHA-256 where that is known. A part is only gone on with if what comes can be
trusted to be the rest of it: the checksum will tell, or the server says that it is the same.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import requests

from generation.engine import EngineError
from generation.models.catalogue import Model, ModelFile
from generation.models.checkpoints import file_sha256

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are here and, where known, all there will be."""

SPARE_BYTES = 512 * 1024 * 1024
_TIMEOUT_S = (15, 60)
_CHUNK_BYTES = 64 * 1024  # what is lost of a connection that breaks
_ATTEMPTS = 3
_PASSING = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
)
_LOCAL = ("127.0.0.1", "localhost", "::1")


class DownloadError(EngineError):
    """A file could not be had, as a sentence that says what to do."""


def check_room(models: list[Model], folder: Path) -> None:
    """Refuse what would not fit on the disk, before anything is fetched.

    A pickle needs room twice: it is converted when it is first used. What an earlier attempt left
    of a file has its room already, whether it is gone on with or written anew.

    Raises:
        DownloadError: there is too little room.
    """
    needed = 0
    for model in models:
        for file in model.files:
            target = folder / model.name / file.name
            if not target.is_file():
                copies = 1 if file.name.endswith((".safetensors", ".json", ".txt")) else 2
                size, have = file.size_bytes or 0, _size(_beside(target, ".part"))
                needed += copies * size - min(have, size)
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if needed + SPARE_BYTES > free:
        raise DownloadError(
            f"{folder} has room for {_gb(free)}; this takes {_gb(needed + SPARE_BYTES)}. Make "
            "room, or name another folder with scheduler.models_dir in the configuration."
        )


def fetch(file: ModelFile, target: Path, progress: Progress, *, pause_s: float = 2.0) -> None:
    """Have a published file at `target`, going on where an earlier attempt stopped.

    Raises:
        DownloadError: no place has it whole.
    """
    places = [url for url in (file.url, *file.mirrors) if url]
    if not places:
        raise DownloadError(f"It is not known where {file.name} can be fetched.")
    target.parent.mkdir(parents=True, exist_ok=True)
    reasons = []
    for url in places:
        for attempt in range(_ATTEMPTS):
            try:
                _fetch(file, url, target, progress)
                return
            except (*_PASSING, _CutOffError) as error:
                reasons.append(f"{urlsplit(url).netloc}: {_short(error)}")
                if attempt + 1 < _ATTEMPTS:
                    time.sleep(pause_s * 2**attempt)
            except (requests.RequestException, _WrongError) as error:
                reasons.append(f"{urlsplit(url).netloc}: {_short(error)}")
                break
            except OSError as error:
                raise DownloadError(f"{target} cannot be written: {error.strerror}.") from error
    raise DownloadError(
        f"{file.name} could not be fetched ({'; '.join(dict.fromkeys(reasons))}). Run the same "
        "command again to go on where it stopped."
    )


class _CutOffError(Exception):
    """The connection ended before the file did."""


class _WrongError(Exception):
    """The server has something else under this address."""


def _fetch(file: ModelFile, url: str, target: Path, progress: Progress) -> None:
    part, tag = _beside(target, ".part"), _beside(target, ".etag")
    have = _size(part)
    known_tag = tag.read_text(encoding="utf-8") if tag.is_file() else ""
    if have and not (file.sha256 or known_tag):
        part.unlink()
        have = 0
    if file.size_bytes is None or have != file.size_bytes:
        _stream(file, url, part, tag, have, known_tag, progress)
    if file.size_bytes is not None and part.stat().st_size != file.size_bytes:
        size = part.stat().st_size
        part.unlink()
        raise _WrongError(f"the file there has {size:,} bytes, not {file.size_bytes:,}")
    if file.sha256 is not None and (found := file_sha256(part)) != file.sha256:
        part.unlink()
        raise _WrongError(f"the file there is not the published one (its SHA-256 is {found[:12]}…)")
    with part.open("rb") as whole:
        os.fsync(whole.fileno())
    part.replace(target)
    tag.unlink(missing_ok=True)


def _stream(
    file: ModelFile, url: str, part: Path, tag: Path, have: int, known_tag: str, progress: Progress
) -> None:
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if known_tag:
            headers["If-Range"] = known_tag
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT_S) as answer:
        _check_address(answer.url)
        if answer.status_code == 416:  # nothing is left, or what is here is too long
            if file.size_bytes is None and file.sha256 is not None:
                return
            part.unlink(missing_ok=True)
            raise _CutOffError("what was here did not fit; beginning anew")
        answer.raise_for_status()
        goes_on = answer.status_code == 206 and answer.headers.get("Content-Range", "").startswith(
            f"bytes {have}-"
        )
        have = have if goes_on else 0
        length = answer.headers.get("Content-Length", "")
        whole = have + int(length) if length.isdigit() else file.size_bytes
        etag = answer.headers.get("ETag", "")
        if etag and not etag.startswith("W/"):
            tag.write_text(etag, encoding="utf-8")
        with part.open("ab" if goes_on else "wb") as out:
            for chunk in answer.iter_content(_CHUNK_BYTES):
                out.write(chunk)
                have += len(chunk)
                progress(have, whole)
        if whole is not None and have < whole:
            raise _CutOffError("the connection ended early")


def _check_address(url: str) -> None:
    address = urlsplit(url)
    if address.scheme != "https" and address.hostname not in _LOCAL:
        raise _WrongError("it leads to an address that is not encrypted")


def _beside(target: Path, suffix: str) -> Path:
    return target.with_name(target.name + suffix)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _short(error: Exception) -> str:
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"it answers {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return "it does not answer"
    if isinstance(error, requests.ConnectionError):
        return "it cannot be reached"
    if isinstance(error, _PASSING):
        return "the connection broke"
    return str(error)


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
