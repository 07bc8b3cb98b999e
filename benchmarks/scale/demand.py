"""Who asks for what, and when, in a busy hour. All of it is assumed; every number is here."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True)
class Demand:
    """A busy hour of a channel.

    People come for sessions of `asks_a_session` asks on average (geometric), `pause_s` apart on
    average (exponential). Sessions begin independently (Poisson), so that a channel has
    `asks_an_hour` on average. One ask in `sheet_one_in` is for `sheet` pictures, the others for
    one. A day has as many asks as `busy_hours` such hours.
    """

    asks_an_hour: float = 1.0
    asks_a_session: float = 3.0
    pause_s: float = 60.0
    sheet: int = 4
    sheet_one_in: float = 5.0
    busy_hours: float = 8.0

    @property
    def pictures_an_ask(self) -> float:
        """How many pictures an ask is for, on average."""
        return 1 + (self.sheet - 1) / self.sheet_one_in


@dataclass(frozen=True)
class Ask:
    """A message with one card: `pictures` asked for in a channel at `at_s`."""

    number: int
    at_s: float
    channel: int
    person: str
    pictures: int


def asks(demand: Demand, channels: int, seconds: float, seed: int) -> list[Ask]:
    """Return what so many channels ask for in so many seconds, in order of time.

    Sessions that began up to ten pauses earlier are under way at the beginning.
    """
    random = Random(seed)
    before_s = 10 * demand.pause_s
    rate = channels * demand.asks_an_hour / 3600 / demand.asks_a_session
    found: list[tuple[float, int, str, int]] = []
    at_s = -before_s + random.expovariate(rate)
    session = 0
    while at_s < seconds:
        channel, session = random.randrange(channels), session + 1
        ask_s = at_s
        while ask_s < seconds:
            pictures = demand.sheet if random.random() * demand.sheet_one_in < 1 else 1
            if ask_s >= 0:
                found.append((ask_s, channel, f"p{session}", pictures))
            if random.random() * demand.asks_a_session < 1:
                break
            ask_s += random.expovariate(1 / demand.pause_s)
        at_s += random.expovariate(rate)
    found.sort()
    return [Ask(number, *rest) for number, rest in enumerate(found)]
