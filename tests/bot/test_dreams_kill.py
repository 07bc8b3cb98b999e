"""Kill -9 of the bot process at any moment: what was accepted ends, once; what was shown stays."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image as Pillow

from bot.model import DreamState, EventKind
from bot.recipes import read_recipe
from tests.bot.drawer import finished, services

ROOT = Path(__file__).resolve().parents[2]
KILLS = 6
FINAL = {EventKind.DONE, EventKind.FAILED, EventKind.CANCELLED}


def run_and_kill(folder: Path, chance: random.Random) -> list[tuple[str, str]]:
    """Run a bot process until it has shown something, kill it soon after; return what it said."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bot.restless", str(folder), str(chance.randrange(10**6))],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    assert first, "the process ended by itself"
    time.sleep(chance.random() * 0.8)
    process.kill()
    rest = process.stdout.read()
    process.stdout.close()
    process.wait()
    # The last line may be cut off; a word without its dream was not said.
    lines = (first + rest).split("\n")[:-1]
    return [(word, dream_id) for word, dream_id in (line.split() for line in lines)]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no kill -9")
async def test_what_was_accepted_ends_once_whenever_the_bot_is_killed(tmp_path: Path) -> None:
    chance = random.Random(20)
    said: list[tuple[str, str]] = []
    for _ in range(KILLS):
        said += await asyncio.to_thread(run_and_kill, tmp_path, chance)
    accepted = {dream_id for word, dream_id in said if word == "accepted"}
    shown = [dream_id for word, dream_id in said if word == "done"]
    deleted = {dream_id for word, dream_id in said if word == "deleted"}
    assert accepted
    assert deleted
    assert len(shown) == len(set(shown))

    # One more process draws what is left.
    async with services(tmp_path) as s:
        for dream in await s.dreams.unfinished(None):
            await s.dreams.on_message(finished(await s.job(dream.id)))
        ended = {dream_id: await s.dreams.wait(dream_id) for dream_id in accepted | set(shown)}
        assert await s.dreams.unfinished(None) == []
        assert {dream.state.final for dream in ended.values()} == {True}
        assert {ended[dream_id].state for dream_id in shown} <= {DreamState.DONE}
        log = await s.feed.replay(theme_id=None, after=0, limit=100_000)
        ends = Counter(event.dream_id for event in log if event.kind in FINAL)
        asks = Counter(event.dream_id for event in log if event.kind is EventKind.ASKED)
        assert set(ends.values()) == set(asks.values()) == {1}
        assert set(ends) == set(asks) >= accepted
        assert deleted <= {event.dream_id for event in log if event.kind is EventKind.DELETED}
        named = {row["sha256"] for row in await s.store.read("SELECT sha256 FROM image")}
        for event in log:
            if event.kind in FINAL:
                assert event.dream_id is not None
                dream = await s.dreams.get(event.dream_id)
                assert dream.state.value == event.kind.value
                if dream.deleted_ms is not None:
                    assert (dream.prompt, dream.image) == ("", None)
                    sha256 = event.payload.get("sha256")
                    assert sha256 is None or sha256 in named or not s.library.path(sha256).exists()
                elif dream.state is DreamState.DONE:
                    assert dream.image is not None
                    path = s.library.path(dream.image.sha256)
                    data = path.read_bytes()
                    assert len(data) == dream.image.size_bytes
                    assert read_recipe(data) == dream.recipe
                    with Pillow.open(path) as picture:
                        picture.load()
        kept = {path.stem for path in (tmp_path / "library" / "images").rglob("*.png")}
        assert kept == named, "no picture was left that nothing speaks of"
    with closing(sqlite3.connect(tmp_path / "dreamstream.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert connection.execute("SELECT count(*) FROM doomed_file").fetchone() == (0,)
    assert list((tmp_path / "library" / "checkpoints").glob("*.checkpoint")) == []
