"""Drawing together: sketches, prompts that grow word by word, forks, steers, two put together.

Every dream of a party's theme is the party's, whichever way it was asked for: a guard in the
transaction that accepts it lets in what people who are there ask for, and nothing else. But for the
machine's in a game on the side: like what people enter there, it is no part of the party's tree.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import aiosqlite

from bot import logs
from bot.acceptance import Also
from bot.errors import ForbiddenError, InvalidRequestError, NotFoundError
from bot.model import Dream, DreamRequest, Relation, Theme
from bot.parents import able, words_of_both
from bot.parties.acting import LEADERS, NOT_THERE, OVER
from bot.parties.model import Party, Role, Stage
from bot.parties.recipes import composed, grown, grown_words, joined, quickly, words_before
from bot.parties.saying import Saying
from bot.rights import Actor
from bot.sentences import say
from bot.store import dream_states as dream_rows
from bot.store import game_entries, parties, party_dreams, party_words
from generation.protocol import EngineInfo, Recipe

SLUG_BEGINS = "party-"
SLUG_LENGTH = 10
"""Of what comes behind, at random."""
_DRAWING = (Stage.SKETCH, Stage.ELABORATE)
_STEERERS = LEADERS | {Role.PROMPT_MASTER}


def like_a_party(slug: str) -> bool:
    """Whether a theme's short name is as those of parties are; other themes' are, by chance."""
    return slug.startswith(SLUG_BEGINS) and len(slug) == len(SLUG_BEGINS) + SLUG_LENGTH


class Drawing(Saying):
    """Dreams of parties."""

    async def draw(
        self,
        party: Party,
        actor: Actor,
        words: str = "",
        *,
        association_ids: Sequence[int] = (),
        count: int = 4,
        also: Also | None = None,
    ) -> list[Dream]:
        """Sketch what was typed, or what was said, or both: `count` small quick pictures.

        Raises:
            As `Dreams.ask` does; ForbiddenError: they are not there, or may not ask;
                NotFoundError: these words were not said; InvalidRequestError: not at this stage.
        """
        said = [one for one in await self.associations(party) if one.id in set(association_ids)]
        if len(said) < len(set(association_ids)):
            raise NotFoundError("There are no such words any more. Choose others.")
        prompt = composed(words, said)
        asker, theme = self.asker(party, actor), await self.theme_of(party)
        self._gate.check(asker, prompt=prompt, count=count)
        quick = quickly(able(self._dreams.engines), theme)
        request = DreamRequest(
            theme=theme.slug,
            person=actor.person,
            prompt=prompt,
            width=quick.width,
            height=quick.height,
            steps=quick.steps,
            first_look=quick.first_look,
            count=count,
            guild_id=party.guild_id,
            channel_id=party.channel_id,
        )
        kept = self._keeping(party, actor, theme, *_DRAWING, said=association_ids, also=also)
        with logs.about(party=party.id):
            return await self._dreams.ask(request, kept)

    async def grow(
        self,
        party: Party,
        actor: Actor,
        dream_id: str,
        words: str,
        *,
        replacing: str | None = None,
        also: Also | None = None,
    ) -> Dream:
        """Draw a dream again with more words, or with some in place of others, and the same seed.

        Anybody may grow anybody's: it is a fork. So the words alone change the picture.

        Raises:
            As `Dreams.derive` does; ForbiddenError: they are not there, or may not ask;
                InvalidRequestError: not at this stage, or there are no such words.
        """
        before = await self._own(party, dream_id)
        prompt = grown_words(words_before(before), words, replacing)
        self._gate.check(self.asker(party, actor), prompt=prompt)
        theme = await self.theme_of(party)

        def recipes(parent: Dream, theme: Theme, engines: Sequence[EngineInfo]) -> list[Recipe]:
            return [grown(parent, before.recipe, able(engines), theme)]

        with logs.about(party=party.id):
            (child,) = await self._dreams.derive(
                [dream_id],
                recipes,
                _at(party, actor),
                Relation.GROW,
                prompt=prompt,
                channel_id=party.channel_id,
                also=self._keeping(party, actor, theme, Stage.ELABORATE, also=also),
            )
        return child

    async def combine(
        self,
        party: Party,
        actor: Actor,
        first_id: str,
        second_id: str,
        *,
        words: str | None = None,
        also: Also | None = None,
    ) -> Dream:
        """Put two dreams together: their words, and where something here can, their pictures.

        With pictures it is a `Relation.BLEND`, else a `Relation.COMBINE` with the first's seed.

        Raises:
            As `grow` does.
        """
        if first_id == second_id:
            raise InvalidRequestError("dream", "Choose two different dreams.")
        first, second = await self._own(party, first_id), await self._own(party, second_id)
        theme = await self.theme_of(party)
        prompt, whole = words or "", False
        if not prompt:
            prompt, whole = words_of_both(
                first, second, theme, joined, limit=self._dreams.prompt_length
            )
        self._gate.check(self.asker(party, actor), prompt=prompt)
        kept = self._keeping(party, actor, theme, Stage.ELABORATE, other_id=second_id, also=also)
        both = Relation.BLEND
        if both in self._offspring.can(first) and both in self._offspring.can(second):
            return await self._offspring.blend(
                first_id,
                second_id,
                _at(party, actor),
                prompt=words or None,
                join=joined,
                channel_id=party.channel_id,
                also=kept,
            )

        def recipes(parent: Dream, theme: Theme, engines: Sequence[EngineInfo]) -> list[Recipe]:
            return [grown(parent, first.recipe, able(engines), theme, whole=whole)]

        with logs.about(party=party.id):
            (child,) = await self._dreams.derive(
                [first_id],
                recipes,
                _at(party, actor),
                Relation.COMBINE,
                prompt=prompt,
                published=second.published,
                channel_id=party.channel_id,
                also=kept,
            )
        return child

    async def steer(
        self,
        party: Party,
        actor: Actor,
        dream_id: str,
        prompt: str,
        glide_steps: int | None = None,
        *,
        check: Callable[[str, Theme], None] | None = None,
    ) -> None:
        """Let one of the party's dreams glide to another prompt: one's own, or as the host allows.

        Raises:
            As `Dreams.steer` does.
        """
        dream = await self._own(party, dream_id)
        asker = self.asker(party, actor)
        self._gate.check(asker, prompt=prompt)

        def judge(expanded: str, theme: Theme) -> None:
            self._gate.check_words(asker, [expanded], [theme.template, theme.modifiers])
            if check is not None:
                check(expanded, theme)

        async with self._acting(party, actor, *_DRAWING, Stage.FINALE) as act:
            assert act.member is not None
            own = dream.person.id == actor.person.id or act.member.role in _STEERERS
            if not own and not act.party.settings.everyone_steers:
                raise ForbiddenError(
                    say("Only {name}, or who leads, can steer this.", name=dream.person.name)
                )
        # The party has given the right to, which else only its author and moderators have.
        allowed = Actor(actor.person, guild_id=party.guild_id, at_machine=True)
        await self._dreams.steer(dream_id, allowed, prompt, glide_steps, check=judge)

    def _keeping(
        self,
        party: Party,
        actor: Actor,
        theme: Theme,
        *stages: Stage,
        said: Collection[int] = (),
        other_id: str | None = None,
        also: Also | None = None,
    ) -> Also:
        """Return what makes accepted dreams the party's, in the same transaction."""
        asker = self.asker(party, actor)

        async def keep(connection: aiosqlite.Connection, dreams: Sequence[Dream]) -> None:
            act = await self._admit(connection, party, actor, *stages)
            for association_id in said:
                found = await party_words.by_id(connection, association_id)
                if found is None or found.hidden:
                    raise NotFoundError("There are no such words any more. Choose others.")
            ids = [dream.id for dream in dreams]
            await party_dreams.insert(connection, party.id, ids, act.party.stage, said, other_id)
            await self._judge(connection, asker, theme, dreams)
            await act.note("drawn", dream_ids=ids)
            if also is not None:
                await also(connection, dreams)

        return keep

    async def _guard(
        self, connection: aiosqlite.Connection, theme: Theme, dreams: Sequence[Dream]
    ) -> None:
        """Let into a party's stream only what people who are there ask for, and make it theirs.

        What the machine draws in a game was judged with its entry, for who opened that game.

        Raises:
            ForbiddenError: who asks is not there.
            InvalidRequestError: the party is over, or at another stage.
        """
        if not theme.slug.startswith(SLUG_BEGINS):
            return
        party = await parties.by_theme(connection, theme.id)
        if party is None:
            return
        loose = [
            dream for dream in dreams
            if await party_dreams.party_of(connection, dream.id) is None
        ]  # fmt: skip
        played = [dream for dream in loose if await game_entries.of_dream(connection, dream.id)]
        if played:
            if not party.open:
                raise InvalidRequestError("party", OVER)
            if party.settings.age_restricted:
                await dream_rows.keep_to_place(connection, [dream.id for dream in played])
            loose = [dream for dream in loose if dream not in played]
        if not loose:
            return
        person = loose[0].person
        member = await parties.member(connection, party.id, person.id)
        if party.open and (member is None or not member.present):
            raise ForbiddenError(NOT_THERE)
        act = await self._admit(connection, party, Actor(person), *_DRAWING, Stage.FINALE)
        ids = [dream.id for dream in loose]
        await party_dreams.insert(connection, party.id, ids, party.stage)
        await self._judge(connection, self.asker(party, Actor(person)), theme, loose)
        if party.settings.age_restricted:
            await dream_rows.keep_to_place(connection, ids)
        await act.note("drawn", dream_ids=ids)


def _at(party: Party, actor: Actor) -> Actor:
    """Return who acts, in the party's server: what is drawn is its moderators' to end."""
    return Actor(actor.person, guild_id=party.guild_id)
