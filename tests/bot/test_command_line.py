"""The ``dreamstream`` command: what it hands over to other programs, and what it refuses."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from bot.__main__ import _parser, main
from bot.headless import _request
from bot.model import Person
from bot.options import complete
from generation.models.__main__ import _parser as models_parser
from generation.protocol import OptionInfo
from generation.ray_command import parser as workers_parser
from tests.bot.drawer import FOURIER


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


def test_settings_are_read_as_their_engine_takes_them() -> None:
    given = ["sides=32", "note=true", "amount=5", "tiled=YES", "cut=a=b"]
    arguments = _parser().parse_args(["dream", "x", *(f"--set={one}" for one in given)])
    options = [OptionInfo(name=name, help="", default="") for name in ("sides", "note", "cut")]
    options += [
        OptionInfo(name="amount", help="", default=1),
        OptionInfo(name="tiled", help="", default=False),
    ]
    request = _request(arguments, Person("local:1", "you"), False)
    assert complete(request.settings, replace(FOURIER, options=tuple(options))) == {
        "sides": "32",
        "note": "true",
        "cut": "a=b",
        "amount": 5,
        "tiled": True,
    }


def test_no_commands_help_is_written_for_programmers() -> None:
    told = [
        page
        for parser in (_parser(), models_parser(), workers_parser())
        for page in _help_pages(parser)
    ]
    assert len(told) > 20  # commands of commands, too
    for page in told:
        assert "`" not in page and "python -m" not in page and "generation." not in page, page


def _help_pages(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield parser.format_help()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _help_pages(command)


def test_an_answer_that_nobody_reads_to_its_end_is_no_fault(tmp_path: Path) -> None:
    """As ``dreamstream config check | true`` and ``| head -1`` leave it."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "bot", "config", "check"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    os.close(writing)
    assert done.returncode == 1 and done.stderr == b""
