"""What CLIP sees: how near a picture is to a text, and which words are nearest to it.

The vectors come from the scheduler process, which has the models; they are compared here. Asks
that come while one is on its way go together with the next. The word list's vectors are worked
out once for each model, a piece at a time, and kept on disk.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bot import upload_process
from bot.errors import DiskError, InvalidRequestError, LimitError, SchedulerError
from bot.files import write_atomic
from bot.library import Library
from bot.side_tasks import SideTasks
from bot.text import clean, visible
from bot.uploads import MAX_SIDE_PX, UploadLimits, to_png
from generation.protocol import MAX_EMBEDDED_PICTURES, MAX_EMBEDDED_TEXTS, Embedded

if TYPE_CHECKING:
    from bot.vector_rows import Vector

log = logging.getLogger(__name__)

LIMIT_S = 30.0
"""How long one ask may take. Longer than a model takes to load, and than a slow step."""
WORDS_LIMIT_S = 300.0
"""How long all words may take, the first time that a model is asked."""
MAX_WAITING = 200
MAX_TEXT = 1000
MAX_WORDS = 50
SEEN_SIDE_PX = 512  # models see less than that

# What strangers send is made small before, within the bounds on uploads (`Seeing.uploaded`). What
# was drawn here is as large as it was made, and no bound on uploads is meant for it.
_KEPT = UploadLimits(max_bytes=sys.maxsize, max_pixels=MAX_SIDE_PX**2)
_WORDS_FILE = Path(__file__).parent / "data" / "words.txt"
_NO_EYES = "There is no CLIP model on this machine, so nothing can look at pictures."
_NOT_UP = "Nothing can look at pictures at present: the drawing process is starting. Try again."
_TOO_SLOW = "Looking takes too long at present: the machine is busy. Try again in a moment."


class Eyes(Protocol):
    """Where vectors come from; `bot.supervisor` is it."""

    @property
    def up(self) -> bool:
        """Whether there is anything to ask."""
        ...

    @property
    def perceptors(self) -> tuple[str, ...]:
        """The models that can look, the preferred one first."""
        ...

    async def embed(
        self, perceptor: str, pictures: Sequence[bytes] = (), texts: Sequence[str] = ()
    ) -> Embedded:
        """Return the vectors of encoded pictures and of texts.

        Raises:
            SchedulerError: it is gone, or went away over it.
        """
        ...


@dataclass(frozen=True)
class Seen:
    """Unit vectors [dim] in the order of the asking; None for a picture that cannot be read."""

    pictures: tuple[Vector | None, ...]
    texts: tuple[Vector, ...]


@dataclass
class _Wish:
    """Something to be embedded, and who waits for it."""

    perceptor: str
    picture: bytes | None = None
    text: str = ""
    vector: asyncio.Future[bytes] = field(default_factory=asyncio.Future)


class Seeing:
    """Looks at pictures. `close` it in the end."""

    def __init__(self, eyes: Eyes, library: Library) -> None:
        self._eyes = eyes
        self._library = library
        self._wishes: deque[_Wish] = deque()
        self._tasks = SideTasks()
        self._asking = False
        self._listing = asyncio.Lock()
        self._words: dict[str, Vector] = {}
        self._looked_up: dict[str, list[bytes]] = {}  # of some words, in their order

    async def close(self) -> None:
        """End what is under way."""
        await self._tasks.stop()

    @property
    def perceptors(self) -> tuple[str, ...]:
        """The models that can look at present, the preferred one first."""
        return self._eyes.perceptors if self._eyes.up else ()

    def perceptor(self) -> str:
        """Return the model that looks, where none is named.

        Raises:
            SchedulerError: nothing can look at present, and why.
        """
        if not self._eyes.up:
            raise SchedulerError(_NOT_UP)
        if not self._eyes.perceptors:
            raise SchedulerError(_NO_EYES)
        return self._eyes.perceptors[0]

    async def score(self, picture: bytes, text: str) -> float:
        """Return the cosine, -1 to 1, of an uploaded picture with a text.

        Raises:
            InvalidRequestError: the picture cannot be read or is too large, or the text is empty.
            SchedulerError: nothing can look at present.
            LimitError: too many wait for it.
        """
        text = check_text(text, "Say in 1 to {:,} characters what the picture should show.")
        picture = await self.uploaded(picture)
        seen = await self.embed([picture], [text])
        return float(_readable(seen.pictures[0]) @ seen.texts[0])

    async def describe(
        self, picture: bytes, count: int = 8, *, own: bool = False
    ) -> list[tuple[str, float]]:
        """Return the words nearest to an uploaded picture, best first, with their cosines.

        No bound on uploads holds for our `own`, as with `embed`. The first time with a model takes
        longer: its words are looked up.

        Raises:
            As `score` does.
        """
        if not 1 <= count <= MAX_WORDS:
            raise InvalidRequestError("count", f"Ask for 1 to {MAX_WORDS} words.")
        perceptor = self.perceptor()
        if not own:
            picture = await self.uploaded(picture)
        vectors = await self.word_vectors(perceptor)
        (seen,) = (await self.embed([picture], perceptor=perceptor)).pictures
        return await self._library.run(_nearest, vectors, _readable(seen), count)

    async def uploaded(self, picture: bytes) -> bytes:
        """Return a stranger's picture so that it is quick to read, for `embed`.

        Raises:
            InvalidRequestError: it cannot be read, or not in time, or is too large.
        """
        limits = self._library.uploads
        return await asyncio.to_thread(
            upload_process.to_png, picture, limits, field="picture", side=SEEN_SIDE_PX
        )

    async def embed(
        self,
        pictures: Sequence[bytes] = (),
        texts: Sequence[str] = (),
        *,
        perceptor: str | None = None,
        limit_s: float = LIMIT_S,
    ) -> Seen:
        """Return the vectors of pictures and of texts, by the preferred model, within `limit_s`.

        The pictures are ours, of any size, or what `uploaded` made of a stranger's.

        Raises:
            InvalidRequestError: a picture cannot be read.
            SchedulerError: nothing can look at present, or not in time.
            LimitError: too many wait for it.
        """
        perceptor = perceptor or self.perceptor()
        wishes: list[_Wish] = []
        try:
            async with asyncio.timeout(limit_s):
                small = [await self._library.run(_small, picture) for picture in pictures]
                wishes += [_Wish(perceptor, picture=picture) for picture in small]
                wishes += [_Wish(perceptor, text=text) for text in texts]
                self._queue(wishes)
                found = await asyncio.gather(*(wish.vector for wish in wishes))
        except TimeoutError:
            raise SchedulerError(_TOO_SLOW) from None
        finally:
            for wish in wishes:
                wish.vector.cancel()
        vectors = [_vector(data) for data in found]
        return Seen(
            tuple(vectors[: len(pictures)]),
            tuple(vector for vector in vectors[len(pictures) :] if vector is not None),
        )

    # --- asking ------------------------------------------------------------------------------

    def _queue(self, wishes: list[_Wish]) -> None:
        if len(self._wishes) + len(wishes) > MAX_WAITING:
            raise LimitError("Many pictures wait to be looked at. Try again in a moment.", 10.0)
        self._wishes.extend(wishes)
        if not self._asking:
            self._asking = True
            self._tasks.spawn(self._ask_all())

    async def _ask_all(self) -> None:
        """Ask for what is wished, several at a time, until nothing is."""
        try:
            while wishes := self._next():
                await self._ask(wishes)
        finally:
            self._asking = False

    def _next(self) -> list[_Wish]:
        """Take the oldest wishes of one model that fit into one ask."""
        chosen: list[_Wish] = []
        left: deque[_Wish] = deque()
        pictures = texts = 0
        while self._wishes:
            wish = self._wishes.popleft()
            if wish.vector.done():
                continue  # nobody waits for it any more
            is_picture = wish.picture is not None
            fits = pictures < MAX_EMBEDDED_PICTURES if is_picture else texts < MAX_EMBEDDED_TEXTS
            if fits and (not chosen or wish.perceptor == chosen[0].perceptor):
                chosen.append(wish)
                pictures, texts = pictures + is_picture, texts + (not is_picture)
            else:
                left.append(wish)
        self._wishes = left
        return chosen

    async def _ask(self, wishes: list[_Wish]) -> None:
        pictures = [wish.picture for wish in wishes if wish.picture is not None]
        texts = [wish.text for wish in wishes if wish.picture is None]
        try:
            async with asyncio.timeout(LIMIT_S):
                answer = await self._eyes.embed(wishes[0].perceptor, pictures, texts)
            if answer.reason:
                raise SchedulerError(answer.reason)
            if (len(answer.pictures), len(answer.texts)) != (len(pictures), len(texts)):
                raise SchedulerError("The drawing process answered something else. Try again.")
        except (SchedulerError, TimeoutError) as error:
            for wish in wishes:
                if not wish.vector.done():
                    wish.vector.set_exception(
                        error if isinstance(error, SchedulerError) else SchedulerError(_TOO_SLOW)
                    )
            return
        answers = iter(answer.pictures), iter(answer.texts)
        for wish in wishes:
            vector = next(answers[wish.picture is None])
            if not wish.vector.done():
                wish.vector.set_result(vector)

    # --- words -------------------------------------------------------------------------------

    async def word_vectors(self, perceptor: str) -> Vector:
        """Return the unit vectors [words, dim] of `list_words`, from memory, disk, or the model.

        The first time with a model takes longer. Who goes away meanwhile does not end that. Where
        it does not come to its end, the next time goes on from there.

        Raises:
            SchedulerError: nothing can look at present, or not in time.
            LimitError: too many wait for it.
        """
        return await self._tasks.finish(self._words_of(perceptor))

    async def knows_words(self, perceptor: str) -> bool:
        """Say whether these vectors are there, so that no model need be asked for them."""
        if perceptor in self._words:
            return True
        if self._listing.locked():
            return False
        async with self._listing:
            kept = await self._library.run(_read_vectors, self._words_path(perceptor))
            if kept is not None:
                self._words[perceptor] = kept
        return kept is not None

    async def _words_of(self, perceptor: str) -> Vector:
        async with self._listing:
            if perceptor not in self._words:
                path = self._words_path(perceptor)
                kept = await self._library.run(_read_vectors, path)
                if kept is None:
                    kept = await self._look_words_up(perceptor, path)
                self._words[perceptor] = kept
            return self._words[perceptor]

    async def _look_words_up(self, perceptor: str, path: Path) -> Vector:
        rows = self._looked_up.setdefault(perceptor, [])
        words = list_words()
        try:
            async with asyncio.timeout(WORDS_LIMIT_S):
                while some := words[len(rows) :][:MAX_EMBEDDED_TEXTS]:
                    seen = await self.embed(texts=some, perceptor=perceptor)
                    rows += [_bytes(vector) for vector in seen.texts]
        except TimeoutError:
            raise SchedulerError(_TOO_SLOW) from None
        del self._looked_up[perceptor]
        data = b"".join(rows)
        try:
            await self._library.run(write_atomic, path, data, durable=False)
        except DiskError as error:
            log.warning("The words' vectors are not kept: %s", error)
        vectors = _matrix(data)
        if vectors is None:
            raise SchedulerError("The words could not be looked up. Try again.")
        return vectors

    def _words_path(self, perceptor: str) -> Path:
        # Of the model's name and the words: a change of either makes another file.
        text = "\n".join((perceptor, *list_words()))
        digest = hashlib.sha256(text.encode()).hexdigest()[:32]
        return self._library.root / "words" / f"{digest}.f16"


def check_text(text: str, sentence: str) -> str:
    """Return a text as it is looked at; `sentence` says what it has to be, {} how long at most.

    Raises:
        InvalidRequestError: it is empty, or too long.
    """
    text = clean(text[: 2 * MAX_TEXT])
    if not visible(text) or len(text) > MAX_TEXT:
        raise InvalidRequestError("text", sentence.format(MAX_TEXT))
    return text


@cache
def list_words() -> tuple[str, ...]:
    """Return the words and phrases among which `describe` searches."""
    lines = _WORDS_FILE.read_text(encoding="utf-8").splitlines()
    return tuple(line for line in lines if line and not line.startswith("#"))


def _small(picture: bytes) -> bytes:
    return to_png(picture, _KEPT, field="picture", side=SEEN_SIDE_PX)


def _nearest(vectors: Vector, picture: Vector, count: int) -> list[tuple[str, float]]:
    cosines = vectors @ picture
    best = cosines.argsort()[::-1][:count]
    words = list_words()
    return [(words[row], float(cosines[row])) for row in best]


def _readable(vector: Vector | None) -> Vector:
    if vector is None:
        raise InvalidRequestError("picture", "The picture cannot be read. Send it as PNG or JPEG.")
    return vector


def _vector(data: bytes) -> Vector | None:
    """Read a vector [dim] from little-endian float16; None from nothing."""
    import numpy as np  # slow to load, and seldom needed

    return np.frombuffer(data, "<f2").astype(np.float32) if data else None


def _bytes(vector: Vector) -> bytes:
    return vector.astype("<f2").tobytes()


def _matrix(data: bytes) -> Vector | None:
    """Read the word list's vectors [words, dim]; None from what cannot be them."""
    import numpy as np

    words = len(list_words())
    if not data or len(data) % (2 * words):
        return None
    vectors = np.frombuffer(data, "<f2").astype(np.float32).reshape(words, -1)
    norms = np.linalg.norm(vectors, axis=1)
    # A power cut may leave zeros: the file is not synced.
    return vectors if bool(np.all(np.abs(norms - 1) < 0.01)) else None


def _read_vectors(path: Path) -> Vector | None:
    try:
        return _matrix(path.read_bytes())
    except OSError:
        return None
