"""A step asks the device for nothing but its result: no value decides what is computed next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from generation.clip.sending import send
from generation.clip.targets import slerp
from generation.protocol import Steer
from tests.generation import tiny

# What gives a value to the host, or a shape that depends on values.
_WAITS = {
    "aten::_local_scalar_dense",
    "aten::is_nonzero",
    "aten::nonzero",
    "aten::equal",
    "aten::masked_select",
    "aten::_unique2",
    "aten::item",
}


class Waits(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes what would make the host wait for a device."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: list[str] = []

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        name = func.name().split(".")[0]
        by_mask = name == "aten::index" and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        if name in _WAITS or by_mask:
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


def test_the_check_sees_what_waits() -> None:
    x = torch.rand(3)
    with Waits() as waits:
        float(x.sum())
        bool(x[0] > 2)
        x[x > 0.5]
    assert waits.seen == ["aten::_local_scalar_dense", "aten::_local_scalar_dense", "aten::index"]


@pytest.mark.parametrize("kind", ["classic", "augmented", "pooled", "scheduled"])
def test_a_step_waits_for_nothing(kind: str) -> None:
    engine = tiny.engine("vqgan")
    job = tiny.job("vqgan", settings={"cutout_kind": kind, "cutouts": 2})
    runs = [engine.begin(job, None)]
    engine.step(runs)
    engine.steer(runs[0], Steer(1, "another", glide_steps=4))
    with Waits() as waits:
        engine.step(runs)
    assert runs[0].error is None and runs[0].step == 2
    assert waits.seen == []


def test_numbers_are_sent_as_they_are() -> None:
    assert torch.equal(send([1, 2.5], tiny.CPU), torch.tensor([1.0, 2.5]))
    assert send((1, 2), tiny.CPU, torch.int64).dtype == torch.int64
    assert send(torch.ones(2), tiny.CPU, torch.float64).dtype == torch.float64


def test_lines_and_arcs() -> None:
    x, y = torch.eye(2)
    near = torch.nn.functional.normalize(torch.tensor([1.0, 1e-5]), dim=0)
    assert torch.allclose(slerp(x, y, 0.5), torch.full((2,), 0.5**0.5))
    assert torch.allclose(slerp(x, near, 0.5), x, atol=1e-4)
    found: Tensor = slerp(x, x, 0.3)
    assert torch.equal(found, x)
