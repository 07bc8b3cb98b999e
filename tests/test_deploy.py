"""What is deployed: containers, units, locks, boards and alerts agree with the product and docs."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tomllib
from ipaddress import ip_address
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from prometheus_client import ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric

from bot.config_file import load_config
from bot.monitoring import gauges
from bot.monitoring.metrics import REGISTRY
from bot.monitoring.steps import STEPS

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
MONITORING = (ROOT / "docs/monitoring.md").read_text(encoding="utf-8")
FIGURE = re.compile(r"\b(?:dreamstream|process)_\w+")


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def loaded(path: str) -> ModuleType:
    found = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


# --- figures ------------------------------------------------------------------------------------


def families() -> list[Metric]:
    """Return every figure there is; those of processes are there while the bot runs."""
    # Figures are registered as they are made.
    assert gauges.__name__ in sys.modules and STEPS.collect()
    processes = [ProcessCollector(registry=None)]
    processes.append(ProcessCollector("dreamstream_scheduler", registry=None))
    return [*REGISTRY.collect(), *(one for each in processes for one in each.collect())]


def series() -> set[str]:
    """Return the names that a query can use."""
    names: set[str] = set()
    for family in families():
        endings = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
        names |= {family.name + end for end in endings.get(family.type, [""])}
    return names


def queries_of_alerts() -> dict[str, str]:
    [group] = yaml.safe_load(read("deploy/prometheus/alerts.yml"))["groups"]
    return {rule["alert"]: rule["expr"] for rule in group["rules"]}


def queries_of_board() -> list[str]:
    board = json.loads(read("deploy/grafana/dashboards/dreamstream.json"))
    return [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]


def test_the_board_is_what_its_program_makes() -> None:
    made = loaded("deploy/grafana/make_board.py").board()
    assert json.loads(read("deploy/grafana/dashboards/dreamstream.json")) == made
    places = [tuple(panel["gridPos"].values()) for panel in made["panels"]]
    assert len({(x, y) for x, y, _, _ in places}) == len(places)


def test_queries_ask_for_figures_that_there_are() -> None:
    known = series()
    queries = [*queries_of_alerts().values(), *queries_of_board()]
    assert len(queries) > 50
    for query in queries:
        named = set(FIGURE.findall(query))
        assert named or query.startswith("up{"), query
        assert named <= known, f"{named - known} in {query}"
        assert query.count("(") == query.count(")") and query.count("{") == query.count("}")


def ours() -> set[str]:
    """Return the names of the product's own figures, without what tells their kind."""
    names = {family.name for family in families()}
    return {name for name in names if name.startswith("dreamstream_")} - {
        name for name in names if "_scheduler_process_" in name
    }


def test_the_board_leaves_out_only_what_others_say() -> None:
    shown = {name for query in queries_of_board() for name in FIGURE.findall(query)}
    hidden = {name for name in ours() if not any(one.startswith(name) for one in shown)}
    assert hidden == {
        "dreamstream_build_info",
        "dreamstream_scheduler_up",  # ready{part="drawing"}
        "dreamstream_backup_every_seconds",  # for the alert
        "dreamstream_drawing_seconds",  # for accounts
    }


def test_the_page_tells_every_figure_and_every_alert() -> None:
    told = re.findall(r"`(dreamstream_\w+)", MONITORING)
    assert {name.removesuffix("_total") for name in told if name[-1] != "_"} == ours()
    assert set(re.findall(r"`(Dreamstream[A-Z]\w+)`", MONITORING)) == set(queries_of_alerts())


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Prometheus's promtool is not here")
def test_prometheus_takes_the_rules_and_they_tell_of_what_they_should() -> None:
    for arguments in (
        ["check", "config", "deploy/prometheus/prometheus.yml"],
        ["test", "rules", "tests/alerts.yml"],
    ):
        done = subprocess.run(
            ["promtool", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Prometheus's promtool is not here")
def test_prometheus_finds_nothing_amiss_in_the_figures() -> None:
    done = subprocess.run(
        ["promtool", "check", "metrics"],
        input=generate_latest(REGISTRY), capture_output=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


# --- containers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["container.toml", "cluster.toml"])
def test_the_settings_of_the_containers_are_settings(name: str) -> None:
    config = load_config(DEPLOY / name)
    assert config.storage.data_dir == Path("/data")
    assert config.monitoring.listen == "0.0.0.0:9642"
    assert config.backup.every_hours > 0, "nobody sits beside it to make backups"
    assert config.backup.folder.is_relative_to(config.storage.data_dir), "all else is read-only"


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("Dockerfile", {"bot", "deploy/container.toml", "deploy/requirements.lock"}),
        ("deploy/cluster.Dockerfile", {"deploy/cluster.lock"}),
    ],
)
def test_what_is_copied_is_there_and_not_ignored(name: str, needed: set[str]) -> None:
    lines = re.sub(r"\\\n\s*", "", read(name)).splitlines()
    copies = [line.split()[1:-1] for line in lines if line.startswith("COPY ")]
    copied = {one for args in copies if not args[0].startswith("--from") for one in args}
    assert needed <= copied
    let_through = {line[1:] for line in read(".dockerignore").splitlines() if line.startswith("!")}
    for source in copied:
        assert (ROOT / source).exists(), source
        assert any(Path(source).match(pattern) for pattern in let_through), source
    assert not any("config.toml" in pattern or "data" in pattern for pattern in let_through)


def test_the_container_is_no_roots_and_tells_its_health() -> None:
    dockerfile = read("Dockerfile")
    assert re.search(r"^USER 10001", dockerfile, re.MULTILINE)
    assert "HEALTHCHECK" in dockerfile and '"dreamstream", "health"' in dockerfile


@pytest.mark.parametrize("name", ["compose.yaml", "compose.gpu.yaml", "compose.cluster.yaml"])
def test_compose_names_what_is_there(name: str) -> None:
    services: dict[str, Any] = yaml.safe_load(read(name))["services"]
    for service in services.values():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert not source.startswith(".") or (ROOT / source).exists(), volume
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), f"{port} is open to the network"
        image = service["image"]
        assert ":" in image and not image.endswith(":latest"), image


@pytest.mark.parametrize(
    ("name", "service", "settings"),
    [
        ("compose.yaml", "dreamstream", "container.toml"),
        ("compose.cluster.yaml", "bot", "cluster.toml"),
    ],
)
def test_compose_has_a_line_that_puts_backups_elsewhere(
    name: str, service: str, settings: str
) -> None:
    line = "- /mnt/other-disk/dreams:/data/backups"
    before, text = read(name), read(name).replace(f"# {line}", line)
    assert text != before and line in read("docs/containers.md")
    volumes = yaml.safe_load(text)["services"][service]["volumes"]
    assert line.removeprefix("- ") in volumes
    assert load_config(DEPLOY / settings).backup.folder == Path("/data/backups")


def test_a_copy_of_the_containers_settings_can_be_without_backups(tmp_path: Path) -> None:
    copy = tmp_path / "config.toml"
    settings = read("deploy/container.toml")
    copy.write_text(settings.replace("every_hours = 24.0", "every_hours = 0.0"), encoding="utf-8")
    assert "every_hours = 0.0" in read("docs/containers.md")
    config, usual = load_config(copy), load_config(DEPLOY / "container.toml")
    assert config.backup.every_hours == 0
    assert (config.storage, config.wall) == (usual.storage, usual.wall)


def test_on_the_machines_own_network_only_the_machine_reaches_it() -> None:
    text = read("compose.host.yaml")
    assert "ports: !reset []" in text  # laid over, a list alone would take nothing away
    service = yaml.safe_load(text.replace("!reset ", ""))["services"]["dreamstream"]
    assert service["network_mode"] == "host"
    settings = load_config(DEPLOY / "container.toml")
    here = load_config(DEPLOY / "host.toml")
    assert service["volumes"] == ["./deploy/host.toml:/etc/dreamstream/config.toml:ro"]
    assert ip_address(here.wall.host).is_loopback and here.wall.mode == "local"
    assert ip_address(here.monitoring.listen.rpartition(":")[0]).is_loopback
    # All else is as in the other.
    assert here.wall.port == settings.wall.port
    for name in type(settings).model_fields.keys() - {"wall", "monitoring"}:
        assert getattr(here, name) == getattr(settings, name), name


def test_there_is_time_to_save_what_is_drawn() -> None:
    from bot.services import DRAIN_S

    grace = yaml.safe_load(read("compose.yaml"))["services"]["dreamstream"]["stop_grace_period"]
    [unit_s] = re.findall(r"^TimeoutStopSec=(\d+)s$", read("deploy/dreamstream.service"), re.M)
    assert min(int(grace.rstrip("s")), int(unit_s)) >= 4 * DRAIN_S


def test_the_unit_leaves_gpus_within_reach() -> None:
    unit = read("deploy/dreamstream.service")
    # Before systemd 253 the last of them denies every device but clocks.
    for name in ("PrivateDevices", "DevicePolicy", "DeviceAllow", "ProtectClock"):
        assert not re.search(rf"^{name}=", unit, re.MULTILINE), name
    assert re.search(r"^SystemCallFilter=@system-service$", unit, re.MULTILINE)  # without @clock
    assert re.search(r"^CapabilityBoundingSet=$", unit, re.MULTILINE)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not here")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "dreamstream.service"
    text = read("deploy/dreamstream.service")
    unit.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


# --- locks --------------------------------------------------------------------------------------


def pins(name: str) -> dict[str, tuple[Version, int]]:
    """Return each package's version, and how many hashes stand by it."""
    found: dict[str, tuple[Version, int]] = {}
    for entry in re.split(r"(?m)^(?=[A-Za-z0-9])", read(f"deploy/{name}"))[1:]:
        pin = Requirement(entry.split("\\")[0].strip())
        [exact] = pin.specifier
        assert exact.operator == "=="
        found[canonicalize_name(pin.name)] = Version(exact.version), entry.count("--hash=sha256:")
    return found


def wanted() -> list[Requirement]:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    extras = project["optional-dependencies"]
    return [Requirement(text) for text in project["dependencies"] + extras["search"] + extras["s3"]]


def test_the_lock_has_what_is_needed_by_hash_and_names_no_registry() -> None:
    lock = pins("requirements.lock")
    for needed in wanted():
        assert canonicalize_name(needed.name) in lock, f"{needed}: run python deploy/lock.py"
        version, _ = lock[canonicalize_name(needed.name)]
        assert needed.specifier.contains(version, prereleases=True), f"{needed}: {version}"
    for name in ("requirements.lock", "requirements-cpu.lock", "build.lock", "cluster.lock"):
        assert all(hashes for _, hashes in pins(name).values())
        assert "://" not in read(f"deploy/{name}")


def test_the_lock_for_processors_is_the_other_without_what_is_nvidias() -> None:
    whole, less, torch = map(pins, ("requirements.lock", "requirements-cpu.lock", "torch.lock"))
    left_out = whole.keys() - less.keys()
    assert torch.keys() == {"torch", "torchvision"} <= left_out
    assert all(re.match(r"torch|triton|nvidia-|cuda-", name) for name in left_out)
    assert {name: whole[name] for name in less} == less
    assert {name: version for name, (version, _) in torch.items()} == {
        name: whole[name][0] for name in torch
    }


def test_ray_comes_by_hash_and_changes_nothing_of_the_rest() -> None:
    [ray] = tomllib.loads(read("pyproject.toml"))["project"]["optional-dependencies"]["cluster"]
    lock = pins("cluster.lock")
    assert Requirement(ray).specifier.contains(lock["ray"][0]), "run python deploy/lock.py"
    assert lock.keys().isdisjoint(pins("requirements.lock"))
    # Nothing that a container is made of is installed in another way.
    for name in ("Dockerfile", "deploy/cluster.Dockerfile"):
        text = re.sub(r"\\\n\s*", "", read(name))
        installs = re.findall(r"\bpip [^&\n]*\binstall [^&\n]*", text)
        assert installs, name
        for install in installs:
            by_hash = "--require-hashes" in install or "--no-index" in install
            assert by_hash or install.split()[-1] == "torch.lock", install


def test_the_wheel_is_built_by_what_is_locked() -> None:
    lock = pins("build.lock")
    for text in tomllib.loads(read("pyproject.toml"))["build-system"]["requires"]:
        needed = Requirement(text)
        assert needed.specifier.contains(lock[canonicalize_name(needed.name)][0])
