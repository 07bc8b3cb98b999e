"""What Discord's commands, buttons and cards work with: the same services as the wall."""

from __future__ import annotations

from dataclasses import dataclass

from bot.channels import Channels
from bot.drawing import Drawer
from bot.dreams import Dreams
from bot.feed import Feed
from bot.library import Library
from bot.offspring import Offspring
from bot.seeing import Seeing
from bot.store import Store
from bot.themes import Themes


@dataclass(frozen=True)
class Front:
    """The services together."""

    store: Store
    library: Library
    feed: Feed
    themes: Themes
    channels: Channels
    dreams: Dreams
    drawer: Drawer
    offspring: Offspring
    seeing: Seeing

    def steerable(self, engine: str) -> bool:
        """Say whether an engine's dreams can be steered; not where it is not known."""
        return any(known.steerable for known in self.drawer.engines if known.name == engine)
