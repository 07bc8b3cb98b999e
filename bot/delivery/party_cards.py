"""Keep the cards of parties up to date: one message for each time a stage began.

What a card shows is read anew whenever its turn comes, and which cards there are to be follows
from the parties themselves (`bot.store.party_cards`). So nothing but deletions hangs on having seen
an event: every start looks at all parties once, and what a crash left half done is done then.
Invariants:

- a stage has one card, and a card one message: that one is about to be sent is written down before,
  and where one may have been sent that is not known, it is looked for;
- a card is open until its message is known to show that its stage is over, and again from the
  deletion of a picture until its message shows it no more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import discord

from bot.delivery.galleries import PAGE, Picture, thumbnails
from bot.delivery.lane import PARTY_KEYS, Lane
from bot.delivery.pace import Urgency
from bot.delivery.party_controls import card_of
from bot.delivery.party_face import BundleFile, Evening, Face
from bot.delivery.pictures import DEFAULT_LIMIT_BYTES, REQUEST_LIMIT_BYTES
from bot.delivery.posting import Posting, Retries
from bot.delivery.sender import NeverError, TooLargeError, TryLaterError
from bot.errors import DreamstreamError
from bot.following import Following
from bot.front import Front
from bot.ids import now_ms
from bot.model import ENDINGS, DreamState, EventKind, StreamEvent, Visibility
from bot.parties.model import FinalePicture, Party, Stage
from bot.publish.model import Bundle
from bot.side_tasks import SideTasks
from bot.store import facts
from bot.store import party_cards as rows
from bot.store.party_cards import PartyCard
from bot.unforeseen import Errors

log = logging.getLogger(__name__)

POSITION = "parties.position"
MAX_DELAY_S = 120.0
_NOTED_EVERY = 1000
_FOR_PICTURES_BYTES = 2 * 1024 * 1024
_WITH_PICTURES = (Stage.FINALE, Stage.PUBLISHED)


class PartyCards:
    """The parties' cards in Discord, from `start` to `stop`. A card's key in its lane is -id."""

    keys = PARTY_KEYS

    def __init__(
        self, front: Front, client: discord.Client, lane_of: Callable[[int], Lane]
    ) -> None:
        self._front = front
        self._client = client
        self._lane_of = lane_of
        self._of_theme: dict[int, str] = {}
        self._posting = Posting(client, front, rows.MESSAGES)
        self._retries = Retries(MAX_DELAY_S)
        self._following = Following(front.feed, self._happened)
        self._noted = 0
        self._waited_for: set[str] = set()
        self._wanted: asyncio.Queue[str] = asyncio.Queue()
        self._tasks = SideTasks()
        self._errors = Errors("party-cards", log)
        self._started = False

    async def start(self) -> None:
        """Look at every party that is held in a channel, and follow the feed from then on."""
        kept = await facts.get(self._front.store, POSITION)
        last_id = await self._front.feed.last_id()
        self._following.position = self._noted = last_id if kept is None else int(kept)
        await self._look_at_all()
        self._started = True
        trouble = "The parties' cards cannot be kept up to date"
        self._tasks.keep(self._following.run, trouble, name="discord-parties")
        trouble = "The parties' cards cannot show bundles"
        self._tasks.keep(self._wait_for_bundles, trouble, name="discord-bundles")

    async def stop(self) -> None:
        """Leave the rest to the next start."""
        await self._tasks.stop()
        if self._started:
            self._started = False
            with suppress(DreamstreamError):
                await self._note()

    def hurry(self) -> None:
        """Try again at once what could not be shown."""
        self._retries.hurry()

    def look_again(self, party_id: str) -> None:
        """Have a party's card show its bundle once nothing more is being made of it."""
        if party_id not in self._waited_for:
            self._waited_for.add(party_id)
            self._wanted.put_nowait(party_id)

    async def face_of(self, party: Party, card: PartyCard) -> Face:
        """Return how a card is to look now."""
        front = self._front
        theme = await front.parties.theme_of(party)
        nodes = await front.parties.nodes(party)
        voters = 0
        if card.stage is Stage.CHOOSE:
            voters = len({vote.person.id for vote in await front.parties.votes(party)})
        pictures: list[Picture] = []
        if card.stage in _WITH_PICTURES:
            finished = {
                node.dream.id: node.dream for node in nodes if node.dream.state is DreamState.DONE
            }
            chain = [
                next((one for one in largest_first(picture) if one in finished), None)
                for picture in await front.parties.finale_of(party)
            ]
            dreams = [finished[one] for one in chain if one is not None]
            pictures = await thumbnails(front, dreams[:PAGE])
        bundle: BundleFile | None = None
        bundle_url, made, trouble = None, None, ""
        if card.stage is Stage.PUBLISHED:
            made = await front.publishing.bundle_of(party.id)
            trouble = front.publishing.trouble(party.id)
        if made is not None:
            if front.wall_url and theme.visibility is not Visibility.PRIVATE:
                bundle_url = f"{front.wall_url}/b/{party.id}/"
            path = await front.library.run(_fitting, made, self._room(party))
            bundle = None if path is None else BundleFile(path, made.folder.name)
        return Face(
            Evening(
                party=party,
                stage=card.stage,
                passed=not card.newest,
                card_id=card.id,
                colour=theme.colour,
                members=await front.parties.members(party),
                said=await front.parties.associations(party),
                drawn=sum(node.dream.state is DreamState.DONE for node in nodes),
                forming=sum(not node.dream.state.final for node in nodes),
                voters=voters,
                pictures=pictures,
                bundle_url=bundle_url,
                bundle=bundle,
                trouble=trouble,
                url=f"{front.wall_url}/p/{party.code}" if front.wall_url else None,
            )
        )

    async def show(self, lane: Lane, key: int) -> None:
        """Bring a card to Discord as its party is now. Whatever goes wrong is tried again.

        What Discord has refused for too long waits until it looks otherwise, or the next start.
        """
        card = await rows.by_id(self._front.store, -key)
        if card is None or not card.open:
            lane.drop(key)
            return
        try:
            await self._attempt(lane, key, card)
        except NeverError as error:
            log.warning("A card of party %s will not be shown: %s", card.party_id, error)
            lane.tried(key, posted=card.message_id is not None)
            await self._close(lane, key, card)
        except (TryLaterError, TooLargeError, DreamstreamError) as error:
            again = self._failed(lane, key, card, error)
            how = "cannot be shown yet" if again else "will not be shown"
            log.warning("A card of party %s %s: %s", card.party_id, how, error)
        except Exception as error:  # a mistake of ours
            self._errors.tell(error, "A card of party %s cannot be shown", card.party_id)
            self._failed(lane, key, card, error)

    # --- what happens ------------------------------------------------------------------------

    async def _wait_for_bundles(self) -> None:
        """Wait for what is being made apart from the interactions in which it was asked for."""
        while True:
            self._tasks.spawn(self._bundled(await self._wanted.get()))

    async def _note(self) -> None:
        """Write down how far the feed was followed: only deletions have to be seen."""
        async with self._front.store.write() as connection:
            await facts.put(connection, POSITION, str(self._following.position))
        self._noted = self._following.position

    async def _happened(self, event: StreamEvent) -> None:
        if self._following.position >= self._noted + _NOTED_EVERY:
            await self._note()
        if event.kind is EventKind.PARTY:
            party = await self._front.parties.of_theme(event.theme_id)
            if party is not None:
                await self._look(party)
        elif event.kind is EventKind.DELETED:
            if not event.retired:
                await self._deleted(event)
        elif event.kind in ENDINGS:
            party_id = self._of_theme.get(event.theme_id)
            if party_id is not None:
                await self._look(await self._front.parties.get(party_id))

    async def _bundled(self, party_id: str) -> None:
        with suppress(DreamstreamError):  # that there is none is told by who makes it
            await self._front.publishing.wait(party_id)
        self._waited_for.discard(party_id)
        with suppress(DreamstreamError):
            await self._look(await self._front.parties.get(party_id))

    def _room(self, party: Party) -> int:
        guild = self._client.get_guild(party.guild_id or 0)
        limit_bytes = DEFAULT_LIMIT_BYTES if guild is None else guild.filesize_limit
        return min(limit_bytes, REQUEST_LIMIT_BYTES) - _FOR_PICTURES_BYTES

    async def _deleted(self, event: StreamEvent) -> None:
        """Have a picture go from cards that are done with, too."""
        party = await self._front.parties.of_theme(event.theme_id)
        if party is not None:
            async with self._front.store.write() as connection:
                await rows.reopen(connection, party.id)
            await self._look(party)

    async def _look_at_all(self) -> None:
        for party_id in await rows.unsettled(self._front.store):
            await self._look(await self._front.parties.get(party_id))

    async def _look(self, party: Party) -> None:
        """Have the cards that a party is to have, and want those shown that are not done with."""
        if party.channel_id is None or party.guild_id is None:
            return
        store = self._front.store
        self._of_theme[party.theme_id] = party.id
        if self._front.publishing.making(party.id):
            self.look_again(party.id)
        if party.open and await rows.newest_of(store, party.id) is None:
            async with store.write() as connection:
                await rows.order(connection, party.id, now_ms())
        for card in await rows.open_of(store, party.id):
            posted = card.message_id is not None
            ending = not (card.newest and party.open)
            urgency = Urgency.END if ending else Urgency.FORMING if posted else Urgency.NEW
            self._lane_of(party.channel_id).want(-card.id, urgency, posted=posted)

    # --- showing it --------------------------------------------------------------------------

    async def _attempt(self, lane: Lane, key: int, card: PartyCard) -> None:
        party = await self._front.parties.get(card.party_id)
        over = not (party.open and card.newest)
        if over and not card.sends:  # nobody has seen it
            await self._close(lane, key, card)
            return
        face = await self.face_of(party, card)
        if face.looks != card.shown:
            if not self._retries.begins(key, face.looks):
                return
            edited = card.message_id is not None
            await self._bring(party, card, face)
            lane.sent(key, posted=edited)
        self._retries.over(key)
        if over:
            await self._close(lane, key, card)

    async def _bring(self, party: Party, card: PartyCard, face: Face) -> None:
        """Have a card's message show a face, in one message for good."""
        assert party.channel_id is not None
        channel = self._client.get_partial_messageable(party.channel_id, guild_id=party.guild_id)
        await self._posting.bring(
            channel,
            card,
            face,
            nonce=f"{party.id}-{card.id % 10**8}",
            is_it=lambda message: card_of(list(message.components)) == card.id,
        )

    async def _close(self, lane: Lane, key: int, card: PartyCard) -> None:
        async with self._front.store.write() as connection:
            closed = await rows.close(connection, card.id, card.revision)
        self._retries.over(key)
        lane.drop(key)
        if not closed:  # a picture of it was deleted meanwhile
            lane.want(key, Urgency.END, posted=card.message_id is not None)

    def _failed(self, lane: Lane, key: int, card: PartyCard, error: Exception) -> bool:
        """Have a card tried again, unless it is given up; say whether it is."""
        posted = card.message_id is not None
        urgency = Urgency.FORMING if posted else Urgency.NEW
        return self._retries.failed(lane, key, urgency, error, posted=posted)


def _fitting(bundle: Bundle, limit_bytes: int) -> Path | None:
    """Return the file of a bundle that may be sent: the whole, else the originals. Blocks.

    None where both are too large, or gone.
    """
    with suppress(OSError):
        for path in (bundle.whole, bundle.originals):
            if path is not None and path.stat().st_size <= limit_bytes:
                return path
    return None


def largest_first(picture: FinalePicture) -> list[str]:
    """Return what a chosen dream became, the largest that was asked for first."""
    found = (picture.upscaled_id, picture.redrawn_id, picture.dream_id)
    return [dream_id for dream_id in found if dream_id is not None]
