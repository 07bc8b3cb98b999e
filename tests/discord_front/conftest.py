"""Quick limits, so that no test in this process waits for seconds; and the program as a process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.discord_front.loopback import Discord
from tests.discord_front.shipped import Bot, loopback


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let cards be edited at once; simcord's messages are months old to our clock."""
    monkeypatch.setattr("bot.delivery.pace.FORMING_S", 0.02)
    monkeypatch.setattr("bot.delivery.pace.WAITING_S", 0.05)
    monkeypatch.setattr("bot.delivery.pace.WINDOW_S", 0.05)
    monkeypatch.setattr("bot.delivery.service.FIRST_DELAY_S", 0.05)
    monkeypatch.setattr("bot.delivery.sender.FRESH_S", 1e12)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have what Discord refuses be given up at once, and tried again at once where it is not."""
    monkeypatch.setattr("bot.delivery.posting.PATIENCE_S", -1.0)
    monkeypatch.setattr("bot.delivery.posting.FIRST_DELAY_S", 0.02)


@pytest.fixture
async def discord() -> AsyncIterator[Discord]:
    """Give a Discord on loopback; in the end nothing may have been wrong."""
    async with loopback() as made:
        yield made


@pytest.fixture
async def bot(tmp_path: Path, discord: Discord) -> AsyncIterator[Bot]:
    """Give the program for that Discord; a test starts it, as often as it likes."""
    made = Bot(tmp_path, discord)
    yield made
    await made.kill()
