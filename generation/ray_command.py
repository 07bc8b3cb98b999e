"""``python -m generation.ray_command``: who draws on a Ray cluster, and how somebody leaves it.

`dreamstream workers` hands over to this, which may import Ray. Workers are named
``address/node/worker``; the beginning of a name means all whose names begin so.
"""

from __future__ import annotations

import argparse
import logging
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from generation.ray_cluster import NAMESPACE, NOT_INSTALLED

_POLL_S = 0.5
_ANSWER_S = 10.0
_STOP_S = 20.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    arguments = parser().parse_args(argv)
    try:
        import ray  # noqa: F401
    except ImportError:
        print(NOT_INSTALLED, file=sys.stderr)
        return 1
    try:
        return int(arguments.run(arguments))
    except (ConnectionError, RuntimeError) as error:
        print(f"There is no Ray cluster at {arguments.address}: {error}", file=sys.stderr)
        return 1


def parser() -> argparse.ArgumentParser:
    """Return what reads the command's arguments."""
    whole = argparse.ArgumentParser(
        prog="dreamstream workers",
        description="The workers of a Ray cluster: who draws, and how somebody joins or leaves. "
        "A worker is named address/node/worker; the beginning of a name means all whose names "
        "begin so. “dreamstream workers COMMAND --help” explains a command.",
    )
    whole.add_argument(
        "--address", default="auto", metavar="ADDRESS", help="auto, head:6379, ray://head:10001"
    )
    commands = whole.add_subparsers(required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="who draws, and what they are at")
    listing.set_defaults(run=_list)
    draining = commands.add_parser(
        "drain", help="have workers save what they are at, and leave; their dreams go on elsewhere"
    )
    draining.add_argument("names", nargs="+", metavar="NAME", help="a worker's, or a node's")
    draining.add_argument("--wait", type=float, default=60.0, metavar="S", help="so long at most")
    draining.set_defaults(run=_drain)
    joining = commands.add_parser(
        "join", help="make this machine a node; told to end (SIGTERM), it drains first"
    )
    joining.add_argument(
        "--address", dest="head", required=True, metavar="HEAD:6379", help="the cluster's head"
    )
    joining.add_argument("--wait", type=float, default=60.0, metavar="S", help="so long at most")
    joining.add_argument("ray", nargs="*", metavar="-- RAY", help="more for “ray start”")
    joining.set_defaults(run=_join)
    return whole


def _list(arguments: argparse.Namespace) -> int:
    ray = _connect(arguments.address)
    names = _names(ray)
    if not names:
        print("Nobody draws on this cluster. Is the bot running, with scheduler.workers = “ray”?")
        return 1
    for name in names:
        print(f"{name}  {_status(ray, name)}")
    return 0


def _status(ray: Any, name: str) -> str:
    try:
        actor = ray.get_actor(name, namespace=NAMESPACE)
        return str(ray.get(actor.status.remote(), timeout=_ANSWER_S))
    except ValueError:
        return "has left"
    except ray.exceptions.RayError:
        return "does not answer"


def _drain(arguments: argparse.Namespace) -> int:
    ray = _connect(arguments.address)
    names = [name for name in _names(ray) if any(_meant(name, one) for one in arguments.names)]
    if not names:
        print("There is no worker of that name. “dreamstream workers list” has them.")
        return 1
    return _drained(ray, names, arguments.wait)


def _drained(ray: Any, names: list[str], wait_s: float) -> int:
    """Tell workers to drain and wait until they have; return 1 if some have not."""
    for name in names:
        try:
            ray.get_actor(name, namespace=NAMESPACE).drain.remote()
        except ValueError:
            continue  # it has left
        print(f"{name} drains.", flush=True)
    until = time.monotonic() + wait_s
    while left := [name for name in names if name in _names(ray)]:
        if time.monotonic() > until:
            print(f"Still there after {wait_s:g} s: {', '.join(left)}.")
            return 1
        time.sleep(_POLL_S)
    print("They have left. Their places stay empty until their node joins again.")
    return 0


def _join(arguments: argparse.Namespace) -> int:
    """Run a node until told to end; then let its workers save what they are at."""
    node = f"dreamstream-{secrets.token_hex(6)}"
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block"]
    command += ["--address", arguments.head, "--node-name", node, *arguments.ray]
    # In a group of its own: a Ctrl-C, or a container's end, is ours to pass on.
    process = subprocess.Popen(command, start_new_session=True)  # noqa: S603

    def end(_number: int, _frame: object) -> None:
        raise SystemExit

    signal.signal(signal.SIGTERM, end)
    try:
        return process.wait()
    except (SystemExit, KeyboardInterrupt):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            ray = _connect(arguments.head)
            here = [one["NodeID"][:6] for one in ray.nodes() if one["NodeName"] == node]
            names = [name for name in _names(ray) if name.split("/")[1] in here]
            if names:
                _drained(ray, names, arguments.wait)
            ray.shutdown()
        finally:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
        return 0


def _connect(address: str) -> Any:
    import ray

    ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR)
    return ray


def _names(ray: Any) -> list[str]:
    found = ray.util.list_named_actors(all_namespaces=True)
    return sorted(one["name"] for one in found if one["namespace"] == NAMESPACE)


def _meant(name: str, given: str) -> bool:
    return name == given or name.startswith(given.rstrip("/") + "/")


if __name__ == "__main__":
    sys.exit(main())
