"""Templates into answers: whole pages, and the fragments that replace parts of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web
from jinja2 import Environment
from markupsafe import Markup

from bot import templating
from bot.model import Dream, EventKind, Live, Theme, Visibility
from bot.thumbnails import THUMBNAIL_SIDE
from bot.wall import words
from bot.wall.cursors import Cursors
from bot.wall.files import Files
from bot.wall.guard import nonce_of
from bot.wall.guests import NOBODY, guest_of
from bot.wall.marks import Marks
from bot.wall.passes import missing_in
from bot.wall.settings import WallSettings
from bot.words import duration

TEMPLATES = Path(__file__).parent / "templates"
LARGE_THUMBNAIL_SIDE = 768  # one of `bot.thumbnails.THUMBNAIL_SIDES`
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
_DEFAULT_COLOUR = "#7c6cff"


class Renderer:
    """Holds the templates, and what all of them know, such as whether there are `parties` here."""

    def __init__(
        self,
        settings: WallSettings,
        files: Files,
        marks: Marks,
        cursors: Cursors | None = None,
        *,
        parties: bool = False,
        portraits: bool = False,
        games: bool = False,
        signing: bool = False,
    ) -> None:
        self._settings = settings
        self._portraits = portraits
        self._refusals = dict[tuple[str, bool], bytes]()
        self.cursors = cursors or Cursors()
        # Compiling one takes tens of milliseconds: here, not while the event loop serves.
        self._environment = environment(marks, self.cursors)
        self._environment.globals.update(
            settings=settings,
            # Of no stream is it known yet, where a party is begun, whether somebody may ask in it.
            partying=parties and settings.guests_ask,
            # Where only members may ask, they play on Discord: nobody else could play here.
            playing=games and settings.guests_ask,
            gaming=games,
            signing=signing,
            static=files.url,
            picture=picture_url,
            thumbnail=thumbnail_url,
            thumbnails=thumbnail_widths,
            behind=behind_url,
            cover=cover_url,
        )

    def page(
        self,
        request: web.Request,
        template: str,
        *,
        status: int = 200,
        themes: Iterable[Theme] = (),
        **context: Any,
    ) -> web.Response:
        """Return a whole page; `themes` are those whose colour it shows, the first one its own."""
        themes = list(themes)
        text = self._environment.get_template(template).render(
            context, **self._around(request, themes)
        )
        headers = unlisted(*themes)
        return web.Response(text=text, status=status, content_type="text/html", headers=headers)

    def refusal(self, sentence: str, *, part: bool = False) -> bytes:
        """Return a page, or a `part` of one, that says no more than a sentence, in UTF-8.

        It is the same for everybody, and rendered once: whoever asks too often is to cost nothing.
        Sentences are to be few, and none that was typed.
        """
        known = self._refusals.get((sentence, part))
        if known is None:
            template = self._environment.get_template("notice.html" if part else "error.html")
            text = template.render(self._around(None), sentence=sentence, field="", signing=False)
            known = self._refusals[sentence, part] = text.encode()
        return known

    def fragment(self, template: str, *, status: int = 200, **context: Any) -> web.Response:
        """Return a part of a page, for htmx to put in its place."""
        text = self._environment.get_template(template).render(context, **self._offers())
        return web.Response(text=text, status=status, content_type="text/html")

    def part(self, template: str, **context: Any) -> Markup:
        """Return a part of a page as other templates take it: what it is made of is escaped."""
        text = self._environment.get_template(template).render(context, **self._offers())
        return Markup(text)  # noqa: S704

    def _around(self, request: web.Request | None, themes: Sequence[Theme] = ()) -> dict[str, Any]:
        """Return what every whole page knows, one that is the same for everybody as well.

        That one answers no `request`. All names of layout.html that the templates do not have by
        themselves are here, so that none can be missing in the one and not in the other.
        """
        return {
            **self._offers(),
            "nonce": "" if request is None else nonce_of(request),
            "guest": NOBODY if request is None else guest_of(request),
            "themes": themes,
            "coming_back": "/" if request is None else _coming_back(request),
            "missing": None if request is None else missing_in(request),
        }

    def _offers(self) -> dict[str, bool]:
        """Return what whoever looks may begin: who they are is known by now, and was not before."""
        return {"portraying": self._portraits and self._settings.asking}

    def event(self, kind: EventKind, dream: Dream, live: Live | None) -> str:
        """Return what an entry of the log changes on a page, the same for everybody."""
        return self._environment.get_template("event.html").render(
            kind=kind.value, said=words.said(kind, dream), **self.standing(dream, live)
        )

    def card(self, dream: Dream, live: Live | None) -> str:
        """Return the card of an unfinished dream."""
        return self._environment.get_template("card.html").render(self.standing(dream, live))

    def hidden(self, count: int) -> str:
        """Return what says on a page how many dreams wait that have no card there."""
        return self._environment.get_template("hidden.html").render(hidden=count)

    def live(self, live: Live, with_preview: bool) -> str:
        """Return what a dream's standing changes on a page."""
        return self._environment.get_template("live.html").render(
            live=live,
            words=words.standing_live(live),
            phase=words.phase(live),
            with_preview=with_preview and live.preview_version > 0,
        )

    def standing(self, dream: Dream, live: Live | None) -> dict[str, Any]:
        """Return what the card of a dream is drawn from."""
        return {
            "dream": dream,
            "live": live,
            "words": words.standing(dream, live),
            "phase": words.phase(live),
        }


def environment(marks: Marks | None = None, cursors: Cursors | None = None) -> Environment:
    """Return the wall's templates, compiled; what is the wall's alone is not known to them yet."""
    marks = marks or Marks()
    return templating.environment(
        TEMPLATES,
        {
            "mark": marks.of,
            "cursor": (cursors or Cursors()).of,
            "colour": colour_of,
            "duration": duration,
            "form": words.form,
            "moment": words.moment,
            "clock": words.clock,
            "iso": words.iso,
            "ago": words.ago,
        },
    )


def _coming_back(request: web.Request) -> str:
    """Return where somebody comes back to who signs in on a page: not to what Discord said."""
    back = request.method == "GET" and not request.path.startswith("/sign-")
    return request.path_qs if back else "/"


def unlisted(*themes: Theme) -> dict[str, str]:
    """Return the headers of what shows something of `themes`, which the wall may not list.

    Who has the address sees it; a search engine that has it would list it.
    """
    public = all(theme.visibility is Visibility.PUBLIC for theme in themes)
    return {} if public else {"X-Robots-Tag": "noindex"}


def is_htmx(request: web.Request) -> bool:
    """Say whether htmx asks, which wants a fragment."""
    return request.headers.get("HX-Request") == "true"


def picture_url(dream: Dream) -> str:
    """Say where a finished dream's picture is served."""
    assert dream.image is not None
    return f"/i/{dream.image.sha256}.png?d={dream.id}"


def behind_url(dream: Dream) -> str:
    """Say where the picture behind a dream's cover is served, to who may see it."""
    assert dream.behind is not None
    return f"/i/{dream.behind.sha256}.png?d={dream.id}"


def thumbnail_url(dream: Dream) -> str:
    """Say where a finished dream's small picture is served."""
    assert dream.image is not None
    return f"/t/{dream.image.sha256}.webp?d={dream.id}"


def thumbnail_widths(dream: Dream) -> str:
    """Say for `srcset` where a finished dream's small pictures are, with their widths in pixels.

    Empty where the larger one would show no more than the smaller.
    """
    assert dream.image is not None
    longest, url = max(dream.image.width, dream.image.height), thumbnail_url(dream)
    if longest <= THUMBNAIL_SIDE:
        return ""
    small, large = (
        max(1, round(dream.image.width * min(1.0, side / longest)))
        for side in (THUMBNAIL_SIDE, LARGE_THUMBNAIL_SIDE)
    )
    return f"{url} {small}w, {url}&side={LARGE_THUMBNAIL_SIDE} {large}w"


def cover_url(theme: Theme) -> str:
    """Say where the picture that stands for a theme is served."""
    return f"/s/{theme.slug}/picture.webp?v={(theme.picture_sha256 or '')[:12]}"


def colour_of(theme: Theme) -> str:
    """Return a theme's colour, if it is one: it is written into a style sheet."""
    return theme.colour if _COLOUR.fullmatch(theme.colour) else _DEFAULT_COLOUR
