"""What a party's card looks like at each stage. It neither fetches nor sends.

Cards are seen by everybody and are in English. `Face.looks` is a digest of all that is on one, so
that what is shown already is not sent again, also after a restart.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import discord
import segno
from discord import ui

from bot.delivery import galleries, words
from bot.delivery.galleries import Picture
from bot.delivery.layouts import looks_of
from bot.delivery.party_controls import STAGE_NAMES, STAGES, rows_for
from bot.errors import NotFoundError
from bot.parties.model import Association, AssociationKind, Member, Party, Role, Stage
from bot.sentences import say

ROLE_NAMES = {
    Role.HOST: say("host"),
    Role.FACILITATOR: say("facilitator"),
    Role.PROMPT_MASTER: say("prompt master"),
    Role.ART_EXPERT: say("art expert"),
    Role.GUEST: say("guest"),
}
_MAX_SAID = 30
_MAX_FILES = 10  # that Discord takes with a message
_MAX_NAMES = 20
_QR = "join.png"
_QR_SCALE = 6  # pixels a module: about 200 in all
_WHAT_TO_DO = {
    Stage.GATHER: "Press *Join*. Then say what comes to your mind: ideas, styles, artists.",
    Stage.SKETCH: (
        "*Sketch* draws four quick pictures of a short prompt: of what was said, of your own "
        "words, or of both. What you ask for with `/dream` belongs to the party, too."
    ),
    Stage.ELABORATE: (
        "*Grow* changes the words of a picture, anybody's. Its seed stays, so the words alone "
        "change it. *Combine* puts two together."
    ),
    Stage.CHOOSE: (
        "Which are the best? *Vote* shows you two at a time, ♥ under a picture counts, and you "
        "have 5 *Points* to give. All this can be changed until the stage ends."
    ),
    Stage.FINALE: (
        "The best are drawn anew, large. The host, or a facilitator, chooses which: those that "
        "stand best are proposed."
    ),
    Stage.PUBLISHED: "This is what came of it. Thank you for being there.",
}
_REMADE = "The bundle is just being made anew. Try again in a moment."
_WITH_SAID = (Stage.GATHER, Stage.SKETCH, Stage.ELABORATE)


@dataclass(frozen=True)
class BundleFile:
    """A ZIP file, and the version of the bundle that it is of: names are what is compared."""

    path: Path
    version: str

    def name_for(self, party_id: str) -> str:
        """Return what the file is called on the card of a party."""
        return f"party-{party_id}-{self.version[:8]}.zip"


@dataclass(frozen=True)
class Evening:
    """A party as one of its cards is to show it.

    `stage` is the card's; it is `over` once another has begun (`passed`) or the party has ended.
    `drawn` and `forming` count pictures, `voters` people. `url` is where guests join on the wall.
    `bundle` is what was published as one file, where it is small enough, `bundle_url` its page;
    `trouble` says why the newest could not be made.
    """

    party: Party
    stage: Stage
    passed: bool
    card_id: int
    colour: str
    members: Sequence[Member] = ()
    said: Sequence[Association] = ()
    drawn: int = 0
    forming: int = 0
    voters: int = 0
    pictures: Sequence[Picture] = ()
    url: str | None = None
    bundle: BundleFile | None = None
    bundle_url: str | None = None
    trouble: str = ""

    @property
    def over(self) -> bool:
        """Whether nothing more happens at this stage."""
        return self.passed or not self.party.open


@dataclass(frozen=True)
class Face:
    """A card's layout and files; both are made anew for each sending."""

    evening: Evening

    def view(self) -> ui.LayoutView:
        """Return the layout."""
        evening = self.evening
        view = ui.LayoutView(timeout=None)
        colour = discord.Colour.from_str(evening.colour)
        box: ui.Container[ui.LayoutView] = ui.Container(accent_colour=colour)
        view.add_item(box)
        text: ui.TextDisplay[ui.LayoutView] = ui.TextDisplay("\n".join(lines(evening)))
        if self._code is None:
            box.add_item(text)
        else:
            picture: ui.Thumbnail[ui.LayoutView] = ui.Thumbnail(
                f"attachment://{_QR}", description="The code by which guests join on the wall"
            )
            box.add_item(ui.Section(text, accessory=picture))
        if self._pictures:
            box.add_item(galleries.gallery(self._pictures))
        if evening.bundle is not None:
            box.add_item(ui.File(f"attachment://{evening.bundle.name_for(evening.party.id)}"))
        if not evening.over:
            for row in rows_for(evening.stage, evening.party.id, evening.card_id):
                box.add_item(row)
        view.stop()  # its buttons' ids say all; the library need not remember it
        return view

    def files(self) -> list[discord.File]:
        """Return the files that go with it. Blocks: it draws the QR code and reads the bundle.

        Raises:
            NotFoundError: the bundle was withdrawn meanwhile: the face is to be made anew.
        """
        evening = self.evening
        found = galleries.files(self._pictures)
        if self._code is not None:
            out = io.BytesIO()
            segno.make(self._code, micro=False).save(out, kind="png", scale=_QR_SCALE, border=3)
            out.seek(0)
            found.append(discord.File(out, _QR, description="The code by which guests join"))
        if evening.bundle is not None:
            try:
                data = evening.bundle.path.read_bytes()
            except OSError as error:
                raise NotFoundError(say(_REMADE)) from error
            name = evening.bundle.name_for(evening.party.id)
            found.append(discord.File(io.BytesIO(data), name))
        return found

    @cached_property
    def looks(self) -> str:
        """Return a digest of all that is seen."""
        return looks_of(self.view())

    @property
    def _pictures(self) -> Sequence[Picture]:
        """Return as many of the pictures as there is room for beside the card's other files."""
        others = (self._code is not None) + (self.evening.bundle is not None)
        return self.evening.pictures[: _MAX_FILES - others]

    @property
    def _code(self) -> str | None:
        """Return what the card's QR code says; only the first stage's has one."""
        gathering = self.evening.stage is Stage.GATHER and not self.evening.over
        return self.evening.url if gathering else None


def lines(evening: Evening) -> list[str]:
    """Return what a card says."""
    party, stage = evening.party, evening.stage
    found = [f"## {words.plain(party.topic, 200)}"]
    place = f"{STAGES.index(stage) + 1} of {len(STAGES)}: **{STAGE_NAMES[stage]}**"
    if evening.over:
        what = "This stage is over." if evening.passed else "The party is over."
        found.append(f"-# Party · stage {place} · {what}")
    else:
        found += [f"-# Party · stage {place}", _WHAT_TO_DO[stage], *_time(party)]
    if evening.said and (stage in _WITH_SAID):
        found.append(f"**Said:** {said(evening.said)}")
    if evening.drawn or evening.forming:
        their = "its" if evening.forming == 1 else "their"
        forming = f", {evening.forming} on {their} way" if evening.forming else ""
        found.append(f"**Pictures:** {evening.drawn} finished{forming}.")
    if evening.voters:
        found.append(f"**Voted:** {evening.voters} {_people(evening.voters)}.")
    there = [member for member in evening.members if member.present]
    if there and not evening.over:
        found.append(f"**There:** {_names(there)}")
    if evening.bundle_url is not None:
        found.append(f"[The whole evening, to look at and to keep]({evening.bundle_url})")
    if evening.trouble:
        found.append(f"**No bundle was made.** {words.plain(evening.trouble, 300)}")
    if evening.url is not None and not evening.over:
        code = party.code
        found.append(f"[On the wall]({evening.url}) · code `{code[:4]} {code[4:]}`")
    return found


def said(associations: Sequence[Association]) -> str:
    """Return what was said, what was said most first."""
    most = sorted(associations, key=lambda one: -one.count)
    shown = []
    for one in most[:_MAX_SAID]:
        kind = "" if one.kind is AssociationKind.IDEA else f" ({one.kind.value})"
        times = f" ×{one.count}" if one.count > 1 else ""
        shown.append(f"{words.plain(one.words, 40)}{kind}{times}")
    more = len(most) - len(shown)
    return " · ".join(shown) + (f" · and {more} more" if more else "")


def _time(party: Party) -> list[str]:
    if party.due_ms is not None:
        at_s = party.due_ms // 1000
        return [f"Until <t:{at_s}:t>, <t:{at_s}:R>."]
    if party.stage_minutes and party.stage is not Stage.PUBLISHED:
        host = words.plain(party.host.name, 40)
        return [f"**The time for this is up.** No hurry: {host} moves on when you are ready."]
    return []


def _names(there: Sequence[Member]) -> str:
    named = [member for member in there if member.role is not Role.GUEST]
    guests = [member for member in there if member.role is Role.GUEST]
    named.sort(key=lambda member: member.role is not Role.HOST)
    parts = [f"{words.plain(one.person.name, 40)} ({ROLE_NAMES[one.role]})" for one in named]
    parts += [words.plain(one.person.name, 40) for one in guests]
    more = len(parts) - _MAX_NAMES
    return ", ".join(parts[:_MAX_NAMES]) + (f" and {more} more" if more > 0 else "")


def _people(count: int) -> str:
    return "person" if count == 1 else "people"
