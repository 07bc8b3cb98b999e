"""How a network is computed: its number format, and a compiled form that nobody waits for.

A `Network` is a call of frozen weights, pictures or latents in and out. Until its compiled form is
there it is computed eagerly. Compiling goes on in a thread of its own, one shape after another, and
what comes of it is used only after it gave the eager result, and the eager gradient, to rounding,
on what was to be drawn anyway. Where compiling fails, or proves wrong, one line of the log says so
and that shape stays eager. The same goes for bfloat16, against float32.

Within `torch.use_deterministic_algorithms` all is float32 and eager: exact runs stay exact.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import count
from queue import SimpleQueue
from types import FunctionType
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from generation.models.precision import has_bfloat16

_log = logging.getLogger(__name__)

Forward = Callable[[Tensor], Tensor]
Compile = Callable[[Forward], Forward]
Precision = Literal["auto", "fp32", "bf16"]

# A shape is compiled when it has been asked for so often: passing ones are not worth it.
_HOT = 8
# So many shapes are kept compiled for each network.
_MOST_SHAPES = 12
_numbers = count()
# How far results may lie apart, as a part of their length.
_ROUNDING = {torch.float32: 1e-3, torch.bfloat16: 0.05}


class Compiler:
    """What computes the networks of a process.

    `precision` ``auto`` is bfloat16 where that is the device's own. `compiles` says whether shapes
    that are often asked for are compiled, `graphs` whether they are then recorded as CUDA graphs.
    """

    def __init__(
        self,
        device: torch.device,
        *,
        precision: Precision = "auto",
        compiles: bool = False,
        graphs: bool = False,
        compile_with: Compile | None = None,
    ) -> None:
        half = precision == "bf16" or (precision == "auto" and has_bfloat16(device))
        self.device = device
        self.dtype = torch.bfloat16 if half else torch.float32
        self.compiles = compiles
        self.graphs = graphs and device.type == "cuda"
        self._compile_with = compile_with or by_torch
        self._orders: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._busy = threading.Lock()

    def network(self, name: str, forward: Forward) -> Network:
        """Return a network that is computed as set here; `name` is for the log."""
        return Network(name, forward, self)

    @property
    def busy(self) -> bool:
        """Whether something is being compiled just now."""
        return self._busy.locked()

    def order(self, name: str, forward: Forward, shape: Shape, example: Tensor) -> None:
        """Have a shape compiled, some time."""

        def carry_out() -> None:
            try:
                compiled = self._compile_with(forward)
                _ran(compiled, example)
            except BaseException as error:
                _log.warning(
                    "%s of shape %s stays uncompiled: %s: %s",
                    name, list(example.shape), type(error).__name__, _first_line(error),
                )  # fmt: skip
                shape.state = State.EAGER
            else:
                shape.compiled = compiled
                shape.state = State.COMPILED

        shape.state = State.ORDERED
        self._orders.put(carry_out)
        if self._thread is None:
            # A daemon: the process ends without waiting for the compiler.
            self._thread = threading.Thread(target=self._work, name="compiler", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        while True:
            carry_out = self._orders.get()
            with self._busy:
                carry_out()


class State(Enum):
    """How far a shape is on its way to being compiled."""

    SEEN = auto()
    ORDERED = auto()
    COMPILED = auto()  # but not yet compared
    PROVEN = auto()
    EAGER = auto()  # for good


@dataclass
class Shape:
    """One shape of a network's input, and its compiled form when it is there."""

    state: State = State.SEEN
    times: int = 0
    compiled: Forward | None = field(default=None, repr=False)


class Network:
    """A call of frozen weights [rows, …] → [rows, …], each row by itself; gradients pass."""

    def __init__(self, name: str, forward: Forward, compiler: Compiler) -> None:
        self._name, self._exact, self._compiler = name, forward, compiler
        self._dtype = torch.float32
        self._half_is_judged = compiler.dtype == torch.float32
        self._shapes: OrderedDict[tuple[object, ...], Shape] = OrderedDict()

    def __call__(self, x: Tensor) -> Tensor:
        """Compute it in the fastest way that is there and proven."""
        if torch.are_deterministic_algorithms_enabled():
            return self._exact(x)
        if not self._half_is_judged:
            self._judge_half(x)
        if not self._compiler.compiles:
            return self._eager(x)
        wide = padded(x)
        shape = self._shape(wide, _needs_gradient(x))
        if shape.state is State.SEEN:
            shape.times += 1
            if shape.times >= _HOT:
                example = wide.detach().clone().requires_grad_(_needs_gradient(x))
                self._compiler.order(self._name, self._eager, shape, example)
        elif shape.state is State.COMPILED:
            self._prove(shape, wide)
        elif shape.state is State.PROVEN and shape.compiled is not None:
            return shape.compiled(wide)[: len(x)]
        return self._eager(x)

    def _eager(self, x: Tensor) -> Tensor:
        if self._dtype == torch.float32:
            return self._exact(x)
        # Autocast keeps normalisation in float32. It caches no frozen weights anyway.
        with torch.autocast(x.device.type, self._dtype, cache_enabled=False):
            return self._exact(x).float()

    def _shape(self, x: Tensor, gradient: bool) -> Shape:
        key = (*x.shape, x.dtype, gradient)
        shape = self._shapes.setdefault(key, Shape())
        self._shapes.move_to_end(key)
        while len(self._shapes) > _MOST_SHAPES:
            self._shapes.popitem(last=False)
        return shape

    def _judge_half(self, x: Tensor) -> None:
        """Take to bfloat16 if it gives what float32 gives."""
        self._half_is_judged = True
        expected = _ran(self._exact, x)
        self._dtype = self._compiler.dtype
        apart = _apart(_ran(self._eager, x), expected)
        if not apart <= _ROUNDING[self._dtype]:
            self._dtype = torch.float32
            _log.warning("%s stays in float32: in bfloat16 it is %.3g apart", self._name, apart)

    def _prove(self, shape: Shape, x: Tensor) -> None:
        """Compare what was compiled with the eager result; also its recording, where wanted."""
        assert shape.compiled is not None
        expected = _ran(self._eager, x)
        if not self._agrees(shape.compiled, x, expected, "compiled"):
            shape.state, shape.compiled = State.EAGER, None
            return
        shape.state = State.PROVEN
        # While anything is recorded no other thread may ask anything of the GPU.
        if self._compiler.graphs and _needs_gradient(x) and not self._compiler.busy:
            try:
                recorded = recorded_as_graph(shape.compiled, x)
            except RuntimeError as error:
                _log.warning("%s cannot be recorded: %s", self._name, _first_line(error))
            else:
                if self._agrees(recorded, x, expected, "recorded"):
                    shape.compiled = recorded

    def _agrees(self, forward: Forward, x: Tensor, expected: tuple[Tensor, ...], made: str) -> bool:
        try:
            apart = _apart(_ran(forward, x), expected)
        except Exception as error:
            _log.warning("%s, %s, cannot be run: %s", self._name, made, _first_line(error))
            return False
        if not apart <= _ROUNDING[self._dtype]:
            _log.warning("%s, %s, is %.3g apart from the eager one", self._name, made, apart)
            return False
        _log.info("%s of shape %s is now %s", self._name, list(x.shape), made)
        return True


def by_torch(forward: Forward, backend: str = "inductor") -> Forward:
    """Compile a network for the one shape that it will be called with.

    Its caller keeps shapes, formats and modes of gradients apart, so torch's own guards are left
    out: they would compile again, in the middle of a step, whenever anything else in the process
    changed. torch keeps compiled forms by code object, so each has a code object of its own.
    """

    def call(x: Tensor) -> Tensor:
        return forward(x)

    code = call.__code__.replace(co_name=f"network_{next(_numbers)}")
    own = FunctionType(code, call.__globals__, code.co_name, None, call.__closure__)
    compiled: Forward = torch.compile(
        own,
        backend=backend,
        fullgraph=True,
        dynamic=False,
        options={"guard_filter_fn": lambda entries: [False for _ in entries]},
    )
    return compiled


def recorded_as_graph(forward: Forward, x: Tensor) -> Forward:
    """Record both ways through a network as CUDA graphs.

    Raises:
        RuntimeError: it cannot be recorded.
    """
    example = x.detach().clone().requires_grad_(_needs_gradient(x))
    recorded: Any = torch.cuda.make_graphed_callables(forward, (example,))
    return cast(Forward, recorded)


def bucket(rows: int) -> int:
    """Return the next number of three binary digits and zeros: few shapes, a quarter more at most.

    Up to 8 that is the number itself.
    """
    shift = max(0, (rows - 1).bit_length() - 3)
    return -(-rows >> shift) << shift


def padded(x: Tensor) -> Tensor:
    """Fill rows up to a bucket, with zeros."""
    missing = bucket(len(x)) - len(x)
    return x if not missing else F.pad(x, (0, 0) * (x.dim() - 1) + (0, missing))


def _needs_gradient(x: Tensor) -> bool:
    return x.requires_grad and torch.is_grad_enabled()


def _ran(forward: Forward, x: Tensor) -> tuple[Tensor, ...]:
    """Return the result, and its gradient along a direction of some signs, if x needs one."""
    if not _needs_gradient(x):
        return (forward(x).detach(),)
    x = x.detach().clone().requires_grad_()
    y = forward(x)
    along = torch.arange(y.numel(), device=y.device).mul(2.3).sin().view_as(y)
    (gradient,) = torch.autograd.grad(y, x, along.to(y.dtype))
    return y.detach(), gradient


def _apart(found: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> float:
    """Return the largest distance, as a part of the expected length; not a number for none."""
    parts = [
        (ours.float() - theirs.float()).norm() / theirs.float().norm().clamp(min=1e-12)
        for ours, theirs in zip(found, expected, strict=True)
    ]
    return float(torch.stack(parts).max())


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0]
