"""Draws the journeys of docs/journeys.md with the starter models: strips of their frames.

Run it as ``python docs/make_journeys.py``; it takes some minutes on a processor.
"""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace
from PIL import Image

from generation.engines import build_engines
from generation.engines.journeys import with_journeys
from generation.films import Film
from generation.protocol import Job, Journey, JourneyKind, Key, Recipe, Stop

IMAGES = Path(__file__).parent / "images"
SHOWN, ACROSS = 12, 6
PLACES = ("a forest", "a city at night", "the sea")


def main() -> None:
    """Draw both kinds."""
    engines = with_journeys(build_engines(device="cpu"))
    for name, recipe in RECIPES.items():
        engine = engines[recipe.engine]
        recipe = replace(recipe, settings=engine.info.defaults)
        run = engine.begin(Job(id=name, recipe=recipe, stream="docs", person="docs"), None)
        film, frames = Film.of(recipe), []
        while not run.done:
            engine.step([run])
            if film.wants(run.step):
                frames.append(engine.preview(run))
        if run.error is not None:
            raise run.error
        strip(frames).save(IMAGES / f"journey-{name}.webp", quality=90, method=6)


def strip(frames: list[Image.Image]) -> Image.Image:
    """Return some frames beside each other, in rows."""
    some = frames[:: max(1, len(frames) // SHOWN)][:SHOWN]
    width, height = some[0].size
    sheet = Image.new("RGB", (ACROSS * width, -(-len(some) // ACROSS) * height))
    for place, frame in enumerate(some):
        sheet.paste(frame, (place % ACROSS * width, place // ACROSS * height))
    return sheet


def stops(frames: int, *, noises: bool) -> tuple[Stop, ...]:
    """Spread the places over the film."""
    at = [round(place * (frames - 1) / (len(PLACES) - 1)) for place in range(len(PLACES))]
    return tuple(
        Stop(frame, prompt, place if noises else 0)
        for place, (frame, prompt) in enumerate(zip(at, PLACES, strict=True))
    )


RECIPES = {
    "camera": Recipe(
        engine="vqgan-clip",
        model="starter-vqgan",
        prompt=" -> ".join(PLACES),
        width=128,
        height=128,
        steps=100,
        seed=1,
        journey=Journey(
            kind=JourneyKind.CAMERA,
            frames=24,
            frame_steps=6,
            stops=stops(24, noises=False),
            zoom=(Key(0, 1.03),),
        ),
    ),
    "walk": Recipe(
        engine="diffusion",
        model="starter-diffusion",
        prompt=" -> ".join(PLACES),
        width=128,
        height=128,
        steps=16,
        seed=1,
        guidance=7.0,
        journey=Journey(
            kind=JourneyKind.WALK, frames=18, frame_steps=16, stops=stops(18, noises=True)
        ),
    ),
}

if __name__ == "__main__":
    main()
