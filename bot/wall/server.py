"""The wall's web server: joins the pages, the pictures and the events, and listens."""

from __future__ import annotations

import errno
import ipaddress
import socket
from contextlib import suppress

from aiohttp import web
from yarl import URL

from bot.checking.reviews import Reviews
from bot.craft import WordEyes
from bot.drawing import Drawer
from bot.errors import ConfigError
from bot.games.service import Games
from bot.monitoring.gauges import WallStanding
from bot.monitoring.health import Health, drawing
from bot.parties.service import Parties
from bot.portraits import Portraits
from bot.privacy.exporting import Exports
from bot.publish.service import Publishing
from bot.signed_links import SignedLinks
from bot.theme_pictures import ThemePictures
from bot.wall.asking import Asking
from bot.wall.attachments import Attachments
from bot.wall.buckets import bound_rate
from bot.wall.counting import count
from bot.wall.cursors import Cursors
from bot.wall.errors import tell_errors
from bot.wall.events import EventStreams
from bot.wall.everything import Everything
from bot.wall.exports import ExportRoutes
from bot.wall.files import Files
from bot.wall.forms import MOST_BYTES, PATIENCE
from bot.wall.games.serving import GamesWall
from bot.wall.guard import add_headers, check_origin
from bot.wall.guests import remember
from bot.wall.health import HealthRoutes
from bot.wall.http_server import BACKLOG, Runner
from bot.wall.liking import Liking
from bot.wall.marks import Marks
from bot.wall.pages import Pages
from bot.wall.painting import Painting
from bot.wall.party.serving import PartyWall
from bot.wall.pictures import Pictures
from bot.wall.places import bound_requests
from bot.wall.portraying import Portraying
from bot.wall.posted import ROOM, Room, bound_posted
from bot.wall.publishing import Bundles
from bot.wall.releasing import Releasing
from bot.wall.rendering import Renderer
from bot.wall.searching import Searching
from bot.wall.services import Dreams, Favourites, Feed, Library, Offspring, Search, Services, Themes
from bot.wall.settings import WallSettings
from bot.wall.showing import Showing
from bot.wall.sign_in import SigningIn, SignInRoutes, recognise
from bot.wall.signed import SignedRoutes, look_with
from bot.wall.studying import Studying
from bot.wall.syndication import Syndication
from bot.wall.theming import Theming
from bot.wall.together import Together
from bot.wall.turns import Turns, pass_turn_on, take_turns
from bot.wall.words_page import WordsPage
from bot.watching import Watching


class Wall:
    """Serves the wall from `start` to `stop`."""

    def __init__(
        self,
        settings: WallSettings,
        *,
        themes: Themes,
        dreams: Dreams,
        feed: Feed,
        library: Library,
        drawer: Drawer,
        offspring: Offspring,
        search: Search,
        seeing: WordEyes,
        parties: Parties | None = None,
        publishing: Publishing | None = None,
        watching: Watching | None = None,
        favourites: Favourites | None = None,
        portraits: Portraits | None = None,
        games: Games | None = None,
        exports: Exports | None = None,
        reviews: Reviews | None = None,
        theme_pictures: ThemePictures | None = None,
        health: Health | None = None,
        links: SignedLinks | None = None,
        signing_in: SigningIn | None = None,
    ) -> None:
        self._settings = settings
        services = Services(
            themes,
            dreams,
            feed,
            library,
            drawer,
            offspring,
            search,
            parties,
            publishing,
            favourites,
            portraits,
        )
        files = Files()
        # Of a key that stays, so that pages that are open go on being right after a restart.
        self.marks = Marks(None if links is None else links.derive("wall marks"))
        renderer = Renderer(
            settings,
            files,
            self.marks,
            Cursors(None if links is None else links.derive("wall cursors")),
            parties=parties is not None,
            portraits=portraits is not None,
            games=games is not None,
            signing=signing_in is not None,
        )
        self._events = EventStreams(settings, services, renderer)
        rules = None if signing_in is None else signing_in.rules
        self._pages = pages = Pages(settings, services, renderer, rules)
        self._turns = Turns()
        self._reviews = reviews
        self._party_wall: PartyWall | None = None
        health = health or Health({"drawing": drawing(drawer)})
        self.app = web.Application(
            middlewares=[
                count,
                remember(settings),
                tell_errors(renderer),
                *([bound_rate(settings)] if settings.requests_per_address else []),
                bound_requests(settings),
                take_turns(settings, self._turns),
                bound_posted(settings),
                check_origin(settings),
                *([] if signing_in is None else [recognise(settings, signing_in)]),
                *([] if links is None else [look_with(links)]),
            ],
        )
        self.app[PATIENCE] = settings.patience
        self.app[MOST_BYTES] = settings.max_upload_bytes
        self.app[ROOM] = Room(settings.posted_bytes, settings.posted_bytes_per_address)
        self.app.add_routes(pages.routes())
        self.app.add_routes(HealthRoutes(health).routes())
        asking = Asking(settings, services, renderer, pages, rules)
        self.app.add_routes(asking.routes())
        self.app.add_routes(Painting(services, renderer, asking).routes())
        if reviews is not None:
            self.app.add_routes(Releasing(settings, services, reviews).routes())
        if links is not None:
            self.app.add_routes(SignedRoutes(settings, services, links).routes())
        if signing_in is not None:
            self.app.add_routes(SignInRoutes(settings, renderer, signing_in).routes())
        if exports is not None:
            self.app.add_routes(ExportRoutes(exports).routes())
        if portraits is not None:
            portraying = Portraying(settings, services, renderer, portraits, asking)
            self.app.add_routes(portraying.routes())
        if games is not None:
            gaming = GamesWall(settings, services, renderer, games, self._events, rules)
            self.app.add_routes(gaming.routes())
        words = WordsPage(settings, services, renderer, seeing)
        self.app.add_routes(words.routes())
        self.app.on_shutdown.append(words.stop)
        self.app.add_routes(Studying(settings, services, renderer, asking, words).routes())
        searching = Searching(settings, services, renderer)
        self.app.add_routes(searching.routes())
        self.app.add_routes(Together(settings, services, renderer, seeing).routes())
        self.app.add_routes(Theming(settings, services, renderer, theme_pictures).routes())
        self.app.add_routes(Syndication(settings, services).routes())
        if watching is not None:
            everything = Everything(services, renderer, watching, pages=pages, events=self._events)
            self.app.add_routes(everything.routes())
            self.app.add_routes(Showing(services, renderer, watching, searching).routes())
        if favourites is not None:
            self.app.add_routes(Liking(settings, services, renderer, favourites).routes())
        self.app.add_routes(Pictures(settings, services).routes())
        self.app.add_routes(Attachments(services).routes())
        self.app.add_routes(Bundles(services).routes())
        if parties is not None:
            self._party_wall = PartyWall(
                settings,
                services,
                renderer,
                parties,
                pages=pages,
                asking=asking,
                events=self._events,
                marks=self.marks,
                games=games,
            )
            self.app.add_routes(self._party_wall.routes())
        self.app.router.add_get("/s/{slug}/events", self._events.handle, allow_head=False)
        self.app.router.add_get("/static/{name:.+}", files.handle)
        self.app.on_response_prepare.append(add_headers)
        self.app.on_response_prepare.append(pass_turn_on)
        self.app.on_shutdown.append(self._end_streams)
        self._runner: Runner | None = None

    @property
    def watchers(self) -> int:
        """How many pages are being kept up to date."""
        return self._events.open

    @property
    def standing(self) -> WallStanding:
        """How many pages are being kept up to date, and who else is there."""
        return WallStanding(
            self._events.open, self._events.addresses, self.connections, self._turns.waiting
        )

    @property
    def connections(self) -> int:
        """How many connections there are, those of watchers among them."""
        return self._runner.connections if self._runner is not None else 0

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Which host and port it really listens on; empty while it does not."""
        found = self._runner.addresses if self._runner is not None else []
        return [(address[0], address[1]) for address in found]

    async def start(self) -> URL:
        """Listen; return the address to be told to people.

        Raises:
            ConfigError: the wall is off, or its address cannot be had.
        """
        settings = self._settings
        if settings.mode == "off":
            raise ConfigError(["The wall is off (wall.mode). Set it to local or proxy."])
        runner = Runner(self.app, settings)
        await runner.setup()
        try:
            site = web.TCPSite(runner, settings.host, settings.port, backlog=BACKLOG)
            await site.start()
        except OSError as error:
            await runner.cleanup()
            raise ConfigError([_refusal(settings, error)]) from error
        self._runner = runner
        if self._reviews is not None:
            self._reviews.on_change(self._changed)
        url = URL.build(scheme="http", host=_spoken(settings.host), port=self.addresses[0][1])
        if settings.public_url:
            url = URL(settings.public_url)
        if not _is_loopback(url):
            self._pages.address = str(url).partition("://")[2].rstrip("/")
        return url

    async def stop(self) -> None:
        """Let the watchers go and close; does nothing if it has not been started."""
        runner, self._runner = self._runner, None
        if self._reviews is not None:
            self._reviews.no_more(self._changed)
        if runner is not None:
            await runner.cleanup()

    def _changed(self, dream_id: str) -> None:
        """Keep nothing of a dream that shows another picture now: no entry of the log tells."""
        self._events.forget(dream_id)
        if self._party_wall is not None:
            self._party_wall.forget()

    async def _end_streams(self, app: web.Application) -> None:
        self._events.close()


def _refusal(settings: WallSettings, error: OSError) -> str:
    where = f"port {settings.port} of {settings.host}"
    if error.errno == errno.EADDRINUSE:
        return (
            f"wall.port: {where} is taken by another program (perhaps another Dreamstream). "
            "Stop it, or set wall.port to another number (0 takes any that is free)."
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"wall.port: {where} may not be used. Set wall.port to a number above 1023."
    return (
        f"wall.host: {where} cannot be listened on ({error.strerror}). Set wall.host to "
        "127.0.0.1 for this machine only, or 0.0.0.0 for everybody in the room."
    )


def _spoken(host: str) -> str:
    """Return an address that another machine can use, where the wall listens on all of them."""
    if host not in ("0.0.0.0", "::", ""):  # noqa: S104 -- compared, not bound
        return host
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # Sends nothing: it only has the system choose the way out (RFC 5737's test network).
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])
    return "127.0.0.1"


def _is_loopback(url: URL) -> bool:
    try:
        return ipaddress.ip_address(url.host or "").is_loopback
    except ValueError:
        return url.host == "localhost"
