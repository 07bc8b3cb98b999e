"""The log: what each line is about, in both forms, and no secret in any, whatever is written."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import subprocess
import sys
import threading
from typing import Any

import aiosqlite  # noqa: F401 - for its logger
import discord  # noqa: F401 - for its loggers
import pytest

from bot import logs
from bot.logs import Formatter, JsonFormatter, about

ADDRESS = "https://discord.com/api/v10/webhooks/123/aW50ZXJh-Y3Rpb24_x/messages/456?wait=true"
CALLBACK = "https://discord.com/api/v10/interactions/789/aW50ZXJh-Y3Rpb24_x/callback"
FORMS = [Formatter("%(levelname)s %(message)s"), JsonFormatter()]


def a_record(message: str, *values: object, error: Exception | None = None, **extra: object) -> Any:
    caught = None if error is None else (type(error), error, error.__traceback__)
    record = logging.LogRecord("a", logging.INFO, "a.py", 1, message, values, caught)
    vars(record).update(extra)
    return record


@pytest.mark.parametrize("form", FORMS, ids=["text", "json"])
def test_tokens_of_addresses_are_in_no_line_and_in_no_traceback(form: logging.Formatter) -> None:
    try:
        raise OSError(f"Can not write request body for {ADDRESS}")
    except OSError as error:
        caught = error
    written = form.format(a_record("Not sent: %s (%r)", caught, CALLBACK, error=caught))
    assert "aW50" not in written
    assert written.count("/webhooks/123/…/messages/456?wait=true") == 2
    assert "/interactions/789/…/callback" in written
    assert "Not sent: " in written and "Traceback" in written


@pytest.mark.parametrize("form", FORMS, ids=["text", "json"])
def test_what_is_to_be_hidden_is_in_no_line(
    form: logging.Formatter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_secrets", set())
    logs.hide("MTA.secret-token")
    logs.hide(None)
    written = form.format(
        a_record("Bot %s", "MTA.secret-token", error=ValueError("MTA.secret-token"))
    )
    assert "secret" not in written and "Bot …" in written


def test_what_people_type_and_the_tokens_to_answer_them_are_no_details(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("basicConfig", "captureWarnings"):
        monkeypatch.setattr(logging, name, lambda *_, **__: None)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    # Some of them write each event and each request as Discord has it.
    names = [
        one for one in logging.root.manager.loggerDict if re.match(r"(aiosqlite|discord)\b", one)
    ]
    assert {"discord.gateway", "discord.http", "discord.webhook.async_"} < {*names}
    loggers = [logging.root, *map(logging.getLogger, names)]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.NOTSET)
        logging.root.setLevel(logging.DEBUG)
        logs.begin("debug")
        assert logging.getLogger("bot").isEnabledFor(logging.DEBUG)
        assert [one.name for one in loggers[1:] if one.isEnabledFor(logging.DEBUG)] == []
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


async def test_lines_name_what_was_at_hand_in_tasks_and_threads_too() -> None:
    found: list[str] = []

    def write() -> None:
        found.append(FORMS[0].format(a_record("a line", party="p1")))

    async def later() -> None:
        await asyncio.sleep(0)
        await asyncio.to_thread(write)

    with about(interaction=7, guild=None):
        with about(dream="d1"):
            task = asyncio.create_task(later())
        write()
    write()
    await task
    assert found == [
        "INFO a line [party=p1 interaction=7]",
        "INFO a line [party=p1]",
        "INFO a line [dream=d1 party=p1 interaction=7]",
    ]


def test_a_line_does_not_say_twice_what_it_is_about() -> None:
    record = a_record("Dream %s is done", "d1", dream="d1", ask="a1")
    assert FORMS[0].format(record) == "INFO Dream d1 is done [ask=a1]"
    # A digit of an id is no word of the message.
    record = a_record("Dream %s is done", "d1", dream="d1", shard=1)
    assert FORMS[0].format(record) == "INFO Dream d1 is done [shard=1]"


def test_an_object_of_json_has_all_of_it_on_one_line() -> None:
    record = a_record("two\nlines of %s", "words", error=ValueError("x"), dreams=("d1", "d2"))
    record.created = 1_700_000_000.25
    with about(shard=3):
        written = FORMS[1].format(record)
    assert "\n" not in written
    line = json.loads(written)
    assert "ValueError: x" in line.pop("exception")
    assert line == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "info",
        "process": "bot",
        "logger": "a",
        "message": "two\nlines of words",
        "dreams": ["d1", "d2"],
        "shard": 3,
    }


def test_what_cannot_be_written_as_json_is_written_as_text() -> None:
    assert json.loads(FORMS[1].format(a_record("x", ask=threading)))["ask"].startswith("<module")


def test_half_a_surrogate_pair_is_spelled() -> None:
    record = a_record("no file %s", "\udc80", error=ValueError("\udc80"))
    line = json.loads(FORMS[1].format(record))
    assert line["message"] == "no file \\udc80"
    assert "ValueError: \\udc80" in line["exception"]


def test_what_nobody_caught_is_logged() -> None:
    code = (
        "import threading\n"
        "from bot import logs\n"
        "logs.begin('info', 'json')\n"
        "t = threading.Thread(target=lambda: 1 / 0, name='aside'); t.start(); t.join()\n"
        "raise KeyError('main')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    first, second = map(json.loads, done.stderr.splitlines())
    assert first["level"] == second["level"] == "critical"
    assert "thread aside" in first["message"] and "ZeroDivisionError" in first["exception"]
    assert "KeyError: 'main'" in second["exception"]
