"""Which pictures are shown to those who watch: ids only, `dreams` reads them."""

from __future__ import annotations

from bot.store import Row, Store

_SHOWN = "dream.state = 'done' AND dream.deleted_ms IS NULL AND dream.published"
# CROSS keeps SQLite at the newest dreams, whose themes it then looks up.
EVERYTHING = f"""
    SELECT dream.id FROM dream CROSS JOIN theme ON theme.id = dream.theme_id
    WHERE theme.visibility = 'public' AND {_SHOWN} AND dream.id < ?
    ORDER BY dream.id DESC LIMIT ?
"""  # noqa: S608 (own text)


async def everything(store: Store, before: str, limit: int) -> list[str]:
    """Return the newest finished dreams of all public themes, before one, newest first."""
    return _ids(await store.read(EVERYTHING, (before, limit)))


def _ids(rows: list[Row]) -> list[str]:
    return [row["id"] for row in rows]
