"""What a bundle tells: of a party its whole record, of a stream the days that are asked for."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import msgspec

from bot.ids import first_at
from bot.model import Dream, Person, Theme
from bot.parties.authors import by_author
from bot.parties.model import Node, Record, StageBegan
from bot.parties.reading import SOMEBODY
from bot.publish.model import Entry, Story, Told
from bot.store import Store, favourites, party_dreams, people
from bot.store import dreams as rows
from bot.text import clean

_PAGE = 200
NOBODY = "Anonymous"


def of_party(record: Record) -> Story:
    """Return what is told of a party: its pictures in the order in which they were asked for."""
    words = {one.id: one.words for one in record.associations}
    standings = {one.dream_id: one for one in record.standings}

    def entry(node: Node) -> Entry:
        return Entry(
            dream=node.dream,
            parent_id=node.parent_id,
            other_id=node.entry.other_id,
            words=tuple(words[one] for one in node.entry.association_ids if one in words),
            stage=node.entry.stage,
            standing=standings.get(node.dream.id),
        )

    party = record.party
    return Story(
        title=clean(party.topic),
        topic="",
        when=day_of(party.created_ms),
        theme=record.theme,
        entries=tuple(
            entry(node)
            for node in by_author(record.nodes, record.finale)
            if node.dream.image is not None
        ),
        record=record,
    )


def told_by(record: Record) -> Told:
    """Return what a record gives away."""
    people_named = [
        record.party.host,
        *(one.person for one in record.members),
        *(one.person for one in record.associations),
        *(one.entry.person for one in record.nodes),
        *(one.dream.person for one in record.nodes),
    ]
    return Told(
        dream_ids=frozenset(one.dream.id for one in record.nodes),
        word_ids=frozenset(one.id for one in record.associations),
        person_ids=frozenset(one.id for one in people_named if one != SOMEBODY),
    )


async def of_days(store: Store, theme: Theme, since: date | None, until: date | None) -> Story:
    """Return what is told of a stream: what was asked for from one day to another, in UTC.

    The most liked come first, and of those liked alike the newest. None stands for the first
    day, or for today. What a party's finale made of a picture is by whose that one was.
    """
    before = first_at(_begins(until + timedelta(days=1))) if until is not None else None
    first = first_at(_begins(since)) if since is not None else ""
    found: list[Dream] = []
    while page := await rows.finished(store, theme.id, before, _PAGE):
        found += [dream for dream in page if dream.id >= first and dream.image is not None]
        before = page[-1].id
        if before < first:
            break
    liked = await favourites.counts(store, [dream.id for dream in found])
    chosen = await party_dreams.authors(store, theme.id)
    authors = {dream.id: chosen.get(dream.id, dream.person) for dream in found}
    named: dict[str, Person] = {}
    for person in {person.id: person for person in authors.values()}.values():
        publishes = await people.publishes(store, person.id)
        named[person.id] = person if publishes else SOMEBODY
    shown = {dream.id for dream in found}
    entries = [
        Entry(
            dream=msgspec.structs.replace(dream, person=named[authors[dream.id].id]),
            parent_id=dream.parent_id if dream.parent_id in shown else None,
            likes=liked[dream.id],
        )
        for dream in found
    ]
    return Story(
        title=clean(theme.title),
        topic=clean(theme.topic),
        when=_span(since, until, found),
        theme=theme,
        entries=tuple(heapq.nlargest(len(entries), entries, key=lambda one: one.likes)),
    )


def lasted(stages: Sequence[StageBegan], ended_ms: int | None) -> str:
    """Say from when to when an evening went, in UTC; empty where that is not known."""
    if not stages:
        return ""
    begun = datetime.fromtimestamp(stages[0].at_ms / 1000, UTC)
    last = datetime.fromtimestamp((ended_ms or stages[-1].at_ms) / 1000, UTC)
    if last.date() != begun.date() or f"{last:%H:%M}" == f"{begun:%H:%M}":
        return ""
    return f"{begun:%H:%M} to {last:%H:%M} UTC"


def day_of(at_ms: int) -> str:
    """Return a day as people write it, in UTC."""
    return _day(datetime.fromtimestamp(at_ms / 1000, UTC).date())


def _day(day: date) -> str:
    return f"{day.day} {day:%B %Y}"


def _begins(day: date) -> int:
    """Return when a day begins in UTC, in milliseconds since 1970."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)


def _span(since: date | None, until: date | None, found: Sequence[Dream]) -> str:
    if since is not None and since == until:
        return _day(since)
    if since is None and not found:
        return ""
    first = _day(since) if since is not None else day_of(found[-1].created_ms)
    last = _day(until) if until is not None else day_of(found[0].created_ms if found else 0)
    return first if first == last else f"{first} to {last}"
