"""The texts of a bundle: the post in Markdown, the credits, the licences.

What people typed is written so that it is read as words: no sign of it is Markdown, no address a
link, and nobody is mentioned by it where the post is put.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from bot.parties.model import Member, Role
from bot.publish.model import CREDITS, LICENCES, ORIGINALS, SHEET, Story
from bot.publish.pictures import Picture
from bot.text import clean

IN_POST = 40
"""How many pictures a post shows at the most."""

UNKNOWN = "not known"
ROLES = {
    Role.HOST: "host",
    Role.PROMPT_MASTER: "prompt master",
    Role.ART_EXPERT: "art expert",
    Role.FACILITATOR: "facilitator",
    Role.GUEST: "guest",
}
MADE = "These pictures were drawn by machine-learning models from people’s words."
_SPECIAL = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~&:=$^])")


def markdown(text: str) -> str:
    """Return a text that Markdown shows as it is, on one line."""
    # A mention is made of its sign and what follows it: a sign without width keeps them apart.
    return _SPECIAL.sub(r"\\\1", clean(text)).replace("@", "@\u200b")


def post(story: Story, pictures: Sequence[Picture], best: Sequence[Picture]) -> str:
    """Return the post: the best pictures first, then the others, then who did it and with what."""
    lines = [f"# {markdown(story.title)}", ""]
    if story.topic:
        lines += [markdown(story.topic), ""]
    lines += [f"*{markdown(_about(story, pictures))}*", ""]
    if story.record is not None and story.record.associations:
        said = ", ".join(markdown(one.words) for one in story.record.associations)
        lines += ["## What came to mind", "", said, ""]
    shown = {picture.id for picture in best}
    if best:
        lines += ["## The chosen ones" if story.record is not None else "## The most liked", ""]
        lines += _figures(best[:IN_POST])
    others = [picture for picture in pictures if picture.id not in shown]
    room = max(0, IN_POST - len(best))
    if others and room:
        lines += ["## The others" if best else "## The pictures", ""]
        lines += _figures(others[:room])
    if len(others) > room:
        lines += [f"And {len(others) - room} more, in [all originals]({ORIGINALS}).", ""]
    lines += ["## Credits", "", *(f"- {markdown(line)}" for line in credited(story, pictures)), ""]
    lines += [
        f"{MADE} [All originals]({ORIGINALS}) · [contact sheet]({SHEET}) · "
        f"[credits]({CREDITS}) · [licences]({LICENCES})",
        "",
    ]
    return "\n".join(lines)


def _about(story: Story, pictures: Sequence[Picture]) -> str:
    count = f"{len(pictures)} picture{'' if len(pictures) == 1 else 's'}"
    return " · ".join(part for part in (story.when, count) if part)


def _figures(pictures: Sequence[Picture]) -> list[str]:
    lines = []
    for picture in pictures:
        by = f" — {markdown(picture.by)}" if picture.by else ""
        lines += [
            f"![{markdown(picture.alt)}]({picture.large_file})",
            "",
            f"**{markdown(picture.said) or 'Without words'}**{by}",
            "",
        ]
    return lines


def credited(story: Story, pictures: Sequence[Picture]) -> list[str]:
    """Return who made it, a line each: only those who are to be named."""
    drew = Counter(picture.by for picture in pictures if picture.by)
    if story.record is None:
        return [f"{name}: {_count(count)}" for name, count in drew.most_common()]
    lines = []
    for member in named(story.record.members):
        name = clean(member.person.name)
        parts = [ROLES[member.role]]
        if drew.get(name):
            parts.append(_count(drew.pop(name)))
        lines.append(f"{name}: {', '.join(parts)}")
    return lines


def named(members: Sequence[Member]) -> list[Member]:
    """Return the members who are to be named, the host first."""
    order = list(ROLES)
    shown = [member for member in members if member.person.name]
    return sorted(shown, key=lambda member: order.index(member.role))


def unnamed(story: Story) -> int:
    """Return how many took part who are not to be named."""
    if story.record is None:
        return 0
    return sum(not member.person.name for member in story.record.members)


def licences(pictures: Sequence[Picture]) -> list[tuple[str, str, int]]:
    """Return each model with its licence and how many of the pictures it drew, most first."""
    counted = Counter((picture.model, picture.licence or UNKNOWN) for picture in pictures)
    return [(model, licence, count) for (model, licence), count in counted.most_common()]


def credits_text(story: Story, pictures: Sequence[Picture]) -> str:
    """Return the credits as a plain text."""
    lines = [story.title, _about(story, pictures), ""]
    lines += credited(story, pictures)
    if hidden := unnamed(story):
        lines.append(f"and {hidden} more who took part without being named")
    return "\n".join([*lines, "", MADE, ""])


def licences_text(pictures: Sequence[Picture]) -> str:
    """Return the models with their licences, and which picture came of which, as a plain text."""
    lines = ["The licences of the models that drew these pictures.", ""]
    for model, licence, count in licences(pictures):
        lines += [f"{model}", f"    licence: {licence}", f"    {_count(count)}", ""]
    lines += [f"{picture.name}.png: {picture.model}" for picture in pictures]
    return "\n".join([*lines, ""])


def _count(count: int) -> str:
    return f"{count} picture{'' if count == 1 else 's'}"
