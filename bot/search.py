"""Search a stream by words, by a picture, or for what is like one of its own.

Searching by words finds what prompts say, then what pictures look like. The vectors of all pictures
are in memory (`bot.looker`), and every one of a stream is compared. What may be seen by whom is
judged anew for every answer, by the database.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import islice

from bot.errors import InvalidRequestError, LimitError, NotFoundError, SchedulerError
from bot.library import Library
from bot.looker import Looker
from bot.model import Dream, Theme
from bot.rights import may_see
from bot.seeing import Seeing, check_text
from bot.store import Store
from bot.store import dreams as rows
from bot.vectors import Near, Shelf, read, written

TWIN = 0.999
"""The cosine from which two pictures count as nearly the same.

With the starter model copies (as JPEG, enlarged, made smaller) are above 0.9998 and two seeds of
one prompt below 0.9985. What is folded is not shown, so it is rather too high than too low.
"""
MOST = 48
MOST_SAYING = 500
MOST_WORDS = 12
_SMALL = frozenset(("a", "an", "the", "of", "in", "on", "at", "by", "and", "or", "with", "for"))
_TEXTS_KEPT = 512
_NOT_READY = "The pictures are still being looked at. Try again in a moment."


@dataclass(frozen=True)
class Hit:
    """A dream that was found. `twins` are how many more are nearly the same.

    The `cosine` of what nobody has looked at yet is 0.
    """

    dream: Dream
    cosine: float
    twins: int = 0

    @property
    def is_twin(self) -> bool:
        """Whether it is nearly the same as what was looked for."""
        return self.cosine >= TWIN


@dataclass(frozen=True)
class Found:
    """What was found, best first. Not `complete` while older pictures have not been looked at."""

    hits: tuple[Hit, ...]
    complete: bool


class Search:
    """The service. `bot.looker` fills what it searches."""

    def __init__(self, store: Store, library: Library, seeing: Seeing, looker: Looker) -> None:
        self._store = store
        self._library = library
        self._seeing = seeing
        self._looker = looker
        self._texts: OrderedDict[tuple[str, str], bytes] = OrderedDict()

    async def by_text(
        self,
        theme: Theme,
        text: str,
        *,
        channel_id: int | None = None,
        count: int = MOST,
        looks_only: bool = False,
    ) -> Found:
        """Return the pictures of a theme whose prompts say a text, then those that look like it.

        The nearest to the text come first among both. Where nothing can look at present, what
        prompts say is found all the same. With `looks_only` prompts count for nothing.

        `channel_id` is the channel in which it is asked, which carries the theme: what is kept to
        that channel counts there. Those nearly the same are counted, not repeated.

        Raises:
            InvalidRequestError: the text is empty or too long.
            SchedulerError: nothing can look at present, and no prompt says it.
            LimitError: too many wait for it, and no prompt says it.
        """
        text = check_text(text, "Say in 1 to {:,} characters what to look for.")
        words = () if looks_only else words_of(text)
        said = await self._saying(theme, words, channel_id)
        try:
            data = await self._vector_of(text)
        except (SchedulerError, LimitError):
            if not said:
                raise
            data = b""
        return await self._nearest(theme, data, channel_id, count, said=said)

    async def _saying(
        self, theme: Theme, words: Collection[str], channel_id: int | None
    ) -> list[str]:
        if not words:
            return []
        found = await rows.prompts(
            self._store, theme.id, having=ascii_part(words), channel_id=channel_id
        )
        return await self._library.run(says, found, words)

    async def _vector_of(self, text: str) -> bytes:
        perceptor = self._ready()
        data = self._texts.get((perceptor, text))
        if data is None:
            (vector,) = (await self._seeing.embed(texts=[text], perceptor=perceptor)).texts
            data = self._texts[perceptor, text] = written(vector)
            while len(self._texts) > _TEXTS_KEPT:
                self._texts.popitem(last=False)
        return data

    async def by_picture(
        self, theme: Theme, picture: bytes, *, channel_id: int | None = None, count: int = MOST
    ) -> Found:
        """Return the pictures of a theme that come nearest to an uploaded one.

        Raises:
            InvalidRequestError: the picture cannot be read, or is too large.
            SchedulerError, LimitError: as `by_text` does.
        """
        perceptor = self._ready()
        picture = await self._seeing.uploaded(picture)
        (vector,) = (await self._seeing.embed([picture], perceptor=perceptor)).pictures
        if vector is None:
            raise InvalidRequestError(
                "picture", "The picture cannot be read. Send it as PNG or JPEG."
            )
        return await self._nearest(theme, written(vector), channel_id, count)

    async def like(
        self, dream: Dream, theme: Theme, *, channel_id: int | None = None, count: int = MOST
    ) -> Found:
        """Return the pictures of a dream's theme that are most like its own; not itself.

        Works also while nothing can look at new pictures.

        Raises:
            NotFoundError: the dream has no picture.
            SchedulerError: its picture has not been looked at yet.
        """
        if dream.image is None or dream.theme_id != theme.id:
            raise NotFoundError("There is no picture yet that others could be like.")
        shelf = self._looker.shelf(theme.id)
        vector = None if shelf is None else shelf.get(dream.id)
        if vector is None:
            self._seeing.perceptor()  # says why, where nothing can look
            raise SchedulerError(_NOT_READY)
        return await self._nearest(theme, written(vector), channel_id, count, like=dream.id)

    async def _nearest(
        self,
        theme: Theme,
        data: bytes,
        channel_id: int | None,
        count: int,
        *,
        like: str = "",
        said: Collection[str] = (),
    ) -> Found:
        shelf = self._looker.shelf(theme.id)
        count = max(1, min(count, MOST))
        near: list[Near] = []
        if shelf is not None and data:
            near = await self._library.run(_search, shelf, data, count, channel_id, like, said)
        # What nobody has looked at yet follows what prompts say and looks like it.
        unseen = [Near(id, 0.0) for id in said if not data or shelf is None or id not in shelf]
        at = sum(one.id in said for one in near)
        found = await self._shown(theme, [*near[:at], *unseen, *near[at:]], channel_id)
        return Found(found[:count], complete=self._looker.complete)

    async def _shown(
        self, theme: Theme, near: Iterable[Near], channel_id: int | None
    ) -> tuple[Hit, ...]:
        """Return those that may be shown, as the database has them now."""
        near = list(near)
        dreams = {one.id: one for one in await rows.by_ids(self._store, [one.id for one in near])}
        return tuple(
            Hit(dream, one.cosine, one.twins)
            for one in near
            if (dream := dreams.get(one.id)) is not None
            and dream.deleted_ms is None
            and dream.image is not None
            and dream.theme_id == theme.id
            and may_see(dream, theme, theme, channel_id)
        )

    def _ready(self) -> str:
        """Return the model whose vectors are here, if it can look at present."""
        perceptor = self._seeing.perceptor()
        if perceptor != self._looker.perceptor:
            raise SchedulerError(_NOT_READY)
        return perceptor


def words_of(text: str) -> tuple[str, ...]:
    """Return the words of a search that prompts are looked through for, case-folded.

    None is returned where they are all too small to tell one prompt from another.
    """
    found = re.findall(r"\w+", text.casefold())
    told = [one for one in found if one not in _SMALL and (len(one) > 1 or not one.isascii())]
    return tuple(dict.fromkeys(told))[:MOST_WORDS]


def ascii_part(words: Collection[str]) -> str:
    """Return the longest part of case-folded words that is in every lower-cased text with them.

    Beyond ASCII a letter may be written otherwise than it folds to: “Straße” folds to “strasse”.
    """
    parts = [part for one in words for part in re.findall("[!-~]+", one.replace("ss", "ß"))]
    return max(parts, key=len, default="")


def says(prompts: Iterable[tuple[str, str]], words: Collection[str]) -> list[str]:
    """Return the ids of the first `MOST_SAYING` prompts that say all of the words. May block.

    A prompt says a word that one of its own begins with, so that what is being typed finds already;
    in scripts other than ASCII, which may not part words, one that is anywhere in it.
    """
    patterns = [
        re.compile(rf"\b{re.escape(one)}" if one.isascii() else re.escape(one)) for one in words
    ]
    found = (
        id
        for id, prompt in prompts
        if all(pattern.search(prompt.casefold()) for pattern in patterns)
    )
    return list(islice(found, MOST_SAYING))


def _search(
    shelf: Shelf,
    data: bytes,
    count: int,
    channel_id: int | None,
    like: str,
    said: Collection[str],
) -> list[Near]:
    vector = read(data)
    if len(vector) != shelf.dim:
        return []
    return shelf.nearest(
        vector,
        count,
        channel_id=channel_id,
        without=like,
        fold=None if like else TWIN,
        first=said,
    )
