"""What dreams look like in Discord: a container with pictures, words, menus and buttons.

One dream has all its buttons under its picture. Several have a gallery that fills as they form,
a line for each, and a menu that leads to each one's own buttons; more than a gallery takes are on
contact sheets, and so are those of a study, with labels. Pure: it makes the layout from what is
handed in, and neither fetches nor sends.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import discord
from discord import ui

from bot.delivery import controls, words
from bot.delivery.controls import Pick
from bot.delivery.sheets import SHEET
from bot.model import Dream, DreamState, Live, Relation, Theme
from bot.studies import MAX_WORDS, is_study, label_of, subject_of
from bot.text import shorten

GALLERY = 10
"""How many pictures a gallery takes."""

_MAX_STEERS = 3
_MAX_REASONS = 3

_Box = ui.Container[ui.LayoutView]


@dataclass(frozen=True)
class Attached:
    """A file that goes with a card: its name's ending and its bytes."""

    suffix: str
    data: bytes


@dataclass(frozen=True)
class Shown:
    """A dream as a card shows it.

    `picture` is what stands in the gallery: a preview, the picture, or a `film`; one that is a
    `spoiler` is hidden until it is clicked. `drawing` is a file to be downloaded (an SVG). `can` is
    what the engines here can make of it; it is not `worded` where words have no part in it.
    """

    dream: Dream
    live: Live | None = None
    picture: Attached | None = None
    film: bool = False
    spoiler: bool = False
    drawing: Attached | None = None
    steerable: bool = False
    can: frozenset[Relation] = frozenset()
    worded: bool = True
    hearts: int = 0
    note: str = ""

    @property
    def notice(self) -> str:
        """What the person should know of it, beside how it stands."""
        if not self.dream.state.final:
            return "" if self.live is None else self.live.notice
        return self.dream.reason if self.dream.state is DreamState.DONE else ""

    def name(self, attached: Attached) -> str:
        """Name a file by its dream, never by what somebody typed."""
        return f"dream-{self.dream.id}{attached.suffix}"


@dataclass(frozen=True)
class Face:
    """All that a card shows. `card_id` is the dream that names it, in its controls' ids too.

    Where there are `sheets`, they stand in place of the dreams' own pictures. `note` is a further
    sentence.
    """

    card_id: str
    theme: Theme
    shown: tuple[Shown, ...]
    sheets: tuple[bytes, ...] = ()
    note: str = ""

    @property
    def dreams(self) -> tuple[Dream, ...]:
        """The dreams it shows, in order."""
        return tuple(one.dream for one in self.shown)

    @property
    def is_study(self) -> bool:
        """Whether its dreams are shown with the words that each of them tried."""
        return is_study(self.dreams)

    @property
    def over(self) -> bool:
        """Whether all its dreams are: it will change no more."""
        return all(dream.state.final for dream in self.dreams)

    @property
    def state(self) -> str:
        """What it shows, in words for the database: the states of its dreams, each once."""
        return "+".join(sorted({str(dream.state) for dream in self.dreams}))

    @property
    def largest_bytes(self) -> int:
        """How large the largest of its files is."""
        return max((len(data) for _, data in self._attached()), default=0)

    @cached_property
    def looks(self) -> object:
        """Something that is equal for faces between which nobody sees a difference."""
        layout = [item.to_component_dict() for item in self.view().children]
        return layout, list(self._attached())

    def files(self) -> list[discord.File]:
        """Return what is uploaded with the layout; made anew for each sending."""
        return [discord.File(io.BytesIO(data), name) for name, data in self._attached()]

    def view(self) -> ui.LayoutView:
        """Return the layout. It keeps no state in this process: its controls' ids say all."""
        view = ui.LayoutView(timeout=None)
        box: _Box = ui.Container(accent_colour=discord.Colour.from_str(self.theme.colour))
        view.add_item(box)
        if len(self.shown) == 1:
            self._one(box, self.shown[0])
        else:
            self._several(box)
        view.stop()  # or the library would remember every card that was ever sent
        return view

    def _attached(self) -> Iterator[tuple[str, bytes]]:
        for number, sheet in enumerate(self.sheets, 1):
            yield self._sheet_name(number), sheet
        for one in self.shown:
            if one.picture is not None and not self.sheets:
                yield one.name(one.picture), one.picture.data
            if one.drawing is not None and len(self.shown) == 1:
                yield one.name(one.drawing), one.drawing.data

    # --- one dream ---------------------------------------------------------------------------

    def _one(self, box: _Box, one: Shown) -> None:
        dream = one.dream
        _title(box, dream.prompt)
        if one.picture is not None:
            name = f"attachment://{one.name(one.picture)}"
            item = discord.MediaGalleryItem(
                name, description=words.alt_text(dream, film=one.film), spoiler=one.spoiler
            )
            box.add_item(ui.MediaGallery(item))
        if one.drawing is not None:
            box.add_item(ui.File(f"attachment://{one.name(one.drawing)}"))
        for text in self._texts(one):
            box.add_item(ui.TextDisplay(text))
        box.add_item(ui.TextDisplay(f"-# {words.details(dream, self.theme.title)}"))
        actions = controls.actions_for(
            dream, can=one.can, steerable=one.steerable, worded=one.worded
        )
        for row in controls.rows(
            [controls.button(action, dream.id, hearts=one.hearts) for action in actions]
        ):
            box.add_item(row)

    def _texts(self, one: Shown) -> Iterator[str]:
        dream = one.dream
        for steer in dream.recipe.steers[-_MAX_STEERS:]:
            yield f"→ {words.plain(steer.prompt, words.MAX_STEER)}"
        match dream.state:
            case DreamState.WAITING | DreamState.DRAWING:
                yield words.standing(dream, one.live)
            case DreamState.FAILED:
                yield f"Could not be drawn. {words.plain(dream.reason, 500)}".rstrip()
            case DreamState.CANCELLED:
                yield "Cancelled."
            case DreamState.DONE:
                pass
        for note in (one.notice, one.note, self.note):
            if note:
                yield f"-# {words.plain(note, 300)}"

    # --- several -----------------------------------------------------------------------------

    def _several(self, box: _Box) -> None:
        if not self.shown:
            return
        first = self.dreams[0]
        _title(box, subject_of(first) if self.is_study else first.prompt)
        if items := list(self._gallery()):
            box.add_item(ui.MediaGallery(*items))
        box.add_item(ui.TextDisplay("\n".join(self._lines())))
        notices = dict.fromkeys(one.notice for one in self.shown if one.notice)
        notes = (*list(notices)[:_MAX_REASONS], *(one.note for one in self.shown), self.note)
        for note in dict.fromkeys(filter(None, notes)):
            box.add_item(ui.TextDisplay(f"-# {words.plain(note, 300)}"))
        box.add_item(ui.TextDisplay(f"-# {words.several(self.dreams, self.theme.title)}"))
        for menu in self._menus():
            box.add_item(menu)
        steerable = all(one.steerable for one in self.shown if not one.dream.state.final)
        for row in controls.rows(
            [
                controls.button(action, self.card_id, of_all=True)
                for action in controls.actions_for_all(
                    self.dreams, steerable=steerable, worded=all(one.worded for one in self.shown)
                )
            ]
        ):
            box.add_item(row)

    def _gallery(self) -> Iterator[discord.MediaGalleryItem]:
        count = len(self.shown)
        if self.sheets:
            for number in range(1, len(self.sheets) + 1):
                first, last = 1 + SHEET * (number - 1), min(count, SHEET * number)
                said = words.alt_text_of_sheet(self.dreams[0].prompt, first, last, count)
                if self.is_study:
                    said = words.alt_text_of_study(self.dreams)
                yield discord.MediaGalleryItem(
                    f"attachment://{self._sheet_name(number)}", description=said
                )
            return
        for number, one in enumerate(self.shown, 1):
            if one.picture is not None:
                yield discord.MediaGalleryItem(
                    f"attachment://{one.name(one.picture)}",
                    description=words.alt_text(one.dream, number, count, film=one.film),
                    spoiler=one.spoiler,
                )

    def _lines(self) -> Iterator[str]:
        if self.is_study:
            for number, one in enumerate(self.shown, 1):
                label = words.plain(label_of(one.dream), MAX_WORDS)
                yield f"`{number}` **{label}** · {words.state(one.dream, one.live)}"
            return
        if not self.sheets and len(self.shown) <= GALLERY:
            for number, one in enumerate(self.shown, 1):
                yield f"`{number}` {words.state(one.dream, one.live)}"
                if one.dream.recipe.steers and not one.dream.state.final:
                    yield f"→ {words.plain(one.dream.recipe.steers[-1].prompt, 80)}"
            return
        yield words.tally(self.dreams, [one.live for one in self.shown])
        reasons = (dream.reason for dream in self.dreams if dream.state is DreamState.FAILED)
        for reason in list(dict.fromkeys(filter(None, reasons)))[:_MAX_REASONS]:
            yield f"-# {words.plain(reason, 200)}"

    def _menus(self) -> Iterator[ui.ActionRow[ui.LayoutView]]:
        numbered = list(enumerate(self.dreams, 1))
        first_looks = all(dream.recipe.until_step is not None for dream in self.dreams)
        batch = all(dream.background for dream in self.dreams)
        for sheet in range(-(-len(numbered) // SHEET)):
            part = numbered[SHEET * sheet : SHEET * (sheet + 1)]
            which = "" if len(numbered) <= SHEET else f" {part[0][0]} to {part[-1][0]}"
            done = [(number, dream) for number, dream in part if dream.state is DreamState.DONE]
            if first_looks and done:
                yield controls.menu(
                    Pick.GO_ON,
                    self.card_id,
                    sheet,
                    [(number, dream, _option(dream)) for number, dream in done],
                    placeholder=f"Go on with{which or ' some of these'} …",
                )
            elif batch and done:
                yield controls.menu(
                    Pick.PICK,
                    self.card_id,
                    sheet,
                    [(number, dream, _option(dream)) for number, dream in done],
                    placeholder=f"Pick from{which or ' these'} …",
                )
            if batch and not first_looks:
                continue
            if not first_looks or len(numbered) <= SHEET:
                yield controls.menu(
                    Pick.LOOK,
                    self.card_id,
                    sheet,
                    [(number, dream, _option(dream)) for number, dream in part],
                    placeholder=f"Look closer at{which or ' one of these'} …",
                )

    def _sheet_name(self, number: int) -> str:
        return f"sheet-{self.card_id}-{number}.webp"


def _title(box: _Box, prompt: str) -> None:
    # A mere tool draws without words.
    title = words.plain(prompt, words.MAX_PROMPT)
    if title:
        box.add_item(ui.TextDisplay(f"**{title}**"))


def _option(dream: Dream) -> str:
    match dream.state:
        case DreamState.DONE if dream.studied is not None:
            return label_of(dream, 100)
        case DreamState.DONE:
            return f"seed {dream.recipe.seed}"
        case DreamState.FAILED:
            return shorten(f"could not be drawn: {dream.reason}", 100)
        case DreamState.CANCELLED:
            return "cancelled"
        case _:
            return "still forming"
