"""The ``dreamstream`` command: what it hands over to other programs, and what it refuses."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from bot.__main__ import main


@pytest.mark.parametrize(
    "given",
    [
        ["--help"],
        ["-h"],
        ["list", "--family", "small"],
        ["pull", "one", "--yes", "two", "-h"],
        ["add", "--c", "x"],
        [],
    ],
)
def test_what_is_said_of_models_is_handed_over_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: list[str]
) -> None:
    config, commands = tmp_path / "config.toml", []

    def run(command: list[str], **_: object) -> SimpleNamespace:
        commands.append(command)
        return SimpleNamespace(returncode=7)

    config.write_text(f"[storage]\ndata_dir = '{tmp_path / 'data'}'\n", encoding="utf-8")
    monkeypatch.setattr(subprocess, "run", run)
    assert main(["models", "--config", str(config), *given]) == 7
    ((*begun, folder, where),) = [command[:5] for command in commands]
    assert (begun[-1], folder) == ("generation.models", "--folder") and "data" in where
    assert commands[0][5:] == given


def test_what_is_said_of_workers_is_handed_over_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = []

    def begin(command: list[str]) -> SimpleNamespace:
        commands.append(command)
        return SimpleNamespace(wait=lambda: 0, terminate=lambda: None)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, "Popen", begin)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert main(["workers", "--help"]) == 0
    assert commands[0][2:] == ["generation.ray_command", "--address", "auto", "--help"]


@pytest.mark.parametrize("given", [["health", "--wrong"], ["dream", "a", "fox"], ["models?"]])
def test_what_no_program_understands_is_refused(
    given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(given)
    assert ended.value.code == 2
    assert given[-1] in capsys.readouterr().err
