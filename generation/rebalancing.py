"""Which runs move to another device. A run stays where its state and its model are, but for two
cases: a worker has nothing to do; or those whom it serves get on faster than others, who crowd
another. Then a run is checkpointed there and goes on here.

Moving costs a checkpoint, and a beginning elsewhere, perhaps with a load. So only what still has
long to go moves. To an idle worker, half of the busiest one's runs go: who has a single one keeps
it, and none goes back and forth. Between busy ones, one run goes at a time, and only from a person
who has fallen `LAG_S` of service behind; so three people on two devices get two thirds of one each,
and change places two or three times a minute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from generation.costs import Costs
from generation.fair import FairTree
from generation.residency import Residency
from generation.ticket import Ticket

MOVE_S = 2.0
"""What a run must have before it, beside twice its model's loading, to be worth moving."""
LAG_S = 10.0
"""So many seconds of service somebody on another device may be behind those served here."""


@dataclass(frozen=True)
class Movable:
    """What may move to the worker `here`, which `can` draw some jobs.

    `residency` says what another worker has loaded, `resident` what this one has.
    """

    here: str
    can: Callable[[Ticket], bool]
    residency: Callable[[str], Residency]
    resident: Residency
    costs: Costs

    def half(self, tickets: Iterable[Ticket]) -> list[Ticket]:
        """Return the runs that the busiest worker should let go of. `tickets` are of one lane."""
        held: dict[str, list[Ticket]] = {}
        for ticket in tickets:
            if ticket.worker not in (None, self.here):
                if ticket.leaving is not None:
                    return []  # that is under way
                held.setdefault(ticket.worker, []).append(ticket)
        most = max(held.values(), key=len, default=[])
        worth = sorted(filter(self._worth, most), key=self._left_s, reverse=True)
        return worth[: len(most) // 2]

    def furthest_behind(
        self, tickets: Iterable[Ticket], tree: FairTree, lead: Ticket
    ) -> list[Ticket]:
        """Return the waiting run whose person is behind those served here, if one is too far."""
        waiting = [
            ticket
            for ticket in tickets
            if ticket.worker not in (None, self.here)
            and not ticket.busy
            and ticket.leaving is None
            and self._worth(ticket)
        ]
        if not waiting:
            return []
        last = min(waiting, key=lambda ticket: tree.rank(ticket.flow))
        lag_s = tree.ahead_s(lead.flow) - tree.ahead_s(last.flow)
        return [last] if lag_s > LAG_S + 10 * self._load_s(last) else []

    def _worth(self, ticket: Ticket) -> bool:
        if ticket.cleared or not self.can(ticket):
            return False
        return self._left_s(ticket) > MOVE_S + 2 * self._load_s(ticket)

    def _left_s(self, ticket: Ticket) -> float:
        return ticket.steps_left * self.costs.guess_s(ticket.cost_key, 1)

    def _load_s(self, ticket: Ticket) -> float:
        """Return how long the ticket's model would take to load here."""
        if ticket.worker is None or ticket.model in self.resident:
            return 0.0
        return self.residency(ticket.worker).took_s(ticket.model)
