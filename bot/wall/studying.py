"""Studies at the wall: one subject with several words, side by side with labels."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import OrderedDict
from typing import Any

from aiohttp import web

from bot.delivery.sheets import TILE_PX, labelled_sheet
from bot.errors import DreamstreamError, InvalidRequestError, NotFoundError
from bot.model import Dream, DreamRequest, Theme
from bot.studies import is_study, label_of, split_words, study_of, subject_of
from bot.wall.asking import Asking
from bot.wall.errors import status_of
from bot.wall.forms import Form, read_form, text_of, whole_number_of
from bot.wall.guard import address_of
from bot.wall.guests import rename
from bot.wall.rates import Rates
from bot.wall.rendering import Renderer, is_htmx, unlisted
from bot.wall.services import Services
from bot.wall.settings import WallSettings
from bot.wall.words_page import WordsPage

SHEETS, WINDOW_S = 60, 60.0
SHEETS_KEPT = 8  # of some 100 kB each
_NO_STUDY = "This dream is not one of a study."
_NO_WORDS = "Tick some words, or type your own: with one, the picture is drawn with and without it."


class Studying:
    """Serves what is asked for on the page of words, and what came of it."""

    def __init__(
        self,
        settings: WallSettings,
        services: Services,
        renderer: Renderer,
        asking: Asking,
        words: WordsPage,
    ) -> None:
        self._settings = settings
        self._services = services
        self._renderer = renderer
        self._asking = asking
        self._words = words
        self._making = asyncio.Semaphore(2)
        self._sheets: OrderedDict[str, bytes] = OrderedDict()
        self._rates = Rates(
            SHEETS, WINDOW_S, "Many studies were put together for you. Wait for a moment."
        )

    def routes(self) -> list[web.RouteDef]:
        """Return the routes and what answers them."""
        return [
            web.post("/s/{slug}/study", self.ask),
            web.get("/d/{dream_id}/study", self.study),
            web.get("/d/{dream_id}/study.webp", self.sheet),
        ]

    async def ask(self, request: web.Request) -> web.StreamResponse:
        """Have the subject drawn with each of the words; with a single one also without it."""
        theme = await self._services.visible_theme(request.match_info["slug"])
        self._asking.check_may_ask()
        form = await read_form(request)
        rename(request, text_of(form, "name"))
        ticked, own = _ticked(form), text_of(form, "own")
        try:
            study = study_of([*ticked, *split_words(own)])
            if not study:
                raise InvalidRequestError("words", _NO_WORDS)
            asked = DreamRequest(
                theme=theme.slug,
                person=await self._asking.person(request, theme),
                prompt=text_of(form, "prompt"),
                seed=whole_number_of(form, "seed"),
                study=study,
            )
            with self._asking.room_for(request, len(study)) as took:
                dreams = await self._services.dreams.ask(asked)
                took(dream.id for dream in dreams)
        except DreamstreamError as error:
            return self._words.page(
                request,
                theme,
                prompt=text_of(form, "prompt"),
                ticked=ticked,
                own=own,
                error=error,
                status=status_of(error),
            )
        raise web.HTTPSeeOther(f"/d/{dreams[0].id}/study")

    async def study(self, request: web.Request) -> web.StreamResponse:
        """Show a study as it is now; asked again while it forms."""
        dreams, theme = await self._found(request)
        context: dict[str, Any] = {
            "first": dreams[0],
            "theme": theme,
            "subject": subject_of(dreams[0]),
            "cards": [
                self._renderer.standing(one, self._services.dreams.live(one.id)) for one in dreams
            ],
            "label": label_of,
            "over": all(dream.state.final for dream in dreams),
        }
        if is_htmx(request):
            return self._renderer.fragment("study_grid.html", **context)
        return self._renderer.page(request, "study.html", themes=[theme], **context)

    async def sheet(self, request: web.Request) -> web.StreamResponse:
        """Send a study's pictures as one, with the labels in it; 304 where the visitor has it."""
        dreams, theme = await self._found(request)
        if not any(dream.image for dream in dreams):
            raise NotFoundError("None of its pictures is finished yet.")
        tag = _tag_of(dreams)
        headers = {
            "Cache-Control": "private, no-cache",
            "Content-Disposition": f'inline; filename="study-{dreams[0].id}.webp"',
            "ETag": f'"{tag}"',
            **unlisted(theme),
        }
        if any(kept.value in (tag, "*") for kept in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        if tag not in self._sheets:
            self._rates.take(address_of(request, self._settings))
        data = await self._made(tag, dreams)
        return web.Response(body=data, content_type="image/webp", headers=headers)

    async def _made(self, tag: str, dreams: list[Dream]) -> bytes:
        """Return the sheet that goes by a tag; the last few are held."""
        async with self._making:
            if tag in self._sheets:
                self._sheets.move_to_end(tag)
                return self._sheets[tag]
            library = self._services.library
            paths = [
                None if dream.image is None else await library.make_thumbnail(dream.image.sha256)
                for dream in dreams
            ]

            def make() -> bytes:
                pictures = [None if path is None else path.read_bytes() for path in paths]
                return labelled_sheet(pictures, [label_of(one) for one in dreams], TILE_PX)

            data = self._sheets[tag] = await asyncio.to_thread(make)
            while len(self._sheets) > SHEETS_KEPT:
                self._sheets.popitem(last=False)
            return data

    async def _found(self, request: web.Request) -> tuple[list[Dream], Theme]:
        """Return the dreams of a study that may be seen, by any of them.

        Raises:
            NotFoundError: it is of none.
        """
        dream, theme = await self._services.visible_dream(request.match_info["dream_id"])
        dreams = [
            one
            for one in await self._services.dreams.together(dream.ask_id)
            if one.published and one.deleted_ms is None
        ]
        if not is_study(dreams):
            raise NotFoundError(_NO_STUDY)
        return dreams, theme


def _tag_of(dreams: list[Dream]) -> str:
    """Name all that a study's sheet shows: it changes where a picture comes, or is deleted."""
    shown = [[label_of(one), one.image.sha256 if one.image else ""] for one in dreams]
    return hashlib.sha256(json.dumps(shown).encode()).hexdigest()


def _ticked(form: Form) -> list[str]:
    return [one for one in form.getall("with", []) if isinstance(one, str)]
