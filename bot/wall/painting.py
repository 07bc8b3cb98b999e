"""Painting on a picture, and putting pictures together: the pages for it, and what is sent."""

from __future__ import annotations

import re
from typing import Any

from aiohttp import web

from bot.errors import InvalidRequestError
from bot.ids import is_id
from bot.model import Dream, Relation, Theme
from bot.outpainting import Side
from bot.rights import Actor
from bot.wall.asking import Asking
from bot.wall.forms import number_of, read_form, text_of, upload_of
from bot.wall.rendering import Renderer
from bot.wall.services import Services

OFFERED = 36
SIDES = {
    Side.ALL: "on all sides",
    Side.SIDES: "to the left and right",
    Side.LEFT: "to the left",
    Side.RIGHT: "to the right",
    Side.UP: "upwards",
    Side.DOWN: "downwards",
}
_PERCENT = 100


class Painting:
    """Answers for one dream. `asking` counts what is asked for, and leads to it."""

    def __init__(self, services: Services, renderer: Renderer, asking: Asking) -> None:
        self._services = services
        self._renderer = renderer
        self._asking = asking

    def routes(self) -> list[web.RouteDef]:
        """Return the routes and what answers them."""
        return [
            web.get("/d/{dream_id}/repaint", self.repaint),
            web.post("/d/{dream_id}/redraw", self.redraw),
            web.post("/d/{dream_id}/extend", self.extend),
            web.get("/d/{dream_id}/blend", self.choose),
            web.post("/d/{dream_id}/blend", self.blend),
        ]

    async def repaint(self, request: web.Request) -> web.StreamResponse:
        """Show a dream's picture to be painted on, or to be extended."""
        dream, theme = await self._able(request, Relation.INPAINT)
        return self._page(request, "repaint.html", dream, theme, sides=SIDES)

    async def choose(self, request: web.Request) -> web.StreamResponse:
        """Show the pictures that a dream's may be blended with."""
        dream, theme = await self._able(request, Relation.BLEND)
        recent = await self._services.dreams.recent(theme.id, limit=OFFERED + 1)
        others = [other for other in recent if other.id != dream.id][:OFFERED]
        return self._page(request, "blend.html", dream, theme, others=others)

    async def redraw(self, request: web.Request) -> web.StreamResponse:
        """Have the part that was painted over drawn anew."""
        form = await read_form(request)
        mask = upload_of(form, "mask")
        if mask is None:
            raise InvalidRequestError(
                "mask", "Paint over what is to be drawn anew, or upload a mask."
            )
        prompt, strength = text_of(form, "prompt") or None, number_of(form, "strength")

        async def made(dream: Dream, actor: Actor) -> list[Dream]:
            redraw = self._services.offspring.redraw
            return [await redraw(dream.id, actor, mask, prompt=prompt, strength=strength)]

        return await self._asking.child(request, made)

    async def extend(self, request: web.Request) -> web.StreamResponse:
        """Have more drawn around a picture."""
        form = await read_form(request)
        try:
            side = Side(text_of(form, "side") or Side.ALL)
        except ValueError:
            raise InvalidRequestError("side", "Choose on which side it is extended.") from None
        by = number_of(form, "by", "how much")
        share = 0.5 if by is None else by / _PERCENT
        prompt, strength = text_of(form, "prompt") or None, number_of(form, "strength")

        async def made(dream: Dream, actor: Actor) -> list[Dream]:
            extend = self._services.offspring.extend
            return [await extend(dream.id, actor, side, share, prompt=prompt, strength=strength)]

        return await self._asking.child(request, made)

    async def blend(self, request: web.Request) -> web.StreamResponse:
        """Have a picture drawn from a dream's and another's."""
        form = await read_form(request)
        other, _ = await self._services.visible_dream(
            _named(text_of(form, "link") or text_of(form, "with"))
        )
        weight = number_of(form, "weight")
        prompt, strength = text_of(form, "prompt") or None, number_of(form, "strength")

        async def made(dream: Dream, actor: Actor) -> list[Dream]:
            if other.theme_id != dream.theme_id:
                raise InvalidRequestError("with", "That picture is of another stream.")
            blended = await self._services.offspring.blend(
                dream.id,
                other.id,
                actor,
                weight=0.5 if weight is None else weight / _PERCENT,
                prompt=prompt,
                strength=strength,
            )
            return [blended]

        return await self._asking.child(request, made)

    async def _able(self, request: web.Request, relation: Relation) -> tuple[Dream, Theme]:
        dream, theme = await self._services.visible_dream(request.match_info["dream_id"])
        self._asking.check_may_ask()
        if relation not in self._services.offspring.can(dream):
            raise InvalidRequestError(
                "dream",
                "This dream has no picture yet. Try again when it is done."
                if dream.image is None
                else "Nothing here can do that with this picture.",
            )
        return dream, theme

    def _page(
        self, request: web.Request, template: str, dream: Dream, theme: Theme, **context: Any
    ) -> web.Response:
        return self._renderer.page(
            request, template, themes=[theme], theme=theme, dream=dream, **context
        )


def _named(text: str) -> str:
    """Return the id of the dream that a link, or an id, is of."""
    for word in reversed(re.split(r"[^0-9a-z]+", text[:500].lower())):
        if is_id(word):
            return word
    raise InvalidRequestError(
        "with", "Choose the other picture, or paste the link to its page on this wall."
    )
