"""Children of pictures: a part drawn anew, more drawn around one, two blended into one.

Their recipes name kept pictures only, so that each can be drawn again from its recipe alone.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import msgspec

from bot.acceptance import Also
from bot.dreams import Dreams
from bot.errors import InvalidRequestError
from bot.model import Dream, DreamState, Relation, Theme
from bot.options import complete, side_by_side
from bot.outpainting import Extension, Side, extended, plan
from bot.parents import (
    able,
    engine_of,
    model_for,
    picture_of,
    rearranged,
    words_alone,
    words_of_both,
)
from bot.prompts import expand, without_pictures
from bot.rights import Actor
from bot.sentences import say
from bot.sizes import nearest
from bot.upload_process import to_mask
from bot.uploads import UploadLimits, check_fits, to_png
from bot.values import check_seed
from generation.protocol import EngineInfo, Recipe

REDRAWN = 1.0  # what was painted over has nothing to say about what comes in its place
EXTENDED = 0.75  # of what is reflected, light and colours stay and things do not
BLENDED = 0.6  # enough to make one picture of two that shine through each other
_LONG = 400  # characters; of longer words only those of the picture that weighs more are taken


class Pictures(Protocol):
    """Where pictures are kept."""

    @property
    def uploads(self) -> UploadLimits:
        """Bounds on what is uploaded."""
        ...

    async def read(self, sha256: str) -> bytes:
        """Return a picture's PNG; raises `NotFoundError`."""
        ...


class Repainting:
    """Makes such children of dreams. `pictures` holds those that they start from."""

    def __init__(self, dreams: Dreams, pictures: Pictures) -> None:
        self._dreams = dreams
        self._pictures = pictures

    async def redraw(
        self,
        dream_id: str,
        actor: Actor,
        mask: bytes,
        *,
        prompt: str | None = None,
        strength: float | None = None,
        channel_id: int | None = None,
        also: Also | None = None,
    ) -> Dream:
        """Draw a part of a dream's picture anew, in other words if a `prompt` is given.

        `mask` is an encoded picture of its proportions, white where it is redrawn; `strength` in
        0..1 says how much of what was there goes.

        Raises:
            As `Dreams.derive` does; InvalidRequestError: nothing here redraws parts, or the mask
                is no picture or has other proportions.
        """
        white = await asyncio.to_thread(to_mask, mask, self._pictures.uploads)
        sha256 = hashlib.sha256(white).hexdigest()

        def recipes(dream: Dream, theme: Theme, engines: Sequence[EngineInfo]) -> list[Recipe]:
            image = picture_of(dream)
            check_fits(white, image.width, image.height)
            recipe = _repainted(dream, image.width, image.height, theme, engines, prompt)
            return [
                msgspec.structs.replace(
                    recipe,
                    init_sha256=image.sha256,
                    mask_sha256=sha256,
                    strength=_fraction("strength", strength, REDRAWN),
                )
            ]

        (redrawn,) = await self._dreams.derive(
            [dream_id], recipes, actor, Relation.INPAINT,
            prompt=prompt, mask=white, channel_id=channel_id, also=also,
        )  # fmt: skip
        return redrawn

    async def extend(
        self,
        dream_id: str,
        actor: Actor,
        side: Side,
        share: float = 0.5,
        *,
        prompt: str | None = None,
        strength: float | None = None,
        channel_id: int | None = None,
        also: Also | None = None,
    ) -> Dream:
        """Draw more of a dream's picture: `share` of its width or height, at a `side`.

        Raises:
            As `Dreams.derive` does; InvalidRequestError: nothing here can, or there is no room.
        """
        dream = await self._dreams.existing(dream_id)
        image = picture_of(dream)
        engine = _painter(dream, self._dreams.engines)
        extension = plan(engine, image.width, image.height, side, share)
        data = await self._pictures.read(image.sha256)
        canvas, mask = await asyncio.to_thread(_canvas, data, extension)

        def recipes(dream: Dream, theme: Theme, engines: Sequence[EngineInfo]) -> list[Recipe]:
            picture_of(dream)
            size = extension.width, extension.height
            return [
                msgspec.structs.replace(
                    _repainted(dream, *size, theme, engines, prompt),
                    init_sha256=hashlib.sha256(canvas).hexdigest(),
                    mask_sha256=hashlib.sha256(mask).hexdigest(),
                    strength=_fraction("strength", strength, EXTENDED),
                )
            ]

        (larger,) = await self._dreams.derive(
            [dream_id], recipes, actor, Relation.INPAINT,
            prompt=prompt, given=[canvas, mask], channel_id=channel_id, also=also,
        )  # fmt: skip
        return larger

    async def blend(
        self,
        first_id: str,
        second_id: str,
        actor: Actor,
        *,
        weight: float = 0.5,
        prompt: str | None = None,
        join: Callable[[str, str], str] | None = None,
        strength: float | None = None,
        channel_id: int | None = None,
        also: Also | None = None,
    ) -> Dream:
        """Draw one picture from those of two dreams, `weight` in 0..1 of it from the second.

        Diffusion starts from latents between both; a CLIP-steered engine from the mean of their
        pixels, and is steered by both as well. Without a `prompt`, the words that both pictures
        came to are taken: put together by `join`, else weighed as the pictures are. The child is
        of the first one's stream, and shown nowhere where either is not.

        Raises:
            As `Dreams.derive` does; InvalidRequestError: nothing here starts from two pictures,
                or one of them has none.
        """
        part = _fraction("weight", weight, 0.5)
        first = await self._dreams.existing(first_id)
        second = await self._dreams.existing(second_id)
        if first.id == second.id:
            raise InvalidRequestError("dream", "Choose two different pictures to blend.")
        other = picture_of(second)
        own_words, whole = prompt, False
        if prompt is None and second.prompt:
            theme = await self._dreams.theme_of(first)
            join = join or partial(_weighed, part)
            prompt, whole = words_of_both(
                first, second, theme, join, limit=self._dreams.prompt_length, part=part
            )

        def recipes(dream: Dream, theme: Theme, engines: Sequence[EngineInfo]) -> list[Recipe]:
            image = picture_of(dream)
            engine = _blender([dream, second], engines)
            size = image.width, image.height
            recipe = _drawn_by(engine, dream, *size, theme, prompt, whole=whole)
            pictures = [other.sha256]
            if engine.max_pictures > 1:
                pictures.insert(0, image.sha256)
                shares = f"picture 1:{1 - part:.2f} | picture 2:{part:.2f}"
                words = recipe.prompt if own_words or dream.prompt else ""
                recipe = msgspec.structs.replace(
                    recipe, prompt=f"{words} | {shares}" if words else shares
                )
            return [
                msgspec.structs.replace(
                    recipe,
                    init_sha256=image.sha256,
                    picture_sha256s=tuple(pictures),
                    strength=_fraction("strength", strength, BLENDED),
                    settings={**recipe.settings, "blend": part},
                )
            ]

        (blended,) = await self._dreams.derive(
            [first_id], recipes, actor, Relation.BLEND,
            prompt=prompt, published=second.published, channel_id=channel_id, also=also,
        )  # fmt: skip
        return blended


def can_be_repainted(dream: Dream, engines: Sequence[EngineInfo]) -> frozenset[Relation]:
    """Return which of such children a dream can have: `INPAINT`, `BLEND`, both or none."""
    if dream.image is None or dream.state is not DreamState.DONE:
        return frozenset()
    found = set()
    if any(_repaints(engine) for engine in able(engines)):
        found.add(Relation.INPAINT)
    if any(_blends(engine) for engine in able(engines)):
        found.add(Relation.BLEND)
    return frozenset(found)


def _repaints(engine: EngineInfo) -> bool:
    return engine.takes_mask and engine.takes_init and engine.takes_prompt and engine.scale is None


def _blends(engine: EngineInfo) -> bool:
    mixes = any(option.name == "blend" for option in engine.options)
    return mixes and engine.takes_init and engine.max_pictures > 0


def _painter(dream: Dream, engines: Sequence[EngineInfo]) -> EngineInfo:
    """Return what redraws parts of a dream's picture: what drew it, else the first that can."""
    engines = able(engines)
    own = engine_of(dream, engines)
    if own is not None and _repaints(own):
        return own
    painter = next((engine for engine in engines if _repaints(engine)), None)
    if painter is None:
        raise InvalidRequestError(
            "engine", "Nothing here redraws parts of pictures: no diffusion model is here."
        )
    return painter


def _blender(dreams: Sequence[Dream], engines: Sequence[EngineInfo]) -> EngineInfo:
    """Return what blends two dreams' pictures: what drew either, else the first that can."""
    engines = able(engines)
    own = [engine_of(dream, engines) for dream in dreams]
    for engine in (*own, *engines):
        if engine is not None and _blends(engine):
            return engine
    raise InvalidRequestError("engine", "Nothing here starts from two pictures.")


def _repainted(
    dream: Dream,
    width: int,
    height: int,
    theme: Theme,
    engines: Sequence[EngineInfo],
    prompt: str | None,
) -> Recipe:
    recipe = _drawn_by(_painter(dream, engines), dream, width, height, theme, prompt)
    if not recipe.prompt:
        raise InvalidRequestError("prompt", "Say in a few words what is to be drawn there.")
    return recipe


def _drawn_by(
    engine: EngineInfo,
    dream: Dream,
    width: int,
    height: int,
    theme: Theme,
    prompt: str | None,
    *,
    whole: bool = False,
) -> Recipe:
    """Return a recipe of a dream's words and ways, without pictures, with a new seed.

    With a `prompt`, of that: `whole` says that the theme's words are around it already.
    """
    recipe, seed = dream.recipe, check_seed(None)
    is_own = engine.name == recipe.engine and engine_of(dream, [engine]) is not None
    settings = rearranged(recipe) if is_own else complete({}, engine)
    words = words_alone(recipe) if prompt is None else prompt if whole else ""
    if not words and dream.prompt:
        words = expand(dream.prompt, theme, seed, placed=side_by_side(settings))
        if recipe.picture_sha256s and prompt is None:
            words = without_pictures(words)
    width, height = nearest(engine, width, height)
    return Recipe(
        engine=engine.name,
        model=recipe.model if is_own else model_for(engine, theme),
        prompt=words,
        width=width,
        height=height,
        steps=recipe.steps if is_own else engine.default_steps,
        seed=seed,
        negative=recipe.negative if engine.takes_negative else "",
        guidance=recipe.guidance if is_own else engine.guidance,
        settings=settings,
        exact=recipe.exact,
    )


def _weighed(part: float, first: str, second: str) -> str:
    """Return the words of both, weighed as their pictures are where they weigh nothing."""
    if first == second or not first:
        return second
    if max(len(first), len(second)) > _LONG:
        return first if part < 0.5 else second
    if any(sign in first + second for sign in "|:{"):
        return f"{first} | {second}"
    return f"{first}:{1 - part:.2f} | {second}:{part:.2f}"


def _canvas(picture: bytes, extension: Extension) -> tuple[bytes, bytes]:
    # As they are kept, so that their names are known before they are.
    canvas, mask = extended(picture, extension)
    return to_png(canvas), to_png(mask)


def _fraction(field: str, value: float | None, default: float) -> float:
    if value is None:
        return default
    if isinstance(value, bool) or not 0.0 <= value <= 1.0:
        raise InvalidRequestError(field, say("The {field} is a number from 0 to 1.", field=field))
    return float(value)
