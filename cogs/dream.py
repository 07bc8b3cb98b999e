"""``/dream`` and what belongs to it: the queue, cancelling, showing, recipes."""

from __future__ import annotations

import io
import re
from typing import Any

import discord
from discord import app_commands
from discord.ext import commands

from bot import recipes
from bot.client import Client
from bot.delivery import words
from bot.delivery.forms import COMING, MANY_COMING
from bot.delivery.interactions import (
    Interaction,
    acknowledged,
    actor_of,
    front_of,
    person_of,
    posting_here,
    tell,
    theme_of,
)
from bot.delivery.looking import show, visible_dream
from bot.errors import InvalidRequestError, NotFoundError
from bot.ids import is_id
from bot.model import Dream, DreamRequest
from bot.network import UNREACHABLE
from bot.text import shorten
from bot.uploads import UploadLimits

_MAX_CHOICES = 25
_MAX_LISTED = 15
_MAX_SHOWN_RECIPE = 1800
Choices = list[app_commands.Choice[str]]


@app_commands.guild_only()
@app_commands.allowed_installs(guilds=True, users=False)
class DreamCog(commands.Cog):
    """Asking for dreams and looking after them."""

    @app_commands.command(name="dream", description="Have a picture drawn from your words")
    @app_commands.describe(
        prompt="What to draw; parts joined by | with weights as in “a castle:2 | fog:-1”",
        engine="What draws it",
        model="Which weights it draws with",
        size="Pixels, such as 256 or 384x256",
        steps="How many steps it takes",
        seed="The same seed and words give the same picture",
        strength="How far it may leave the picture it starts from, 0 to 1",
        guidance="How closely it keeps to the words",
        negative="What not to draw",
        init="A picture to start from",
        count="How many pictures, with seeds one apart",
    )
    async def dream(
        self,
        interaction: Interaction,
        prompt: app_commands.Range[str, 1, 4000],
        engine: str | None = None,
        model: str | None = None,
        size: str | None = None,
        steps: app_commands.Range[int, 1] | None = None,
        seed: app_commands.Range[int, 0, 4294967295] | None = None,
        strength: app_commands.Range[float, 0.0, 1.0] | None = None,
        guidance: app_commands.Range[float, 0.0] | None = None,
        negative: app_commands.Range[str, 1, 1000] | None = None,
        init: discord.Attachment | None = None,
        count: app_commands.Range[int, 1, 100] = 1,
    ) -> None:
        """Ask for pictures; they get a card in this channel."""
        async with acknowledged(interaction):
            also = posting_here(interaction)
            width, height = _size(size)
            request = DreamRequest(
                theme=(await theme_of(interaction)).slug,
                person=person_of(interaction),
                prompt=prompt,
                engine=engine,
                model=model,
                width=width,
                height=height,
                steps=steps,
                seed=seed,
                strength=strength,
                guidance=guidance,
                negative=negative,
                init=None
                if init is None
                else await _upload(init, front_of(interaction).library.uploads),
                count=count,
                guild_id=interaction.guild_id,
                channel_id=interaction.channel_id,
            )
            dreams = await front_of(interaction).dreams.ask(request, also)
            many = f"{len(dreams)} dreams are on their way. {MANY_COMING}"
            await tell(interaction, many if len(dreams) > 1 else COMING)

    @dream.autocomplete("engine")
    async def engines(self, interaction: Interaction, current: str) -> Choices:
        """Offer the engines that can draw here."""
        engines = front_of(interaction).drawer.engines
        return _choices(current, ((engine.title, engine.name) for engine in engines))

    @dream.autocomplete("model")
    async def models(self, interaction: Interaction, current: str) -> Choices:
        """Offer the models that are here, of the engine that was chosen."""
        chosen = getattr(interaction.namespace, "engine", None)
        return _choices(
            current,
            (
                (model.title, model.name)
                for engine in front_of(interaction).drawer.engines
                if chosen in (None, "", engine.name)
                for model in engine.models
                if model.available
            ),
        )

    @app_commands.command(name="queue", description="What is being drawn, and what waits")
    async def queue(self, interaction: Interaction) -> None:
        """List the unfinished dreams of this channel's theme."""
        async with acknowledged(interaction):
            front, theme = front_of(interaction), await theme_of(interaction)
            dreams = await front.dreams.unfinished(theme.id)
            lines = [_line(dream, interaction) for dream in dreams[:_MAX_LISTED]]
            if len(dreams) > _MAX_LISTED:
                lines.append(f"… and {len(dreams) - _MAX_LISTED} more.")
            await tell(interaction, "\n".join(lines) or "Nothing is being drawn here.")

    @app_commands.command(name="cancel", description="End a dream of yours")
    @app_commands.describe(dream="Which; without it, the one you asked for last")
    async def cancel(self, interaction: Interaction, dream: str | None = None) -> None:
        """End a dream that is not finished."""
        async with acknowledged(interaction):
            dreams, person = front_of(interaction).dreams, person_of(interaction)
            if dream is None:
                own = [d for d in await dreams.unfinished(None) if d.person.id == person.id]
                if not own:
                    raise NotFoundError("You have no dream that is not over.")
                dream = own[-1].id
            found = await dreams.get(_id(dream))
            await dreams.cancel(found.id, actor_of(interaction))
            await tell(interaction, f"Cancelled: {words.plain(found.prompt, 200)}")

    @cancel.autocomplete("dream")
    async def own_dreams(self, interaction: Interaction, current: str) -> Choices:
        """Offer the asker's own dreams that are not over."""
        person = person_of(interaction)
        unfinished = await front_of(interaction).dreams.unfinished(None)
        own = ((d.prompt, d.id) for d in reversed(unfinished) if d.person.id == person.id)
        return _choices(current, own)

    @app_commands.command(name="show", description="Show a dream")
    @app_commands.describe(dream="Its id, or a link to it")
    async def show(self, interaction: Interaction, dream: str) -> None:
        """Show a dream to the asker, with its picture and its buttons."""
        async with acknowledged(interaction):
            await show(interaction, _id(dream))

    @app_commands.command(name="recipe", description="How a dream was drawn, to the letter")
    @app_commands.describe(dream="Its id, or a link to it")
    async def recipe(self, interaction: Interaction, dream: str) -> None:
        """Tell all that decides a picture."""
        async with acknowledged(interaction):
            found = await visible_dream(interaction, _id(dream))
            text = recipes.parameters(found.recipe)
            if len(text) <= _MAX_SHOWN_RECIPE and "```" not in text:
                await tell(interaction, f"```\n{text}\n```")
            else:
                file = discord.File(io.BytesIO(text.encode()), f"recipe-{found.id}.txt")
                await tell(interaction, "The recipe is long:", attachments=[file])


async def setup(bot: Client) -> None:
    """Add the commands to a client that loads them by this module's name."""
    await bot.add_cog(DreamCog())


def _line(dream: Dream, interaction: Interaction) -> str:
    standing = words.standing(dream, front_of(interaction).dreams.live(dream.id))
    name = words.plain(dream.person.name, 30)
    return f"**{words.plain(dream.prompt, 60)}** · {name} · {standing}"


def _choices(current: str, offered: Any) -> Choices:
    """Return those that hold what was typed so far, as many as may be shown."""
    typed = current.casefold()
    found = {
        name: title
        for title, name in offered
        if typed in title.casefold() or typed in name.casefold()
    }
    return [
        app_commands.Choice(name=shorten(title, 100), value=name)
        for name, title in list(found.items())[:_MAX_CHOICES]
    ]


def _id(text: str) -> str:
    """Return the dream's id in what was typed: itself, or a link to the wall."""
    for word in reversed(re.split(r"[^0-9a-z]+", text.lower())):
        if is_id(word):
            return word
    raise InvalidRequestError(
        "dream", "Which dream? Give its id, or the link to its page on the wall."
    )


def _size(text: str | None) -> tuple[int | None, int | None]:
    if text is None:
        return None, None
    found = re.fullmatch(r"\s*(\d{1,5})\s*(?:[x×*]\s*(\d{1,5}))?\s*(?:px)?\s*", text.lower())
    if found is None:
        raise InvalidRequestError("size", "The size is written like 256 or 384x256.")
    return int(found[1]), int(found[2] or found[1])


async def _upload(attachment: discord.Attachment, limits: UploadLimits) -> bytes:
    limits.check_bytes(attachment.size)
    try:
        return await attachment.read()
    except (discord.HTTPException, *UNREACHABLE) as error:
        raise InvalidRequestError(
            "init", "The picture could not be fetched from Discord. Send it again."
        ) from error
