"""``/words``, ``/word``, ``/study`` and ``/associate``: the craft of prompts."""

from __future__ import annotations

from discord import app_commands
from discord.ext import commands

from bot.client import Client
from bot.craft import MAX_ASSOCIATIONS, associations
from bot.delivery import word_kinds
from bot.delivery.interactions import Interaction, acknowledged, front_of, tell
from bot.delivery.words import plain
from bot.errors import InvalidRequestError
from bot.modifiers import kinds
from bot.sentences import say
from bot.studies import MAX_STUDY, MAX_WORDS, USUAL_STUDY, split_words, study_of, words_of_kind
from cogs import choosing
from cogs.dream import SHAPES, WORDS, ask_for, request_of
from cogs.places import everywhere

_KINDS = [app_commands.Choice(name=kind.title, value=kind.name) for kind in kinds()]
_SHARED = {
    name: WORDS[name] for name in ("preset", "engine", "model", "size", "shape", "steps", "seed")
}


class WordsCog(commands.Cog):
    """What words do to pictures, and which there are."""

    @everywhere
    @app_commands.command(name="words", description="Words that change a picture, with pictures")
    @app_commands.describe(kind="Which kind of words")
    @app_commands.choices(kind=_KINDS)
    async def words(self, interaction: Interaction, kind: str = _KINDS[0].value) -> None:
        """Show a kind of words to the asker."""
        async with acknowledged(interaction):
            await word_kinds.show(interaction, kind)

    @everywhere
    @app_commands.command(name="word", description="See what a word does: with it and without it")
    @app_commands.describe(
        word="The word or words to try",
        prompt="What to draw with and without them",
        **_SHARED,
    )
    @app_commands.choices(shape=SHAPES)
    @app_commands.autocomplete(
        word=choosing.offer_styles,
        preset=choosing.offer_presets,
        engine=choosing.offer_engines,
        model=choosing.offer_models,
    )
    async def word(
        self,
        interaction: Interaction,
        word: app_commands.Range[str, 1, MAX_WORDS],
        prompt: app_commands.Range[str, 1, 4000],
        preset: app_commands.Range[str, 1, 100] | None = None,
        engine: str | None = None,
        model: str | None = None,
        shape: str | None = None,
        size: str | None = None,
        steps: app_commands.Range[int, 1] | None = None,
        seed: app_commands.Range[int, 0, 4294967295] | None = None,
    ) -> None:
        """Ask for a picture without a word and one with it, which appear on one card."""
        async with acknowledged(interaction):
            request = request_of(
                prompt, None, shape, size, None,
                preset=preset, engine=engine, model=model, steps=steps, seed=seed,
                study=("", word),
            )  # fmt: skip
            await ask_for(interaction, request)

    @everywhere
    @app_commands.command(
        name="study", description="One subject with several words in turn, side by side"
    )
    @app_commands.describe(
        subject="What to draw each time",
        kind="Try the commonest words of this kind",
        words="Words of your own, with commas between them",
        count="How many words of the kind",
        **_SHARED,
    )
    @app_commands.choices(kind=_KINDS, shape=SHAPES)
    @app_commands.autocomplete(
        words=choosing.offer_styles,
        preset=choosing.offer_presets,
        engine=choosing.offer_engines,
        model=choosing.offer_models,
    )
    async def study(
        self,
        interaction: Interaction,
        subject: app_commands.Range[str, 1, 4000],
        kind: str | None = None,
        words: app_commands.Range[str, 1, 1000] | None = None,
        count: app_commands.Range[int, 2, MAX_STUDY] = USUAL_STUDY,
        preset: app_commands.Range[str, 1, 100] | None = None,
        engine: str | None = None,
        model: str | None = None,
        shape: str | None = None,
        size: str | None = None,
        steps: app_commands.Range[int, 1] | None = None,
        seed: app_commands.Range[int, 0, 4294967295] | None = None,
    ) -> None:
        """Ask for one picture for each word, which appear on one card with labels."""
        async with acknowledged(interaction):
            own = split_words(words or "")
            if kind is None and not own:
                raise InvalidRequestError(
                    "words", say("Say which words to try: a kind of them, or a list of your own.")
                )
            # Those of one's own first: of a kind there are as many as have room beside them.
            of_kind = [] if kind is None else words_of_kind(kind, count)
            study = study_of([*own, *of_kind[: max(0, MAX_STUDY - len(own))]])
            request = request_of(
                subject, None, shape, size, None,
                preset=preset, engine=engine, model=model, steps=steps, seed=seed,
                study=study,
            )  # fmt: skip
            await ask_for(interaction, request)

    @everywhere
    @app_commands.command(name="associate", description="Words that go with a word")
    @app_commands.describe(word="What they should go with", count="How many")
    async def associate(
        self,
        interaction: Interaction,
        word: app_commands.Range[str, 1, 200],
        count: app_commands.Range[int, 1, MAX_ASSOCIATIONS] = 12,
    ) -> None:
        """Tell the asker which words go with one, as CLIP's text model has learnt it."""
        async with acknowledged(interaction):
            found = await associations(front_of(interaction).seeing, word, count)
            listed = ", ".join(found)
            await tell(
                interaction,
                say("With “{word}” go: {words}", word=plain(word, MAX_WORDS), words=listed),
            )


async def setup(bot: Client) -> None:
    """Add the commands to a client that loads them by this module's name."""
    await bot.add_cog(WordsCog())
