"""What the check of pictures finds, and what is to become of a picture by that."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from bot.model import Person, PictureCheck

CHECKER = Person("local:picture-check", "Picture check")
"""Who covers pictures."""


class Verdict(StrEnum):
    """What was found: nothing, something for adults, or nobody has looked yet."""

    CLEAR = "clear"
    FLAGGED = "flagged"
    UNCHECKED = "unchecked"


class Decision(StrEnum):
    """What a moderator said of a verdict: the picture may be shown, or it is right to cover it."""

    RELEASED = "released"
    CONFIRMED = "confirmed"


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """What is to become of a finished picture.

    `nsfw` is the classifier's probability, 0 to 1, None where nobody looked; `second` is what CLIP
    says, None where it was not asked or did not say. `cover` is a PNG that
    stands for the picture, None where it is shown as it is. With `off_wall` it stays where it was
    asked for: that place has the check off, and the wall has not.
    """

    setting: PictureCheck
    verdict: Verdict
    nsfw: float | None = None
    second: float | None = None
    cover: bytes | None = None
    off_wall: bool = False


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """A picture's check as it is kept. `original_sha256` is what is covered, None where nothing is.

    With `off_wall` the check alone keeps its dream from the wall.
    """

    dream_id: str
    verdict: Verdict
    nsfw: float | None
    original_sha256: str | None
    off_wall: bool
