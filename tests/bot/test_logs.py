"""The log holds no secret, whatever is written into it."""

from __future__ import annotations

import logging

from bot.logs import Formatter

ADDRESS = "https://discord.com/api/v10/webhooks/123/aW50ZXJh-Y3Rpb24_x/messages/456?wait=true"
CALLBACK = "https://discord.com/api/v10/interactions/789/aW50ZXJh-Y3Rpb24_x/callback"


def test_tokens_of_addresses_are_in_no_line_and_in_no_traceback() -> None:
    try:
        raise OSError(f"Can not write request body for {ADDRESS}")
    except OSError as error:
        caught = error
    record = logging.LogRecord(
        "a", logging.INFO, "a.py", 1, "Not sent: %s (%r)", (caught, CALLBACK),
        (OSError, caught, caught.__traceback__),
    )  # fmt: skip
    written = Formatter("%(levelname)s %(message)s").format(record)
    assert "aW50" not in written
    assert written.count("/webhooks/123/…/messages/456?wait=true") == 2
    assert "/interactions/789/…/callback" in written
    assert written.startswith("INFO Not sent: ") and "Traceback" in written
