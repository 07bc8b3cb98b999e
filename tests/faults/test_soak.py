"""Dreams through the whole program while it is killed, and its disk and clock fail: `soak`."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.faults import shim
from tests.faults.soak import SETTINGS, UNCHECKED, Soak

DREAMS = 16
MOODS = {"plain": 8.0, "no number": 1.0, "heavy": 1.0}  # those that end no process


@pytest.mark.skipif("DREAMSTREAM_SLOW_TESTS" not in os.environ, reason="takes a minute or two")
def test_nothing_is_lost_or_twice_where_discord_is_slow(tmp_path: Path) -> None:
    soak = Soak(tmp_path, 7, 30, SETTINGS + UNCHECKED, MOODS)
    wrong = asyncio.run(soak.run(["slow_discord", "kill_bot", "slow_discord", "kill_at_a_post"]))
    assert not wrong, "\n".join(wrong)
    assert soak.accepted >= 30


@pytest.mark.skipif(os.name == "nt", reason="Windows has no kill -9")
def test_nothing_is_lost_whatever_fails(tmp_path: Path) -> None:
    troubles = ["kill_drawer", "kill_at_a_post"]
    if not shim.MISSING:
        troubles[1:1] = ["full", "clock_ahead"]
    soak = Soak(tmp_path, 5, DREAMS, SETTINGS + UNCHECKED, MOODS)
    wrong = asyncio.run(soak.run(troubles))
    assert not wrong, "\n".join(wrong)
    assert soak.accepted >= DREAMS
    assert soak.starts == 2
    assert [*soak.troubles.had] == troubles
    assert soak.states().keys() == {"done", "failed"}
