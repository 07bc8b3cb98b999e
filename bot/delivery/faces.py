"""Gather what a card shows from the services: how its dreams stand, and pictures that fit.

While something forms, small pictures do: previews, and thumbnails of what is finished. Once all is
over the pictures themselves are uploaded, as large as may be. Reading and making them happens in
the library's threads.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec

from bot.delivery.card import GALLERY, Attached, Face, Shown
from bot.delivery.pictures import (
    DEFAULT_LIMIT_BYTES,
    REQUEST_LIMIT_BYTES,
    Upload,
    fitting_together,
)
from bot.delivery.sheets import FORMING_TILE_PX, SHEET, TILE_PX, labelled_sheet, sheet
from bot.errors import DreamstreamError, NotFoundError, OutOfReachError
from bot.front import Front
from bot.model import Dream, PictureCheck
from bot.store import dreams as rows
from bot.studies import label_of

THUMBNAIL_PX = 768
TILE_THUMBNAIL_PX = 384
LESSENED = "Made smaller to fit here; the original is kept."
TOO_LARGE = "Too large to be shown in this channel; it is kept."
NOT_KEPT = "Its picture is no longer kept."
FILM_TOO_LARGE = "What was made besides is too large for this channel; it is kept."
_FILMS = {"video/mp4": ".mp4", "image/gif": ".gif", "image/webp": ".webp"}
_DRAWINGS = {"image/svg+xml": ".svg"}
_SMALLEST_TILE_PX = 32
_SHEETS_KEPT = 32
_FEW = 4  # a study may have so few


@dataclass(frozen=True)
class Room:
    """What may be uploaded: so many bytes a file, so many together."""

    file_bytes: int = DEFAULT_LIMIT_BYTES
    total_bytes: int = REQUEST_LIMIT_BYTES


class Faces:
    """Makes cards' faces."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._sheets: OrderedDict[tuple[str, int], tuple[object, bytes]] = OrderedDict()

    async def of(self, card_id: str, dream_ids: Sequence[str], room: Room) -> Face | None:
        """Return the face of the card with these dreams; None where all of them were deleted.

        Raises:
            StoreError: the database cannot be read.
            OutOfReachError: a picture cannot be had at present.
        """
        found = {dream.id: dream for dream in await rows.by_ids(self._front.store, dream_ids)}
        dreams = [found[dream_id] for dream_id in dream_ids if dream_id in found]
        dreams = [dream for dream in dreams if dream.deleted_ms is None]
        if not dreams:
            return None
        hearts = await self._front.moderation.favourites([dream.id for dream in dreams])
        shown = [self._shown(dream, hearts.get(dream.id, 0)) for dream in dreams]
        theme = await self._front.themes.by_id(shown[0].dream.theme_id)
        face = Face(card_id, theme, tuple(shown))
        if len(shown) > GALLERY or face.is_study:
            return await self._on_sheets(face, room)
        if face.over:
            return await self._with_pictures(face, room)
        return replace(face, shown=tuple([await self._small(one, room) for one in face.shown]))

    def _shown(self, dream: Dream, hearts: int) -> Shown:
        front = self._front
        if dream.state.final:
            return Shown(
                dream,
                spoiler=dream.veil is PictureCheck.SPOILER,
                hearts=hearts,
                can=front.offspring.can(dream),
                worded=front.takes_prompt(dream.recipe.engine),
            )
        live = front.dreams.live(dream.id)
        if live is not None:
            dream = msgspec.structs.replace(dream, state=live.state, step=live.step)
        return Shown(dream, live, steerable=front.steerable(dream.recipe.engine))

    async def _small(self, one: Shown, room: Room) -> Shown:
        data = await self._thumbnail(_uncovered(one.dream), THUMBNAIL_PX)
        if data is None or len(data) > room.file_bytes:
            return one
        return replace(one, picture=Attached(".webp", data))

    async def _thumbnail(self, dream: Dream, side_px: int) -> bytes | None:
        """Return what a dream looks like at present, small; None where there is nothing yet."""
        if dream.image is None:
            preview = self._front.dreams.preview(dream.id)
            return None if preview is None else preview[1]
        library = self._front.library
        try:
            return await library.read_thumbnail(dream.image.sha256, side_px)
        except OutOfReachError:
            raise  # later it is there: a card without it would count as shown
        except (DreamstreamError, OSError):
            return None  # it is gone, or cannot be made smaller: the others are shown

    async def _with_pictures(self, face: Face, room: Room) -> Face:
        """Give each dream its film or its picture, as large as there is room for."""
        share_bytes = min(room.file_bytes, room.total_bytes // len(face.shown))
        shown = [await self._with_files(one, share_bytes) for one in face.shown]
        taken_bytes = sum(
            len(attached.data)
            for one in shown
            for attached in (one.picture, one.drawing)
            if attached is not None
        )
        pngs: dict[int, bytes] = {}
        for place, one in enumerate(shown):
            if one.picture is None and one.dream.image is not None:
                try:
                    shows = _uncovered(one.dream).image or one.dream.image
                    pngs[place] = await self._front.library.read(shows.sha256)
                except NotFoundError:
                    shown[place] = replace(one, note=NOT_KEPT)
        left_bytes = room.total_bytes - taken_bytes
        uploads = await self._front.library.run(
            fitting_together, [*pngs.values()], room.file_bytes, left_bytes
        )
        for place, upload in zip(pngs, uploads, strict=True):
            shown[place] = _with_upload(shown[place], upload)
        return replace(face, shown=tuple(shown))

    async def _with_files(self, one: Shown, share_bytes: int) -> Shown:
        """Give a dream its film and its drawing, as far as they fit: nothing makes them smaller."""
        for file in one.dream.files:
            suffix = _FILMS.get(file.media_type) or _DRAWINGS.get(file.media_type)
            if suffix is None:
                continue
            if file.size_bytes > share_bytes // 2:  # the other half is the picture's
                one = replace(one, note=FILM_TOO_LARGE)
                continue
            try:
                attached = Attached(suffix, await self._front.library.read_file(file))
            except NotFoundError:
                one = replace(one, note=NOT_KEPT)
                continue
            if file.media_type in _FILMS:
                one = replace(one, picture=attached, film=True)
            else:
                one = replace(one, drawing=attached)
        return one

    async def _on_sheets(self, face: Face, room: Room) -> Face:
        """Put all dreams' pictures onto contact sheets, as large as there is room for."""
        count = -(-len(face.shown) // SHEET)
        share_bytes = min(room.file_bytes, room.total_bytes // count)
        tile_px = _tile_px(len(face.shown)) if face.over else FORMING_TILE_PX
        while True:
            made = [await self._sheet(face, number, tile_px) for number in range(count)]
            if max(len(one) for one in made) <= share_bytes:
                return replace(face, sheets=tuple(made))
            if tile_px <= _SMALLEST_TILE_PX:
                return replace(face, note=TOO_LARGE)
            tile_px //= 2

    async def _sheet(self, face: Face, number: int, tile_px: int) -> bytes:
        """Make one sheet; or take it as it was, where nothing on it has changed."""
        part = face.shown[SHEET * number : SHEET * (number + 1)]
        versions = [self._version(one) for one in part]
        key, state = (face.card_id, number), (tile_px, versions)
        kept = self._sheets.get(key)
        if kept is None or kept[0] != state:
            side_px = TILE_THUMBNAIL_PX if tile_px <= TILE_THUMBNAIL_PX else THUMBNAIL_PX
            pictures = [await self._thumbnail(one.dream, side_px) for one in part]
            if face.is_study:
                labels = [label_of(one.dream) for one in part]
                made = await self._front.library.run(labelled_sheet, pictures, labels, tile_px)
            else:
                first = 1 + SHEET * number
                numbers = range(first, first + len(part))
                made = await self._front.library.run(sheet, pictures, numbers, tile_px)
            kept = state, made
        self._sheets[key] = kept
        self._sheets.move_to_end(key)
        while len(self._sheets) > _SHEETS_KEPT:
            self._sheets.popitem(last=False)
        return kept[1]

    def _version(self, one: Shown) -> tuple[str, object]:
        """Return what is another whenever the dream looks different."""
        if one.dream.image is not None:
            return one.dream.id, one.dream.image.sha256
        return one.dream.id, 0 if one.live is None else one.live.preview_version


def _uncovered(dream: Dream) -> Dream:
    """Return a dream as it is shown by itself: what Discord hides need not be its cover."""
    if dream.veil is not PictureCheck.SPOILER:
        return dream
    return msgspec.structs.replace(dream, image=dream.behind)


def _tile_px(count: int) -> int:
    """Return how large each of so many finished pictures is on a sheet: few have more room."""
    return 2 * TILE_PX if count <= _FEW else TILE_PX


def _with_upload(one: Shown, upload: Upload | None) -> Shown:
    if upload is None:
        return replace(one, note=TOO_LARGE)
    note = LESSENED if upload.lessened else one.note
    return replace(one, picture=Attached(upload.suffix, upload.data), note=note)
