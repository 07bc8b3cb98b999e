"""Write the Grafana board: `python deploy/grafana/make_board.py`.

A row for each question; a test holds the file to this, and every figure in it to what there is.

Source: https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TARGET = Path(__file__).resolve().parent / "dashboards" / "dreamstream.json"
WIDTH, HEIGHT, COLUMNS = 8, 8, 24
SOURCE = {"type": "prometheus", "uid": "prometheus"}
Panel = tuple[str, str, dict[str, str]]
"""A title, a unit of Grafana's, and the lines: what each is called, and its query."""


def rate(name: str, by: str = "") -> str:
    """Return the query for how often something happens, a second."""
    return f"sum by ({by}) (rate({name}[$__rate_interval]))"


def waits(name: str, more: str = "") -> dict[str, str]:
    """Return the queries for how long the middle, and nine in ten, wait at the most."""
    return {
        f"{share * 100:g} %": (
            f"histogram_quantile({share}, "
            f"sum by (le) (rate({name}_bucket{more}[$__rate_interval])))"
        )
        for share in (0.5, 0.9, 0.99)
    }


ROWS: dict[str, list[Panel]] = {
    "Is it well?": [
        ("Ready", "short", {"{{part}}": "dreamstream_ready"}),
        ("Takes new dreams", "short", {"takes": "dreamstream_taking_dreams"}),
        ("Drawing process ended", "short", {
            "{{cause}}": "sum by (cause) (increase(dreamstream_scheduler_ends_total[1h]))",
        }),
        ("Unforeseen errors", "short", {
            "{{task}}": "sum by (task) (increase(dreamstream_unforeseen_errors_total[1h])) > 0",
            "events lost": "increase(dreamstream_events_left_out_total[1h]) > 0",
        }),
    ],
    "Dreams": [
        ("Accepted a minute", "short", {
            "{{engine}}": f"60 * {rate('dreamstream_dreams_accepted_total', 'engine')}",
        }),
        ("Ended a minute", "short", {
            "{{state}}": f"60 * {rate('dreamstream_dreams_ended_total', 'state')}",
        }),
        ("Unfinished", "short", {"{{state}}, {{lane}}": "dreamstream_dreams_unfinished"}),
        ("Until the first preview", "s", waits(
            "dreamstream_first_preview_seconds", '{lane="foreground"}'
        )),
        ("Until the picture", "s", waits("dreamstream_done_seconds", '{lane="foreground"}')),
        ("Refused a minute", "short", {
            "{{reason}}": f"60 * {rate('dreamstream_refusals_total', 'reason')}",
        }),
    ],
    "The machine that draws": [
        ("A step takes", "s", {
            "{{engine}}": (
                f"{rate('dreamstream_step_seconds_sum', 'engine')} / "
                f"{rate('dreamstream_step_seconds_count', 'engine')}"
            ),
        }),
        ("Dreams a step", "short", {
            "{{engine}}": (
                f"{rate('dreamstream_step_runs_sum', 'engine')} / "
                f"{rate('dreamstream_step_runs_count', 'engine')}"
            ),
        }),
        ("Busy with steps, and with loading", "percentunit", {
            "steps": rate("dreamstream_step_seconds_sum"),
            "loading": rate("dreamstream_model_load_seconds_total"),
        }),
        ("Memory", "bytes", {
            "device, {{kind}}": "dreamstream_device_memory_bytes",
            "drawing process": "dreamstream_scheduler_process_resident_memory_bytes",
            "bot": "process_resident_memory_bytes",
        }),
        ("Previews a second", "short", {"previews": rate("dreamstream_previews_total")}),
        ("Models loaded an hour", "short", {
            "{{engine}}": "sum by (engine) (increase(dreamstream_model_loads_total[1h]))",
        }),
    ],
    "Discord": [
        ("Until the card", "s", waits("dreamstream_card_posted_seconds")),
        ("Cards that are not settled", "short", {"cards": "dreamstream_cards_unsettled"}),
        ("Discord answers within", "s", waits("dreamstream_discord_request_seconds")),
        ("429 a minute", "short", {
            "{{route}}, {{scope}}": (
                f"60 * {rate('dreamstream_discord_limited_total', 'route, scope')}"
            ),
        }),
        ("Errors of Discord a minute", "short", {
            "{{route}} {{status}}": (
                "60 * sum by (route, status) (rate("
                'dreamstream_discord_answers_total{status=~"[45].."}[$__rate_interval]))'
            ),
        }),
        ("Gateway", "s", {"shard {{shard}}": "dreamstream_discord_latency_seconds"}),
        ("Shards", "short", {"{{state}}": "dreamstream_discord_shards"}),
        ("Servers", "short", {"servers": "dreamstream_discord_guilds"}),
    ],
    "The wall": [
        ("Watching", "short", {
            "pages": "dreamstream_wall_connections",
            "addresses": "dreamstream_wall_addresses",
        }),
        ("Connections, and requests in line", "short", {
            "connections": "dreamstream_wall_open_connections",
            "in line": "dreamstream_wall_waiting_requests",
        }),
        ("Answers a second", "short", {
            "{{status}}": rate("dreamstream_wall_answers_total", "status"),
        }),
        ("Refused for fetching too much, a second", "short", {
            "{{cost}}": rate("dreamstream_wall_slowed_total", "cost"),
        }),
        ("The wall answers within", "s", waits("dreamstream_wall_request_seconds")),
        ("Sign-ins a second", "short", {
            "{{outcome}}": rate("dreamstream_wall_sign_ins_total", "outcome"),
        }),
        ("Parties and games", "short", {
            "parties": "dreamstream_parties_open",
            "games": "dreamstream_games_open",
        }),
    ],
    "What it stands on": [
        ("Event loop late by", "s", waits("dreamstream_event_loop_lag_seconds")),
        ("A transaction takes", "s", waits("dreamstream_store_write_seconds")),
        ("A transaction waits", "s", waits("dreamstream_store_wait_seconds")),
        ("Room on the disk", "bytes", {
            "left": "dreamstream_disk_free_bytes",
            "pictures and films": "dreamstream_library_bytes",
        }),
        ("Newest backup", "s", {"age": "dreamstream_backup_age_seconds"}),
        ("Processor", "percentunit", {
            "bot": rate("process_cpu_seconds_total"),
            "drawing process": rate("dreamstream_scheduler_process_cpu_seconds_total"),
        }),
    ],
}  # fmt: skip


def board() -> dict[str, Any]:
    """Return the board as Grafana has it."""
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS.items():
        place = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
        panels.append(_numbered(panels, {"type": "row", "title": title, "gridPos": place}))
        y += 1
        for nth, (name, unit, lines) in enumerate(row):
            across = COLUMNS // WIDTH
            place = {
                "x": WIDTH * (nth % across),
                "y": y + HEIGHT * (nth // across),
                "w": WIDTH,
                "h": HEIGHT,
            }
            panels.append(_numbered(panels, _panel(name, unit, lines, place)))
        y += HEIGHT * -(-len(row) // (COLUMNS // WIDTH))
    return {
        "uid": "dreamstream",
        "title": "Dreamstream",
        "schemaVersion": 39,
        "time": {"from": "now-6h", "to": "now"},
        "refresh": "30s",
        "panels": panels,
    }


def _panel(name: str, unit: str, lines: dict[str, str], place: dict[str, int]) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + nth), "expr": query, "legendFormat": legend, "datasource": SOURCE}
        for nth, (legend, query) in enumerate(lines.items())
    ]
    return {
        "type": "timeseries",
        "title": name,
        "gridPos": place,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": targets,
    }


def _numbered(before: list[dict[str, Any]], panel: dict[str, Any]) -> dict[str, Any]:
    return {"id": len(before) + 1, **panel}


if __name__ == "__main__":
    TARGET.write_text(json.dumps(board(), indent=1) + "\n", encoding="utf-8")
