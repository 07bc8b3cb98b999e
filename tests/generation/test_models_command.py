"""``dreamstream models``: fetching from a server on loopback, and all that can go wrong."""

from __future__ import annotations

import hashlib
import http.server
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import save_file

from generation.models import __main__ as command
from generation.models import adding, download
from generation.models.catalogue import Model, ModelFile, added, catalogue
from generation.models.download import DownloadError, fetch
from generation.models.library import Library

CONTENT = bytes(range(256)) * 5000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server:
    """A server of files that can cut off, lie, and forget what a range is."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {"/file.bin": CONTENT}
        self.cut_at: int | None = None
        self.ranges = True
        self.status: int | None = None
        self.etag = '"one"'
        self.asked: list[str] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *_args: Any) -> None:
                pass

        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        wanted = request.headers.get("Range", "")
        self.asked.append(wanted)
        data = self.files.get(request.path)
        if data is None or self.status is not None:
            request.send_error(self.status or 404)
            return
        start = 0
        if wanted and self.ranges and request.headers.get("If-Range", self.etag) == self.etag:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(data):
                request.send_error(416)
                return
            request.send_response(206)
            request.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            request.send_response(200)
        request.send_header("Content-Length", str(len(data) - start))
        if self.etag:
            request.send_header("ETag", self.etag)
        request.end_headers()
        stop = len(data) if self.cut_at is None else self.cut_at
        request.wfile.write(data[start:stop])
        if stop < len(data):
            self.cut_at = None
            request.close_connection = True


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def get(file: ModelFile, target: Path) -> list[int]:
    seen: list[int] = []
    fetch(file, target, lambda have, whole: seen.append(have), pause_s=0)
    return seen


def test_a_file_is_fetched_whole_and_only_then_has_its_name(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "m" / "file.bin"
    file = ModelFile(
        name="file.bin", url=f"{server.url}/file.bin", sha256=SHA256, size_bytes=len(CONTENT)
    )
    assert get(file, target)[-1] == len(CONTENT)
    assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == ["file.bin"]


@pytest.mark.parametrize("sha256", [SHA256, None])
def test_what_was_cut_off_goes_on_where_it_stopped(
    server: Server, tmp_path: Path, sha256: str | None
) -> None:
    server.cut_at = 400_000
    file = ModelFile(name="file.bin", url=f"{server.url}/file.bin", sha256=sha256)
    get(file, tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert server.asked[0] == ""
    assert 0 < int(server.asked[1].removeprefix("bytes=").rstrip("-")) <= 400_000


def test_a_part_that_cannot_be_trusted_is_begun_anew(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "file.bin"
    (tmp_path / "file.bin.part").write_bytes(b"something else")
    get(ModelFile(name="file.bin", url=f"{server.url}/file.bin"), target)
    assert target.read_bytes() == CONTENT and server.asked == [""]
    # The server's file is another one by now: it says so by another tag, and sends all of it.
    (tmp_path / "two.part").write_bytes(CONTENT[:1000])
    (tmp_path / "two.etag").write_text('"old"')
    get(ModelFile(name="two", url=f"{server.url}/file.bin"), tmp_path / "two")
    assert (tmp_path / "two").read_bytes() == CONTENT


def test_a_mirror_helps_where_the_first_place_fails(server: Server, tmp_path: Path) -> None:
    server.files["/wrong.bin"] = CONTENT[:-1] + b"!"
    file = ModelFile(
        name="file.bin",
        url=f"{server.url}/gone.bin",
        mirrors=("http://127.0.0.1:9/x", f"{server.url}/wrong.bin", f"{server.url}/file.bin"),
        sha256=SHA256,
    )
    get(file, tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_what_cannot_be_had_is_said(server: Server, tmp_path: Path) -> None:
    for changes, what in (
        ({"url": f"{server.url}/gone.bin"}, "answers 404"),
        ({"url": f"{server.url}/file.bin", "sha256": "0" * 64}, "not the published one"),
        ({"url": f"{server.url}/file.bin", "size_bytes": 7}, "not 7"),
        ({"url": "http://127.0.0.1:9/x"}, "cannot be reached"),
        ({}, "not known where"),
    ):
        with pytest.raises(DownloadError, match=what):
            get(ModelFile(name="file.bin", **changes), tmp_path / "file.bin")
        assert not (tmp_path / "file.bin").exists()


def test_only_encrypted_addresses_are_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(download._WrongError):
        download._check_address("http://example.com/x")
    download._check_address("https://example.com/x")


def test_names_that_lead_elsewhere_are_refused(tmp_path: Path) -> None:
    for name in ("../x", "/etc/passwd", "a/../../x", "a\\b", ""):
        with pytest.raises(ValueError):
            ModelFile(name=name)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "model.toml").write_text(
        'name="bad"\nfamily="vqgan"\ntitle="x"\nlicence="y"\n[[files]]\nname="../../x"\n'
    )
    assert added(tmp_path) == {}


# --- the command -----------------------------------------------------------------------------


def run(folder: Path, *arguments: str) -> int:
    return command.main(["--folder", str(folder), *arguments])


@pytest.fixture
def known(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have the catalogue know one model, which the server has, and return a models folder."""
    made = Model(
        name="tiny",
        family="vqgan",
        title="Tiny",
        licence="MIT",
        page="https://example.org",
        files=(ModelFile(name="file.bin", url=f"{server.url}/file.bin", sha256=SHA256),),
    )
    monkeypatch.setitem(catalogue(), "tiny", made)
    return tmp_path / "models"


def test_pull_shows_the_licence_and_asks(
    known: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("builtins.input", lambda _question: "n")
    assert run(known, "pull", "tiny") == 1
    assert "MIT" in capsys.readouterr().out
    assert not (known / "tiny" / "file.bin").exists()
    monkeypatch.setattr("builtins.input", lambda _question: "y")
    assert run(known, "pull", "tiny", "starter-clip") == 0
    assert (known / "tiny" / "file.bin").read_bytes() == CONTENT
    assert run(known, "pull", "tiny") == 0
    assert "here already" in capsys.readouterr().out


def test_verify_tells_what_is_damaged(known: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(known, "verify", "tiny") == 1
    assert run(known, "pull", "--yes", "tiny") == 0
    assert run(known, "verify") == 0
    (known / "tiny" / "file.bin").write_bytes(b"x")
    assert run(known, "verify") == 1
    assert "damaged" in capsys.readouterr().err


def test_a_checksum_nobody_published_is_remembered(
    known: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = catalogue()["tiny"]
    file = msgspec.structs.replace(model.files[0], sha256=None)
    monkeypatch.setitem(catalogue(), "tiny", msgspec.structs.replace(model, files=(file,)))
    assert run(known, "pull", "--yes", "tiny") == 0
    assert run(known, "verify", "tiny") == 0
    assert "as published" in capsys.readouterr().out
    (known / "tiny" / "file.bin").write_bytes(b"x")
    assert run(known, "verify", "tiny") == 1


def test_list_says_what_is_here(known: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(known, "list") == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in catalogue())
    assert run(known, "list", "--family", "nothing") == 1
    run(known, "pull", "--yes", "tiny")
    capsys.readouterr()
    assert run(known, "list", "--family", "vqgan") == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "Tiny" in line]
    assert "here" in line


def test_too_little_room_is_said_before_anything_is_fetched(
    known: Path, server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _folder: SimpleNamespace(free=1_000_000))
    assert run(known, "pull", "--yes", "tiny") == 1
    assert "models_dir" in capsys.readouterr().err and not server.asked


@pytest.mark.parametrize(
    ("name", "part", "free", "fits"),
    [
        ("a.safetensors", 0, 1000, True),
        ("a.safetensors", 0, 999, False),
        ("a.safetensors", 900, 100, True),
        ("a.safetensors", 900, 99, False),
        ("a.safetensors", 1500, 0, True),  # what is too long is begun anew in its own place
        ("a.pth", 900, 1100, True),
        ("a.pth", 900, 1099, False),
    ],
)
def test_what_an_attempt_has_left_of_a_file_needs_no_room_again(
    name: str, part: int, free: int, fits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model(name="big", family="vqgan", title="Big", licence="MIT",
                  files=(ModelFile(name=name, size_bytes=1000),))  # fmt: skip
    if part:
        (tmp_path / "big").mkdir()
        (tmp_path / "big" / f"{name}.part").write_bytes(bytes(part))
    there = SimpleNamespace(free=download.SPARE_BYTES + free)
    monkeypatch.setattr("shutil.disk_usage", lambda _folder: there)
    if fits:
        download.check_room([model], tmp_path)
        return
    with pytest.raises(DownloadError, match="Make room"):
        download.check_room([model], tmp_path)


def test_remove_deletes_and_shipped_models_stay(
    known: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(known, "pull", "--yes", "tiny")
    assert run(known, "remove", "--yes", "tiny") == 0
    assert not (known / "tiny").exists()
    assert run(known, "remove", "--yes", "starter-clip") == 1
    assert run(known, "remove", "--yes", "nothing") == 1
    assert "models list" in capsys.readouterr().err


def test_a_file_of_ones_own_is_added_and_drawn_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, folder = tmp_path / "my weights.pth", tmp_path / "models"
    torch.save({"state_dict": {"w": torch.ones(2)}}, mine)
    assert run(folder, "add", str(mine), "--family", "upscale", "--licence", "Mine") == 0
    library = Library(folder)
    info = library.info("my-weights")
    assert info.available and info.licence == "Mine"
    assert torch.equal(library.weights("my-weights")["w"], torch.ones(2))
    assert run(folder, "convert", "my-weights", "--delete") == 0
    assert not (folder / "my-weights" / "my weights.pth").exists()
    assert torch.equal(Library(folder).weights("my-weights")["w"], torch.ones(2))
    assert run(folder, "add", str(mine), "--family", "upscale") == 1  # the name is taken
    assert run(folder, "add", str(mine), "--family", "nothing") == 1
    nonsense = tmp_path / "x.safetensors"
    nonsense.write_bytes(b"no weights")
    assert run(folder, "add", str(nonsense), "--family", "upscale") == 1
    assert "damaged" in capsys.readouterr().err


def test_a_hub_model_is_described_by_its_safetensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sibling(name: str, sha256: str | None = None) -> SimpleNamespace:
        lfs = None if sha256 is None else SimpleNamespace(sha256=sha256)
        return SimpleNamespace(rfilename=name, size=10, lfs=lfs)

    class Api:
        def __init__(self, endpoint: str) -> None:
            assert endpoint == "https://huggingface.co"

        def model_info(self, hub_id: str, **_options: Any) -> SimpleNamespace:
            if hub_id == "nobody/nothing":
                raise ValueError("404")
            return SimpleNamespace(
                sha="abc",
                card_data=SimpleNamespace(license="openrail"),
                siblings=[
                    sibling("model_index.json"),
                    sibling("whole.safetensors", "1" * 64),
                    sibling("unet/model.safetensors", "2" * 64),
                    sibling("unet/model.fp16.safetensors", "3" * 64),
                    sibling("unet/model.bin", "4" * 64),
                ],
            )

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    model = adding.describe_hub("owner/name", "diffusion")
    assert [file.name for file in model.files] == ["model_index.json", "unet/model.safetensors"]
    assert model.files[1].sha256 == "2" * 64
    assert model.files[1].url.endswith("/owner/name/resolve/abc/unet/model.safetensors")
    assert model.licence.startswith("openrail")
    adding.write_entry(model, tmp_path)
    assert added(tmp_path) == {"owner--name": model}
    assert not Library(tmp_path).has("owner--name")
    for file in model.files:
        path = tmp_path / "owner--name" / file.name
        path.parent.mkdir(exist_ok=True)
        if path.suffix == ".safetensors":
            save_file({"w": torch.ones(1)}, path)
        else:
            path.write_text("{}")
    library = Library(tmp_path)
    assert library.has("owner--name")
    assert library.folder("owner--name") == tmp_path / "owner--name"
    assert torch.equal(library.weights("owner--name", "unet/model.safetensors")["w"], torch.ones(1))
    for wrong in ("nobody/nothing", "neither file nor id", "../x"):
        with pytest.raises(DownloadError):
            adding.describe_hub(wrong, "diffusion")


def test_the_catalogue_says_of_each_model_its_terms_and_what_it_needs() -> None:
    hexadecimal = re.compile(r"[0-9a-f]{64}")
    for model in catalogue().values():
        name, colon, terms = model.licence.partition(": ")
        assert colon and len(name) > 2 and len(terms.split()) >= 4, model.name
        assert model.memory_gb is not None and 0.5 <= model.memory_gb <= 24, model.name
        assert model.shipped or (model.page.startswith("https://") and model.files), model.name
        for file in model.files:
            assert file.sha256 is None or hexadecimal.fullmatch(file.sha256), file.url
            assert file.size_bytes is None or file.size_bytes > 0, file.url


def test_the_list_tells_terms_and_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--folder", str(tmp_path), "list"]) == 0
    told = capsys.readouterr().out
    for model in catalogue().values():
        assert f"{model.title}, needs {model.memory_gb:g} GB" in told
        assert model.licence in told


def test_a_reader_who_has_seen_enough_is_no_mistake(tmp_path: Path) -> None:
    listing = [sys.executable, "-m", "generation.models", "--folder", str(tmp_path), "list"]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(listing, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")
