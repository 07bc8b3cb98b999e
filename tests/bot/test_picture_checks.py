"""What becomes of pictures that the check takes for ones for adults, whatever dies meanwhile."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, Never

import aiosqlite
import msgspec
import pytest
from PIL import Image as Pillow
from PIL.GifImagePlugin import GifImageFile

from bot.checking.classifier import Classifier, NotCheckedError
from bot.checking.covers import cover
from bot.checking.frames import frames
from bot.checking.model import Decision, Verdict
from bot.checking.nsfw import OpenNsfw, views
from bot.checking.reviews import MAX_TRIES, Reviews
from bot.checking.service import PictureChecks
from bot.consistency.rows import look
from bot.errors import ForbiddenError, InvalidRequestError, LimitError
from bot.gate import Asker
from bot.judging import judge
from bot.model import Act, Dream, DreamState, PictureCheck, Relation
from bot.rights import Actor
from bot.store import dreams as rows
from bot.store import people, picture_checks, tombstones
from generation.protocol import PROTOCOL_VERSION, Attachment, Finished, Welcome
from tests.bot.drawer import (
    ANN,
    BOB,
    DIFFUSION,
    Services,
    finished,
    png,
    request,
    services,
    until,
)

GUILD, CHANNEL = 7, 8
MODERATOR = Actor(BOB, guild_id=GUILD, moderates=True)


class Eyes:
    """Finds what a test says, in what is of these `kinds`, of every kind without.

    `next` says what is found of those that come next. `broken` where nobody can look; `dying`
    where what is to be looked at may be why.
    """

    def __init__(self) -> None:
        self.found = 0.0
        self.kinds: tuple[str, ...] = ()
        self.broken = False
        self.dying = False
        self.looked: list[str] = []
        self.next: list[float] = []

    async def score(self, data: bytes, media_type: str = "image/png") -> float:
        self.looked.append(media_type)
        if self.broken:
            raise NotCheckedError("broken by the test", its_own=self.dying)
        if self.next:
            return self.next.pop(0)
        return self.found if not self.kinds or media_type in self.kinds else 0.0


class Checked:
    """Services that check pictures."""

    def __init__(self, parts: Services, default: PictureCheck) -> None:
        self.parts = parts
        self.eyes = Eyes()
        self.checks = PictureChecks(parts.library, parts.settings, self.eyes, default)
        parts.dreams.check_pictures(self.checks)
        self.reviews = Reviews(parts.store, parts.library, parts.dreams, self.checks)

    async def dream(self, **changes: Any) -> Dream:
        """Ask for a dream in the channel, and draw it."""
        (dream,) = await self.parts.dreams.ask(
            request(guild_id=GUILD, channel_id=CHANNEL, **changes)
        )
        await self.parts.draw(dream.id)
        return await self.parts.dreams.wait(dream.id)

    def shown(self, dream: Dream) -> bytes:
        assert dream.image is not None
        return self.parts.library.path(dream.image.sha256).read_bytes()


@pytest.fixture
async def checked(tmp_path: Path) -> AsyncIterator[Checked]:
    async with services(tmp_path) as parts:
        yield Checked(parts, PictureCheck.SPOILER)


def colours(encoded: bytes) -> int:
    with Pillow.open(io.BytesIO(encoded)) as picture:
        return len(picture.convert("RGB").getcolors(1 << 24) or ())


# --- what becomes of a picture ------------------------------------------------------------------


async def test_a_picture_in_which_nothing_is_found_is_shown_as_it_is(checked: Checked) -> None:
    dream = await checked.dream()
    found = await picture_checks.by_id(checked.parts.store, dream.id)
    assert (dream.veil, dream.behind, dream.reason) == (None, None, "")
    assert found is not None and (found.verdict, found.nsfw) == (Verdict.CLEAR, 0.0)


@pytest.mark.parametrize("setting", [PictureCheck.SPOILER, PictureCheck.BLUR, PictureCheck.REFUSE])
async def test_what_is_found_is_covered_wherever_the_dream_is_shown(
    checked: Checked, setting: PictureCheck
) -> None:
    await checked.parts.settings.change_guild(GUILD, BOB, picture_check=setting)
    checked.eyes.found = 0.9
    dream = await checked.dream()
    assert dream.state is DreamState.DONE and dream.veil is setting
    assert dream.behind is not None and dream.image != dream.behind
    assert "picture check" in dream.reason
    # What reads the row, the stream, or the picture that belongs to the dream, finds the cover.
    events = await checked.parts.feed.replay(theme_id=None, after=0)
    assert dream.image is not None and events[-1].payload["sha256"] == dream.image.sha256
    (listed,) = await checked.parts.dreams.recent(dream.theme_id)
    assert listed.image == dream.image
    with Pillow.open(io.BytesIO(checked.shown(dream))) as picture:
        assert picture.size == (128, 128)
        assert (picture.getpixel((64, 64)) == (255, 0, 0)) is False
    # And nothing is made of it.
    assert checked.parts.offspring.can(dream) <= {Relation.REROLL}
    with pytest.raises(InvalidRequestError, match="covered"):
        await checked.parts.offspring.variations(dream.id, Actor(ANN))
    log = await checked.parts.moderation.log(GUILD)
    assert [entry.act for entry in log if entry.dream_id == dream.id] == [Act.COVERED]


async def filmed(checked: Checked) -> Dream:
    """Ask for a dream, and draw it with a film."""
    (dream,) = await checked.parts.dreams.ask(request(guild_id=GUILD, channel_id=CHANNEL))
    job = await checked.parts.begin(dream.id)
    film = Attachment(name="film.webp", media_type="image/webp", data=b"a film")
    done = finished(job)
    await checked.parts.dreams.on_message(
        Finished(job_id=job.id, recipe=done.recipe, png=done.png, gpu_s=0.1, attachments=(film,))
    )
    return await checked.parts.dreams.wait(dream.id)


async def test_films_are_looked_at_and_go_behind_the_cover(checked: Checked) -> None:
    checked.eyes.found, checked.eyes.kinds = 0.9, ("image/webp",)
    dream = await filmed(checked)
    assert checked.eyes.looked == ["image/png", "image/webp"]
    assert dream.veil is PictureCheck.SPOILER and dream.files == ()
    await checked.reviews.decide(dream, MODERATOR, Decision.RELEASED)
    assert [file.name for file in (await checked.parts.dreams.get(dream.id)).files] == ["film.webp"]


async def test_a_place_that_wants_no_check_still_keeps_it_from_the_wall(checked: Checked) -> None:
    await checked.parts.settings.change_channel(GUILD, CHANNEL, BOB, picture_check=PictureCheck.OFF)
    checked.eyes.found = 0.9
    dream = await checked.dream()
    assert (dream.veil, dream.published) == (None, False)
    checked.eyes.found = 0.1
    assert (await checked.dream()).published
    checked.checks.default = PictureCheck.OFF
    checked.eyes.looked.clear()
    assert (await checked.dream()).published and checked.eyes.looked == []


async def test_an_age_restricted_channel_shows_them_unless_it_says_otherwise(
    checked: Checked,
) -> None:
    parts = checked.parts
    asker = Asker(ANN, guild_id=GUILD, channel_id=CHANNEL, age_restricted=True)

    async def also(connection: aiosqlite.Connection, dreams: Sequence[Dream]) -> None:
        await judge(parts.gate, parts.themes, asker, connection, dreams)

    checked.eyes.found = 0.9
    for setting, veil in ((None, None), (PictureCheck.BLUR, PictureCheck.BLUR)):
        await checked.parts.settings.change_guild(GUILD, BOB, picture_check=setting)
        (dream,) = await checked.parts.dreams.ask(request(guild_id=GUILD, channel_id=CHANNEL), also)
        await checked.parts.draw(dream.id)
        assert (await checked.parts.dreams.wait(dream.id)).veil is veil


async def test_what_is_refused_does_not_count_for_the_hour(checked: Checked) -> None:
    await checked.parts.settings.change_guild(GUILD, BOB, picture_check=PictureCheck.REFUSE)
    checked.eyes.found = 0.9
    dream = await checked.dream()

    async def hour() -> int:
        async with checked.parts.store.write() as connection:
            taken = await rows.places_taken(
                connection, ANN.id, guild_id=GUILD, channel_id=CHANNEL, since_ms=0
            )
        return taken[2]

    assert await hour() == 0
    await checked.reviews.decide(dream, MODERATOR, Decision.RELEASED)
    assert await hour() == 1


# --- who sees it, and who decides ---------------------------------------------------------------


async def test_who_may_look_behind_and_who_decides(checked: Checked) -> None:
    await checked.parts.settings.change_guild(GUILD, BOB, picture_check=PictureCheck.BLUR)
    checked.eyes.found = 0.9
    dream = await checked.dream()
    stranger, elsewhere = Actor(BOB, guild_id=GUILD), Actor(BOB, guild_id=9, moderates=True)
    assert colours(await checked.reviews.original(dream, Actor(ANN))) == 1
    await checked.reviews.original(dream, MODERATOR)
    for nobody in (stranger, elsewhere):
        with pytest.raises(ForbiddenError):
            await checked.reviews.original(dream, nobody)
        with pytest.raises(ForbiddenError):
            await checked.reviews.decide(dream, nobody, Decision.RELEASED)
    with pytest.raises(ForbiddenError):
        await checked.reviews.decide(dream, Actor(ANN, guild_id=GUILD), Decision.RELEASED)


async def test_a_release_shows_it_and_takes_the_cover_from_the_disk(checked: Checked) -> None:
    checked.eyes.found = 0.9
    dream = await checked.dream()
    seen: list[str] = []
    checked.reviews.on_change(seen.append)
    await checked.reviews.decide(dream, MODERATOR, Decision.CONFIRMED)
    assert (await checked.parts.dreams.get(dream.id)).veil is not None and seen == []
    await checked.reviews.decide(dream, MODERATOR, Decision.RELEASED)
    shown = await checked.parts.dreams.get(dream.id)
    assert (shown.veil, shown.image, shown.reason, seen) == (None, dream.behind, "", [dream.id])
    assert dream.image is not None and not checked.parts.library.path(dream.image.sha256).exists()
    with pytest.raises(InvalidRequestError, match="not covered"):
        await checked.reviews.decide(shown, MODERATOR, Decision.RELEASED)
    log = await checked.parts.moderation.log(GUILD)
    assert [one.act for one in log if one.dream_id] == [Act.RELEASED, Act.CONFIRMED, Act.COVERED]
    await checked.dream(prompt="a covered hare")
    with closing(sqlite3.connect(checked.parts.store.path)) as connection:
        connection.row_factory = sqlite3.Row
        assert [fault.text for fault in look(connection)] == []


async def test_what_is_deleted_is_gone_behind_its_cover_as_well(checked: Checked) -> None:
    checked.eyes.found = 0.9
    dream = await checked.dream()
    assert dream.behind is not None and dream.image is not None
    await checked.parts.dreams.delete(dream.id, Actor(ANN))
    for image in (dream.image, dream.behind):
        assert not checked.parts.library.path(image.sha256).exists()
    assert await picture_checks.by_id(checked.parts.store, dream.id) is None


# --- nobody can look ----------------------------------------------------------------------------


def test_the_process_that_looks_ends_without_a_word_where_the_bot_was_killed() -> None:
    answers, told = os.pipe()
    os.close(answers)  # nobody reads what it says
    begin = (
        "import sys; from bot.checking import worker\n"
        "def none(): raise worker.MissingError('none here')\n"
        "worker.find_weights = none; sys.exit(worker.main())"
    )
    with os.fdopen(told, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-c", begin],
            stdin=subprocess.DEVNULL,
            stdout=closed,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, b"")


async def test_what_nobody_could_look_at_is_covered_and_looked_at_later(checked: Checked) -> None:
    checked.eyes.broken = True
    first, second = await checked.dream(), await checked.dream(prompt="a blue hare")
    assert first.veil is PictureCheck.SPOILER
    assert await checked.reviews.look_again() == 0
    checked.eyes.broken = False
    assert await checked.reviews.look_again() == 2
    assert (await checked.parts.dreams.get(first.id)).veil is None
    assert (await checked.parts.dreams.get(second.id)).image == second.behind
    assert await checked.reviews.look_again() == 0


async def test_a_picture_is_not_shown_while_its_film_is_for_adults(checked: Checked) -> None:
    checked.eyes.broken = True
    dream = await filmed(checked)
    checked.eyes.broken = False
    checked.eyes.found, checked.eyes.kinds = 0.9, ("image/webp",)
    assert await checked.reviews.look_again() == 1
    shown = await checked.parts.dreams.get(dream.id)
    found = await picture_checks.by_id(checked.parts.store, dream.id)
    assert (shown.veil, shown.files) == (PictureCheck.SPOILER, ())
    assert found is not None and found.verdict is Verdict.FLAGGED


async def test_what_kills_who_looks_is_tried_so_often_and_stays_covered(checked: Checked) -> None:
    checked.eyes.broken = checked.eyes.dying = True
    dream = await checked.dream()
    for _ in range(MAX_TRIES + 2):
        await checked.reviews.look_again()
    assert len(checked.eyes.looked) == 1 + MAX_TRIES
    assert (await checked.parts.dreams.get(dream.id)).veil is PictureCheck.SPOILER


async def test_while_nobody_can_look_no_try_is_counted(checked: Checked) -> None:
    checked.eyes.broken = True
    dreams = [await checked.dream(), await checked.dream(prompt="a blue hare")]
    checked.eyes.looked.clear()
    for _ in range(MAX_TRIES + 2):
        assert await checked.reviews.look_again() == 0
    assert len(checked.eyes.looked) == MAX_TRIES + 2  # the rest is left where one fails
    checked.eyes.broken = False
    assert await checked.reviews.look_again() == 2
    assert [(await checked.parts.dreams.get(dream.id)).veil for dream in dreams] == [None, None]


async def test_a_moderator_has_the_last_word(checked: Checked) -> None:
    checked.eyes.broken = True
    dream, late = await checked.dream(), await checked.dream(prompt="a blue hare")
    await checked.reviews.decide(dream, MODERATOR, Decision.CONFIRMED)
    checked.eyes.broken = False

    async def meanwhile(data: bytes, media_type: str = "image/png") -> float:
        await checked.reviews.decide(late, MODERATOR, Decision.CONFIRMED)
        return 0.0

    checked.eyes.score = meanwhile  # type: ignore[method-assign]
    await checked.reviews.look_again()
    for one in (dream, late):
        assert (await checked.parts.dreams.get(one.id)).veil is PictureCheck.SPOILER


@pytest.mark.parametrize("by", ["looking", "a moderator", "nobody"])
async def test_what_only_the_check_keeps_from_the_wall_goes_there(
    checked: Checked, by: str
) -> None:
    await checked.parts.settings.change_channel(GUILD, CHANNEL, BOB, picture_check=PictureCheck.OFF)
    seen: list[str] = []
    checked.reviews.on_change(seen.append)
    checked.eyes.broken = True
    dream = await checked.dream()
    assert (dream.veil, dream.published) == (None, False)
    checked.eyes.broken = False
    if by == "a moderator":
        await checked.reviews.decide(dream, MODERATOR, Decision.RELEASED)
        with pytest.raises(InvalidRequestError, match="not covered"):
            await checked.reviews.decide(dream, MODERATOR, Decision.RELEASED)
    elif by == "nobody":  # who asked for it wants nothing to be published any more
        async with checked.parts.store.write() as connection:
            await people.set_publishes(connection, ANN.id, publishes=False)
    await checked.reviews.look_again()
    published = by != "nobody"
    assert (await checked.parts.dreams.get(dream.id)).published is published
    assert seen == [dream.id] * published


async def test_a_death_between_looking_and_the_end_has_it_looked_at_again(tmp_path: Path) -> None:
    async with services(tmp_path) as parts:
        first = Checked(parts, PictureCheck.BLUR)
        first.eyes.found = 0.9
        (dream,) = await parts.dreams.ask(request(guild_id=GUILD, channel_id=CHANNEL))

        async def die(*_: object, **__: object) -> Never:
            raise asyncio.CancelledError

        parts.dreams._unfinished._endings._write_done = die  # type: ignore[method-assign]
        await parts.draw(dream.id)
        await until(lambda: first.eyes.looked)
        await asyncio.sleep(0.05)
    async with services(tmp_path) as parts:
        second = Checked(parts, PictureCheck.BLUR)
        second.eyes.found = 0.9
        assert (await parts.dreams.get(dream.id)).state is not DreamState.DONE
        await parts.draw(dream.id)
        assert (await parts.dreams.wait(dream.id)).veil is PictureCheck.BLUR
        assert len(second.eyes.looked) == 1
        async with parts.store.write() as connection:
            assert await tombstones.is_named(
                connection,
                tombstones.Kind.PICTURE,
                ((await parts.dreams.get(dream.id)).behind or pytest.fail()).sha256,
            )


# --- uploads and previews -----------------------------------------------------------------------


async def test_an_upload_in_which_something_is_found_is_not_taken(checked: Checked) -> None:
    checked.eyes.found = 0.9
    with pytest.raises(InvalidRequestError, match="for adults"):
        await checked.dream(init=png())
    assert not await checked.parts.dreams.unfinished(None)
    checked.eyes.broken = True
    await checked.parts.settings.change_guild(GUILD, BOB, picture_check=PictureCheck.REFUSE)
    for checked.eyes.dying in (False, True):  # a file that kills who looks is not thereby taken
        with pytest.raises(LimitError, match="cannot be checked"):
            await checked.dream(init=png())
    assert not [*checked.parts.library.root.glob("**/*.png")]
    checked.eyes.looked.clear()
    with pytest.raises(InvalidRequestError, match="not a picture"):
        await checked.dream(init=b"GIF89a, and no end of frames")
    assert checked.eyes.looked == []  # what is not taken is not looked at
    await checked.parts.settings.change_guild(GUILD, BOB, picture_check=PictureCheck.OFF)
    (dream,) = await checked.parts.dreams.ask(
        request(guild_id=GUILD, channel_id=CHANNEL, init=png())
    )
    assert dream.recipe.init_sha256 is not None


@pytest.mark.parametrize("part", ["mask", "sketch", "redrawn"])
async def test_what_is_painted_is_looked_at_as_what_is_uploaded_is(
    checked: Checked, part: str
) -> None:
    led = msgspec.structs.replace(DIFFUSION, takes_init=True, takes_mask=True, takes_sketch=True)
    await checked.parts.up(
        Welcome(version=PROTOCOL_VERSION, pid=2, device="a test", engines=(led,))
    )
    white, looked = png(colour="white"), checked.eyes.looked
    dream = await checked.dream(engine="diffusion", width=64, height=64)

    async def paint() -> None:
        if part == "redrawn":
            await checked.parts.offspring.redraw(dream.id, Actor(ANN, guild_id=GUILD), white)
        else:
            await checked.dream(engine="diffusion", init=png(), **{part: white})

    uploads = 1 if part == "redrawn" else 2
    looked.clear()
    checked.eyes.next = [0.1] * (uploads - 1) + [0.9]  # what is painted does not pass
    with pytest.raises(InvalidRequestError, match="for adults") as refused:
        await paint()
    assert refused.value.field == ("mask" if part == "redrawn" else part)
    assert len(looked) == uploads
    assert not await checked.parts.dreams.unfinished(None)
    await paint()


def webp(colour: str) -> bytes:
    out = io.BytesIO()
    Pillow.new("RGB", (32, 32), colour).save(out, "WEBP")
    return out.getvalue()


@pytest.mark.parametrize("setting", [PictureCheck.SPOILER, PictureCheck.REFUSE])
async def test_previews_are_looked_at_by_quarters(checked: Checked, setting: PictureCheck) -> None:
    checked.checks.default = setting
    (dream,) = await checked.parts.dreams.ask(request(steps=100))
    early, late = webp("red"), webp("blue")
    await checked.parts.begin(dream.id, 10, early)
    strict = setting is PictureCheck.REFUSE
    assert (checked.parts.dreams.preview(dream.id) is None) is strict
    await checked.parts.begin(dream.id, 30, early)
    await until(lambda: checked.parts.dreams.preview(dream.id) is not None)
    await until(lambda: len(checked.eyes.looked) == 1)
    await asyncio.sleep(0.02)
    checked.eyes.found = 0.9
    await checked.parts.begin(dream.id, 60, late)
    await until(lambda: len(checked.eyes.looked) == 2)
    await until(
        lambda: (checked.parts.dreams.preview(dream.id) or (0, late))[1] not in (early, late)
    )
    covered = checked.parts.dreams.preview(dream.id)
    for step in (70, 80, 95):
        await checked.parts.begin(dream.id, step, late)
    assert checked.parts.dreams.preview(dream.id) == covered
    assert checked.eyes.looked == ["image/webp"] * 2


# --- who looks ----------------------------------------------------------------------------------


def pid_of(classifier: Classifier) -> int | None:
    return classifier.pid


async def test_the_network_looks_in_a_process_of_its_own_and_is_missed_by_nobody() -> None:
    classifier = Classifier(pauses_s=(0.0,))
    try:
        assert await classifier.score(png(256, 256)) < 0.2
        pid = classifier.pid
        assert pid is not None and pid != os.getpid()
        with pytest.raises(NotCheckedError) as damaged:
            await classifier.score(b"no picture at all")
        assert damaged.value.its_own and classifier.pid == pid
        os.kill(pid, signal.SIGKILL)
        with suppress(NotCheckedError):  # where its death is not known yet
            await classifier.score(png())
        assert await classifier.score(png()) < 0.2
        assert pid_of(classifier) not in (None, pid)
    finally:
        await classifier.stop()
    assert pid_of(classifier) is None
    assert "onnxruntime" not in sys.modules


# Looks at nothing: finds 0.5 in everything, and dies of what says so.
MORTAL = f"""
import sys
sys.path[:0] = {sys.path!r}
from bot.checking import worker
class Network:
    def __init__(self, weights): pass
    def score(self, one): return 0.5
worker.OpenNsfw, worker.find_weights = Network, lambda: None
worker.frames = lambda data, kind: [data] if data != b"die" else sys.exit(9)
sys.exit(worker.main())
"""


async def test_what_kills_who_looks_keeps_nobody_else_waiting() -> None:
    classifier = Classifier((sys.executable, "-S", "-c", MORTAL), pauses_s=(60.0,))
    try:
        for data in (b"die", b"a picture", bytes(1 << 20)):
            if data == b"die":
                with pytest.raises(NotCheckedError) as died:
                    await classifier.score(data)
                assert died.value.its_own
            else:
                assert await classifier.score(data) == 0.5
        for _ in range(3):  # so many in a row: it is not the pictures
            with pytest.raises(NotCheckedError, match="died"):
                await classifier.score(b"die")
        with pytest.raises(NotCheckedError, match="dies of every picture"):
            await classifier.score(b"a picture")
        assert classifier.pid is None
    finally:
        await classifier.stop()


@pytest.mark.parametrize(
    ("program", "patience_s", "why"),
    [
        ("import time; time.sleep(60)", 0.5, "does not start|took too long"),
        ("pass", 30.0, "does not start"),
        ("import sys; sys.stdout.write('x' * 100)", 30.0, "does not start"),
    ],
)
async def test_one_that_does_not_answer_is_ended_and_not_asked_at_once(
    program: str, patience_s: float, why: str
) -> None:
    command = (sys.executable, "-S", "-c", program)
    classifier = Classifier(command, patience_s=patience_s, pauses_s=(60.0,))
    with pytest.raises(NotCheckedError, match=why):
        await classifier.score(png())
    pid = pid_of(classifier)
    with pytest.raises(NotCheckedError):
        await classifier.score(png())
    assert pid_of(classifier) == pid  # no other was started
    await classifier.stop()


# --- pictures -----------------------------------------------------------------------------------


def test_a_cover_shows_nothing_finer_than_its_grains() -> None:
    noise = Pillow.effect_noise((300, 200), 100).convert("RGB")
    noise.paste("white", (140, 90, 160, 110))
    out = io.BytesIO()
    noise.save(out, "PNG")
    with Pillow.open(io.BytesIO(cover(out.getvalue(), PictureCheck.BLUR))) as blurred:
        assert blurred.size == (300, 200)
        # Neighbours hardly differ: what is left is smooth over a tenth of the picture.
        grey = blurred.convert("L")
        row = [grey.getpixel((x, 100)) for x in range(300)]
    steps = [abs(float(a) - float(b)) for a, b in pairwise(row)]  # type: ignore[arg-type]
    assert max(steps) <= 8
    assert colours(cover(out.getvalue(), PictureCheck.REFUSE)) == 1


def test_a_film_is_looked_at_from_its_first_frame_to_its_last() -> None:
    film = [Pillow.new("RGB", (64, 64), (index * 10, 0, 0)) for index in range(20)]
    out = io.BytesIO()
    film[0].save(out, "GIF", save_all=True, append_images=film[1:])
    seen = [one.getpixel((0, 0))[0] for one in frames(out.getvalue(), "image/gif")]  # type: ignore[index]
    assert len(seen) == 6 and (seen[0], seen[-1]) == (0, 190)
    assert frames(b"<svg/>", "image/svg+xml") == []


def test_a_film_without_end_is_not_gone_through(monkeypatch: pytest.MonkeyPatch) -> None:
    film = [Pillow.new("RGB", (8, 8), (index * 10, 0, 0)) for index in range(20)]
    out = io.BytesIO()
    film[0].save(out, "GIF", save_all=True, append_images=film[1:])
    monkeypatch.setattr("bot.checking.frames._MOST_DECODED", 10)
    sought: list[int] = []
    seek = GifImageFile.seek

    def counted(picture: GifImageFile, frame: int) -> None:
        sought.append(frame)
        seek(picture, frame)

    monkeypatch.setattr(GifImageFile, "seek", counted)
    with pytest.raises(ValueError, match="too many frames"):
        frames(out.getvalue(), "image/gif")
    assert max(sought) == 10


def test_a_long_picture_is_looked_at_in_parts_too() -> None:
    assert len(views(Pillow.new("RGB", (128, 128)))) == 1
    parts = views(Pillow.new("RGB", (384, 128)))
    assert [one.size for one in parts] == [(384, 128)] + [(128, 128)] * 3
    for width, height in ((1024, 100), (64, 1024), (1024, 64), (1024, 3), (7, 1024), (40, 1)):
        picture = Pillow.new("RGB", (width, height))
        whole, *parts = views(picture)
        assert whole is picture and len(parts) <= 16
        assert all(min(one.size) == min(width, height) for one in parts)
        # Each is numbered in the picture: it is all of it that they show.
        numbered = Pillow.new("I", (width, height))
        numbered.putdata(range(width * height))
        inside = [memoryview(one.tobytes()).cast("i") for one in views(numbered)[1:]]
        shown = {pixel for pixels in inside for pixel in pixels}
        assert len(parts) == 0 or len(shown) == width * height


def test_what_is_at_the_end_of_a_long_picture_counts() -> None:
    np = pytest.importorskip("numpy")
    taken: list[int] = []

    class Session:
        """Finds of each picture how red it is."""

        def run(self, _: object, given: dict[str, Any]) -> tuple[Any]:
            (batch,) = given.values()
            taken.append(len(batch))
            red = (batch[..., 2] + 117 - batch[..., 1] > 100).mean(axis=(1, 2))
            return (np.stack([1 - red, red], axis=1),)

    network = OpenNsfw.__new__(OpenNsfw)
    network._session, network._input = Session(), "input"
    picture = Pillow.new("RGB", (1024, 64), "black")
    picture.paste("red", (980, 0, 1024, 64))
    assert network.score(picture) > 0.5
    assert sum(taken) == 17 and max(taken) <= 8, "a few at a time: they take memory"
