"""How a network is computed: its number format, and a compiled form that nobody waits for.

A `Network` is a call of frozen weights, pictures or latents in and out. Until its compiled form is
there it is computed eagerly. Compiling goes on in a thread of its own, one shape after another, and
what comes of it is used only after it gave the eager result, and the eager gradient, to rounding,
on what was to be drawn anyway. Where compiling fails, or proves wrong, one line of the log says so
and that shape stays eager. The same goes for bfloat16, against float32.

Within `deterministic_kernels` all is float32 and eager, and nothing is compiled meanwhile: exact
runs stay exact.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from itertools import count
from queue import SimpleQueue
from types import FunctionType
from typing import Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from generation.models.comparing import apart_by, needs_gradient, ran
from generation.models.exclusion import Exclusion, determinism
from generation.models.kept import Kept, kept_by
from generation.models.precision import has_bfloat16

_log = logging.getLogger(__name__)

Module = TypeVar("Module", bound=torch.nn.Module)
Forward = Callable[[Tensor], Tensor]
Compile = Callable[[Forward], Forward]
Precision = Literal["auto", "fp32", "bf16"]

# A shape is compiled when it has been asked for so often: passing ones are not worth it.
_HOT = 8
# So many shapes of a network are compiled. One makes room for another only when it was not asked
# for in so many calls: else a shape too many would have all of them compiled over and over.
_MOST_SHAPES = 12
_IDLE_CALLS = 10_000
# So many shapes that are not compiled are counted.
_MOST_SEEN = 64
_numbers = count()
# How far results may lie apart, as a part of their length.
_ROUNDING = {torch.float32: 1e-3, torch.bfloat16: 0.05}


class Compiler:
    """What computes the networks of a process.

    `precision` ``auto`` is bfloat16 where that is the device's own. `compiles` says whether shapes
    that are often asked for are compiled.
    """

    def __init__(
        self,
        device: torch.device,
        *,
        precision: Precision = "auto",
        compiles: bool = False,
        compile_with: Compile | None = None,
        exclusion: Exclusion = determinism,
    ) -> None:
        half = precision == "bf16" or (precision == "auto" and has_bfloat16(device))
        self.device = device
        self.dtype = torch.bfloat16 if half else torch.float32
        self.compiles = compiles
        self._compile_with = compile_with or by_torch
        self._exclusion = exclusion
        self._orders: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._open = 0  # orders that are not worked off; under `_counting`
        self._counting = threading.Lock()
        self._thread: threading.Thread | None = None

    def network(self, name: str, forward: Forward, traced: Forward | None = None) -> Network:
        """Return a network that is computed as set here; `name` is for the log.

        `traced` is what the compiler reads in its own thread, where `forward` itself must not be
        read there: its modules may have hooks for a while.
        """
        return Network(name, forward, self, traced)

    @property
    def busy(self) -> bool:
        """Whether something is being compiled, or waits to be."""
        return self._open > 0

    def order(self, network: Network, shape: Shape, example: Example) -> None:
        """Have a shape compiled, some time; not if it or its network is gone by then."""
        wanted, owner = weakref.ref(shape), weakref.ref(network)

        def carry_out() -> None:
            # A network's weights must not be held for the time that this waits for exact work.
            with self._exclusion.compiling():
                shape, network = wanted(), owner()
                if shape is not None and network is not None:
                    self._compile(network, shape, example)

        shape.state = State.ORDERED
        with self._counting:
            self._open += 1
        self._orders.put(carry_out)
        if self._thread is None:
            # A daemon: the process ends without waiting for the compiler.
            self._thread = threading.Thread(target=self._work, name="compiler", daemon=True)
            self._thread.start()

    def _compile(self, network: Network, shape: Shape, example: Example) -> None:
        try:
            compiled = self._compile_with(network.traced)
            ran(compiled, example.made(self.device))
        except BaseException as error:
            _log.warning(
                "%s of shape %s stays uncompiled: %s: %s",
                network.name, list(example.shape), type(error).__name__, _first_line(error),
            )  # fmt: skip
            shape.state = State.EAGER
        else:
            shape.compiled = compiled
            shape.state = State.COMPILED

    def _work(self) -> None:
        while True:
            self._orders.get()()
            with self._counting:
                self._open -= 1


class State(Enum):
    """How far a shape is on its way to being compiled."""

    SEEN = auto()
    ORDERED = auto()
    COMPILED = auto()  # but not yet compared
    PROVEN = auto()
    EAGER = auto()  # for good


@dataclass(frozen=True)
class Example:
    """What is asked of a network: all that its compiled forms are kept apart by."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    gradient: bool

    def made(self, device: torch.device) -> Tensor:
        """Return one such tensor, with its rows side by side as `Network` hands them over."""
        zeros = torch.zeros(self.shape, dtype=self.dtype, device=device)
        return zeros.requires_grad_(self.gradient)


@dataclass(eq=False)
class Shape:
    """One shape of a network's input, and its compiled form when it is there."""

    state: State = State.SEEN
    times: int = 0
    last_call: int = 0
    compiled: Forward | None = field(default=None, repr=False)


class Network:
    """A call of frozen weights [rows, …] → [rows, …], each row by itself; gradients pass."""

    def __init__(
        self, name: str, forward: Forward, compiler: Compiler, traced: Forward | None = None
    ) -> None:
        self.name = name
        self._exact, self._traced, self._compiler = forward, traced or forward, compiler
        # None until it is judged.
        self._dtype = torch.float32 if compiler.dtype == torch.float32 else None
        self._shapes: OrderedDict[Example, Shape] = OrderedDict()
        self._calls = 0

    def __call__(self, x: Tensor) -> Tensor:
        """Compute it in the fastest way that is there and proven."""
        if torch.are_deterministic_algorithms_enabled():
            return self._exact(x)
        if self._dtype is None:
            if not needs_gradient(x):
                # Half of what is to agree is the gradient, so this is no time to judge.
                return self._exact(x)
            self._dtype = self._judged(x)
        if not self._compiler.compiles:
            return self._eager(x)
        # A compiled form asserts its input's strides, and crops may be a view of anything.
        wide = padded(x).contiguous()
        shape = self._shape(Example(tuple(wide.shape), x.dtype, needs_gradient(x)))
        if shape.state is State.COMPILED:
            self._prove(shape, wide)
        elif shape.state is State.PROVEN and shape.compiled is not None:
            try:
                return shape.compiled(wide)[: len(x)]
            except torch.OutOfMemoryError:
                raise
            except Exception as error:
                _log.warning("%s, compiled, failed: %s", self.name, _first_line(error))
                shape.state, shape.compiled = State.EAGER, None
        return self._eager(x)

    def plainly(self, x: Tensor) -> Tensor:
        """Compute it eagerly in float32."""
        return self._exact(x)

    @property
    def format(self) -> torch.dtype:
        """The number format of the largest part of its next call.

        It is float32 until another one is judged: that is done in both.
        """
        return self._dtype or torch.float32

    @property
    def formats(self) -> tuple[torch.dtype, ...]:
        """All that `format` may come to be."""
        half = self._compiler.dtype
        return (torch.float32,) if half == torch.float32 else (torch.float32, half)

    def kept_in(self, number: torch.dtype, few: Tensor, many: Tensor) -> Kept:
        """Return what it keeps, computed eagerly, by two examples of different numbers of rows."""
        return kept_by(partial(_computed, self._exact, number), few, many)

    @property
    def traced(self) -> Forward:
        """What is to be compiled. It holds the weights, and not this object."""
        return partial(_computed, self._traced, self.format)

    def _eager(self, x: Tensor) -> Tensor:
        return _computed(self._exact, self.format, x)

    def _shape(self, example: Example) -> Shape:
        self._calls += 1
        shape = self._shapes.setdefault(example, Shape())
        self._shapes.move_to_end(example)
        shape.times += 1
        shape.last_call = self._calls
        if shape.state is State.SEEN:
            if shape.times >= _HOT and self._has_room():
                self._compiler.order(self, shape, example)
            elif shape.times == 1:
                self._forget_seen()
        return shape

    def _has_room(self) -> bool:
        """Whether one more shape may be compiled; lets go of one that is not used any more."""
        made = [key for key, shape in self._shapes.items() if shape.state is not State.SEEN]
        if len(made) < _MOST_SHAPES:
            return True
        oldest = self._shapes[made[0]]
        if self._calls - oldest.last_call < _IDLE_CALLS:
            return False
        del self._shapes[made[0]]
        return True

    def _forget_seen(self) -> None:
        seen = [key for key, shape in self._shapes.items() if shape.state is State.SEEN]
        for key in seen[:-_MOST_SEEN]:
            del self._shapes[key]

    def _judged(self, x: Tensor) -> torch.dtype:
        """Return bfloat16 if it gives what float32 gives, and float32 otherwise."""
        half = self._compiler.dtype
        apart = apart_by(ran(partial(_computed, self._exact, half), x), ran(self._exact, x))
        if apart <= _ROUNDING[half]:
            return half
        _log.warning("%s stays in float32: in bfloat16 it is %.3g apart", self.name, apart)
        return torch.float32

    def _prove(self, shape: Shape, x: Tensor) -> None:
        """Compare what was compiled with the eager result."""
        assert shape.compiled is not None
        if self._agrees(shape.compiled, x, ran(self._eager, x)):
            shape.state = State.PROVEN
        else:
            shape.state, shape.compiled = State.EAGER, None

    def _agrees(self, forward: Forward, x: Tensor, expected: tuple[Tensor, ...]) -> bool:
        try:
            apart = apart_by(ran(forward, x), expected)
        except Exception as error:
            _log.warning("%s, compiled, cannot be run: %s", self.name, _first_line(error))
            return False
        if not apart <= _ROUNDING[self.format]:
            _log.warning("%s, compiled, is %.3g apart from the eager one", self.name, apart)
            return False
        _log.info("%s of shape %s is now compiled", self.name, list(x.shape))
        return True


def _computed(forward: Forward, dtype: torch.dtype, x: Tensor) -> Tensor:
    """Compute a network in a number format; it takes and gives float32."""
    if dtype == torch.float32:
        return forward(x)
    # Autocast keeps normalisation in float32. It caches no frozen weights anyway.
    with torch.autocast(x.device.type, dtype, cache_enabled=False):
        return forward(x).float()


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


def with_same_weights(module: Module) -> Module:
    """Return a copy with modules, and so hooks, of its own, whose weights are the same tensors."""
    shared = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    return deepcopy(module, shared)


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


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0]
