"""The things the product is about: people, themes, dreams, their images, a stream's events.

Plain frozen records without behaviour or storage: ``bot.store`` reads and writes them, services
pass them around, both fronts show them. Times are milliseconds since 1970 UTC (`_ms`).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from generation.protocol import FilmFormat, JourneyKind, Recipe, Setting


class Person(msgspec.Struct, frozen=True):
    """Who asks. `id` is ``discord:<snowflake>``, ``guest:<token>`` or ``local:<user>``."""

    id: str
    name: str


class Visibility(StrEnum):
    """Who may watch a stream: anyone at the wall, who has the link, or nobody at the wall."""

    PUBLIC = "public"
    LINK = "link"
    PRIVATE = "private"


class AskedBy(StrEnum):
    """Who may ask in a theme: anyone, people of Discord, or who made or moderates it."""

    EVERYBODY = "everybody"
    MEMBERS = "members"
    HOSTS = "hosts"


class Holds(StrEnum):
    """What becomes of a prompt that is far from a theme's subject: nothing, a hint, a blend."""

    OFF = "off"
    SUGGEST = "suggest"
    BLEND = "blend"


class Theme(msgspec.Struct, frozen=True, kw_only=True):
    """What a channel is about, and how a prompt becomes a recipe there.

    `template` holds ``{prompt}`` once; `modifiers` are appended as further prompts; empty
    `engine` and `model`, and None sizes and steps, mean the engine's defaults. Its `preset` is how
    it draws where nobody says. `palette` is its own word list, ``__palette__`` in prompts: words
    and phrases, separated by commas.

    Its bounds are None where only the engine's and the server's hold: `max_side` pixels,
    `max_steps` of a picture or a film's frame, `max_count` dreams in one ask (`bot.bounds`). How
    it keeps to its `subject` (`bot.subject`): by what it `holds`, with a `strictness` of 0 to 1.

    `weight` is its stream's share of the machine. `colour` is ``#rrggbb``. `picture_sha256` is a
    picture of the library that stands for it. What it may dream by itself
    (`bot.autopilot`): `autopilot` dreams and `autopilot_seconds` of drawing a day, 0 dreams for
    none, after `autopilot_quiet` minutes; also where nobody watches with `autopilot_alone`. One
    that is `paused` takes no further asks. One that is `retired` takes none ever, hangs nowhere
    and is offered nowhere; its stream stays.
    """

    id: int
    slug: str
    title: str
    topic: str = ""
    template: str = "{prompt}"
    modifiers: str = ""
    negative: str = ""
    palette: str = ""
    preset: str = ""
    engine: str = ""
    model: str = ""
    width: int | None = None
    height: int | None = None
    steps: int | None = None
    max_side: int | None = None
    max_steps: int | None = None
    max_count: int | None = None
    asked_by: AskedBy = AskedBy.EVERYBODY
    subject: str = ""
    holds: Holds = Holds.OFF
    strictness: float = 0.5
    weight: float = 1.0
    colour: str = "#7c6cff"
    picture_sha256: str | None = None
    visibility: Visibility = Visibility.PUBLIC
    autopilot: int = 0
    autopilot_seconds: int = 1800
    autopilot_quiet: int = 10
    autopilot_alone: bool = False
    paused: bool = False
    retired: bool = False
    created_ms: int = 0


class DreamState(StrEnum):
    """Where a dream is. The last three are final: a dream enters one of them, once."""

    WAITING = "waiting"
    DRAWING = "drawing"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether it will change no more."""
        return self in (DreamState.DONE, DreamState.FAILED, DreamState.CANCELLED)


class Relation(StrEnum):
    """How a dream came of its parent."""

    REROLL = "reroll"
    VARIATION = "variation"
    REMIX = "remix"
    STEER = "steer"
    CONTINUE = "continue"
    UPSCALE = "upscale"
    INPAINT = "inpaint"
    BLEND = "blend"
    EXPLORE = "explore"
    ANIMATE = "animate"
    GROW = "grow"
    COMBINE = "combine"
    ENLARGE = "enlarge"


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """A kept picture: a PNG in the library, named by the SHA-256 of its bytes."""

    sha256: str
    width: int
    height: int
    size_bytes: int


class File(msgspec.Struct, frozen=True, kw_only=True):
    """What was made besides a picture (a film, an SVG), kept in the library by its content."""

    name: str
    media_type: str
    sha256: str
    size_bytes: int


class PictureCheck(StrEnum):
    """What becomes of a finished picture that the check takes for one for adults.

    It is not checked at all; it is covered until somebody chooses to see it; it is covered for all
    but its author and moderators; or for all but moderators (`bot.checking`). Rising in strictness.
    """

    OFF = "off"
    SPOILER = "spoiler"
    BLUR = "blur"
    REFUSE = "refuse"


class Dream(msgspec.Struct, frozen=True, kw_only=True):
    """One picture asked for: by whom, where, how (`recipe`), and what became of it.

    `prompt` is what the person typed; the recipe's has the theme's words around it. Dreams asked
    for together share `ask_id`. `reason` is the sentence shown with its end: why it failed, or
    what the person should know of how its recipe was read. `attempt` counts the crashes that are
    held against it (`bot.quarantine`). `guild_id` and `channel_id` say where in Discord it was
    asked for, if it was. One that is not `published` is shown nowhere else. With `deleted_ms` it
    is a tombstone: its words, recipe and picture are gone. What it started from may have been
    deleted since: then it is not `init_kept`. One of a study (`bot.studies`) has the words that it
    `studied`, empty for none.

    `checked_as` is how its place wants its picture checked, None where nothing was said. One with
    a `veil` is covered in that way: its `image` is the cover, its picture is `behind`.
    """

    id: str
    ask_id: str
    theme_id: int
    person: Person
    prompt: str
    recipe: Recipe
    state: DreamState
    step: int = 0
    attempt: int = 0
    parent_id: str | None = None
    relation: Relation | None = None
    reason: str = ""
    image: Image | None = None
    files: tuple[File, ...] = ()
    gpu_s: float = 0.0
    score: float | None = None
    background: bool = False
    studied: str | None = None
    guild_id: int | None = None
    channel_id: int | None = None
    published: bool = True
    init_kept: bool = True
    checked_as: PictureCheck | None = None
    veil: PictureCheck | None = None
    behind: Image | None = None
    deleted_ms: int | None = None
    created_ms: int = 0
    started_ms: int | None = None
    ended_ms: int | None = None


class PendingSteer(msgspec.Struct, frozen=True, kw_only=True):
    """A steer that was accepted and that whatever draws has not answered yet."""

    id: int
    dream_id: str
    person: Person
    prompt: str
    glide_steps: int


class Shape(StrEnum):
    """A picture's proportions, where its size in pixels is left to the engine."""

    SQUARE = "square"
    PORTRAIT = "portrait"
    LANDSCAPE = "landscape"
    WIDE = "wide"
    TALL = "tall"


class JourneyRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A film through the prompts that arrows join; None and empty are left to the engine.

    `frames` go before `seconds`. Movements are as they are typed. With `loop` it ends where it
    began; one that is `still` keeps its noise while the prompt changes.
    """

    kind: JourneyKind | None = None
    seconds: float | None = None
    frames: int | None = None
    rate: int | None = None
    frame_steps: int | None = None
    strength: float | None = None
    zoom: str = ""
    pan_x: str = ""
    pan_y: str = ""
    rotate: str = ""
    loop: bool = False
    still: bool = False


class DreamRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a person asks for, as either front hands it in: unchecked, None where not said.

    `init`, `mask`, `sketch` and `pictures` are encoded pictures as they were uploaded. `count`
    dreams are made, with seeds one apart; with `until_step`, or with `first_look` where that step
    is left to the engine, they end early and can be continued. With a `study`, there is one for
    each of these words, put after the prompt, and all have one seed.

    A `preset` fills in what is left open. `kept_settings` says that the settings are those of a
    recipe, and nothing of them is open. A `shape` stands in place of `width` and `height`.
    `guild_id` and `channel_id` are where in Discord it is asked for, `moderates` whether the person
    does so there, and `checked_as` how that place wants pictures checked, None where it says
    nothing.
    """

    theme: str
    person: Person
    prompt: str
    preset: str | None = None
    engine: str | None = None
    model: str | None = None
    width: int | None = None
    height: int | None = None
    shape: Shape | None = None
    steps: int | None = None
    seed: int | None = None
    guidance: float | None = None
    negative: str | None = None
    strength: float | None = None
    init: bytes | None = None
    mask: bytes | None = None
    sketch: bytes | None = None
    pictures: tuple[bytes, ...] = ()
    settings: dict[str, Setting] = {}
    kept_settings: bool = False
    until_step: int | None = None
    first_look: bool = False
    film: bool = False
    film_format: FilmFormat = FilmFormat.MP4
    journey: JourneyRequest | None = None
    background: bool = False
    exact: bool | None = None
    study: tuple[str, ...] = ()
    count: int = 1
    parent_id: str | None = None
    relation: Relation | None = None
    guild_id: int | None = None
    channel_id: int | None = None
    moderates: bool = False
    checked_as: PictureCheck | None = None


class EventKind(StrEnum):
    """What a stream's log records."""

    ASKED = "asked"
    STEERED = "steered"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    THEME = "theme"
    DELETED = "deleted"
    PARTY = "party"


RETIRED = "retention"
"""In the payload of a deletion: nobody took it back, it went to make room."""
ENDINGS = (EventKind.DONE, EventKind.FAILED, EventKind.CANCELLED)


class StreamEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the append-only log. Ids rise without end; readers resume after one."""

    id: int
    theme_id: int
    kind: EventKind
    dream_id: str | None
    person: Person | None
    at_ms: int
    payload: dict[str, Any] = {}

    @property
    def retired(self) -> bool:
        """Whether a dream went to make room: what was posted of it stays as it is."""
        return bool(self.payload.get(RETIRED))


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """A person who may not ask for dreams in a server, for good where `until_ms` is None."""

    guild_id: int
    person: Person
    by: Person
    reason: str = ""
    at_ms: int
    until_ms: int | None = None


class Act(StrEnum):
    """What was decided, by a moderator, the check of pictures, the rules, or who is drawn."""

    DELETED = "deleted"
    CANCELLED = "cancelled"
    BLOCKED = "blocked"
    UNBLOCKED = "unblocked"
    SETTINGS = "settings"
    COVERED = "covered"
    RELEASED = "released"
    CONFIRMED = "confirmed"
    REFUSED = "refused"
    CONSENT = "consent"


class ModerationEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a server's append-only log: who did what, to whom or to which dream.

    `detail` holds nothing that a person said: of settings, the names of those that changed.
    """

    id: int
    guild_id: int
    act: Act
    by: Person
    person: Person | None
    dream_id: str | None
    channel_id: int | None
    at_ms: int
    detail: dict[str, Any] = {}


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """How an unfinished dream stands at this moment. Never stored; the latest one wins.

    `place` is its place in the queue (1 is next) or None while it draws; in the `background` it
    says little, for whoever comes goes before it. `preview_version` rises with each new preview; 0
    means there is none yet. `eta_s` is when it should be done. `notice` is
    a sentence for the person about something out of the ordinary (a steer that was refused, a
    full disk), empty where there is none.
    """

    dream_id: str
    theme_id: int
    state: DreamState
    step: int
    steps: int
    place: int | None = None
    eta_s: float | None = None
    preview_version: int = 0
    notice: str = ""
    background: bool = False
