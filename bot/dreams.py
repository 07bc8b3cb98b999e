"""Asking for dreams and changing their course: the one door both fronts use.

What is asked is checked (`bot.requests`), accepted in one transaction together with the stream's
events, and from then on in the care of `bot.unfinished`, whatever dies. This module knows neither
Discord nor the wall, and not how anything is drawn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from bot import requests
from bot.acceptance import Acceptance, Also, Guard, Order
from bot.bounds import bounded, check_count
from bot.checking.service import Brought, PictureChecks
from bot.checkpoints import CHECKPOINTS, Checkpoints
from bot.disk import FIRST_DELAY_S, TROUBLE, DiskWatch
from bot.drawing import Drawer
from bot.dream_reader import DreamReader
from bot.errors import GoneError, InvalidRequestError, SchedulerError
from bot.feed import Feed
from bot.inits import DrawnFrom, Inits, StartGoneError
from bot.journeys import reseeded
from bot.library import Library
from bot.limits import Limits
from bot.model import Dream, DreamRequest, Person, PictureCheck, Relation, Theme
from bot.monitoring.metrics import counts_refusals
from bot.options import side_by_side
from bot.origins import Origins
from bot.prompts import expand
from bot.removal import Removal
from bot.reports import Reports
from bot.rights import Actor, check_may_change, check_may_see
from bot.side_tasks import SideTasks
from bot.standing import Placer, Standing
from bot.store import Store
from bot.themes import Themes
from bot.unfinished import RETRY_DELAYS_S, Unfinished
from generation.protocol import EngineInfo, Recipe, ToBot, Welcome

Recipes = Callable[[Dream, Theme, Sequence[EngineInfo]], list[Recipe]]
"""What is to become of a dream, in its theme, with the engines that there are."""
Hold = Callable[[requests.Plan, DreamRequest], Awaitable[requests.Plan]]
"""Says what is drawn for a request, where its theme holds a subject; it may refuse it."""

SteeringGuard = Callable[[Dream, Actor], Awaitable[None]]
"""Judges who wants to steer a dream; it may raise what refuses them."""

FIRST_UP_S = 20.0
STOP_S = 5.0


class Dreams(DreamReader):
    """The dreams there are. Is a `DrawingListener`: hand it to the drawer."""

    def __init__(
        self,
        store: Store,
        library: Library,
        feed: Feed,
        themes: Themes,
        drawer: Drawer,
        limits: Limits | None = None,
        *,
        first_up_s: float = FIRST_UP_S,
        disk_delay_s: float = FIRST_DELAY_S,
        retry_delays_s: tuple[float, ...] = RETRY_DELAYS_S,
        checkpoints: Checkpoints | None = None,
    ) -> None:
        self._library = library
        self._themes = themes
        self._drawer = drawer
        self._limits = limits or Limits()
        self._first_up_s = first_up_s
        self._disk = DiskWatch(library.probe, disk_delay_s)
        checkpoints = checkpoints or Checkpoints(library.root / CHECKPOINTS)
        super().__init__(
            store,
            Unfinished(store, library, feed, drawer, self._disk, checkpoints, retry_delays_s),
        )
        self._reports = Reports(self._unfinished)
        self._acceptance = Acceptance(store, self._limits)
        self._inits = Inits(store, library, self._disk)
        self._removal = Removal(store, library)
        self._tasks = SideTasks()
        self._origins: Origins | None = None
        self._checks: PictureChecks | None = None
        self._steering_guards: list[SteeringGuard] = []
        self._hold: Hold | None = None
        self._placer: Placer | None = None
        self._known = asyncio.Event()  # the drawer has been up: the engines are known
        themes.on_change(self._themes_changed)

    async def start(self) -> None:
        """Take up what an earlier process left unfinished. Call it before the drawer starts."""
        await self._library.sweep()
        await self._removal.start()
        await self._acceptance.start()
        await self._unfinished.start(await self._themes.list())

    def hold_subjects(self, hold: Hold) -> None:
        """Have what is asked for in words held to its theme's subject from now on."""
        self._hold = hold

    def check_pictures(self, checks: PictureChecks) -> None:
        """Have pictures checked from now on: what is uploaded, and what is drawn."""
        self._checks = checks
        self._unfinished.check_pictures(checks)

    @property
    def checks(self) -> PictureChecks | None:
        """What looks at pictures, if anything does."""
        return self._checks

    def trace_uploads(self, origins: Origins) -> None:
        """Record from now on of which dreams the pictures are that others start from."""
        self._origins = origins

    async def stop(self) -> None:
        """Write down what has ended; the rest is taken up at the next start."""
        await self._tasks.wait(STOP_S)
        await self._tasks.stop()
        await self._removal.stop()
        await self._unfinished.stop()
        await self._disk.stop()

    @property
    def refusing(self) -> str | None:
        """Why no new dreams are taken at present, as a sentence; or None."""
        return self._drawer.paused or self._disk.trouble or self._library.refusing

    @property
    def engines(self) -> tuple[EngineInfo, ...]:
        """What can be drawn with; empty before it is first known."""
        return self._drawer.engines

    def guard(self, guard: Guard) -> None:
        """Have every ask from now on pass a guard, in the transaction that accepts it."""
        self._acceptance.guard(guard)

    def place(self, placer: Placer) -> None:
        """Have it chosen from now on where each ask counts that is made in no place."""
        self._placer = placer

    def guard_steering(self, guard: SteeringGuard) -> None:
        """Have every steer from now on pass a guard, too."""
        self._steering_guards.append(guard)

    # --- asking ------------------------------------------------------------------------------

    @counts_refusals
    async def ask(self, request: DreamRequest, also: Also | None = None) -> list[Dream]:
        """Accept what a person asks for. Once this returns, it survives every crash.

        `also` is called within the transaction that accepts it, to write what belongs to it.

        Raises:
            InvalidRequestError: a value is wrong, or the words are far from the theme's subject
                (`bot.subject`).
            NotFoundError: there is no such theme.
            LimitError: the person, or everybody together, has too many waiting.
            SchedulerError: nothing can be drawn at present.
            DiskError, StoreError: nothing can be kept at present.
        """
        engines = await self._engines()
        theme = await self._themes.get(request.theme)
        plan = requests.check(request, theme, engines, self._limits)
        if request.parent_id is not None:
            parent = await self.existing(request.parent_id)
            parents_theme = await self._themes.by_id(parent.theme_id)
            check_may_see(parent, parents_theme, theme, request.channel_id)
        if self._hold is not None:
            plan = await self._hold(plan, request)
        if request.guild_id is None and request.channel_id is None:
            standing = await self.standing_of(
                theme, plan.person, plan.prompt, plan.count, background=request.background
            )
            if standing is not None:
                also = standing.judging(also)
                request = msgspec.structs.replace(
                    request,
                    guild_id=standing.asker.guild_id,
                    channel_id=standing.asker.channel_id,
                    moderates=standing.asker.moderates,
                    checked_as=standing.checked_as,
                )

        def order(drawn_from: DrawnFrom) -> Order:
            return Order(
                plan.prompt,
                theme,
                plan.person,
                [plan.recipe(index, drawn_from) for index in range(plan.count)],
                drawn_from.images,
                background=request.background,
                guild_id=request.guild_id,
                channel_id=request.channel_id,
                parent_id=request.parent_id,
                relation=request.relation,
                note=plan.note,
                prompts=[plan.prompt_of(index) for index in range(plan.count)],
                study=plan.study,
                moderates=request.moderates,
                also=also,
            )

        if not requests.uploads(request):
            return await self._accept(self._write(order(DrawnFrom())))
        await self._acceptance.check(plan.person, plan.count, background=request.background)
        relation = Relation.VARIATION
        if plan.engine.scale is not None:
            relation = Relation.UPSCALE
        elif request.mask is not None:
            relation = Relation.INPAINT
        return await self._accept(self._write_uploads(order, request, relation))

    @counts_refusals
    async def redo(
        self, dream_id: str, person: Person, *, same_seed: bool, also: Also | None = None
    ) -> Dream:
        """Draw a dream again: the same picture, or with another seed as if asked for today.

        Raises:
            As `ask` does; NotFoundError: there is no such dream.
        """
        engines = await self._engines()
        dream = await self.existing(dream_id)
        theme = await self._themes.by_id(dream.theme_id)
        recipe = requests.check_recipe(dream.recipe, theme, engines, self._limits)
        if not same_seed:
            recipe = reseeded(recipe, dream.prompt, theme, requests.check_seed(None))
        order = Order(
            dream.prompt,
            theme,
            requests.check_person(person),
            [recipe],
            parent_id=dream.id,
            relation=Relation.REROLL,
            also=also,
        )
        order, _ = await self._placed(order)
        (again,) = await self._accept(self._write_named(order, recipe.named_pictures, ()))
        return again

    @counts_refusals
    async def derive(
        self,
        dream_ids: Sequence[str],
        recipes: Recipes,
        actor: Actor,
        relation: Relation,
        *,
        prompt: str | None = None,
        given: Sequence[bytes] = (),
        mask: bytes | None = None,
        published: bool = True,
        channel_id: int | None = None,
        also: Also | None = None,
    ) -> list[Dream]:
        """Accept children of dreams of one stream, in one ask; `recipes` says what each becomes.

        Every child has its parent's prompt, or the one that is said here; `recipes` is handed the
        parent with it. Pictures that its recipe names are kept already, or `given` as they are to
        be kept; so is a `mask`, which somebody has painted and others will see. A child is
        `published` only where its parent is, too.

        Raises:
            As `ask` does; NotFoundError: one of the dreams, or a picture of it, is not here.
        """
        engines = await self._engines()
        parents = [await self.existing(dream_id) for dream_id in dict.fromkeys(dream_ids)]
        if not parents:
            raise InvalidRequestError("dream", "Say which dream.")
        if len({parent.theme_id for parent in parents}) > 1:
            raise InvalidRequestError(
                "dream", "These dreams are of several streams. Choose those of one."
            )
        theme = await self._themes.by_id(parents[0].theme_id)
        engines = tuple(bounded(engine, theme) for engine in engines)
        if prompt is not None:
            prompt = requests.check_prompt(prompt, self._limits)
            parents = [msgspec.structs.replace(parent, prompt=prompt) for parent in parents]
        if not published:
            parents = [msgspec.structs.replace(parent, published=False) for parent in parents]
        children = [
            (parent, requests.check_recipe(recipe, theme, engines, self._limits))
            for parent in parents
            for recipe in recipes(parent, theme, engines)
        ]
        check_count(theme, len(children))
        order = Order(
            parents[0].prompt,
            theme,
            requests.check_person(actor.person),
            [recipe for _, recipe in children],
            guild_id=actor.guild_id,
            channel_id=channel_id,
            parents=[parent for parent, _ in children],
            relation=relation,
            moderates=actor.moderates or actor.at_machine,
            also=also,
        )
        order, standing = await self._placed(order)
        named = dict.fromkeys(name for _, recipe in children for name in recipe.named_pictures)
        if not named:
            return await self._accept(self._write(order))
        await self._acceptance.check(order.person, len(children))
        if mask is not None:
            brought = Brought(order.person, order.guild_id, order.channel_id)
            checked_as = (parents[0] if standing is None else standing).checked_as
            await self._check_brought(checked_as, brought, [("mask", mask)])
            given = (*given, mask)
        return await self._accept(self._write_named(order, tuple(named), given))

    @counts_refusals
    async def draw_recipe(
        self, slug: str, person: Person, recipe: Recipe, pictures: Sequence[bytes] = ()
    ) -> Dream:
        """Draw what a recipe says, such as one read from a picture's file.

        `pictures` are those it is drawn from, as far as the library has not got them.

        Raises:
            As `ask` does.
        """
        engines = await self._engines()
        theme = await self._themes.get(slug)
        recipe = requests.check_recipe(recipe, theme, engines, self._limits)
        order = Order(recipe.prompt, theme, requests.check_person(person), [recipe])
        order, _ = await self._placed(order)
        if not recipe.named_pictures:
            (dream,) = await self._accept(self._write(order))
            return dream
        await self._acceptance.check(order.person, 1)
        try:
            (dream,) = await self._accept(self._write_named(order, recipe.named_pictures, pictures))
        except StartGoneError:
            raise InvalidRequestError(
                "init",
                "This recipe is drawn from a picture that is not here. Give that same picture "
                "along with it.",
            ) from None
        return dream

    async def standing_of(
        self,
        theme: Theme,
        person: Person,
        prompt: str = "",
        count: int = 1,
        *,
        background: bool = False,
    ) -> Standing | None:
        """Return the place in which something counts that is asked for in none; None where in none.

        Raises:
            ForbiddenError, LimitError, InvalidRequestError: it may not be asked for there.
        """
        if self._placer is None:
            return None
        return await self._placer(theme, person, prompt=prompt, count=count, background=background)

    async def _placed(self, order: Order) -> tuple[Order, Standing | None]:
        """Return an order in the place that was chosen for it, if it was made in none."""
        if order.guild_id is not None or order.channel_id is not None:
            return order, None
        standing = await self.standing_of(
            order.theme,
            order.person,
            order.prompt,
            len(order.recipes),
            background=order.background,
        )
        if standing is None:
            return order, None
        placed = replace(
            order,
            guild_id=standing.asker.guild_id,
            channel_id=standing.asker.channel_id,
            moderates=standing.asker.moderates,
            also=standing.judging(order.also),
        )
        return placed, standing

    async def _engines(self) -> tuple[EngineInfo, ...]:
        """Return what can be drawn with; wait for it at the first start."""
        self._check_not_paused()
        self._disk.check()
        self._library.check_space()
        if not self._drawer.engines:
            try:
                await asyncio.wait_for(self._known.wait(), self._first_up_s)
            except TimeoutError:
                self._check_not_paused()
                raise SchedulerError(
                    "The drawing process is still starting. Try again in a moment; if that goes "
                    "on, run “dreamstream doctor”."
                ) from None
            self._check_not_paused()
        return self._drawer.engines

    def _check_not_paused(self) -> None:
        if self._drawer.paused is not None:
            raise SchedulerError(self._drawer.paused)

    async def _accept(self, work: Coroutine[Any, Any, list[Dream]]) -> list[Dream]:
        # A caller who goes away in the middle must not leave dreams that nobody draws, nor
        # pictures that nobody names.
        return await self._tasks.finish(work)

    async def _write_uploads(
        self, order: Callable[[DrawnFrom], Order], request: DreamRequest, relation: Relation
    ) -> list[Dream]:
        async with self._inits.uploaded(request) as drawn_from:
            made = order(drawn_from)
            await self._check_uploads(request, drawn_from, made.person)
            if made.parent_id is None and (origin := await self._origin(request, drawn_from, made)):
                came = made.relation or relation
                made = replace(made, parent_id=origin.id, relation=came)
            return await self._write(made)

    async def _check_uploads(
        self, request: DreamRequest, drawn_from: DrawnFrom, person: Person
    ) -> None:
        """Look at what was brought, as it was taken in: nobody looks at a stranger's own file."""
        if self._checks is None:
            return
        parts = {"init": drawn_from.init, "mask": drawn_from.mask, "sketch": drawn_from.sketch}
        found = [*parts.items(), *(("init", picture) for picture in drawn_from.pictures)]
        pngs = [(field, await self._library.read(one.sha256)) for field, one in found if one]
        brought = Brought(person, request.guild_id, request.channel_id)
        await self._check_brought(request.checked_as, brought, pngs)

    async def _check_brought(
        self,
        checked_as: PictureCheck | None,
        brought: Brought,
        pngs: Iterable[tuple[str, bytes]],
    ) -> None:
        if self._checks is None:
            return
        setting = checked_as or self._checks.setting_at(brought.guild_id, brought.channel_id)
        for field, png in pngs:
            await self._checks.check_upload(png, setting, brought, field)

    async def _origin(
        self, request: DreamRequest, drawn_from: DrawnFrom, order: Order
    ) -> Dream | None:
        """Return the dream whose picture was uploaded to start from, if it is one's here."""
        if self._origins is None or request.init is None or drawn_from.init is None:
            return None
        return await self._origins.of(request.init, drawn_from.init, order.theme, order.channel_id)

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

    # --- changing ----------------------------------------------------------------------------

    async def cancel(self, dream_id: str, actor: Actor) -> None:
        """End an unfinished dream.

        Raises:
            NotFoundError: there is no such dream.
            ForbiddenError: it is neither theirs nor theirs to moderate.
            InvalidRequestError: it is over already.
            DiskError, StoreError: nothing can be kept at present.
        """
        dream = await self.existing(dream_id)
        check_may_change(dream, actor)
        active = self._unfinished.get(dream_id)
        if active is None or not await self._tasks.finish(
            self._unfinished.cancel(active, requests.check_person(actor.person))
        ):
            raise InvalidRequestError("dream", "This dream is over already.")

    async def delete(self, dream_id: str, actor: Actor) -> None:
        """Take a dream away for good: its words, recipe, picture and files. A tombstone stays.

        One that is not over is ended first. Once this returns, it is deleted, whatever dies.

        Raises:
            NotFoundError: there is no such dream; a GoneError where it was deleted before.
            ForbiddenError: it is neither theirs nor theirs to moderate.
            DiskError, StoreError: nothing can be written at present; it is still there.
        """
        check_may_change(await self.existing(dream_id), actor)
        actor = msgspec.structs.replace(actor, person=requests.check_person(actor.person))
        await self._tasks.finish(self._delete(dream_id, actor))

    async def _delete(self, dream_id: str, actor: Actor) -> None:
        while not (dream := await self.existing(dream_id)).state.final:
            active = self._unfinished.get(dream_id)
            if active is None:  # it is being accepted, or ended, at this very moment
                await asyncio.sleep(0.05)
            else:
                await self._unfinished.cancel(active, actor.person)
        # Before, so that a crash leaves none; and after, since its end may just be putting one by.
        await self._unfinished.forget_checkpoint(dream_id)
        if not await self._removal.bury(dream, actor):
            raise GoneError
        await self._unfinished.forget_checkpoint(dream_id)
        if dream.image is not None and any(
            theme.picture_sha256 == dream.image.sha256 for theme in self._themes.known
        ):
            await self._themes.reread()
        await self._removal.remove_files()

    async def remove_files(self) -> None:
        """Remove the files that nothing names any more; what cannot be goes at the next start."""
        await self._tasks.finish(self._removal.remove_files())

    @counts_refusals
    async def steer(
        self,
        dream_id: str,
        actor: Actor,
        prompt: str,
        glide_steps: int = 10,
        *,
        check: Callable[[str, Theme], None] | None = None,
    ) -> None:
        """Let an unfinished dream glide to another prompt. It is done when the feed says so.

        Once this returns, it is asked of whatever draws until it is answered, whatever dies.
        `check` may refuse the prompt as it is drawn in the dream's theme, by raising.

        Raises:
            NotFoundError: there is no such dream.
            ForbiddenError: it is neither theirs nor theirs to moderate.
            InvalidRequestError: it is over, its engine cannot be steered, or a value is wrong.
            LimitError: too many steers of it wait for an answer.
            SchedulerError: nothing can be drawn at present.
            DiskError, StoreError: nothing can be kept at present.
        """
        dream = await self.existing(dream_id)
        check_may_change(dream, actor)
        for guard in self._steering_guards:
            await guard(dream, actor)
        prompt = requests.check_prompt(prompt, self._limits)
        recipe = dream.recipe
        if not 0 <= glide_steps <= recipe.last_step:
            raise InvalidRequestError(
                "glide", f"The glide takes 0 to {recipe.last_step} steps, not {glide_steps}."
            )
        engine = next((e for e in self._drawer.engines if e.name == recipe.engine), None)
        if engine is not None and not engine.steerable:
            raise InvalidRequestError(
                "dream", f"{engine.title} cannot be steered. Ask for a remix instead."
            )
        theme = await self._themes.by_id(dream.theme_id)
        active = self._unfinished.get(dream_id)
        if active is None or active.ending:
            raise InvalidRequestError("dream", "This dream is over already.")
        if not self._drawer.up:
            raise SchedulerError("Drawing is just starting again. Try to steer in a moment.")
        expanded = expand(prompt, theme, recipe.seed, placed=side_by_side(recipe.settings))
        if check is not None:
            check(expanded, theme)
        if not await self._tasks.finish(
            self._unfinished.steering.ask(
                active, requests.check_person(actor.person), expanded, glide_steps
            )
        ):
            raise InvalidRequestError("dream", "This dream is over already.")

    # --- the drawer's reports ----------------------------------------------------------------

    async def on_up(self, welcome: Welcome) -> None:
        """Hand every unfinished dream to a new scheduler process."""
        self._known.set()
        self._themes_changed()
        await self._unfinished.on_up()

    async def on_down(self, suspects: tuple[str, ...], reason: str, outside: bool = False) -> None:
        """Note that the scheduler process died, and who was in the step it died in."""
        if self._drawer.paused is not None and not self._drawer.engines:
            # Whoever waits for the first start need not wait any longer for the sentence.
            self._known.set()
            self._known.clear()
        await self._reports.on_down(suspects, reason, outside)

    async def on_message(self, message: ToBot) -> None:
        """Note what the scheduler process says of a dream."""
        await self._reports.on_message(message)

    def _themes_changed(self) -> None:
        self._tasks.spawn(self._weigh())

    async def _weigh(self) -> None:
        """Tell the drawer each stream's share of the machine."""
        if self._drawer.up:
            self._drawer.weights({theme.slug: theme.weight for theme in await self._themes.list()})
