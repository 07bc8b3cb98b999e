"""How a theme is told to one person, in their language. What stands in it stays as it was typed."""

from __future__ import annotations

from bot.delivery import words
from bot.delivery.interactions import Interaction, told
from bot.model import AskedBy, Holds, Theme, Visibility
from bot.sentences import say
from bot.text import shorten

SEEN = {
    Visibility.PUBLIC: say("Anybody at the wall"),
    Visibility.LINK: say("Who has the link"),
    Visibility.PRIVATE: say("Nobody at the wall"),
}
ASKED_BY = {
    AskedBy.EVERYBODY: say("Everybody"),
    AskedBy.MEMBERS: say("People on Discord"),
    AskedBy.HOSTS: say("Hosts"),
}
HOLDS = {
    Holds.OFF: say("Nothing"),
    Holds.SUGGEST: say("A hint how to fit"),
    Holds.BLEND: say("Blended in"),
}
_YES = say("yes")


def named(theme: Theme) -> str:
    """Tell which theme it is: its title, its short name, its topic."""
    topic = f" {words.plain(theme.topic, 300)}" if theme.topic else ""
    return f"**{words.plain(theme.title, 80)}** (`{theme.slug}`).{topic}"


def all_of(interaction: Interaction, theme: Theme) -> str:
    """Tell all that a theme says, but for what it leaves as it is everywhere."""
    size = f"{theme.width}×{theme.height}" if theme.width and theme.height else ""
    bounds = {
        say("{count} pixels a side", count=theme.max_side): theme.max_side,
        say("{count} steps", count=theme.max_steps): theme.max_steps,
        say("{count} at once", count=theme.max_count): theme.max_count,
    }
    holds = say(
        "{what}, strictness {strictness:g}", what=HOLDS[theme.holds], strictness=theme.strictness
    )
    parts = {
        say("Around every prompt"): theme.template if theme.template != "{prompt}" else "",
        say("Added"): theme.modifiers,
        say("Not drawn"): theme.negative,
        say("Its own words"): theme.palette,
        say("Preset"): theme.preset,
        say("Engine"): " · ".join(part for part in (theme.engine, theme.model) if part),
        say("Size"): size,
        say("Steps"): str(theme.steps or ""),
        say("At most"): ", ".join(told(interaction, text) for text, one in bounds.items() if one),
        say("Who may ask"): ASKED_BY[theme.asked_by],
        say("Subject"): theme.subject,
        say("Other subjects"): holds if theme.holds is not Holds.OFF else "",
        say("Colour"): theme.colour,
        say("Picture"): _YES if theme.picture_sha256 else "",
        say("Seen by"): SEEN[theme.visibility],
        say("Share of the machine"): f"{theme.weight:g}" if theme.weight != 1 else "",
        say("Dreams a day by itself"): str(theme.autopilot or ""),
        say("Paused"): _YES if theme.paused else "",
        say("Ended"): _YES if theme.retired else "",
    }
    lines = [
        f"{told(interaction, name)}: {words.plain(told(interaction, value), 300)}"
        for name, value in parts.items()
        if value
    ]
    return shorten("\n".join([named(theme), *lines]), 1900)
