"""Portraits: words that a person gives about themselves become a picture, if they agree.

What is typed is held in memory as a draft, which says all that would be kept and where it would be
shown. Only the person whose words they are can agree to it; until then nothing is written down.
Then it is a dream like any other, and beside it stands that they agreed, and when. It is taken
back by being deleted, however it is: its words go in that same transaction.

What others could draw of it would spread those words past what was agreed to: so nobody but the
person draws anything of it, and what they draw is seen by no more people than it is.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain

import aiosqlite

from bot.acceptance import Also
from bot.dreams import Dreams
from bot.errors import ForbiddenError, GoneError, InvalidRequestError, NotFoundError
from bot.gate import Asker, Gate
from bot.ids import is_id, now_ms
from bot.model import Dream, DreamRequest, Person, Theme, Visibility
from bot.moderation import Moderation
from bot.parties.drawing import SLUG_BEGINS
from bot.prompts import wrap
from bot.rights import Actor
from bot.sentences import Sentence, say
from bot.store import Store, portraits
from bot.store import dream_states as rows
from bot.store.portraits import Portrait, Reach
from bot.text import clean, visible
from bot.themes import Themes

MAX_WORDS = 300
DRAFTED_S = 3600.0
MAX_DRAFTS = 2000
MAX_LISTED = 50
_PROMPT = "portrait of a person, {words}"

NO_DRAFT = say(
    "This is too old, and nothing was kept of it. Begin again, if you still want a portrait."
)
AGREED = say("You have agreed to this already. See what came of it among your portraits.")
NO_PORTRAIT = say("There is no such portrait of yours.")
AT_A_PARTY = say(
    "What is drawn at a party is for all to draw on, and a portrait is not. Ask for it somewhere "
    "else, or when the party is over."
)
THEIRS_ALONE = say(
    "This is a portrait. Only the person whose words it was drawn of may draw anything of it."
)
FOR_ONE_ALONE = say(
    "Only you see this portrait, so nothing more is drawn of it. Ask for another one instead."
)
KEPT = say(
    "Kept until you take it back: these words, the picture, your name, and when you agreed. "
    "Taking it back deletes the words and the picture for good."
)
NO_LIKENESS = say("It is drawn of words alone, and is no likeness of you.")


def where_shown(reach: Reach, theme: Theme, title: str) -> Sentence:
    """Say who will see a portrait in a theme, which goes by `title` where it is said."""
    match reach:
        case Reach.SELF:
            return say("Shown to you alone, in no channel and in no stream.")
        case Reach.CHANNEL:
            return say("Shown in this channel alone, with your name. It is not on the wall.")
        case Reach.STREAM if theme.visibility is Visibility.PRIVATE:
            return say(
                "Shown with your name wherever the theme {theme} is. It is not on the wall.",
                theme=title,
            )
        case Reach.STREAM:
            return say(
                "Shown with your name in the stream of {theme}: on the wall, to whoever sees that "
                "stream there, in its search and its feed, and where you ask for it.",
                theme=title,
            )


class AgreedError(NotFoundError):
    """A draft is held no more, because its person has agreed to it."""

    def __init__(self) -> None:
        super().__init__(AGREED)


@dataclass(frozen=True)
class Draft:
    """What a person has said about themselves and not agreed to yet; in memory alone.

    `drawn` is the prompt that would be drawn, with the theme's words around it.
    """

    token: str
    asker: Asker
    words: str
    reach: Reach
    theme: Theme
    drawn: str
    until_s: float

    @property
    def person(self) -> Person:
        """Whose portrait it would be: nobody else can agree to it."""
        return self.asker.person


@dataclass(frozen=True)
class Kept:
    """A portrait and its dream, as it is at this moment."""

    portrait: Portrait
    dream: Dream


class Portraits:
    """The service."""

    def __init__(
        self,
        store: Store,
        themes: Themes,
        dreams: Dreams,
        gate: Gate,
        moderation: Moderation,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._themes = themes
        self._dreams = dreams
        self._gate = gate
        self._moderation = moderation
        self._clock = clock
        self._drafts: OrderedDict[str, Draft] = OrderedDict()
        # By token, who agreed and until when that is known; their words are not held for it.
        self._agreed: OrderedDict[str, tuple[str, float]] = OrderedDict()
        dreams.guard(self._guard)
        dreams.guard_steering(self._guard_steering)

    async def draft(self, asker: Asker, words: str, reach: Reach, theme: Theme) -> Draft:
        """Hold what somebody says about themselves, in place of what they said before.

        Raises:
            ForbiddenError: they may not ask there, or it is at a party.
            InvalidRequestError: the words are none, too many or blocked, or it cannot be shown
                to as many as they want.
        """
        words = clean(words[: 50 * MAX_WORDS])
        if not visible(words):
            raise InvalidRequestError("words", say("Say something about yourself first."))
        if len(words) > MAX_WORDS:
            raise InvalidRequestError(
                "words",
                say(
                    "These are {count} characters; a portrait takes {limit} at most. Shorten them.",
                    count=len(words),
                    limit=MAX_WORDS,
                ),
            )
        if theme.slug.startswith(SLUG_BEGINS):
            raise ForbiddenError(AT_A_PARTY)
        prompt = _PROMPT.format(words=words)
        self._gate.check(asker, prompt=prompt)
        await self._check_reach(asker, reach)
        for draft in [one for one in self._drafts.values() if self._is_over(one, asker.person)]:
            del self._drafts[draft.token]
        draft = Draft(
            secrets.token_hex(8),
            asker,
            words,
            reach,
            theme,
            wrap(prompt, theme),
            self._clock() + DRAFTED_S,
        )
        self._drafts[draft.token] = draft
        while len(self._drafts) > MAX_DRAFTS:
            self._drafts.popitem(last=False)
        return draft

    def drafted(self, token: str, person: Person) -> Draft:
        """Return a draft of a person.

        Raises:
            NotFoundError: it is not held any more, or is somebody else's; an AgreedError where
                they have just agreed to it.
        """
        agreed_id, until_s = self._agreed.get(token, ("", 0.0))
        if agreed_id == person.id and until_s > self._clock():
            raise AgreedError
        draft = self._drafts.get(token)
        if draft is None or draft.person.id != person.id or draft.until_s <= self._clock():
            raise NotFoundError(NO_DRAFT)
        return draft

    def discard(self, token: str, person: Person) -> None:
        """Forget a draft; raises as `drafted` does."""
        del self._drafts[self.drafted(token, person).token]

    async def consent(self, token: str, person: Person, also: Also | None = None) -> Kept:
        """Have the person whose words they are agree, and draw the portrait.

        `also` is written in the transaction that keeps it; it may raise what refuses it.

        Raises:
            NotFoundError: there is no such draft of this person; an AgreedError as `drafted` does.
            InvalidRequestError: the theme is not any more what the draft says, or as `Dreams.ask`.
            ForbiddenError, LimitError, SchedulerError, DiskError, StoreError: as `Dreams.ask`
                does; the draft is still there.
        """
        draft = self.drafted(token, person)
        # Taken before anything is waited for, so that who presses twice agrees once.
        del self._drafts[token]
        self._agreed[token] = person.id, self._clock() + DRAFTED_S
        while len(self._agreed) > MAX_DRAFTS:
            self._agreed.popitem(last=False)
        try:
            return await self._consent(draft, also)
        except BaseException:
            self._agreed.pop(token, None)
            self._drafts[token] = draft
            raise

    async def _consent(self, draft: Draft, also: Also | None) -> Kept:
        theme = await self._themes.by_id(draft.theme.id)
        prompt = _PROMPT.format(words=draft.words)
        if (wrap(prompt, theme), theme.visibility) != (draft.drawn, draft.theme.visibility):
            raise InvalidRequestError(
                "words", say("This theme has just changed. Begin again, to see what is drawn now.")
            )
        await self._check_reach(draft.asker, draft.reach)
        kept: Portrait | None = None

        async def agree(connection: aiosqlite.Connection, dreams: Sequence[Dream]) -> None:
            nonlocal kept
            [dream] = dreams
            if also is not None:
                await also(connection, dreams)
            if draft.reach is not Reach.STREAM:
                await rows.keep_to_place(connection, [dream.id])
            if draft.reach is Reach.SELF:
                await rows.keep_from_channels(connection, [dream.id])
            kept = Portrait(
                dream_id=dream.id,
                person_id=draft.person.id,
                words=draft.words,
                reach=draft.reach,
                consented_ms=now_ms(),
            )
            await portraits.insert(connection, kept)

        alone = draft.reach is Reach.SELF
        [dream] = await self._dreams.ask(
            DreamRequest(
                theme=theme.slug,
                person=draft.person,
                prompt=prompt,
                guild_id=draft.asker.guild_id,
                channel_id=None if alone else draft.asker.channel_id,
                moderates=draft.asker.moderates,
            ),
            agree,
        )
        assert kept is not None
        return Kept(kept, dream)

    async def mine(self, *known_as: Person) -> list[Kept]:
        """Return a person's portraits that are not taken back, the newest first.

        They are those of all that the person is known as, here as in `own` and `revoke`: who signs
        in at the wall takes back what they agreed to as a guest.
        """
        of_each = [await portraits.of_person(self._store, one.id, MAX_LISTED) for one in known_as]
        found = sorted(chain(*of_each), key=lambda one: one.dream_id, reverse=True)[:MAX_LISTED]
        dreams = {
            dream.id: dream for dream in await self._dreams.several([one.dream_id for one in found])
        }
        return [Kept(one, dreams[one.dream_id]) for one in found]

    async def shows_somebody(self, dream_id: str) -> bool:
        """Say whether a dream is a portrait or comes of one: it is not played with."""
        return await portraits.shows_somebody(self._store, dream_id)

    async def own(self, dream_id: str, *known_as: Person) -> Kept:
        """Return a portrait of a person.

        Raises:
            NotFoundError: there is none of theirs; a GoneError where it was taken back.
        """
        portrait = await portraits.by_dream(self._store, dream_id) if is_id(dream_id) else None
        if portrait is None or all(portrait.person_id != one.id for one in known_as):
            raise NotFoundError(NO_PORTRAIT)
        if portrait.revoked_ms is not None:
            raise GoneError(say("You have taken this portrait back. Nothing is left of it."))
        return Kept(portrait, await self._dreams.existing(dream_id))

    async def revoke(self, dream_id: str, *known_as: Person) -> None:
        """Take a portrait back: its words, its picture, and all that the person drew of it.

        Raises:
            NotFoundError: there is none of theirs; a GoneError where it was taken back before.
            DiskError, StoreError: nothing can be written at present; it is still there.
        """
        # As they are known, and not as they are called where they take it back: that would rename
        # who agreed to it, and show everybody whom a guest has signed in as.
        person = (await self.own(dream_id, *known_as)).dream.person
        # The portrait last: what a crash leaves can be taken back again. Once it is gone nothing
        # more is drawn of it, but something may have been accepted just before.
        await self._delete_drawn_of(dream_id, person)
        await self._dreams.delete(dream_id, Actor(person))
        await self._delete_drawn_of(dream_id, person)

    async def _delete_drawn_of(self, dream_id: str, person: Person) -> None:
        for child_id in await portraits.drawn_of(self._store, dream_id):
            with suppress(GoneError):
                await self._dreams.delete(child_id, Actor(person))

    async def _check_reach(self, asker: Asker, reach: Reach) -> None:
        """Refuse a reach that the place or the person's own settings do not have.

        Raises:
            InvalidRequestError: it is theirs to choose a smaller one.
        """
        if reach is Reach.CHANNEL and asker.channel_id is None:
            raise InvalidRequestError("reach", say("There is no channel here. Choose otherwise."))
        if reach is not Reach.STREAM:
            return
        if not await self._moderation.publishes(asker.person):
            raise InvalidRequestError(
                "reach",
                say(
                    "You keep what you ask for off the wall (/privacy), so it is in no stream. "
                    "Choose this channel, or you alone."
                ),
            )
        in_channel = asker.channel_id is not None
        kept_here = asker.guild_id is None or not self._gate.here(asker).published
        if in_channel and (asker.age_restricted or kept_here):
            raise InvalidRequestError(
                "reach",
                say(
                    "What is asked for here stays here, and is in no stream. Choose this channel, "
                    "or you alone."
                ),
            )

    def _is_over(self, draft: Draft, person: Person) -> bool:
        return draft.person.id == person.id or draft.until_s <= self._clock()

    async def _guard_steering(self, dream: Dream, actor: Actor) -> None:
        """Let nobody put other words into somebody's portrait, moderators included.

        Raises:
            ForbiddenError: it is somebody else's.
        """
        portrait = await portraits.by_dream(self._store, dream.id)
        if portrait is not None and portrait.person_id != actor.person.id:
            raise ForbiddenError(THEIRS_ALONE)

    async def _guard(
        self, connection: aiosqlite.Connection, theme: Theme, dreams: Sequence[Dream]
    ) -> None:
        """Let only their person draw anything of portraits, for no more people than see those.

        Raises:
            ForbiddenError: it is somebody else's, was taken back, or is for one alone.
        """
        kept_to_place = False
        for dream in dreams:
            if dream.parent_id is None and not dream.recipe.named_pictures:
                continue
            for portrait in await portraits.trace(connection, dream):
                if portrait.person_id != dream.person.id or portrait.revoked_ms is not None:
                    raise ForbiddenError(THEIRS_ALONE)
                if portrait.reach is Reach.SELF:
                    raise ForbiddenError(FOR_ONE_ALONE)
                kept_to_place |= portrait.reach is Reach.CHANNEL
        if kept_to_place:
            await rows.keep_to_place(connection, [dream.id for dream in dreams])
