"""What can be made of a dream: again, varied, carried on, larger, as a film, repainted.

Each makes children of finished dreams through `bot.dreams`, which accepts them like anything that
is asked for. Their recipes are written here, without waiting for or keeping anything.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from bot.acceptance import Also
from bot.drawing import Drawer
from bot.dreams import Dreams
from bot.errors import InvalidRequestError
from bot.journeys import reseeded
from bot.model import Dream, DreamState, Image, Relation, Theme
from bot.options import complete
from bot.parents import (
    able,
    engine_of,
    model_for,
    picture_of,
    rearranged,
    words_alone,
    words_of,
)
from bot.prompts import expand
from bot.repainting import Pictures, Repainting, can_be_repainted
from bot.rights import Actor
from bot.sizes import nearest, scaled, tiles
from bot.values import check_seed
from generation.protocol import EngineInfo, Recipe

VARIATION_STRENGTH = 0.6  # enough to change what is in the picture, not how it is laid out
MAX_VARIATIONS = 10
FILM_NAME = "forming.mp4"


class Offspring(Repainting):
    """The children that dreams can have. `drawer` knows the engines, `pictures` what they drew."""

    def __init__(self, dreams: Dreams, drawer: Drawer, pictures: Pictures) -> None:
        super().__init__(dreams, pictures)
        self._drawer = drawer

    def can(self, dream: Dream) -> frozenset[Relation]:
        """Return which of its methods would do something for a dream, as far as memory tells.

        `Relation.CONTINUE` stands for `carry_on`. Cheap: meant for drawing buttons.
        """
        if dream.deleted_ms is not None:
            return frozenset()
        engines = able(self._drawer.engines)
        engine = engine_of(dream, engines)
        found: set[Relation] = set()
        if engine is not None:
            found.add(Relation.REROLL)
        if dream.image is None or dream.state is not DreamState.DONE or dream.veil is not None:
            return frozenset(found)
        if engine is not None and _further(dream.recipe, engine):
            found.add(Relation.CONTINUE)
        if engine is not None and _can_be_filmed(dream, engine):
            found.add(Relation.ANIMATE)
        if _variator(dream, engine, engines) is not None:
            found.add(Relation.VARIATION)
        if any(_takes(other, dream.image) for other in engines if other.scale is not None):
            found.add(Relation.UPSCALE)
        return frozenset(found) | can_be_repainted(dream, engines)

    async def reroll(
        self,
        dream_id: str,
        actor: Actor,
        *,
        same_seed: bool = False,
        channel_id: int | None = None,
        also: Also | None = None,
    ) -> Dream:
        """Draw a dream again: the same picture, or with another seed as if asked for today.

        Raises:
            As `Dreams.derive` does.
        """

        def recipes(dream: Dream, theme: Theme, _engines: Sequence[EngineInfo]) -> list[Recipe]:
            if same_seed:
                return [dream.recipe]
            seed = check_seed(None)
            return [reseeded(dream.recipe, dream.prompt, theme, seed)]

        (again,) = await self._dreams.derive(
            [dream_id], recipes, actor, Relation.REROLL, channel_id=channel_id, also=also
        )
        return again

    async def variations(
        self,
        dream_id: str,
        actor: Actor,
        *,
        count: int = 4,
        channel_id: int | None = None,
        also: Also | None = None,
    ) -> list[Dream]:
        """Start from a dream's picture with the same words and `count` new seeds.

        They are fewer where the theme takes no more at once. Where its engine does not start from
        pictures, the first that does draws them.

        Raises:
            As `Dreams.derive` does; InvalidRequestError: it has no picture, or nothing here
            starts from one.
        """
        if not 1 <= count <= MAX_VARIATIONS:
            raise InvalidRequestError(
                "count", f"There can be 1 to {MAX_VARIATIONS} variations at once, not {count}."
            )

        def recipes(dream: Dream, theme: Theme, engines: Sequence[EngineInfo]) -> list[Recipe]:
            image = picture_of(dream)
            engines = able(engines)
            own = engine_of(dream, engines)
            engine = _variator(dream, own, engines)
            if engine is None:
                raise InvalidRequestError("dream", "Nothing here starts from a picture.")
            most = min(count, theme.max_count or count)
            first = check_seed(None, most)
            seeds = range(first, first + most)
            return [_variation(dream, image, engine, own, theme, seed) for seed in seeds]

        return await self._dreams.derive(
            [dream_id], recipes, actor, Relation.VARIATION, channel_id=channel_id, also=also
        )

    async def carry_on(
        self,
        dream_ids: Sequence[str],
        actor: Actor,
        *,
        more_steps: int | None = None,
        channel_id: int | None = None,
        also: Also | None = None,
    ) -> list[Dream]:
        """Let finished dreams of one stream go on, each from where it was.

        A first look goes on to its end, or by `more_steps` as another first look. One that is
        whole gets `more_steps` (half as many again where not said), if its engine can do that.
        The picture is the same as if it had been drawn so in one go.

        Raises:
            As `Dreams.derive` does; InvalidRequestError: one of them cannot go on.
        """
        if more_steps is not None and more_steps < 1:
            raise InvalidRequestError("steps", "Say how many steps more: one at least.")

        def recipes(dream: Dream, _theme: Theme, engines: Sequence[EngineInfo]) -> list[Recipe]:
            picture_of(dream)
            engine = engine_of(dream, engines)
            if engine is None:
                raise InvalidRequestError("engine", "What drew this dream is not here any more.")
            return [_carried_on(dream.recipe, engine, more_steps)]

        return await self._dreams.derive(
            dream_ids, recipes, actor, Relation.CONTINUE, channel_id=channel_id, also=also
        )

    async def upscale(
        self,
        dream_id: str,
        actor: Actor,
        *,
        channel_id: int | None = None,
        also: Also | None = None,
    ) -> Dream:
        """Make a dream's picture larger, with the first engine here that does such a thing.

        Raises:
            As `Dreams.derive` does; InvalidRequestError: nothing here can, or it is too large.
        """
        (larger,) = await self.upscale_all([dream_id], actor, channel_id=channel_id, also=also)
        return larger

    async def upscale_all(
        self,
        dream_ids: Sequence[str],
        actor: Actor,
        *,
        channel_id: int | None = None,
        also: Also | None = None,
    ) -> list[Dream]:
        """Make the pictures of several dreams of one stream larger: all of them, or none.

        Raises:
            As `upscale` does.
        """

        def recipes(dream: Dream, theme: Theme, engines: Sequence[EngineInfo]) -> list[Recipe]:
            image = picture_of(dream)
            scalers = [engine for engine in able(engines) if engine.scale is not None]
            if not scalers:
                raise InvalidRequestError(
                    "engine",
                    "Nothing here makes pictures larger: the weights of an upscaler are missing. "
                    "“dreamstream doctor” says which there are.",
                )
            engine = next((scaler for scaler in scalers if _takes(scaler, image)), scalers[0])
            return [_upscaled(dream, image, engine, theme)]

        return await self._dreams.derive(
            dream_ids, recipes, actor, Relation.UPSCALE, channel_id=channel_id, also=also
        )

    async def animate(
        self,
        dream_id: str,
        actor: Actor,
        *,
        channel_id: int | None = None,
        also: Also | None = None,
    ) -> Dream:
        """Draw a dream once more as it was, with a film of how it forms.

        Raises:
            As `Dreams.derive` does; InvalidRequestError: there is nothing to film.
        """

        def recipes(dream: Dream, _theme: Theme, engines: Sequence[EngineInfo]) -> list[Recipe]:
            picture_of(dream)
            engine = engine_of(dream, engines)
            if engine is not None and not _can_be_filmed(dream, engine):
                raise InvalidRequestError(
                    "dream",
                    "This dream has its film already."
                    if dream.recipe.film or dream.recipe.journey is not None
                    else "There is nothing to film: this picture does not form step by step.",
                )
            return [msgspec.structs.replace(dream.recipe, film=True)]

        (filmed,) = await self._dreams.derive(
            [dream_id], recipes, actor, Relation.ANIMATE, channel_id=channel_id, also=also
        )
        return filmed


def _variator(
    dream: Dream, own: EngineInfo | None, engines: Sequence[EngineInfo]
) -> EngineInfo | None:
    """Return what draws a dream's variations: what drew it, else the first that can."""
    if own is not None and own.takes_init and own.scale is None:
        return own
    if not dream.prompt:
        return None
    able = (e for e in engines if e.takes_init and e.takes_prompt and e.scale is None)
    return next(able, None)


def _variation(
    dream: Dream,
    image: Image,
    engine: EngineInfo,
    own: EngineInfo | None,
    theme: Theme,
    seed: int,
) -> Recipe:
    recipe = dream.recipe
    if engine is own:
        return msgspec.structs.replace(
            recipe,
            prompt=words_of(recipe),
            seed=seed,
            strength=VARIATION_STRENGTH,
            init_sha256=image.sha256,
            mask_sha256=None,
            settings=rearranged(recipe),
            steers=(),
            until_step=None,
            film=False,
            journey=None,
        )
    width, height = nearest(engine, image.width, image.height)
    return Recipe(
        engine=engine.name,
        model=model_for(engine, theme),
        prompt=words_alone(recipe) or expand(dream.prompt, theme, seed),
        width=width,
        height=height,
        steps=engine.default_steps,
        seed=seed,
        negative=recipe.negative if engine.takes_negative else "",
        guidance=engine.guidance,
        strength=VARIATION_STRENGTH,
        init_sha256=image.sha256,
        settings=complete({}, engine),
        exact=recipe.exact,
    )


def _further(recipe: Recipe, engine: EngineInfo) -> bool:
    """Whether a finished picture can go on."""
    if recipe.journey is not None:
        return False
    if recipe.until_step is not None:
        return recipe.last_step < recipe.steps
    return engine.continues and recipe.steps < engine.max_steps


def _carried_on(recipe: Recipe, engine: EngineInfo, more_steps: int | None) -> Recipe:
    if recipe.journey is not None:
        raise InvalidRequestError(
            "dream", "A journey is at its end. Ask for another one, or for variations of its end."
        )
    if not _further(recipe, engine):
        raise InvalidRequestError(
            "dream",
            f"This dream has the {engine.max_steps:,} steps that {engine.title} can take here."
            if engine.continues
            else f"This dream is finished, and {engine.title} cannot add to a finished picture. "
            "Ask for variations of it instead.",
        )
    if recipe.until_step is None:
        steps = recipe.steps + (more_steps or max(1, recipe.steps // 2))
        return msgspec.structs.replace(recipe, steps=min(steps, engine.max_steps))
    until = None if more_steps is None else recipe.last_step + more_steps
    if until is not None and until >= recipe.steps:
        until = None
    return msgspec.structs.replace(recipe, until_step=until)


def _can_be_filmed(dream: Dream, engine: EngineInfo) -> bool:
    is_film = dream.recipe.film or dream.recipe.journey is not None
    return not is_film and engine.scale is None and dream.recipe.last_step > 1


def _takes(scaler: EngineInfo, image: Image) -> bool:
    try:
        scaled(scaler, image.width, image.height)
    except InvalidRequestError:
        return False
    return True


def _upscaled(dream: Dream, image: Image, engine: EngineInfo, theme: Theme) -> Recipe:
    width, height = scaled(engine, image.width, image.height)
    return Recipe(
        engine=engine.name,
        model=model_for(engine, theme),
        prompt=words_alone(dream.recipe) if engine.takes_prompt else "",
        width=width,
        height=height,
        steps=tiles(engine, image.width, image.height),
        seed=dream.recipe.seed,
        init_sha256=image.sha256,
        settings=complete({}, engine),
        guidance=engine.guidance,
    )
