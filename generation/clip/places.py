"""Panoramas: how much each prompt counts for a crop, by where in the picture the crop lies.

Source: the essay “Doorways” (2021): the loss against each prompt is weighted by a function of
the x coordinate of the crop's centre, interpolated between the prompts.
"""

from __future__ import annotations

import torch
from torch import Tensor

from generation.prompts import Place

_WHOLE = 0.999


def place_shares(place: Place, views: Tensor, shift: float = 0.0, *, wraps: bool) -> Tensor:
    """Return how much the prompt of a place counts for each of a run's crops, 0 to 1.

    The places of one list divide the picture evenly from left to right. A prompt counts fully
    where its middle is, and less and less up to the middles of its neighbours; at every x the
    shares of a list sum to 1. A crop as wide as the picture sees all places alike.

    Args:
        views: [crops, 3, 3], see `generation.clip.sampling`.
        shift: how far to the right the picture had been rolled, as a part of its width.
        wraps: the right edge goes on at the left one.

    Returns:
        [crops].
    """
    centre = (views[:, 0, 2] / views[:, 2, 2] + 1) / 2 - shift
    along = centre * place.count - 0.5
    if wraps:
        away = (along - place.index).remainder(place.count)
        away = torch.minimum(away, place.count - away)
    else:
        away = (along.clamp(0, place.count - 1) - place.index).abs()
    shares = (1 - away).clamp(min=0)
    if place.count == 1:
        shares = torch.ones_like(shares)
    whole = views[:, 0, :2].norm(dim=1) >= _WHOLE
    return torch.where(whole, torch.full_like(shares, 1 / place.count), shares)


def size_weights(views: Tensor, width: int, height: int, power: float) -> Tensor:
    """Return how much each crop counts by its size: (side / shorter side)^power, 1 on average.

    Args:
        views: [crops, 3, 3].
        power: above 0 large crops count more, below 0 small ones.

    Returns:
        [crops].
    """
    area = torch.linalg.det(views[:, :2, :2]).abs() * width * height
    sides = area.clamp(min=1).sqrt() / min(width, height)
    weights: Tensor = sides**power
    return weights / weights.mean()
