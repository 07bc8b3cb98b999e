"""Reading the settings: which file, how it is read, and what its paths are relative to."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.config_file import find_config, load_config
from bot.errors import ConfigError


def write(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_nothing_configured_gives_the_defaults() -> None:
    config = load_config(None)
    assert config.wall.mode == "local"
    assert config.wall.host == "127.0.0.1"


def test_a_file_begins_with_a_mark_where_some_editors_put_one(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes("\ufeff[wall]\nport = 1234\n".encode())
    assert load_config(path).wall.port == 1234
    path.write_bytes("# caf\xe9\n".encode("latin-1"))
    with pytest.raises(ConfigError, match="Save it as UTF-8"):
        load_config(path)


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.example\.toml"):
        load_config(tmp_path / "absent.toml")


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, '[storage]\ndata_dir = "kept"\n'))
    assert config.storage.data_dir == tmp_path / "kept"


def test_the_environment_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DREAMSTREAM_CONFIG", raising=False)
    assert find_config(None) is None
    path = write(tmp_path, "")
    assert find_config(None) == Path("config.toml")
    monkeypatch.setenv("DREAMSTREAM_CONFIG", "/elsewhere.toml")
    assert find_config(None) == Path("/elsewhere.toml")
    assert find_config(path) == path
