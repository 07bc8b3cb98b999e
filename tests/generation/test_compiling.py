"""Networks that are computed in the fastest way that is there and proven."""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
import torch
from torch import Tensor

from generation.canvases.circular import circular_convolutions
from generation.engines.exactness import deterministic_kernels
from generation.models import compiling
from generation.models.compiling import (
    Compiler,
    Forward,
    Network,
    bucket,
    by_torch,
    with_same_weights,
)
from generation.models.exclusion import Exclusion, determinism
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
        self.made = 0

    def __call__(self, _forward: Forward) -> Forward:
        assert self.go.wait(10)
        self.made += 1
        if isinstance(self.makes, BaseException):
            raise self.makes
        made = self.makes

        def compiled(x: Tensor) -> Tensor:
            self.shapes.append(tuple(x.shape))
            return made(x)

        return compiled


def network(workshop: Workshop) -> Network:
    compiler = Compiler(
        tiny.CPU,
        precision="fp32",
        compiles=True,
        compile_with=workshop,
        exclusion=Exclusion(quiet_s=0),
    )
    return compiler.network("thing", eager)


def pictures(rows: int = 2) -> Tensor:
    return torch.randn(rows, 6, generator=torch.Generator().manual_seed(rows))


def used_often(network: Network, rows: int = 2) -> None:
    for _ in range(compiling._HOT):
        assert torch.equal(network(pictures(rows)), eager(pictures(rows)))


def finish(network: Network, workshop: Workshop) -> None:
    """Let the compiler work off its orders."""
    workshop.go.set()
    worked_off(network._compiler)


def worked_off(compiler: Compiler, limit_s: float = 10) -> None:
    """Wait until nothing is to be compiled."""
    end = time.monotonic() + limit_s
    while compiler.busy:
        assert time.monotonic() < end
        time.sleep(0.001)


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


def test_a_shape_too_many_stays_eager_and_has_nothing_compiled_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compiling, "_MOST_SHAPES", 2)
    workshop = Workshop(eager)
    drawn = network(workshop)
    for rows in (1, 2, 3):
        used_often(drawn, rows)
    finish(drawn, workshop)
    for _ in range(3):
        for rows in (1, 2, 3):
            used_often(drawn, rows)
    assert workshop.made == 2
    assert set(workshop.shapes) == {(1, 6), (2, 6)}
    # Until one has not been asked for in a long time.
    monkeypatch.setattr(compiling, "_IDLE_CALLS", 2 * compiling._HOT)
    used_often(drawn, 2)
    used_often(drawn, 3)
    used_often(drawn, 3)
    finish(drawn, workshop)
    assert workshop.made == 3


def test_shapes_that_pass_are_forgotten_and_compiled_ones_are_not() -> None:
    workshop = Workshop(eager)
    drawn = network(workshop)
    used_often(drawn, 3)
    finish(drawn, workshop)
    drawn(pictures(3))
    for rows in range(8, 8 + compiling._MOST_SEEN + 9):
        drawn(torch.zeros(1, rows, 6))
    assert len(drawn._shapes) == compiling._MOST_SEEN + 1
    before = len(workshop.shapes)
    drawn(pictures(3))
    assert len(workshop.shapes) == before + 1


def test_a_compiled_form_is_given_rows_side_by_side() -> None:
    def particular(x: Tensor) -> Tensor:
        assert x.is_contiguous()
        return eager(x)

    workshop = Workshop(particular)
    drawn = network(workshop)
    used_often(drawn)
    finish(drawn, workshop)
    drawn(pictures())
    across = pictures().T.contiguous().T
    assert not across.is_contiguous()
    before = len(workshop.shapes)
    assert torch.equal(drawn(across), eager(across.contiguous()))
    assert len(workshop.shapes) == before + 1


def test_a_proven_form_that_fails_later_is_given_up_in_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    fails: list[BaseException] = []

    def made(x: Tensor) -> Tensor:
        if fails:
            raise fails[0]
        return eager(x)

    workshop = Workshop(made)
    drawn = network(workshop)
    used_often(drawn)
    finish(drawn, workshop)
    used_often(drawn)
    fails.append(torch.OutOfMemoryError())  # the worker's affair: it halves the batch
    with pytest.raises(torch.OutOfMemoryError):
        drawn(pictures())
    fails[0] = AssertionError("expected stride")
    used_often(drawn)
    (record,) = caplog.records
    assert record.message == "thing, compiled, failed: expected stride"


def test_what_was_unloaded_is_neither_compiled_nor_held() -> None:
    class Weights:
        def __call__(self, x: Tensor) -> Tensor:
            return eager(x)

    workshop = Workshop(eager)
    compiler = network(workshop)._compiler
    first = compiler.network("first", eager)
    used_often(first)  # the compiler is busy with it
    weights = Weights()
    gone = weakref.ref(weights)
    second = compiler.network("second", weights)
    used_often(second)
    assert compiler.busy
    del weights, second
    gc.collect()
    assert gone() is None
    finish(first, workshop)
    assert workshop.made == 1 and not compiler.busy


def test_compiling_and_exact_work_are_never_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # Of the process, as engines use it; only without its rest.
    monkeypatch.setattr(determinism, "_quiet_s", 0)
    monkeypatch.setattr(determinism, "_free_at", 0)
    begun, go = threading.Event(), threading.Event()

    def compile_with(forward: Forward) -> Forward:
        # As torch's own: it notes the flag, and sets it back.
        before = torch.are_deterministic_algorithms_enabled()
        begun.set()
        assert go.wait(10)
        torch.use_deterministic_algorithms(before)
        return forward

    compiler = Compiler(
        tiny.CPU, precision="fp32", compiles=True, compile_with=compile_with,
        exclusion=determinism,
    )  # fmt: skip
    drawn = compiler.network("thing", eager)
    seen: list[bool] = []

    def exact_work() -> None:
        with deterministic_kernels(True), deterministic_kernels(True):
            seen.append(torch.are_deterministic_algorithms_enabled())

    # Compiling begins first: exact work waits for its end, and has the flag.
    used_often(drawn)
    assert begun.wait(10)
    worker = threading.Thread(target=exact_work)
    worker.start()
    worker.join(0.05)
    assert worker.is_alive() and not torch.are_deterministic_algorithms_enabled()
    go.set()
    worker.join(10)
    assert seen == [True] and not torch.are_deterministic_algorithms_enabled()
    # Exact work begins first: the compiler waits for its end.
    begun.clear()
    with deterministic_kernels(True):
        # Asked for from outside: exact work itself asks for nothing to be compiled.
        torch.use_deterministic_algorithms(False)
        used_often(drawn, rows=3)
        torch.use_deterministic_algorithms(True)
        assert not begun.wait(0.05)
        assert torch.are_deterministic_algorithms_enabled()
    assert begun.wait(10)
    worked_off(compiler)
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_compiler_rests_for_a_while_after_exact_work() -> None:
    exclusion = Exclusion(quiet_s=0.05)
    with exclusion.exact():
        ended = time.monotonic()
    with exclusion.compiling():
        assert time.monotonic() - ended >= 0.04


def test_copies_for_the_compiler_share_weights_and_no_hooks() -> None:
    model = tiny.vqgan().requires_grad_(False)
    copy = with_same_weights(model)
    for ours, theirs in zip(copy.parameters(), model.parameters(), strict=True):
        assert ours is theirs
    x = torch.randn(1, 8, 4, 4)
    with circular_convolutions(model.decoder, "both"):
        assert not any(module._forward_pre_hooks for module in copy.modules())
        tiled = model.decode(x)
    assert torch.equal(copy.decode(x), model.decode(x))
    assert not torch.equal(tiled, model.decode(x))


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


def test_bfloat16_is_judged_by_its_gradient_too_and_only_by_what_succeeded() -> None:
    fails = [torch.OutOfMemoryError()]

    def short_of_memory(x: Tensor) -> Tensor:
        if x.requires_grad and fails:
            raise fails.pop()
        return eager(x)

    drawn = Compiler(tiny.CPU, precision="bf16").network("thing", short_of_memory)
    x = pictures()
    assert torch.equal(drawn(x), eager(x))  # nothing to judge by
    x.requires_grad_()
    with pytest.raises(torch.OutOfMemoryError):
        drawn(x)
    assert 0 < tiny.difference(drawn(x), eager(x)) < 0.05
    with torch.no_grad():
        assert 0 < tiny.difference(drawn(x), eager(x)) < 0.05
    assert torch.equal(drawn.plainly(x), eager(x))


def test_precision_is_chosen_by_the_device() -> None:
    chosen = Compiler(tiny.CPU).dtype
    own = has_bfloat16(tiny.CPU)
    assert chosen == (torch.bfloat16 if own else torch.float32)
    assert Compiler(tiny.CPU, precision="fp32").dtype == torch.float32


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
        worked_off(compiler, 600)
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
