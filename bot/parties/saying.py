"""What people say comes to their mind. The same words are kept once, and counted."""

from __future__ import annotations

from bot.errors import ForbiddenError, InvalidRequestError, LimitError, NotFoundError
from bot.parties.acting import LEADERS, leads
from bot.parties.membership import Membership
from bot.parties.model import Association, AssociationKind, Party, Stage
from bot.rights import Actor
from bot.sentences import say
from bot.store import party_words
from bot.text import clean, visible
from bot.wordlist import words_of

MAX_WORDS = 120
MINUTE_MS = 60_000
SPEAKING = (Stage.GATHER, Stage.SKETCH, Stage.ELABORATE)


class Saying(Membership):
    """Associations."""

    async def associate(
        self,
        party: Party,
        actor: Actor,
        words: str,
        kind: AssociationKind = AssociationKind.IDEA,
    ) -> Association:
        """Keep what somebody says, or count it where it was said before.

        Raises:
            ForbiddenError: they are not there, or may not ask for anything.
            InvalidRequestError: there are no words, too many, or a blocked one; or it is late.
            LimitError: they say too much at once.
        """
        words = clean(words[: 50 * MAX_WORDS])
        if len(words) > MAX_WORDS:
            raise InvalidRequestError(
                "words",
                say(
                    "An association has at most {most} characters. Say it shorter.",
                    most=MAX_WORDS,
                ),
            )
        if not visible(words):
            raise InvalidRequestError("words", "Say what comes to your mind, in a few words.")
        asker = self.asker(party, actor)
        self._gate.check_person(asker)
        self._gate.check_words(asker, [words])
        # By words, so that case, accents and signs around them do not make another association.
        folded = " ".join(words_of(words)) or words.casefold()
        async with self._acting(party, actor, *SPEAKING) as act:
            connection, person_id = act.connection, actor.person.id
            most = self._limits.words_per_minute
            since_ms = act.at_ms - MINUTE_MS
            found = await party_words.find(connection, party.id, kind, folded)
            sayers = (await party_words.sayers(connection, [found.id]))[found.id] if found else ()
            if found is not None and person_id in sayers:
                return found
            said = await party_words.count_between(
                connection, party.id, person_id, since_ms, act.at_ms
            )
            if said >= most:
                raise LimitError(
                    say(
                        "You have said {most} things within a minute. Let others speak, too.",
                        most=most,
                    ),
                    30.0,
                )
            if found is None:
                association_id = await party_words.insert(
                    connection, party.id, person_id, kind, words, folded, act.at_ms
                )
            else:
                association_id = found.id
                await party_words.say(connection, association_id, person_id, act.at_ms)
            await act.note("said", association_id=association_id)
            kept = await party_words.by_id(connection, association_id)
        assert kept is not None
        return kept

    async def hide(self, party: Party, actor: Actor, association_id: int) -> None:
        """Take words away for good: one's own, or anybody's by who leads the party.

        Raises:
            ForbiddenError: they are somebody else's.
            NotFoundError: there are none such.
        """
        async with self._acting(party, actor) as act:
            found = await party_words.by_id(act.connection, association_id)
            if found is None or found.party_id != party.id or found.hidden:
                raise NotFoundError("There are no such words.")
            assert act.member is not None
            if not (
                found.person.id == actor.person.id
                or act.member.role in LEADERS
                or leads(act.party, actor)
            ):
                raise ForbiddenError(
                    "Only who said this, or who leads the party, can take it away."
                )
            await party_words.hide(act.connection, association_id)
            await act.note("hidden", association_id=association_id)
