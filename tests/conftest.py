"""How many of the tests run at once, and what all of them share."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import bot.store
from bot.store.migrate import upgrade

# Several tests run at once on few cores, where torch's threads would wait for each other. Read when
# torch is imported, here and by every program that a test starts. `OMP_NUM_THREADS=2` has it else.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Whatever the environment says: without compiled files each of a hundred programs that tests start
# would compile Dreamstream's modules and templates again, which takes 1.2 s of processor time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


def pytest_xdist_auto_num_workers() -> int:
    """Return two for each core: half of what a test takes is waiting for processes and clocks."""
    return 2 * (os.cpu_count() or 1)


@pytest.fixture(scope="session", autouse=True)
def copied_databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have `Store.open` make new databases as copies of one, where a start runs every migration.

    That is what a thousand tests would do again. Databases that are there are upgraded as ever, and
    tests/bot/test_store.py does without copies.
    """
    first = tmp_path_factory.mktemp("database") / "dreamstream.db"
    making = threading.Lock()

    def copied(path: Path) -> int:
        with making:
            if not first.exists():
                upgrade(first)
        if path.exists() or not path.parent.is_dir():
            return upgrade(path)
        shutil.copyfile(first, path)
        return 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bot.store, "upgrade", copied)
        yield
