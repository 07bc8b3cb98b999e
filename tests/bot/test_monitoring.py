"""Health, readiness and figures: what is wrong is said, and what happens is counted."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from bot import systemd
from bot.config import Config
from bot.config_file import load_config
from bot.delivery.answers import kind_of
from bot.errors import ConfigError, InvalidRequestError, LimitError, NotFoundError
from bot.limits import Limits
from bot.model import DreamState
from bot.monitoring import command, health
from bot.monitoring.gauges import DiscordStanding, ShardStanding, Surveyor, WallStanding
from bot.monitoring.health import Health
from bot.monitoring.listener import Listener
from bot.monitoring.metrics import REGISTRY
from bot.monitoring.service import Monitoring, Watched
from bot.monitoring.steps import StepFigures
from bot.rights import Actor
from bot.wall.buckets import Cost
from generation.assignment import Report
from generation.figures import Counting
from generation.protocol import STEP_BOUNDS_S
from tests.bot.drawer import ANN, Services, request, services

ROOT = Path(__file__).resolve().parents[2]


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def monitored(
    folder: Path, *, discord: DiscordStanding | None = None, **settings: Any
) -> AsyncIterator[tuple[Services, Monitoring, ClientSession]]:
    """Give services, what watches them, and somebody who asks it."""
    async with services(folder, **settings) as s:
        watched = Watched(
            store=s.store,
            library=s.library,
            dreams=s.dreams,
            drawer=s.drawer,
            drawing_pid=lambda: None,
            wall=lambda: WallStanding(3, 2, 7, 5),
            discord=None if discord is None else lambda: discord,
        )
        surveyor = Surveyor(s.store, folder, folder / "backups", backup_every_s=3600)
        monitoring = Monitoring(watched, surveyor, ("127.0.0.1", 0))
        await monitoring.start()
        assert monitoring.listener is not None
        base = f"http://127.0.0.1:{monitoring.listener.port}"
        try:
            async with ClientSession(base) as visitor:
                yield s, monitoring, visitor
        finally:
            await monitoring.stop()


async def read(visitor: ClientSession, path: str, status: int = 200, **headers: str) -> str:
    async with visitor.get(path, headers=headers) as answer:
        assert answer.status == status, await answer.text()
        return await answer.text()


# --- health -------------------------------------------------------------------------------------


async def test_ready_is_said_of_each_part(tmp_path: Path) -> None:
    async with monitored(tmp_path, discord=DiscordStanding("")) as (_, _, visitor):
        assert await read(visitor, "/healthz") == '{"status": "alive"}'
        told = await read(visitor, "/readyz")
        assert re.findall(r'"(\w+)": "ready"', told) == [
            "status", "database", "library", "drawing", "dreams", "discord",
        ]  # fmt: skip


async def test_what_is_wrong_is_said_and_alive_it_is_all_the_same(tmp_path: Path) -> None:
    lost = DiscordStanding("Shards that have lost Discord: 1.")
    async with monitored(tmp_path, discord=lost, up=False) as (_, _, visitor):
        (tmp_path / "library").write_text("in the way of the folder")
        told = await read(visitor, "/readyz", 503)
        assert "The drawing process is not up yet." in told
        assert "Shards that have lost Discord: 1." in told
        assert '"library": "ready"' not in told and '"database": "ready"' in told
        assert str(tmp_path) not in told
        await read(visitor, "/healthz")


async def test_a_database_that_is_held_for_long_is_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "PATIENCE_S", 0.05)
    async with services(tmp_path) as s:
        async with s.store.write():
            found = await Health({"database": health.database(s.store)}).readiness()
        assert found.troubles == {"database": "This took longer than 0.05 seconds."}
        assert (await Health({"database": health.database(s.store)}).readiness()).ready


async def test_however_often_it_is_asked_it_looks_now_and_then() -> None:
    looked, now = 0, 0.0

    async def look() -> str:
        nonlocal looked
        looked += 1
        await asyncio.sleep(0)
        return "broken" if looked > 1 else ""

    asked = Health({"it": look}, clock=lambda: now)
    found = await asyncio.gather(*(asked.readiness() for _ in range(20)))
    assert looked == 1 and all(one.ready for one in found)
    now += health.KEPT_S
    assert (await asked.readiness()).troubles == {"it": "broken"}
    assert looked == 2


# --- who may ask --------------------------------------------------------------------------------


async def test_a_strange_name_that_points_here_is_turned_away(tmp_path: Path) -> None:
    async with monitored(tmp_path) as (_, _, visitor):
        for host in ("evil.example", "evil.example:9642", "169.254.169.254"):
            assert "evil" not in await read(visitor, "/metrics", 421, Host=host)
        await read(visitor, "/healthz", Host="localhost:9642")
        await read(visitor, "/healthz", Host="[::1]:9642")
        await read(visitor, "/other", 404)


async def test_a_port_that_is_taken_is_a_sentence(tmp_path: Path) -> None:
    async def look() -> health.Readiness:
        return health.Readiness()

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigError, match=r"monitoring\.listen: port \d+ .* is taken"):
            await Listener("127.0.0.1", taken.getsockname()[1], look).start()


@pytest.mark.parametrize("listen", ["9642", "localhost", "a b:1", "h:70000", "[::1:9642", ":1"])
def test_an_address_is_a_host_and_a_port(listen: str, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f'[monitoring]\nlisten = "{listen}"\n')
    with pytest.raises(ConfigError, match=r"should be an address and a port"):
        load_config(path)


def a_config(listen: str = "", **wall: Any) -> Config:
    return Config.model_validate({"monitoring": {"listen": listen}, "wall": wall})


def test_the_command_knows_where_to_ask() -> None:
    assert command.address(a_config("[::]:9642")) == ("::1", 9642)
    assert command.address(a_config("0.0.0.0:1")) == ("127.0.0.1", 1)
    assert command.address(a_config(port=80, host="10.0.0.1")) == ("10.0.0.1", 80)
    for config in (a_config(port=0), a_config(mode="off")):
        with pytest.raises(ConfigError, match=r"monitoring\.listen is empty"):
            command.address(config)


async def test_the_command_says_how_it_stands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with monitored(tmp_path, up=False) as (_, monitoring, _visitor):
        assert monitoring.listener is not None
        config = a_config(f"127.0.0.1:{monitoring.listener.port}")
        assert await asyncio.to_thread(command.ask, config, live=True) == 0
        assert await asyncio.to_thread(command.ask, config, live=False) == 1
        told = capsys.readouterr().out.splitlines()
        assert told[:2] == ["alive", "database: ready"]
        assert "drawing: The drawing process is not up yet." in told
    assert await asyncio.to_thread(command.ask, config, live=True) == 1
    assert "No answer from 127.0.0.1" in capsys.readouterr().err


# --- figures ------------------------------------------------------------------------------------


async def test_a_dreams_way_is_counted(tmp_path: Path) -> None:
    labels = {"engine": "clip", "lane": "foreground"}
    before = {state: value("dreamstream_dreams_ended_total", state=state, **labels) for state in
              ("done", "cancelled")}  # fmt: skip
    accepted = value("dreamstream_dreams_accepted_total", relation="none", **labels)
    first = value("dreamstream_first_preview_seconds_count", **labels)
    waited = value("dreamstream_done_seconds_count", **labels)
    writes = value("dreamstream_store_write_seconds_count")
    async with services(tmp_path) as s:
        (one,), (two,) = await s.dreams.ask(request()), await s.dreams.ask(request())
        assert one.recipe.engine == "clip"
        for _ in range(2):
            await s.begin(one.id, preview=b"webp")
        assert [dream.state for dream in s.dreams.standing()] == [
            DreamState.DRAWING, DreamState.WAITING,
        ]  # fmt: skip
        await s.draw(one.id)
        await s.dreams.cancel(two.id, Actor(ANN))
        await s.dreams.wait(one.id)
    assert value("dreamstream_dreams_accepted_total", relation="none", **labels) == accepted + 2
    assert value("dreamstream_first_preview_seconds_count", **labels) == first + 1
    assert value("dreamstream_done_seconds_count", **labels) == waited + 1
    for state, count in before.items():
        assert value("dreamstream_dreams_ended_total", state=state, **labels) == count + 1
    assert value("dreamstream_store_write_seconds_count") > writes


async def test_refusals_are_counted_once_by_why(tmp_path: Path) -> None:
    def counted() -> list[float]:
        reasons = ("invalid", "limit", "not_found")
        return [value("dreamstream_refusals_total", reason=why) for why in reasons]

    invalid, limit, unknown = counted()
    async with services(tmp_path, limits=Limits(per_person=1)) as s:
        with pytest.raises(InvalidRequestError):
            await s.dreams.ask(request(""))
        await s.dreams.ask(request())
        with pytest.raises(LimitError):
            await s.dreams.ask(request())
        for ask in (s.dreams.redo("0", ANN, same_seed=True), s.dreams.existing("0")):
            with pytest.raises(NotFoundError):
                await ask
    assert counted() == [invalid + 1, limit + 1, unknown + 1], "to look is not to ask"


async def test_what_can_be_known_beforehand_stands_at_nought_before_it_happens(
    tmp_path: Path,
) -> None:
    """So that the first failure, or end of the drawing process, is an increase to Prometheus."""
    async with monitored(tmp_path) as (_, _, visitor):
        text = await read(visitor, "/metrics")
    told = {
        (sample.name, tuple(sample.labels.values()))
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    for cause in ("killed", "error", "signal", "stopped", "left", "cannot_start", "lost"):
        assert ("dreamstream_scheduler_ends_total", (cause,)) in told
    for reason in ("invalid", "limit", "scheduler", "disk", "database"):
        assert ("dreamstream_refusals_total", (reason,)) in told
    assert {("dreamstream_wall_slowed_total", (cost.name.lower(),)) for cost in Cost} <= told
    for engine in ("clip", "diffusion"):
        for state in ("done", "failed", "cancelled"):
            assert ("dreamstream_dreams_ended_total", (engine, "foreground", state)) in told
        for name in ("first_preview_seconds", "done_seconds"):
            assert (f"dreamstream_{name}_count", (engine, "foreground")) in told
        for name in ("step_seconds_count", "model_loads_total", "model_load_seconds_total"):
            assert (f"dreamstream_{name}", (engine,)) in told


def test_steps_are_added_up_as_they_were_taken() -> None:
    registry = CollectorRegistry()
    figures, counting = StepFigures(registry), Counting()
    assert counting.take() is None
    times = ((1, 0.001), (1, STEP_BOUNDS_S[-1] + 1), (4, 0.02))
    for _ in range(2):
        counting.add("clip", Report(1.0, {}, step_times=times, peak_bytes=90), 100)
        counting.add("vqgan", Report(1.0, {}, load_s=2.5), 100)
        taken = counting.take()
        assert taken is not None
        figures.add(taken)
        assert counting.take() is None

    def of(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    assert of("dreamstream_step_seconds_count", engine="clip") == 6
    assert of("dreamstream_step_seconds_sum", engine="clip") == pytest.approx(2 * 16.021)
    assert of("dreamstream_step_seconds_bucket", engine="clip", le="0.002") == 2
    assert of("dreamstream_step_seconds_bucket", engine="clip", le="0.02") == 4
    assert of("dreamstream_step_seconds_bucket", engine="clip", le="15.0") == 4
    assert of("dreamstream_step_runs_bucket", engine="clip", le="3.0") == 4
    assert of("dreamstream_step_runs_sum", engine="clip") == 12
    assert of("dreamstream_model_loads_total", engine="vqgan") == 2
    assert of("dreamstream_model_load_seconds_total", engine="vqgan") == 5.0
    assert of("dreamstream_device_memory_bytes", kind="predicted") == 100
    assert of("dreamstream_device_memory_bytes", kind="measured") == 90


async def test_what_stands_is_told_and_labels_have_few_values(tmp_path: Path) -> None:
    shards = (ShardStanding(0, True, 0.07), ShardStanding(1, False, float("nan")))
    there = DiscordStanding("", guilds=5, unsettled=4, shards=shards)
    async with monitored(tmp_path, discord=there) as (s, monitoring, visitor):
        (dream,) = await s.dreams.ask(request("a very private wish"))
        await monitoring._surveyor.look()
        text = await read(visitor, "/metrics")
        families = {family.name: family for family in text_string_to_metric_families(text)}
        await s.dreams.cancel(dream.id, Actor(ANN))
    assert "private wish" not in text and dream.id not in text and ANN.name not in text

    def told(name: str, **labels: str) -> float:
        [found] = [one.value for one in families[name].samples if one.labels == labels]
        return found

    assert told("dreamstream_dreams_unfinished", state="waiting", lane="foreground") == 1
    assert told("dreamstream_ready", part="discord") == 1
    assert told("dreamstream_discord_shards", state="lost") == 1
    assert told("dreamstream_discord_latency_seconds", shard="0") == 0.07
    assert told("dreamstream_cards_unsettled") == 4
    assert told("dreamstream_wall_connections") == 3
    assert told("dreamstream_wall_open_connections") == 7
    assert told("dreamstream_wall_waiting_requests") == 5
    assert told("dreamstream_disk_free_bytes") > 0
    assert told("process_resident_memory_bytes") > 0
    assert "dreamstream_scheduler_process_resident_memory_bytes" not in families


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/api/v10/channels/1/messages/2", "messages"),
        ("/api/v10/channels/1/threads", "channels"),
        ("/api/v10/webhooks/1/a-token/messages/@original", "webhooks"),
        ("/api/v10/interactions/1/a-token/callback", "interactions"),
        ("/attachments/1/2/a.png", "other"),
        ("/", "other"),
    ],
)
def test_addresses_are_of_few_kinds(path: str, kind: str) -> None:
    assert kind_of(path) == kind


def test_a_scrape_is_cheap_and_can_be_read() -> None:
    assert list(text_string_to_metric_families(generate_latest(REGISTRY).decode()))


# --- systemd ------------------------------------------------------------------------------------


def test_systemd_is_told_where_it_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not systemd.tell("READY=1")
    path = f"/tmp/dreamstream-{tmp_path.parent.name}-{tmp_path.name}"[:100]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + path)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + path)
        assert systemd.tell("READY=1", "STATUS=well")
        assert listener.recv(100) == b"READY=1\nSTATUS=well"
    assert not systemd.tell("READY=1")


def test_the_watchdog_is_this_processs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    for given, expected in (("30000000", 30.0), ("", None), ("x", None), ("0", None)):
        monkeypatch.setenv("WATCHDOG_USEC", given)
        assert systemd.watchdog_s() == expected
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert systemd.watchdog_s() is None
