"""The messages between the bot process and the scheduler process, and how they are framed.

This is the only module of ``generation`` that the bot process imports: it needs no torch. One
stream socket joins the two; each message is four bytes of big-endian length and then msgpack.
The bot speaks first (`Hello`), the scheduler answers (`Welcome`), and versions must be equal:
both ends ship together, so a difference means a half-finished upgrade.

The scheduler process keeps nothing that must not be lost. All that it would need to go on after
a crash (a job's recipe, its newest checkpoint) goes to the bot, which keeps it.
"""

from __future__ import annotations

import asyncio
import struct
from enum import StrEnum
from typing import TypeVar

import msgspec

PROTOCOL_VERSION = 9
MAX_MESSAGE_BYTES = 128 * 1024 * 1024
MAX_FILES = 4
MAX_FILE_BYTES = 16 * 1024 * 1024
"""So many files of so many bytes are kept of a dream besides its picture."""
MAX_EMBEDDED_PICTURES, MAX_EMBEDDED_TEXTS = 16, 64
"""So many fit into one `Embed`: what draws waits for it."""
_LENGTH = struct.Struct(">I")

Setting = bool | int | float | str


# --- what is drawn -------------------------------------------------------------------------


class Steer(msgspec.Struct, frozen=True):
    """A change of prompt in mid-run: from `step` on the prompt glides to the new one."""

    step: int
    prompt: str
    glide_steps: int = 0


class FilmFormat(StrEnum):
    """What a film is written as. All play where pictures are shown; MP4 is the smallest."""

    MP4 = "mp4"
    WEBP = "webp"
    GIF = "gif"


class JourneyKind(StrEnum):
    """How a film's frame comes of the one before.

    With a ``camera`` it is that frame, moved and then drawn over in a few steps. On a ``walk``
    nothing moves: prompt and noise, or what is being optimised, go from stop to stop.
    """

    CAMERA = "camera"
    WALK = "walk"


class Key(msgspec.Struct, frozen=True):
    """What a movement is in a frame; between two keys it changes evenly."""

    frame: int
    value: float


class Stop(msgspec.Struct, frozen=True):
    """What a journey has come to in a frame. `noise` is which of the seed's noises it is of."""

    frame: int
    prompt: str
    noise: int = 0


class Journey(msgspec.Struct, frozen=True, kw_only=True):
    """A film through several prompts, and how its frames follow each other.

    The first frame is drawn in the recipe's own `steps` and each other one in `frame_steps`.
    `stops` are in the order of their frames, from 0 on; the last may lie one behind the film's end,
    which is then a loop. A camera draws over so much (`strength`,
    0..1) of the frame before, after it has moved that: `zoom` is a factor (above 1 goes nearer),
    `pan_x` and `pan_y` are parts of width and height that the camera goes to the right and down,
    `rotate` is in degrees that the picture turns clockwise. All are for each frame; without keys
    it rests.
    """

    kind: JourneyKind
    frames: int
    frame_steps: int
    stops: tuple[Stop, ...]
    rate: int = 12
    strength: float = 1.0
    zoom: tuple[Key, ...] = ()
    pan_x: tuple[Key, ...] = ()
    pan_y: tuple[Key, ...] = ()
    rotate: tuple[Key, ...] = ()


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """All that decides a picture: the same recipe gives the same picture.

    `prompt` is in the grammar of docs/prompts.md with its alternatives already chosen. Pictures are
    named by content: `init_sha256` is what it starts from, `mask_sha256` is white where that may be
    redrawn, `sketch_sha256` says by its lines where things are, and `picture_sha256s` are further
    ones that the engine draws from, in order. `settings` holds the engine's own options, complete
    (defaults filled in), so that a later change of a default cannot change an old recipe.
    `until_step` ends it early, as a first look; the same recipe without it goes on to the picture
    this would have become. `film` asks for a film of how it formed besides. `exact` asks for the
    same pixels whoever shares the machine.
    """

    engine: str
    model: str
    prompt: str
    width: int
    height: int
    steps: int
    seed: int
    negative: str = ""
    guidance: float | None = None
    strength: float = 0.7
    init_sha256: str | None = None
    mask_sha256: str | None = None
    sketch_sha256: str | None = None
    picture_sha256s: tuple[str, ...] = ()
    steers: tuple[Steer, ...] = ()
    settings: dict[str, Setting] = {}
    until_step: int | None = None
    film: bool = False
    exact: bool = False
    journey: Journey | None = None
    film_format: FilmFormat = FilmFormat.MP4

    @property
    def last_step(self) -> int:
        """The step at which it is over."""
        if self.journey is not None:
            return self.steps + (self.journey.frames - 1) * self.journey.frame_steps
        return self.steps if self.until_step is None else min(self.until_step, self.steps)

    @property
    def named_pictures(self) -> tuple[str, ...]:
        """The pictures it is drawn from, by content, each once."""
        named = (self.init_sha256, self.mask_sha256, self.sketch_sha256, *self.picture_sha256s)
        return tuple(dict.fromkeys(sha256 for sha256 in named if sha256 is not None))


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A recipe to be drawn, for whom, and where it left off.

    `pictures` holds the encoded pictures that the recipe names, by their names. `checkpoint` is
    what an earlier `Checkpoint` carried, of this job or of one whose recipe begins alike, and
    `step` where that was made. A `background` job is drawn when nobody waits for anything else.
    `attempt` is above 0 where the process died while it drew this job and no later checkpoint has
    come; `fell_at` is the furthest step at which it then stood. `gpu_s` is what was charged for it
    before, in other processes.
    """

    id: str
    recipe: Recipe
    stream: str
    person: str
    pictures: dict[str, bytes] = {}
    checkpoint: bytes | None = None
    step: int = 0
    background: bool = False
    attempt: int = 0
    fell_at: int = 0
    gpu_s: float = 0.0

    @property
    def init(self) -> bytes | None:
        """The encoded picture that it starts from."""
        return self._picture(self.recipe.init_sha256)

    @property
    def mask(self) -> bytes | None:
        """The encoded mask: white where its start may be redrawn."""
        return self._picture(self.recipe.mask_sha256)

    @property
    def sketch(self) -> bytes | None:
        """The encoded sketch that leads it."""
        return self._picture(self.recipe.sketch_sha256)

    def _picture(self, sha256: str | None) -> bytes | None:
        return None if sha256 is None else self.pictures.get(sha256)


# --- what the engines offer ----------------------------------------------------------------


class OptionInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One of an engine's own settings, as a front shows and checks it.

    A request that does not name it means its `default`. A recipe that does not is older than the
    option, and means `unsaid`: what leaves its picture as it was; None where the default does. A
    `weighted` one takes several of its choices together, as in “one:1 + another:0.5”.
    """

    name: str
    help: str
    default: Setting
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    weighted: bool = False
    unsaid: Setting | None = None

    @property
    def if_unsaid(self) -> Setting:
        """What a recipe means that does not name it."""
        return self.default if self.unsaid is None else self.unsaid

    def takes_text(self, text: str) -> bool:
        """Say whether a text is among its choices, or where it has none any text."""
        if not (self.weighted and self.choices):
            return not self.choices or text in self.choices
        return bool(chosen_with_weights(text, self.choices))


def chosen_with_weights(text: str, choices: tuple[str, ...]) -> tuple[tuple[str, float], ...]:
    """Read “one:1 + another:0.5” as choices with their weights; nothing if it is not that.

    Weights are above 0 and at most 100, and 1 where none is given; no choice may come twice.
    """
    found: dict[str, float] = {}
    for part in text.split("+") if text not in choices else [text]:
        name, weight = part.strip(), 1.0
        if name not in choices:
            name, _, number = name.rpartition(":")
            name = name.strip()
            try:
                weight = float(number)
            except ValueError:
                return ()
        if name not in choices or name in found or not 0 < weight <= 100:
            return ()
        found[name] = weight
    return tuple(found.items())


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A model that an engine can draw with on this machine, and the terms it comes under.

    `available` is false where its weights are not here; `missing` then says how to get them.
    """

    name: str
    title: str
    licence: str
    available: bool = True
    missing: str = ""


class JourneyInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of journey that an engine can draw, and what suits it for each frame.

    `max_steps` is how many it may have in all, where that is bounded.
    """

    kind: JourneyKind
    frame_steps: int
    strength: float = 1.0
    max_steps: int | None = None


class EngineInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a front needs to know of an engine: what may be asked of it, and what it takes.

    Sizes are in pixels and multiples of `size_multiple`. `guidance` is None where the engine has
    no such thing. `models` is in order of preference: the first available one is the default.

    What it draws from: `takes_prompt` is false for a mere tool; where it
    `needs_positive`, words to be kept away from are not enough; it may start from a picture
    (`takes_init`), must (`needs_init`), redraw only a part of it (`takes_mask`), be led by a sketch
    (`takes_sketch`; where it only lacks the weights for that, `sketch_missing` says how to get
    them), and use so many further pictures (`max_pictures`). With a `scale` the picture is so many
    times as large as its start, and neither size nor steps are asked for: it takes a step for each
    window of `tile`, a side and how far apart they lie, in pixels of the start. Where it
    `continues`, a step does not depend on how many there are to be, so that more can be added to a
    finished picture. `journeys` are those that it can draw, the preferred kind first.
    """

    name: str
    title: str
    models: tuple[ModelInfo, ...]
    default_width: int
    default_height: int
    min_side: int
    max_side: int
    max_pixels: int
    size_multiple: int
    default_steps: int
    max_steps: int
    guidance: float | None = None
    max_guidance: float = 30.0
    takes_prompt: bool = True
    takes_init: bool = False
    needs_init: bool = False
    takes_mask: bool = False
    takes_sketch: bool = False
    sketch_missing: str = ""
    max_pictures: int = 0
    scale: int | None = None
    tile: tuple[int, int] = (1, 1)
    continues: bool = False
    takes_negative: bool = False
    needs_positive: bool = False
    steerable: bool = False
    journeys: tuple[JourneyInfo, ...] = ()
    options: tuple[OptionInfo, ...] = ()

    @property
    def defaults(self) -> dict[str, Setting]:
        """Each option's default, by its name: complete settings for something new."""
        return {option.name: option.default for option in self.options}


# --- from the bot to the scheduler ---------------------------------------------------------


class Hello(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """The first message. `secret` proves who connects where the socket is a TCP port."""

    version: int = PROTOCOL_VERSION
    secret: str = ""


class Submit(msgspec.Struct, frozen=True, tag=True):
    """Draw this. Submitting an id that is already known changes nothing."""

    job: Job


class Cancel(msgspec.Struct, frozen=True, tag=True):
    """Stop this job, waiting or running. Answered by `Cancelled`, or by the end that won."""

    job_id: str


class SteerJob(msgspec.Struct, frozen=True, tag=True):
    """Change a running or waiting job's prompt. Answered by `Steered` or `Refused`.

    `number` is the scheduler process's own: it counts steers as they come.
    """

    job_id: str
    prompt: str
    glide_steps: int = 0
    number: int = 0


class Embed(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Say where pictures and texts lie in a perceptor's space. Answered by `Embedded`.

    `perceptor` is one of `Welcome.perceptors`. Pictures are encoded files.
    """

    id: str
    perceptor: str
    pictures: tuple[bytes, ...] = ()
    texts: tuple[str, ...] = ()


class Weights(msgspec.Struct, frozen=True, tag=True):
    """Each stream's share of the machine; a stream not named has weight 1."""

    streams: dict[str, float]


class Shutdown(msgspec.Struct, frozen=True, tag=True):
    """Checkpoint what runs, send it, and exit."""


# --- from the scheduler to the bot ---------------------------------------------------------


class WorkerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One who draws: its device in words, and on a cluster the address of its node."""

    name: str
    device: str
    node: str = ""


class Welcome(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """The answer to `Hello`, once the engines are known and the first job can be taken.

    `device` names the devices of all `workers` together.
    """

    version: int
    pid: int
    device: str
    engines: tuple[EngineInfo, ...]
    perceptors: tuple[str, ...] = ()
    workers: tuple[WorkerInfo, ...] = ()


class Workers(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Workers have come or gone: what there is to draw with from now on, as in `Welcome`.

    What has been offered once stays offered: its jobs wait for a worker that can draw them.
    """

    device: str
    engines: tuple[EngineInfo, ...]
    perceptors: tuple[str, ...]
    workers: tuple[WorkerInfo, ...]


class CannotStart(msgspec.Struct, frozen=True, tag=True):
    """In place of `Welcome`: the engines could not be made, and the process exits.

    `reason` is a sentence that says what to do.
    """

    reason: str


class Activity(StrEnum):
    """What the worker is at; each kind has its own deadline."""

    IDLE = "idle"
    LOAD = "load"
    STEP = "step"
    ENCODE = "encode"


class Beat(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """A sign of life, about once a second, from a thread that does not draw.

    `busy_s` is how long the present activity has lasted and `limit_s` how long it may; past that
    the supervisor ends the process. `job_ids` are the jobs in it: the suspects if it dies.
    """

    activity: Activity
    busy_s: float
    limit_s: float
    job_ids: tuple[str, ...] = ()


STEP_BOUNDS_S = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 15.0)
"""The upper bounds by which the durations of steps are counted, in seconds."""


class StepTally(msgspec.Struct, frozen=True):
    """The steps that an engine took with batches of one size: `runs` runs at once.

    `seconds` is their sum. `counts` has how many took no longer than each of `STEP_BOUNDS_S` and
    longer than the one before it, and in the end how many took longer than the last.
    """

    engine: str
    runs: int
    seconds: float
    counts: tuple[int, ...]


class Figures(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """What was measured since the last of these; sent with a beat, where there is anything.

    `loads` has the engine and seconds of each model that was loaded. Of the last assignment whose
    memory could be measured: the most bytes of the device in use, and what had been predicted.
    """

    steps: tuple[StepTally, ...]
    loads: tuple[tuple[str, float], ...] = ()
    predicted_bytes: int = 0
    measured_bytes: int = 0


class Place(msgspec.Struct, frozen=True):
    """A waiting job's place (1 is next) and when, in seconds from now, it should start and end."""

    job_id: str
    place: int
    starts_in_s: float
    ends_in_s: float


class Queue(msgspec.Struct, frozen=True, tag=True):
    """Where every waiting job stands. Sent when it changed, at a bounded rate."""

    waiting: tuple[Place, ...]


class Started(msgspec.Struct, frozen=True, tag=True):
    """A job's first step is about to be taken (again, after a resume).

    `notices` are sentences for the person about what of the recipe cannot be kept to as it was
    meant: words that are beyond what the model reads. They follow from the recipe alone.
    """

    job_id: str
    step: int
    notices: tuple[str, ...] = ()


class Progress(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """How far a job is, and at a bounded rate what it looks like: a WebP picture."""

    job_id: str
    step: int
    steps: int
    ends_in_s: float
    preview: bytes | None = None
    loss: float | None = None


class Checkpoint(msgspec.Struct, frozen=True, tag=True):
    """Enough to go on from `step` in another process: safetensors, opaque to the bot.

    `gpu_s` is what has been charged for the job.
    """

    job_id: str
    step: int
    data: bytes
    gpu_s: float = 0.0


class Steered(msgspec.Struct, frozen=True, tag=True):
    """The steer has been taken, and belongs to the job's recipe from now on.

    `notices` are those of `Started` as they are with it, `number` is the `SteerJob`'s.
    """

    job_id: str
    steer: Steer
    notices: tuple[str, ...] = ()
    number: int = 0


class Refused(msgspec.Struct, frozen=True, tag=True):
    """A steer or cancel that could not be done, as a sentence for the person."""

    job_id: str
    reason: str


class Attachment(msgspec.Struct, frozen=True, kw_only=True):
    """What was made besides the picture: a film, a drawing as SVG.

    `name` is a file's name with its ending, `media_type` such as ``video/mp4``.
    """

    name: str
    media_type: str
    data: bytes


class Finished(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """The picture, as PNG without metadata. `gpu_s` is what was charged for it.

    `recipe` is the submitted one with what happened to it (steers), and reproduces the picture.
    """

    job_id: str
    recipe: Recipe
    png: bytes
    gpu_s: float
    score: float | None = None
    attachments: tuple[Attachment, ...] = ()


class Cancelled(msgspec.Struct, frozen=True, tag=True):
    """The job is over, unfinished, as asked."""

    job_id: str


class Failed(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """The job cannot be drawn. `reason` is a sentence for the person; `detail` for the log.

    `retry` says that the same job might succeed later (out of memory while others were in).
    """

    job_id: str
    reason: str
    detail: str = ""
    retry: bool = False


class Dropped(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """A worker is gone, and the scheduler knows its jobs no more: they are to be submitted again.

    `suspects` are those of `job_ids` that were in the step (or load) in which it died. `outside`
    says that it may have been killed by somebody: it need not have died of them.
    """

    job_ids: tuple[str, ...]
    reason: str
    suspects: tuple[str, ...] = ()
    outside: bool = False


class Embedded(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """The answer to `Embed`: unit vectors as little-endian float16, in the order of the asking.

    A picture that cannot be read has empty bytes. With a `reason` nothing could be embedded.
    """

    id: str
    pictures: tuple[bytes, ...] = ()
    texts: tuple[bytes, ...] = ()
    reason: str = ""


ToScheduler = Hello | Submit | Cancel | SteerJob | Embed | Weights | Shutdown
ToBot = (
    Welcome
    | CannotStart
    | Beat
    | Figures
    | Queue
    | Started
    | Progress
    | Checkpoint
    | Steered
    | Refused
    | Finished
    | Cancelled
    | Failed
    | Dropped
    | Embedded
    | Workers
)


class LogLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A record of the scheduler process's log: a line of JSON on its standard error.

    `at_s` is in seconds since 1970 UTC. `dreams` are those that were being worked on.
    """

    log: str
    level: str
    at_s: float
    message: str
    dreams: tuple[str, ...] = ()
    exception: str = ""


class ProtocolError(Exception):
    """The other end sent something that is not a message of this version."""


_encoder = msgspec.msgpack.Encoder()
_to_scheduler: msgspec.msgpack.Decoder[ToScheduler] = msgspec.msgpack.Decoder(ToScheduler)
_to_bot: msgspec.msgpack.Decoder[ToBot] = msgspec.msgpack.Decoder(ToBot)

M = TypeVar("M")


def encode(message: ToScheduler | ToBot) -> bytes:
    """Return one framed message.

    Raises:
        ProtocolError: it is larger than `MAX_MESSAGE_BYTES`.
    """
    body = _encoder.encode(message)
    if len(body) > MAX_MESSAGE_BYTES:
        raise ProtocolError(f"a message of {len(body)} bytes is over {MAX_MESSAGE_BYTES}")
    return _LENGTH.pack(len(body)) + body


async def read_for_scheduler(reader: asyncio.StreamReader) -> ToScheduler:
    """Read the bot's next message.

    Raises:
        ProtocolError: it is not a message of this version.
        asyncio.IncompleteReadError: the bot is gone.
    """
    return await _read(reader, _to_scheduler)


async def read_for_bot(reader: asyncio.StreamReader) -> ToBot:
    """Read the scheduler's next message; raises as `read_for_scheduler` does."""
    return await _read(reader, _to_bot)


async def _read(reader: asyncio.StreamReader, decoder: msgspec.msgpack.Decoder[M]) -> M:
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    if length > MAX_MESSAGE_BYTES:
        raise ProtocolError(f"a message of {length} bytes is over {MAX_MESSAGE_BYTES}")
    body = await reader.readexactly(length)
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"not a message of protocol {PROTOCOL_VERSION}: {error}") from error
