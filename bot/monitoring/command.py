"""`dreamstream health`: ask the running bot whether it is well. For containers and scripts."""

from __future__ import annotations

import http.client
import json
import sys

from bot.config import Config, host_and_port
from bot.errors import ConfigError

PATIENCE_S = 5.0
NOWHERE = (
    "Nobody can be asked: monitoring.listen is empty, and the wall is off or at any free port. "
    "Set monitoring.listen to an address such as 127.0.0.1:9642."
)
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - compared


def ask(config: Config, *, live: bool) -> int:
    """Print how it stands; return 0 where it is ready, or with `live` alive. Blocks.

    Raises:
        ConfigError: the settings name no address at which it could be asked.
    """
    host, port = address(config)
    path = "/healthz" if live else "/readyz"
    connection = http.client.HTTPConnection(host, port, timeout=PATIENCE_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        status, body = answer.status, answer.read(64 * 1024)
    except (OSError, http.client.HTTPException) as error:
        print(f"No answer from {host}:{port} ({error}).", file=sys.stderr)
        return 1
    finally:
        connection.close()
    well = status == 200
    if live:
        print("alive" if well else f"{path} answered {status}.")
        return 0 if well else 1
    for name, standing in _parts(body).items():
        print(f"{name}: {standing}")
    return 0 if well else 1


def address(config: Config) -> tuple[str, int]:
    """Return where the running bot can be asked, from this machine.

    Raises:
        ConfigError: nowhere.
    """
    found = host_and_port(config.monitoring.listen)
    if found is None and config.wall.mode != "off" and config.wall.port:
        found = config.wall.host, config.wall.port
    if found is None:
        raise ConfigError([NOWHERE])
    host, port = found
    return _EVERYWHERE.get(host, host), port


def _parts(body: bytes) -> dict[str, str]:
    try:
        parts = json.loads(body)["parts"]
        return {str(name): str(standing) for name, standing in parts.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {"answer": "not that of a Dreamstream"}
