"""Who may ask for what, where: the rules of servers and channels, before any work is done.

Everything here is judged from memory. What is counted, and what finally stands in a dream, is
judged in the transaction that accepts it (`bot.judging`). A refusal says what to do, and
never repeats the words that it is about.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from bot.audit import Refused, Why
from bot.errors import ForbiddenError, InvalidRequestError, LimitError, RequestError
from bot.ids import now_ms
from bot.model import Block, Dream, PictureCheck, Theme
from bot.moderation import Moderation
from bot.monitoring.metrics import refusals
from bot.rights import Actor
from bot.sentences import Sentence, say
from bot.settings import Effective, Nsfw, Settings
from bot.text import clean, shorten
from bot.wordlist import Words, unsafe_words, words_of

E = TypeVar("E", bound=RequestError)

HOUR_MS = 3600 * 1000
_MAX_REASON = 200

BLOCKED_WORD = say(
    "This prompt has a word that is blocked here. Say it in other words, or ask a moderator."
)
UNSAFE_WORD = say(
    "This prompt has a word for adults, which is only for channels that are age-restricted. Say "
    "it in other words."
)
NEVER_UNSAFE = say(
    "This prompt has a word for adults, which is blocked here. Say it in other words."
)


class Asker(Actor, frozen=True):
    """An actor who asks for something in a channel.

    `parent_id` is the channel that a thread belongs to. `role_ids` are the asker's in the server.
    """

    channel_id: int | None = None
    parent_id: int | None = None
    role_ids: frozenset[int] = frozenset()
    age_restricted: bool = False


class Gate:
    """Judges who asks, by the settings of where they ask."""

    def __init__(self, settings: Settings, moderation: Moderation) -> None:
        self._settings = settings
        self._moderation = moderation
        self._watchers: list[Refused] = []

    def on_refusal(self, watcher: Refused) -> None:
        """Call `watcher` with whoever was refused something, where, and for what."""
        self._watchers.append(watcher)

    def here(self, asker: Asker) -> Effective:
        """Return the settings that hold where somebody asks."""
        return self._settings.effective(asker.guild_id, asker.channel_id, asker.parent_id)

    def picture_check(self, asker: Asker) -> PictureCheck | None:
        """Return how a place wants pictures checked, None where only the machine says.

        Where nothing is set, an age-restricted channel wants them shown as they are.
        """
        chosen = self.here(asker).picture_check
        return PictureCheck.OFF if chosen is None and asker.age_restricted else chosen

    def keeps(self, asker: Asker) -> bool:
        """Say whether what is asked for in a channel stays there, and is nowhere else."""
        return asker.age_restricted or not self.here(asker).published

    def is_host(self, asker: Asker) -> bool:
        """Say whether somebody leads what is done together there."""
        hosts = self.here(asker).host_role_ids
        return asker.moderates or asker.at_machine or not asker.role_ids.isdisjoint(hosts)

    @refusals()
    def check(
        self,
        asker: Asker,
        *,
        prompt: str = "",
        count: int = 1,
        exploring: bool = False,
        background: bool = False,
    ) -> None:
        """Refuse what may not be asked for there; `prompt` is all that was typed.

        What is drawn in the `background` has a limit of its own.

        Raises:
            ForbiddenError: the asker may not ask there, or not for this.
            LimitError: these are too many at once.
            InvalidRequestError: the prompt has a blocked word.
        """
        self._check(asker, prompt, count, exploring=exploring, background=background)

    def refuses(
        self, asker: Asker, *, prompt: str = "", count: int = 1, background: bool = False
    ) -> bool:
        """Say whether `check` would refuse it, and neither tell nor count that it would."""
        unwatched = Gate(self._settings, self._moderation)
        try:
            unwatched._check(asker, prompt, count, exploring=False, background=background)
        except RequestError:
            return True
        return False

    def _check(
        self, asker: Asker, prompt: str, count: int, *, exploring: bool, background: bool
    ) -> None:
        self.check_person(asker)
        here = self.here(asker)
        if exploring and not here.explore:
            raise ForbiddenError("Exploring is off in this channel. Ask for single dreams.")
        if background:
            if not here.batch:
                raise ForbiddenError("Batches are off in this channel. Ask for single dreams.")
            self.check_waiting(asker, own=count, background=True)
        elif here.max_count and count > here.max_count:
            one = say("In this channel only one picture can be asked for at once.")
            many = say(
                "At most {count} pictures can be asked for at once in this channel.",
                count=here.max_count,
            )
            refused = LimitError(one if here.max_count == 1 else many)
            raise self._refused(asker, Why.LIMIT, refused)
        self.check_words(asker, [prompt])

    def check_person(self, asker: Asker) -> None:
        """Refuse who may not ask for anything there.

        Raises:
            ForbiddenError: they are blocked, lack a role, or nobody may.
        """
        if asker.guild_id is None or asker.at_machine:
            return
        self.check_not_blocked(asker)
        here = self.here(asker)
        if not here.dreaming:
            closed = ForbiddenError("No dreams are asked for in this channel. Try another one.")
            raise self._refused(asker, Why.CLOSED, closed)
        allowed = here.allowed_role_ids
        if allowed and asker.role_ids.isdisjoint(allowed) and not self.is_host(asker):
            raise self._refused(
                asker,
                Why.ROLE,
                ForbiddenError(
                    "Only members with certain roles may ask for dreams in this channel. Ask a "
                    "moderator which."
                ),
            )

    def check_not_blocked(self, asker: Asker) -> None:
        """Refuse who is blocked there; `check_person` says besides who of its members may ask.

        Raises:
            ForbiddenError: they are blocked.
        """
        if asker.guild_id is None or asker.at_machine:
            return
        block = self._moderation.block_of(asker.guild_id, asker.person.id)
        if block is not None:
            raise self._refused(asker, Why.BLOCKED, ForbiddenError(_blocked(block)))

    def check_words(self, asker: Asker, texts: Iterable[str], brought: Iterable[str] = ()) -> None:
        """Refuse blocked words; those that a theme has `brought` into the texts are its own.

        Raises:
            InvalidRequestError: there is one in the texts.
        """
        here = self.here(asker)
        exceptions = (*here.allowed_words, *(word for text in brought for word in words_of(text)))
        unsafe = NEVER_UNSAFE if here.nsfw is Nsfw.NEVER else UNSAFE_WORD
        for terms, why, sentence in (
            (here.blocked_words, Why.BLOCKED_WORD, BLOCKED_WORD),
            (self._unsafe(asker, here), Why.ADULT_WORD, unsafe),
        ):
            words = Words.of(terms)
            if any(words.within(text, exceptions) for text in texts):
                raise self._refused(asker, why, InvalidRequestError("prompt", sentence))

    def check_dream(self, asker: Asker, dream: Dream, theme: Theme) -> None:
        """Refuse blocked words in whatever somebody's words have become in a dream.

        Raises:
            InvalidRequestError: there is one.
        """
        recipe = dream.recipe
        texts = [dream.prompt, recipe.prompt, *(steer.prompt for steer in recipe.steers)]
        texts += [value for value in recipe.settings.values() if isinstance(value, str)]
        self.check_words(asker, texts, [theme.template, theme.modifiers])
        # Apart: what a theme keeps out of its pictures may not be asked for by that.
        self.check_words(asker, [recipe.negative], [theme.negative])

    def _refused(self, asker: Asker, why: Why, error: E) -> E:
        """Return what refuses somebody, having told whoever wants to know."""
        for watcher in self._watchers:
            watcher(asker.person, asker.guild_id, asker.channel_id, why)
        return error

    def _unsafe(self, asker: Asker, here: Effective) -> tuple[str, ...]:
        if asker.at_machine or asker.guild_id is None:
            return ()
        if asker.age_restricted and here.nsfw is Nsfw.CHANNEL:
            return ()
        return unsafe_words()

    def check_waiting(
        self,
        asker: Asker,
        *,
        own: int,
        channel: int = 0,
        hour: int = 0,
        background: bool = False,
    ) -> None:
        """Refuse what would be too many; the counts are with what is being asked for.

        `own` are the asker's dreams in the server that are not over, `channel` those of everybody
        in the channel, `hour` those that the asker has had within an hour. All of them are of
        what is drawn in the `background`, where only the first has a limit, or of the rest.

        Raises:
            LimitError: they are more than may be.
        """
        try:
            self._check_waiting(asker, own, channel, hour, background=background)
        except LimitError as error:
            raise self._refused(asker, Why.LIMIT, error) from None

    def _check_waiting(
        self, asker: Asker, own: int, channel: int, hour: int, *, background: bool
    ) -> None:
        here = self.here(asker)
        if background:
            if here.per_person_background and own > here.per_person_background:
                raise LimitError(
                    say(
                        "In this channel a person may have {dreams} waiting in the background. Ask "
                        "for fewer, or wait for some to finish.",
                        dreams=_dreams(here.per_person_background),
                    )
                )
            return
        if here.per_person and own > here.per_person:
            raise LimitError(
                say(
                    "In this channel a person may have {dreams} waiting at once. Wait for one to "
                    "finish, or cancel one.",
                    dreams=_dreams(here.per_person),
                )
            )
        if here.per_channel and channel > here.per_channel:
            raise LimitError(
                say(
                    "In this channel {dreams} may be waiting at once. Try again when some have "
                    "finished.",
                    dreams=_dreams(here.per_channel),
                ),
                retry_after_s=60.0,
            )
        if here.per_hour and hour > here.per_hour:
            raise LimitError(
                say(
                    "In this channel a person may ask for {dreams} within an hour. Try again "
                    "later; what failed or was cancelled before it began does not count.",
                    dreams=_dreams(here.per_hour),
                ),
                retry_after_s=600.0,
            )


def _blocked(block: Block) -> Sentence:
    refused = say("You may not ask for dreams in this server.")
    if block.until_ms is not None:
        minutes = max(1, -(-(block.until_ms - now_ms()) // 60_000))
        text = "You may not ask for dreams in this server for another {span}."
        refused = say(text, span=_span(minutes))
    why = say("Ask a moderator about it.")
    if reason := shorten(clean(block.reason), _MAX_REASON):
        why = say("A moderator says: {reason}", reason=reason)
    return say("{refused} {why}", refused=refused, why=why)


def _span(minutes: int) -> Sentence:
    if minutes < 2:
        return say("minute")
    if minutes < 120:
        return say("{count} minutes", count=minutes)
    if minutes < 48 * 60:
        return say("{count} hours", count=round(minutes / 60))
    return say("{count} days", count=round(minutes / (24 * 60)))


def _dreams(count: int) -> Sentence:
    return say("one dream") if count == 1 else say("{count} dreams", count=count)
