"""Whether search finds the right picture: 50 held-out words and phrases, drawn, seen, searched.

The whole product on a folder: starter-diffusion draws each one once (128 px, 25 steps, guidance
7), starter-clip looks at the pictures, and `bot.search` searches the stream by the very words. The
right picture is the one that was drawn for them. What is in the folder already is not drawn again,
so that a run which was ended goes on.

    python -m benchmarks.find --folder FOLDER [--set held-out] [--judge] [--rendered] [--unseen]

`--set development` measures on other words, by which search may be improved. `--judge` has the
judge that took no part in the starter models (`python -m training train judge`) tell the pictures
apart, too: what it cannot find either was drawn badly, rather than seen badly. `--rendered`
searches pictures that were composed, not drawn, by their captions (`python -m training compose`).
`--unseen` searches plain pictures of things by artists whose pictures nothing was trained on: the
emoji of OpenMoji (CC BY-SA 4.0, as `python -m training fetch` brings them), by the things' names.
Prints a table for people and one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from bot.config import Config
from bot.model import Dream, DreamRequest, DreamState, Person, Theme
from bot.services import Services, services
from bot.vectors import PUBLISHED, Shelf

SETS: dict[str, dict[str, tuple[str, ...]]] = {
    # The captions that the starter models learnt from have none of these nouns in them, and are
    # none of these phrases. Neither is the other set's.
    "held-out": {
        "nouns": (
            *("cathedral", "lynx", "canyon", "glacier", "walrus", "heron", "chandelier"),
            *("vineyard", "salmon", "aqueduct", "haystack", "falcon", "panther", "toad"),
            *("trellis", "wheelbarrow", "mantis", "anemone", "orchid", "apricot"),
            *("pomegranate", "kettle", "armchair", "cello", "gargoyle"),
        ),
        "phrases": (
            "a fox in the snow",
            "a yellow boat at sunset",
            "two white rabbits",
            "a blue car in the desert",
            "a pink castle under the stars",
            "three red balloons in the sky",
            "a black cat on the moon",
            "a purple mushroom in the forest",
            "a ship in a storm",
            "a green dragon over a city",
            "a snowman with a hat",
            "an owl at night",
            "a bowl of cherries",
            "a golden key",
            "a train in the mountains",
            "a whale under the sea",
            "a pumpkin on a table",
            "a palm tree on an island",
            "a robot with flowers",
            "a slice of pizza",
            "an orange tent by the sea",
            "a temple at dawn",
            "a rainbow over green hills",
            "a glass of milk",
            "an elephant with an umbrella",
        ),
    },
    "development": {
        "nouns": (
            *("pelican", "lagoon", "cheetah", "vulture", "moth", "caterpillar", "manatee"),
            *("asparagus", "raspberry", "muffin", "thermos", "wardrobe", "clarinet", "bracelet"),
            *("pagoda", "granary", "wagon", "thistle", "oak", "bonfire"),
        ),
        "phrases": (
            "a red apple on grass",
            "a white swan on a lake",
            "a bee on a sunflower",
            "a green frog in the rain",
            "a full moon over the sea",
            "a brown bear in the forest",
            "a cup of coffee on a table",
            "an orange butterfly in a garden",
            "a castle in the mountains",
            "a pirate ship at night",
            "a yellow umbrella in the rain",
            "a horse on the beach",
            "a slice of cake",
            "a white house on a hill",
            "a red bicycle",
            "a volcano at night",
            "a penguin with a scarf",
            "two green pears",
            "a rocket in space",
            "a wolf in the snow",
        ),
    },
}
ME = Person("local:benchmark", "benchmark")
_TOGETHER = 4
_AMONG = 5
_RENDERED = 50
_UNSEEN = 50


def words_of(name: str) -> list[str]:
    """Return the words and phrases of a set."""
    return [words for group in SETS[name].values() for words in group]


async def drawn(parts: Services, name: str) -> tuple[Theme, dict[str, Dream]]:
    """Return the stream of a set, and its picture for each of the words; draw what is missing."""
    if name not in {theme.slug for theme in await parts.themes.list()}:
        await parts.themes.create(name, name)
    theme = await parts.themes.get(name)
    made = {
        dream.prompt: dream
        for dream in await parts.dreams.recent(theme.id, limit=1000)
        if dream.state is DreamState.DONE
    }
    for dream in await parts.dreams.unfinished(theme.id):
        made[dream.prompt] = await parts.dreams.wait(dream.id)
    missing = [(seed, words) for seed, words in enumerate(words_of(name)) if not made.get(words)]
    for start in range(0, len(missing), _TOGETHER):
        asked = [
            dream
            for seed, words in missing[start : start + _TOGETHER]
            for dream in await parts.dreams.ask(
                DreamRequest(
                    theme=name,
                    person=ME,
                    prompt=words,
                    engine="diffusion",
                    model="starter-diffusion",
                    width=128,
                    height=128,
                    steps=25,
                    guidance=7.0,
                    seed=seed,
                )
            )
        ]
        for dream in asked:
            made[dream.prompt] = await parts.dreams.wait(dream.id)
        print(f"{len(made)} of {len(words_of(name))} drawn", flush=True)
    return theme, made


async def looked_at(parts: Services, theme: Theme, count: int) -> None:
    """Wait until every picture of a stream has been looked at."""
    await parts.looker.start()
    while True:
        shelf = parts.looker.shelf(theme.id)
        if parts.looker.complete and shelf is not None and len(shelf) >= count:
            return
        await asyncio.sleep(0.2)


async def ranks(parts: Services, theme: Theme, made: Mapping[str, Dream]) -> dict[str, int]:
    """Return the place, from 0, at which search has the right picture of each of the words."""
    found = {}
    for words, dream in made.items():
        hits = (await parts.search.by_text(theme, words, looks_only=True)).hits
        ids = [hit.dream.id for hit in hits]
        found[words] = ids.index(dream.id) if dream.id in ids else len(made)
    return found


def recall(places: Sequence[int]) -> dict[str, float]:
    """Return how often the right one is first, and how often among the first five."""
    return {
        "at_1": round(sum(place < 1 for place in places) / len(places), 3),
        f"at_{_AMONG}": round(sum(place < _AMONG for place in places) / len(places), 3),
    }


def by_group(name: str, places: Mapping[str, int]) -> dict[str, dict[str, float]]:
    """Return the recall of a set, as a whole and of its nouns and phrases."""
    found = {"all": recall([places[words] for words in words_of(name)])}
    for group, members in SETS[name].items():
        found[group] = recall([places[words] for words in members])
    return found


def judged(pictures: Mapping[str, bytes]) -> dict[str, int] | None:
    """Return the places as `ranks` does, by the judge; None where none was trained."""
    import torch

    from training import judge
    from training.evaluate import pixels

    found = judge.load()
    if found is None:
        return None
    texts = list(pictures)
    views = pixels([Image.open(io.BytesIO(data)) for data in pictures.values()], 128)
    cosines = found.texts(texts) @ found.images(views).T
    places = (cosines > cosines.diagonal()[:, None]).sum(1)
    assert places.shape == torch.Size([len(texts)])
    return dict(zip(texts, places.tolist(), strict=True))


async def rendered(parts: Services) -> dict[str, float] | None:
    """Return the recall of composed pictures that were not trained on; None where none are."""
    from training.shards import HELD_OUT, Shards

    try:
        shards = Shards("square", [HELD_OUT])
    except FileNotFoundError:
        return None
    rows: dict[str, int] = {}
    for row, caption in enumerate(shards.captions):
        if len(rows) < _RENDERED:
            rows.setdefault(caption, row)
    return await told_apart(
        parts, {words: Image.fromarray(shards.picture(row)) for words, row in rows.items()}
    )


async def unseen(parts: Services) -> dict[str, float] | None:
    """Return the recall of OpenMoji's pictures by what they show; None where they are not here."""
    from training.fetch import package_dir
    from training.lists import lines
    from training.render import render_svg, svg_document

    try:
        path = package_dir("@iconify/json") / "package/json/openmoji.json"
        data = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    pictures: dict[str, Image.Image] = {}
    for kind, words in (line.split("\t") for line in lines("prompts")):
        if kind != "object":
            continue
        name = words.split(" ", 1)[-1].replace(" ", "-")
        icon = data["icons"].get(name) or data["icons"].get(f"{name}-face")
        if icon is not None and len(pictures) < _UNSEEN:
            pixels = Image.fromarray(render_svg(svg_document(icon, data)))
            pictures[words] = Image.new("RGBA", pixels.size, "white")
            pictures[words].alpha_composite(pixels)
    return await told_apart(parts, pictures)


async def told_apart(parts: Services, pictures: Mapping[str, Image.Image]) -> dict[str, float]:
    """Return the recall of pictures by the words of each, in the product's eyes."""
    shelf: Shelf | None = None
    for words, picture in pictures.items():
        with io.BytesIO() as file:
            picture.convert("RGB").save(file, "PNG")
            (vector,) = (await parts.seeing.embed([file.getvalue()])).pictures
        assert vector is not None
        shelf = shelf or Shelf(len(vector))
        shelf.add(words, vector, PUBLISHED)
    assert shelf is not None
    places = []
    for words in pictures:
        (vector,) = (await parts.seeing.embed(texts=[words])).texts
        near = [one.id for one in shelf.nearest(vector, len(pictures))]
        places.append(near.index(words))
    return recall(places)


async def measure(arguments: argparse.Namespace) -> dict[str, object]:
    """Draw, look and search; return the figures."""
    name = arguments.set
    async with services(Config(), arguments.folder, first_up_s=120.0) as parts:
        theme, made = await drawn(parts, name)
        await looked_at(parts, theme, len(made))
        places = await ranks(parts, theme, made)
        found: dict[str, object] = {
            "benchmark": "find",
            "set": name,
            "perceptor": parts.looker.perceptor,
            "recall": by_group(name, places),
            "places": places,
        }
        if arguments.judge:
            pictures = {
                words: await parts.library.read(dream.image.sha256)
                for words, dream in made.items()
                if dream.image is not None
            }
            by_judge = await asyncio.to_thread(judged, pictures)
            found["judge"] = None if by_judge is None else by_group(name, by_judge)
        if arguments.rendered:
            found["rendered"] = await rendered(parts)
        if arguments.unseen:
            found["unseen"] = await unseen(parts)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--set", choices=tuple(SETS), default="held-out")
    parser.add_argument("--judge", action="store_true")
    parser.add_argument("--rendered", action="store_true")
    parser.add_argument("--unseen", action="store_true")
    found = asyncio.run(measure(parser.parse_args()))
    print(f"{'':24}{'first':>8}{f'among {_AMONG}':>10}")
    for title, part in (("", "recall"), ("judge, ", "judge")):
        groups = found.get(part)
        if isinstance(groups, dict):
            for group, figures in groups.items():
                shares = "".join(f"{share:>9.0%}" for share in figures.values())
                print(f"{title + group:24}{shares}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
