"""Crops: where they lie, that they do not alias, and that each run's chance is its own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from generation.clip.chance import Streams, affine_views
from generation.clip.cutouts import KINDS, cut, plan
from generation.clip.sampling import sample_views

CPU = torch.device("cpu")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def view(left: float, top: float, side: float, width: int, height: int) -> Tensor:
    return torch.tensor(
        [
            [side / width, 0, (2 * left + side) / width - 1],
            [0, side / height, (2 * top + side) / height - 1],
            [0, 0, 1],
        ]
    )


# --- sampling --------------------------------------------------------------------------------


def test_a_view_at_full_size_is_that_part_of_the_picture() -> None:
    picture = torch.rand(1, 3, 40, 56, generator=seeded())
    views = torch.stack([view(8, 5, 16, 56, 40), view(40, 24, 16, 56, 40)])[None]
    seen = sample_views(picture, views, 16)
    assert torch.allclose(seen[0, 0], picture[0, :, 5:21, 8:24], atol=1e-4)
    assert torch.allclose(seen[0, 1], picture[0, :, 24:40, 40:56], atol=1e-4)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_a_view_that_shrinks_by_a_power_of_two_is_the_mean(factor: int) -> None:
    side = 16 * factor
    picture = torch.rand(2, 3, side, side, generator=seeded())
    seen = sample_views(picture, torch.eye(3).expand(2, 1, 3, 3), 16)
    assert torch.allclose(seen[:, 0], F.avg_pool2d(picture, factor), atol=1e-4)


def test_shrinking_does_not_alias() -> None:
    checks = (torch.arange(128)[:, None] + torch.arange(128)[None, :]) % 2
    picture = checks.float().expand(1, 3, 128, 128)
    sizes = torch.tensor([128.0, 100.0, 90.0, 70.0])
    views = torch.stack([view(0, 0, float(side), 128, 128) for side in sizes])[None]
    seen = sample_views(picture, views, 32)
    assert float((seen - 0.5).abs().max()) < 0.01


def test_levels_do_not_bleed_into_each_other() -> None:
    picture = torch.ones(1, 3, 50, 70)  # the atlas around it is zero
    turned = affine_views(seeded(), 64, degrees=40, translate=0.5, shear=10, chance=1.0)
    seen = sample_views(picture, turned[None], 8)
    assert torch.allclose(seen, torch.ones_like(seen), atol=1e-5)


def test_outside_is_black_only_if_asked() -> None:
    picture = torch.ones(1, 3, 32, 32)
    far = torch.tensor([[1.0, 0, 2], [0, 1, 0], [0, 0, 1]])  # from 1 to 3: all outside
    assert float(sample_views(picture, far[None, None], 8).min()) == 1
    assert float(sample_views(picture, far[None, None], 8, zero_outside=True).max()) == 0


def test_the_deterministic_reading_is_the_same_reading() -> None:
    picture = torch.rand(2, 3, 48, 64, generator=seeded(), requires_grad=True)
    views = torch.stack(
        [affine_views(seeded(s), 5, degrees=30, translate=0.2, shear=5, chance=1) for s in (1, 2)]
    )
    gradients = []
    for deterministic in (False, True):
        seen = sample_views(picture, views, 16, deterministic=deterministic)
        (gradient,) = torch.autograd.grad((seen**2).sum(), picture)
        gradients.append((seen.detach(), gradient))
    for first, second in zip(*gradients, strict=True):
        assert torch.allclose(first, second, atol=1e-3)


# --- runs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_runs_crops_do_not_depend_on_its_company(kind: str) -> None:
    pictures = torch.rand(3, 3, 48, 48, generator=seeded())

    def crops_of(rows: list[int]) -> Tensor:
        streams = [Streams.seeded(row, CPU) for row in rows]
        plans = [plan(kind, each, count=6, size=16, width=48, height=48) for each in streams]
        return cut(kind, pictures[rows], plans, streams, 16)

    together = crops_of([0, 1, 2])
    assert together.shape == (3, 6, 3, 16, 16)
    assert torch.allclose(crops_of([1])[0], together[1], atol=1e-6)
    assert not torch.allclose(together[0], together[1], atol=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_the_whole_picture(kind: str) -> None:
    picture = torch.rand(1, 3, 48, 48, generator=seeded(), requires_grad=True)
    streams = [Streams.seeded(5, CPU)]
    plans = [plan(kind, streams[0], count=32, size=16, width=48, height=48)]
    crops = cut(kind, picture, plans, streams, 16)
    (gradient,) = torch.autograd.grad(crops.square().sum(), picture)
    assert gradient.isfinite().all()
    assert float((gradient != 0).float().mean()) > (0.2 if kind == "pooled" else 0.9)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (37, 50), (12, 9)])
def test_pooling_is_the_mean_of_average_and_maximum(height: int, width: int) -> None:
    picture = torch.rand(1, 3, height, width, generator=seeded())
    streams = [Streams.seeded(0, CPU)]
    plain = [
        type(plan("classic", streams[0], count=1, size=16, width=32, height=32))(torch.eye(3)[None])
    ]
    seen = cut("pooled", picture, plain, streams, 16)
    expected = (F.adaptive_avg_pool2d(picture, 16) + F.adaptive_max_pool2d(picture, 16)) / 2
    assert torch.allclose(seen[0, 0], expected[0], atol=1e-5)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="no kind"):
        plan("round", Streams.seeded(0, CPU), count=1, size=8, width=8, height=8)
