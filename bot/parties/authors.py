"""Whose a picture is: what the finale makes of one is by whose that one was, not by who chose it.

The dream itself stays that of who had it drawn: they alone may cancel or delete it, and it counts
among what they wait for. What shows who did what shows the author. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from bot.model import Person
from bot.parties.model import FinalePicture, Node


def by_author(nodes: Sequence[Node], finale: Iterable[FinalePicture]) -> list[Node]:
    """Return dreams with their authors: of what is in the finale those of the chosen ones.

    A chosen dream that is not among them leaves what came of it as it is.
    """
    authors: dict[str, Person] = {node.dream.id: node.dream.person for node in nodes}
    # Ids rise with time: what is chosen is older than what is made of it, which may be chosen too.
    for one in sorted(finale, key=lambda one: one.dream_id):
        for made_id in (one.redrawn_id, one.upscaled_id):
            if one.dream_id in authors and made_id in authors:
                authors[made_id] = authors[one.dream_id]
    return [
        msgspec.structs.replace(
            node, dream=msgspec.structs.replace(node.dream, person=authors[node.dream.id])
        )
        for node in nodes
    ]
