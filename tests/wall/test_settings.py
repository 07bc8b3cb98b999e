"""What the file of settings says of the wall reaches it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.config_file import load_config
from bot.configured import wall_settings
from bot.wall import WallSettings


def settings(folder: Path, text: str) -> WallSettings:
    path = folder / "config.toml"
    path.write_text(f"[wall]\n{text}\n", encoding="utf-8")
    return wall_settings(load_config(path))


@pytest.mark.parametrize(
    ("text", "asking"),
    [
        ("", True),
        ('mode = "proxy"', False),
        ('mode = "proxy"\nguests_may_ask = true', True),
        ("guests_may_ask = false", False),
    ],
)
def test_whether_guests_may_ask(tmp_path: Path, text: str, asking: bool) -> None:
    assert settings(tmp_path, text).asking is asking


def test_an_address_may_have_what_four_people_may(tmp_path: Path) -> None:
    assert settings(tmp_path, "").dreams_per_address == 120
    limited = settings(tmp_path, "\n[limits]\nwaiting_per_person = 5")
    assert limited.dreams_per_address == 20


def test_how_many_pages_an_address_may_have(tmp_path: Path) -> None:
    assert settings(tmp_path, "").streams_per_address == 64
    assert settings(tmp_path, "streams_per_address = 200").streams_per_address == 200
    assert settings(tmp_path, "streams_per_address = 200").connections_per_address == 264


def test_how_much_an_address_may_fetch(tmp_path: Path) -> None:
    assert settings(tmp_path, "").requests_per_address == 500
    assert settings(tmp_path, "requests_per_address = 0").requests_per_address == 0
    assert settings(tmp_path, "requests_per_address = 9").requests_at_once == 180


def test_how_many_connections_there_may_be(tmp_path: Path) -> None:
    assert settings(tmp_path, "").connections == 1024
    assert settings(tmp_path, "connections = 200").connections == 200
