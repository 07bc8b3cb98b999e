"""Pictures that could take long are read in a process that does not."""

from __future__ import annotations

import io
import time

import pytest
from PIL import Image as Pillow

from bot import upload_process, uploads
from bot.errors import InvalidRequestError
from bot.sentences import Sentence
from bot.uploads import UploadLimits


def encoded(picture: Pillow.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def endless(scans: int) -> bytes:
    """Return a progressive JPEG within all limits, whose last scan comes again and again."""
    data = encoded(Pillow.new("L", (6000, 6000)), "JPEG", progressive=True, quality=10)
    last = data[data.rfind(b"\xff\xda") : -2]
    return data[:-2] + last * scans + data[-2:]


def test_what_takes_too_long_is_ended_and_told() -> None:
    begun = time.monotonic()
    with pytest.raises(InvalidRequestError, match="takes too long"):
        upload_process.to_png(endless(20_000), limit_s=1.0)  # some 10 minutes
    assert time.monotonic() - begun < 30


def test_it_reads_as_it_would_be_read_here() -> None:
    large = encoded(Pillow.radial_gradient("L").resize((900, 700)), "PNG")
    assert upload_process.to_png(large) == uploads.to_png(large)
    assert upload_process.to_mask(large) == uploads.to_mask(large)


def test_it_refuses_as_it_would_be_refused_here() -> None:
    large = encoded(Pillow.new("L", (900, 700)), "PNG")
    for read, limits in (
        (upload_process.to_png, UploadLimits(max_pixels=1000)),
        (upload_process.to_mask, UploadLimits()),
    ):
        with pytest.raises(InvalidRequestError) as here:
            (uploads.to_png if read is upload_process.to_png else uploads.to_mask)(large, limits)
        with pytest.raises(InvalidRequestError) as told:
            read(large, limits)
        assert (str(told.value), told.value.field) == (str(here.value), here.value.field)
        assert isinstance(told.value.sentence, Sentence) == isinstance(
            here.value.sentence, Sentence
        )


def test_what_dies_of_a_file_is_a_file_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_process, "_COMMAND", ("false",))
    with pytest.raises(InvalidRequestError, match="not a picture that can be read"):
        upload_process.to_png(encoded(Pillow.new("L", (900, 700)), "PNG"))


def test_small_pictures_need_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_process, "_COMMAND", ("false",))
    small = encoded(Pillow.new("L", (90, 70), 255), "PNG")
    assert upload_process.to_png(small) == uploads.to_png(small)
    assert upload_process.to_mask(small) == uploads.to_mask(small)
