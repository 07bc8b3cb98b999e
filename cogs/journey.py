"""``/journey``: asking for films through prompts."""

from __future__ import annotations

import discord
import msgspec
from discord import app_commands
from discord.ext import commands

from bot.client import Client
from bot.delivery.interactions import Interaction, acknowledged
from bot.journeys import FORMATS, KINDS, format_of, kind_of
from bot.model import JourneyRequest
from cogs import choosing
from cogs.dream import SHAPES, WORDS, ask_for, request_of
from cogs.places import everywhere

_KINDS = [app_commands.Choice(name=title, value=kind.value) for kind, title in KINDS.items()]
_FORMATS = [app_commands.Choice(name=kind.value.upper(), value=kind.value) for kind in FORMATS]


class JourneyCog(commands.Cog):
    """Asking for journeys."""

    @everywhere
    @app_commands.command(
        name="journey", description="Have a film drawn that goes from one prompt to the next"
    )
    @app_commands.describe(
        **WORDS | {"prompt": "Where it goes, with arrows, as in “a forest -> a city -> the sea”"},
        kind="Whether a camera moves, or one picture turns into the next",
        seconds="How long the film is",
        zoom="How much nearer each frame is, as 1.03, or 1.03@0, 0.98@30",
        right="How far the camera goes to the right in each frame, in parts of the width, as 0.01",
        down="How far the camera goes down in each frame, in parts of the height, as 0.01",
        turn="By how many degrees each frame is turned clockwise",
        loop="Whether it ends where it began",
        film_format="What the film is written as; MP4 is the smallest",
        init="A picture to start from",
    )
    @app_commands.choices(shape=SHAPES, kind=_KINDS, film_format=_FORMATS)
    @app_commands.autocomplete(
        preset=choosing.offer_presets,
        engine=choosing.offer_engines,
        model=choosing.offer_models,
        style=choosing.offer_styles,
        options=choosing.offer_options,
    )
    async def journey(
        self,
        interaction: Interaction,
        prompt: app_commands.Range[str, 1, 4000],
        preset: app_commands.Range[str, 1, 100] | None = None,
        kind: str | None = None,
        seconds: app_commands.Range[float, 0.5, 60.0] | None = None,
        zoom: app_commands.Range[str, 1, 300] | None = None,
        right: app_commands.Range[str, 1, 300] | None = None,
        down: app_commands.Range[str, 1, 300] | None = None,
        turn: app_commands.Range[str, 1, 300] | None = None,
        loop: bool = False,
        film_format: str | None = None,
        engine: str | None = None,
        model: str | None = None,
        style: app_commands.Range[str, 1, 500] | None = None,
        shape: str | None = None,
        size: str | None = None,
        steps: app_commands.Range[int, 1] | None = None,
        seed: app_commands.Range[int, 0, 4294967295] | None = None,
        init: discord.Attachment | None = None,
        guidance: app_commands.Range[float, 0.0] | None = None,
        negative: app_commands.Range[str, 1, 1000] | None = None,
        options: app_commands.Range[str, 1, 1000] | None = None,
    ) -> None:
        """Ask for a film, which appears on a card in this channel."""
        async with acknowledged(interaction):
            trip = JourneyRequest(
                kind=kind_of(kind or ""),
                seconds=seconds,
                zoom=zoom or "",
                pan_x=right or "",
                pan_y=down or "",
                rotate=turn or "",
                loop=loop,
            )
            request = request_of(
                prompt, style, shape, size, options, journey=trip,
                preset=preset, engine=engine, model=model, steps=steps, seed=seed,
                guidance=guidance, negative=negative,
            )  # fmt: skip
            request = msgspec.structs.replace(request, film_format=format_of(film_format or ""))
            await ask_for(interaction, request, init=init)


async def setup(bot: Client) -> None:
    """Add the command to a client that loads it by this module's name."""
    await bot.add_cog(JourneyCog())
