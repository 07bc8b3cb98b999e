"""`dreamstream themes`: what it prints, what it writes, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from filelock import FileLock

from bot.__main__ import main
from bot.theme_files import read, shipped


@pytest.fixture
def themes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command's beginning, with a data folder of its own."""
    config = tmp_path / "config.toml"
    config.write_text(f"[storage]\ndata_dir = '{tmp_path / 'data'}'\n")
    monkeypatch.chdir(tmp_path)
    return ["themes", "--config", str(config)]


def test_themes_go_out_and_in(
    themes: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*themes, "list"]) == 0
    assert "planets" in capsys.readouterr().out
    assert not (tmp_path / "data").exists(), "who only looks makes nothing"
    assert main([*themes, "export", "planets"]) == 1
    assert main([*themes, "add", "planets"]) == 0
    assert main([*themes, "export", "planets"]) == 0
    file = tmp_path / "planets.toml"
    assert read(file.read_bytes()).title == shipped()["planets"].title
    assert main([*themes, "import", str(file)]) == 1
    assert "already" in capsys.readouterr().err
    file.write_text(file.read_text().replace("Planets and", "Moons and"))
    assert main([*themes, "import", "--replace", str(file)]) == 0
    other = tmp_path / "fog.toml"
    other.write_text('title = "Fog"\ntemplate = "{prompt} in fog"\n')
    assert main([*themes, "import", str(other)]) == 0
    capsys.readouterr()
    assert main([*themes, "export", "fog", "--out", "-"]) == 0
    assert 'template = "{prompt} in fog"' in capsys.readouterr().out
    assert main([*themes, "add", "all"]) == 0
    capsys.readouterr()
    assert main([*themes, "list"]) == 0
    listed = capsys.readouterr().out
    assert "Moons and their landscapes" in listed and "Fog" in listed
    assert "To be added" not in listed


def test_mistakes_are_sentences(
    themes: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text('titel = "Fog"')
    for arguments, words in (
        (["import", str(wrong)], "wrong.toml: A theme has no “titel”. Is “title” meant?"),
        (["import", "absent.toml"], "absent.toml cannot be read"),
        (["add", "nothing"], "There are: "),
    ):
        assert main([*themes, *arguments]) == 1
        assert words in capsys.readouterr().err


def test_nothing_is_changed_behind_a_running_bot(
    themes: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*themes, "add", "cats"]) == 0
    with FileLock(tmp_path / "data" / ".lock"):
        assert main([*themes, "add", "planets"]) == 1
        assert "/theme import" in capsys.readouterr().err
        assert main([*themes, "list"]) == 0
        assert main([*themes, "export", "cats"]) == 0


def test_a_theme_ends_and_what_ships_can_be_added_again(
    themes: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*themes, "add", "cats"]) == 0
    assert main([*themes, "remove", "cats"]) == 0
    assert "cats: retired; its stream stays at /s/cats" in capsys.readouterr().out
    assert main([*themes, "list"]) == 0
    listed, _, offered = capsys.readouterr().out.partition("To be added")
    assert "(retired)" in listed and "cats" in offered
    assert main([*themes, "add", "cats"]) == 0
    assert main([*themes, "remove", "nothing"]) == 1
    assert "no theme called" in capsys.readouterr().err
    with FileLock(tmp_path / "data" / ".lock"):
        assert main([*themes, "remove", "cats"]) == 1
        assert "/theme remove" in capsys.readouterr().err
