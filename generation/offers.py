"""What several workers can draw with together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec

from generation.protocol import EngineInfo
from generation.scheduler import Offer as Able
from generation.workers import Offer


class Offers:
    """What has been offered to the bot. It only grows: dreams may wait for what has gone.

    The first to come with an engine says how it is offered. Another draws with it where it would
    offer the same; which models' weights lie there may differ.
    """

    def __init__(self) -> None:
        self.engines: dict[str, EngineInfo] = {}
        self.perceptors: tuple[str, ...] = ()

    def add(self, offer: Offer) -> frozenset[Able]:
        """Take in what a worker offers; return what of all there is it can draw."""
        if not self.engines:
            self.perceptors = offer.perceptors
        able: set[Able] = set()
        for info in offer.engines:
            known = self.engines.setdefault(info.name, info)
            if _apart_from_models(known) != _apart_from_models(info):
                continue
            self.engines[info.name] = _with_models(known, info)
            able.update((info.name, model.name) for model in info.models if model.available)
        return frozenset(able)

    def lacking(self, able: frozenset[Able]) -> tuple[str, ...]:
        """Return what is offered and not among these, as ``engine/model``."""
        return tuple(
            f"{info.name}/{model.name}"
            for info in self.engines.values()
            for model in info.models
            if model.available and (info.name, model.name) not in able
        )


def _apart_from_models(info: EngineInfo) -> EngineInfo:
    return msgspec.structs.replace(info, models=())


def _with_models(known: EngineInfo, other: EngineInfo) -> EngineInfo:
    """Return an engine with what either has the weights of; the order is the known one's."""
    here = {model.name: model for model in other.models if model.available}
    models = [
        here.pop(model.name, model) if not model.available else model for model in known.models
    ]
    names = {model.name for model in models}
    models += [model for name, model in here.items() if name not in names]
    return msgspec.structs.replace(known, models=tuple(models))


def together(devices: Iterable[str]) -> str:
    """Name devices together: “3 × NVIDIA H100, CPU (8 threads)”."""
    counted = Counter(devices)
    return ", ".join(
        device if count == 1 else f"{count} × {device}" for device, count in counted.items()
    )
