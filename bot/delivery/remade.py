"""Controls that outlive the process: made anew of what is pressed, and of what its id says.

The library knows a control by its template, whoever made the message that it is on. What a control
is for stands in its id alone, so that it works for as long as its message is there.
"""

from __future__ import annotations

import re
from typing import Any, Self

from discord import ui

from bot.delivery.interactions import Interaction

_NOTHING = r"(?!)"
"""The template of what is only a base: no id is of it."""


class RemadeButton(ui.DynamicItem[ui.Button[Any]], template=_NOTHING):
    """A button; `match` is what its template found in its id."""

    def __init__(self, button: ui.Button[Any], match: re.Match[str]) -> None:
        super().__init__(button)

    @classmethod
    async def from_custom_id(
        cls, interaction: Interaction, item: ui.Item[Any], match: re.Match[str], /
    ) -> Self:
        """Make the button that was pressed."""
        assert isinstance(item, ui.Button)
        return cls(item, match)


class RemadeMenu(ui.DynamicItem[ui.Select[Any]], template=_NOTHING):
    """A menu of texts; `match` is what its template found in its id."""

    def __init__(self, select: ui.Select[Any], match: re.Match[str]) -> None:
        super().__init__(select)

    @classmethod
    async def from_custom_id(
        cls, interaction: Interaction, item: ui.Item[Any], match: re.Match[str], /
    ) -> Self:
        """Make the menu that was used."""
        assert isinstance(item, ui.Select)
        return cls(item, match)
