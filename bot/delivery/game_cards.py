"""Keep the cards of games up to date: one message for each game of a channel.

What a card shows is read anew whenever its turn comes. Invariants:

- a game has one card, and a card one message: that one is about to be sent is written down before,
  and where one may have been sent that is not known, it is looked for;
- a card is open until its message is known to show that the game is over, and again from every
  change on, such as an entry that was withdrawn: it is reopened in the transaction that changes
  it, and closed only if nothing has changed since what it shows was read. What changed while
  the bot was down is found at the start: every game that goes on is looked at, and every open card.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

import discord

from bot.delivery.game_controls import MOST_OFFERED, game_of
from bot.delivery.game_face import GameFace, Shown
from bot.delivery.lane import GAME_KEYS, Lane
from bot.delivery.pace import Urgency
from bot.delivery.posting import Posting, Retries
from bot.delivery.sender import NeverError, TooLargeError, TryLaterError
from bot.errors import DreamstreamError, OutOfReachError
from bot.front import Front
from bot.games.model import Game, GameKind, GameState, Standing
from bot.ids import now_ms
from bot.side_tasks import SideTasks
from bot.store import game_cards as rows
from bot.store.game_cards import GameCard
from bot.text import shorten
from bot.unforeseen import Errors

log = logging.getLogger(__name__)

RETRY_S = 1.0
MAX_DELAY_S = 120.0
THUMBNAIL_PX = 768
_KEY_OF_0 = GAME_KEYS[-1]


class GameCards:
    """The games' cards in Discord, from `start` to `stop`. Keys go down as ids go up."""

    keys = GAME_KEYS

    def __init__(
        self, front: Front, client: discord.Client, lane_of: Callable[[int], Lane]
    ) -> None:
        self._front = front
        self._client = client
        self._lane_of = lane_of
        self._posting = Posting(client, front, rows.MESSAGES)
        self._retries = Retries(MAX_DELAY_S)
        self._changes: asyncio.Queue[str] = asyncio.Queue()
        self._failures: dict[str, int] = {}  # of looks at a game, in a row
        self._waiting: set[str] = set()  # games that are looked at again later
        self._tasks = SideTasks()
        self._errors = Errors("game-cards", log)

    async def start(self) -> None:
        """Take up every game that goes on, and every card that is not as it should be."""
        self._front.games.on_change(self._changed)
        try:
            for game_id in await rows.unsettled(self._front.store):
                await self._look(game_id, changed=False)
        except BaseException:
            self._front.games.no_more(self._changed)
            raise
        trouble = "The cards of games cannot be kept up to date"
        self._tasks.keep(self._follow, trouble, name="discord-games")

    async def stop(self) -> None:
        """Leave the rest to the next start."""
        self._front.games.no_more(self._changed)
        await self._tasks.stop()

    def hurry(self) -> None:
        """Try again at once what could not be shown."""
        self._retries.hurry()

    async def face_of(self, game: Game) -> GameFace:
        """Return how a game's card is to look now."""
        front = self._front
        theme = await front.games.theme_of(game)
        standings = await front.games.standings(game.id)
        on_wall = bool(front.wall_url) and front.games.may_show(game, theme)
        return GameFace(
            game=game,
            colour=theme.colour,
            players=await front.games.players(game.id),
            standings=standings,
            pictures=await self._pictures(game, standings),
            url=f"{front.wall_url}/g/{game.id}" if on_wall else None,
        )

    async def show(self, lane: Lane, key: int) -> None:
        """Bring a card to Discord as its game is now. Whatever goes wrong is tried again.

        What Discord has refused for too long waits until it looks otherwise, or the next start.
        """
        card = await rows.by_id(self._front.store, _KEY_OF_0 - key)
        if card is None or not card.open:
            lane.drop(key)
            return
        try:
            await self._attempt(lane, key, card)
        except NeverError as error:
            log.warning("The card of game %s will not be shown: %s", card.game_id, error)
            lane.tried(key, posted=card.message_id is not None)
            await self._close(lane, key, card)
        except (TryLaterError, TooLargeError, DreamstreamError) as error:
            again = self._failed(lane, key, card, error)
            how = "cannot be shown yet" if again else "will not be shown"
            log.warning("The card of game %s %s: %s", card.game_id, how, error)
        except Exception as error:  # a mistake of ours
            self._errors.tell(error, "The card of game %s cannot be shown", card.game_id)
            self._failed(lane, key, card, error)

    # --- what happens ------------------------------------------------------------------------

    def _changed(self, game_id: str) -> None:
        self._changes.put_nowait(game_id)

    async def _follow(self) -> None:
        """Look at what has changed, apart from the interactions that it came from.

        What fails is looked at again, after a mistake of ours too: before the next start, or the
        game's next change, nobody would tell of it once more.
        """
        while True:
            game_id = await self._changes.get()
            try:
                await self._look(game_id, changed=True)
            except Exception as error:  # it must not be the end of all games' cards
                self._errors.tell(error, "The card of game %s is not up to date", game_id)
                self._look_later(game_id)
            else:
                self._failures.pop(game_id, None)

    def _look_later(self, game_id: str) -> None:
        """Have a game looked at again, after longer each time; the others do not wait for it."""
        if game_id in self._waiting:
            return
        failures = self._failures.get(game_id, 0)
        self._failures[game_id] = failures + 1
        self._waiting.add(game_id)
        delay_s = min(MAX_DELAY_S, RETRY_S * 2.0 ** min(failures, 10))
        self._tasks.spawn(self._put_back(game_id, delay_s))

    async def _put_back(self, game_id: str, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        self._waiting.discard(game_id)
        self._changes.put_nowait(game_id)

    async def _look(self, game_id: str, *, changed: bool) -> None:
        """Have the card that a game is to have, and want it shown."""
        store = self._front.store
        game = await self._front.games.get(game_id)
        if game.channel_id is None or not game.carded:
            return
        async with store.write() as connection:
            if game.open:
                await rows.order(connection, game.id, now_ms())
            if changed:
                await rows.reopen(connection, game.id)
        card = await rows.of_game(store, game.id)
        if card is None or not card.open:
            return
        posted = card.message_id is not None
        urgency = Urgency.END if not game.open else Urgency.FORMING if posted else Urgency.NEW
        self._lane_of(game.channel_id).want(_KEY_OF_0 - card.id, urgency, posted=posted)

    # --- showing it --------------------------------------------------------------------------

    async def _attempt(self, lane: Lane, key: int, card: GameCard) -> None:
        game = await self._front.games.get(card.game_id)
        if game.state is GameState.CALLED_OFF and not card.sends:  # nobody has seen it
            await self._close(lane, key, card)
            return
        face = await self.face_of(game)
        if face.looks != card.shown:
            if not self._retries.begins(key, face.looks):
                return
            edited = card.message_id is not None
            await self._bring(game, card, face)
            lane.sent(key, posted=edited)
        self._retries.over(key)
        if not game.open:
            await self._close(lane, key, card)

    async def _bring(self, game: Game, card: GameCard, face: GameFace) -> None:
        """Have a card's message show a face, in one message for good."""
        assert game.channel_id is not None
        channel = self._client.get_partial_messageable(game.channel_id, guild_id=game.guild_id)
        await self._posting.bring(
            channel,
            card,
            face,
            nonce=f"game-{card.game_id}",
            is_it=lambda message: game_of(list(message.components)) == card.game_id,
        )

    async def _pictures(self, game: Game, standings: Sequence[Standing]) -> list[Shown]:
        """Return the game's own picture, and with the result those that were entered."""
        found = []
        if game.image is not None:
            found.append(("picture", "The picture of this game", game.image.sha256))
        if game.kind is GameKind.DRAW and not game.open:
            found += [
                (
                    one.entry.id,
                    f"Place {one.place}: by {one.entry.person.name}, of the words: {game.prompt}",
                    one.entry.image.sha256,
                )
                for one in standings[:MOST_OFFERED]
                if one.entry.image is not None
            ]
        library = self._front.library
        shown = []
        for name, alt, sha256 in found:
            try:
                data = await library.read_thumbnail(sha256, THUMBNAIL_PX)
            except OutOfReachError:
                raise  # later it is there: a card without it would count as shown
            except (DreamstreamError, OSError):
                continue  # its file is gone: the others are shown
            shown.append(Shown(f"{name}-{sha256[:8]}.webp", shorten(alt, 1000), data))
        return shown

    async def _close(self, lane: Lane, key: int, card: GameCard) -> None:
        async with self._front.store.write() as connection:
            closed = await rows.close(connection, card.id, card.revision)
        self._retries.over(key)
        lane.drop(key)
        if not closed:  # something has changed since the card was read
            lane.want(key, Urgency.END, posted=card.message_id is not None)

    def _failed(self, lane: Lane, key: int, card: GameCard, error: Exception) -> bool:
        """Have a card tried again, unless it is given up; say whether it is."""
        posted = card.message_id is not None
        urgency = Urgency.FORMING if posted else Urgency.NEW
        return self._retries.failed(lane, key, urgency, error, posted=posted)
