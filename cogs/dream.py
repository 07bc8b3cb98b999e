"""``/dream``, ``/explore`` and ``/batch``: asking for pictures."""

from __future__ import annotations

from typing import Any

import discord
import msgspec
from discord import app_commands
from discord.ext import commands

from bot.client import Client
from bot.delivery.asking import checked_here, permit
from bot.delivery.forms import COMING, tell_coming
from bot.delivery.incoming import fetch
from bot.delivery.interactions import (
    Interaction,
    acknowledged,
    actor_of,
    front_of,
    person_of,
    tell,
    theme_of,
)
from bot.errors import InvalidRequestError
from bot.model import DreamRequest, Person, Relation, Shape
from bot.options import parse_settings
from bot.presets import styled
from bot.sentences import say
from bot.sizes import parse_size
from cogs import choosing
from cogs.places import everywhere

SHAPES = [app_commands.Choice(name=shape.value.capitalize(), value=shape.value) for shape in Shape]
WORDS = {
    "prompt": "What to draw; parts joined by | with weights as in “a castle:2 | fog:-1”",
    "preset": "A way of drawing, such as doorway or pen drawing",
    "engine": "What draws it",
    "model": "Which weights it draws with",
    "size": "Pixels, such as 256 or 384x256",
    "shape": "Its proportions, in place of a size",
    "style": "Words that give it a style; several are joined by commas",
    "steps": "How many steps it takes",
    "seed": "The same seed and words give the same picture",
    "guidance": "How closely it keeps to the words",
    "negative": "What not to draw",
    "options": "The engine's own settings, such as cutouts=16, tiled=true",
}
_NO_INIT = (
    "The strength says how far a dream may leave the picture it starts from. Give that picture "
    "too, as init, or leave the strength out."
)


class DreamCog(commands.Cog):
    """Asking for dreams."""

    @everywhere
    @app_commands.command(name="dream", description="Have a picture drawn from your words")
    @app_commands.describe(
        **WORDS,
        strength="How far it may leave the picture it starts from, 0 to 1",
        init="A picture to start from",
        mask="Another picture of its size: white where it may be redrawn",
        picture="A picture to draw towards, as if it were words",
        sketch="A drawing whose lines say where things are",
        count="How many pictures, with seeds one apart",
        film="Whether to make a film of how it forms",
    )
    @app_commands.choices(shape=SHAPES)
    @app_commands.autocomplete(
        preset=choosing.offer_presets,
        engine=choosing.offer_engines,
        model=choosing.offer_models,
        style=choosing.offer_styles,
        options=choosing.offer_options,
    )
    async def dream(
        self,
        interaction: Interaction,
        prompt: app_commands.Range[str, 1, 4000],
        preset: app_commands.Range[str, 1, 100] | None = None,
        engine: str | None = None,
        model: str | None = None,
        style: app_commands.Range[str, 1, 500] | None = None,
        shape: str | None = None,
        size: str | None = None,
        steps: app_commands.Range[int, 1] | None = None,
        seed: app_commands.Range[int, 0, 4294967295] | None = None,
        init: discord.Attachment | None = None,
        strength: app_commands.Range[float, 0.0, 1.0] | None = None,
        mask: discord.Attachment | None = None,
        picture: discord.Attachment | None = None,
        sketch: discord.Attachment | None = None,
        guidance: app_commands.Range[float, 0.0] | None = None,
        negative: app_commands.Range[str, 1, 1000] | None = None,
        count: app_commands.Range[int, 1, 100] = 1,
        options: app_commands.Range[str, 1, 1000] | None = None,
        film: bool = False,
    ) -> None:
        """Ask for pictures, which appear on one card in this channel."""
        async with acknowledged(interaction):
            request = request_of(
                prompt, style, shape, size, options,
                preset=preset, engine=engine, model=model, steps=steps, seed=seed,
                strength=strength, guidance=guidance, negative=negative, count=count, film=film,
            )  # fmt: skip
            await ask_for(
                interaction, request, init=init, mask=mask, picture=picture, sketch=sketch
            )

    @everywhere
    @app_commands.command(
        name="explore", description="See first looks at many seeds, and pick which go on"
    )
    @app_commands.describe(
        **WORDS,
        count="How many seeds to look at",
        after="After which step to look; without it, early on",
    )
    @app_commands.choices(shape=SHAPES)
    @app_commands.autocomplete(
        preset=choosing.offer_presets,
        engine=choosing.offer_engines,
        model=choosing.offer_models,
        style=choosing.offer_styles,
        options=choosing.offer_options,
    )
    async def explore(
        self,
        interaction: Interaction,
        prompt: app_commands.Range[str, 1, 4000],
        count: app_commands.Range[int, 4, 25] = 9,
        after: app_commands.Range[int, 1] | None = None,
        preset: app_commands.Range[str, 1, 100] | None = None,
        engine: str | None = None,
        model: str | None = None,
        style: app_commands.Range[str, 1, 500] | None = None,
        shape: str | None = None,
        size: str | None = None,
        steps: app_commands.Range[int, 1] | None = None,
        seed: app_commands.Range[int, 0, 4294967295] | None = None,
        guidance: app_commands.Range[float, 0.0] | None = None,
        negative: app_commands.Range[str, 1, 1000] | None = None,
        options: app_commands.Range[str, 1, 1000] | None = None,
    ) -> None:
        """Ask for first looks, of which some can be continued."""
        async with acknowledged(interaction):
            request = request_of(
                prompt, style, shape, size, options,
                preset=preset, engine=engine, model=model, steps=steps, seed=seed,
                guidance=guidance, negative=negative, count=count, until_step=after,
                first_look=True, relation=Relation.EXPLORE,
            )  # fmt: skip
            await ask_for(interaction, request)

    @everywhere
    @app_commands.command(
        name="batch", description="Have many drawn when nobody else waits, and pick from them"
    )
    @app_commands.describe(
        **WORDS,
        count="How many pictures, with seeds one apart",
        strength="How far it may leave the picture it starts from, 0 to 1",
        init="A picture to start from",
    )
    @app_commands.choices(shape=SHAPES)
    @app_commands.autocomplete(
        preset=choosing.offer_presets,
        engine=choosing.offer_engines,
        model=choosing.offer_models,
        style=choosing.offer_styles,
        options=choosing.offer_options,
    )
    async def batch(
        self,
        interaction: Interaction,
        prompt: app_commands.Range[str, 1, 4000],
        count: app_commands.Range[int, 2, 100] = 25,
        engine: str | None = None,
        model: str | None = None,
        style: app_commands.Range[str, 1, 500] | None = None,
        shape: str | None = None,
        size: str | None = None,
        steps: app_commands.Range[int, 1] | None = None,
        seed: app_commands.Range[int, 0, 4294967295] | None = None,
        init: discord.Attachment | None = None,
        strength: app_commands.Range[float, 0.0, 1.0] | None = None,
        guidance: app_commands.Range[float, 0.0] | None = None,
        negative: app_commands.Range[str, 1, 1000] | None = None,
        options: app_commands.Range[str, 1, 1000] | None = None,
        preset: app_commands.Range[str, 1, 100] | None = None,
    ) -> None:
        """Ask for many pictures on contact sheets, drawn when there is nothing else to do."""
        async with acknowledged(interaction):
            request = request_of(
                prompt, style, shape, size, options,
                preset=preset, engine=engine, model=model, steps=steps, seed=seed,
                strength=strength, guidance=guidance, negative=negative, count=count,
                background=True,
            )  # fmt: skip
            await ask_for(interaction, request, init=init)


async def setup(bot: Client) -> None:
    """Add the commands to a client that loads them by this module's name."""
    await bot.add_cog(DreamCog())


def request_of(
    prompt: str,
    style: str | None,
    shape: str | None,
    size: str | None,
    options: str | None,
    **rest: Any,
) -> DreamRequest:
    """Return what was typed as a request that does not know yet where it is asked, and by whom."""
    width, height = parse_size(size)
    request = DreamRequest(
        theme="",
        person=Person("", ""),
        prompt=prompt,
        width=width,
        height=height,
        shape=_shape(shape),
        settings=parse_settings(options or ""),
        **rest,
    )
    return styled(request, style or "")


def _shape(name: str | None) -> Shape | None:
    """Return a shape by its name; Discord does not hold every client to the choices."""
    if name is None:
        return None
    try:
        return Shape(name.strip().lower())
    except ValueError:
        shapes = ", ".join(Shape)
        raise InvalidRequestError(
            "shape", say("The shape is one of {shapes}.", shapes=shapes)
        ) from None


async def ask_for(
    interaction: Interaction, request: DreamRequest, **uploads: discord.Attachment | None
) -> None:
    """Ask for what was typed, with the pictures that came along, and say what comes of it."""
    if request.strength is not None and uploads.get("init") is None:
        raise InvalidRequestError("strength", _NO_INIT)
    front = front_of(interaction)
    exploring = request.relation is Relation.EXPLORE
    words = "\n".join(filter(None, (request.prompt, request.negative, *request.study)))
    also = await permit(
        interaction,
        prompt=words,
        count=len(request.study) or request.count,
        exploring=exploring,
        background=request.background,
    )
    pictures: dict[str, Any] = {
        name: await fetch(one, front.library.uploads, name)
        for name, one in uploads.items()
        if one is not None
    }
    if "picture" in pictures:
        pictures["pictures"] = (pictures.pop("picture"),)
    request = msgspec.structs.replace(
        request,
        theme=(await theme_of(interaction)).slug,
        person=person_of(interaction),
        guild_id=interaction.guild_id,
        channel_id=interaction.channel_id,
        moderates=actor_of(interaction).moderates,
        checked_as=checked_here(interaction),
        **pictures,
    )
    dreams = await front.dreams.ask(request, also)
    if exploring:
        text = "{count} first looks are on their way. Then pick from them."
        await tell(interaction, say(text, count=len(dreams)))
    elif request.background:
        await tell(
            interaction,
            say(
                "{count} pictures are drawn when nobody else waits, through the night if need be. "
                "They appear on a card in this channel; pick from it what you like.",
                count=len(dreams),
            ),
        )
    elif request.study:
        await tell(
            interaction,
            say(
                "{count} pictures are on their way, side by side on one card. Only the words below "
                "them differ.",
                count=len(dreams),
            ),
        )
    elif len(dreams) > 1:
        what = say("{count} dreams are on their way.", count=len(dreams))
        await tell_coming(interaction, what, len(dreams))
    else:
        await tell(interaction, COMING)
