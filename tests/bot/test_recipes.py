"""Recipes in PNG files: written the same every time, read from anybody's file."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL.PngImagePlugin import PngInfo

from bot import recipes
from generation.protocol import Recipe, Setting, Steer
from tests.bot.drawer import png

RECIPE = Recipe(
    engine="clip",
    model="vqgan",
    prompt="a misty castle:2 | oil on canvas | fog:-1",
    negative="text, watermark",
    width=64,
    height=64,
    steps=200,
    seed=4242,
    guidance=7.5,
    strength=0.6,
    init_sha256="ab" * 32,
    steers=(Steer(50, "a castle in the sky", 10),),
    settings={"rate": 0.1, "kind": "soft, warm", "tiled": True},
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
numbers = st.floats(allow_nan=False, allow_infinity=False)
setting_values: st.SearchStrategy[Setting] = st.one_of(
    st.booleans(), st.integers(-(2**53), 2**53), texts
)
any_recipe = st.builds(
    Recipe,
    engine=texts,
    model=texts,
    prompt=texts,
    width=st.integers(1, 5000),
    height=st.integers(1, 5000),
    steps=st.integers(1, 5000),
    seed=st.integers(0, 2**32 - 1),
    negative=texts,
    guidance=st.none() | numbers,
    strength=numbers,
    init_sha256=st.none() | st.just("cd" * 32),
    steers=st.lists(st.builds(Steer, st.integers(0, 99), texts), max_size=3).map(tuple),
    settings=st.dictionaries(texts, setting_values, max_size=4),
    exact=st.booleans(),
)


def test_a_picture_says_how_it_was_made_in_the_common_form() -> None:
    data = recipes.embed(png(), RECIPE, prompt="a castle", licence="MIT")
    with Pillow.open(io.BytesIO(data)) as picture:
        picture.load()
        info = picture.info
    assert info["parameters"] == (
        "a misty castle:2 | oil on canvas | fog:-1\n"
        "Steer at step 50: a castle in the sky\n"
        "Negative prompt: text, watermark\n"
        "Steps: 200, CFG scale: 7.5, Seed: 4242, Size: 64x64, Model: vqgan, Engine: clip, "
        "Denoising strength: 0.6, Init image hash: abababababababab, "
        'kind: "soft, warm", rate: 0.1, tiled: True, '
        f"Version: {recipes.software()}"
    )
    assert recipes.DIGITAL_SOURCE_TYPE in info["XML:com.adobe.xmp"]
    document = recipes.read_document(data)
    assert document is not None
    assert (document.recipe, document.prompt, document.licence) == (RECIPE, "a castle", "MIT")


@settings(max_examples=200, deadline=None)
@given(any_recipe, texts, texts)
def test_every_recipe_comes_back_and_the_pixels_stay(
    recipe: Recipe, prompt: str, licence: str
) -> None:
    plain = png(5, 3)
    data = recipes.embed(plain, recipe, prompt=prompt, licence=licence)
    assert recipes.read_recipe(data) == recipe
    assert recipes.embed(plain, recipe, prompt=prompt, licence=licence) == data
    with Pillow.open(io.BytesIO(data)) as kept, Pillow.open(io.BytesIO(plain)) as drawn:
        assert kept.tobytes() == drawn.tobytes()


def test_texts_that_were_there_are_replaced() -> None:
    info = PngInfo()
    info.add_text("Comment", "Secret")
    info.add_itxt("dreamstream", "{}", zip=True)
    out = io.BytesIO()
    Pillow.new("RGB", (4, 4)).save(out, "PNG", pnginfo=info)
    once = recipes.embed(out.getvalue(), RECIPE)
    assert b"Secret" not in once
    assert recipes.read_recipe(once) == RECIPE
    assert recipes.embed(once, RECIPE) == once


def test_it_survives_another_program_that_saves_the_texts() -> None:
    with Pillow.open(io.BytesIO(recipes.embed(png(), RECIPE))) as picture:
        picture.load()
        info = PngInfo()
        for key, value in picture.info.items():
            info.add_text(str(key), str(value))
        out = io.BytesIO()
        picture.save(out, "PNG", pnginfo=info)
    assert recipes.read_recipe(out.getvalue()) == RECIPE


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_and_strange_files_have_a_recipe_or_none(data: st.DataObject) -> None:
    content = bytearray(recipes.embed(png(4, 4), RECIPE))
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    assert recipes.read_recipe(bytes(content)) in (None, RECIPE)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_without_an_error(content: bytes) -> None:
    assert recipes.read_recipe(content) is None
    assert recipes.read_recipe(recipes.SIGNATURE + content) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"format": 99, "recipe": {}}',
        '{"recipe": {"engine": 5}}',
        "[" * 100_000,
        '{"recipe": ' * 20_000,
        "x" * (recipes.MAX_RECIPE_BYTES + 10),
    ],
)
def test_other_peoples_texts_are_no_recipes(text: str) -> None:
    info = PngInfo()
    info.add_text("dreamstream", text)
    out = io.BytesIO()
    Pillow.new("RGB", (4, 4)).save(out, "PNG", pnginfo=info)
    assert recipes.read_recipe(out.getvalue()) is None


def test_nothing_is_decompressed() -> None:
    body = b"dreamstream\0\0" + zlib.compress(bytes(50_000_000))
    chunk = len(body).to_bytes(4, "big") + b"zTXt" + body
    chunk += zlib.crc32(b"zTXt" + body).to_bytes(4, "big")
    plain = png()
    assert recipes.read_recipe(plain[:33] + chunk + plain[33:]) is None


def test_the_page_on_recipes_shows_what_is_written() -> None:
    page = Path(__file__).parents[2] / "docs" / "recipes.md"
    written = page.read_text(encoding="utf-8")
    for name in ("parameters", recipes.KEYWORD, recipes.DIGITAL_SOURCE_TYPE, "Software"):
        assert name in written
    for field in Recipe.__struct_fields__:
        assert f"`{field}`" in written
