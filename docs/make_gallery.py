"""Draw the contact sheets of docs/gallery.md: every canvas that needs no download, 20 prompts each.

Run it with ``make gallery``. It draws with the models that ship and with the defaults of a
processor, at 96 × 96, and writes a sheet for each canvas to ``docs/images`` and the scores, as the
starter CLIP sees them, to ``docs/gallery.md``. Nobody chose among the pictures: each is of seed 1.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from generation.engines import build_engines
from generation.engines.clip_steered import ClipSteeredEngine
from generation.protocol import Job, Recipe, Setting

DOCS = Path(__file__).parent
# The words are in the starter models' vocabulary; no training caption is one of these.
PROMPTS = (
    "a red apple on a wooden table",
    "a lighthouse above a stormy sea at dusk",
    "green hills under a blue sky",
    "a golden sunset over the desert",
    "a snowy mountain at night",
    "a blue teapot",
    "a field of yellow sunflowers",
    "a forest in autumn",
    "an orange cat",
    "a full moon over dark water",
    "a pink flower in a green garden",
    "a waterfall in the jungle",
    "a city at night in the rain",
    "a white sailing boat on the sea",
    "a purple butterfly",
    "a castle on a hill in fog",
    "a slice of watermelon",
    "a volcano with glowing lava",
    "a tropical beach with palm trees",
    "a bowl of green apples",
)
COLUMNS, SIDE, LINE = 5, 96, 26
AT_ONCE = 5
MAX_BYTES = 150 * 1024


@dataclass(frozen=True)
class Sheet:
    """A page of the gallery; `settings` are those that differ from the defaults."""

    name: str
    engine: str
    title: str
    prompts: tuple[str, ...] = PROMPTS
    size: tuple[int, int] = (SIDE, SIDE)
    steps: int | None = None
    settings: tuple[tuple[str, Setting], ...] = ()
    columns: int = COLUMNS


@dataclass(frozen=True)
class Drawn:
    """A picture with its prompt and its scores before the first and after the last step."""

    prompt: str
    picture: Image.Image
    first: float
    last: float


_COMPOSED: tuple[tuple[str, Setting], ...] = (("panorama", True), ("cutouts", 16))
SHEETS = (
    Sheet("vqgan", "vqgan-clip", "VQGAN"),
    Sheet("fourier", "fourier-clip", "Fourier", steps=40),
    Sheet("siren", "siren-clip", "SIREN (Deep Daze)"),
    Sheet("strokes", "strokes-clip", "Strokes (CLIPDraw)"),
    Sheet(
        "panorama",
        "vqgan-clip",
        "Panoramas (`preset: panorama`)",
        (
            "a forest in autumn / green hills under a blue sky / a stormy sea",
            "a snowy mountain / a golden desert / a tropical beach",
        ),
        (288, 96),
        settings=_COMPOSED,
        columns=1,
    ),
    Sheet(
        "doorway",
        "vqgan-clip",
        "Doorways (`preset: doorway`)",
        (
            "a snowy mountain / a volcano with glowing lava",
            "a forest in autumn / a forest in spring",
            "a sunset over the sea / a full moon over dark water",
            "a city at night / a green garden",
        ),
        (192, 128),
        200,
        (*_COMPOSED, ("symmetry", "semantic"), ("crop_weighting", 1.0), ("learning_rate", 0.1)),
        columns=2,
    ),
)


def main(names: Sequence[str]) -> None:
    """Draw the sheets of these names, or all, and write the page about them."""
    engines = build_engines(device="cpu", models_dir=None)
    for sheet in SHEETS:
        if names and sheet.name not in names:
            continue
        engine = engines[sheet.engine]
        assert isinstance(engine, ClipSteeredEngine)
        begun = time.monotonic()
        drawn = list(draw(engine, sheet))
        path = DOCS / "images" / f"gallery-{sheet.name}.webp"
        write_sheet(drawn, sheet, path)
        lines = section(sheet, engine, drawn, path)
        print("\n".join(lines), f"\n{time.monotonic() - begun:.0f} s", flush=True)
        write_section(sheet, lines)


def draw(engine: ClipSteeredEngine, sheet: Sheet) -> Iterator[Drawn]:
    """Draw a sheet's pictures, a few at once."""
    for first in range(0, len(sheet.prompts), AT_ONCE):
        runs = [
            engine.begin(job(engine, sheet, prompt), None)
            for prompt in sheet.prompts[first : first + AT_ONCE]
        ]
        before = [engine.score(run) or 0.0 for run in runs]
        while unfinished := [run for run in runs if not run.done]:
            engine.step(unfinished)
        for run, earlier in zip(runs, before, strict=True):
            assert run.error is None and run.score is not None
            yield Drawn(run.recipe.prompt, engine.image(run), earlier, run.score)


def job(engine: ClipSteeredEngine, sheet: Sheet, prompt: str) -> Job:
    """Return a picture's job, of seed 1."""
    width, height = sheet.size
    recipe = Recipe(
        engine=engine.info.name,
        model=next(model.name for model in engine.info.models if model.available),
        prompt=prompt,
        width=width,
        height=height,
        steps=sheet.steps or engine.info.default_steps,
        seed=1,
        settings=dict(sheet.settings),
    )
    return Job(id=prompt, recipe=recipe, stream="gallery", person="gallery")


def write_sheet(drawn: Sequence[Drawn], sheet: Sheet, path: Path) -> None:
    """Lay pictures out in rows, each over its two scores, in at most 150 KB."""
    width, height = sheet.size
    rows = -(-len(drawn) // sheet.columns)
    whole = Image.new("RGB", (sheet.columns * (width + 8) + 8, rows * (height + LINE) + 8), "white")
    pen, font = ImageDraw.Draw(whole), ImageFont.load_default(11)
    for index, one in enumerate(drawn):
        x = 8 + index % sheet.columns * (width + 8)
        y = 8 + index // sheet.columns * (height + LINE)
        whole.paste(one.picture, (x, y))
        pen.text((x, y + height + 3), f"{one.first:.2f} > {one.last:.2f}", "black", font)
    for quality in (85, 70, 50):
        whole.save(path, "WEBP", quality=quality, method=6)
        if path.stat().st_size <= MAX_BYTES:
            return
    raise SystemExit(f"{path} is larger than {MAX_BYTES} bytes; make its pictures smaller.")


def section(
    sheet: Sheet, engine: ClipSteeredEngine, drawn: Sequence[Drawn], path: Path
) -> list[str]:
    """Return what the page says of a sheet."""
    rose = sum(one.last > one.first for one in drawn)
    first = sum(one.first for one in drawn) / len(drawn)
    last = sum(one.last for one in drawn) / len(drawn)
    width, height = sheet.size
    return [
        f"## {sheet.title}",
        "",
        f"{sheet.steps or engine.info.default_steps} steps at {width} × {height}; the score rose "
        f"on {rose} of {len(drawn)}, from {first:.2f} to {last:.2f} on average.",
        "",
        f"![{', '.join(one.prompt for one in drawn)}](images/{path.name})",
        "",
    ]


def write_section(sheet: Sheet, lines: Sequence[str]) -> None:
    """Put a section into the page in place of the one of the same title, or at its end."""
    page = DOCS / "gallery.md"
    parts = page.read_text(encoding="utf-8").split("\n## ")
    kept = [part for part in parts if part.partition("\n")[0] != sheet.title]
    new = "\n".join(lines).removeprefix("## ").rstrip() + "\n"
    place = next(
        (at for at, part in enumerate(parts) if part.partition("\n")[0] == sheet.title), len(kept)
    )
    kept.insert(place, new)
    text = "\n\n## ".join(part.strip("\n") for part in kept) + "\n"
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
