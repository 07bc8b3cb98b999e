"""Files that strangers send: pictures, recipes, themes, settings, checkpoints, backups."""

from __future__ import annotations

import io
import json
import pickle
import random
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import torch
from PIL import Image as Pillow
from safetensors.torch import save

from bot import recipes, theme_files, uploads
from bot.backup.model import BackupError, Manifest, other_file, picture, read_manifest
from bot.backup.restoring import _unpack
from bot.config_file import load_config
from bot.errors import ConfigError, InvalidRequestError
from bot.model import Theme
from bot.themes import checked
from generation.models.checkpoints import CheckpointError, read_weights
from generation.protocol import Recipe, Steer
from tests.fuzz.inputs import mutated, mutated_text
from tests.fuzz.running import Target

ROOT = Path(__file__).resolve().parents[2]
_LIMITS = uploads.UploadLimits(max_bytes=64 * 1024, max_pixels=250_000)
_RECIPE = Recipe(
    engine="clip", model="vqgan", prompt="a castle:2 | fog:-1", width=8, height=8, steps=9,
    seed=4242, guidance=7.5, init_sha256="ab" * 32, steers=(Steer(5, "a sky", 1),),
    settings={"rate": 0.1, "kind": "soft", "tiled": True},
)  # fmt: skip


@cache
def pictures() -> tuple[bytes, ...]:
    """Return small pictures of all kinds that are taken, and of some that are not."""
    found = []
    for mode in ("RGB", "RGBA", "L", "LA", "P", "1", "I;16", "CMYK"):
        plain = (
            Pillow.new("L", (9, 7)).convert(mode) if mode != "I;16" else Pillow.new(mode, (9, 7))
        )
        exif = Pillow.Exif()
        exif[0x0112] = 6
        for kind in ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "ICO"):
            out = io.BytesIO()
            try:
                plain.save(out, kind, exif=exif, progressive=mode == "RGB", icc_profile=b"x" * 40)
            except (OSError, ValueError):
                continue
            found.append(out.getvalue())
    frames = [Pillow.new("RGB", (5, 5), colour) for colour in ("red", "blue")]
    for kind in ("PNG", "WEBP", "GIF"):
        out = io.BytesIO()
        frames[0].save(out, kind, save_all=True, append_images=frames[1:])
        found.append(out.getvalue())
    return tuple(found)


def _upload(data: bytes) -> None:
    for read in (uploads.to_png, uploads.to_mask):
        png = read(data, _LIMITS)
        with Pillow.open(io.BytesIO(png), formats=("PNG",)) as kept:
            assert kept.mode == "RGB"
            assert not kept.info, f"kept besides the pixels: {kept.info}"
        kinds = [kind for kind, _ in recipes._chunks(png)]
        assert set(kinds) == {b"IHDR", b"IDAT", b"IEND"}


@cache
def _with_recipe() -> tuple[bytes, ...]:
    out = io.BytesIO()
    Pillow.new("RGB", (8, 8)).save(out, "PNG")
    return (
        recipes.embed(out.getvalue(), _RECIPE, prompt="a castle", licence="MIT"),
        recipes.embed(out.getvalue(), msgspec.structs.replace(_RECIPE, prompt="漢🦊")),
    )


def documents(random: random.Random) -> bytes:
    """Return a picture with a document that is not quite one, its checksums right."""
    if random.randrange(3) == 0:
        return mutated(random, _with_recipe())
    document = msgspec.json.encode(
        recipes.Document(software="x", prompt="a", recipe=_RECIPE)
    ).decode()
    if random.randrange(4) == 0:
        document = random.choice("[{") * random.choice((10, 5000, 200_000))
    elif random.randrange(2):
        number = random.choice(("1e999", "-1", "9" * 30, "NaN", "null", "true", '"\\ud800"', "[]"))
        document = document.replace(random.choice(("64", "8", "4242", "9", "5")), number, 1)
    body = mutated_text(random, document).encode("utf-8", "surrogatepass")
    kind, head = random.choice(((b"tEXt", b""), (b"iTXt", b"\0\0\0\0"), (b"iTXt", b"\0\1\0\0")))
    chunk = recipes._chunk(kind, b"dreamstream\0" + head + body)
    plain = uploads.to_png(_with_recipe()[0])
    return plain[:33] + chunk + plain[33:]


def _document(data: bytes) -> None:
    found = recipes.read_document(data)
    if found is not None:
        assert isinstance(found.recipe.seed, int)
        again = recipes.embed(
            _with_recipe()[0], found.recipe, prompt=found.prompt, licence=found.licence
        )
        read = recipes.read_document(again)
        assert read is not None and read.recipe == found.recipe


@cache
def _themes() -> tuple[str, ...]:
    folder = ROOT / "bot/data/themes"
    return tuple(one.read_text(encoding="utf-8") for one in sorted(folder.glob("*.toml"))[:6])


def toml(random: random.Random, seeds: tuple[str, ...]) -> bytes:
    """Return TOML with other values, or that is none."""
    said = random.choice(seeds)
    lines = said.splitlines()
    values = (
        *("nan", "-inf", "0x" + "f" * 6000, "9" * 5000, "1e400", "true", '""', "[]", "{}", "-1"),
        *(
            "1979-05-27",
            '"' + "a" * 2000 + '"',
            "[" * 3000,
            "a.b.c = 1",
            '"\\u0000"',
            "99999999999",
        ),
    )
    for _ in range(random.choice((0, 1, 1, 3))):
        at = random.randrange(len(lines))
        key, equals, _value = lines[at].partition("=")
        lines[at] = (
            f"{key.lstrip('# ')}= {random.choice(values)}" if equals else random.choice(values)
        )
    said = "\n".join(lines)
    if random.randrange(2):
        said = mutated_text(random, said)
    return said.encode("utf-8", "surrogatepass")


def themes(random: random.Random) -> bytes:
    """Return what might be a theme's file."""
    return toml(random, _themes())


def _theme(data: bytes) -> None:
    found = theme_files.read(data, "a.toml")
    theme = checked(Theme(id=1, slug=found.slug, title=found.title, created_ms=1), found.details)
    again = theme_files.read(theme_files.write(theme))
    details = {**again.details, "slug": again.slug, "title": again.title}
    assert checked(Theme(id=1, slug="x", title="x", created_ms=1), details) == theme


def settings(random: random.Random) -> bytes:
    """Return what might be the settings' file."""
    example = (ROOT / "config.example.toml").read_text(encoding="utf-8")
    return toml(random, (example,))


def _settings(data: bytes) -> None:
    with _file(data, ".toml") as path:
        load_config(path)


@contextmanager
def _file(data: bytes, name: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{name}"
        path.write_bytes(data)
        yield path


class Evil:
    """Would leave a trace if a pickle were believed."""

    ran = False

    def __init__(self, how: int = 0) -> None:
        self.how = how

    def __reduce__(self) -> Any:
        return (
            (exec, ("import tests.fuzz.files as f; f.Evil.ran = True",)),
            (eval, ("setattr(__import__('tests.fuzz.files').fuzz.files.Evil, 'ran', True)",)),
            (setattr, (Evil, "ran", True)),
            (Evil.strike, ()),
        )[self.how]

    @staticmethod
    def strike() -> None:
        """Leave the trace."""
        Evil.ran = True


@cache
def checkpoints() -> tuple[tuple[str, bytes], ...]:
    """Return files of weights in every form, sound and hostile."""
    weights = {"a.weight": torch.ones(2, 3), "b": torch.arange(4, dtype=torch.int64)}
    found = [(".safetensors", save(weights))]
    hostile: list[Any] = [{"state_dict": weights, "x": Evil(how)} for how in range(4)]
    for content in (weights, {"state_dict": weights, "epoch": 3}, *hostile):
        for zipped in (True, False):
            out = io.BytesIO()
            torch.save(content, out, _use_new_zipfile_serialization=zipped)
            found.append((".ckpt", out.getvalue()))
    found += [(".bin", pickle.dumps(one, protocol)) for one in hostile for protocol in (0, 2, 4)]
    return tuple(found)


def damaged_checkpoint(random: random.Random) -> tuple[str, bytes]:
    """Return a checkpoint that was sound or hostile, with places of it changed."""
    suffix, data = random.choice(checkpoints())
    if random.randrange(6) == 0:
        return suffix, data
    if suffix == ".safetensors" and random.randrange(2):
        header = json.dumps(
            {"a": {"dtype": random.choice(("F32", "I64", "X", "F8_E4M3")),
                   "shape": random.choice(([2**40, 2**40], [-1], [2, 3], [])),
                   "data_offsets": random.choice(([0, 24], [24, 0], [0, 2**62], [-1, 4]))}}
        ).encode()  # fmt: skip
        return suffix, len(header).to_bytes(8, "little") + header + bytes(24)
    return suffix, mutated(random, [data])


def _checkpoint(given: tuple[str, bytes]) -> None:
    suffix, data = given
    with _file(data, suffix) as path:
        try:
            found = read_weights(path)
            assert all(isinstance(one, torch.Tensor) for one in found.values())
        finally:
            assert not Evil.ran, "code in a checkpoint ran"


@cache
def _manifest() -> str:
    files = (picture("ab" * 32, 12), other_file("cd" * 32, 3))
    whole = Manifest(product="1", schema=3, made_ms=1, database_sha256="ef" * 32,
                     database_bytes=9, files=files)  # fmt: skip
    return msgspec.json.encode(whole).decode()


def manifests(random: random.Random) -> bytes:
    """Return what might be a backup's manifest."""
    paths = ("../../etc/passwd", "/dev/zero", "images/ab/" + "ab" * 32, "pool\0", "files/../x", "")
    said = _manifest().replace("files/cd/" + "cd" * 32, random.choice(paths))
    if random.randrange(4) == 0:
        said = random.choice(("[" * 100_000, '{"format":' + "9" * 5000 + "}", "null", "\ud800"))
    elif random.randrange(2):
        said = mutated_text(random, said)
    return said.encode("utf-8", "surrogatepass")


def _read_manifest(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "manifest.json").write_bytes(data)
        for entry in read_manifest(Path(folder)).files:
            assert entry in (picture(entry.sha256, entry.size_bytes),
                             other_file(entry.sha256, entry.size_bytes)), entry  # fmt: skip
            assert len(entry.sha256) == 64 and entry.size_bytes >= 0


def archives(random: random.Random) -> bytes:
    """Return a TAR of a backup that wants to be elsewhere, or is damaged."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=random.choice((0, 1, 2))) as packed:
        for _ in range(3):
            name = random.choice(
                ("pool/a", "../evil", "/tmp/evil", "backups/x/manifest.json", "a/" * 40, "b")
            )
            entry = tarfile.TarInfo(name)
            entry.type = random.choice((b"0", b"0", b"5", b"1", b"2", b"3", b"4", b"6", b"7"))
            entry.linkname = random.choice(("", "../..", "/etc/passwd", "pool/a"))
            entry.mode = random.choice((0o644, 0o6777, 0))
            data = b"x" * random.choice((0, 3, 600))
            entry.size = len(data) if entry.isreg() else 0
            packed.addfile(entry, io.BytesIO(data))
    return mutated(random, [out.getvalue()]) if random.randrange(2) else out.getvalue()


def _archive(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        archive, into = Path(folder) / "a.tar", Path(folder) / "in/to"
        archive.write_bytes(data)
        try:
            _unpack(archive, into)
        finally:
            beside = {path.name for path in Path(folder).rglob("*") if into not in path.parents}
            assert beside <= {"a.tar", "in", "to"}, beside
            assert not any(path.is_symlink() for path in into.rglob("*"))


TARGETS = (
    Target("uploads", lambda random: mutated(random, pictures()), _upload, (InvalidRequestError,)),
    Target("uploads, sound", lambda random: random.choice(pictures()), _upload,
           (InvalidRequestError,)),
    Target("recipes", documents, _document),
    Target("theme files", themes, _theme, (InvalidRequestError,)),
    Target("settings", settings, _settings, (ConfigError,), told=True),
    # A pickle's memo may be asked to have room for gigabytes: Python's own reader then fills them.
    Target("checkpoints", damaged_checkpoint, _checkpoint, (CheckpointError,), limit_s=20.0),
    Target("backups' manifests", manifests, _read_manifest, (BackupError,)),
    Target("backups as TAR", archives, _archive, (BackupError,)),
)  # fmt: skip
