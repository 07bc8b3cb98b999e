"""Asking for dreams and changing their course: the one door both fronts use.

What is asked is checked (`bot.requests`), taken in (`bot.intake`) in one transaction together with
the stream's events, and from then on in the care of `bot.unfinished`, whatever dies; its course is
changed in `bot.dream_changes`. This module knows neither Discord nor the wall, and not how anything
is drawn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import msgspec

from bot import requests
from bot.acceptance import Acceptance, Also, Guard, Order
from bot.bounds import bounded, check_count
from bot.checking.service import Brought, PictureChecks
from bot.checkpoints import CHECKPOINTS, Checkpoints
from bot.disk import FIRST_DELAY_S, DiskWatch
from bot.drawing import Drawer
from bot.dream_changes import DreamChanges
from bot.errors import InvalidRequestError, SchedulerError
from bot.feed import Feed
from bot.inits import DrawnFrom, StartGoneError
from bot.intake import Intake
from bot.journeys import reseeded
from bot.library import Library
from bot.limits import Limits
from bot.model import Dream, DreamRequest, Person, Relation, Theme
from bot.monitoring.metrics import counts_refusals
from bot.origins import Origins
from bot.reports import Reports
from bot.rights import Actor, check_may_see
from bot.standing import Placer, Standing
from bot.store import Store
from bot.themes import Themes
from bot.unfinished import RETRY_DELAYS_S, Unfinished
from bot.values import check_person, check_prompt, check_seed
from generation.protocol import EngineInfo, Recipe, ToBot, Welcome

Recipes = Callable[[Dream, Theme, Sequence[EngineInfo]], list[Recipe]]
"""What is to become of a dream, in its theme, with the engines that there are."""
Hold = Callable[[requests.Plan, DreamRequest], Awaitable[requests.Plan]]
"""Says what is drawn for a request, where its theme holds a subject; it may refuse it."""

FIRST_UP_S = 20.0
STOP_S = 5.0


class Dreams(DreamChanges):
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
        self._first_up_s = first_up_s
        self._disk = DiskWatch(library.probe, disk_delay_s)
        checkpoints = checkpoints or Checkpoints(library.root / CHECKPOINTS)
        unfinished = Unfinished(
            store, library, feed, drawer, self._disk, checkpoints, retry_delays_s
        )
        super().__init__(store, unfinished, library, themes, drawer, limits or Limits())
        self._reports = Reports(unfinished)
        self._acceptance = Acceptance(store, self._limits)
        self._intake = Intake(store, library, self._disk, unfinished, self._acceptance, self._tasks)
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
        self._intake.checks = checks
        self._unfinished.check_pictures(checks)

    @property
    def checks(self) -> PictureChecks | None:
        """What looks at pictures, if anything does."""
        return self._intake.checks

    def trace_uploads(self, origins: Origins) -> None:
        """Record from now on of which dreams the pictures are that others start from."""
        self._intake.origins = origins

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

    @property
    def prompt_length(self) -> int:
        """How many characters a prompt has at most."""
        return self._limits.prompt_length

    def guard(self, guard: Guard) -> None:
        """Have every ask from now on pass a guard, in the transaction that accepts it."""
        self._acceptance.guard(guard)

    def place(self, placer: Placer) -> None:
        """Have it chosen from now on where each ask counts that is made in no place."""
        self._placer = placer

    # --- asking ------------------------------------------------------------------------------

    @counts_refusals
    async def ask(self, request: DreamRequest, also: Also | None = None) -> list[Dream]:
        """Accept what a person asks for. Once this returns, it survives every crash.

        What has a parent is published only where that one is, too.
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
        published = True
        if request.parent_id is not None:
            parent = await self.existing(request.parent_id)
            published = parent.published
            parents_theme = await self._themes.by_id(parent.theme_id)
            check_may_see(parent, parents_theme, theme, request.channel_id)
        if self._hold is not None:
            plan = await self._hold(plan, request)
        at_wall = request.guild_id is None and request.channel_id is None
        if at_wall:
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
                published=published,
                relation=request.relation,
                note=plan.note,
                prompts=[plan.prompt_of(index) for index in range(plan.count)],
                study=plan.study,
                moderates=request.moderates,
                also=also,
            )

        if not requests.uploads(request):
            return await self._intake.take(order(DrawnFrom()))
        await self._acceptance.check(plan.person, plan.count, background=request.background)
        relation = Relation.VARIATION
        if plan.engine.scale is not None:
            relation = Relation.UPSCALE
        elif request.mask is not None:
            relation = Relation.INPAINT
        return await self._intake.take_uploads(order, request, relation, at_wall=at_wall)

    async def theme_of(self, dream: Dream) -> Theme:
        """Return the theme that a dream is of."""
        return await self._themes.by_id(dream.theme_id)

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
        recipe = requests.check_recipe(dream.recipe, theme, engines, self._limits, kept=True)
        if not same_seed:
            recipe = reseeded(recipe, dream.prompt, theme, check_seed(None))
        order = Order(
            dream.prompt,
            theme,
            check_person(person),
            [recipe],
            parent_id=dream.id,
            published=dream.published,
            relation=Relation.REROLL,
            also=also,
        )
        order, _ = await self._placed(order)
        (again,) = await self._intake.take_named(order, recipe.named_pictures, ())
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
            prompt = check_prompt(prompt, self._limits)
            parents = [msgspec.structs.replace(parent, prompt=prompt) for parent in parents]
        if not published:
            parents = [msgspec.structs.replace(parent, published=False) for parent in parents]
        children = [
            (parent, requests.check_recipe(recipe, theme, engines, self._limits, kept=True))
            for parent in parents
            for recipe in recipes(parent, theme, engines)
        ]
        check_count(theme, len(children))
        order = Order(
            parents[0].prompt,
            theme,
            check_person(actor.person),
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
            return await self._intake.take(order)
        await self._acceptance.check(order.person, len(children))
        if mask is not None:
            brought = Brought(order.person, order.guild_id, order.channel_id)
            checked_as = (parents[0] if standing is None else standing).checked_as
            await self._intake.check_brought(checked_as, brought, [("mask", mask)])
            given = (*given, mask)
        return await self._intake.take_named(order, tuple(named), given)

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
        order = Order(recipe.prompt, theme, check_person(person), [recipe])
        order, _ = await self._placed(order)
        if not recipe.named_pictures:
            (dream,) = await self._intake.take(order)
            return dream
        await self._acceptance.check(order.person, 1)
        try:
            (dream,) = await self._intake.take_named(order, recipe.named_pictures, pictures)
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
