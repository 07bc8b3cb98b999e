"""The whole path with the starter models: ask at the wall, draw, be killed anywhere, find it kept.

These start the shipped entry point as a person does. They are few and slow (each start imports
torch); what can be tested in smaller pieces is tested there.
"""

from __future__ import annotations

import io
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from bot.__main__ import main
from bot.recipes import read_recipe
from generation import starter
from tests.program import Program, dreamstream, until

pytestmark = pytest.mark.skipif(
    not {"clip", "vqgan"} <= starter.available(), reason="the starter models are not here"
)

# Small enough for a loaded machine, long enough to be killed in the middle.
RECIPE = {"engine": "vqgan-clip", "size": "64x64", "steps": "18", "seed": "7"}
PROMPT = "a red apple"


def pixels(png: bytes) -> bytes:
    with Image.open(io.BytesIO(png)) as image:
        return image.convert("RGB").tobytes()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The picture of the recipe, drawn by the headless command in exact mode."""
    folder = tmp_path_factory.mktemp("headless")
    done = dreamstream(
        "dream", PROMPT, "--engine", RECIPE["engine"], "--size", RECIPE["size"],
        "--steps", RECIPE["steps"], "--seed", RECIPE["seed"],
        "--exact", "--out", "apple.png", "--json", folder=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    line = json.loads(done.stdout)
    assert line["state"] == "done"
    assert line["recipe"]["seed"] == 7
    return (folder / "apple.png").read_bytes()


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    made = Program(
        tmp_path,
        "[wall]\nport = 0\n[scheduler]\nexact = true\ncheckpoint_interval_s = 0.5\n"
        "preview_interval_s = 0.2\n",
    )
    yield made
    made.close()


def finished(program: Program) -> bytes:
    """Wait for the only dream's end; check that it is kept once; return its picture."""
    [dream] = until(
        lambda: program.rows("SELECT * FROM dream WHERE state NOT IN ('waiting', 'drawing')"),
        "the dream's end",
    )
    assert dream["state"] == "done", dict(dream)
    kinds = [row["kind"] for row in program.rows("SELECT kind FROM stream_event ORDER BY id")]
    assert kinds.count("done") == 1
    assert kinds.count("asked") == 1
    return program.get(f"/i/{dream['image_sha256']}.png?d={dream['id']}")


def test_a_recipe_in_a_file_draws_the_same_pixels_again(undisturbed: bytes, tmp_path: Path) -> None:
    recipe = read_recipe(undisturbed)
    assert recipe is not None
    assert recipe.prompt == PROMPT
    (tmp_path / "kept.png").write_bytes(undisturbed)
    done = dreamstream("dream", "--recipe", "kept.png", "--out", "again.png", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    again = (tmp_path / "again.png").read_bytes()
    assert pixels(again) == pixels(undisturbed)
    assert len(set(pixels(again))) > 20  # a picture, not a blank


def test_the_drawing_process_may_be_killed_in_mid_dream(
    undisturbed: bytes, program: Program
) -> None:
    program.start()
    program.ask(prompt=PROMPT, **RECIPE)
    until(program.checkpointed, "a checkpoint")
    pid = program.scheduler_pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert pixels(finished(program)) == pixels(undisturbed)
    assert program.scheduler_pid() not in (None, pid)
    assert program.stop() == 0
    assert "To join Discord, set DREAMSTREAM_DISCORD_TOKEN" in program.log.read_text("utf-8")


def test_the_bot_may_be_killed_in_mid_dream(undisturbed: bytes, program: Program) -> None:
    program.start()
    program.ask(prompt=PROMPT, **RECIPE)
    until(program.checkpointed, "a checkpoint")
    pid = program.scheduler_pid()
    assert pid is not None
    program.kill()
    until(lambda: not Path(f"/proc/{pid}").exists() or _is_zombie(pid), "the orphan's end")
    program.start()
    assert pixels(finished(program)) == pixels(undisturbed)
    assert program.stop() == 0


@pytest.mark.skipif(
    "DREAMSTREAM_SLOW_TESTS" not in os.environ,
    reason="takes a minute: DREAMSTREAM_SLOW_TESTS=1; tests/bot/test_dreams_kill.py is like it",
)
def test_what_is_shown_as_finished_survives_everything(program: Program) -> None:
    program.start()
    for seed in "123":
        program.ask(
            prompt="a small tree", engine="fourier-clip", size="64x64", steps="3", seed=seed
        )
    until(lambda: len(program.rows("SELECT 1 FROM dream WHERE state = 'done'")) >= 1, "a picture")
    program.kill()
    done = program.rows("SELECT id, image_sha256 FROM dream WHERE state = 'done'")
    program.start()
    for row in done:
        image = program.get(f"/i/{row['image_sha256']}.png?d={row['id']}")
        assert image.startswith(b"\x89PNG")
        assert b"a small tree" in program.get(f"/d/{row['id']}")
    until(lambda: len(program.rows("SELECT 1 FROM dream WHERE state = 'done'")) == 3, "the rest")
    events = program.rows("SELECT dream_id FROM stream_event WHERE kind = 'done'")
    assert len(events) == len({row["dream_id"] for row in events}) == 3


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1][1] == "Z"
    except OSError:
        return True


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["dream", "x", "--size", "big"], "--size is written like"),
        (["dream", "x", "--set", "cutouts"], "--set should be like"),
        (["dream", "x", "--out", "x.jpg"], ".png"),
        (["dream", "x", "--init", "absent.png"], "cannot be read"),
        (["run", "--config", "absent.toml"], "config.example.toml"),
    ],
)
def test_a_wrong_command_gets_a_sentence(
    arguments: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DREAMSTREAM_CONFIG", raising=False)
    assert main(arguments) == 1
    said = capsys.readouterr().err
    assert says in said
    assert "Traceback" not in said


def test_the_shipped_command_ends_with_its_sentence(tmp_path: Path) -> None:
    done = dreamstream("dream", folder=tmp_path)
    assert done.returncode == 1
    assert "Say what to draw" in done.stderr
    assert "Traceback" not in done.stderr


def test_two_programs_do_not_share_a_folder(program: Program) -> None:
    program.start()
    done = dreamstream("run", folder=program.folder)
    assert done.returncode == 1
    assert "another Dreamstream is at work" in done.stderr
