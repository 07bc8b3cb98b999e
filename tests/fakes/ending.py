"""Two engines: the first ends its process at its first step, the second is well."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NoReturn

import msgspec

from generation.protocol import EngineInfo
from tests.fakes.engine import FakeEngine


class _Named(FakeEngine):
    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    @property
    def info(self) -> EngineInfo:
        return msgspec.structs.replace(super().info, name=self._name)


class _Ending(_Named):
    def step(self, runs: Sequence[Any]) -> NoReturn:
        os._exit(3)


def build_engines(**_: object) -> dict[str, FakeEngine]:
    """Return both."""
    return {"ending": _Ending("ending"), "well": _Named("well")}
