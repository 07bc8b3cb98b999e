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

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from bot.errors import DreamstreamError
from bot.seeing import Seen

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float32]

log = logging.getLogger(__name__)

FROM = 0.9
"""From which score on a picture is taken for one for adults."""
LEAST_COSINE = 0.2
"""How near it must be to what is for adults: CLIP's texts and pictures that match lie from here."""
SCALE = 100.0
LIMIT_S = 10.0
"""How long it may take: no longer than one look of the first (`bot.checking.classifier`)."""

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
    """Asks CLIP."""

    def __init__(self, sees: Sees, limit_s: float = LIMIT_S) -> None:
        """Wait for an answer for `limit_s` at most."""
        self._sees = sees
        self._limit_s = limit_s
        self._texts: dict[str, Vector] = {}  # by model, [concepts, dim]
        self._told = False

    async def score(self, picture: bytes) -> float | None:
        """Return how likely a picture is for adults, 0 to 1; None where nobody says so in time."""
        here = self._sees.perceptors
        judge = next((name for name in here if not name.startswith(_STARTER)), None)
        if judge is None:
            if here and not self._told:
                self._told = True
                log.warning(_NOBODY)
            return None
        texts = () if judge in self._texts else TEXTS
        try:
            seen = await self._sees.embed([picture], texts, perceptor=judge, limit_s=self._limit_s)
        except DreamstreamError as error:
            log.info("CLIP says nothing of a picture: %s", error)
            return None
        if texts:
            self._texts[judge] = averaged(seen.texts)
        (vector,) = seen.pictures
        return None if vector is None else probability(vector, self._texts[judge])


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
