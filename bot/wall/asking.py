"""What a visitor sends: asking for dreams, and changing or repeating one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractContextManager

from aiohttp import web

from bot.errors import DreamstreamError, ForbiddenError
from bot.journeys import format_of
from bot.model import Dream, DreamRequest, Person, Relation, Theme
from bot.rights import Actor
from bot.sizes import parse_size
from bot.wall.addresses import Addresses
from bot.wall.choices import choices_for
from bot.wall.errors import status_of
from bot.wall.forms import (
    Form,
    journey_of,
    number_of,
    read_form,
    text_of,
    upload_of,
    whole_number_of,
)
from bot.wall.guard import address_of
from bot.wall.guests import guest_of, rename
from bot.wall.here import actor_of, author_of
from bot.wall.pages import Pages
from bot.wall.party.door import person_at
from bot.wall.rendering import Renderer, is_htmx
from bot.wall.server_rules import ServerRules
from bot.wall.services import Services
from bot.wall.settings import WallSettings
from generation.protocol import OptionInfo, Setting

Make = Callable[[Dream, Actor], Awaitable[list[Dream]]]
OPTION = "option."
VARIATIONS = 4


class Asking:
    """Hands what was typed to the dreams service, which checks it."""

    def __init__(
        self,
        settings: WallSettings,
        services: Services,
        renderer: Renderer,
        pages: Pages,
        rules: ServerRules | None = None,
    ) -> None:
        self._rules = rules
        self._settings = settings
        self._services = services
        self._renderer = renderer
        self._pages = pages

        def unfinished(dream_id: str) -> bool:
            return services.dreams.live(dream_id) is not None

        self._addresses = Addresses(settings.dreams_per_address, unfinished)
        self._background = Addresses(settings.background_per_address, unfinished)

    def routes(self) -> list[web.RouteDef]:
        """Return the routes and what answers them."""
        return [
            web.post("/s/{slug}/dreams", self.ask),
            web.post("/d/{dream_id}/cancel", self.cancel),
            web.post("/d/{dream_id}/steer", self.steer),
            web.post("/d/{dream_id}/redo", self.redo),
            web.post("/d/{dream_id}/delete", self.delete),
            web.post("/d/{dream_id}/variations", self.variations),
            web.post("/d/{dream_id}/continue", self.carry_on),
            web.post("/d/{dream_id}/upscale", self.upscale),
            web.post("/d/{dream_id}/animate", self.animate),
        ]

    async def ask(self, request: web.Request) -> web.StreamResponse:
        """Ask for dreams. Without script, a mistake brings the page back as it was typed."""
        theme = await self._services.visible_theme(request.match_info["slug"])
        self.check_may_ask()
        form = await read_form(request)
        typed = {name: value for name, value in form.items() if isinstance(value, str)}
        rename(request, typed.get("name", ""))
        try:
            asked = await self._read(request, theme, form)
            if asked.background and not self._settings.batching:
                raise ForbiddenError("Batches cannot be asked for on this wall. Ask for a few.")
            with self.room_for(request, asked.count, background=asked.background) as took:
                dreams = await self._services.dreams.ask(asked)
                took(dream.id for dream in dreams)
        except DreamstreamError as error:
            if is_htmx(request):
                raise
            return await self._pages.stream_page(
                request, theme, typed, error=error, status=status_of(error)
            )
        if is_htmx(request):
            return self._asked(request, dreams)
        raise web.HTTPSeeOther(f"/s/{theme.slug}")

    async def cancel(self, request: web.Request) -> web.StreamResponse:
        """End an unfinished dream of one's own; at the machine itself, anybody's."""
        dream, _ = await self._services.visible_dream(request.match_info["dream_id"])
        actor = actor_of(request, self._settings, dream)
        await self._services.dreams.cancel(dream.id, actor)
        return self._done(request, f"/d/{dream.id}")

    async def steer(self, request: web.Request) -> web.StreamResponse:
        """Change what an unfinished dream is to become."""
        dream, theme = await self._services.visible_dream(request.match_info["dream_id"])
        self.check_may_ask()
        prompt = text_of(await read_form(request), "prompt")
        actor = Actor(author_of(request, dream))
        parties = self._services.parties
        party = None if parties is None else await parties.of_theme(theme.id)
        if parties is not None and party is not None:
            # The party knows the channel that its thread belongs to; the dream knows the thread.
            member = None if self._rules is None else await self._rules.member_of(dream)
            await parties.steer(party, member or actor, dream.id, prompt)
        else:
            check = None if self._rules is None else await self._rules.check_steer(dream)
            await self._services.dreams.steer(dream.id, actor, prompt, check=check)
        return self._done(request, f"/d/{dream.id}")

    async def delete(self, request: web.Request) -> web.StreamResponse:
        """Take a dream of one's own away for good; at the machine itself, anybody's.

        Who is signed in may, or moderates, also where they may ask for nothing.
        """
        dream, theme = await self._services.visible_dream(request.match_info["dream_id"])
        actor = actor_of(request, self._settings, dream)
        if guest_of(request).account is None and not actor.at_machine:
            self.check_may_ask()
        await self._services.dreams.delete(dream.id, actor)
        return self._redirect(request, f"/s/{theme.slug}")

    async def redo(self, request: web.Request) -> web.StreamResponse:
        """Ask for a dream again, with its seed or with another; `stay` leads back to the stream."""
        dream, theme = await self._services.visible_dream(request.match_info["dream_id"])
        self.check_may_ask()
        form = await read_form(request)
        same_seed = text_of(form, "same_seed") == "1"
        with self.room_for(request, 1) as took:
            person = await self.person(request, theme)
            again = await self._services.dreams.redo(dream.id, person, same_seed=same_seed)
            took([again.id])
        if text_of(form, "stay") == "1":
            if is_htmx(request):
                return self._asked(request, [again], instead_of=dream.id)
            raise web.HTTPSeeOther(f"/s/{theme.slug}")
        return self._redirect(request, f"/d/{again.id}")

    async def variations(self, request: web.Request) -> web.StreamResponse:
        """Draw a dream's picture in other ways; they form in its stream."""
        offspring = self._services.offspring
        _, theme = await self._made(
            request,
            VARIATIONS,
            lambda dream, actor: offspring.variations(dream.id, actor, count=VARIATIONS),
        )
        return self._redirect(request, f"/s/{theme.slug}")

    async def carry_on(self, request: web.Request) -> web.StreamResponse:
        """Let a dream go on from where it was."""
        offspring = self._services.offspring
        return await self.child(request, lambda dream, actor: offspring.carry_on([dream.id], actor))

    async def upscale(self, request: web.Request) -> web.StreamResponse:
        """Make a dream's picture larger."""

        async def made(dream: Dream, actor: Actor) -> list[Dream]:
            return [await self._services.offspring.upscale(dream.id, actor)]

        return await self.child(request, made)

    async def animate(self, request: web.Request) -> web.StreamResponse:
        """Draw a dream once more, with a film of it."""

        async def made(dream: Dream, actor: Actor) -> list[Dream]:
            return [await self._services.offspring.animate(dream.id, actor)]

        return await self.child(request, made)

    async def child(self, request: web.Request, make: Make) -> web.StreamResponse:
        """Have a child made of the dream that a request names, and lead to it."""
        (child,), _ = await self._made(request, 1, make)
        return self._redirect(request, f"/d/{child.id}")

    async def _made(
        self, request: web.Request, count: int, make: Make
    ) -> tuple[list[Dream], Theme]:
        dream, theme = await self._services.visible_dream(request.match_info["dream_id"])
        self.check_may_ask()
        with self.room_for(request, count) as took:
            children = await make(dream, Actor(await self.person(request, theme)))
            took(child.id for child in children)
        return children, theme

    def _redirect(self, request: web.Request, path: str) -> web.StreamResponse:
        if is_htmx(request):
            return web.Response(headers={"HX-Redirect": path})
        raise web.HTTPSeeOther(path)

    def _asked(
        self, request: web.Request, dreams: list[Dream], instead_of: str = ""
    ) -> web.StreamResponse:
        return self._renderer.fragment(
            "asked.html", dreams=dreams, guest=guest_of(request), instead_of=instead_of
        )

    def _done(self, request: web.Request, back_to: str) -> web.StreamResponse:
        # What changed comes to the page as an event.
        if is_htmx(request):
            return web.Response(status=204)
        raise web.HTTPSeeOther(back_to)

    def room_for(
        self, request: web.Request, count: int, *, background: bool = False
    ) -> AbstractContextManager[Callable[[Iterable[str]], None]]:
        """Keep room for dreams from a request's address, as `Addresses.room_for` does."""
        addresses = self._background if background else self._addresses
        # A count that is none, or too large, is refused by the dreams service in its own words.
        return addresses.room_for(max(1, count), address_of(request, self._settings))

    async def person(self, request: web.Request, theme: Theme) -> Person:
        """Return who asks in a theme: in a party's, as whom they are there."""
        return await person_at(request, self._services.parties, theme)

    def check_may_ask(self) -> None:
        """Refuse where visitors only watch; raises `ForbiddenError`."""
        if not self._settings.asking:
            raise ForbiddenError("This wall is for watching. Dreams are asked for on Discord.")

    async def _read(self, request: web.Request, theme: Theme, form: Form) -> DreamRequest:
        width, height = parse_size(text_of(form, "size"))
        parent_id = text_of(form, "parent") or None
        if parent_id is not None:
            await self._services.visible_dream(parent_id)
        # As the box shows them: a value left over from another engine's box is not sent on.
        typed = {"engine": text_of(form, "engine")}
        choices = choices_for(self._services.drawer.engines, theme, typed)
        batch = whole_number_of(form, "batch")
        init, sketch = upload_of(form, "init"), upload_of(form, "sketched")
        leads = choices.engine is not None and choices.engine.takes_sketch
        if init is None and not (leads and text_of(form, "sketch_as") == "lines"):
            init, sketch = sketch, None
        return DreamRequest(
            theme=theme.slug,
            person=await self.person(request, theme),
            # A prompt that was offered in place of the typed one (`far.html`) is the button's.
            prompt=text_of(form, "instead") or text_of(form, "prompt"),
            preset=text_of(form, "preset") or None,
            engine=text_of(form, "engine") or None,
            model=text_of(form, "model") or None,
            width=width,
            height=height,
            steps=whole_number_of(form, "steps"),
            seed=whole_number_of(form, "seed"),
            guidance=number_of(form, "guidance"),
            negative=text_of(form, "negative") or None,
            strength=number_of(form, "strength"),
            init=init,
            sketch=sketch if leads else None,
            mask=upload_of(form, "mask"),
            pictures=tuple(filter(None, [upload_of(form, "picture")])),
            settings=_settings(form, choices.options),
            journey=journey_of(form),
            film_format=format_of(text_of(form, "film_format")),
            count=(whole_number_of(form, "count") or 1) if batch is None else batch,
            background=batch is not None,
            parent_id=parent_id,
            relation=None if parent_id is None else Relation.REMIX,
        )


def _settings(form: Form, options: tuple[OptionInfo, ...]) -> dict[str, Setting]:
    """Return the engine's own options that were filled in, each of its default's type."""
    found: dict[str, Setting] = {}
    for option in options:
        field = OPTION + option.name
        text = text_of(form, field)
        if not text:
            continue
        if isinstance(option.default, bool):
            found[option.name] = text == "yes"
        elif isinstance(option.default, str):
            found[option.name] = text
        else:
            value = number_of(form, field, option.name.replace("_", " "))
            assert value is not None
            whole = isinstance(option.default, int) and value == int(value)
            found[option.name] = int(value) if whole else value
    return found
