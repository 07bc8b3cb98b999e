"""Draw the pictures of ``/help`` anew, with the starter models, as `bot/help/pages.toml` says.

Run it with ``python docs/make_help_pictures.py``. The same models give the same pictures.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

import bot.help
from bot.help import Example, pages

FOLDER = Path(bot.help.__file__).parent
STEPS = 40
SIDE_PX = 384  # Discord shows small files small
QUALITY = 80


def draw(example: Example, folder: Path) -> None:
    """Draw one picture into its file."""
    png = folder / "drawn.png"
    asked = ["--engine", "diffusion", "--seed", str(example.seed), "--steps", str(STEPS)]
    command = [sys.executable, "-m", "bot", "dream", example.prompt, *asked, "--out", str(png)]
    subprocess.run(command, check=True)  # noqa: S603 (our own program, with our own words)
    with Image.open(png) as picture:
        large = picture.convert("RGB").resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)
    large.save(FOLDER / example.file, "WEBP", quality=QUALITY, method=6)


def main() -> None:
    """Draw them all, each once."""
    examples = {one.file: one for page in pages() for one in page.pictures}
    with tempfile.TemporaryDirectory() as folder:
        for example in examples.values():
            draw(example, Path(folder))
            print(FOLDER / example.file)


if __name__ == "__main__":
    main()
