"""What chance decides of crops: its laws and its bounds."""

from __future__ import annotations

import math

import pytest
import torch

from generation.clip.chance import (
    affine_views,
    colour_jitter,
    crop_views,
    erasing_boxes,
    hue_rotation,
    square_to_quad,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("cut_pow", [0.3, 1.0, 2.5])
def test_crop_sizes_follow_the_classic_law(cut_pow: float) -> None:
    views = crop_views(seeded(), 4000, 32, 200, 120, cut_pow)
    side = views[:, 0, 0] * 200
    assert torch.allclose(side, views[:, 1, 1] * 120, atol=1e-3)
    assert float(side.min()) >= 31.99 and float(side.max()) <= 120.01
    # The mean of U^p is 1/(p+1); whole pixels take off half a pixel.
    assert float(side.mean()) == pytest.approx(32 + 88 / (cut_pow + 1) - 0.5, abs=2.0)
    for centre, extent in ((views[:, 0, 2], 200), (views[:, 1, 2], 120)):
        low = ((centre + 1) * extent - side) / 2
        assert float(low.min()) >= -1e-3 and float((low + side).max()) <= extent + 1e-3
        assert torch.allclose(low, low.round(), atol=1e-3)


def test_a_picture_smaller_than_clip_is_seen_whole() -> None:
    views = crop_views(seeded(), 10, 224, 64, 64, 1.0)
    assert torch.allclose(views, torch.eye(3).expand(10, 3, 3))


def test_homographies_take_the_corners_where_they_should_go() -> None:
    quad = torch.tensor([[[-0.9, -0.7], [0.8, -0.95], [0.6, 0.75], [-0.5, 0.9]]])
    corners = torch.tensor([[-1.0, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]])
    moved = corners @ square_to_quad(quad)[0].T
    assert torch.allclose(moved[:, :2] / moved[:, 2:], quad[0], atol=1e-5)


def test_affine_views_stay_within_their_bounds() -> None:
    views = torch.linalg.inv(
        affine_views(seeded(), 500, degrees=15, translate=0.1, shear=5, chance=1.0)
    )
    angle = torch.atan2(views[:, 1, 0], views[:, 0, 0])
    assert math.radians(14) < float(angle.abs().max()) <= math.radians(15) + 1e-5
    assert float(views[:, :2, 2].abs().max()) <= 0.2 + 1e-5
    assert torch.allclose(torch.linalg.det(views), torch.ones(500), atol=1e-5)


def test_about_seven_in_ten_are_changed() -> None:
    views = affine_views(seeded(), 2000, degrees=15, translate=0.1, shear=5, chance=0.7)
    changed = (views != torch.eye(3)).flatten(1).any(dim=1).float().mean()
    assert float(changed) == pytest.approx(0.7, abs=0.04)


def test_erased_boxes_have_the_size_they_should() -> None:
    boxes = erasing_boxes(seeded(), 2000, chance=1.0)
    width, height = ((boxes[:, 2:] - boxes[:, :2]) / 2).unbind(dim=1)
    assert float((width * height).max()) <= 0.4 + 1e-5
    assert float(boxes.abs().max()) <= 1 + 1e-5


def test_hue_turns_keep_grey_and_brightness() -> None:
    matrices = hue_rotation(torch.linspace(-1, 1, 9))
    grey = torch.full((3,), 0.4)
    assert torch.allclose(matrices @ grey, grey.expand(9, 3), atol=1e-5)
    luma = torch.tensor([0.299, 0.587, 0.114])
    assert torch.allclose(luma @ matrices, luma.expand(9, 3), atol=1e-5)


def test_a_jitter_by_nothing_changes_nothing() -> None:
    matrix, offset = colour_jitter(seeded(), 8, amount=0.0, chance=1.0)
    assert torch.allclose(matrix, torch.eye(3).expand(8, 3, 3), atol=1e-5)
    assert torch.allclose(offset, torch.zeros(8))
