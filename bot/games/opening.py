"""Opening games: a prompt to be drawn, or a picture of a stream to be said or guessed."""

from __future__ import annotations

import random
from collections.abc import Sequence

import aiosqlite
import msgspec

from bot.acceptance import PAUSED, RETIRED, check_may_ask
from bot.errors import ForbiddenError, InvalidRequestError, LimitError, NotFoundError
from bot.games import choices as offered
from bot.games import rules
from bot.games.machine import Machine
from bot.games.model import Game, GameKind, GameState
from bot.gate import Asker
from bot.model import Dream, DreamState, Theme
from bot.parents import COVERED
from bot.rights import Actor, check_may_see
from bot.store import games, people, portraits
from bot.store.games import Asked
from bot.values import check_person, check_seed

OPEN_PER_PERSON = 3
KEPT = (
    "What is asked for in this stream stays in its channel on Discord, and so do its games. Begin "
    "one there."
)
NOT_SHOWN = (
    "You want nothing of yours on the wall, so nobody would see your game here. Begin it on "
    "Discord, or change that there with /privacy wall."
)
_LOOK_AT = 400  # the newest pictures of a stream
_FROM_STREAM, _MADE_UP = 40, 20


class Opening(Machine):
    """How rounds begin. The host of one is who opens it."""

    async def start_draw(
        self,
        theme: Theme,
        host: Actor,
        prompt: str,
        *,
        seconds: float = rules.SECONDS[GameKind.DRAW],
        machine: bool = True,
    ) -> Game:
        """Open a game in which all draw the same prompt, and the machine too.

        Raises:
            InvalidRequestError: a value is wrong, or there is a game in the channel already.
            ForbiddenError: the host may not ask there, or is not at the party.
            LimitError: the host has too many games open.
            SchedulerError: nothing can look at pictures at present.
            DiskError, StoreError: nothing can be kept at present.
        """
        prompt = rules.check_prompt(prompt)
        lasts_s = rules.check_seconds(seconds)
        asker = await self._check_opens(theme, host, prompt)
        self._gate.check_words(asker, [prompt])
        game = await self._new(theme, host, asker, GameKind.DRAW, lasts_s, machine=machine)
        return await self._open(theme, asker, msgspec.structs.replace(game, prompt=prompt))

    async def start_say(
        self,
        theme: Theme,
        host: Actor,
        dream_id: str | None = None,
        *,
        seconds: float = rules.SECONDS[GameKind.SAY],
        machine: bool = True,
    ) -> Game:
        """Open a game in which all put a picture of the stream into words.

        Without `dream_id` it is one by chance.

        Raises:
            As `start_draw` does; NotFoundError: there is no such picture that may be seen there.
        """
        lasts_s = rules.check_seconds(seconds)
        asker = await self._check_opens(theme, host)
        game = await self._new(theme, host, asker, GameKind.SAY, lasts_s, machine=machine)
        dream = await self._picked(game, theme, dream_id, ())
        return await self._open(theme, asker, _about(game, dream, chosen=dream_id is not None))

    async def start_guess(
        self,
        theme: Theme,
        host: Actor,
        dream_id: str | None = None,
        *,
        choices: int = rules.USUAL_CHOICES,
        seconds: float = rules.SECONDS[GameKind.GUESS],
        machine: bool = True,
    ) -> Game:
        """Open a game in which all say which of several prompts a picture was drawn from.

        Without `dream_id` it is one by chance. No prompt is to be guessed twice in a stream.

        Raises:
            As `start_say` does; InvalidRequestError: its prompt was guessed before.
        """
        count = rules.check_choices(choices)
        lasts_s = rules.check_seconds(seconds)
        asker = await self._check_opens(theme, host)
        game = await self._new(theme, host, asker, GameKind.GUESS, lasts_s, machine=machine)
        before = await games.guessed(self._store, theme.id)
        dream = await self._picked(game, theme, dream_id, before)
        game = _about(game, dream, chosen=dream_id is not None)
        texts = await self._choices(game, count)
        return await self._open(theme, asker, game, texts)

    async def _check_opens(self, theme: Theme, host: Actor, prompt: str = "") -> Asker:
        """Return who opens a game, as the place judges them, before any work is done for it.

        Raises:
            ForbiddenError: they may not ask there, the theme is paused or retired, or the place
                shows nothing where they are.
            InvalidRequestError, LimitError: as `_check_room` says, or a word is blocked there.
        """
        if theme.retired:
            raise ForbiddenError(RETIRED)
        if theme.paused:
            raise ForbiddenError(PAUSED)
        await self._check_party(theme, host)
        asker = await self._placed(theme, host, prompt)
        self._gate.check_person(asker)
        if not isinstance(host, Asker) and self._gate.keeps(asker):
            raise ForbiddenError(KEPT)
        async with self._store.write() as connection:
            await self._check_room(connection, theme, asker, carded=_carded(host))
        return asker

    async def _placed(self, theme: Theme, host: Actor, prompt: str) -> Asker:
        """Return who opens a game as that place judges them in which a dream of theirs would count.

        It is where they are in Discord. Of who is elsewhere it is what is chosen for their dreams,
        or the party's; else they are in none.

        Raises:
            ForbiddenError, LimitError, InvalidRequestError: as `Dreams.standing_of` does.
        """
        if isinstance(host, Asker):
            return host
        standing = await self._dreams.standing_of(theme, host.person, prompt)
        if standing is not None:
            return standing.asker
        party = await self._parties.of_theme(theme.id)
        if party is not None:
            return self._parties.asker(party, host)
        return Asker(host.person, at_machine=host.at_machine)

    async def _check_room(
        self, connection: aiosqlite.Connection, theme: Theme, asker: Asker, *, carded: bool
    ) -> None:
        """Refuse one game too many, and who may not ask in the theme.

        Raises:
            ForbiddenError: in this theme they may not ask.
            LimitError: they have too many games open.
            InvalidRequestError: there is a game in the channel, where this one is to be `carded`.
        """
        person_id, moderates = asker.person.id, asker.moderates or asker.at_machine
        await check_may_ask(
            connection, theme, person_id, guild_id=asker.guild_id, moderates=moderates
        )
        if await games.count_hosted(connection, person_id) >= OPEN_PER_PERSON:
            raise LimitError("You have several games open. End one of them first.")
        if not carded or asker.channel_id is None:
            return
        if await games.open_in(connection, asker.channel_id):
            raise InvalidRequestError(
                "channel", "There is a game in this channel already. Wait, or end it first."
            )

    async def _new(
        self,
        theme: Theme,
        host: Actor,
        asker: Asker,
        kind: GameKind,
        lasts_s: int,
        *,
        machine: bool,
    ) -> Game:
        self._judge.perceptor()  # says why, where nothing can look
        person, at_ms = check_person(asker.person), self._clock()
        public = await people.publishes(self._store, person.id)
        if not public and not isinstance(host, Asker):
            raise ForbiddenError(NOT_SHOWN)
        return Game(
            id=self._ids.next(),
            theme_id=theme.id,
            kind=kind,
            host=person,
            state=GameState.OPEN,
            prompt="",
            dream_id=None,
            image=None,
            choices=(),
            seed=check_seed(None),
            machine=machine,
            guild_id=asker.guild_id,
            channel_id=asker.channel_id if asker.guild_id is not None else None,
            parent_id=asker.parent_id,
            carded=_carded(host),
            age_restricted=asker.age_restricted,
            published=public and not self._gate.keeps(asker),
            host_knows=False,
            perceptor="",
            ends_ms=at_ms + 1000 * lasts_s,
            created_ms=at_ms,
            ended_ms=None,
        )

    async def _open(
        self,
        theme: Theme,
        asker: Asker,
        game: Game,
        choices: Sequence[tuple[str, str | None]] = (),
    ) -> Game:
        async with self._store.write() as connection:
            # Again, in the same transaction: many at once cannot pass together.
            await self._check_room(connection, theme, asker, carded=game.carded)
            await people.upsert(connection, game.host, game.created_ms)
            await games.insert(connection, game, choices)
        made = await self.get(game.id)
        self._begun(made)
        self._changed(made.id)
        return made

    # --- what it is about --------------------------------------------------------------------

    async def _picked(
        self, game: Game, theme: Theme, dream_id: str | None, before: Sequence[str]
    ) -> Dream:
        """Return the dream that a game is about; `before` are prompts that it may not have."""
        used = {rules.words_of(prompt) for prompt in before}
        if dream_id is None:
            dream_id = await self._any(game, used)
        dream = await self._dreams.existing(dream_id)
        check_may_see(dream, await self._themes.by_id(dream.theme_id), theme, game.channel_id)
        if dream.theme_id != theme.id:
            raise InvalidRequestError("dream", "That dream is of another stream. Play it there.")
        if await portraits.shows_somebody(self._store, dream.id):
            raise ForbiddenError(
                "This is a portrait of somebody, or comes of one. It is not played with."
            )
        if dream.state is not DreamState.DONE or dream.image is None:
            raise InvalidRequestError("dream", "That dream has no picture yet. Choose another.")
        if dream.veil is not None:
            raise InvalidRequestError("dream", COVERED)
        if rules.words_of(dream.prompt) in used:
            raise InvalidRequestError(
                "dream", "What this picture was drawn from was guessed before. Choose another."
            )
        return dream

    async def _any(self, game: Game, used: set[frozenset[str]]) -> str:
        """Return a picture of the stream by chance: rather one that its host did not ask for."""
        asked = [
            one
            for one in await self._prompts(game)
            if rules.is_plain(one.prompt) and rules.words_of(one.prompt) not in used
        ]
        others = [one for one in asked if one.person_id != game.host.id]
        if not asked:
            raise NotFoundError(
                "There is no picture in this stream that could be played with. Draw some first."
            )
        return random.Random(game.seed).choice(others or asked).dream_id

    async def _prompts(self, game: Game) -> list[Asked]:
        # What is kept to a channel may be in no game that is shown elsewhere.
        channel_id = None if game.published else game.channel_id
        return await games.prompts(self._store, game.theme_id, channel_id, _LOOK_AT)

    async def _choices(self, game: Game, count: int) -> list[tuple[str, str | None]]:
        """Return what there is to choose from, in its order, and the dream that each is of."""
        dice = random.Random(game.seed)
        of_stream: dict[str, str] = {}
        for asked in await self._prompts(game):
            text = asked.prompt
            if rules.is_plain(text) and len(text) <= rules.MAX_PROMPT:
                of_stream.setdefault(text, asked.dream_id)
        texts = [text for text in of_stream if text != game.prompt]
        dice.shuffle(texts)
        texts = texts[:_FROM_STREAM]
        texts += offered.made_up(game.prompt, _MADE_UP, dice)
        perceptor = self._judge.perceptor()
        beside = await self._judge.decoys(perceptor, game.prompt, texts, count - 1)
        if not beside:
            raise InvalidRequestError(
                "dream", "Nothing can be put beside these words. Choose another."
            )
        known = of_stream | {game.prompt: game.dream_id or ""}
        ordered = offered.shuffled([game.prompt, *(texts[index] for index in beside)], game.seed)
        return [(text, known.get(text) or None) for text in ordered]


def _carded(host: Actor) -> bool:
    """Say whether who opens a game does so in a channel of a server, which then shows it."""
    return isinstance(host, Asker) and None not in (host.guild_id, host.channel_id)


def _about(game: Game, dream: Dream, *, chosen: bool) -> Game:
    return msgspec.structs.replace(
        game,
        prompt=dream.prompt,
        dream_id=dream.id,
        published=game.published and dream.published,
        host_knows=chosen,
    )
