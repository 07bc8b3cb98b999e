"""Forms as Discord shows and sends them: a title, fields under labels, and what was put into them.

Forms are not remembered: what one is for stands in its `custom_id`, so that one which was opened
before a restart can be sent after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from discord import ui

from bot.delivery.interactions import Interaction, told
from bot.text import shorten

MAX_TITLE: Final = 45
"""Characters that Discord takes of a form's title, and of a field's label."""

Field = tuple[str, ui.Item[Any]]


async def send_form(
    interaction: Interaction, custom_id: str, title: str, *fields: Field, text: str = ""
) -> None:
    """Show a form in the asker's language: `text`, and below it the fields, each under its label.

    A title that is too long is cut, since it may be what somebody typed; labels are our own.

    Raises:
        discord.HTTPException: Discord does not show it.
    """
    form = ui.Modal(title=shorten(told(interaction, title), MAX_TITLE), custom_id=custom_id)
    if text:
        form.add_item(ui.TextDisplay(told(interaction, text)))
    for label, item in fields:
        form.add_item(ui.Label(text=told(interaction, label), component=item))
    form.stop()  # or the library would keep it, and lose it at the next start
    await interaction.response.send_modal(form)


def purpose_of(interaction: Interaction) -> str:
    """Return the `custom_id` of the form that was sent; empty where it was none."""
    data: Mapping[str, Any] = interaction.data or {}
    return str(data.get("custom_id", ""))


def given_in(interaction: Interaction) -> dict[str, list[str]]:
    """Return what was typed into a form, or chosen in it, by the fields' ids."""
    data: Mapping[str, Any] = interaction.data or {}
    return dict(_given(data.get("components", ())))


def typed_in(interaction: Interaction, field: str) -> str:
    """Return what was typed into one field of a form, or chosen first; empty where nothing was."""
    return next(iter(given_in(interaction).get(field, ())), "")


def _given(components: Any) -> Iterator[tuple[str, list[str]]]:
    """Yield what the fields hold, however deep they are."""
    for component in components:
        if "custom_id" in component:
            if component.get("values") is not None:
                yield str(component["custom_id"]), [str(one) for one in component["values"]]
            elif component.get("value") is not None:
                yield str(component["custom_id"]), [str(component["value"])]
        inner = component.get("component")
        yield from _given([inner] if inner else component.get("components", ()))
