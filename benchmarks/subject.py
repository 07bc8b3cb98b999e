"""How well a theme tells prompts that fit its subject from those that do not (`bot.subject`).

Twelve subjects with eight prompts each that a person would say fit, some without a word of the
subject; what fits one subject does not fit the others. Half of the subjects were used to choose
the measure and its scale, the other half only to report on. Texts alone are embedded, by the model
that the product looks with.

    python -m benchmarks.subject

Prints, for each measure, the area under the ROC curve, and for the product's own how many
prompts that fit, and that do not, pass at each strictness; then one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bot.config import Config
from bot.nearness import Background, Yardstick
from bot.services import services
from bot.subject import list_prompts, threshold

Vectors = NDArray[np.float32]

CHOSEN_BY: dict[str, tuple[str, ...]] = {
    "misty castles": (
        "a ruined fortress in the fog",
        "towers above the clouds",
        "a drawbridge at dawn",
        "the castle of a forgotten king",
        "battlements in the rain",
        "a gothic palace on a hill",
        "a stronghold in the mountains",
        "a stone gate covered with ivy",
    ),
    "cats and kittens": (
        "a tabby asleep on a windowsill",
        "a kitten with a ball of wool",
        "a black cat on a roof at night",
        "two Siamese cats",
        "a lion cub yawning",
        "a ginger tom in the garden",
        "paws and whiskers",
        "a cat in a box",
    ),
    "planets and their landscapes": (
        "a red desert under two suns",
        "the rings of Saturn seen from a moon",
        "craters on Mars",
        "an alien jungle with glowing plants",
        "a frozen world far from its star",
        "mountains on another planet",
        "an ocean of methane",
        "the sky of Jupiter",
    ),
    "under the sea": (
        "a coral reef",
        "a whale and her calf",
        "a sunken ship",
        "jellyfish in the dark",
        "a diver with a lamp",
        "an octopus in its cave",
        "the deep sea",
        "a shoal of silver fish",
    ),
    "good food": (
        "a steaming bowl of noodles",
        "a chocolate cake with strawberries",
        "fresh bread from the oven",
        "sushi on a wooden board",
        "a hamburger and fries",
        "a table laid for breakfast",
        "vegetables at a market stall",
        "an apple pie",
    ),
    "old trains": (
        "a steam locomotive in the snow",
        "a railway station of the last century",
        "the Orient Express",
        "a viaduct with a train on it",
        "rusty carriages on a siding",
        "a signal box",
        "an engine driver in his cab",
        "rails into the distance",
    ),
}
REPORTED_ON: dict[str, tuple[str, ...]] = {
    "gardens at night": (
        "roses by moonlight",
        "fireflies above a pond",
        "a fountain under the stars",
        "lanterns in the trees",
        "a moth on a white flower",
        "a hedge maze in the dark",
        "a bench below a willow at midnight",
        "a greenhouse lit from inside",
    ),
    "robots": (
        "an android with a violin",
        "a rusty machine man",
        "a mechanical dog",
        "a cyborg in the rain",
        "a factory of metal arms",
        "a tin toy with a key in its back",
        "a giant mech over the city",
        "a small droid on a shelf",
    ),
    "winter": (
        "a snowman in front of a house",
        "skaters on a frozen lake",
        "icicles",
        "a sledge on a hill",
        "a blizzard in the forest",
        "footprints in the snow",
        "a polar fox",
        "Christmas in a mountain village",
    ),
    "music": (
        "a violin on a chair",
        "an orchestra in a great hall",
        "a jazz singer",
        "a drummer",
        "piano keys",
        "a boy with a guitar",
        "the choir of a cathedral",
        "dancing notes",
    ),
    "dragons and knights": (
        "a fire-breathing beast above a burning village",
        "a hero in shining armour",
        "a sword in a stone",
        "a hoard of gold in a cave",
        "a tournament with lances",
        "a winged serpent",
        "the last dragon's egg",
        "a shield with a lion on it",
    ),
    "the city after rain": (
        "neon lights in puddles",
        "wet streets at night",
        "a taxi in a flooded avenue",
        "umbrellas on a crossing",
        "reflections of skyscrapers on the asphalt",
        "a rainy alley",
        "a tram in the drizzle",
        "windows with drops of water",
    ),
}
STRICTNESSES = (0.0, 0.25, 0.5, 0.75, 1.0)


def pairs(sets: dict[str, tuple[str, ...]]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return (subject, prompt) that fit, and that do not."""
    fit = [(subject, prompt) for subject, prompts in sets.items() for prompt in prompts]
    foreign = [
        (subject, prompt)
        for subject in sets
        for other, prompts in sets.items()
        if other != subject
        for prompt in prompts
    ]
    return fit, foreign


def area(fit: NDArray[np.floating], foreign: NDArray[np.floating]) -> float:
    """Return the area under the ROC curve: how often what fits scores above what does not."""
    above = (fit[:, None] > foreign[None]).mean() + 0.5 * (fit[:, None] == foreign[None]).mean()
    return round(float(above), 4)


def measures(background: Vectors) -> dict[str, Callable[[Vectors, Vectors], float]]:
    """Return ways of telling how near two unit vectors [dim] are; the product's is the last."""
    mean, middle = background.mean(0), Background([*background])

    def centred(a: Vectors, b: Vectors) -> float:
        a, b = a - mean, b - mean
        return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))

    def z(a: Vectors, b: Vectors) -> float:
        cosines = background @ a
        return float((a @ b - cosines.mean()) / cosines.std())

    def rank(a: Vectors, b: Vectors) -> float:
        return float((background @ a < a @ b).mean())

    return {
        "cosine": lambda a, b: float(a @ b),
        "cosine, centred": centred,
        "rank": rank,
        "z": z,
        "symmetric z": lambda a, b: (z(a, b) + z(b, a)) / 2,
        "the product's": lambda a, b: Yardstick(a, middle).nearness(b),
    }


async def measure() -> dict[str, object]:
    """Embed all texts, and return the figures."""
    sets = {**CHOSEN_BY, **REPORTED_ON}
    texts = list(dict.fromkeys([*sets, *(one for prompts in sets.values() for one in prompts)]))
    general = list(list_prompts())
    vectors: dict[str, Vectors] = {}
    with tempfile.TemporaryDirectory(prefix="dreamstream-") as folder:
        async with services(Config(), Path(folder), first_up_s=120.0) as parts:
            while not (parts.supervisor.up and parts.supervisor.perceptors):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            perceptor = parts.seeing.perceptor()
            wanted = list(dict.fromkeys([*texts, *general]))
            for start in range(0, len(wanted), 64):
                some = wanted[start : start + 64]
                seen = await parts.seeing.embed(texts=some, limit_s=120.0)
                vectors |= dict(zip(some, seen.texts, strict=True))
    background = np.stack([vectors[text] for text in general])
    found: dict[str, object] = {"benchmark": "subject", "perceptor": perceptor}
    for title, part in (("chosen by", CHOSEN_BY), ("reported on", REPORTED_ON)):
        fit, foreign = pairs(part)
        areas = {}
        for name, of in measures(background).items():
            scores = [
                np.array([of(vectors[subject], vectors[prompt]) for subject, prompt in some])
                for some in (fit, foreign)
            ]
            areas[name] = area(scores[0], scores[1])
        passing = {
            f"{strictness:g}": [
                round(float((some >= threshold(strictness)).mean()), 3) for some in scores
            ]
            for strictness in STRICTNESSES
        }
        found[title] = {
            "pairs": [len(fit), len(foreign)],
            "area_under_roc": areas,
            "pass_at_strictness": passing,
        }
    return found


def main() -> None:
    """Measure and print."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    found = asyncio.run(measure())
    for title in ("chosen by", "reported on"):
        part = found[title]
        assert isinstance(part, dict)
        print(f"{title}: {part['pairs'][0]} that fit, {part['pairs'][1]} that do not")
        for name, value in part["area_under_roc"].items():
            print(f"  {name:18}{value:>8.3f}")
        for strictness, (fit, foreign) in part["pass_at_strictness"].items():
            print(
                f"  strictness {strictness:>5}: pass {fit:>6.0%} that fit, {foreign:>5.0%} others"
            )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
