"""Parts drawn anew, pictures extended, two blended: what their recipes say, and who sees them."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest
from msgspec.structs import replace
from PIL import Image

from bot.errors import GoneError, InvalidRequestError
from bot.model import Dream, DreamState, Relation
from bot.outpainting import Side
from bot.rights import Actor
from bot.store import dream_states as rows
from bot.uploads import to_png
from generation.protocol import PROTOCOL_VERSION, EngineInfo, OptionInfo, Steer, Welcome
from tests.bot.drawer import ANN, BOB, DIFFUSION, FOURIER, Services, request, services

ACTOR = Actor(BOB, guild_id=7)
BLEND = OptionInfo(name="blend", help="How much.", default=0.5, minimum=0, maximum=1)
SURROUND = OptionInfo(name="surround", help="How much.", default=0.0, minimum=0, maximum=0.6)
PAINTER = replace(
    DIFFUSION,
    max_side=256,
    max_pixels=192 * 192,
    size_multiple=16,
    takes_init=True,
    takes_mask=True,
    max_pictures=1,
    options=(SURROUND, BLEND),
)
STEERED = replace(FOURIER, max_pictures=4, options=(*FOURIER.options, replace(BLEND, default=0.0)))


async def up(s: Services, *engines: EngineInfo) -> None:
    await s.up(Welcome(version=PROTOCOL_VERSION, pid=2, device="a test", engines=engines))


async def done(s: Services, colour: str = "red", **asked: object) -> Dream:
    (dream,) = await s.dreams.ask(request(**asked))  # type: ignore[arg-type]
    await s.draw(dream.id, colour)
    return await s.dreams.wait(dream.id)


def half(width: int = 64, height: int = 64) -> bytes:
    """Return a mask whose right half is white."""
    mask = Image.new("L", (width, height))
    mask.paste(255, (width // 2, 0, width, height))
    out = io.BytesIO()
    mask.save(out, "PNG")
    return out.getvalue()


def shade(width: int, height: int, colour: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGBA", (width, height), colour).save(out, "PNG")
    return out.getvalue()


def size(data: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(data)) as opened:
        return opened.size


async def test_a_part_is_drawn_anew_from_the_picture_itself(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        await up(s, PAINTER)
        dream = await done(s, prompt="a fox", steps=9, guidance=3.0, settings={"surround": 0.4})
        child = await s.offspring.redraw(
            dream.id, ACTOR, half(), prompt="a red balloon", strength=0.8, channel_id=3
        )
        assert (child.parent_id, child.relation, child.person) == (dream.id, Relation.INPAINT, BOB)
        assert (child.guild_id, child.channel_id, child.prompt) == (7, 3, "a red balloon")
        recipe, job = child.recipe, await s.job(child.id)
        assert dream.image is not None and recipe.init_sha256 == dream.image.sha256
        assert job.mask == to_png(half())
        assert recipe.mask_sha256 == hashlib.sha256(to_png(half())).hexdigest()
        assert (recipe.prompt, recipe.strength) == ("a red balloon", 0.8)
        assert (recipe.steps, recipe.guidance, recipe.width) == (9, 3.0, 64)
        # What came of a surrounded picture is not surrounded once more.
        assert recipe.settings["surround"] == 0.0
        again = await s.offspring.redraw(dream.id, ACTOR, half())
        assert (again.prompt, again.recipe.prompt) == ("a fox", "a fox")
        assert again.recipe.strength == 1.0 and again.recipe.seed != recipe.seed
        # Its recipe is all that is needed to draw it once more.
        await s.draw(child.id, "blue")
        same = await s.dreams.redo(child.id, ANN, same_seed=True)
        assert same.recipe == recipe and (await s.job(same.id)).pictures == job.pictures


async def test_another_engine_redraws_what_its_own_cannot(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        await up(s, FOURIER, PAINTER)
        dream = await done(s, prompt="a fox", engine="clip", width=128, height=64)
        assert s.offspring.can(dream) >= {Relation.INPAINT, Relation.BLEND}
        child = await s.offspring.redraw(dream.id, ACTOR, half(128, 64))
        assert (child.recipe.engine, child.recipe.model) == ("diffusion", "starter")
        assert (child.recipe.width, child.recipe.height) == (128, 64)
        assert child.recipe.steps == PAINTER.default_steps


@pytest.mark.parametrize(
    ("mask", "sentence"),
    [
        (b"", "empty"),
        (b"GIF89a", "not a picture"),
        (half(128, 64), "same proportions"),
        (shade(64, 64, "black"), "no white"),
    ],
)
async def test_masks_that_are_none_are_refused_and_nothing_is_kept(
    tmp_path: Path, mask: bytes, sentence: str
) -> None:
    async with services(tmp_path) as s:
        await up(s, PAINTER)
        dream = await done(s)
        files = sorted(path.name for path in (tmp_path / "library").rglob("*.png"))
        with pytest.raises(InvalidRequestError, match=sentence):
            await s.offspring.redraw(dream.id, ACTOR, mask)
        assert sorted(path.name for path in (tmp_path / "library").rglob("*.png")) == files


@pytest.mark.parametrize(
    ("mask", "sentence"),
    [
        (b"GIF89a", "not a picture"),
        (half(128, 64), "same proportions"),
        (shade(64, 64, "black"), "no white"),
        (shade(64, 64, "#ffffff00"), "no white"),  # white, but transparent
    ],
)
async def test_masks_that_come_with_a_picture_are_looked_at_when_asked(
    tmp_path: Path, mask: bytes, sentence: str
) -> None:
    async with services(tmp_path) as s:
        await up(s, PAINTER)
        with pytest.raises(InvalidRequestError, match=sentence):
            await s.dreams.ask(request(init=shade(64, 64, "red"), mask=mask))
        assert not list((tmp_path / "library").rglob("*.png"))
        (dream,) = await s.dreams.ask(request(init=shade(64, 64, "red"), mask=half()))
        assert (await s.job(dream.id)).mask == to_png(half())


async def test_what_cannot_be_done_is_said(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        await up(s, FOURIER)
        dream, other = await done(s, prompt="a fox"), await done(s, prompt="an owl")
        (waiting,) = await s.dreams.ask(request())
        assert not s.offspring.can(dream) & {Relation.INPAINT, Relation.BLEND}
        with pytest.raises(InvalidRequestError, match="no diffusion model"):
            await s.offspring.redraw(dream.id, ACTOR, half(128, 128))
        with pytest.raises(InvalidRequestError, match="two pictures"):
            await s.offspring.blend(dream.id, other.id, ACTOR)
        await up(s, PAINTER, STEERED)
        for making in (
            s.offspring.redraw(waiting.id, ACTOR, half()),
            s.offspring.extend(waiting.id, ACTOR, Side.ALL),
            s.offspring.blend(dream.id, waiting.id, ACTOR),
        ):
            with pytest.raises(InvalidRequestError, match="no picture yet"):
                await making
        with pytest.raises(InvalidRequestError, match="two different"):
            await s.offspring.blend(dream.id, dream.id, ACTOR)
        for weight in (-0.1, 1.1, float("nan")):
            with pytest.raises(InvalidRequestError, match="weight is a number from 0 to 1"):
                await s.offspring.blend(dream.id, other.id, ACTOR, weight=weight)
        with pytest.raises(InvalidRequestError, match="empty"):
            await s.offspring.redraw(dream.id, ACTOR, half(128, 128), prompt=" | ")
        await s.dreams.delete(other.id, Actor(other.person))
        with pytest.raises(GoneError):
            await s.offspring.blend(dream.id, other.id, ACTOR)


async def test_an_extended_picture_has_a_larger_canvas_and_its_mask(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        await up(s, PAINTER)
        dream = await done(s, "teal", prompt="the sea")
        child = await s.offspring.extend(dream.id, ACTOR, Side.RIGHT, 1.0)
        recipe, job = child.recipe, await s.job(child.id)
        assert (child.relation, child.parent_id) == (Relation.INPAINT, dream.id)
        assert (recipe.width, recipe.height, recipe.prompt) == (128, 64, "the sea")
        assert job.init is not None and job.mask is not None
        assert size(job.init) == size(job.mask) == (128, 64)
        with Image.open(io.BytesIO(job.init)) as canvas, Image.open(io.BytesIO(job.mask)) as mask:
            assert canvas.convert("RGB").getpixel((10, 10)) == (0, 128, 128)
            shades = mask.convert("L")
            assert (shades.getpixel((10, 32)), shades.getpixel((100, 32))) == (0, 255)
        with pytest.raises(InvalidRequestError, match="10% to 200%"):
            await s.offspring.extend(dream.id, ACTOR, Side.RIGHT, 5.0)
        await s.draw(child.id)
        assert (await s.dreams.wait(child.id)).state is DreamState.DONE


async def test_a_blend_by_diffusion_names_both_pictures(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        await up(s, PAINTER)
        fox, owl = await done(s, prompt="a fox"), await done(s, "blue", prompt="an owl")
        assert fox.image is not None and owl.image is not None
        child = await s.offspring.blend(fox.id, owl.id, ACTOR, weight=0.25)
        recipe = child.recipe
        assert (child.relation, child.parent_id) == (Relation.BLEND, fox.id)
        assert child.prompt == "a fox:0.75 | an owl:0.25" == recipe.prompt
        assert (recipe.init_sha256, recipe.picture_sha256s) == (
            fox.image.sha256,
            (owl.image.sha256,),
        )
        assert (recipe.settings["blend"], recipe.strength) == (0.25, 0.6)
        assert set((await s.job(child.id)).pictures) == {fox.image.sha256, owl.image.sha256}
        other = await s.offspring.blend(fox.id, owl.id, ACTOR, prompt="one animal", strength=0.3)
        assert (other.prompt, other.recipe.strength) == ("one animal", 0.3)
        # What varies a blend starts from the blend, not from a blend of it with the second.
        await s.draw(child.id, "purple")
        await s.dreams.wait(child.id)
        (varied,) = await s.offspring.variations(child.id, ACTOR, count=1)
        assert varied.recipe.settings["blend"] == 0.0


async def test_a_blend_by_clip_starts_from_both_and_is_steered_by_both(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        await up(s, STEERED)
        fox, owl = await done(s, prompt="a fox:2 | fog"), await done(s, "blue", prompt="an owl")
        assert fox.image is not None and owl.image is not None
        child = await s.offspring.blend(fox.id, owl.id, ACTOR, weight=0.4)
        recipe = child.recipe
        assert recipe.picture_sha256s == (fox.image.sha256, owl.image.sha256)
        # Words with weights of their own keep them.
        assert child.prompt == "a fox:2 | fog | an owl"
        assert recipe.prompt == f"{child.prompt} | picture 1:0.60 | picture 2:0.40"
        assert recipe.settings["blend"] == 0.4


async def steered_to(s: Services, words: str, prompt: str) -> Dream:
    (dream,) = await s.dreams.ask(request(prompt=prompt))
    job = await s.job(dream.id)
    s.drawer.jobs[dream.id] = replace(job, recipe=replace(job.recipe, steers=(Steer(5, words),)))
    await s.draw(dream.id)
    return await s.dreams.wait(dream.id)


@pytest.mark.parametrize("seed", [0, 1, 2])  # each chooses another colour
async def test_a_blend_is_of_the_words_that_both_pictures_were_drawn_from(
    tmp_path: Path, seed: int
) -> None:
    async with services(tmp_path) as s:
        await up(s, PAINTER)
        await s.themes.change("open", template="{prompt}, oil")
        fox = await done(s, prompt="a {red|blue|green} fox", seed=seed)
        owl = await done(s, "blue", prompt="an owl")
        said = fox.recipe.prompt.removesuffix(", oil")
        assert said.split()[1] in ("red", "blue", "green")
        child = await s.offspring.blend(fox.id, owl.id, ACTOR)
        assert child.prompt == f"{said}:0.50 | an owl:0.50"
        assert child.recipe.prompt == f"{said}, oil:0.50 | an owl:0.50"
        # What varies it has another seed and the same words.
        (varied,) = await s.offspring.variations(fox.id, ACTOR, count=1)
        await s.draw(varied.id)
        await s.dreams.wait(varied.id)
        child = await s.offspring.blend(varied.id, owl.id, ACTOR)
        assert child.recipe.prompt.startswith(f"{said}, oil:0.50 | an owl")


async def test_a_blend_with_what_was_steered_is_of_what_it_became(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        await up(s, PAINTER)
        await s.themes.change("open", template="{prompt}, oil")
        boat = await steered_to(s, "a green boat, oil", "a red fox")
        owl = await done(s, "blue", prompt="an owl")
        child = await s.offspring.blend(boat.id, owl.id, ACTOR)
        # The theme's words are around both already, and come around them no more.
        assert child.recipe.prompt == "a green boat, oil:0.50 | an owl, oil:0.50" == child.prompt
        child = await s.offspring.blend(owl.id, boat.id, ACTOR, prompt="one thing")
        assert (child.prompt, child.recipe.prompt) == ("one thing", "one thing, oil")


async def test_a_blend_without_words_is_not_refused_for_its_length(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        await up(s, PAINTER)
        await s.themes.change("open", template="{prompt}, an oil painting on canvas")
        limit = s.dreams.prompt_length
        long = ("a fox " * limit)[: limit - 4].strip()
        fox = await done(s, prompt=long)
        boat = await steered_to(s, "a green boat, oil", "a red boat")
        whole = f"{long}, an oil painting on canvas"
        grown = await steered_to(s, whole, "a red boat")
        for first, second, weight, words in (
            # The heavier one's words, as they are.
            (fox, boat, 0.6, "a green boat, oil"),
            (boat, fox, 0.4, "a green boat, oil"),
            # They are too long with the theme's around them, so what was typed is taken.
            (boat, fox, 0.6, whole),
            (fox, grown, 0.4, whole),
            (fox, grown, 0.6, "a red boat, an oil painting on canvas"),
        ):
            child = await s.offspring.blend(first.id, second.id, ACTOR, weight=weight)
            assert child.recipe.prompt == words
            assert len(child.prompt) <= limit


async def test_what_does_not_keep_a_blends_pictures_does_not_speak_of_them(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        await up(s, STEERED, PAINTER)
        fox = await done(s, prompt="a fox", engine="clip")
        owl = await done(s, "blue", prompt="an owl", engine="clip")
        words = "a fox:0.60 | an owl:0.40"
        child = await s.offspring.blend(fox.id, owl.id, ACTOR, weight=0.4)
        assert child.recipe.prompt == f"{words} | picture 1:0.60 | picture 2:0.40"
        await s.draw(child.id, "purple")
        child = await s.dreams.wait(child.id)
        whole = half(child.recipe.width, child.recipe.height)
        redrawn = await s.offspring.redraw(child.id, ACTOR, whole)
        extended = await s.offspring.extend(child.id, ACTOR, Side.RIGHT, 0.5)
        for one in (redrawn, extended):
            assert (one.recipe.engine, one.recipe.picture_sha256s) == ("diffusion", ())
            assert one.recipe.prompt == words
        (varied,) = await s.offspring.variations(child.id, ACTOR, count=1)
        assert varied.recipe.prompt == child.recipe.prompt  # it keeps them
        again = await s.offspring.blend(child.id, owl.id, ACTOR)
        assert again.recipe.prompt == f"{words} | an owl | picture 1:0.50 | picture 2:0.50"
        await up(s, PAINTER)
        (varied,) = await s.offspring.variations(child.id, ACTOR, count=1)
        assert (varied.recipe.engine, varied.recipe.prompt) == ("diffusion", words)


async def test_a_further_picture_alone_is_refused_before_it_is_kept(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        await up(s, PAINTER, STEERED)
        with pytest.raises(InvalidRequestError, match="blends a further picture"):
            await s.dreams.ask(request(pictures=(half(),)))
        both = request(pictures=(half(),), init=half())
        (dream,) = await s.dreams.ask(both)
        assert dream.recipe.settings["blend"] == 0.5
        await s.dreams.ask(request(engine="clip", pictures=(half(),)))


async def test_a_blend_with_what_is_shown_nowhere_is_shown_nowhere(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        await up(s, PAINTER)
        fox, owl = await done(s, prompt="a fox"), await done(s, prompt="an owl")
        async with s.store.write() as connection:
            await rows.keep_to_place(connection, [owl.id])
        assert (await s.offspring.blend(owl.id, fox.id, ACTOR)).published is False
        assert (await s.offspring.blend(fox.id, owl.id, ACTOR)).published is False
