"""Write what `benchmarks.gpu` found into docs/performance.md, between its two marks.

    python -m benchmarks.report DIR/gpu.json [--page docs/performance.md] [--print]

The section is made from the JSON alone, so writing it again changes nothing. What was not measured
stands there as not measured. Results of ``--tiny`` show that the script works and no more; they are
not written.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- gpu: begin -->", "<!-- gpu: end -->"
PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"


class ReportError(Exception):
    """It cannot be written; the sentence says what to do."""


@dataclass(frozen=True)
class Goal:
    """A row of the table of goals: where its figure is, and what it must be."""

    what: str
    part: str
    name: str
    least: float | None = None
    most: float | None = None
    form: Callable[[float], str] = "{:.1f}".format
    key: str = ""
    """Which item, where the figure is a table."""

    @property
    def wanted(self) -> str:
        """The goal in words."""
        if self.least is not None:
            return f"≥ {self.form(self.least)}"
        assert self.most is not None
        return f"≤ {self.form(self.most)}"

    def found(self, parts: dict[str, Any]) -> float | None:
        """Return what was measured; None where nothing was."""
        value = parts.get(self.part, {}).get("figures", {}).get(self.name)
        if isinstance(value, dict):
            value = value.get(self.key)
        return float(value) if isinstance(value, int | float) else None

    def holds(self, value: float) -> bool:
        """Say whether the goal is reached."""
        return not (
            (self.least is not None and value < self.least)
            or (self.most is not None and value > self.most)
        )


def _times(value: float) -> str:
    return f"{value:.1f} ×"


def _percent(value: float) -> str:
    return f"{value * 100:.1f} %"


def _per_s(value: float) -> str:
    return f"{value:.0f} it/s"


GOALS = (
    Goal(
        "VQGAN f16 512² + ViT-B/32, 32 crops, one run",
        "step", "1 together, it/s", least=150, form=_per_s,
    ),
    Goal(
        "the same, 8 runs together, of the card's measured bf16 rate",
        "step", "8 together, part of the bf16 rate", least=0.45, form=_percent,
    ),
    Goal(
        "256², 16 people together, dreams an hour against the classic loop",
        "together", "ratio_to_classic", key="16", least=12, form=_times,
    ),
    Goal(
        "… against our own single runs",
        "together", "ratio_to_one_person", key="16", least=1.8, form=_times,
    ),
    Goal(
        "diffusion, 8 people, against plain pipelines one after another",
        "diffusion", "ratio_to_plain", key="ours", least=4, form=_times,
    ),
    Goal(
        "a light person's first preview, of first in, first out (95 %)",
        "preview", "p95_ratio", most=0.1, form=_percent,
    ),
    Goal(
        "the scheduler's own part of a step, 16 people",
        "together", "scheduler_part", key="16", most=0.01, form=_percent,
    ),
)  # fmt: skip


def section(found: dict[str, Any]) -> str:
    """Return the section, in Markdown.

    Raises:
        ReportError: these are no results to be shown.
    """
    if found.get("tiny"):
        raise ReportError("These are results of --tiny, which measure nothing. Run it without.")
    parts: dict[str, Any] = found.get("parts", {})
    if not parts:
        raise ReportError("There are no results in this file. Let benchmarks.gpu write one.")
    machine = parts.get("machine", {}).get("figures", {})
    name, torch = machine.get("name", found["device"]), machine.get("torch", "?")
    lines = [
        f"Measured on {name} with torch {torch}, in {found.get('seconds', 0):.0f} seconds, by "
        "`python -m benchmarks.gpu`.",
        "",
        "| what | goal | measured | |",
        "|---|---:|---:|---|",
    ]
    for goal in GOALS:
        value = goal.found(parts)
        said = "not measured" if value is None else goal.form(value)
        verdict = "" if value is None else "reached" if goal.holds(value) else "missed"
        lines.append(f"| {goal.what} | {goal.wanted} | {said} | {verdict} |")
    lines += ["", "| part | | seconds | |", "|---|---|---:|---|"]
    for part, about in parts.items():
        why = _plain(about["why"])
        lines.append(f"| {part} | {about['state']} | {about['seconds']:.0f} | {why} |")
    lines += [
        "",
        "<details><summary>Every figure</summary>",
        "",
        "| part | figure | |",
        "|---|---|---|",
    ]
    for part, about in parts.items():
        lines += [
            f"| {part} | {_plain(each)} | {_plain(_short(value))} |"
            for each, value in about["figures"].items()
        ]
    lines += ["", "</details>"]
    return "\n".join(lines)


def written(page: str, part: str) -> str:
    """Return a page with the text between its marks replaced.

    Raises:
        ReportError: it has not got the marks.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ReportError(f"The page needs the marks {BEGIN} and {END}, in this order.")
    return f"{before}{BEGIN}\n{part}\n{END}{after}"


def _short(value: object) -> str:
    """Return a figure in three digits; tables as their items."""
    if isinstance(value, bool) or not isinstance(value, float | dict | list):
        return str(value)
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_short(each)}" for name, each in value.items())
    return "; ".join(_short(each) for each in value)


def _plain(text: str) -> str:
    """Return a text that a table of Markdown holds: in one line, without what it would read."""
    return " ".join(text.replace("|", "/").replace("<", "‹").replace("`", "'").split())


def main(argv: Sequence[str] | None = None) -> int:
    """Write the section; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--print", action="store_true", help="print the section, change nothing")
    asked = parser.parse_args(argv)
    try:
        part = section(json.loads(asked.results.read_text(encoding="utf-8")))
        if asked.print:
            print(part)
            return 0
        page = asked.page.read_text(encoding="utf-8")
        asked.page.write_text(written(page, part), encoding="utf-8")
    except (OSError, ValueError, ReportError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
