"""Words to be put after a prompt, by kind with their pictures; and words near to what is typed.

The page is one form: words are ticked, and go into the prompt box of a stream, or are tried. It
needs no script; with one, the words are filtered as one types.
"""

from __future__ import annotations

import asyncio
import logging

from aiohttp import web

from bot.craft import WordEyes, associations
from bot.errors import DreamstreamError, NotFoundError
from bot.model import Theme, Visibility
from bot.modifiers import PLAIN, SUBJECT, Kind, kinds
from bot.prompts import wanted
from bot.side_tasks import SideTasks
from bot.text import clean
from bot.themes import DEFAULT_SLUG
from bot.wall.guard import address_of
from bot.wall.rates import Rates
from bot.wall.rendering import Renderer
from bot.wall.services import Services
from bot.wall.settings import WallSettings

log = logging.getLogger(__name__)

NEAR = 8
NEAR_S = 2.0
"""How long near words may take. They are a help while typing: late ones help nobody."""
QUIET_S = 30.0
LOOKS = 60
WINDOW_S = 60.0
MAX_FILTER = 60
MAX_TYPED = 1000
_NEAR_TEXT = 120  # of what is typed, the end: that is where somebody looks for words


class WordsPage:
    """Serves ``/words``, a stream's ``words``, and ``/near``."""

    def __init__(
        self, settings: WallSettings, services: Services, renderer: Renderer, eyes: WordEyes
    ) -> None:
        self._settings = settings
        self._services = services
        self._renderer = renderer
        self._eyes = eyes
        self._looks = Rates(LOOKS, WINDOW_S, "Many words were looked up from where you are.")
        self._tasks = SideTasks()
        self._preparing = False

    def routes(self) -> list[web.RouteDef]:
        """Return the routes and what answers them."""
        return [
            web.get("/words", self.usual),
            web.get("/s/{slug}/words", self.words),
            web.get("/near", self.near),
        ]

    async def usual(self, request: web.Request) -> web.StreamResponse:
        """Lead to the words at the usual stream, or at the first that is public."""
        themes = [
            theme
            for theme in await self._services.themes.list()
            if theme.visibility is Visibility.PUBLIC
        ]
        if not themes:
            raise NotFoundError("There is no public stream here yet.")
        theme = next((one for one in themes if one.slug == DEFAULT_SLUG), themes[0])
        raise web.HTTPFound(request.rel_url.with_path(f"/s/{theme.slug}/words", keep_query=True))

    async def words(self, request: web.Request) -> web.StreamResponse:
        """Show all words, or those that ``?q=`` finds; with what is typed and ticked already."""
        theme = await self._services.visible_theme(request.match_info["slug"])
        return self.page(
            request,
            theme,
            prompt=request.query.get("prompt", ""),
            ticked=request.query.getall("with", []),
            own=request.query.get("own", ""),
            typed=request.query.get("q", ""),
        )

    def page(
        self,
        request: web.Request,
        theme: Theme,
        *,
        prompt: str = "",
        ticked: list[str],
        own: str = "",
        typed: str = "",
        error: DreamstreamError | None = None,
        status: int = 200,
    ) -> web.Response:
        """Return the page, as a person has filled it in, with what was wrong with it."""
        typed = clean(typed[:MAX_FILTER])
        return self._renderer.page(
            request,
            "words.html",
            status=status,
            themes=[theme],
            theme=theme,
            kinds=[_found(kind, typed, ticked) for kind in kinds()],
            prompt=clean(prompt[:MAX_TYPED]),
            ticked=set(ticked),
            own=clean(own[:MAX_TYPED]),
            typed=typed,
            subject=SUBJECT,
            plain=PLAIN,
            error=error,
        )

    async def near(self, request: web.Request) -> web.StreamResponse:
        """Return words near to ``?prompt=``; nothing where nothing can look, not soon or too often.

        With ``?stuck=`` they are offered to somebody who has not begun. Looking costs time, so it
        is for those who may also ask. A model that has not seen the words before is shown them
        when nothing is drawn: nobody's first picture is to wait for that.
        """
        text = request.query.get("prompt", "")[:MAX_TYPED]
        parts = [words for words, _ in wanted(text)]
        words: list[str] = []
        if self._settings.asking and parts:
            try:
                self._looks.take(address_of(request, self._settings))
                async with asyncio.timeout(NEAR_S):
                    if await self._eyes.knows_words(self._eyes.perceptor()):
                        words = await associations(
                            self._eyes, parts[-1][-_NEAR_TEXT:], NEAR, besides=parts
                        )
                    elif not self._preparing:
                        self._preparing = True
                        self._tasks.spawn(self._prepare())
            except (DreamstreamError, TimeoutError):
                words = []
        stuck = "stuck" in request.query
        return self._renderer.fragment("near.html", words=words, stuck=stuck)

    async def stop(self, _app: web.Application) -> None:
        """End what is under way."""
        await self._tasks.stop()

    async def _prepare(self) -> None:
        """Have the words looked up, once nothing has been drawn for a while."""
        try:
            await asyncio.sleep(QUIET_S)
            while await self._services.dreams.unfinished(None):  # noqa: ASYNC110 -- for a while
                await asyncio.sleep(QUIET_S)
            await self._eyes.word_vectors(self._eyes.perceptor())
        except DreamstreamError as error:
            log.info("The words could not be looked up: %s", error)
        finally:
            self._preparing = False


def _found(kind: Kind, typed: str, ticked: list[str]) -> tuple[Kind, set[str]]:
    """Return a kind with the words of it that are shown: those found, and those ticked."""
    looked_for = typed.casefold()
    return kind, {
        one.words
        for one in kind.modifiers
        if looked_for in f"{kind.title}\n{one.words}\n{one.about}".casefold() or one.words in ticked
    }
