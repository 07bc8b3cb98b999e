"""Whatever a disk does at any write: what was accepted ends, what was shown stays, nothing is left.

An evening is lived through in a process of its own, while one change of a file after the other
fails, or is the process's last; see `shim` for how. All changes and all faults together take hours
on a busy machine (``DREAMSTREAM_SLOW_TESTS=1``); here are a few of each, others every day, and
`anywhere` tries as many as there is time for.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import bot.blobs
import bot.library
from bot.library import Library
from generation.protocol import Attachment
from tests.bot.drawer import png
from tests.faults import shim
from tests.faults.stage import FAULTS, Stage, stage

needs_shim = pytest.mark.skipif(bool(shim.MISSING), reason=shim.MISSING)

EVERY = "DREAMSTREAM_SLOW_TESTS" in os.environ
CHOSEN = 1
SEED = os.environ.get("DREAMSTREAM_FAULTS_SEED", "0")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage(tmp_path_factory.mktemp("disk")) as made:
        yield made


@pytest.fixture(scope="module")
def lived_in(scene: Stage) -> tuple[Path, int]:
    """A data folder after an evening, and how many changes of files another one makes."""
    folder = scene.root / "lived-in"
    first = scene.undisturbed(folder)
    second = scene.undisturbed(folder)
    for evening in (first, second):
        assert evening.code == 0, evening.said
        assert not evening.about("mistake")
        assert not evening.about("refused")
        assert len(evening.about("accepted")) == 5
        assert len(evening.about("done")) == 3
        assert len(evening.about("deleted")) == 2
    assert first.changes > second.changes > 200
    return folder, second.changes


def chosen(changes: int, seed: str) -> list[int]:
    """Return at which changes something is to fail: all, or a few, other ones for each SEED."""
    if EVERY:
        return [*range(changes)]
    return random.Random(f"{SEED} {seed}").sample(range(changes), CHOSEN)


@needs_shim
@pytest.mark.parametrize("name", FAULTS)
def test_nothing_is_lost_whatever_fails_at_any_change_of_a_file(
    scene: Stage, lived_in: tuple[Path, int], name: str
) -> None:
    template, changes = lived_in
    for first in chosen(changes, name):
        wrong = scene.wrong_after(f"{name}@{first}", template, FAULTS[name], first)
        assert not wrong, "\n".join(wrong)


@needs_shim
@pytest.mark.parametrize("name", FAULTS if EVERY else ["power-cut", "read-only"])
def test_a_first_start_that_fails_at_any_change_leaves_what_the_next_can_use(
    scene: Stage, name: str
) -> None:
    changes = scene.undisturbed(scene.root / f"new-{name}").changes
    for first in chosen(changes, f"first {name}"):
        wrong = scene.wrong_after(f"first-{name}@{first}", None, FAULTS[name], first)
        assert not wrong, "\n".join(wrong)


async def test_a_picture_that_nothing_names_yet_is_known_before_it_lasts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Else a power cut between the two leaves it in the library for ever.
    done: list[tuple[str, list[str]]] = []

    def noted(module: ModuleType, name: str) -> None:
        real = getattr(module, name)

        def call(path: Path, *rest: object, **more: object) -> None:
            done.append((name, [one.name for one in (tmp_path / "held").glob("*")]))
            real(path, *rest, **more)

        monkeypatch.setattr(module, name, call)

    noted(bot.library, "sync_folder")
    noted(bot.blobs, "write_atomic")
    library = Library(tmp_path)
    sha256, _ = await library.keep_upload(png())
    await library.let_go(sha256, named=True)
    library.close()
    assert done[-2:] == [("sync_folder", [sha256]), ("write_atomic", [sha256])]


async def test_what_could_not_be_removed_at_once_is_not_taken_for_what_was_there_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Library(tmp_path)
    film = Attachment(name="film.mp4", media_type="video/mp4", data=b"a film")
    kept = await library.keep_file(film)
    with monkeypatch.context() as broken:
        broken.setattr(Path, "unlink", failing)
        await library.let_go(kept.sha256, named=False)
    assert library.file_path(kept).exists()
    await library.keep_file(film)  # once more, and for nothing again
    await library.let_go(kept.sha256, named=False)
    assert not library.file_path(kept).exists()
    await library.keep_file(film)
    await library.let_go(kept.sha256, named=True)
    await library.keep_file(film)
    await library.let_go(kept.sha256, named=False)
    assert library.file_path(kept).exists()
    assert await library.left_held() == []
    library.close()


def failing(*_: object, **__: object) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))
