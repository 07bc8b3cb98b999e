"""What docs/prompts.md and docs/recipes.md show is what happens; their pictures can be made."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bot.model import Theme
from bot.palettes import PALETTES
from bot.prompts import expand
from bot.recipes import parameters
from generation.protocol import Recipe
from tests.program import environment

ROOT = Path(__file__).resolve().parents[2]
PROMPTS = (ROOT / "docs/prompts.md").read_text(encoding="utf-8")
RECIPES = (ROOT / "docs/recipes.md").read_text(encoding="utf-8")
SEEDS = 1000


def blocks(text: str) -> list[list[str]]:
    """Return the indented blocks, line by line."""
    found = re.findall(r"(?:^    .*\n)+", text, flags=re.MULTILINE)
    return [[line[4:] for line in block.splitlines()] for block in found]


EXAMPLES = [block for block in blocks(PROMPTS) if any(line.startswith("→") for line in block)]


def test_there_are_examples() -> None:
    assert len(EXAMPLES) == 6


@pytest.mark.parametrize("block", EXAMPLES, ids=lambda block: block[0])
def test_an_example_of_a_prompt_is_so(block: list[str]) -> None:
    given = dict(line.split(": ", 1) for line in block if re.match(r"[a-z]+: ", line))
    theme = Theme(
        id=1,
        slug="t",
        title="T",
        template=given.get("template", "{prompt}"),
        modifiers=given.get("modifiers", ""),
    )
    typed = given.get("typed", block[0])
    shown = {line.removeprefix("→ ") for line in block if line.startswith("→")}
    drawn = {expand(typed, theme, seed) for seed in range(SEEDS)}
    assert shown <= drawn
    assert shown == drawn or "…" in block


def test_the_word_lists_are_those_there_are() -> None:
    rows = re.findall(r"^\| `__(.+)__` \| (.+) \|$", PROMPTS, flags=re.MULTILINE)
    assert {name: tuple(words.split(", ")) for name, words in rows} == dict(PALETTES)


def test_the_example_of_a_recipe_is_one() -> None:
    recipe = Recipe(
        engine="vqgan-clip",
        model="starter-vqgan",
        prompt="a misty castle:2 | oil on canvas | fog:-1",
        negative="text, watermark",
        width=128,
        height=128,
        steps=100,
        seed=4242,
        settings={"cutouts": 8},
    )
    written = re.sub(r"(Version: .*) \S+$", r"\1", parameters(recipe)).splitlines()
    [block] = [block for block in blocks(RECIPES) if block[0] == recipe.prompt]
    assert [re.sub(r"(Version: .*) \S+$", r"\1", line) for line in block] == written
    assert f'"engine": "{recipe.engine}", "model": "{recipe.model}"' in RECIPES
    engines = (ROOT / "generation/engines/builders.py").read_text(encoding="utf-8")
    assert f'name="{recipe.engine}"' in engines


def test_the_commands_in_the_recipes_page_are_there() -> None:
    cogs = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "cogs").glob("*.py"))
    for command in re.findall(r"`/(\w+)", RECIPES):
        assert f'name="{command}"' in cogs


WITHOUT_A_BROWSER = """
import asyncio, sys
sys.modules["playwright"] = None  # as if it were not installed
import make_modifier_pictures, picture_making
async def browse():
    async with picture_making.chromium():
        pass
asyncio.run(browse())
"""


def test_pictures_are_drawn_without_a_browser_and_its_lack_is_told(tmp_path: Path) -> None:
    own = environment() | {"PATH": str(tmp_path)}
    own["PYTHONPATH"] += f"{os.pathsep}{ROOT / 'docs'}"
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_A_BROWSER],
        env=own,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    said = "There is no Chromium here: install it, or set DREAMSTREAM_CHROMIUM.\n"
    assert (done.returncode, done.stderr) == (1, said)
