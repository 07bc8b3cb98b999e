"""What Discord's commands, buttons and cards work with: the same services as the wall."""

from __future__ import annotations

from dataclasses import dataclass

from bot.channels import Channels
from bot.checking.reviews import Reviews
from bot.drawing import Drawer
from bot.dreams import Dreams
from bot.feed import Feed
from bot.games.service import Games
from bot.gate import Gate
from bot.library import Library
from bot.model import Theme, Visibility
from bot.moderation import Moderation
from bot.offspring import Offspring
from bot.parties.service import Parties
from bot.portraits import Portraits
from bot.privacy.exporting import Exports
from bot.privacy.forgetting import Forgetting
from bot.publish.service import Publishing
from bot.search import Search
from bot.seeing import Seeing
from bot.settings import Settings
from bot.signed_links import SignedLinks
from bot.store import Store
from bot.themes import Themes


@dataclass(frozen=True)
class Front:
    """The services together.

    Without `reviews` no pictures are checked, without `exports` and `forgetting` nobody has a copy
    of what is kept, or its end, without `links` there are none that expire.
    """

    store: Store
    library: Library
    feed: Feed
    themes: Themes
    channels: Channels
    dreams: Dreams
    drawer: Drawer
    offspring: Offspring
    seeing: Seeing
    search: Search
    settings: Settings
    moderation: Moderation
    gate: Gate
    parties: Parties
    portraits: Portraits
    publishing: Publishing
    games: Games
    reviews: Reviews | None = None
    exports: Exports | None = None
    forgetting: Forgetting | None = None
    links: SignedLinks | None = None
    wall_url: str = ""

    def page_of(self, theme: Theme) -> str | None:
        """Return the address of a theme's stream on the wall; None where people cannot open it."""
        if not self.wall_url or theme.visibility is Visibility.PRIVATE:
            return None
        return f"{self.wall_url}/s/{theme.slug}"

    def steerable(self, engine: str) -> bool:
        """Say whether an engine's dreams can be steered; not where it is not known."""
        return any(known.steerable for known in self.drawer.engines if known.name == engine)

    def takes_prompt(self, engine: str) -> bool:
        """Say whether words have a part in an engine's pictures; also where it is not known."""
        return all(known.takes_prompt for known in self.drawer.engines if known.name == engine)
