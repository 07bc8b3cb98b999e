"""Quick limits, so that no test waits for seconds."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let cards be edited at once; simcord's messages are months old to our clock."""
    monkeypatch.setattr("bot.delivery.pace.FORMING_S", 0.02)
    monkeypatch.setattr("bot.delivery.pace.WAITING_S", 0.05)
    monkeypatch.setattr("bot.delivery.pace.WINDOW_S", 0.05)
    monkeypatch.setattr("bot.delivery.service.FIRST_DELAY_S", 0.05)
    monkeypatch.setattr("bot.delivery.sender.FRESH_S", 1e12)
