"""A device that is elsewhere, without one: what a step sends there and asks of it is noted.

torch's `meta` device stands for it. It computes shapes alone, so a shape that depends on values
fails there; where values are asked for, ones are given.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from generation.clip import sending

DEVICE = torch.device("meta")

_ASKS = {"tolist", "item", "__float__", "__int__", "__bool__", "cpu", "numpy", "is_nonzero"}
_SENDS = {"tensor", "as_tensor", "asarray", "new_tensor", "to", "type_as", "copy_"}


class Traffic(TorchFunctionMode):
    """Notes who `asked` the device for values, and who `sent` it some other than by `send`."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.sent: list[str] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Carry out what torch is asked for, and note what goes between here and there."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        caller = sys._getframe(1)
        where = f"{name}, {caller.f_code.co_filename}:{caller.f_lineno}"
        if name in _ASKS and _is_there(args[0]):
            self.asked.append(where)
            here = torch.ones(args[0].shape, dtype=args[0].dtype)
            return func(here, *args[1:], **kwargs)
        result = func(*args, **kwargs)
        by_hand = caller.f_code.co_filename != sending.__file__
        if name in _SENDS and by_hand and _is_there(result):
            values = args[1] if name in ("copy_", "new_tensor") else args[0]
            if not _is_there(values):
                self.sent.append(where)
        elif name == "to" and _is_there(args[0]) and not _is_there(result):
            self.asked.append(where)
        return result


def _is_there(value: object) -> bool:
    return isinstance(value, Tensor) and value.device == DEVICE
