"""The pages of a bundle. They need no script and nothing from elsewhere, and open from a folder.

However many pictures there are: the first page shows some of each kind, the rest is on numbered
pages, and every picture has a page of its own with its whole recipe.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from bot.parties.model import Association, AssociationKind, FinalePicture, Stage, Standing
from bot.publish import texts
from bot.publish.model import (
    CREDITS,
    FILM,
    INDEX,
    LICENCES,
    ORIGINALS,
    POST,
    SHEET,
    WHOLE,
    Story,
)
from bot.publish.pictures import Picture
from bot.publish.story import lasted
from bot.templating import environment
from bot.text import clean

ON_PAGE = 60
ON_FIRST = 24
IN_TREE = 120
TREE_ON_FIRST = 30
DEEPEST = 6
BEST = 12
IN_FILM = 120
_KINDS = {AssociationKind.STYLE: "style", AssociationKind.ARTIST: "artist"}

T = TypeVar("T")


@dataclass(frozen=True)
class Branch:
    """A picture in the tree, so many steps from where it began, and what it grew of."""

    picture: Picture
    depth: int
    parent: Picture | None
    other: Picture | None


@dataclass(frozen=True)
class Finished:
    """A chosen picture, and what the finale made of it; `before` where that is another one."""

    picture: Picture
    before: Picture | None


@dataclass(frozen=True)
class Place:
    """How a picture stands, in words."""

    picture: Picture
    place: int
    votes: str


class Site:
    """All pages, one at a time."""

    def __init__(
        self,
        story: Story,
        pictures: Sequence[Picture],
        best: Sequence[Picture],
        sheets: Sequence[str],
        left_out: int,
        folder: Path,
    ) -> None:
        self._story = story
        self._pictures = pictures
        self._by_id = {picture.id: picture for picture in pictures}
        self._grown: dict[str, list[Picture]] = {}
        for picture in pictures:
            for parent_id in {picture.entry.parent_id, picture.entry.other_id} - {None}:
                self._grown.setdefault(str(parent_id), []).append(picture)
        self._tree = list(_branches(pictures, self._by_id))
        self._environment = environment(Path(__file__).parent / "templates")
        self._environment.globals.update(
            story=story,
            hero=best[0] if best else pictures[0],
            count=len(pictures),
            left_out=left_out,
            sheets=sheets,
            film=FILM if (folder / FILM).is_file() else "",
            names={
                "index": INDEX,
                "post": POST,
                "originals": ORIGINALS,
                "whole": WHOLE,
                "sheet": SHEET,
                "credits": CREDITS,
                "licences": LICENCES,
            },
            originals_mb=(folder / ORIGINALS).stat().st_size / 1e6,
            unknown=texts.UNKNOWN,
        )
        self._best = best

    def pages(self) -> Iterator[tuple[str, str]]:
        """Yield each page's name and text."""
        yield "style.css", self._render("style.css", "", colour=self._story.theme.colour)
        yield INDEX, self._render("index.html", "", **self._first())
        for number, some, last in _paged(self._pictures, ON_PAGE):
            yield (
                page_name("pictures", number),
                self._render("pictures.html", "", some=some, number=number, last=last),
            )
        if self._story.record is not None:
            for number, rows, last in _paged(self._tree, IN_TREE):
                yield (
                    page_name("tree", number),
                    self._render("tree.html", "", rows=rows, number=number, last=last),
                )
        for place, picture in enumerate(self._pictures):
            yield picture.page, self._render("picture.html", "../", **self._about(place, picture))

    def _render(self, name: str, up: str, **context: Any) -> str:
        return self._environment.get_template(name).render(context, up=up, page_name=page_name)

    def _about(self, place: int, picture: Picture) -> dict[str, Any]:
        entry, around = picture.entry, self._pictures
        return {
            "picture": picture,
            "before": around[place - 1] if place else None,
            "after": around[place + 1] if place + 1 < len(around) else None,
            "came_of": [
                self._by_id[one]
                for one in (entry.parent_id, entry.other_id)
                if one is not None and one in self._by_id
            ],
            "grown": self._grown.get(picture.id, ())[:ON_FIRST],
            "votes": "" if entry.standing is None else votes_of(entry.standing),
        }

    def _first(self) -> dict[str, Any]:
        record = self._story.record
        context: dict[str, Any] = {
            "credited": texts.credited(self._story, self._pictures),
            "unnamed": texts.unnamed(self._story),
            "licences": texts.licences(self._pictures),
            "best": self._best,
        }
        if record is None:
            return context | {"some": self._pictures[:ON_FIRST], "pages": len(self._pictures)}
        sketches = [one for one in self._pictures if one.entry.stage is Stage.SKETCH]
        grown = [one for one in self._tree if one.depth or one.picture.id in self._grown]
        return context | {
            "lasted": lasted(record.stages, record.party.ended_ms),
            "people": len(record.members),
            "words": [self._word(one) for one in record.associations],
            "sketches": sketches[:ON_FIRST],
            "more_sketches": max(0, len(sketches) - ON_FIRST),
            "tree": grown[:TREE_ON_FIRST],
            "more_tree": max(0, len(grown) - TREE_ON_FIRST),
            "places": [
                Place(self._by_id[one.dream_id], one.place, votes_of(one))
                for one in record.standings
                if one.dream_id in self._by_id and liked(one)
            ][:BEST],
            "finale": list(finished(record.finale, self._by_id)),
        }

    def _word(self, said: Association) -> dict[str, Any]:
        """Return what was said, and which pictures came of it."""
        came = [one for one in self._pictures if clean(said.words) in one.entry.words]
        return {
            "words": clean(said.words),
            "kind": _KINDS.get(said.kind, ""),
            "count": said.count,
            "by": clean(said.person.name),
            "came": came[:4],
        }


def best_of(story: Story, pictures: Sequence[Picture]) -> list[Picture]:
    """Return what a story shows large: the finale, else what was voted for, or is liked, most."""
    by_id = {picture.id: picture for picture in pictures}
    if story.record is None:
        return [picture for picture in pictures if picture.entry.likes][:BEST]
    chosen = [one.picture for one in finished(story.record.finale, by_id)]
    if chosen:
        return chosen
    voted = [one for one in story.record.standings if liked(one) and one.dream_id in by_id]
    return [by_id[one.dream_id] for one in voted[:BEST]]


def finished(finale: Sequence[FinalePicture], by_id: Mapping[str, Picture]) -> Iterator[Finished]:
    """Yield what the finale made, each the largest there is."""
    for one in finale:
        made = [one.upscaled_id, one.redrawn_id, one.dream_id]
        there = [by_id[dream_id] for dream_id in made if dream_id is not None and dream_id in by_id]
        if there:
            before = by_id.get(one.dream_id)
            yield Finished(there[0], before if before is not there[0] else None)


def for_film(story: Story, pictures: Sequence[Picture]) -> list[Picture]:
    """Return what a film shows, in the order of the evening; of many, the best and the filmed."""
    if story.record is None:
        shown = pictures[:IN_FILM]
        return sorted(shown, key=lambda one: one.id)
    wanted = {one.id for one in best_of(story, pictures)}

    def worth(picture: Picture) -> tuple[bool, bool, float]:
        standing = picture.entry.standing
        score = standing.score if standing is not None else 0.0
        return picture.id in wanted, bool(picture.film), score

    return sorted(heapq.nlargest(IN_FILM, pictures, key=worth), key=lambda one: one.number)


def liked(standing: Standing) -> bool:
    """Say whether anybody has voted for a picture: that others were preferred to it is no vote."""
    return bool(standing.favourites or standing.points or standing.wins)


def votes_of(standing: Standing) -> str:
    """Return the votes for a picture in words; empty where there are none."""
    parts = []
    if standing.favourites:
        parts.append(_several(standing.favourites, "favourite"))
    if standing.points:
        parts.append(_several(standing.points, "point"))
    if compared := standing.wins + standing.losses:
        parts.append(f"preferred in {standing.wins} of {_several(compared, 'comparison')}")
    return ", ".join(parts)


def page_name(kind: str, number: int) -> str:
    """Return the name of one of several pages; the first has no number."""
    return f"{kind}.html" if number == 1 else f"{kind}-{number}.html"


def _several(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _paged(items: Sequence[T], size: int) -> Iterator[tuple[int, Sequence[T], int]]:
    """Yield each page's number, what is on it, and the last one's number."""
    last = max(1, -(-len(items) // size))
    for number in range(1, last + 1):
        yield number, items[(number - 1) * size : number * size], last


def _branches(pictures: Sequence[Picture], by_id: Mapping[str, Picture]) -> Iterator[Branch]:
    """Yield the trees, each picture before what grew of it. No depth of them is too deep."""
    children: dict[str | None, list[Picture]] = {}
    for picture in pictures:
        parent_id = picture.entry.parent_id
        children.setdefault(parent_id if parent_id in by_id else None, []).append(picture)
    waiting = [(picture, 0) for picture in reversed(children.get(None, []))]
    while waiting:
        picture, depth = waiting.pop()
        entry = picture.entry
        yield Branch(
            picture,
            min(depth, DEEPEST),
            by_id.get(entry.parent_id or ""),
            by_id.get(entry.other_id or ""),
        )
        grown = children.get(picture.id, [])
        waiting += [(child, depth + 1) for child in reversed(grown)]
