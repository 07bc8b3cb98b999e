"""What an uploaded picture came of: told by the file, by its recipe, or by its pixels."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from PIL import Image as Pillow
from PIL import ImageFilter

from bot import recipes
from bot.errors import InvalidRequestError
from bot.likeness import kept_part
from bot.model import Dream, Relation, Visibility
from bot.origins import KEPT, Origins
from bot.rights import Actor
from generation.protocol import Finished
from tests.bot.drawer import ANN, BOB, Services, request, services
from tests.bot.test_search import seen
from tests.bot.test_seeing import Colours


def textured(seed: int, side: int = 128) -> Pillow.Image:
    """Return soft blotches, as a drawing has them, and not noise."""
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (side // 6, side // 6, 3), dtype=np.uint8)
    return Pillow.fromarray(small).resize((side, side), Pillow.Resampling.BICUBIC)


def saved(picture: Pillow.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def with_a_third_rearranged(picture: Pillow.Image) -> Pillow.Image:
    """Return what somebody made of a picture who wanted its left side on the right as well."""
    edited = picture.copy()
    side = picture.crop((0, 0, picture.width // 3, picture.height))
    edited.paste(side.transpose(Pillow.Transpose.FLIP_LEFT_RIGHT), (picture.width - side.width, 0))
    return edited


EDITS: dict[str, Callable[[Pillow.Image], bytes]] = {
    "as JPEG": lambda picture: saved(picture, "JPEG", quality=60),
    "enlarged": lambda picture: saved(picture.resize((256, 256), Pillow.Resampling.BICUBIC)),
    "rearranged": lambda picture: saved(with_a_third_rearranged(picture)),
    "brighter": lambda picture: saved(picture.point(lambda shade: min(255, shade + 20))),
    "blurred": lambda picture: saved(picture.filter(ImageFilter.GaussianBlur(1))),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_copy_has_kept_most_and_another_picture_nothing(edit: str) -> None:
    for seed in range(6):
        edited = EDITS[edit](textured(seed))
        assert kept_part(edited, saved(textured(seed))) >= KEPT
        assert kept_part(edited, saved(textured(seed + 1))) < 0.2


def test_what_nothing_can_be_told_of_has_kept_nothing() -> None:
    plain = saved(Pillow.new("RGB", (128, 128), "white"))
    assert kept_part(plain, plain) == 0
    wide = saved(textured(1).resize((128, 96)))
    assert kept_part(wide, saved(textured(1))) == 0


@asynccontextmanager
async def tracing(folder: Path) -> AsyncIterator[Services]:
    async with services(folder) as parts:
        parts.drawer.perceptors = ("colours",)
        parts.drawer.embed = Colours().embed  # type: ignore[method-assign]
        parts.dreams.trace_uploads(
            Origins(parts.store, parts.library, parts.themes, parts.seeing, parts.looker)
        )
        yield parts


async def drawn(parts: Services, seed: int, **asked: Any) -> tuple[Dream, bytes]:
    """Draw a picture, and return its dream and the file that people can download."""
    (dream,) = await parts.dreams.ask(request("a door", seed=seed, **asked))
    job = await parts.begin(dream.id)
    await parts.dreams.on_message(
        Finished(job_id=dream.id, recipe=job.recipe, png=saved(textured(seed)), gpu_s=0.1)
    )
    done = await parts.dreams.wait(dream.id)
    assert done.image is not None
    return done, await parts.library.read(done.image.sha256)


async def child_of(parts: Services, upload: bytes, **asked: Any) -> Dream:
    (dream,) = await parts.dreams.ask(request("two doors", init=upload, person=BOB, **asked))
    return dream


async def test_a_download_is_known_by_its_file_and_by_its_recipe(tmp_path: Path) -> None:
    async with tracing(tmp_path) as parts:
        parent, file = await drawn(parts, 1)
        await drawn(parts, 2)
        assert recipes.read_recipe(file) == parent.recipe
        as_it_was = await child_of(parts, file)
        assert (as_it_was.parent_id, as_it_was.relation) == (parent.id, Relation.VARIATION)
        # Painted over wholly, by a program that left the texts alone.
        painted = recipes.embed(saved(textured(9)), parent.recipe)
        assert (await child_of(parts, painted)).parent_id == parent.id
        # Whose parent was said is nobody else's child.
        said, _ = await drawn(parts, 3)
        told = await child_of(parts, file, parent_id=said.id, relation=Relation.REMIX)
        assert (told.parent_id, told.relation) == (said.id, Relation.REMIX)


async def test_an_edited_download_without_its_texts_is_known_by_its_pixels(tmp_path: Path) -> None:
    async with tracing(tmp_path) as parts:
        parent, _ = await drawn(parts, 1)
        others = [await drawn(parts, seed) for seed in (2, 3)]
        edited = EDITS["rearranged"](textured(1))
        assert (await child_of(parts, edited)).parent_id is None  # nothing has looked yet
        await parts.looker.start()
        await seen(parts, 1 + len(others))
        assert (await child_of(parts, edited)).parent_id == parent.id
        assert (await child_of(parts, EDITS["as JPEG"](textured(1)))).parent_id == parent.id
        assert (await child_of(parts, saved(textured(7)))).parent_id is None


async def test_nobody_learns_of_a_dream_that_they_may_not_see(tmp_path: Path) -> None:
    async with tracing(tmp_path) as parts:
        await parts.themes.create("other", "Other", visibility=Visibility.PRIVATE)
        _, private = await drawn(parts, 1, theme="other")
        kept, in_channel = await drawn(parts, 2, guild_id=1, channel_id=5)
        async with parts.store.write() as connection:
            await connection.execute("UPDATE dream SET published = 0 WHERE id = ?", (kept.id,))
        await parts.looker.start()
        await seen(parts, 1)
        edited = EDITS["as JPEG"](textured(2))
        assert (await child_of(parts, edited)).parent_id is None
        for file in (private, in_channel, edited):
            child = await child_of(parts, file, guild_id=1, channel_id=6)
            assert child.parent_id is None
            # The file, or its recipe, keeps what comes of it off the wall.
            assert child.published == (file is edited)
        painted = recipes.embed(saved(textured(9)), kept.recipe)
        before = len(await parts.dreams.unfinished(None))
        for file in (private, in_channel, painted):
            with pytest.raises(InvalidRequestError, match="stays where it was asked for"):
                await child_of(parts, file)
        assert len(await parts.dreams.unfinished(None)) == before
        assert (await child_of(parts, in_channel, guild_id=1, channel_id=5)).parent_id == kept.id
        gone, file = await drawn(parts, 4)
        await parts.dreams.delete(gone.id, Actor(ANN))
        assert (await child_of(parts, file)).parent_id is None


async def test_an_upload_is_taken_also_where_nothing_can_be_found_out(tmp_path: Path) -> None:
    async with tracing(tmp_path) as parts:
        await drawn(parts, 1)
        await parts.looker.start()
        await seen(parts, 1)
        parts.drawer.up = True
        eyes = Colours()
        eyes.reason = "The model is damaged."
        parts.drawer.embed = eyes.embed  # type: ignore[method-assign]
        assert (await child_of(parts, saved(textured(1)))).parent_id is None
        assert eyes.asked


async def test_what_comes_of_a_picture_that_is_kept_to_a_channel_stays_there(
    tmp_path: Path,
) -> None:
    async with tracing(tmp_path) as parts:
        there = {"guild_id": 1, "channel_id": 5}
        kept, file = await drawn(parts, 2, **there)
        assert (await child_of(parts, file, **there)).published
        async with parts.store.write() as connection:
            await connection.execute("UPDATE dream SET published = 0 WHERE id = ?", (kept.id,))
        child = await child_of(parts, file, **there)
        assert (child.parent_id, child.published) == (kept.id, False)
        said, other = await drawn(parts, 3, **there)
        told = await child_of(parts, file, parent_id=said.id, **there)
        assert (told.parent_id, told.published) == (said.id, False)
        able = [replace(one, max_pictures=1) for one in parts.drawer.engines]
        parts.drawer.engines = tuple(able)
        towards = await child_of(parts, other, pictures=(file,), **there)
        assert (towards.parent_id, towards.published) == (said.id, False)


async def test_no_mask_or_sketch_takes_a_picture_out_of_where_it_stays(tmp_path: Path) -> None:
    async with tracing(tmp_path) as parts:
        able = [
            replace(one, takes_init=True, takes_mask=True, takes_sketch=True)
            for one in parts.drawer.engines
        ]
        parts.drawer.engines = tuple(able)
        await parts.themes.create("other", "Other", visibility=Visibility.PRIVATE)
        _, private = await drawn(parts, 1, theme="other")
        shown, public = await drawn(parts, 2)
        told = recipes.read_recipe(private)
        assert told is not None
        for file in (private, recipes.embed(saved(textured(9)), told)):
            ways: dict[str, dict[str, Any]] = {
                "sketch": {"sketch": file},
                "mask": {"init": public, "mask": file},
            }
            for field, given in ways.items():
                with pytest.raises(InvalidRequestError, match="stays where") as refused:
                    await parts.dreams.ask(request("two doors", person=BOB, **given))
                assert refused.value.field == field
                (elsewhere,) = await parts.dreams.ask(
                    request("two doors", person=BOB, guild_id=1, channel_id=6, **given)
                )
                assert not elsewhere.published
        # What everybody may see, and what nobody drew here, is taken as before.
        for sketch in (public, saved(textured(7))):
            (led,) = await parts.dreams.ask(request("two doors", person=BOB, sketch=sketch))
            assert (led.published, led.parent_id) == (True, None)
        masked = await child_of(parts, public, mask=public)
        assert (masked.published, masked.parent_id) == (True, shown.id)
