"""Draw the plots of docs/scale.md: simulate anew, or draw the figures of an earlier simulation.

    .venv/bin/python docs/make_scale_plots.py [--figures scale.json] [--out docs/images]

`--figures` is what ``python -m benchmarks.scale --out`` wrote.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
WIDTH, HEIGHT = 880, 440
LEFT, RIGHT, TOP, BOTTOM = 80, 210, 60, 60
INK, FAINT, GRID, GROUND = "#f2f0ff", "#aaa7c4", "#2c2c3e", "#101018"
COLOURS = ("#8f86ff", "#ff7a90", "#7ee0b5", "#ffb86b", "#6ec6ff")
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"

Point = tuple[float, float]


def number(value: float) -> str:
    """Return a number as an axis names it."""
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def logarithmic(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """Return where a value lies between `start` and `end` pixels, `low` and `high` being there."""
    span = math.log10(high / low)
    return lambda value: start + (end - start) * math.log10(value / low) / span


def decades(low: float, high: float) -> list[float]:
    """Return the powers of ten within bounds."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    return [10.0**power for power in range(first, last + 1)]


def text(x: float, y: float, words: str, style: str = "", anchor: str = "start") -> str:
    """Return words at a place."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {style}>{escape(words)}</text>'


def document(title: str, description: str, parts: Sequence[str], height: int = HEIGHT) -> str:
    """Return an SVG of parts, with a title for who cannot see it."""
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            f'role="img" font-family="{FONT}" font-size="13" fill="{FAINT}">',
            f"<title>{escape(title)}</title>",
            f"<desc>{escape(description)}</desc>",
            f'<rect width="{WIDTH}" height="{height}" rx="14" fill="{GROUND}"/>',
            text(24, 34, title, f'fill="{INK}" font-size="17" font-weight="600"'),
            *parts,
            "</svg>",
            "",
        )
    )


def lines(
    title: str,
    description: str,
    curves: dict[str, list[Point]],
    bound: tuple[float, str] | None = None,
) -> str:
    """Return curves over the number of channels, both axes logarithmic; zeros are left out."""
    kept = {name: [p for p in points if p[1] > 0] for name, points in curves.items()}
    kept = {name: points for name, points in kept.items() if points}
    values = [y for points in kept.values() for _, y in points] + ([bound[0]] if bound else [])
    low, high = 10 ** math.floor(math.log10(min(values))), 10 ** math.ceil(math.log10(max(values)))
    xs = [x for points in curves.values() for x, _ in points]
    across = logarithmic(min(xs), max(xs), LEFT, WIDTH - RIGHT)
    up = logarithmic(low, high, HEIGHT - BOTTOM, TOP)
    parts: list[str] = []
    for value in decades(low, high):
        y = up(value)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{GRID}"/>')
        parts.append(text(LEFT - 10, y + 4, number(value), anchor="end"))
    parts += [
        text(across(value), HEIGHT - BOTTOM + 22, number(value), anchor="middle")
        for value in decades(min(xs), max(xs))
    ]
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(text(middle, HEIGHT - 14, "channels", anchor="middle"))
    if bound is not None:
        y = up(bound[0])
        parts.append(
            f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{INK}" stroke-dasharray="5 5"/>'
        )
        parts.append(text(LEFT + 8, y - 7, bound[1], f'fill="{INK}"'))
    for nth, (name, points) in enumerate(kept.items()):
        colour = COLOURS[nth]
        path = "L".join(f"{across(x):.1f} {up(y):.1f}" for x, y in points)
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
        parts += [
            f'<circle cx="{across(x):.1f}" cy="{up(y):.1f}" r="3.5" fill="{colour}"/>'
            for x, y in points
        ]
        y = TOP + 14 + 24 * nth
        legend = WIDTH - RIGHT + 20
        parts.append(f'<circle cx="{legend}" cy="{y - 4}" r="5" fill="{colour}"/>')
        parts.append(text(legend + 12, y, name, f'fill="{INK}"'))
    return document(title, description, parts)


def bars(title: str, description: str, values: dict[str, float]) -> str:
    """Return how far each name goes on a logarithmic axis of channels, the least first."""
    ordered = sorted(values.items(), key=lambda item: item[1])
    left, right = 250, 90
    height = TOP + 34 * len(ordered) + BOTTOM
    low, high = 100.0, 10 ** math.ceil(math.log10(ordered[-1][1]))
    across = logarithmic(low, high, left, WIDTH - right)
    floor = height - BOTTOM + 4
    parts: list[str] = []
    for value in decades(low, high):
        x = across(value)
        parts.append(f'<path d="M{x:.1f} {TOP}V{floor}" stroke="{GRID}"/>')
        parts.append(text(x, floor + 20, number(value), anchor="middle"))
    parts.append(text((left + WIDTH - right) / 2, height - 12, "channels", anchor="middle"))
    for nth, (name, value) in enumerate(ordered):
        y, x = TOP + 34 * nth + 6, across(value)
        parts.append(
            f'<rect x="{left}" y="{y}" width="{x - left:.1f}" height="22" rx="4" '
            f'fill="{COLOURS[0]}"/>'
        )
        parts.append(text(left - 12, y + 16, name, f'fill="{INK}"', "end"))
        parts.append(text(x + 8, y + 16, number(float(f"{value:.2g}")), f'fill="{INK}"'))
    return document(title, description, parts, height)


def plots(figures: dict[str, Any]) -> dict[str, str]:
    """Return each plot by its file's name."""
    rows = figures["scales"]

    def curve(key: str) -> list[Point]:
        return [(row["channels"], row[key]) for row in rows]

    return {
        "scale-limits.svg": bars(
            "Where each limit is reached",
            "Bars on a logarithmic axis of channels: which limit is reached at how many channels.",
            figures["binds_at_channels"],
        ),
        "scale-discord.svg": lines(
            "Requests a second to Discord",
            "Requests a second that cards want, and that Discord takes, over channels.",
            {
                "wanted": curve("wanted_a_s"),
                "taken, library alone": curve("unlimited_requests_a_s"),
                "taken, with the bot's turns": curve("limiter_requests_a_s"),
            },
            (50.0, "50 a second for the whole bot"),
        ),
        "scale-waits.svg": lines(
            "Seconds of waiting, 95 % are under",
            "Waits for first previews, last pictures, and for Discord to show an end, by channels.",
            {
                "first preview drawn": curve("first_p95_s"),
                "last picture drawn": curve("last_p95_s"),
                "… shown, library alone": curve("unlimited_end_late_p95_s"),
                "… by turns in order": curve("in_order_end_late_p95_s"),
                "… by the bot's turns": curve("limiter_end_late_p95_s"),
            },
        ),
    }


def simulated() -> dict[str, Any]:
    """Return the figures of a simulation made now."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "scale.json"
        command = [sys.executable, "-m", "benchmarks.scale", "--out", str(out)]
        subprocess.run(command, cwd=ROOT, check=True)  # noqa: S603 -- our own module
        found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
        return found


def main() -> None:
    """Write the plots."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--figures", type=Path, help="what an earlier simulation wrote")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    arguments = parser.parse_args()
    given = arguments.figures
    figures = simulated() if given is None else json.loads(given.read_text(encoding="utf-8"))
    for name, svg in plots(figures).items():
        (arguments.out / name).write_text(svg, encoding="utf-8")
        print(arguments.out / name)


if __name__ == "__main__":
    main()
