"""Compact weights: small, close to the original, and refused when they are something else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from generation.models.compact import (
    CompactFormatError,
    expand,
    is_compact,
    pack,
    quantise_rows,
)


def _state() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    sparse = torch.zeros(300, 32)
    sparse[[3, 70, 299]] = normal(3, 32)
    return {
        "linear.weight": normal(128, 64) * torch.logspace(-4, 1, 128)[:, None],
        "linear.bias": normal(128),
        "conv.weight": normal(48, 32, 3, 3),
        "norm.weight": normal(64),
        "embedding.weight": normal(200, 8) @ normal(8, 40),
        "sparse.weight": sparse,
        "steps": torch.arange(3),
    }


def test_expanded_weights_are_close_row_by_row(tmp_path: Path) -> None:
    path, state = tmp_path / "w.safetensors", _state()
    pack(state, path, low_rank={"embedding.weight": 8})
    restored = expand(path)
    assert restored.keys() == state.keys()
    for name, original in state.items():
        found = restored[name]
        assert found.shape == original.shape, name
        if original.dtype.is_floating_point:
            assert found.dtype == torch.float32, name
    # Half a step of int8 is 0.4 % of a row's largest weight, however small the row.
    for name in ("linear.weight", "conv.weight", "sparse.weight"):
        largest = state[name].flatten(1).abs().amax(1)
        error = (restored[name] - state[name]).flatten(1).abs().amax(1)
        assert (error <= largest / 253).all(), name
    relative = (restored["embedding.weight"] - state["embedding.weight"]).norm()
    assert relative / state["embedding.weight"].norm() < 0.01
    assert torch.equal(restored["steps"], state["steps"])


def test_a_compact_file_is_about_a_quarter(tmp_path: Path) -> None:
    state = {"weight": torch.randn(512, 512)}
    size = pack(state, tmp_path / "w.safetensors")
    assert size < 0.27 * state["weight"].numel() * 4


def test_unused_rows_cost_nothing(tmp_path: Path) -> None:
    rows = torch.zeros(10_000, 64)
    rows[::100] = 1.0
    assert pack({"rows": rows}, tmp_path / "w.safetensors") < 20_000
    assert torch.allclose(expand(tmp_path / "w.safetensors")["rows"], rows, atol=1e-3)


def test_named_tensors_stay_float16(tmp_path: Path) -> None:
    state = {"head.weight": torch.randn(64, 64)}
    pack(state, tmp_path / "w.safetensors", keep_fp16=("head.*",))
    assert torch.equal(
        expand(tmp_path / "w.safetensors")["head.weight"], state["head.weight"].half().float()
    )


def test_other_files_are_refused_in_a_sentence(tmp_path: Path) -> None:
    plain, newer = tmp_path / "plain.safetensors", tmp_path / "newer.safetensors"
    save_file({"a": torch.zeros(2)}, plain)
    save_file(
        {"a": torch.zeros(2)}, newer, metadata={"format": "dreamstream-compact", "version": "9"}
    )
    assert not is_compact(plain)
    with pytest.raises(CompactFormatError, match="not a dreamstream-compact file"):
        expand(plain)
    with pytest.raises(CompactFormatError, match="version 9"):
        expand(newer)


@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(1, 9), columns=st.integers(1, 17), exponent=st.integers(-12, 12),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_rounding_never_exceeds_half_a_step(
    rows: int, columns: int, exponent: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(rows, columns, generator=generator) * 10.0**exponent
    values, scale = quantise_rows(matrix)
    error = (values.float() * scale[:, None] - matrix).abs()
    assert (error <= 0.5001 * scale[:, None] + 1e-12).all()
