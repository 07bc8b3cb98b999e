"""Pin all that a container is built from, with the hashes of its files: `python deploy/lock.py`.

Five files: `requirements.lock` has all of it, torch with NVIDIA's libraries; in
`requirements-cpu.lock` are neither; `torch.lock` has that torch's versions, without hashes, since
its builds for processors are not on PyPI; `build.lock` is what makes the wheel; `cluster.lock` is
what the extra “cluster” needs beside `requirements.lock`.

With `--upgrade` newer versions are taken; else those that stand there stay where they still fit.
Needs uv (`pip install uv`).
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

DEPLOY = Path(__file__).resolve().parent
PYPROJECT = DEPLOY.parent / "pyproject.toml"
PYTHON = "3.12"
NOTE = "# Made by deploy/lock.py from pyproject.toml, for Python 3.12; do not edit.\n"
TORCH = ("torch", "torchvision")
ONLY_FOR_CUDA = re.compile(r"(torch|torchvision|triton|nvidia-.*|cuda-.*)==")


def pinned(source: Path, target: Path, *options: str) -> None:
    """Pin what a file asks for, for every platform."""
    command = [
        "uv", "pip", "compile", str(source), "--output-file", str(target), "--universal",
        "--python-version", PYTHON, "--generate-hashes", "--no-annotate", "--no-header",
        "--no-emit-index-url", "--no-emit-find-links", "--quiet", *options,
    ]  # fmt: skip
    subprocess.run(command, check=True)  # noqa: S603
    text = target.read_text(encoding="utf-8").removeprefix(NOTE)
    target.write_text(NOTE + text, encoding="utf-8")


def pinned_list(requirements: list[str], target: Path, *options: str) -> None:
    """Pin what a list asks for, for every platform."""
    with tempfile.NamedTemporaryFile("w", suffix=".in") as wanted:
        wanted.write("\n".join(requirements))
        wanted.flush()
        pinned(Path(wanted.name), target, *options)


def entries(text: str) -> list[str]:
    """Return a lock's entries, each with its hashes."""
    return re.split(r"(?m)^(?=[A-Za-z0-9])", text)[1:]


def main(options: list[str]) -> None:
    """Write the locks; `options` go to uv."""
    whole = DEPLOY / "requirements.lock"
    pinned(PYPROJECT, whole, "--extra", "search", "--extra", "s3", *options)
    found = entries(whole.read_text(encoding="utf-8"))
    rest = [entry for entry in found if not ONLY_FOR_CUDA.match(entry)]
    (DEPLOY / "requirements-cpu.lock").write_text(NOTE + "".join(rest), encoding="utf-8")
    versions = [entry.split()[0] for entry in found if entry.split("==")[0] in TORCH]
    (DEPLOY / "torch.lock").write_text(NOTE + "\n".join(versions) + "\n", encoding="utf-8")
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))
    pinned_list(project["build-system"]["requires"], DEPLOY / "build.lock", *options)
    cluster, extras = DEPLOY / "cluster.lock", project["project"]["optional-dependencies"]
    pinned_list(extras["cluster"], cluster, "--constraint", str(whole), *options)
    there = {entry.split("==")[0] for entry in found}
    more = entries(cluster.read_text(encoding="utf-8"))
    beside = [entry for entry in more if entry.split("==")[0] not in there]
    cluster.write_text(NOTE + "".join(beside), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
