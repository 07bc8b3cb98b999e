"""Pictures on disk: kept whole or not at all, whoever sends them."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import io
import os
import struct
import threading
import time
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from bot import uploads
from bot.checkpoints import Checkpoints
from bot.config_file import load_config
from bot.configured import upload_limits
from bot.errors import DiskError, InvalidRequestError, NotFoundError
from bot.files import write_atomic
from bot.library import BadPictureError, Library
from bot.recipes import SIGNATURE, read_recipe
from generation.protocol import Recipe
from tests.bot.drawer import png

RECIPE = Recipe(engine="clip", model="m", prompt="a fox", width=64, height=48, steps=9, seed=1)


def files_under(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def encoded(picture: Pillow.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


# --- keeping -----------------------------------------------------------------------------------


async def test_a_picture_is_named_by_its_bytes_and_kept_once(tmp_path: Path) -> None:
    library = Library(tmp_path)
    image = await library.keep(png(64, 48), RECIPE)
    again = await library.keep(png(64, 48), RECIPE)
    assert image == again
    data = library.path(image.sha256).read_bytes()
    assert hashlib.sha256(data).hexdigest() == image.sha256
    assert (image.width, image.height, image.size_bytes) == (64, 48, len(data))
    assert read_recipe(data) == RECIPE
    with Pillow.open(io.BytesIO(data)) as kept, Pillow.open(io.BytesIO(png(64, 48))) as drawn:
        assert kept.tobytes() == drawn.tobytes()
    assert await library.read(image.sha256) == data
    assert len(files_under(tmp_path / "images")) == 1
    library.close()


async def test_thumbnails_are_made_again_when_they_are_missing_or_empty(tmp_path: Path) -> None:
    library = Library(tmp_path)
    image = await library.keep(png(800, 400), RECIPE)
    path = library.thumbnail(image.sha256)
    with Pillow.open(path) as small:
        assert (small.format, small.size) == ("WEBP", (384, 192))
    path.unlink()
    assert (await library.make_thumbnail(image.sha256)).stat().st_size > 0
    path.write_bytes(b"")
    assert (await library.make_thumbnail(image.sha256)).stat().st_size > 0
    with Pillow.open(await library.make_thumbnail(image.sha256, 192)) as small:
        assert small.size == (192, 96)
    library.close()


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "a" * 63, "A" * 64, "0" * 64 + "/"])
def test_only_names_of_pictures_become_paths(tmp_path: Path, name: str) -> None:
    library = Library(tmp_path)
    for ask in (library.path, library.thumbnail):
        with pytest.raises(NotFoundError):
            ask(name)
    with pytest.raises(NotFoundError):
        library.thumbnail("0" * 64, 385)
    with pytest.raises(NotFoundError):
        library.thumbnail("0" * 64)
    library.close()


@pytest.mark.parametrize("bad", [b"", b"GIF89a", png()[:-30], SIGNATURE, png()[:60]])
async def test_what_is_no_whole_png_is_not_kept(tmp_path: Path, bad: bytes) -> None:
    library = Library(tmp_path)
    with pytest.raises(BadPictureError):
        await library.keep(bad, RECIPE)
    assert files_under(tmp_path) == []
    library.close()


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EROFS, "may not be written"),
        (errno.EIO, "does not keep"),
    ],
)
async def test_a_disk_that_refuses_is_a_sentence_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    library = Library(tmp_path)
    real = os.write

    def refuse(descriptor: int, data: bytes) -> int:
        if threading.current_thread().name.startswith("library"):
            raise OSError(number, os.strerror(number))
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", refuse)
    for work in (library.keep(png(), RECIPE), library.keep_upload(png()), library.probe()):
        with pytest.raises(DiskError, match=words) as caught:
            await work
        assert str(tmp_path) not in str(caught.value)
        assert str(tmp_path) in caught.value.where
    assert files_under(tmp_path) == []
    monkeypatch.undo()
    await library.keep(png(), RECIPE)
    library.close()


def test_a_file_is_replaced_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a" / "b" / "file"
    write_atomic(path, b"old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.EIO, "no")))
    with pytest.raises(DiskError):
        write_atomic(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert len(files_under(tmp_path)) == 1


async def test_the_loop_goes_on_while_pictures_are_kept(tmp_path: Path) -> None:
    library = Library(tmp_path)
    noise = Pillow.effect_noise((1600, 1600), 80).convert("RGB")
    data = encoded(noise, "PNG", compress_level=1)
    work = asyncio.gather(*(library.keep(data, RECIPE) for _ in range(3)))
    worst, last = 0.0, time.monotonic()
    while not work.done():
        await asyncio.sleep(0.001)
        worst, last = max(worst, time.monotonic() - last), time.monotonic()
    await work
    assert worst < 0.5  # it is under 0.05 on an idle machine; this one may be loaded
    library.close()


# --- uploads -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "1", "LA", "CMYK", "I;16"])
async def test_every_common_picture_becomes_a_plain_png(
    tmp_path: Path, kind: str, mode: str
) -> None:
    try:
        data = encoded(Pillow.new(mode, (40, 20), 0), kind)
    except OSError:
        pytest.skip(f"{kind} has no {mode}")
    library = Library(tmp_path)
    sha256, plain = await library.keep_upload(data)
    assert library.path(sha256).read_bytes() == plain
    with Pillow.open(io.BytesIO(plain)) as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (40, 20))
    library.close()


def test_nothing_but_pixels_is_kept_of_an_upload() -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6  # lies on its side
    exif[0x010F] = "Secret camera"
    data = encoded(Pillow.new("RGB", (40, 20), "red"), "JPEG", exif=exif, comment=b"Secret")
    assert b"Secret" in data
    plain = uploads.to_png(data)
    assert b"Secret" not in plain
    with Pillow.open(io.BytesIO(plain)) as picture:
        assert picture.size == (20, 40)
        assert picture.info == {}


def test_sixteen_bits_are_scaled_and_clear_becomes_white() -> None:
    grey = Pillow.new("I;16", (8, 8), 32896)
    with Pillow.open(io.BytesIO(uploads.to_png(encoded(grey, "PNG")))) as picture:
        assert picture.getpixel((0, 0)) == (128, 128, 128)
    clear = Pillow.new("RGBA", (8, 8), (255, 0, 0, 0))
    with Pillow.open(io.BytesIO(uploads.to_png(encoded(clear, "PNG")))) as picture:
        assert picture.getpixel((0, 0)) == (255, 255, 255)


def test_large_uploads_are_made_smaller() -> None:
    data = encoded(Pillow.new("RGB", (5000, 1000)), "JPEG")
    with Pillow.open(io.BytesIO(uploads.to_png(data))) as picture:
        assert picture.size == (2048, 410)


def bomb(width: int, height: int) -> bytes:
    """Return a small PNG file that claims to hold a huge picture."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(100_000)))
    return SIGNATURE + header + pixels + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(60_000, 60_000), (8000, 8000), (20_000, 10), (2**31 - 1, 1)])
def test_bombs_are_refused_before_they_are_decoded(size: tuple[int, int]) -> None:
    begin = time.monotonic()
    with pytest.raises(InvalidRequestError, match="too many pixels") as caught:
        uploads.to_png(bomb(*size))
    assert caught.value.field == "init"
    assert time.monotonic() - begin < 1.0


def test_other_files_are_refused_with_a_sentence() -> None:
    red, blue = Pillow.new("RGB", (8, 8), "red"), Pillow.new("RGB", (8, 8), "blue")
    for kind in ("PNG", "WEBP"):
        moving = encoded(red, kind, save_all=True, append_images=[blue])
        with pytest.raises(InvalidRequestError, match="animated"):
            uploads.to_png(moving)
    for data in (encoded(red, "GIF"), encoded(red, "BMP"), b"<svg/>", b"%PDF-1.4", bytes(500)):
        with pytest.raises(InvalidRequestError, match="PNG, JPEG or WebP"):
            uploads.to_png(data)
    with pytest.raises(InvalidRequestError, match="empty"):
        uploads.to_png(b"")
    with pytest.raises(InvalidRequestError, match="at most 10 MiB"):
        uploads.to_png(bytes(uploads.UploadLimits().max_bytes + 1))


async def test_the_bounds_of_uploads_are_the_settings(tmp_path: Path) -> None:
    written = tmp_path / "config.toml"
    written.write_text("[limits]\nupload_mib = 1\nupload_megapixels = 2\n")
    library = Library(tmp_path / "library", upload_limits(load_config(written)))
    with pytest.raises(InvalidRequestError, match="at most 1 MiB"):
        await library.keep_upload(bytes(1024 * 1024 + 1))
    with pytest.raises(InvalidRequestError, match="at most 2 million"):
        await library.keep_upload(encoded(Pillow.new("1", (2000, 1001)), "PNG"))
    await library.keep_upload(encoded(Pillow.new("1", (2000, 1000)), "PNG"))
    library.close()
    written.write_text("[limits]\nupload_mib = 100\nupload_megapixels = 170\n")
    roomy = upload_limits(load_config(written))
    uploads.to_png(encoded(Pillow.new("1", (16_000, 10_000)), "PNG"), roomy)


SAMPLES = [
    encoded(Pillow.effect_noise((24, 24), 80), kind, **options)
    for kind, options in (("PNG", {}), ("JPEG", {}), ("WEBP", {}), ("WEBP", {"lossless": True}))
]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SAMPLES), st.data())
def test_damaged_files_are_pictures_or_refused(sample: bytes, data: st.DataObject) -> None:
    content = bytearray(sample)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(1, len(content)))]
    try:
        plain = uploads.to_png(bytes(content))
    except InvalidRequestError:
        return
    assert plain.startswith(SIGNATURE)


# --- checkpoints -------------------------------------------------------------------------------


def test_checkpoints_come_back_unless_they_are_damaged(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "c")
    assert checkpoints.sweep([]) == 0
    assert checkpoints.read("a") is None
    checkpoints.write("a", 5, b"five")
    checkpoints.write("a", 9, b"nine")
    assert checkpoints.read("a") == (9, b"nine")
    (path,) = files_under(tmp_path)
    whole = path.read_bytes()
    for bad in (b"", whole[:10], whole[:-1], whole[:-1] + b"?", b"x" + whole[1:]):
        path.write_bytes(bad)
        assert checkpoints.read("a") is None
    path.write_bytes(whole)
    checkpoints.write("b", 1, b"")
    (tmp_path / "c" / ".part-123").write_bytes(b"half")
    assert checkpoints.sweep(["a"]) == 2
    assert checkpoints.read("a") == (9, b"nine")
    checkpoints.delete("a")
    checkpoints.delete("a")
    assert files_under(tmp_path) == []
