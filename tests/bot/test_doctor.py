"""The doctor: each thing that can be wrong gets a line that names the mend, and exit status 1."""

from __future__ import annotations

import errno
import io
import os
import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest
from PIL import Image

from bot import configured, doctor
from bot.backup.making import make
from bot.backup.schedule import HOUR_MS
from bot.config import Config
from bot.config_secrets import TOKEN_VARIABLE
from bot.scheduler_client import SchedulerCommand
from bot.store.migrate import upgrade
from generation.protocol import EngineInfo, WorkerInfo


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of its own, no token around, and an engine that needs no weights."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    monkeypatch.setattr(
        doctor,
        "scheduler_command",
        lambda config: SchedulerCommand(engines="tests.fakes.engine:build_engines"),
    )


def config_file(folder: Path, text: str = "") -> Path:
    path = folder / "config.toml"
    path.write_text("[wall]\nport = 0\n" + text, encoding="utf-8")
    return path


async def lines(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, str]]:
    status = await doctor.examine(path)
    found: dict[str, str] = {}
    for line in capsys.readouterr().out.splitlines()[:-1]:
        mark, what, text = line.split(maxsplit=2)
        found[what] = f"{found.get(what, '')}{mark} {text}\n"
    return status, found


async def test_all_is_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, found = await lines(config_file(tmp_path), capsys)
    assert status == 0, found
    assert "note No Discord token" in found["token"]
    assert "ok fake draws" in found["engine"]
    assert not (tmp_path / "data").exists(), "looking must not make anything"


async def test_what_is_wrong_is_named_with_its_mend(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dreamstream.db").write_bytes(b"not a database" * 100)
    (tmp_path / "token.txt").write_text("abc", encoding="utf-8")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        path = tmp_path / "config.toml"
        path.write_text(
            f'[wall]\nport = {port}\n[discord]\ntoken_file = "token.txt"\n', encoding="utf-8"
        )
        status, found = await lines(path, capsys)
    assert status == 1
    assert "BAD" in found["database"] and "backup" in found["database"]
    assert "BAD" in found["token"] and "developer portal" in found["token"]
    assert "is in use" in found["wall"]
    assert "abc" not in found["token"]


async def test_a_backup_that_is_not_made_is_named(tmp_path: Path) -> None:
    def found(every_hours: float) -> str:
        values = {"folder": str(tmp_path / "backups"), "every_hours": every_hours}
        place = {"data_dir": str(tmp_path / "data")}
        return str(doctor._backup(Config.model_validate({"backup": values, "storage": place})))

    assert "note  backup   There is none in" in found(0.0)
    upgrade(tmp_path / "data" / "dreamstream.db")
    made = await make(tmp_path / "data", tmp_path / "backups")
    assert "ok  backup   The newest in" in found(24.0)
    assert "by itself" not in found(24.0)
    assert "makes none by itself (backup.every_hours)" in found(0.0)
    assert "on the disk of the data folder" in found(24.0)
    old = msgspec.structs.replace(made.manifest, made_ms=made.manifest.made_ms - 50 * HOUR_MS)
    (made.path / "manifest.json").write_bytes(msgspec.json.encode(old))
    assert "ok  backup" in found(0.0), "nothing is to be made by itself"
    assert "BAD  backup" in found(24.0) and "50.0 hours old" in found(24.0)
    (made.path / "manifest.json").write_bytes(b"{")
    assert "BAD  backup" in found(0.0)


async def test_wrong_settings_do_not_keep_it_from_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, found = await lines(config_file(tmp_path, "[nonsense]\n"), capsys)
    assert status == 1
    assert "nonsense" in found["config"]
    assert "ok fake draws" in found["engine"]


async def test_a_drawing_process_that_cannot_start_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        doctor,
        "scheduler_command",
        lambda config: SchedulerCommand(engines="tests.fakes.engine:no_such_function"),
    )
    monkeypatch.setattr(doctor, "_START_S", 20.0)
    status, found = await lines(config_file(tmp_path), capsys)
    assert status == 1
    assert "cannot be started" in found["drawing"]


async def test_an_engine_is_not_blamed_for_the_end_of_the_process_by_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        doctor,
        "scheduler_command",
        lambda config: SchedulerCommand(engines="tests.fakes.ending:build_engines"),
    )
    monkeypatch.setattr(doctor, "_DRAW_S", 20.0)
    status, found = await lines(config_file(tmp_path), capsys)
    assert status == 1
    ending, well = found["engine"].splitlines()
    assert ending.startswith("BAD ending") and "ended with an error (status 3)" in ending
    assert well.startswith("ok well draws")


@pytest.mark.parametrize("name", ["dreamstream.db", "dreamstream.db-wal", "library"])
async def test_what_another_user_has_left_is_named(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    """As a command leaves it that somebody ran as root."""
    upgrade(tmp_path / "data" / "dreamstream.db")
    (tmp_path / "data" / "dreamstream.db-wal").touch()
    (tmp_path / "data" / "library").mkdir()
    kept = tmp_path / "data" / name
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != kept and real(path, mode))
    status, found = await lines(config_file(tmp_path), capsys)
    assert status == 1
    assert "BAD The user " in found["data"] and f"{name}." in found["data"]


@pytest.mark.parametrize("name", ["data", "backups"])
async def test_who_may_not_look_is_told_so(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    """Folders are the bot's user's alone: it is easily run as another one."""
    upgrade(tmp_path / "data" / "dreamstream.db")
    await make(tmp_path / "data", tmp_path / "backups")
    folder, real = tmp_path / name, Path.stat

    def stat(path: Path, **options: Any) -> os.stat_result:
        if folder in path.absolute().parents:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, **options)

    path = config_file(tmp_path, f"[backup]\nfolder = '{tmp_path / 'backups'}'\n")
    monkeypatch.setattr(Path, "stat", stat)
    status, found = await lines(path, capsys)
    assert status == 1
    line = found["data" if name == "data" else "backup"]
    assert line.startswith("BAD The user ") and "cannot look into" in line and name in line
    assert "ok fake draws" in found["engine"], "all the rest is looked at"


def test_models_lie_in_the_data_folder_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(configured.MODELS_VARIABLE, raising=False)
    assert configured.models_dir(Config()) == tmp_path / "data" / "models"
    monkeypatch.setenv(configured.MODELS_VARIABLE, "/srv/models")
    assert configured.models_dir(Config()) == Path("/srv/models")


def test_a_tool_is_tried_on_a_picture_of_the_right_size() -> None:
    engine = EngineInfo(
        name="upscale",
        title="Upscaler",
        models=(),
        default_width=512,
        default_height=512,
        min_side=16,
        max_side=512,
        max_pixels=512 * 512,
        size_multiple=4,
        default_steps=1,
        max_steps=10,
        takes_prompt=False,
        takes_init=True,
        needs_init=True,
        scale=4,
    )
    job = doctor._smallest(engine, "any")
    assert (job.recipe.width, job.recipe.height, job.recipe.prompt) == (16, 16, "")
    assert job.init is not None
    assert Image.open(io.BytesIO(job.init)).size == (4, 4)


def test_a_cluster_is_told_node_by_node() -> None:
    workers = [
        WorkerInfo(name=f"{node}/{nth}", device="NVIDIA H100", node=node)
        for nth, node in enumerate(("10.0.0.2", "10.0.0.2", "10.0.0.3"))
    ]
    told = doctor._cluster(tuple(workers))
    assert told.mark is doctor.Mark.WELL
    assert told.text == "3 workers so far: 10.0.0.2 (2 × NVIDIA H100); 10.0.0.3 (1 × NVIDIA H100)"
