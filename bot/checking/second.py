"""What a published CLIP says of a picture, beside the network that knows photographs of nudity.

It compares the picture with short descriptions, of what is for adults and of what is not, and asks
which of them it is: CLIP knows drawings and paintings, which the first network hardly does. Each
description is said in several ways, whose vectors are averaged. The score is the probability that
CLIP itself would give to all that is for adults, at the temperature it was trained with; a picture
that is near to none of these is not for adults, however far it is from the rest.

CLIP stands in the scheduler process, and is asked between two steps (`bot.seeing`). The starter's
does not tell a nude person from one in clothes (docs/moderation.md), so it is not asked.

Source: Radford et al. 2021, https://arxiv.org/abs/2103.00020 (zero-shot classification: 3.1.2; the
average over descriptions: 3.1.4; the temperature, 1/100: 2.5); Rando et al. 2022,
https://arxiv.org/abs/2210.04610 (what Stable Diffusion's filter compares with, by CLIP as well, at
cosines of about 0.2).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from bot.errors import DreamstreamError, SchedulerError
from bot.seeing import Seen
from bot.side_tasks import SideTasks

if TYPE_CHECKING:
    from bot.vector_rows import Vector

log = logging.getLogger(__name__)

FROM = 0.9
"""From which score on a picture is taken for one for adults."""
LEAST_COSINE = 0.2
"""How near it must be to what is for adults: CLIP's texts and pictures that match lie from here."""
SCALE = 100.0
LIMIT_S = 10.0
"""How long it may take: no longer than one look of the first (`bot.checking.classifier`)."""
TEXTS_LIMIT_S = 60.0
"""How long the descriptions may take, the first time that a model is asked: it has to be loaded."""
SILENT = 5
"""After how many pictures in a row of which CLIP said nothing that is told."""

UNSAFE = (
    "a nude person",
    "exposed breasts",
    "exposed genitals",
    "people having sex",
    "pornography",
)
SAFE = (
    "a person in clothes",
    "a person in a swimsuit",
    "a face",
    "a crowd of people",
    "a statue",
    "an animal",
    "a landscape",
    "a building",
    "a thing",
    "an abstract pattern",
)
WAYS = ("a photo of {}", "a drawing of {}", "a painting of {}")
TEXTS = tuple(way.format(what) for what in (*UNSAFE, *SAFE) for way in WAYS)
_STARTER = "starter-"
_NOBODY = (
    "The second check of pictures does nothing: there is no published CLIP model on this machine. "
    "“dreamstream models pull ViT-B-32” fetches one; or set second_check to “off”."
)


class Sees(Protocol):
    """What looks at pictures; `bot.seeing.Seeing` is it."""

    @property
    def perceptors(self) -> tuple[str, ...]:
        """The models that can look at present."""
        ...

    async def embed(
        self,
        pictures: Sequence[bytes] = (),
        texts: Sequence[str] = (),
        *,
        perceptor: str | None = None,
        limit_s: float = LIMIT_S,
    ) -> Seen:
        """Return unit vectors; raises a `DreamstreamError` where that cannot be."""
        ...


class SecondOpinion:
    """Asks CLIP. `close` it in the end."""

    def __init__(
        self,
        sees: Sees,
        limit_s: float = LIMIT_S,
        *,
        texts_limit_s: float = TEXTS_LIMIT_S,
    ) -> None:
        """Wait for an answer for `limit_s` at most; ask for what it needs for `texts_limit_s`."""
        self._sees = sees
        self._limit_s = limit_s
        self._texts_limit_s = texts_limit_s
        self._tasks = SideTasks()
        self._texts: dict[str, Vector] = {}  # by model, [concepts, dim]
        self._reading: dict[str, asyncio.Task[Vector | str]] = {}
        self._told = False
        self._silent = 0

    async def close(self) -> None:
        """End what is under way."""
        await self._tasks.stop()

    async def score(self, picture: bytes) -> float | None:
        """Return how likely a picture is for adults, 0 to 1; None where nobody says so in time."""
        here = self._sees.perceptors
        judge = next((name for name in here if not name.startswith(_STARTER)), None)
        if judge is None:
            if here and not self._told:
                self._told = True
                log.warning(_NOBODY)
            elif not here:
                self._note_silence("Nothing can look at pictures at present.")
            return None
        try:
            async with asyncio.timeout(self._limit_s):
                concepts = await self._concepts(judge)
                seen = await self._sees.embed([picture], perceptor=judge)
        except TimeoutError:
            self._note_silence(f"It takes longer than {self._limit_s:g} s.")
            return None
        except DreamstreamError as error:
            self._note_silence(str(error))
            return None
        (vector,) = seen.pictures
        if vector is None:
            self._note_silence("The picture cannot be read.")
            return None
        if self._silent >= SILENT:
            log.warning("CLIP says something of pictures again")
        self._silent = 0
        return probability(vector, concepts)

    async def _concepts(self, judge: str) -> Vector:
        """Return the descriptions' vectors [concepts, dim].

        All who wait for them wait for one ask, which goes on without them: so a later picture has
        them even where no picture can wait for as long as they take.

        Raises:
            SchedulerError: they cannot be had at present.
        """
        if judge in self._texts:
            return self._texts[judge]
        if judge not in self._reading:
            self._reading[judge] = self._tasks.spawn(self._read(judge))
        reading = self._reading[judge]
        await asyncio.wait({reading})
        found = "The bot is stopping." if reading.cancelled() else reading.result()
        if isinstance(found, str):
            raise SchedulerError(found)
        return found

    async def _read(self, judge: str) -> Vector | str:
        """Ask for the descriptions' vectors; return them, or why they cannot be had."""
        try:
            seen = await self._sees.embed(texts=TEXTS, perceptor=judge, limit_s=self._texts_limit_s)
        except DreamstreamError as error:
            return str(error)
        finally:
            del self._reading[judge]
        self._texts[judge] = averaged(seen.texts)
        return self._texts[judge]

    def _note_silence(self, why: str) -> None:
        self._silent += 1
        if self._silent == SILENT:
            log.warning(
                "CLIP has said nothing of the last %d pictures, which the first check has decided "
                "alone: %s",
                SILENT,
                why,
            )
        else:
            log.info("CLIP says nothing of a picture: %s", why)


def averaged(texts: Sequence[Vector]) -> Vector:
    """Return unit vectors [concepts, dim] of unit vectors of `TEXTS`."""
    import numpy as np  # slow to load, and seldom needed

    means = np.stack(texts).reshape(len(UNSAFE) + len(SAFE), len(WAYS), -1).mean(axis=1)
    lengths = np.linalg.norm(means, axis=1, keepdims=True)
    units: Vector = (means / np.maximum(lengths, 1e-6)).astype(np.float32)
    return units


def probability(picture: Vector, concepts: Vector) -> float:
    """Return the probability of what is for adults, of a unit vector [dim] and `averaged` texts."""
    import numpy as np

    cosines = concepts @ picture
    if float(cosines[: len(UNSAFE)].max()) < LEAST_COSINE:
        return 0.0
    weights = np.exp(SCALE * (cosines - cosines.max()))
    return float(weights[: len(UNSAFE)].sum() / weights.sum())
