"""How many of the tests run at once."""

from __future__ import annotations

import os


def pytest_xdist_auto_num_workers() -> int:
    """Return one more than there are cores: a third of the suite waits for processes and clocks."""
    return (os.cpu_count() or 1) + 1
