"""Predicted memory is near what is measured, for what ships."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks import memory

CPU = torch.device("cpu")


def test_what_is_given_out_is_counted_at_its_peak() -> None:
    def act() -> None:
        first = torch.ones(1 << 20)
        second = first + 1
        del first
        third = second * 2
        del second, third

    assert memory.peak_bytes(act, CPU) == pytest.approx(2 * 4 << 20, rel=1e-4)


def test_the_starter_model_takes_what_is_predicted(capsys: pytest.CaptureFixture[str]) -> None:
    memory.main(["--device", "cpu", "--cases", "starter-128", "--runs", "1", "4"])
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    for one in said["bytes"].values():
        assert 0.9 < one["ratio"] < 1.1
