"""Draw the contact sheets of docs/gallery.md with what needs no download, chosen by nobody.

Run it with ``make gallery``: it draws the sheets that are not in ``docs/images`` yet, so it can be
stopped and run again; with names it draws those anew. Models are the ones that ship, settings
the defaults of a processor unless a sheet says otherwise, and every seed is 1. Each sheet goes to
``docs/images``, and what it shows, with the scores as the starter CLIP sees them, to
``docs/gallery.md``. DeepDream's needs ``pip install 'dreamstream[deepdream]'`` as well.
"""

from __future__ import annotations

import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from gallery_sheets import SHEETS, Ask, Sheet, View
from PIL import Image, ImageDraw, ImageFont

from bot.model import DreamRequest, Person
from bot.presets import with_preset
from generation.engine import Engine, Eyes, HasEyes, Run
from generation.engines import build_engines
from generation.engines.clip_run import ClipRun
from generation.engines.clip_steered import ClipSteeredEngine
from generation.protocol import Job, Recipe

DOCS = Path(__file__).parent
AT_ONCE = 5
LINE = 30
MAX_BYTES = 200 * 1024
Engines = Mapping[str, Engine[Any]]


@dataclass(frozen=True)
class Drawn:
    """A picture with its prompt, and its scores before the first and after the last step."""

    ask: Ask
    prompt: str
    steps: int
    picture: Image.Image
    first: float | None
    last: float | None


def main(names: Sequence[str]) -> None:
    """Draw the sheets of these names, or those that are missing, and write the page about them."""
    engines = build_engines(device="cpu", models_dir=None)
    for sheet in SHEETS:
        path = DOCS / "images" / f"gallery-{sheet.name}.webp"
        if sheet.name not in names if names else path.exists():
            continue
        if missing := {ask.engine for ask in sheet.asks if ask.engine} - engines.keys():
            print(f"{sheet.name}: needs {', '.join(sorted(missing))}, which is not ready here.")
            continue
        begun = time.monotonic()
        drawn = draw(engines, sheet)
        write_sheet(drawn, sheet, path)
        lines = section(sheet, drawn, path)
        print("\n".join(lines), f"\n{time.monotonic() - begun:.0f} s", flush=True)
        write_section(sheet, lines)


def draw(engines: Engines, sheet: Sheet) -> list[Drawn]:
    """Draw a sheet's pictures, a few that can share a step at once."""
    eyes = next(engine.eyes for engine in engines.values() if isinstance(engine, HasEyes))
    assert eyes is not None
    given: dict[str, bytes] = {}
    for ask in sheet.asks:
        for words in (ask.begins_as, ask.guide):
            if words and words not in given:
                (seen,) = _draw_alike(engines, eyes, [_asked(engines, Ask(words, "diffusion"), {})])
                given[words] = _png(seen.picture)
    jobs = [_asked(engines, ask, given) for ask in sheet.asks]
    kinds: dict[object, list[int]] = {}
    for place, (_, job) in enumerate(jobs):
        key = engines[job.recipe.engine].batch_key(job.recipe)
        kinds.setdefault((job.recipe.engine, key), []).append(place)
    drawn: dict[int, Drawn] = {}
    for places in kinds.values():
        for first in range(0, len(places), AT_ONCE):
            some = places[first : first + AT_ONCE]
            seen = _draw_alike(engines, eyes, [jobs[place] for place in some])
            drawn |= zip(some, seen, strict=True)
    return [drawn[place] for place in range(len(jobs))]


def _draw_alike(engines: Engines, eyes: Eyes, asked: Sequence[tuple[Ask, Job]]) -> list[Drawn]:
    """Draw what can share a step, from its begin to its end."""
    engine = engines[asked[0][1].recipe.engine]
    runs = [engine.begin(job, None) for _, job in asked]
    before = [_score(engine, eyes, run) for run in runs]
    while unfinished := [run for run in runs if not run.done]:
        engine.step(unfinished)
    result = []
    for (ask, job), run, first in zip(asked, runs, before, strict=True):
        assert run.error is None, run.error
        last, recipe = _score(engine, eyes, run), job.recipe
        result.append(Drawn(ask, recipe.prompt, recipe.steps, engine.image(run), first, last))
    return result


def _score(engine: Engine[Any], eyes: Eyes, run: Run) -> float | None:
    """Return the cosine of the run's picture as it is with its prompt, None where it has none."""
    if not run.recipe.prompt:
        return None
    if isinstance(engine, ClipSteeredEngine) and isinstance(run, ClipRun):
        return engine.score(run)  # it knows which of the words are weighed how
    (seen,), (read,) = eyes.look(eyes.names[0], [engine.image(run)], [run.recipe.prompt])
    picture, text = (np.frombuffer(each, "<f2").astype(float) for each in (seen, read))
    return float(picture @ text)


def _asked(engines: Engines, ask: Ask, given: Mapping[str, bytes]) -> tuple[Ask, Job]:
    """Return a picture's job, of seed 1, with what its preset says."""
    request = DreamRequest(
        theme="", person=Person(id="gallery", name=""), prompt=ask.prompt, preset=ask.preset,
        engine=ask.engine or None, settings=dict(ask.settings),
    )  # fmt: skip
    request = with_preset(request, [engine.info for engine in engines.values()])
    info = engines[request.engine or ""].info
    width, height = ask.size or (info.default_width, info.default_height)
    start, guide = (_name(given[words]) if words else None for words in (ask.begins_as, ask.guide))
    recipe = Recipe(
        engine=info.name,
        model=next(model.name for model in info.models if model.available),
        prompt=request.prompt,
        width=width,
        height=height,
        steps=ask.steps or info.default_steps,
        seed=1,
        guidance=info.guidance,
        init_sha256=start,
        picture_sha256s=(guide,) if guide else (),
        settings=info.defaults | request.settings,
    )
    pictures = {_name(data): data for data in given.values()}
    return ask, Job(
        id=ask.prompt, recipe=recipe, stream="gallery", person="gallery", pictures=pictures
    )


def _name(data: bytes) -> str:
    return sha256(data).hexdigest()


def _png(picture: Image.Image) -> bytes:
    file = BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def write_sheet(drawn: Sequence[Drawn], sheet: Sheet, path: Path) -> None:
    """Lay pictures out in rows, each over its words or scores, in at most 200 KB."""
    shown = [_seen(one.picture, sheet.view) for one in drawn]
    width = max(each.width for each in shown)
    height = max(each.height for each in shown)
    rows = -(-len(drawn) // sheet.columns)
    whole = Image.new("RGB", (sheet.columns * (width + 8) + 8, rows * (height + LINE) + 8), "white")
    pen, font = ImageDraw.Draw(whole), ImageFont.load_default(11)
    for index, (one, picture) in enumerate(zip(drawn, shown, strict=True)):
        x = 8 + index % sheet.columns * (width + 8)
        y = 8 + index // sheet.columns * (height + LINE)
        whole.paste(picture, (x, y))
        risen = "" if one.last is None else f"{one.first:.2f} > {one.last:.2f}"
        words = "\n".join(line for line in (one.ask.caption, risen) if line)
        pen.text((x, y + height + 2), words, "black", font, spacing=1)
    for quality in (85, 70, 50):
        whole.save(path, "WEBP", quality=quality, method=6)
        if path.stat().st_size <= MAX_BYTES:
            return
    raise SystemExit(f"{path} is larger than {MAX_BYTES} bytes; make its pictures smaller.")


def _seen(picture: Image.Image, view: View) -> Image.Image:
    """Return the picture as its sheet shows it: once, or twice in each direction."""
    if view is View.ONCE:
        return picture
    whole = Image.new("RGB", (picture.width * 2, picture.height * 2))
    for x in (0, picture.width):
        for y in (0, picture.height):
            whole.paste(picture, (x, y))
    return whole


def section(sheet: Sheet, drawn: Sequence[Drawn], path: Path) -> list[str]:
    """Return what the page says of a sheet."""
    scored = [one for one in drawn if one.first is not None and one.last is not None]
    steps = sorted({one.steps for one in drawn})
    sizes = sorted({one.picture.size for one in drawn})
    said = f"{' or '.join(map(str, steps))} steps at " + " or ".join(
        f"{width} × {height}" for width, height in sizes
    )
    if scored:
        rose = sum((one.last or 0) > (one.first or 0) for one in scored)
        first, last = (
            sum(score) / len(scored)
            for score in zip(*((one.first or 0, one.last or 0) for one in scored), strict=True)
        )
        said += (
            f"; the score rose on {rose} of {len(scored)}, from {first:.2f} to {last:.2f} "
            "on average"
        )
    told = ", ".join(one.ask.caption or one.prompt for one in drawn)
    return [
        f"## {sheet.title}",
        "",
        textwrap.fill(f"{said}. {sheet.note}", 100),
        "",
        f"![{told}](images/{path.name})",
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
