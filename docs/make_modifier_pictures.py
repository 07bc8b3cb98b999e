"""Draw the pictures of `bot/data/modifiers.toml` with the starter models: what each word does.

    .venv/bin/python docs/make_modifier_pictures.py [--again] [--only watercolour --only etching]

All show the same subject with the same seed; only the words differ. Those that are there already
are left as they are, unless `--again` is given, so that it can be stopped and gone on with; those
of words that are no longer in the file are removed. The same models give the same pictures.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from picture_making import picture, program
from PIL import Image

from bot.model import DreamRequest, Person
from bot.modifiers import PICTURES, PLAIN, SUBJECT, kinds
from bot.services import Services
from bot.styles import with_style

SEED = 12
STEPS = 30
SIDE_PX = 96
QUALITY = 78
AT_ONCE = 4
ARTIST = Person("local:pictures", "Dreamstream")


async def main() -> None:
    """Draw what is not there yet."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--again", action="store_true", help="draw those that are there, too")
    parser.add_argument("--only", action="append", default=[], help="the words to draw")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--out", type=Path, default=PICTURES)
    arguments = parser.parse_args()
    wanted = {one.name: one.words for kind in kinds() for one in kind.modifiers} | {PLAIN: ""}
    arguments.out.mkdir(parents=True, exist_ok=True)
    for path in arguments.out.glob("*.webp"):
        if path.stem not in wanted:
            path.unlink()
    drawn = {
        name: words
        for name, words in wanted.items()
        if (not arguments.only or words in arguments.only)
        and (arguments.again or not (arguments.out / f"{name}.webp").exists())
    }
    if not drawn:
        return
    async with program() as parts:
        turns = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for name, words in drawn.items():
                path = arguments.out / f"{name}.webp"
                group.create_task(draw(parts, words, arguments.seed, path, turns))


async def draw(
    parts: Services, words: str, seed: int, path: Path, turns: asyncio.Semaphore
) -> None:
    """Have the subject drawn with these words, into a file."""
    async with turns:
        theme = (await parts.themes.list())[0]
        (dream,) = await parts.dreams.ask(
            DreamRequest(
                theme=theme.slug,
                person=ARTIST,
                prompt=with_style(SUBJECT, words),
                engine="diffusion",
                steps=STEPS,
                seed=seed,
            )
        )
        ended = await parts.dreams.wait(dream.id)
        assert ended.image is not None, ended.reason
        data = await parts.library.read(ended.image.sha256)
    await asyncio.to_thread(write, data, path)
    print(path, flush=True)


def write(png: bytes, path: Path) -> None:
    """Write a picture small; whole or not at all."""
    small = picture(png).resize((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS)
    partial = path.with_suffix(".part")
    small.save(partial, "WEBP", quality=QUALITY, method=6)
    partial.rename(path)


if __name__ == "__main__":
    asyncio.run(main())
