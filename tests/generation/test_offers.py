"""What several workers offer together, and what each of them can draw of it."""

from __future__ import annotations

import msgspec

from generation.offers import Offers, together
from generation.protocol import EngineInfo, ModelInfo
from generation.workers import Offer
from tests.fakes.engine import FakeEngine

INFO = FakeEngine().info


def offer(*engines: EngineInfo) -> Offer:
    return Offer(device="CPU", capacity_bytes=None, engines=engines, perceptors=("tiny",))


def with_models(*here: str) -> EngineInfo:
    models = [
        ModelInfo(name=name, title=name, licence="MIT", available=name in here, missing="Not here.")
        for name in ("a", "b", "c")
    ]
    return msgspec.structs.replace(INFO, models=tuple(models))


def test_models_add_up_and_keep_their_order() -> None:
    offers = Offers()
    first = offers.add(offer(with_models("b")))
    assert first == {("fake", "b")}
    assert offers.lacking(first) == ()
    second = offers.add(offer(with_models("a", "b")))
    assert second == {("fake", "a"), ("fake", "b")}
    (engine,) = offers.engines.values()
    assert [(model.name, model.available) for model in engine.models] == [
        ("a", True),
        ("b", True),
        ("c", False),
    ]
    assert offers.lacking(first) == ("fake/a",), "the first one is not given what it has not got"


def test_who_would_offer_an_engine_otherwise_does_not_draw_with_it() -> None:
    offers = Offers()
    offers.add(offer(INFO))
    other = msgspec.structs.replace(INFO, options=INFO.options[:1])
    assert offers.add(offer(other)) == frozenset()
    assert offers.engines["fake"] == INFO, "the bot has been told of the first"


def test_an_engine_that_only_another_has_is_offered() -> None:
    offers = Offers()
    offers.add(offer(INFO))
    more = msgspec.structs.replace(INFO, name="more")
    assert offers.add(offer(more)) == {("more", "plain"), ("more", "other")}
    assert list(offers.engines) == ["fake", "more"]


def test_devices_are_named_together() -> None:
    assert together([]) == ""
    assert together(["NVIDIA H100"]) == "NVIDIA H100"
    assert together(["NVIDIA H100", "NVIDIA H200", "NVIDIA H100"]) == "2 × NVIDIA H100, NVIDIA H200"
