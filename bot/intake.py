"""Taking in what is asked for, with the pictures that it is drawn from.

What is uploaded is looked at before anything comes of it, and traced to the dream that it is the
picture of. What is taken in is accepted in one transaction (`bot.acceptance`), and from then on in
the care of `bot.unfinished`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import replace
from typing import Any

from bot.acceptance import Acceptance, Order
from bot.checking.service import Brought, PictureChecks
from bot.disk import TROUBLE, DiskWatch
from bot.errors import InvalidRequestError
from bot.inits import DrawnFrom, Inits
from bot.library import Library
from bot.model import Dream, DreamRequest, Image, Person, PictureCheck, Relation
from bot.origins import Origin, Origins
from bot.side_tasks import SideTasks
from bot.store import Store
from bot.unfinished import Unfinished

_STAYS = (
    "This picture stays where it was asked for, so nothing is drawn from it here. Choose another."
)


class Intake:
    """Takes orders, each to its end among the `tasks`, whoever goes away meanwhile."""

    def __init__(
        self,
        store: Store,
        library: Library,
        disk: DiskWatch,
        unfinished: Unfinished,
        acceptance: Acceptance,
        tasks: SideTasks,
    ) -> None:
        self._library = library
        self._disk = disk
        self._unfinished = unfinished
        self._acceptance = acceptance
        self._tasks = tasks
        self._inits = Inits(store, library, disk)
        self.checks: PictureChecks | None = None
        """What looks at what is uploaded, if anything does."""
        self.origins: Origins | None = None
        """What knows of which dreams uploaded pictures are, if anything does."""

    async def take(self, order: Order) -> list[Dream]:
        """Accept what is drawn from no picture.

        Raises:
            LimitError: the person, or everybody together, has too many waiting.
            DiskError, StoreError: nothing can be kept at present.
        """
        return await self._accept(self._write(order))

    async def take_named(
        self, order: Order, sha256s: Sequence[str], given: Sequence[bytes]
    ) -> list[Dream]:
        """Accept what is drawn from pictures that are kept already, or `given`.

        Raises:
            As `take` does; StartGoneError: one of them is nowhere.
        """
        return await self._accept(self._write_named(order, sha256s, given))

    async def take_uploads(
        self,
        order: Callable[[DrawnFrom], Order],
        request: DreamRequest,
        relation: Relation,
        *,
        at_wall: bool,
    ) -> list[Dream]:
        """Accept what is drawn from what was uploaded with a request; `order` is told what that is.

        `relation` is to the dream whose picture was uploaded, if it is one's here. Where it is of
        one that may not be seen there, what is drawn is kept to the channel; `at_wall`, where
        nothing is kept to a channel, it is refused.

        Raises:
            As `take` does; InvalidRequestError: a picture is not taken, or not there.
        """
        return await self._accept(self._write_uploads(order, request, relation, at_wall))

    async def check_brought(
        self,
        checked_as: PictureCheck | None,
        brought: Brought,
        pngs: Iterable[tuple[str, bytes]],
    ) -> None:
        """Look at what was brought, each picture by the name of its field.

        Raises:
            InvalidRequestError: one of them is refused.
        """
        if self.checks is None:
            return
        setting = checked_as or self.checks.setting_at(brought.guild_id, brought.channel_id)
        for field, png in pngs:
            await self.checks.check_upload(png, setting, brought, field)

    async def _accept(self, work: Coroutine[Any, Any, list[Dream]]) -> list[Dream]:
        # A caller who goes away in the middle must not leave dreams that nobody draws, nor
        # pictures that nobody names.
        return await self._tasks.finish(work)

    async def _write_uploads(
        self,
        order: Callable[[DrawnFrom], Order],
        request: DreamRequest,
        relation: Relation,
        at_wall: bool,
    ) -> list[Dream]:
        async with self._inits.uploaded(request) as drawn_from:
            made = order(drawn_from)
            await self._check_uploads(request, drawn_from, made.person)
            origins = await self._origins_of(request, drawn_from, made)
            for field, one in origins:
                if at_wall and one.hidden:
                    raise InvalidRequestError(field, _STAYS)
                if one.hidden or (one.dream and not one.dream.published):
                    made = replace(made, published=False)
            begun = origins[0][1].dream
            if made.parent_id is None and begun is not None:
                made = replace(made, parent_id=begun.id, relation=made.relation or relation)
            return await self._write(made)

    async def _check_uploads(
        self, request: DreamRequest, drawn_from: DrawnFrom, person: Person
    ) -> None:
        """Look at what was brought, as it was taken in: nobody looks at a stranger's own file."""
        if self.checks is None:
            return
        parts = {"init": drawn_from.init, "mask": drawn_from.mask, "sketch": drawn_from.sketch}
        found = [*parts.items(), *(("init", picture) for picture in drawn_from.pictures)]
        pngs = [(field, await self._library.read(one.sha256)) for field, one in found if one]
        brought = Brought(person, request.guild_id, request.channel_id)
        await self.check_brought(request.checked_as, brought, pngs)

    async def _origins_of(
        self, request: DreamRequest, drawn_from: DrawnFrom, order: Order
    ) -> Sequence[tuple[str, Origin]]:
        """Return of which dreams the uploads are, each by its field; first what is begun from."""
        uploads = [
            ("init", request.init, drawn_from.init),
            *(("init", *one) for one in zip(request.pictures, drawn_from.pictures, strict=True)),
            # Not what it is drawn from, but kept and shown with it all the same.
            ("mask", request.mask, drawn_from.mask),
            ("sketch", request.sketch, drawn_from.sketch),
        ]
        found = await asyncio.gather(*(self._origin(*one, order) for one in uploads))
        return [(field, one) for (field, *_), one in zip(uploads, found, strict=True)]

    async def _origin(
        self, field: str, upload: bytes | None, kept: Image | None, order: Order
    ) -> Origin:
        if self.origins is None or upload is None or kept is None:
            return Origin()
        by_pixels = field == "init"
        theme, channel_id = order.theme, order.channel_id
        return await self.origins.of(upload, kept, theme, channel_id, by_pixels=by_pixels)

    async def _write_named(
        self, order: Order, sha256s: Sequence[str], given: Sequence[bytes]
    ) -> list[Dream]:
        if not sha256s:
            return await self._write(order)
        async with self._inits.named(sha256s, given) as images:
            return await self._write(replace(order, images=images))

    async def _write(self, order: Order) -> list[Dream]:
        try:
            dreams = await self._acceptance.write(order)
        except TROUBLE as error:
            self._disk.report(error)
            raise
        self._unfinished.add(dreams, order.theme, order.note)
        return dreams
