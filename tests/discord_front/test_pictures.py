"""Pictures are made no smaller than they must be, and always fit."""

from __future__ import annotations

import io
import random

import pytest
from PIL import Image

from bot.delivery.pictures import fitting


@pytest.fixture(scope="module")
def noise() -> bytes:
    """A picture that no PNG makes small."""
    pixels = random.Random(1).randbytes(256 * 192 * 3)
    out = io.BytesIO()
    Image.frombytes("RGB", (256, 192), pixels).save(out, "PNG")
    return out.getvalue()


def test_what_fits_is_left_as_it_is(noise: bytes) -> None:
    upload = fitting(noise, len(noise))
    assert upload is not None
    assert upload.data is noise
    assert not upload.lessened


@pytest.mark.parametrize(
    ("part", "suffix"), [(0.95, ".webp"), (0.5, ".webp"), (0.1, ".jpg"), (0.06, ".jpg")]
)
def test_what_does_not_fit_is_stepped_down(noise: bytes, part: float, suffix: str) -> None:
    limit_bytes = int(len(noise) * part)
    upload = fitting(noise, limit_bytes)
    assert upload is not None
    assert upload.lessened
    assert upload.suffix == suffix
    assert len(upload.data) <= limit_bytes
    with Image.open(io.BytesIO(upload.data)) as picture:
        assert picture.width * 3 == picture.height * 4


def test_a_limit_below_everything_is_admitted(noise: bytes) -> None:
    assert fitting(noise, 100) is None
