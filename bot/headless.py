"""`dreamstream dream`: draw into files, with no front, through the very same services.

It works in a temporary folder, so that it neither needs nor disturbs the data of a running bot;
the pictures it leaves carry their recipes.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from tqdm import tqdm

from bot.config import Config, LibraryPlace
from bot.errors import DiskError, InvalidRequestError, RequestError
from bot.model import ENDINGS, Dream, DreamRequest, DreamState, Live, Person, StreamEvent
from bot.recipes import read_recipe
from bot.services import Services, services
from bot.sizes import parse_size
from bot.themes import DEFAULT_SLUG
from generation.protocol import Recipe

_MAX_FILE_BYTES = 64 * 1024 * 1024


async def draw(arguments: argparse.Namespace, config: Config) -> int:
    """Draw what the command line asks for; return the exit status.

    Raises:
        RequestError: it cannot be asked for; the sentence says why.
        DiskError: a picture cannot be written where `--out` says.
    """
    person = Person(f"local:{os.getpid()}", "you")
    recipe = None
    if arguments.recipe is not None:
        recipe = await asyncio.to_thread(_recipe_of, arguments.recipe)
    request = await asyncio.to_thread(_request, arguments, person, recipe is not None)
    outs = _outs(arguments.out, 1 if recipe else arguments.count)
    # What is drawn here goes with the folder, and so never into the store of another one.
    config = config.model_copy(update={"library": LibraryPlace()})
    with tempfile.TemporaryDirectory(prefix="dreamstream-") as folder:
        async with services(
            config, Path(folder), first_up_s=config.scheduler.load_limit_s
        ) as parts:
            begun = time.monotonic()
            if recipe is not None:
                pictures = [*([] if request.init is None else [request.init]), *request.pictures]
                dreams = [await parts.dreams.draw_recipe(DEFAULT_SLUG, person, recipe, pictures)]
            else:
                dreams = await parts.dreams.ask(request)
            await _watch(parts, dreams)
            ended = [await parts.dreams.wait(dream.id) for dream in dreams]
            wall_s = time.monotonic() - begun
            for dream, out in zip(ended, outs, strict=True):
                await _deliver(parts, dream, out)
                _report(dream, out, wall_s, as_json=arguments.json)
    return 0 if all(dream.state is DreamState.DONE for dream in ended) else 1


async def _watch(parts: Services, dreams: Sequence[Dream]) -> None:
    """Show one bar over the steps of all pictures until each is over."""
    steps = {dream.id: 0 for dream in dreams}
    total = sum(dream.recipe.last_step for dream in dreams)
    over: set[str] = set()
    with tqdm(total=total, unit="step", file=sys.stderr, disable=None) as bar:
        async with parts.feed.listen(None, after=0) as happenings:
            async for happening in happenings:
                if isinstance(happening, Live):
                    steps[happening.dream_id] = happening.step
                else:
                    _note(happening, over)
                bar.n = sum(steps.values())
                bar.refresh()
                if over.issuperset(steps):
                    bar.n = total
                    bar.refresh()
                    return


def _note(event: StreamEvent, over: set[str]) -> None:
    if event.dream_id is not None and event.kind in ENDINGS:
        over.add(event.dream_id)


async def _deliver(parts: Services, dream: Dream, out: Path) -> None:
    if dream.image is None:
        return
    png = await parts.library.read(dream.image.sha256)
    try:
        await asyncio.to_thread(_write, out, png)
    except OSError as error:
        raise DiskError(f"--out: {out} cannot be written ({error.strerror}).") from error


def _write(out: Path, png: bytes) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(png)


def _report(dream: Dream, out: Path, wall_s: float, *, as_json: bool) -> None:
    if as_json:
        line = {
            "state": dream.state,
            "out": str(out) if dream.image else None,
            "reason": dream.reason,
            "recipe": dream.recipe,
            "score": dream.score,
            "gpu_s": round(dream.gpu_s, 3),
            "wall_s": round(wall_s, 3),
        }
        print(msgspec.json.encode(line).decode())
    elif dream.image is None:
        print(f"seed {dream.recipe.seed}: {dream.reason or dream.state}", file=sys.stderr)
    else:
        print(f"{out}: seed {dream.recipe.seed}, {dream.gpu_s:.1f} s of drawing")


def _outs(out: Path, count: int) -> list[Path]:
    if out.suffix.lower() != ".png":
        raise InvalidRequestError("out", f"--out should end in .png; {out} does not.")
    if count <= 1:
        return [out]
    return [out.with_stem(f"{out.stem}-{index}") for index in range(1, count + 1)]


def _request(arguments: argparse.Namespace, person: Person, redrawing: bool) -> DreamRequest:
    if arguments.prompt is None and not redrawing:
        raise InvalidRequestError("prompt", "Say what to draw: dreamstream dream “a red fox”.")
    width, height = parse_size(arguments.size, "--size")
    return DreamRequest(
        theme=DEFAULT_SLUG,
        person=person,
        prompt=arguments.prompt or "",
        preset=arguments.preset,
        engine=arguments.engine,
        model=arguments.model,
        width=width,
        height=height,
        steps=arguments.steps,
        seed=arguments.seed,
        guidance=arguments.guidance,
        negative=arguments.negative,
        strength=arguments.strength,
        init=None if arguments.init is None else _read(arguments.init, "--init"),
        pictures=tuple(_read(path, "--picture") for path in arguments.picture),
        settings=dict(_setting(text) for text in arguments.set),
        exact=True if arguments.exact else None,
        count=arguments.count,
        background=arguments.background,
    )


def _setting(text: str) -> tuple[str, str]:
    """Return a name and its value, as text: only its engine knows what kind of value it takes."""
    name, equals, value = text.partition("=")
    if not equals:
        raise InvalidRequestError("set", f"--set should be like cutouts=16, not {text}.")
    return name.strip(), value


def _recipe_of(path: Path) -> Recipe:
    recipe = read_recipe(_read(path, "--recipe"))
    if recipe is None:
        raise RequestError(f"--recipe: {path} carries no recipe of Dreamstream.")
    return recipe


def _read(path: Path, option: str) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise RequestError(f"{option}: {path} cannot be read ({error.strerror}).") from error
    if len(data) > _MAX_FILE_BYTES:
        raise RequestError(f"{option}: {path} is larger than {_MAX_FILE_BYTES >> 20} MiB.")
    return data
