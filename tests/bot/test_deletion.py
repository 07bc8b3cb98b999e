"""A deleted dream is gone from the disk and from the database's own file, whatever dies."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bot.errors import DiskError, ForbiddenError, GoneError, InvalidRequestError, NotFoundError
from bot.inits import StartGoneError
from bot.model import Act, Dream, DreamState, EventKind, Image, Relation, Visibility
from bot.removal import Removal
from bot.rights import Actor
from bot.store.migrate import BUSY_TIMEOUT_MS
from generation.protocol import Attachment, Checkpoint, Recipe
from tests.bot.drawer import (
    ANN,
    BOB,
    FOURIER,
    Services,
    finished,
    png,
    request,
    services,
    until,
)

NOTHING = Recipe(engine="", model="", prompt="", width=0, height=0, steps=0, seed=0)
GUILD = 7


def files(folder: Path) -> set[str]:
    """Return what the library holds: folders such as ``thumbnails/192`` and names."""
    root = folder / "library"
    return {
        f"{path.relative_to(root).parent.parent.as_posix()}/{path.name}"
        for path in root.rglob("*")
        if path.is_file()
    }


def picture_files(dream: Dream) -> set[str]:
    """Return what the library holds of a finished dream."""
    sha256 = sha_of(dream)
    return {f"images/{sha256}.png", f"thumbnails/384/{sha256}.webp"}


def sha_of(dream: Dream) -> str:
    """Return the name of a finished dream's picture."""
    assert dream.image is not None
    return dream.image.sha256


def holds(folder: Path, text: str) -> bool:
    """Say whether any file of the data folder has these bytes in it."""
    return any(text.encode() in path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def draw(
    s: Services, prompt: str = "a secret fox", colour: str = "red", **more: Any
) -> Dream:
    (dream,) = await s.dreams.ask(request(prompt, **more))
    await s.draw(dream.id, colour)
    return await s.dreams.wait(dream.id)


async def test_nothing_is_left_of_a_deleted_dream(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        dream = await draw(s, init=png(colour="blue"), strength=0.5)
        await s.moderation.favourite(dream.id, BOB)
        for side in (192, 384, 768):
            await s.library.make_thumbnail(sha_of(dream), side)
        assert len(files(tmp_path)) == 5, "two pictures, three thumbnails"
        assert holds(tmp_path, "a secret fox")
        await s.moderation.delete(dream.id, Actor(ANN))
        assert files(tmp_path) == set()
        assert not holds(tmp_path, "a secret fox"), "not in the database's free pages either"
        tombstone = await s.dreams.get(dream.id)
        assert tombstone.deleted_ms is not None
        assert (tombstone.prompt, tombstone.recipe, tombstone.image) == ("", NOTHING, None)
        assert (tombstone.person, tombstone.state) == (ANN, DreamState.DONE)
        assert await s.moderation.favourites([dream.id]) == {dream.id: 0}
        log = [e.kind for e in await s.feed.replay(theme_id=None, after=0) if e.dream_id]
        assert log == [EventKind.ASKED, EventKind.DONE, EventKind.DELETED]
        assert await s.dreams.recent(None) == []


async def test_nothing_is_left_of_a_deleted_dream_that_had_no_picture(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        (dream,) = await s.dreams.ask(request("a secret fox"))
        await s.dreams.cancel(dream.id, Actor(ANN))
        assert holds(tmp_path, "a secret fox")
        await s.dreams.delete(dream.id, Actor(ANN))
        assert not holds(tmp_path, "a secret fox"), "not in the journal either"


async def test_who_reads_the_journal_holds_nobody_up_and_it_is_emptied_afterwards(
    tmp_path: Path,
) -> None:
    async with services(tmp_path) as s:
        (dream,) = await s.dreams.ask(request("a secret fox"))
        await s.dreams.cancel(dream.id, Actor(ANN))
        removal = Removal(s.store, s.library, again_s=0.05)
        with closing(sqlite3.connect(s.store.path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM dream").fetchall()  # as a backup does
            async with asyncio.timeout(BUSY_TIMEOUT_MS / 1000 / 2):
                assert await removal.bury(await s.dreams.existing(dream.id), Actor(ANN))
                await removal.remove_files()
                await s.dreams.ask(request("the next one"))
            assert holds(tmp_path, "a secret fox"), "it is still being read"
        await until(lambda: not holds(tmp_path, "a secret fox"))
        await removal.stop()


async def test_nothing_can_be_done_with_a_deleted_dream(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        dream = await draw(s)
        await s.dreams.delete(dream.id, Actor(ANN))
        for attempt in (
            s.dreams.delete(dream.id, Actor(ANN)),
            s.dreams.redo(dream.id, ANN, same_seed=True),
            s.dreams.ask(request("more of it", parent_id=dream.id)),
            s.dreams.steer(dream.id, Actor(ANN), "a bird"),
            s.dreams.cancel(dream.id, Actor(ANN)),
            s.offspring.variations(dream.id, Actor(ANN)),
            s.moderation.favourite(dream.id, BOB),
        ):
            with pytest.raises(GoneError, match=r"^This dream was deleted\.$"):
                await attempt


async def test_only_its_author_or_a_moderator_of_its_server_deletes_a_dream(
    tmp_path: Path,
) -> None:
    async with services(tmp_path) as s:
        dream = await draw(s, guild_id=GUILD, channel_id=70)
        for actor in (
            Actor(BOB),
            Actor(BOB, guild_id=GUILD),
            Actor(BOB, guild_id=GUILD + 1, moderates=True),
        ):
            with pytest.raises(ForbiddenError, match="Only Ann"):
                await s.moderation.delete(dream.id, actor)
        await s.moderation.delete(dream.id, Actor(BOB, guild_id=GUILD, moderates=True))
        (entry,) = await s.moderation.log(GUILD)
        assert (entry.act, entry.by, entry.person) == (Act.DELETED, BOB, ANN)
        assert (entry.dream_id, entry.channel_id) == (dream.id, 70)
        own = await draw(s, guild_id=GUILD, channel_id=70)
        await s.moderation.delete(own.id, Actor(ANN, guild_id=GUILD))
        assert len(await s.moderation.log(GUILD)) == 1, "one's own is nobody's act of moderation"


async def test_a_moderator_who_ends_a_dream_is_in_the_log(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        own, other = await s.dreams.ask(request(count=2, guild_id=GUILD, channel_id=70))
        await s.dreams.cancel(own.id, Actor(ANN, guild_id=GUILD))
        await s.dreams.cancel(other.id, Actor(BOB, guild_id=GUILD, moderates=True))
        (entry,) = await s.moderation.log(GUILD)
        assert (entry.act, entry.by, entry.dream_id) == (Act.CANCELLED, BOB, other.id)


async def test_an_unfinished_dream_ends_as_it_is_deleted(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        (dream,) = await s.dreams.ask(request("a secret fox"))
        await s.begin(dream.id, 10, preview=png())
        await s.dreams.on_message(
            Checkpoint(job_id=dream.id, step=10, data=b"a secret state", gpu_s=1.0)
        )
        await until(lambda: any(name.endswith(".checkpoint") for name in files(tmp_path)))
        await s.dreams.delete(dream.id, Actor(ANN))
        assert s.dreams.live(dream.id) is None
        assert s.dreams.preview(dream.id) is None
        assert s.drawer.cancelled == [dream.id]
        await until(lambda: files(tmp_path) == set())
        # What the drawer says of it too late comes to nothing, and leaves no picture behind.
        await s.draw_late(dream.id)
        await asyncio.sleep(0.05)
        assert files(tmp_path) == set()
        assert (await s.dreams.get(dream.id)).state is DreamState.CANCELLED


async def test_a_picture_that_comes_while_its_dream_is_deleted_is_thrown_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with services(tmp_path) as s:
        (dream,) = await s.dreams.ask(request("a secret fox"))
        real, kept, go_on = s.library.keep, asyncio.Event(), asyncio.Event()

        async def keep(*args: Any, **kwargs: Any) -> Image:
            image = await real(*args, **kwargs)
            kept.set()
            await go_on.wait()
            return image

        monkeypatch.setattr(s.library, "keep", keep)
        await s.draw(dream.id)
        await kept.wait()
        await s.dreams.delete(dream.id, Actor(ANN))
        go_on.set()
        await until(lambda: files(tmp_path) == set())
        rows = await s.store.read("SELECT count(*) FROM image")
        assert rows[0][0] == 0


async def test_the_very_same_picture_of_another_dream_stays(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        first = await draw(s)
        again = await s.dreams.redo(first.id, ANN, same_seed=True)
        await s.draw(again.id)
        again = await s.dreams.wait(again.id)
        assert again.image == first.image
        await s.dreams.delete(first.id, Actor(ANN))
        assert await s.library.read(sha_of(again))
        assert (await s.dreams.get(again.id)).image == first.image
        await s.dreams.delete(again.id, Actor(ANN))
        assert files(tmp_path) == set()


async def test_a_picture_goes_also_where_another_dream_started_from_it(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        first = await draw(s)
        child, waiting = await s.offspring.variations(first.id, Actor(ANN), count=2)
        await s.draw(child.id, "blue")
        child = await s.dreams.wait(child.id)
        assert child.init_kept
        await s.dreams.delete(first.id, Actor(ANN))
        assert files(tmp_path) == picture_files(child)
        child = await s.dreams.get(child.id)
        assert child.recipe.init_sha256 == sha_of(first), "it says what it came of"
        assert not child.init_kept
        with pytest.raises(StartGoneError, match="no longer kept"):
            await s.dreams.redo(child.id, ANN, same_seed=True)
        # One that was handed over already has its start; for a new process there is none.
        await s.down()
        await s.up()
        failed = await s.dreams.wait(waiting.id)
        assert failed.state is DreamState.FAILED
        assert "no longer kept" in failed.reason


async def test_no_copy_of_a_picture_outlives_it(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        first = await draw(s)
        downloaded = await s.library.read(sha_of(first))
        child = await draw(s, "a bird", "green", init=downloaded, strength=0.5)
        assert child.recipe.init_sha256 == sha_of(first)
        await s.dreams.delete(first.id, Actor(ANN))
        assert files(tmp_path) == picture_files(child)
        assert not (await s.dreams.get(child.id)).init_kept


async def test_an_upload_goes_with_the_last_dream_that_started_from_it(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        start: dict[str, Any] = {"init": png(colour="blue"), "strength": 0.5}
        first = await draw(s, **start)
        second = await draw(s, "a bird", "green", **start)
        init = first.recipe.init_sha256
        assert init is not None
        await s.dreams.delete(first.id, Actor(ANN))
        assert await s.library.read(init)
        assert (await s.dreams.get(second.id)).init_kept
        await s.dreams.delete(second.id, Actor(ANN))
        assert files(tmp_path) == set()


async def test_a_deletion_that_was_cut_off_is_finished_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with services(tmp_path) as s:
        dream = await draw(s, init=png(colour="blue"), strength=0.5)
        kept = await draw(s, "a bird", "green")
        before = files(tmp_path)

        async def refuse(*_: object, **__: object) -> bool:
            raise DiskError("The disk does not keep files.")

        monkeypatch.setattr(s.library, "discard", refuse)
        await s.dreams.delete(dream.id, Actor(ANN))
        assert files(tmp_path) == before, "as after a crash behind the commit"
    async with services(tmp_path) as s:
        assert files(tmp_path) == picture_files(kept)
        assert await s.store.read("SELECT * FROM doomed_file") == []
        rows = await s.store.read("SELECT sha256 FROM image")
        assert [row["sha256"] for row in rows] == [sha_of(kept)]


@pytest.mark.parametrize("upload", [False, True])
async def test_what_was_kept_for_nothing_goes_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, upload: bool
) -> None:
    async with services(tmp_path) as s:
        kept = await draw(s, "a bird", "green")

        async def die(*_: object, **__: object) -> None:
            raise asyncio.CancelledError

        # As if the process died once the file was there, and before anything named it.
        monkeypatch.setattr(s.library, "let_go", die)
        if upload:
            await s.library.keep_upload(png(colour="blue"))
        else:
            job = await s.job((await s.dreams.ask(request()))[0].id)
            await s.library.keep(finished(job).png, job.recipe)
        left = files(tmp_path) - picture_files(kept)
        assert any(name.startswith("images/") for name in left)
    async with services(tmp_path, up=False) as s:
        assert files(tmp_path) == picture_files(kept)
    async with services(tmp_path, up=False) as s:
        assert files(tmp_path) == picture_files(kept)


async def test_what_was_named_before_the_process_died_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with services(tmp_path) as s:

        async def die(*_: object, **__: object) -> None:
            raise asyncio.CancelledError

        monkeypatch.setattr(s.library, "let_go", die)
        (dream,) = await s.dreams.ask(request())
        job = await s.begin(dream.id)
        film = Attachment(name="forming.mp4", media_type="video/mp4", data=b"a film")
        await s.dreams.on_message(msgspec.structs.replace(finished(job), attachments=(film,)))
        await until(lambda: len(files(tmp_path)) >= 5)
        await asyncio.sleep(0.2)
    async with services(tmp_path, up=False) as s:
        dream = await s.dreams.get(dream.id)
        (file,) = dream.files
        assert files(tmp_path) == picture_files(dream) | {f"files/{file.sha256}"}
        assert await s.library.read_file(file) == b"a film"
        await s.dreams.delete(dream.id, Actor(ANN))
        assert files(tmp_path) == set()


async def test_a_picture_that_is_being_uploaded_again_is_not_taken_away(tmp_path: Path) -> None:
    blue = png(colour="blue")
    async with services(tmp_path) as s:
        dream = await draw(s, init=blue, strength=0.5)
        sha256, _ = await s.library.keep_upload(blue)  # somebody else's ask, not accepted yet
        await s.dreams.delete(dream.id, Actor(ANN))
        assert await s.library.read(sha256)
        (other,) = await s.dreams.ask(request("a bird", init=blue, strength=0.5))
        await s.library.let_go(sha256, named=True)
        await s.draw(other.id)
        assert (await s.dreams.wait(other.id)).state is DreamState.DONE
    async with services(tmp_path) as s:
        assert await s.library.read(sha256), "it is named now, and spared"
        assert await s.store.read("SELECT * FROM doomed_file") == []


async def test_a_start_must_be_of_a_stream_that_may_be_seen(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        secret = await s.themes.create("secret", "Ours", person=ANN, visibility=Visibility.PRIVATE)
        hidden = await draw(s, theme=secret.slug)
        with pytest.raises(NotFoundError, match="no such dream"):
            await s.dreams.ask(request(parent_id=hidden.id, relation=Relation.REMIX))
        assert await s.dreams.ask(request(theme="secret", parent_id=hidden.id))
        await s.moderation.set_publishes(ANN, False)
        quiet = await draw(s, guild_id=GUILD, channel_id=70)
        for channel_id in (None, 71):
            with pytest.raises(NotFoundError, match="no such dream"):
                await s.dreams.ask(request(parent_id=quiet.id, channel_id=channel_id))
        assert await s.dreams.ask(request(parent_id=quiet.id, guild_id=GUILD, channel_id=70))


async def test_who_keeps_their_dreams_to_themselves_is_not_published(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        before = await draw(s)
        assert await s.moderation.publishes(ANN)
        await s.moderation.set_publishes(ANN, False)
        assert not await s.moderation.publishes(ANN)
        assert await s.moderation.publishes(BOB)
        quiet = await draw(s)
        again = await s.dreams.redo(before.id, ANN, same_seed=False)
        assert [before.published, quiet.published, again.published] == [True, False, False]
        assert not (await s.dreams.get(quiet.id)).published
        assert [dream.id for dream in await s.dreams.recent(None)] == [before.id]
        await s.moderation.set_publishes(ANN, True)
        assert (await draw(s)).published
        log = await s.feed.replay(theme_id=None, after=0)
        told = {e.dream_id: e.payload.get("published") for e in log if e.kind is EventKind.ASKED}
        assert told[quiet.id] is False
        assert told[before.id] is None


async def test_a_recipe_cannot_name_what_is_not_here(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        dream = await draw(s, engine=FOURIER.name)
        recipe = msgspec.structs.replace(dream.recipe, init_sha256="0" * 64, strength=0.5)
        with pytest.raises(InvalidRequestError, match="not here"):
            await s.dreams.draw_recipe("open", ANN, recipe)
