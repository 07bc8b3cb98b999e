"""Who shares a step with the run that leads it.

The *due* are those whom the fair queue would serve next anyway, one after the other, for as long
as their runs are compatible: taking them together changes nobody's turn. The *riders* come after
them, out of turn, on two conditions: a further run adds less to the step than it would take by
itself; and everybody in the batch, as a person, still advances faster than their share alone
would let them; both by the factor `RIDE_GAIN`. So a device on which two runs cost twice as much
as one takes no riders, and one that is hardly slower with eight takes eight.
"""

from __future__ import annotations

from collections import Counter

from generation.costs import Costs
from generation.fair import FairTree, Flow
from generation.ticket import Ticket

RIDE_GAIN = 1.2

Rank = tuple[bool, float, int, float, int]
"""A place in the order of service: the least is next. False comes before True: the early."""


def find_due(
    lead: Ticket,
    ready: dict[Flow, list[Ticket]],
    ranks: dict[Flow, Rank],
    tree: FairTree,
    most: int,
    quantum_s: float,
) -> list[Ticket]:
    """Return the lead, and whoever would be served next anyway and is compatible.

    `ranks` are moved on as if those had been served.
    """
    due: list[Ticket] = []
    head = lead
    while head not in due and head.key == lead.key and not (due and head.alone):
        due.append(head)
        if len(due) == most:
            break
        tree.hold(head.flow, quantum_s)
        for flow, rank in ranks.items():
            if flow[0] == head.flow[0]:
                ranks[flow] = (rank[0] or flow == head.flow, *tree.rank(flow))
        head = ready[min(ranks, key=ranks.__getitem__)][0]
    for ticket in due[: most - 1]:
        tree.hold(ticket.flow, -quantum_s)
    return due


def find_riders(
    due: list[Ticket],
    ready: dict[Flow, list[Ticket]],
    ranks: dict[Flow, Rank],
    tree: FairTree,
    costs: Costs,
    most: int,
) -> list[Ticket]:
    """Return further runs for the step, that leave everybody in it a pace above their share."""
    key, cost_key = due[0].key, due[0].cost_key
    one_s = costs.step_s(cost_key, 1)
    if one_s is None or len(due) >= most:
        return []
    # Everybody's first run before anybody's second.
    candidates = sorted(
        (
            (nth, ranks[flow], ticket)
            for flow in ranks
            for nth, ticket in enumerate(ready[flow])
            if ticket.key == key and not ticket.alone and ticket not in due
        ),
        key=lambda candidate: candidate[:2],
    )
    runs = Counter(ticket.flow for ticket in due)
    share = {flow: tree.share(flow) for flow in runs}
    riders: list[Ticket] = []
    for _, _, ticket in candidates:
        size = len(due) + len(riders)
        batch_s = costs.guess_s(cost_key, size + 1)
        if size == most or one_s < RIDE_GAIN * (batch_s - costs.guess_s(cost_key, size)):
            break
        with_it = runs + Counter([ticket.flow])
        share.setdefault(ticket.flow, tree.share(ticket.flow))
        if all(n * one_s >= RIDE_GAIN * share[flow] * batch_s for flow, n in with_it.items()):
            runs = with_it
            riders.append(ticket)
    return riders
