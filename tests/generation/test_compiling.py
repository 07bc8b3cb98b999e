"""Networks that are computed in the fastest way that is there and proven."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
import torch
from torch import Tensor

from generation.models import compiling
from generation.models.compiling import Compiler, Forward, Network, bucket, by_torch
from generation.models.precision import has_bfloat16
from tests.generation import tiny

_WEIGHT = torch.randn(6, 6, generator=torch.Generator().manual_seed(0))


def eager(x: Tensor) -> Tensor:
    return (x @ _WEIGHT).tanh()


class Workshop:
    """A compiler whose work takes until it is let go, and does what it is told to do."""

    def __init__(self, makes: Forward | BaseException) -> None:
        self.makes = makes
        self.go, self.done = threading.Event(), threading.Event()
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, _forward: Forward) -> Forward:
        assert self.go.wait(10)
        if isinstance(self.makes, BaseException):
            raise self.makes
        made = self.makes

        def compiled(x: Tensor) -> Tensor:
            self.shapes.append(tuple(x.shape))
            return made(x)

        return compiled


def network(workshop: Workshop) -> Network:
    return Compiler(tiny.CPU, precision="fp32", compiles=True, compile_with=workshop).network(
        "thing", eager
    )


def pictures(rows: int = 2) -> Tensor:
    return torch.randn(rows, 6, generator=torch.Generator().manual_seed(rows))


def used_often(network: Network, rows: int = 2) -> None:
    for _ in range(compiling._HOT):
        assert torch.equal(network(pictures(rows)), eager(pictures(rows)))


def finish(network: Network, workshop: Workshop) -> None:
    """Let the compiler work off its orders."""
    workshop.go.set()
    worked_off = threading.Event()
    network._compiler._orders.put(worked_off.set)
    assert worked_off.wait(10)


def test_nobody_waits_for_the_compiler() -> None:
    workshop = Workshop(eager)
    drawn = network(workshop)
    used_often(drawn)
    for _ in range(5):  # it is at work, and blocked
        assert torch.equal(drawn(pictures()), eager(pictures()))
    assert not workshop.shapes
    finish(drawn, workshop)
    drawn(pictures())  # this one is compared, and shows what was drawn eagerly
    before = len(workshop.shapes)
    assert torch.equal(drawn(pictures()), eager(pictures()))
    assert len(workshop.shapes) == before + 1


def test_what_is_seen_now_and_then_is_not_compiled() -> None:
    workshop = Workshop(eager)
    drawn = network(workshop)
    for _ in range(compiling._HOT - 1):
        drawn(pictures())
    assert drawn._compiler._thread is None


@pytest.mark.parametrize("error", [RuntimeError("no g++\nand more"), MemoryError()])
def test_a_failed_compilation_is_said_in_one_line_and_changes_nothing(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    workshop = Workshop(error)
    drawn = network(workshop)
    used_often(drawn)
    finish(drawn, workshop)
    used_often(drawn)
    (record,) = caplog.records
    assert "thing of shape [2, 6] stays uncompiled" in record.message
    assert "\n" not in record.message
    # Another shape is tried, and the compiler is alive.
    workshop.makes = eager
    used_often(drawn, rows=4)
    finish(drawn, workshop)
    drawn(pictures(4))
    assert workshop.shapes


def wrong_value(x: Tensor) -> Tensor:
    return eager(x) * 1.01


def wrong_gradient(x: Tensor) -> Tensor:
    return eager(x.detach()) + 0 * x


def broken(x: Tensor) -> Tensor:
    # Compiles for its example, which lies on the same device; fails in use.
    if threading.current_thread().name != "compiler":
        raise RuntimeError("a pointer is of another device")
    return eager(x)


@pytest.mark.parametrize("made", [wrong_value, wrong_gradient, broken])
def test_what_proves_wrong_is_never_used(made: Forward, caplog: pytest.LogCaptureFixture) -> None:
    workshop = Workshop(made)
    drawn = network(workshop)
    for _ in range(compiling._HOT):
        drawn(pictures().requires_grad_())
    finish(drawn, workshop)
    for _ in range(3):
        x = pictures().requires_grad_()
        (found,) = torch.autograd.grad(drawn(x).sum(), x)
        (expected,) = torch.autograd.grad(eager(x).sum(), x)
        assert torch.equal(found, expected)
    (record,) = caplog.records
    assert "thing, compiled, " in record.message


def test_gradients_pass_through_what_was_compiled() -> None:
    workshop = Workshop(eager)
    drawn = network(workshop)
    x = pictures(3).requires_grad_()
    for _ in range(compiling._HOT):
        drawn(x)
    finish(drawn, workshop)
    drawn(x)
    (found,) = torch.autograd.grad(drawn(x).sum(), x)
    (expected,) = torch.autograd.grad(eager(x).sum(), x)
    assert tiny.difference(found, expected) < 1e-6
    # Without a gradient it is another form, which was not asked for yet.
    before = len(workshop.shapes)
    with torch.no_grad():
        drawn(x)
    assert len(workshop.shapes) == before


def test_shapes_are_few_and_rows_are_filled_up() -> None:
    assert [bucket(rows) for rows in range(1, 13)] == [1, 2, 3, 4, 5, 6, 7, 8, 10, 10, 12, 12]
    assert all(rows <= bucket(rows) <= rows * 5 / 4 for rows in range(1, 3000))
    workshop = Workshop(eager)
    drawn = network(workshop)
    used_often(drawn, rows=9)
    finish(drawn, workshop)
    drawn(pictures(9))
    found = drawn(pictures(9))
    assert torch.allclose(found, eager(pictures(9))) and found.shape == (9, 6)
    assert set(workshop.shapes) == {(10, 6)}
    used = len(workshop.shapes)
    drawn(pictures(10))  # the same form
    assert len(workshop.shapes) == used + 1


def test_only_so_many_shapes_are_kept() -> None:
    drawn = network(Workshop(eager))
    for rows in (1 << power for power in range(compiling._MOST_SHAPES + 4)):
        drawn(torch.zeros(rows, 6))
    assert len(drawn._shapes) == compiling._MOST_SHAPES


@pytest.fixture
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("deterministic")
def test_exact_runs_are_eager_and_in_float32() -> None:
    compiler = Compiler(tiny.CPU, precision="bf16", compiles=True, compile_with=Workshop(eager))
    drawn = compiler.network("thing", eager)
    used_often(drawn)
    used_often(drawn)
    assert compiler._thread is None


def test_bfloat16_is_used_where_it_gives_what_float32_does(
    caplog: pytest.LogCaptureFixture,
) -> None:
    drawn = Compiler(tiny.CPU, precision="bf16").network("thing", eager)
    x = pictures().requires_grad_()
    found = drawn(x)
    assert found.dtype == torch.float32
    assert 0 < tiny.difference(found, eager(x)) < 0.05
    assert not caplog.records

    def cancelling(x: Tensor) -> Tensor:
        return (x + 1000) @ _WEIGHT - 1000 * _WEIGHT.sum(dim=0)

    careful = Compiler(tiny.CPU, precision="bf16").network("careful", cancelling)
    assert torch.equal(careful(x), cancelling(x))
    assert "careful stays in float32" in caplog.text


def test_precision_is_chosen_by_the_device() -> None:
    chosen = Compiler(tiny.CPU).dtype
    own = has_bfloat16(tiny.CPU)
    assert chosen == (torch.bfloat16 if own else torch.float32)
    assert Compiler(tiny.CPU, precision="fp32").dtype == torch.float32
    assert not Compiler(tiny.CPU, graphs=True).graphs


@pytest.mark.skipif(
    "DREAMSTREAM_SLOW_TESTS" not in os.environ, reason="loading torch's compiler takes seconds"
)
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_torchs_own_compiler(backend: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "generation")
    model = tiny.vqgan().requires_grad_(False)
    compiler = Compiler(
        tiny.CPU, precision="fp32", compiles=True, compile_with=partial(by_torch, backend=backend)
    )
    drawn = compiler.network("decoder", model.decode)
    for shape in ((1, 8, 4, 4), (2, 8, 4, 6)):
        x = torch.randn(shape).requires_grad_()
        for _ in range(compiling._HOT):
            drawn(x)
        worked_off = threading.Event()
        compiler._orders.put(worked_off.set)
        assert worked_off.wait(600)
        drawn(x)
        found, expected = drawn(x), model.decode(x)
        assert tiny.difference(found, expected) < 1e-4
        ours, theirs = (torch.autograd.grad(y.square().sum(), x)[0] for y in (found, expected))
        assert tiny.difference(ours, theirs) < 1e-3 * float(theirs.abs().max())
    # Whatever changes in the process, nothing is compiled anew in the middle of a step: the first
    # shape's form is used as it was, though torch would guard it by the number of threads.
    counted = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    x = torch.randn(1, 8, 4, 4).requires_grad_()
    with patched_threads():
        assert tiny.difference(drawn(x), model.decode(x)) < 1e-4
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == counted == 2
    assert [record.message for record in caplog.records if "is now compiled" in record.message] == [
        "decoder of shape [1, 8, 4, 4] is now compiled",
        "decoder of shape [2, 8, 4, 6] is now compiled",
    ]


@contextmanager
def patched_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
