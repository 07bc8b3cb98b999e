"""Which process the kernel ends first where memory runs out.

It ends the one that takes most, and that may be the bot while a model is being loaded. What draws,
and what looks at pictures, keep nothing that would be lost and are started again, so they go first.
No limit is set for what draws (`RLIMIT_AS` counts what CUDA and mapped weights only reserve): who
runs this sets one for all, and docs/operations.md says how.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

DRAWS, LOOKS = 500, 700
"""What is added to a process's badness, of 1000: as if it took half of all memory more."""


def end_first(pid: int, badness: int) -> None:
    """Have the kernel end a child of ours before us; nothing happens where it is no Linux.

    To be ended sooner is what any process may ask for; what is there already stays, where it is
    more.

    Source: proc_pid_oom_score_adj(5).
    """
    path = Path(f"/proc/{pid}/oom_score_adj")
    with contextlib.suppress(OSError, ValueError):
        if int(path.read_text(encoding="ascii")) < badness:
            path.write_text(str(badness), encoding="ascii")
