"""Messages that are sent once for good: what a row knows of its own, before and after.

That one is about to be sent is written down before; so where one may be there that is not known
(`sends` above 0, no `message_id`), it can be looked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import aiosqlite


@dataclass(frozen=True)
class SentMessages:
    """The columns `message_id`, `sends` and `shown` of a table whose rows have a message each.

    `table` is one of our own names: it stands in the statements as it is.
    """

    table: str

    async def begin_send(self, connection: aiosqlite.Connection, row_id: int) -> None:
        """Record that a message is about to be sent."""
        await self._update(connection, "sends = sends + 1 WHERE id = ?", row_id)

    async def refused(self, connection: aiosqlite.Connection, row_id: int) -> None:
        """Record that the first message was refused: none is there that is not known."""
        await self._update(
            connection, "sends = 0 WHERE id = ? AND sends = 1 AND message_id IS NULL", row_id
        )

    async def sent(self, connection: aiosqlite.Connection, row_id: int, message_id: int) -> None:
        """Record which message it is."""
        await self._update(connection, "message_id = ? WHERE id = ?", message_id, row_id)

    async def showed(self, connection: aiosqlite.Connection, row_id: int, shown: str) -> None:
        """Record what the message shows."""
        await self._update(connection, "shown = ? WHERE id = ?", shown, row_id)

    async def _update(
        self, connection: aiosqlite.Connection, change: str, *values: int | str
    ) -> None:
        sql = f"UPDATE {self.table} SET {change}"  # noqa: S608 (own names)
        await connection.execute(sql, values)
