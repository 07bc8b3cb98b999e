"""What `python -m tests.fuzz` once found, each by itself."""

from __future__ import annotations

import asyncio
import io
import re
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from discord import ui
from PIL import Image as Pillow

from bot.backup.model import BackupError, Entry, Manifest, read_manifest
from bot.backup.restoring import _unpack
from bot.config_file import load_config
from bot.delivery import controls
from bot.delivery.buttons import DreamButton
from bot.delivery.controls import Action
from bot.delivery.words import plain
from bot.errors import ConfigError
from bot.ids import LENGTH
from bot.journeys import stops_of
from bot.options import parse_settings
from bot.prompts import says_anything, wanted
from bot.uploads import to_png
from bot.wordlist import Words
from generation.protocol import Cancel, ProtocolError, encode, read_for_scheduler


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("[a](b) [good](http://evil.org)", r"\[a\](b) \[good\](http://evil.org)"),
        ("[[good](http://evil.org)](x)", r"\[\[good\](http://evil.org)\](x)"),
        ("http://a.b/[good](http://evil.org)", r"http://a.b/\[good\](http://evil.org)"),
        ("see https://a.b/c_d_e", "see https://a.b/c_d_e"),
        ("<#1> <t:1:R> </x:1> <:e:1>", r"\<#1> \<t:1:R> \</x:1> \<:e:1>"),
        ("# a\n> b\n- c #d", "\\# a\n\\> b\n\\- c #d"),
        ("*a* _b_ ~~c~~ `d` ||e|| \\", r"\*a\* \_b\_ \~\~c\~\~ \`d\` \|\|e\|\| " + "\\\\"),
    ],
)
def test_no_markup_of_a_person_is_discords(text: str, shown: str) -> None:
    assert plain(text, 600) == shown


@pytest.mark.parametrize("hidden", ["b\u0301a\u0489dwo\u0338rd", "bad\u0327\u0301word"])
def test_accents_that_belong_to_no_letter_hide_no_blocked_word(hidden: str) -> None:
    assert Words.of(["badword"]).within(f"a {hidden} here")


@pytest.mark.parametrize(
    ("read", "sign"),
    [
        (wanted, "|"),
        (wanted, "a|"),
        (says_anything, "|"),
        (Words.of(["bad"]).within, "@"),
        (stops_of, " "),
        (lambda text: parse_settings(f"a=b{text}x"), " "),
    ],
)
def test_what_is_twice_as_long_takes_about_twice_as_long(
    read: Callable[[str], object], sign: str
) -> None:
    def took(length: int) -> float:
        best = 9.0
        for _ in range(5):
            begun = time.thread_time()
            read(sign * length)
            best = min(best, time.thread_time() - begun)
        return best

    assert took(8000) < 0.02 + 8 * took(2000)  # 4 times as long; squared it would be 16


def test_a_photograph_with_another_in_it_is_a_still_picture() -> None:
    out = io.BytesIO()
    first, second = Pillow.new("RGB", (40, 30), "red"), Pillow.new("RGB", (20, 15))
    first.save(out, "MPO", save_all=True, append_images=[second])
    with Pillow.open(io.BytesIO(to_png(out.getvalue()))) as kept:
        assert kept.size == (40, 30)


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("whole", ["dream", "card"])
def test_every_button_that_an_id_can_name_does_something(action: Action, whole: str) -> None:
    custom_id = f"{whole}:{action}:{'0' * LENGTH}"
    found = re.fullmatch(controls.BUTTON, custom_id)
    assert found is not None
    assert DreamButton(ui.Button(custom_id=custom_id), found).custom_id == custom_id


@pytest.mark.parametrize(
    "body",
    [
        encode(Cancel("abc"))[4:].replace(b"abc", b"\xff\xfe\xfd"),
        b"\x82\xa4type\xa6Submit\xa3job" + b"\x91" * 100_000,
    ],
)
def test_no_message_ends_who_reads_it(body: bytes) -> None:
    async def read() -> None:
        reader = asyncio.StreamReader()
        reader.feed_data(len(body).to_bytes(4, "big") + body)
        await read_for_scheduler(reader)

    with pytest.raises(ProtocolError):
        asyncio.run(read())


@pytest.mark.parametrize(
    "said",
    ["a = " + "[" * 5000, "a = " + "9" * 5000, "[wall]\nport = 0x" + "f" * 5000],
    ids=["nested", "decimal", "hexadecimal"],
)
def test_settings_that_cannot_be_read_are_told(said: str, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(said)
    with pytest.raises(ConfigError) as told:
        load_config(path)
    assert len(str(told.value)) < 500 + len(str(path))


@pytest.mark.parametrize(
    "path", ["/dev/zero", "../../x", f"images/ff/{'ab' * 32}.png", f"files/ab/{'ab' * 32}.png"]
)
def test_a_manifest_names_no_file_outside_of_the_pool(path: str, tmp_path: Path) -> None:
    whole = Manifest(
        product="1",
        schema=1,
        made_ms=1,
        database_sha256="",
        database_bytes=0,
        files=(Entry(path, 0),),
    )
    (tmp_path / "manifest.json").write_bytes(msgspec.json.encode(whole))
    with pytest.raises(BackupError, match="Use another backup"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("data", [b"[" * 100_000, b'{"format":1,"product":"\xff"}'])
def test_a_manifest_that_cannot_be_read_is_told(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(data)
    with pytest.raises(BackupError, match="is damaged"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("kinds", "target"),
    [
        ([tarfile.SYMTYPE], "pool"),
        ([tarfile.LNKTYPE], "missing"),
        ([tarfile.FIFOTYPE], ""),
        ([tarfile.DIRTYPE, tarfile.REGTYPE], ""),
    ],
)
def test_an_archive_holds_files_and_folders_alone(
    kinds: list[bytes], target: str, tmp_path: Path
) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as packed:
        for kind in kinds:
            entry = tarfile.TarInfo("pool/a")
            entry.type, entry.linkname = kind, target
            packed.addfile(entry, io.BytesIO())
    archive = tmp_path / "a.tar"
    archive.write_bytes(out.getvalue())
    with pytest.raises(BackupError, match="not a whole backup"):
        _unpack(archive, tmp_path / "in")
    assert not any(one.is_symlink() for one in (tmp_path / "in").rglob("*"))
