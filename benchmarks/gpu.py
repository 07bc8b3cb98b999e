"""Check and measure everything that needs a GPU, in one call of under nine minutes.

    python -m benchmarks.gpu --out DIR [--seconds 520] [--parts exact step …]
    python -m benchmarks.gpu --wheels            # what to carry to a machine without a registry
    python -m benchmarks.gpu --out DIR --device cpu --tiny   # the same ways, on any machine

Each part (`benchmarks.gpu_parts`) runs in a process of its own, so that none takes the others with
it, and has its slice of the time; one that outlasts it is ended. When the time is up, the rest is
left out, and the results say so. A figure is in ``DIR/figures.jsonl`` as soon as it is known, and
after each part all are gathered in ``DIR/gpu.json``: what a cut call has found is kept.
``python -m benchmarks.report DIR/gpu.json`` writes them into docs/performance.md. The exit status
is 1 where a check failed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

SECONDS = 520.0
# Of these, what each part may take at most, in the order in which they are wanted most.
# Together they are more: most parts end early.
SLICES = {
    "machine": 30,
    "starter": 70,
    "exact": 40,
    "precision": 50,
    "waiting": 40,
    "out-of-memory": 50,
    "memory": 60,
    "step": 150,
    "together": 120,
    "diffusion": 90,
    "preview": 80,
}
PARTS_COMMAND = (sys.executable, "-m", "benchmarks.gpu_parts")
LEAST_S = 15
"""No part is begun with less left: importing torch alone may take that."""
SKIPPED = 77
"""A part's exit status where the machine has not got what it is about."""


def run(
    out: Path, *, device: str, tiny: bool, seconds: float, parts: Sequence[str]
) -> dict[str, Any]:
    """Run the parts one after the other; return what was found, which also lies in `out`."""
    out.mkdir(parents=True, exist_ok=True)
    figures = out / "figures.jsonl"
    figures.unlink(missing_ok=True)
    began = time.monotonic()
    found: dict[str, Any] = {"device": device, "tiny": tiny, "parts": {}}
    for name in parts:
        left = seconds - (time.monotonic() - began)
        part_began = time.monotonic()
        if left < LEAST_S:
            state, why = "left out", "the time was up"
        else:
            state, why = _one(
                name,
                out,
                device=device,
                tiny=tiny,
                limit_s=min(left, SLICES[name] * max(1.0, seconds / SECONDS)),
            )
        with figures.open("a", encoding="utf-8") as file:
            file.write("\n")  # it may have been ended in the middle of a line
        found["parts"][name] = {
            "state": state,
            "why": why,
            "seconds": round(time.monotonic() - part_began, 1),
            "figures": _figures(figures, name),
        }
        found["seconds"] = round(time.monotonic() - began, 1)
        _write(out / "gpu.json", found)
        print(f"{name:16}{state:10}{found['seconds']:>7.1f} s  {why}", flush=True)
    return found


def _one(name: str, out: Path, *, device: str, tiny: bool, limit_s: float) -> tuple[str, str]:
    """Run a part in a process of its own; return how it went, and why."""
    command = [*PARTS_COMMAND, name, "--out", str(out)]
    command += ["--device", device, "--seconds", f"{limit_s:.0f}", *(["--tiny"] if tiny else [])]
    # torch's allocator gives memory back in pieces that can be joined; without, a large step after
    # many small ones may not find room where there is enough.
    environment = os.environ | {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}
    with (out / "log.txt").open("a", encoding="utf-8") as log:
        log.write(f"--- {name}\n")
        log.flush()
        try:
            status = subprocess.run(
                command, stdout=log, stderr=log, timeout=limit_s, env=environment, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            return "cut", f"it took over its {limit_s:.0f} s; what it had found is kept"
    if status == 0:
        return "ok", ""
    if status == SKIPPED:
        return "skipped", _last_line(out / "log.txt")
    return "failed", _last_line(out / "log.txt")


def _figures(path: Path, part: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with suppress(FileNotFoundError):
        for line in path.read_text(encoding="utf-8").splitlines():
            with suppress(json.JSONDecodeError):  # the last line of a part that was ended
                noted = json.loads(line)
                if noted["part"] == part:
                    found[noted["name"]] = noted["value"]
    return found


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else ""


def _write(path: Path, found: dict[str, Any]) -> None:
    """Replace a file as a whole: whoever reads it meets the old one or the new one."""
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(found, indent=1), encoding="utf-8")
    beside.replace(path)


# --- what to carry ---------------------------------------------------------------------------

CARRIED = (
    "diffusers",
    "ftfy",
    "msgspec",
    "open_clip_torch",
    "taming-transformers-rom1504",
    "wcwidth",
)
"""What the parts import beside torch, torchvision, timm, transformers, safetensors, regex and what
comes with these: those the machine has, to fit one another and its GPU."""


def wheels(python: str) -> str:
    """Return a shell command that fetches them as wheels into ``.whl``, in the versions of here."""
    pinned = [f"{name}=={metadata.version(name)}" for name in CARRIED]
    platforms = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")
    where = " ".join(f"--platform {one}_x86_64" for one in (*platforms, "manylinux1"))
    return (
        f"python3 -m pip download --no-deps --only-binary=:all: --python-version {python} "
        f"--implementation cp {where} -d .whl {' '.join(pinned)}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small sizes: does it work at all")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--parts", nargs="+", choices=tuple(SLICES), default=list(SLICES))
    parser.add_argument("--wheels", action="store_true", help="print how to fetch what is needed")
    default = ".".join(platform.python_version_tuple()[:2])
    parser.add_argument("--python", default=default, help="the other machine's Python: 3.12")
    asked = parser.parse_args(argv)
    if asked.wheels:
        print(wheels(asked.python))
        return 0
    if asked.out is None:
        parser.error("--out says where the results go")
    found = run(
        asked.out,
        device=asked.device,
        tiny=asked.tiny,
        seconds=asked.seconds,
        parts=asked.parts,
    )
    print(json.dumps({"benchmark": "gpu", **found}))
    return int(any(part["state"] == "failed" for part in found["parts"].values()))


if __name__ == "__main__":
    sys.exit(main())
