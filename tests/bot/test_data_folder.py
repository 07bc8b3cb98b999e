"""The data folder's lock."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bot.data_folder import lock_folder
from bot.errors import ConfigError


async def test_a_lock_is_released_in_whatever_thread(tmp_path: Path) -> None:
    lock = await asyncio.to_thread(lock_folder, tmp_path)
    with pytest.raises(ConfigError, match="another Dreamstream"):
        lock_folder(tmp_path)
    lock.release()
    lock_folder(tmp_path).release()


def test_nothing_in_a_new_data_folder_is_for_other_users(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "data"
    lock_folder(folder).release()
    assert folder.stat().st_mode & 0o007 == 0
