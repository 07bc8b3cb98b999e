"""Memory that runs out: the kernel ends what draws and not the bot, and no dream is lost by it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bot import last_resort
from bot.model import DreamState
from bot.quarantine import KILLED, MAX_KILLS
from tests.bot.drawer import request, services
from tests.faults.proof import Seen, wrong_with

linux = pytest.mark.skipif(sys.platform != "linux", reason="it is Linux's kernel that is told")


def badness(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text(encoding="ascii"))


@linux
def test_a_child_goes_first_and_is_never_made_to_go_later() -> None:
    own = badness(os.getpid())
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        last_resort.end_first(child.pid, last_resort.DRAWS)
        assert badness(child.pid) == max(own, last_resort.DRAWS)
        last_resort.end_first(child.pid, last_resort.LOOKS)
        assert badness(child.pid) == max(own, last_resort.LOOKS)
        last_resort.end_first(child.pid, last_resort.DRAWS)
        assert badness(child.pid) == max(own, last_resort.LOOKS)
        child.communicate(b"\n")
    assert badness(os.getpid()) == own
    last_resort.end_first(child.pid, last_resort.DRAWS)  # gone, and nothing happens


async def test_a_dream_that_memory_runs_out_on_costs_no_other(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        hungry, other = await s.dreams.ask(request(count=2))
        await s.begin(hungry.id)
        await s.begin(other.id)
        s.drawer.up = False
        await s.dreams.on_down((hungry.id, other.id), "killed by SIGKILL", outside=True)
        for _ in range(MAX_KILLS):  # each suspect is drawn alone
            await s.up()
            await s.begin(hungry.id)
            s.drawer.up = False
            await s.dreams.on_down((hungry.id,), "killed by SIGKILL", outside=True)
        ended = await s.dreams.wait(hungry.id)
        assert (ended.state, ended.reason) == (DreamState.FAILED, KILLED)
        await s.up()
        await s.draw(other.id)
        assert (await s.dreams.wait(other.id)).state is DreamState.DONE
    assert wrong_with(tmp_path, Seen({hungry.id, other.id}, [other.id])) == []
