"""What would break first at 10, 1,000 and 100,000 channels.

Simulated: people, devices, time, and Discord's limits (`benchmarks.scale.cards`). Real: the
scheduler, with what its decisions take here; the pace of each channel's cards; and the database,
with what its transactions take on this disk. What is assumed of people and devices is in
`benchmarks.scale.demand` and `benchmarks.scale.drawing`. Figures of Discord and of waits are the
same for each seed; those of the scheduler and the database are this machine's.

    python -m benchmarks.scale [--seed 1] [--channels 10 1000 100000] [--out scale.json]

Prints a table for people and one line of JSON; `docs/make_scale_plots.py` draws what is in `--out`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

from benchmarks.fairness import quantile
from benchmarks.scale.cards import Discord, How, Sent, Want
from benchmarks.scale.demand import Ask, Demand, asks
from benchmarks.scale.drawing import GPU, STARTER, Device, Drawing, Drawn
from benchmarks.scale.writes import seconds_a_picture
from bot.config import Limits
from bot.delivery.pace import WAITING_S, Urgency

CHANNELS = (10, 100, 1_000, 10_000, 30_000, 100_000)
ASKS, LEAST_S, MOST_S = 600, 60.0, 24 * 3600.0
"""A scale is simulated for as long as so many asks take, within bounds."""
WARM_S = 30.0
"""What is left out of rates: the time in which an empty machine fills up."""
TOGETHER, LOAD = 4, 0.8
"""Devices are as many as are busy for this part of the time with so many runs in each step."""
PREVIEW_S = 1.0
KEPT = {"unlimited": How.NOTHING, "in_order": How.IN_ORDER, "limiter": How.BY_URGENCY}
"""What may be done about Discord's limit of the whole bot, as figures are named."""
GUILD_CHANNELS, SHARD_GUILDS, IDENTIFY_S = 2, 1_000, 5.0
PICTURE_BYTES = 400_000
WAITING_TOTAL = Limits().waiting_total

Figures = dict[str, float]


def wants(asked: Sequence[Ask], drawn: Drawn, until_s: float) -> list[Want]:
    """Return what the cards have to show, and when, from what became of the asks."""
    found: list[Want] = []
    showing: dict[int, list[float]] = {}
    done: dict[int, list[float]] = {}
    for at_s, number in drawn.showing:
        times = showing.setdefault(number, [])
        if not times or at_s - times[-1] >= PREVIEW_S:
            times.append(at_s)
    for at_s, number in drawn.done_s:
        done.setdefault(number, []).append(at_s)
    for ask in asked:
        shown, ended = showing.get(ask.number, []), done.get(ask.number, [])
        found.append(Want(ask.at_s, ask.channel, ask.number, Urgency.NEW))
        begun_s = min([*shown[:1], *ended[:1], until_s])
        waits = int((begun_s - ask.at_s) / WAITING_S)
        for nth in range(1, waits + 1):
            at_s = ask.at_s + nth * WAITING_S
            found.append(Want(at_s, ask.channel, ask.number, Urgency.WAITING))
        found += [Want(at_s, ask.channel, ask.number, Urgency.FORMING) for at_s in shown]
        for nth, at_s in enumerate(sorted(ended), 1):
            urgency = Urgency.END if nth == ask.pictures else Urgency.FORMING
            found.append(Want(at_s, ask.channel, ask.number, urgency))
    return found


def simulate(channels: int, device: Device, demand: Demand, seed: int) -> Figures:
    """Return the figures of one scale; times in seconds."""
    asks_a_s = channels * demand.asks_an_hour / 3600
    pictures_a_s = asks_a_s * demand.pictures_an_ask
    until_s = min(max(ASKS / asks_a_s, LEAST_S), MOST_S)
    workers = math.ceil(pictures_a_s * device.picture_s(TOGETHER) / LOAD)
    asked = asks(demand, channels, until_s, seed)
    began_s = time.thread_time()
    drawn = Drawing(device, workers).run(asked, until_s)
    all_wants = wants(asked, drawn, until_s)
    kept = {name: Discord(how).run(all_wants, until_s) for name, how in KEPT.items()}
    figures: Figures = {
        "channels": channels,
        "simulated_s": round(until_s),
        "asks_a_s": asks_a_s,
        "pictures_a_s": pictures_a_s,
        "workers": workers,
        "worker_load": drawn.busy_s / until_s / workers,
        "first_p50_s": quantile(drawn.first_s, 0.5),
        "first_p95_s": quantile(drawn.first_s, 0.95),
        "last_p50_s": quantile(drawn.last_s, 0.5),
        "last_p95_s": quantile(drawn.last_s, 0.95),
        "open_most": drawn.open_most,
        "decision_ms": 1000 * drawn.decisions_s / max(drawn.decisions, 1),
        "scheduler_load": drawn.decisions_s / until_s,
        "shards": math.ceil(channels / GUILD_CHANNELS / SHARD_GUILDS),
        "gb_a_day": demand.busy_hours * 3600 * pictures_a_s * PICTURE_BYTES / 1e9,
    }
    for name, sent in kept.items():
        figures |= {f"{name}_{key}": value for key, value in _sent(sent, until_s).items()}
    # What Discord would be sent if it took everything.
    figures["wanted_a_s"] = _sent(_boundless(all_wants, until_s), until_s)["requests_a_s"]
    figures["took_s"] = time.thread_time() - began_s
    return figures


class _Boundless(Discord):
    limit_a_s = 1_000_000


def _boundless(all_wants: list[Want], until_s: float) -> Sent:
    return _Boundless().run(all_wants, until_s)


def _sent(sent: Sent, until_s: float) -> Figures:
    warm_s = min(WARM_S, until_s / 2)
    span_s = until_s - warm_s
    return {
        "requests_a_s": sum(at_s >= warm_s for at_s in sent.taken_s) / span_s,
        "invalid_in_600_s": sum(at_s >= warm_s for at_s in sent.refused_s) * 600 / span_s,
        "end_late_p50_s": quantile(sent.late_s, 0.5),
        "end_late_p95_s": quantile(sent.late_s, 0.95),
        "ends_unsent": sent.unsent,
    }


def binds(rows: Sequence[Figures], write_s: float, device: Device) -> dict[str, float]:
    """Return at how many channels each limit is reached, by the rates of the largest scale."""
    most = rows[-1]
    a_channel = most["pictures_a_s"] / most["channels"]
    return {
        "one GPU": LOAD / device.picture_s(TOGETHER) / a_channel,
        f"{WAITING_TOTAL:,} unfinished dreams": crossing(rows, "open_most", WAITING_TOTAL),
        "50 requests/s, whole bot": crossing(rows, "wanted_a_s", 50.0),
        "one scheduler process": crossing(rows, "scheduler_load", 1.0),
        "one database writer": 1 / write_s / a_channel,
        "1 TB in 30 days": 1000 / 30 / (most["gb_a_day"] / most["channels"]),
        "a second shard": GUILD_CHANNELS * SHARD_GUILDS,
    }


def crossing(rows: Sequence[Figures], key: str, bound: float) -> float:
    """Return where a figure reaches a bound: between scales, or past the last, as a power law."""
    known = [row for row in rows if row[key] > 0]
    if not known:
        return math.inf
    pairs = list(pairwise(known))
    low, high = next((pair for pair in pairs if pair[1][key] >= bound), pairs[-1])
    slope = math.log(high[key] / low[key]) / math.log(high["channels"] / low["channels"])
    if slope <= 0:
        return math.inf
    return float(low["channels"] * (bound / low[key]) ** (1 / slope))


TABLE = (
    ("pictures_a_s", "pictures/s"),
    ("workers", "devices"),
    ("worker_load", "their load"),
    ("first_p50_s", "first preview, p50 s"),
    ("first_p95_s", "… p95"),
    ("last_p50_s", "last picture, p50 s"),
    ("last_p95_s", "… p95"),
    ("open_most", "unfinished at most"),
    ("decision_ms", "a decision, ms"),
    ("scheduler_load", "scheduler's load"),
    ("wanted_a_s", "requests/s wanted"),
    ("unlimited_requests_a_s", "… taken"),
    ("unlimited_invalid_in_600_s", "429s in 10 min"),
    ("unlimited_end_late_p95_s", "an end is late by, p95 s"),
    ("in_order_invalid_in_600_s", "turns in order: 429s"),
    ("in_order_end_late_p50_s", "… late by, p50 s"),
    ("in_order_end_late_p95_s", "… p95"),
    ("limiter_requests_a_s", "by urgency: taken/s"),
    ("limiter_invalid_in_600_s", "… 429s in 10 min"),
    ("limiter_end_late_p50_s", "… late by, p50 s"),
    ("limiter_end_late_p95_s", "… p95"),
    ("limiter_ends_unsent", "… ends not shown yet"),
    ("shards", "shards"),
    ("gb_a_day", "GB a day"),
)


def main() -> None:
    """Simulate every scale and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--channels", type=int, nargs="+", default=list(CHANNELS))
    parser.add_argument("--device", choices=("gpu", "starter"), default="gpu")
    parser.add_argument("--writes", type=int, default=200, help="pictures to write for the measure")
    parser.add_argument("--out", type=Path, help="keep the figures here, as JSON")
    arguments = parser.parse_args()
    device, demand = {"gpu": GPU, "starter": STARTER}[arguments.device], Demand()
    with tempfile.TemporaryDirectory() as folder:
        write_s = asyncio.run(seconds_a_picture(Path(folder), arguments.writes))
    rows = [
        simulate(channels, device, demand, arguments.seed)
        for channels in sorted(arguments.channels)
    ]
    for row in rows:
        row["writer_load"] = row["pictures_a_s"] * write_s
    print(f"{'channels':<26}" + "".join(f"{row['channels']:>11,.0f}" for row in rows))
    for key, title in (*TABLE, ("writer_load", "database writer's load")):
        print(f"{title:<26}" + "".join(f"{row[key]:>11.4g}" for row in rows))
    result = {
        "benchmark": "scale",
        "seed": arguments.seed,
        "device": asdict(device),
        "demand": asdict(demand),
        "write_ms": 1000 * write_s,
        "scales": rows,
        "binds_at_channels": binds(rows, write_s, device) if len(rows) > 1 else {},
    }
    text = json.dumps(result)
    print(text)
    if arguments.out is not None:
        arguments.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
