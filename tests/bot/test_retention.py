"""Retention: the oldest go as far as the settings say, and never what somebody still needs."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiosqlite import Connection

from bot.checkpoints import CHECKPOINTS, Checkpoints
from bot.config import Config
from bot.consistency.model import Folder
from bot.consistency.proving import prove
from bot.data_folder import lock_folder
from bot.errors import ConfigError, DiskError
from bot.ids import IdMaker, now_ms
from bot.library import Library, described
from bot.model import Dream, DreamState, EventKind, File, Image, Person
from bot.retention import A_TURN, Retention, RetentionRules
from bot.retention_command import run
from bot.rights import Actor
from bot.store import Store, deliveries, dream_states, events, favourites, images, people
from bot.store import dreams as rows
from bot.store.retention import CANDIDATES, Bounds, candidates, total_bytes
from bot.themes import Themes
from bot.trusted_time import DAY_MS
from generation.protocol import Recipe
from tests.bot.drawer import ANN, BOB, png, request, services

FILM_BYTES = 1000


@dataclass
class World:
    """A library whose dreams are of any age, written as the product writes them."""

    store: Store
    library: Library
    theme_id: int
    party_theme_id: int
    ids: IdMaker = field(default_factory=IdMaker)
    count: int = 0

    async def dream(
        self,
        days: float,
        *,
        state: DreamState = DreamState.DONE,
        film: bool = False,
        theme_id: int | None = None,
        parent: Dream | None = None,
        start: Dream | None = None,
    ) -> Dream:
        """Add a dream that ended so many days ago; its picture is none of any other's."""
        self.count += 1
        at_ms = now_ms() - int(days * DAY_MS)
        dream_id = self.ids.next()
        init = None if start is None or start.image is None else start.image.sha256
        recipe = Recipe(
            engine="e", model="m", prompt="p", width=8, height=8, steps=1, seed=1, init_sha256=init
        )
        dream = Dream(
            id=dream_id,
            ask_id=dream_id,
            theme_id=theme_id or self.theme_id,
            person=ANN,
            prompt="a secret",
            recipe=recipe,
            state=DreamState.WAITING,
            parent_id=None if parent is None else parent.id,
            created_ms=at_ms,
        )
        async with self.store.write() as connection:
            await people.upsert(connection, ANN, at_ms)
            await people.upsert(connection, BOB, at_ms)
            await dream_states.insert(connection, [dream])
            await events.append(
                connection, EventKind.ASKED, dream.theme_id, at_ms, dream_id=dream_id
            )
            if state is DreamState.DONE:
                data = png(8, 8, f"#{self.count:06x}")
                image = described(hashlib.sha256(data).hexdigest(), data)
                self._write(self.library.path(image.sha256), data)
                await images.insert(connection, image, at_ms)
                await dream_states.to_done(
                    connection, dream_id, recipe, image, gpu_s=1, score=None, now_ms=at_ms
                )
                if film:
                    content = str(self.count).rjust(FILM_BYTES).encode()
                    file = File(
                        name="film.mp4",
                        media_type="video/mp4",
                        sha256=hashlib.sha256(content).hexdigest(),
                        size_bytes=len(content),
                    )
                    self._write(self.library.file_path(file), content)
                    await dream_states.add_files(connection, dream_id, [file])
            elif state.final:
                await dream_states.to_ended(connection, dream_id, state, "why", at_ms)
            if state.final:
                await events.append(
                    connection, EventKind(state), dream.theme_id, at_ms, dream_id=dream_id
                )
        found = await rows.by_id(self.store, dream_id)
        assert found is not None
        return found

    def _write(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    async def upload(self, number: int) -> Image:
        """Keep a picture that is none of any dream's, and larger than those are."""
        data = png(200 + number, 40, "white")
        image = described(hashlib.sha256(data).hexdigest(), data)
        self._write(self.library.path(image.sha256), data)
        async with self.store.write() as connection:
            await images.insert(connection, image, 1)
        return image

    async def game(self, connection: Connection, entered: Image) -> None:
        """Have a game that is over, with a picture that was entered in it."""
        game_id = "g" * 16
        await connection.execute(
            "INSERT INTO game VALUES (?, ?, 'draw', ?, 'over', 'p', NULL, 1, 0, NULL, NULL, NULL, "
            "0, 1, 1, '', 1, 1, 1, 0)",
            (game_id, self.theme_id, ANN.id),
        )
        await connection.execute(
            "INSERT INTO game_entry VALUES (?, ?, ?, '', NULL, ?, NULL, 5, 0, 1, 1, NULL, NULL)",
            ("e" * 16, game_id, ANN.id, entered.sha256),
        )

    async def party(self, stage: str, ended: bool) -> str:
        """Let the party's theme be that of a party that stands so."""
        party_id = "0" * 16
        async with self.store.write() as connection:
            await connection.execute("DELETE FROM party")
            await connection.execute(
                "INSERT INTO party (id, code, theme_id, topic, stage, settings, created_ms, "
                "stage_started_ms, stage_minutes, active_ms, ended_ms) "
                "VALUES (?, 'c', ?, 't', ?, '{}', 1, 1, 0, 1, ?)",
                (party_id, self.party_theme_id, stage, 1 if ended else None),
            )
        return party_id

    def retention(self, **rules: float) -> Retention:
        """Return what makes room by these rules."""
        checkpoints = Checkpoints(self.library.root / CHECKPOINTS)
        made = RetentionRules(**rules)  # type: ignore[arg-type]
        return Retention(self.store, self.library, checkpoints, made, look_s=0.01, pause_s=0.01)

    async def there(self) -> set[str]:
        """Return the dreams that have not gone."""
        found = await self.store.read("SELECT id FROM dream WHERE deleted_ms IS NULL")
        return {row["id"] for row in found}

    async def bytes(self) -> int:
        """Return how much room the library takes."""
        root = self.library.root
        return sum(
            path.stat().st_size
            for folder in ("images", "files")
            for path in (root / folder).rglob("*")
            if path.is_file()
        )


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    store = await Store.open(tmp_path / "data" / "dreamstream.db")
    library = Library(tmp_path / "data" / "library")
    themes = Themes(store)
    await themes.ensure_default()
    (theme,) = await themes.list()
    async with store.write() as connection:
        cursor = await connection.execute(
            "INSERT INTO theme (slug, title, created_ms) VALUES ('evening', 'An evening', 1)"
        )
    assert cursor.lastrowid is not None
    yield World(store, library, theme.id, cursor.lastrowid)
    library.close()
    await store.close()


async def to_the_end(retention: Retention) -> int:
    gone = 0
    async for count in retention.turns():
        assert count <= A_TURN, "a little at a time"
        gone += count
    return gone


async def test_what_is_too_old_goes_and_leaves_a_tombstone(world: World, tmp_path: Path) -> None:
    old = await world.dream(40, film=True)
    failed = await world.dream(40, state=DreamState.FAILED)
    young = await world.dream(20)
    kept = Checkpoints(world.library.root / CHECKPOINTS)
    kept.write(old.id, 1, b"x")
    kept.put_by(old.id)
    assert await to_the_end(world.retention(keep_days=30)) == 2
    assert await world.there() == {young.id}
    assert kept.read_put_by(old.id) is None
    assert old.image is not None
    assert not world.library.path(old.image.sha256).exists()
    tombstone = await rows.by_id(world.store, old.id)
    assert tombstone is not None
    assert (tombstone.prompt, tombstone.files, tombstone.state) == ("", (), DreamState.DONE)
    log = [one for one in await events.after(world.store, 0, 100) if one.dream_id == old.id]
    assert [one.kind for one in log][-1] is EventKind.DELETED
    assert log[-1].retired
    assert log[-1].person == Person("local:retention", "Retention")
    assert (await rows.by_id(world.store, failed.id)).prompt == ""  # type: ignore[union-attr]
    proof = await asyncio.to_thread(prove, Folder(tmp_path / "data", alone=True))
    assert [fault.text for fault in proof.faults] == []


async def test_what_takes_too_much_room_goes_the_oldest_first(world: World) -> None:
    dreams = [await world.dream(9 - index, film=True) for index in range(6)]
    await world.dream(9, state=DreamState.CANCELLED)
    each = await world.bytes() // 6
    assert await to_the_end(world.retention(keep_bytes=3 * each + each // 2)) == 3
    assert {one.id for one in dreams[3:]} < await world.there()
    assert await world.bytes() <= 3 * each + each // 2
    assert await to_the_end(world.retention(keep_bytes=1)) == 3, "all that takes room"


async def test_all_that_goes_with_a_dream_counts_as_what_it_takes(world: World) -> None:
    dream, other = await world.dream(9, film=True), await world.dream(8)
    failed = await world.dream(7, state=DreamState.FAILED)
    assert dream.image is not None and other.image is not None
    original, upload, mask, shared, entered = [await world.upload(count) for count in range(5)]
    async with world.store.write() as connection:
        await connection.execute(
            "INSERT INTO picture_check (dream_id, setting, verdict, original_sha256, checked_ms) "
            "VALUES (?, 'blur', 'flagged', ?, 1)",
            (dream.id, original.sha256),
        )
        for one, start in ((dream, shared), (other, dream.image), (failed, upload)):
            await connection.execute(
                "UPDATE dream SET init_sha256 = ? WHERE id = ?", (start.sha256, one.id)
            )
        for one, picture in ((dream, mask), (dream, entered), (other, shared)):
            await connection.execute(
                "INSERT INTO dream_picture (dream_id, sha256) VALUES (?, ?)",
                (one.id, picture.sha256),
            )
        await world.game(connection, entered)
    bounds = Bounds(now_ms(), sized=True)
    found = {one.dream_id: one.bytes async for one in candidates(world.store, bounds)}
    sizes = [one.size_bytes for one in (dream.image, original, mask)]
    assert found[dream.id] == sum(sizes) + FILM_BYTES, "not what another dream or a game has"
    assert found[other.id] == other.image.size_bytes + shared.size_bytes
    assert found[failed.id] == upload.size_bytes
    before = await total_bytes(world.store)
    assert await to_the_end(world.retention(keep_days=1)) == 3
    assert before - await total_bytes(world.store) == sum(found.values())


@pytest.mark.parametrize("a_turn", [1, A_TURN])
async def test_no_more_goes_than_has_to_where_people_draw_from_uploads(
    world: World, monkeypatch: pytest.MonkeyPatch, a_turn: int
) -> None:
    monkeypatch.setattr("bot.retention.A_TURN", a_turn)
    for count in range(10):
        dream, upload = await world.dream(20 - count), await world.upload(count)
        async with world.store.write() as connection:
            await connection.execute(
                "UPDATE dream SET init_sha256 = ? WHERE id = ?", (upload.sha256, dream.id)
            )
    over = 2 * upload.size_bytes
    assert await to_the_end(world.retention(keep_bytes=await world.bytes() - over)) == 2
    assert len(await world.there()) == 8


async def test_of_those_that_share_a_picture_the_oldest_go_first_too(world: World) -> None:
    made = [await world.dream(9 - count) for count in range(3)]
    failed = [await world.dream(5 - count, state=DreamState.FAILED) for count in range(3)]
    last, upload = await world.dream(2), await world.upload(0)
    assert made[2].image is not None
    async with world.store.write() as connection:
        for one in made[:2]:
            await connection.execute(
                "UPDATE dream SET image_sha256 = ? WHERE id = ?", (made[2].image.sha256, one.id)
            )
        for one in failed:
            await connection.execute(
                "UPDATE dream SET init_sha256 = ? WHERE id = ?", (upload.sha256, one.id)
            )
        await connection.execute(
            "DELETE FROM image WHERE sha256 IN (?, ?)",
            [one.image.sha256 for one in made[:2] if one.image is not None],
        )
    bounds = Bounds(now_ms() - DAY_MS, sized=True)
    found = [one async for one in candidates(world.store, bounds)]
    assert [one.dream_id for one in found] == [one.id for one in (*made, *failed, last)]
    assert [bool(one.bytes) for one in found] == [False, False, True] * 2 + [True]
    total = await total_bytes(world.store)
    assert await to_the_end(world.retention(keep_bytes=total - 1)) == 3
    assert await world.there() == {one.id for one in (*failed, last)}


async def test_what_cannot_be_removed_yet_takes_no_further_dreams_along(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for count in range(6):
        await world.dream(9 - count)
    keep = await world.bytes() * 3 // 4

    async def fails(*_: object, **__: object) -> None:
        raise DiskError("The store does not answer.")

    monkeypatch.setattr(Library, "discard", fails)
    assert await to_the_end(world.retention(keep_bytes=keep)) == 2
    assert await to_the_end(world.retention(keep_bytes=keep)) == 0
    assert len(await world.there()) == 4


async def test_what_goes_by_age_is_not_counted_twice(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(6):
        await world.dream(9 - index, film=True)
    each = await world.bytes() // 6
    monkeypatch.setattr("bot.retention.A_TURN", 1)  # gone before it is asked what goes by size
    assert await to_the_end(world.retention(keep_days=7.5, keep_bytes=2 * each + each // 2)) == 4


async def test_one_that_cannot_go_keeps_no_other(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    stuck, other = await world.dream(9), await world.dream(8)
    async with world.store.write() as connection:
        await connection.execute(
            "CREATE TEMP TRIGGER stuck BEFORE UPDATE OF deleted_ms ON main.dream "
            f"WHEN OLD.id = '{stuck.id}' BEGIN SELECT RAISE(ABORT, 'not this one'); END"
        )
    assert await to_the_end(world.retention(keep_days=7)) == 1
    assert await world.there() == {stuck.id}
    assert f"dream {stuck.id} stays" in caplog.text and other.id not in caplog.text


async def test_what_ended_within_a_day_stays_however_full(world: World) -> None:
    today = await world.dream(0.9)
    await world.dream(1.1)
    await to_the_end(world.retention(keep_bytes=1, keep_days=0.1))
    assert await world.there() == {today.id}


async def test_what_people_like_goes_only_where_that_is_wanted_and_then_last(
    world: World,
) -> None:
    liked, other = await world.dream(9), await world.dream(8)
    async with world.store.write() as connection:
        await favourites.toggle(connection, liked.id, BOB.id, 1)
    each = await world.bytes() // 2
    assert await to_the_end(world.retention(keep_days=2, keep_bytes=1)) == 1
    assert await world.there() == {liked.id}
    other = await world.dream(8)
    given_up = world.retention(keep_bytes=each + each // 2, keep_favourites=False)
    assert await to_the_end(given_up) == 1
    assert await world.there() == {liked.id}, "the newer one that nobody likes goes before it"
    assert other.id not in await world.there()
    assert await to_the_end(world.retention(keep_bytes=1, keep_favourites=False)) == 1


async def test_what_comes_to_be_needed_meanwhile_stays(world: World) -> None:
    dream = await world.dream(40)
    retention = world.retention(keep_days=30)
    (chosen,) = [one async for one in retention.due()]
    async with world.store.write() as connection:
        await favourites.toggle(connection, dream.id, BOB.id, 1)
    assert not await retention._let_go(*chosen)
    assert await world.there() == {dream.id}


PARTIES = [("choose", False), ("published", True), ("finale", True)]


@pytest.mark.parametrize("seed", range(8))
async def test_nothing_that_is_needed_ever_goes(world: World, seed: int) -> None:
    chance = random.Random(seed)
    stage, ended = chance.choice(PARTIES)
    party_id = await world.party(stage, ended)
    bundled = chance.random() < 0.5
    if bundled:
        folder = world.library.root / "bundles" / party_id
        folder.mkdir(parents=True)
        (folder / chance.choice(("bundle.json", "wanted"))).write_bytes(b"{}")
    at_party = not ended or stage == "published" or bundled
    needed: dict[str, str] = {}
    free: set[str] = set()
    for _ in range(30):
        why = chance.choice(
            (
                "",
                "",
                "liked",
                "open",
                "party",
                "unfinished",
                "parent",
                "start",
                "young",
                "theme",
                "game",
                "digest",
            )
        )
        days = chance.uniform(0, 29) if why == "young" else chance.uniform(31, 400)
        theme_id = world.party_theme_id if why == "party" else None
        state = DreamState.WAITING if why == "unfinished" else DreamState.DONE
        dream = await world.dream(days, state=state, theme_id=theme_id, film=chance.random() < 0.3)
        assert dream.image is not None or why == "unfinished"
        async with world.store.write() as connection:
            if why == "liked":
                await favourites.toggle(connection, dream.id, BOB.id, 1)
            elif why in ("open", "") and chance.random() < 0.7:
                await deliveries.order(connection, [dream], 1, 1, 1)
                if why == "":  # what is delivered, or given up, is not needed for that
                    await connection.execute(
                        "UPDATE delivery SET state = ?, message_id = 1 WHERE dream_id = ?",
                        (chance.choice(("settled", "given_up")), dream.id),
                    )
            elif why == "open":
                why = ""
            elif why == "theme" and dream.image is not None:
                await connection.execute(
                    "UPDATE theme SET picture_sha256 = ? WHERE id = ? AND picture_sha256 IS NULL",
                    (dream.image.sha256, world.theme_id),
                )
            elif why == "game":
                await connection.execute(
                    "INSERT INTO game VALUES (?, ?, 'guess', ?, 'open', 'p', ?, 1, 0, NULL, NULL, "
                    "NULL, 0, 1, 1, '', 1, 1, NULL, 0)",
                    (dream.id, world.theme_id, ANN.id, dream.id),
                )
            elif why == "digest":
                cursor = await connection.execute(
                    "INSERT INTO digest (guild_id, channel_id, theme_id, day, since_ms, until_ms, "
                    "created_ms) VALUES (1, 1, ?, ?, 1, 1, 1)",
                    (world.theme_id, dream.id),
                )
                await connection.execute(
                    "INSERT INTO digest_dream VALUES (?, ?, 0)", (cursor.lastrowid, dream.id)
                )
        if why == "parent":
            child = await world.dream(40, state=DreamState.WAITING, parent=dream)
            needed[child.id] = "unfinished"
        elif why == "start":
            child = await world.dream(40, state=DreamState.WAITING, start=dream)
            needed[child.id] = "unfinished"
        elif why == "theme":
            (row,) = await world.store.read(
                "SELECT picture_sha256 FROM theme WHERE id = ?", (world.theme_id,)
            )
            assert dream.image is not None
            why = why if row[0] == dream.image.sha256 else ""
        elif why == "party" and not at_party:
            why = ""
        if why:
            needed[dream.id] = why
        else:
            free.add(dream.id)
    await to_the_end(world.retention(keep_days=30, keep_bytes=0))
    left = await world.there()
    lost = {why for dream_id, why in needed.items() if dream_id not in left}
    assert lost == set()
    assert left & free == set(), "and all the rest has gone"
    for dream_id in needed:
        kept = await rows.by_id(world.store, dream_id)
        assert kept is not None
        assert kept.prompt == "a secret"
        if kept.image is not None:
            assert await world.library.read(kept.image.sha256)


async def test_few_are_looked_at_in_one_query(world: World) -> None:
    """Nobody who reads waits behind all that must stay; yet all that may go is found."""
    dreams = [await world.dream(60 - index) for index in range(12)]
    async with world.store.write() as connection:
        for dream in dreams[:8]:
            await favourites.toggle(connection, dream.id, BOB.id, 1)
    for page in (1, 3, 5, 100):
        bounds = Bounds(now_ms() - 20 * DAY_MS)
        found = [one.dream_id async for one in candidates(world.store, bounds, page=page)]
        assert found == [dream.id for dream in dreams[8:]]


async def test_a_page_takes_no_longer_where_many_wait_or_play(world: World) -> None:
    """Each dream is asked for what needs it; what waits is not gone through for each of them."""
    values = {**Bounds(1).values(), "after": "", "upto": "z", "sized": True}
    plan = await world.store.read(f"EXPLAIN QUERY PLAN {CANDIDATES}", values)
    steps = [row["detail"] for row in plan]
    assert len(steps) > 20
    for through_all in ("dream_unfinished", "game_open", "SCAN child", "SCAN game", "SCAN dream"):
        assert [step for step in steps if through_all in step] == []


async def test_nothing_is_looked_at_where_all_has_room(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.dream(40)

    def looked(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr("bot.store.retention.candidates", looked)
    assert await to_the_end(world.retention(keep_bytes=await world.bytes())) == 0


async def test_the_bot_does_it_by_itself_and_only_if_it_is_told_to(world: World) -> None:
    for _ in range(A_TURN + 1):
        await world.dream(40)
    idle = world.retention()
    idle.start()
    busy = world.retention(keep_days=30)
    busy.start()
    try:
        async with asyncio.timeout(30):
            while await world.there():  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    finally:
        await busy.stop()
        await idle.stop()


async def test_a_dry_run_says_what_would_go_and_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], world: World
) -> None:
    def settings(**storage: float) -> Config:
        return Config.model_validate({"storage": {"data_dir": str(tmp_path / "data"), **storage}})

    old, _ = await world.dream(40), await world.dream(3)
    assert await run(argparse.Namespace(dry_run=True), settings()) == 0
    assert "Everything is kept" in capsys.readouterr().out
    lock = lock_folder(tmp_path / "data")
    assert await run(argparse.Namespace(dry_run=True), settings(keep_days=30.0)) == 0
    out = capsys.readouterr().out
    assert old.id in out and "1 dream would go" in out
    assert len(await world.there()) == 2
    with pytest.raises(ConfigError, match="another Dreamstream"):
        await run(argparse.Namespace(dry_run=False), settings(keep_days=30.0))
    lock.release()
    assert await run(argparse.Namespace(dry_run=False), settings(keep_days=30.0)) == 0
    assert "1 dream went" in capsys.readouterr().out
    assert len(await world.there()) == 1


async def test_a_dream_that_went_is_not_held_against_a_moderator(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        (dream,) = await s.dreams.ask(request("a secret", guild_id=7, channel_id=70))
        await s.draw(dream.id)
        await s.dreams.wait(dream.id)
        async with s.store.write() as connection:
            await connection.execute("UPDATE dream SET ended_ms = 1")
        kept = Checkpoints(s.library.root / CHECKPOINTS)
        retention = Retention(s.store, s.library, kept, RetentionRules(keep_days=1))
        assert await to_the_end(retention) == 1
        assert await s.moderation.log(7) == []
        with pytest.raises(Exception, match="was deleted"):
            await s.dreams.delete(dream.id, Actor(ANN))


async def test_nothing_goes_for_its_size_that_shares_its_picture_with_what_stays(
    world: World,
) -> None:
    """Three copies of a favourite's picture make no room, nor do three of a young one's upload."""
    made = [await world.dream(9 - count) for count in range(4)]
    upload = await world.upload(0)
    failed = [await world.dream(9 - count, state=DreamState.FAILED) for count in range(3)]
    young = await world.dream(0.0, state=DreamState.FAILED)
    other = await world.dream(3)
    *copies, favourite = made
    shared = made[3].image
    assert shared is not None
    async with world.store.write() as connection:
        for one in copies:
            assert one.image is not None
            await connection.execute(
                "UPDATE dream SET image_sha256 = ? WHERE id = ?", (shared.sha256, one.id)
            )
            await connection.execute("DELETE FROM image WHERE sha256 = ?", (one.image.sha256,))
        for one in (*failed, young):
            await connection.execute(
                "UPDATE dream SET init_sha256 = ? WHERE id = ?", (upload.sha256, one.id)
            )
        await connection.execute("INSERT INTO favourite VALUES (?, ?, 1)", (favourite.id, BOB.id))
    total = await total_bytes(world.store)
    assert await to_the_end(world.retention(keep_bytes=total - 1)) == 1
    assert await world.there() == {one.id for one in (*made, *failed, young)}
    assert other.id not in await world.there()


@pytest.mark.parametrize("why", ["liked", "card", "digest", "party", "game", "parent"])
async def test_nothing_goes_for_its_size_that_shares_all_with_what_is_needed(
    world: World, why: str
) -> None:
    """Whatever the picture and the film stay for: copies of them make no room."""
    await world.party("choose", ended=False)
    copies = [await world.dream(9 - count, film=True) for count in range(2)]
    theme_id = world.party_theme_id if why == "party" else None
    needed = await world.dream(6, film=True, theme_id=theme_id)
    film_only = await world.dream(5, film=True)
    free = await world.dream(4)
    if why == "parent":
        await world.dream(4, state=DreamState.WAITING, parent=needed)
    assert needed.image is not None and film_only.image is not None
    [film] = needed.files
    async with world.store.write() as connection:
        for one in copies:
            assert one.image is not None
            await connection.execute(
                "UPDATE dream SET image_sha256 = ? WHERE id = ?", (needed.image.sha256, one.id)
            )
            await connection.execute("DELETE FROM image WHERE sha256 = ?", (one.image.sha256,))
        for one in (*copies, film_only):
            await connection.execute(
                "UPDATE dream_file SET sha256 = ? WHERE dream_id = ?", (film.sha256, one.id)
            )
        if why == "liked":
            await favourites.toggle(connection, needed.id, BOB.id, 1)
        elif why == "card":
            await deliveries.order(connection, [needed], 1, 1, 1)
        elif why == "digest":
            await connection.execute(
                "INSERT INTO digest (id, guild_id, channel_id, theme_id, day, since_ms, until_ms, "
                "created_ms) VALUES (1, 1, 1, ?, 'a', 1, 1, 1)",
                (world.theme_id,),
            )
            await connection.execute("INSERT INTO digest_dream VALUES (1, ?, 0)", (needed.id,))
        elif why == "game":
            await connection.execute(
                "INSERT INTO game VALUES (?, ?, 'guess', ?, 'open', 'p', ?, 1, 0, NULL, NULL, "
                "NULL, 0, 1, 1, '', 1, 1, NULL, 0)",
                (needed.id, world.theme_id, ANN.id, needed.id),
            )
    bounds = Bounds(now_ms() - DAY_MS, sized=True)
    found = {one.dream_id: one.bytes async for one in candidates(world.store, bounds)}
    assert found == {
        film_only.id: film_only.image.size_bytes,
        free.id: free.image.size_bytes if free.image is not None else 0,
    }
    by_age = {
        one.dream_id: one.bytes async for one in candidates(world.store, Bounds(now_ms() - DAY_MS))
    }
    assert by_age == {one.id: 0 for one in copies} | found
