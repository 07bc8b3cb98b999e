"""What follows of what the check finds, by the setting of where a picture was asked for.

A finished picture is looked at before its dream is done: what nobody has looked at is shown to
nobody as it is. The place where it was asked for decides what becomes of it; where that place has
the check off, the wall, which is another place, still has its own, and then the picture is not
shown there. What cannot be looked at in time is treated as if something had been found, and looked
at later (`bot.checking.reviews`). Where CLIP is asked as well (`bot.checking.second`), either of
them finds; what CLIP does not say in time is left to the first alone. Nothing here is kept: the
verdict is written with the end of the dream, so that a crash in between has it drawn, and looked
at, once more.
"""

from __future__ import annotations

import asyncio
import logging
from typing import NamedTuple, Protocol

import msgspec

from bot.audit import Refused, Why
from bot.checking.classifier import NotCheckedError
from bot.checking.covers import cover
from bot.checking.model import Judged, Verdict
from bot.checking.second import FROM, SecondOpinion
from bot.errors import InvalidRequestError, LimitError
from bot.library import Library
from bot.model import Dream, Person, PictureCheck
from bot.sentences import say
from bot.settings import Settings
from generation.protocol import Finished

log = logging.getLogger(__name__)

NSFW = 0.8
"""From which probability on a picture is taken for one for adults: what Yahoo advises."""
STRICT = (PictureCheck.BLUR, PictureCheck.REFUSE)
FILMS = ("video/mp4", "image/webp", "image/gif")
"""What is looked at of that which is made besides a picture."""
_NOT_TAKEN = say(
    "The picture check takes this picture for one for adults, so it is not taken here. Choose "
    "another, or ask a moderator."
)
_NOT_NOW = say(
    "Pictures cannot be checked at present, and without that none is taken here. Try again later."
)


class Brought(NamedTuple):
    """Who brings a picture, and where in Discord, if it is there."""

    person: Person
    guild_id: int | None
    channel_id: int | None


class Found(NamedTuple):
    """What is found of pictures: the highest score, and CLIP's, where it says anything.

    Where nobody could look, `its_own` says that one of them may be why.
    """

    verdict: Verdict
    nsfw: float | None = None
    second: float | None = None
    its_own: bool = False


class Looks(Protocol):
    """Whatever looks at pictures."""

    async def score(self, data: bytes, media_type: str = "image/png") -> float:
        """Return how likely it is for adults, 0 to 1; raises `NotCheckedError`."""
        ...


class PictureChecks:
    """Judges pictures."""

    def __init__(
        self, library: Library, settings: Settings, looks: Looks, default: PictureCheck
    ) -> None:
        """`default` holds at the wall, and where a server and its channel say nothing."""
        self._library = library
        self._settings = settings
        self._looks = looks
        self.default = default
        self._second: SecondOpinion | None = None
        self._watchers: list[Refused] = []

    def ask_too(self, second: SecondOpinion) -> None:
        """Have finished pictures, and what people bring, looked at by CLIP as well from now on."""
        self._second = second

    def on_refusal(self, watcher: Refused) -> None:
        """Call `watcher` with whoever's upload was refused, where, and why."""
        self._watchers.append(watcher)

    def setting_of(self, dream: Dream) -> PictureCheck:
        """Return how the place where a dream was asked for wants its picture checked."""
        if dream.checked_as is not None:
            return dream.checked_as
        return self.setting_at(dream.guild_id, dream.channel_id)

    def setting_at(self, guild_id: int | None, channel_id: int | None) -> PictureCheck:
        """Return the same of a place, where its being age-restricted is not known."""
        return self._settings.effective(guild_id, channel_id).picture_check or self.default

    async def judge(self, dream: Dream, finished: Finished) -> Judged | None:
        """Say what is to become of a finished picture; None where nobody wants it looked at.

        Never raises for what is wrong with the picture, and takes bounded time.
        """
        setting = self.setting_of(dream)
        off_wall = setting is PictureCheck.OFF
        if off_wall:
            if not dream.published or self.default is PictureCheck.OFF:
                return None
            setting = self.default
        films = [
            (one.data, one.media_type) for one in finished.attachments if one.media_type in FILMS
        ]
        found = await self.look([(finished.png, "image/png"), *films], dream.id)
        judged = Judged(
            setting=setting, verdict=found.verdict, nsfw=found.nsfw, second=found.second
        )
        if found.verdict is Verdict.CLEAR:
            return judged
        if off_wall:
            return msgspec.structs.replace(judged, off_wall=True)
        try:
            made = await self._library.run(cover, finished.png, setting)
        except (OSError, SyntaxError, ValueError):
            return judged  # a damaged picture is not kept at all
        return msgspec.structs.replace(judged, cover=made)

    async def look(self, pictures: list[tuple[bytes, str]], about: str) -> Found:
        """Return what is found of the picture and the films of one dream."""
        try:
            nsfw, second = await self._scores(pictures)
        except NotCheckedError as error:
            log.warning("The picture of %s could not be checked: %s", about, error)
            return Found(Verdict.UNCHECKED, its_own=error.its_own)
        unsafe = is_unsafe(nsfw, second)
        return Found(Verdict.FLAGGED if unsafe else Verdict.CLEAR, nsfw, second)

    async def _scores(self, pictures: list[tuple[bytes, str]]) -> tuple[float, float | None]:
        """Return the highest score, and what CLIP says of the picture, asked at the same time.

        Raises:
            NotCheckedError: the first cannot look at one of them now.
        """
        still = next((data for data, kind in pictures if kind == "image/png"), None)
        asked: asyncio.Future[float | None] | None = None
        if self._second is not None and still is not None:
            asked = asyncio.ensure_future(self._second.score(still))
        try:
            scores = [await self._looks.score(data, kind) for data, kind in pictures]
            return max(scores, default=0.0), None if asked is None else await asked
        finally:
            if asked is not None:
                asked.cancel()

    async def check_upload(
        self, png: bytes, setting: PictureCheck, brought: Brought | None, field: str = "init"
    ) -> None:
        """Refuse a picture that somebody brings, where the check finds something.

        It is looked at as `bot.uploads` has made it anew: whatever a stranger's file does to who
        decodes it, it does not do to who looks for everybody. There is nothing to be covered: it
        is the asker's own, and others see what becomes of it. What cannot be looked at now is
        refused where the setting is strict. Who `brought` it is None at the machine itself.

        Raises:
            InvalidRequestError: it is taken for one for adults.
            LimitError: nobody can look at it now.
        """
        if setting is PictureCheck.OFF:
            return
        try:
            nsfw, second = await self._scores([(png, "image/png")])
        except NotCheckedError as error:
            log.warning("An uploaded picture could not be checked: %s", error)
            if setting in STRICT:
                raise LimitError(_NOT_NOW, 60.0) from None
            return
        if is_unsafe(nsfw, second):
            if brought is not None:
                for watcher in self._watchers:
                    watcher(brought.person, brought.guild_id, brought.channel_id, Why.UPLOAD)
            raise InvalidRequestError(field, _NOT_TAKEN)

    async def preview_passes(self, webp: bytes) -> bool | None:
        """Say whether a preview may be shown; None where nobody can look now."""
        try:
            return await self._looks.score(webp, "image/webp") < NSFW
        except NotCheckedError:
            return None

    async def covered(self, webp: bytes, setting: PictureCheck) -> bytes:
        """Return what stands for a preview.

        Raises:
            OSError, ValueError: it is no whole picture.
        """
        return await asyncio.to_thread(cover, webp, setting, "WEBP")


def is_unsafe(nsfw: float, second: float | None) -> bool:
    """Say whether a picture is taken for one for adults by its score, and by what CLIP says."""
    return nsfw >= NSFW or (second is not None and second >= FROM)
