"""The services the wall stands on, in memory, with a painter that paints at a test's word."""

from __future__ import annotations

import asyncio
import hashlib
import io
import random
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFilter

from bot.dream_changes import usual_glide
from bot.errors import InvalidRequestError, NotFoundError
from bot.ids import now_ms
from bot.model import (
    Dream,
    DreamRequest,
    DreamState,
    EventKind,
    File,
    Image,
    Live,
    Person,
    Relation,
    StreamEvent,
    Theme,
)
from bot.outpainting import Side
from bot.rights import Actor, check_may_change
from bot.search import Found, Hit
from bot.themes import checked
from generation.protocol import EngineInfo, ModelInfo, OptionInfo, Recipe, Steer

ENGINES = (
    EngineInfo(
        name="diffusion",
        title="Diffusion",
        models=(
            ModelInfo(name="starter", title="Starter", licence="MIT"),
            ModelInfo(name="large", title="Large", licence="MIT", available=False, missing="no"),
        ),
        default_width=128,
        default_height=128,
        min_side=64,
        max_side=512,
        max_pixels=512 * 512,
        size_multiple=16,
        default_steps=20,
        max_steps=200,
        guidance=5.0,
        takes_init=True,
        takes_negative=True,
        steerable=True,
    ),
    EngineInfo(
        name="clip",
        title="CLIP-steered",
        models=(ModelInfo(name="fourier", title="Fourier", licence="MIT"),),
        default_width=256,
        default_height=256,
        min_side=64,
        max_side=256,
        max_pixels=256 * 256,
        size_multiple=32,
        default_steps=100,
        max_steps=1000,
        steerable=True,
        options=(
            OptionInfo(name="cutouts", help="How many.", default=16, minimum=1, maximum=64),
            OptionInfo(name="learning_rate", help="How fast.", default=0.05),
            OptionInfo(name="palette", help="Colours.", default="any", choices=("any", "grey")),
            OptionInfo(name="symmetry", help="Mirror it.", default=False),
        ),
    ),
)


def paint(prompt: str, width: int, height: int, seed: int, detail: float = 1.0) -> Pillow.Image:
    """Return a picture of nothing in particular that is the same for the same arguments."""
    dice = random.Random(f"{prompt}/{seed}")
    ground = tuple(dice.randrange(20, 120) for _ in range(3))
    picture = Pillow.new("RGB", (width, height), ground)
    draw = ImageDraw.Draw(picture, "RGBA")
    for _ in range(14):
        x, y = dice.uniform(0, width), dice.uniform(0, height)
        r = dice.uniform(0.08, 0.4) * min(width, height)
        colour = (*(dice.randrange(40, 256) for _ in range(3)), dice.randrange(90, 200))
        draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)
    blur = 1 + (1 - detail) * 0.12 * min(width, height)
    return picture.filter(ImageFilter.GaussianBlur(blur))


class FakeLibrary:
    """Keeps PNG files below a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def keep(self, picture: Pillow.Image) -> Image:
        out = io.BytesIO()
        picture.save(out, "PNG")
        data = out.getvalue()
        sha256 = hashlib.sha256(data).hexdigest()
        self.path(sha256).write_bytes(data)
        small = picture.copy()
        small.thumbnail((384, 384))
        small.save(self.root / f"{sha256}.webp", "WEBP")
        return Image(
            sha256=sha256, width=picture.width, height=picture.height, size_bytes=len(data)
        )

    def path(self, sha256: str) -> Path:
        return self.root / f"{sha256}.png"

    async def make_thumbnail(self, sha256: str, side: int = 384) -> Path:
        return self.root / f"{sha256}.webp"

    async def read(self, sha256: str) -> bytes:
        return self.path(sha256).read_bytes()

    def keep_file(self, name: str, media_type: str, data: bytes) -> File:
        sha256 = hashlib.sha256(data).hexdigest()
        (self.root / sha256).write_bytes(data)
        return File(name=name, media_type=media_type, sha256=sha256, size_bytes=len(data))

    async def local(self, sha256: str) -> Path:
        return self.path(sha256)

    async def local_file(self, file: File) -> Path:
        return self.root / file.sha256


class FakeFeed:
    """A log in a list. `MAX_BEHIND` is kept by nobody: tests end a listener with `lose`."""

    def __init__(self) -> None:
        self.log: list[StreamEvent] = []
        self.listeners: set[asyncio.Queue[StreamEvent | Live | None]] = set()

    async def last_id(self, theme_id: int | None = None) -> int:
        found = [e.id for e in self.log if theme_id in (None, e.theme_id)]
        return found[-1] if found else 0

    async def replay(
        self, *, theme_id: int | None, after: int, limit: int = 200
    ) -> list[StreamEvent]:
        found = [e for e in self.log if e.id > after and theme_id in (None, e.theme_id)]
        return found[:limit]

    @asynccontextmanager
    async def listen(
        self, theme_id: int | None, *, after: int | None = None
    ) -> AsyncIterator[AsyncIterator[StreamEvent | Live]]:
        queue: asyncio.Queue[StreamEvent | Live | None] = asyncio.Queue()
        if after is not None:
            for event in await self.replay(theme_id=theme_id, after=after, limit=10**6):
                queue.put_nowait(event)
        self.listeners.add(queue)

        async def updates() -> AsyncIterator[StreamEvent | Live]:
            while (update := await queue.get()) is not None:
                if theme_id in (None, update.theme_id):
                    yield update

        try:
            yield updates()
        finally:
            self.listeners.discard(queue)

    def tell(self, update: StreamEvent | Live) -> None:
        if isinstance(update, StreamEvent):
            self.log.append(update)
        for queue in self.listeners:
            queue.put_nowait(update)

    def lose(self) -> None:
        for queue in self.listeners:
            queue.put_nowait(None)


class FakeThemes:
    """The themes in a list."""

    def __init__(self, *themes: Theme) -> None:
        self.themes = list(themes)

    async def list(self) -> list[Theme]:
        return list(self.themes)

    async def get(self, slug: str) -> Theme:
        for theme in self.themes:
            if theme.slug == slug:
                return theme
        raise NotFoundError(f"There is no stream called “{slug}” here.")

    async def by_id(self, theme_id: int) -> Theme:
        for theme in self.themes:
            if theme.id == theme_id:
                return theme
        raise NotFoundError("There is no such stream here.")

    async def take_up(self, slug: str, title: str, **details: Any) -> Theme:
        if any(theme.slug == slug for theme in self.themes):
            raise InvalidRequestError("slug", f"There is a stream called “{slug}” already.")
        new = Theme(id=len(self.themes) + 1, slug=slug, title=title)
        self.themes.append(checked(new, details))
        return self.themes[-1]


class FakeDrawer:
    """A painter that is up, or not."""

    def __init__(self) -> None:
        self.up = True
        self.paused: str | None = None
        self.device = "CPU"
        self.engines: tuple[EngineInfo, ...] = ENGINES

    def submit(self, job: object) -> None: ...

    def cancel(self, job_id: str) -> None: ...

    def steer(self, job_id: str, prompt: str, glide_steps: int) -> None: ...

    async def handed_over(self) -> None: ...

    def weights(self, streams: dict[str, float]) -> None: ...


class FakeOffspring:
    """Children that are asked for like anything else. `able` says what can be done."""

    def __init__(self, dreams: FakeDreams) -> None:
        self.dreams = dreams
        self.able = frozenset(Relation)
        self.masks: list[bytes] = []
        self.said: list[tuple[object, ...]] = []

    def can(self, dream: Dream) -> frozenset[Relation]:
        return self.able if dream.image is not None else frozenset({Relation.REROLL})

    async def variations(self, dream_id: str, actor: Actor, *, count: int = 4) -> list[Dream]:
        return await self._made(dream_id, actor, Relation.VARIATION, count)

    async def carry_on(self, dream_ids: Sequence[str], actor: Actor) -> list[Dream]:
        return await self._made(dream_ids[0], actor, Relation.CONTINUE)

    async def upscale(self, dream_id: str, actor: Actor) -> Dream:
        (made,) = await self._made(dream_id, actor, Relation.UPSCALE)
        return made

    async def animate(self, dream_id: str, actor: Actor) -> Dream:
        (made,) = await self._made(dream_id, actor, Relation.ANIMATE)
        return made

    async def redraw(
        self,
        dream_id: str,
        actor: Actor,
        mask: bytes,
        *,
        prompt: str | None = None,
        strength: float | None = None,
    ) -> Dream:
        self.masks.append(mask)
        self.said.append((prompt, strength))
        (made,) = await self._made(dream_id, actor, Relation.INPAINT)
        return made

    async def extend(
        self,
        dream_id: str,
        actor: Actor,
        side: Side,
        share: float = 0.5,
        *,
        prompt: str | None = None,
        strength: float | None = None,
    ) -> Dream:
        self.said.append((side, share, prompt, strength))
        (made,) = await self._made(dream_id, actor, Relation.INPAINT)
        return made

    async def blend(
        self,
        first_id: str,
        second_id: str,
        actor: Actor,
        *,
        weight: float = 0.5,
        prompt: str | None = None,
        strength: float | None = None,
    ) -> Dream:
        self.said.append((second_id, weight, prompt, strength))
        (made,) = await self._made(first_id, actor, Relation.BLEND)
        return made

    async def _made(
        self, dream_id: str, actor: Actor, relation: Relation, count: int = 1
    ) -> list[Dream]:
        if relation not in self.able:
            raise InvalidRequestError("dream", "Nothing here can do that.")
        dream = await self.dreams.get(dream_id)
        theme = next(t for t in self.dreams.themes.themes if t.id == dream.theme_id)
        return await self.dreams.ask(
            DreamRequest(
                theme=theme.slug,
                person=actor.person,
                prompt=dream.prompt,
                count=count,
                parent_id=dream.id,
                relation=relation,
            )
        )


class FakeDreams:
    """Dreams in a dictionary. `advance` and `finish` draw them; `now_ms` only rises."""

    def __init__(self, themes: FakeThemes, feed: FakeFeed, library: FakeLibrary) -> None:
        self.themes = themes
        self.feed = feed
        self.library = library
        self.dreams: dict[str, Dream] = {}
        self.requests: list[DreamRequest] = []
        self._live: dict[str, Live] = {}
        self._previews: dict[str, tuple[int, bytes]] = {}

    async def ask(self, request: DreamRequest, *, published: bool = True) -> list[Dream]:
        self.requests.append(request)
        theme = await self.themes.get(request.theme)
        if not request.prompt:
            raise InvalidRequestError("prompt", "Type what shall be dreamt.")
        if request.engine not in (None, "diffusion", "clip"):
            raise InvalidRequestError("engine", f"There is no painter called “{request.engine}”.")
        asked = []
        for index in range(request.count):
            dream = Dream(
                id=f"d{len(self.dreams) + 1:04}",
                ask_id=f"a{len(self.requests):04}",
                theme_id=theme.id,
                person=request.person,
                prompt=request.prompt,
                recipe=Recipe(
                    engine=request.engine or "diffusion",
                    model=request.model or "starter",
                    prompt=request.prompt,
                    width=request.width or 128,
                    height=request.height or 128,
                    steps=request.steps or 20,
                    seed=(request.seed or 7) + index,
                    negative=request.negative or "",
                ),
                state=DreamState.WAITING,
                parent_id=request.parent_id,
                relation=request.relation,
                published=published,
                background=request.background,
                created_ms=1_780_000_000_000 + len(self.dreams),
            )
            self.dreams[dream.id] = dream
            asked.append(dream)
            self._tell(EventKind.ASKED, dream)
            self._stand(dream, step=0, place=len(await self.unfinished(theme.id)), eta_s=20.0)
        return asked

    async def get(self, dream_id: str) -> Dream:
        if dream_id not in self.dreams:
            raise NotFoundError("There is no such dream.")
        return self.dreams[dream_id]

    async def recent(
        self, theme_id: int | None, *, before: str | None = None, limit: int = 48
    ) -> list[Dream]:
        found = [
            dream
            for dream in self.dreams.values()
            if dream.theme_id == theme_id
            and dream.state is DreamState.DONE
            and dream.published
            and dream.deleted_ms is None
            and (not before or dream.id < before)
        ]
        return sorted(found, key=lambda dream: dream.id, reverse=True)[:limit]

    async def unfinished(self, theme_id: int | None) -> list[Dream]:
        return [
            dream
            for dream in self.dreams.values()
            if dream.theme_id == theme_id and not dream.state.final
        ]

    async def failures(
        self, theme_id: int, known_as: Collection[Person], *, since_ms: int, limit: int = 12
    ) -> list[Dream]:
        tried = {dream.parent_id for dream in self.dreams.values()}
        found = [
            dream
            for dream in self.dreams.values()
            if (dream.theme_id, dream.state) == (theme_id, DreamState.FAILED)
            and dream.person.id in {one.id for one in known_as}
            and dream.id not in tried
            and (dream.ended_ms or 0) >= since_ms
        ]
        return sorted(found, key=lambda dream: dream.id, reverse=True)[:limit]

    async def together(self, ask_id: str) -> list[Dream]:
        return [dream for dream in self.dreams.values() if dream.ask_id == ask_id]

    async def lineage(self, dream_id: str) -> tuple[list[Dream], list[Dream]]:
        ancestors: list[Dream] = []
        parent_id = self.dreams[dream_id].parent_id
        while parent_id:
            ancestors.insert(0, self.dreams[parent_id])
            parent_id = self.dreams[parent_id].parent_id
        return ancestors, [d for d in self.dreams.values() if d.parent_id == dream_id]

    async def cancel(self, dream_id: str, actor: Actor) -> None:
        dream = await self.get(dream_id)
        check_may_change(dream, actor)
        self._end(dream, EventKind.CANCELLED, state=DreamState.CANCELLED)

    async def delete(self, dream_id: str, actor: Actor) -> None:
        dream = await self.get(dream_id)
        check_may_change(dream, actor)
        nothing = Recipe(engine="", model="", prompt="", width=0, height=0, steps=0, seed=0)
        gone = {"prompt": "", "recipe": nothing, "image": None, "deleted_ms": now_ms()}
        self._end(dream, EventKind.DELETED, **gone)

    async def steer(
        self,
        dream_id: str,
        actor: Actor,
        prompt: str,
        glide_steps: int | None = None,
        *,
        check: Callable[[str, Theme], None] | None = None,
    ) -> None:
        dream = await self.get(dream_id)
        glide_steps = usual_glide(dream.recipe) if glide_steps is None else glide_steps
        steer = Steer(step=dream.step, prompt=prompt, glide_steps=glide_steps)
        recipe = msgspec.structs.replace(dream.recipe, steers=(*dream.recipe.steers, steer))
        self._tell(EventKind.STEERED, self._put(dream, recipe=recipe))

    async def redo(self, dream_id: str, person: Person, *, same_seed: bool) -> Dream:
        dream = await self.get(dream_id)
        theme = next(t for t in self.themes.themes if t.id == dream.theme_id)
        [again] = await self.ask(
            DreamRequest(
                theme=theme.slug,
                person=person,
                prompt=dream.prompt,
                seed=dream.recipe.seed + (0 if same_seed else 1),
                parent_id=dream.id,
                relation=Relation.REROLL,
            )
        )
        return again

    def live(self, dream_id: str) -> Live | None:
        return self._live.get(dream_id)

    def preview(self, dream_id: str) -> tuple[int, bytes] | None:
        return self._previews.get(dream_id)

    # --- what the painter does ---------------------------------------------------------------

    def advance(self, dream_id: str, step: int) -> None:
        """Take a dream to a step, with a new preview."""
        dream = self._put(self.dreams[dream_id], state=DreamState.DRAWING, step=step)
        recipe = dream.recipe
        out = io.BytesIO()
        paint(dream.prompt, recipe.width, recipe.height, recipe.seed, step / recipe.steps).save(
            out, "WEBP"
        )
        version = self._previews.get(dream_id, (0, b""))[0] + 1
        self._previews[dream_id] = (version, out.getvalue())
        self._stand(dream, step=step, eta_s=(recipe.steps - step) * 0.5, preview_version=version)

    def finish(self, dream_id: str) -> Dream:
        """Finish a dream with its picture."""
        dream = self.dreams[dream_id]
        recipe = dream.recipe
        image = self.library.keep(paint(dream.prompt, recipe.width, recipe.height, recipe.seed))
        return self._end(dream, EventKind.DONE, state=DreamState.DONE, image=image, gpu_s=3.2)

    def attach(self, dream_id: str, name: str, media_type: str, data: bytes) -> Dream:
        """Give a finished dream a file besides its picture."""
        dream = self.dreams[dream_id]
        file = self.library.keep_file(name, media_type, data)
        return self._put(dream, files=(*dream.files, file))

    def fail(self, dream_id: str, reason: str) -> Dream:
        """End a dream without one."""
        dream = self.dreams[dream_id]
        return self._end(
            dream, EventKind.FAILED, state=DreamState.FAILED, reason=reason, ended_ms=now_ms()
        )

    def _end(self, dream: Dream, kind: EventKind, **changes: object) -> Dream:
        self._live.pop(dream.id, None)
        self._previews.pop(dream.id, None)
        dream = self._put(dream, **changes)
        self._tell(kind, dream)
        return dream

    def _put(self, dream: Dream, **changes: object) -> Dream:
        self.dreams[dream.id] = msgspec.structs.replace(dream, **changes)
        return self.dreams[dream.id]

    def _stand(self, dream: Dream, **changes: object) -> None:
        live = Live(
            dream_id=dream.id,
            theme_id=dream.theme_id,
            state=dream.state,
            step=0,
            steps=dream.recipe.steps,
        )
        live = msgspec.structs.replace(live, **changes)
        self._live[dream.id] = live
        self.feed.tell(live)

    def _tell(self, kind: EventKind, dream: Dream) -> None:
        # Ids rise without being a stream's own: leave gaps, as other streams' events do.
        self.feed.tell(
            StreamEvent(
                id=3 * (len(self.feed.log) + 1),
                theme_id=dream.theme_id,
                kind=kind,
                dream_id=dream.id,
                person=dream.person,
                at_ms=dream.created_ms,
                payload={} if dream.published else {"published": False},
            )
        )


class FakeSearch:
    """Finds the newest pictures, whatever is looked for. `error` is raised in their stead."""

    def __init__(self, dreams: FakeDreams) -> None:
        self.dreams = dreams
        self.error: Exception | None = None
        self.looked_for: list[str | bytes] = []
        self.complete = True

    async def by_text(self, theme: Theme, text: str) -> Found:
        return await self._found(theme, text)

    async def by_picture(self, theme: Theme, picture: bytes) -> Found:
        return await self._found(theme, picture)

    async def like(self, dream: Dream, theme: Theme, *, count: int = 48) -> Found:
        return await self._found(theme, dream.id)

    async def _found(self, theme: Theme, wanted: str | bytes) -> Found:
        self.looked_for.append(wanted)
        if self.error is not None:
            raise self.error
        recent = [dream for dream in await self.dreams.recent(theme.id) if dream.id != wanted]
        hits = tuple(Hit(dream, 0.9, twins) for twins, dream in enumerate(recent))
        return Found(hits, self.complete)
