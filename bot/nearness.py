"""How near a text is to a subject, whatever model has embedded them. Blocks for microseconds.

How near a prompt is to a subject is told by their vectors, as the preferred CLIP sees texts. All
texts have much in common there, so they are measured from the middle of prompts of all kinds. And a
cosine says something else with every model and every subject, so it is counted in standard
deviations: of the cosines of those prompts with the subject, and of theirs with the prompt; the
mean of the two is taken (symmetric score normalisation).

Source: R. Auckenthaler, M. Carey, H. Lloyd-Thomas, "Score Normalization for Text-Independent
Speaker Verification Systems", Digital Signal Processing 10 (2000), for the two normalisations;
J. Mu, P. Viswanath, "All-but-the-Top", ICLR 2018, for the centring.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bot.vector_rows import Vector, Vectors

WEIGHT_STEP, MOST_WEIGHT = 0.05, 2.0


class Background:
    """Prompts of all kinds, as one model sees them."""

    def __init__(self, vectors: Sequence[Vector]) -> None:
        """`vectors` are unit vectors [dim]."""
        import numpy as np  # slow to load, and seldom needed

        self._mean: Vector = np.mean(vectors, axis=0)
        self._centred: Vectors = np.stack([self.centred(vector) for vector in vectors])

    def centred(self, vector: Vector) -> Vector:
        """Return the unit vector [dim] from the middle of all of them towards one."""
        return unit(vector - self._mean)

    def usual(self, centred: Vector) -> tuple[float, float]:
        """Return the mean and the standard deviation of their cosines with a centred one [dim]."""
        cosines = self._centred @ centred
        return float(cosines.mean()), max(float(cosines.std()), 1e-6)


class Yardstick:
    """How near texts are to one subject."""

    def __init__(self, subject: Vector, background: Background) -> None:
        """`subject` is a unit vector [dim]."""
        self._subject = subject
        self._background = background
        self._centred = background.centred(subject)
        self._mean, self._deviation = background.usual(self._centred)

    def nearness(self, text: Vector) -> float:
        """Return how near a unit vector [dim] is, in standard deviations above what is usual."""
        centred = self._background.centred(text)
        cosine = float(self._centred @ centred)
        mean, deviation = self._background.usual(centred)
        return ((cosine - self._mean) / self._deviation + (cosine - mean) / deviation) / 2

    def weight(self, text: Vector, bound: float) -> float:
        """Return the least weight with which the subject brings a sum [dim] within the bound.

        The sum is of a prompt's vectors, whose weights add up to 1. At most `MOST_WEIGHT`.
        """
        for steps in range(1, round(MOST_WEIGHT / WEIGHT_STEP)):
            weight = steps * WEIGHT_STEP
            if self.nearness(unit(text + weight * self._subject)) >= bound:
                return round(weight, 2)
        return MOST_WEIGHT


def unit(vector: Vector) -> Vector:
    """Return a vector [dim] with the length 1, unless it has none."""
    length = math.sqrt(float(vector @ vector))
    return vector / length if length else vector
