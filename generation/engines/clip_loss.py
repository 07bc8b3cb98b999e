"""What CLIP thinks of the pictures of several runs: the loss that their canvases follow.

Every perceptor of the runs is shown crops of its own. The losses of one run's perceptors are
averaged by their shares, so that a learning rate means the same with one or with several.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from generation.clip.cutouts import Plan, cut, plan
from generation.clip.losses import prompt_loss
from generation.clip.perceptor import Perceptor
from generation.clip.places import place_shares, size_weights
from generation.clip.sending import send
from generation.clip.symmetry import edge_asymmetry, semantic_asymmetry, tone_asymmetry
from generation.clip.targets import Target, stack_targets
from generation.engines.clip_run import ClipRun

# What a symmetry counts at a weight of 1: so much that it shows and the prompts still lead.
_EDGE, _TONE, _SEMANTIC = 100.0, 10.0, 0.3


def steering_loss(runs: Sequence[ClipRun], panel: Sequence[Perceptor], pictures: Tensor) -> Tensor:
    """Say how far runs are from what they are to become.

    Args:
        runs: of equal batch keys: their settings have the same kinds and numbers of crops.
        panel: the perceptors, in the order of the runs' settings.
        pictures: [runs, 3, height, width] in 0..1.

    Returns:
        [runs].
    """
    total = pictures.new_zeros(len(runs))
    for place, judge in enumerate(panel):
        shares = send(
            [run.settings.perceptors[place][1] for run in runs], pictures.device, pictures.dtype
        )
        total = total + shares * _judged(runs, place, judge, pictures)
    weights = send([run.settings.symmetry_weight for run in runs], pictures.device, pictures.dtype)
    if runs[0].settings.symmetry == "edge":
        total = total + _EDGE * weights * edge_asymmetry(pictures)
    if runs[0].settings.symmetry == "tone":
        total = total + _TONE * weights * tone_asymmetry(pictures)
    return total


def _judged(runs: Sequence[ClipRun], place: int, judge: Perceptor, pictures: Tensor) -> Tensor:
    kind, count = runs[0].settings.cutout_kind, runs[0].settings.cutouts
    height, width = pictures.shape[2:]
    shifts = [_shift(run, width, height) for run in runs]
    if any(shift != (0, 0) for shift in shifts):
        # Rolled by chance in every step, all places of the seam come to lie inside crops.
        rolled = zip(pictures, shifts, strict=True)
        pictures = torch.stack([each.roll((y, x), dims=(1, 2)) for each, (x, y) in rolled])
    plans = [_plan(run, judge.size, width, height) for run in runs]
    crops = cut(
        kind,
        pictures,
        plans,
        [run.streams for run in runs],
        judge.size,
        deterministic=torch.are_deterministic_algorithms_enabled(),
    )
    embeddings = judge.encode_image(crops.flatten(0, 1)).view(len(runs), count, -1)
    present = [run.aims[place].at(run.step) for run in runs]
    vectors, weights, stops = stack_targets(present)
    shares = _shares(runs, plans, present, [x / width for x, _ in shifts], width, height)
    shares = None if shares is None else send(shares, vectors.device)
    loss = prompt_loss(embeddings, vectors, weights, stops, shares)
    if any(run.settings.averaging for run in runs):
        parts = send([run.settings.averaging for run in runs], loss.device, loss.dtype)
        average = F.normalize(embeddings.mean(dim=1, keepdim=True), dim=-1)
        mean_share = None if shares is None else shares.mean(dim=1, keepdim=True)
        loss = torch.lerp(loss, prompt_loss(average, vectors, weights, stops, mean_share), parts)
    if runs[0].settings.symmetry == "semantic":
        texts = _texts(vectors, weights, shares, count)
        amounts = send([run.settings.symmetry_weight for run in runs], loss.device, loss.dtype)
        loss = loss + _SEMANTIC * amounts * semantic_asymmetry(embeddings, texts)
    return loss


def _plan(run: ClipRun, size: int, width: int, height: int) -> Plan:
    settings = run.settings
    return plan(
        settings.cutout_kind,
        run.streams,
        count=settings.cutouts,
        size=size,
        width=width,
        height=height,
        cut_pow=settings.cut_pow,
        pairs=settings.symmetry == "semantic",
        overview=settings.overview.at(run.step) if settings.overview else 0.0,
        grey=settings.grey.at(run.step) if settings.grey else 0.0,
    )


def _shift(run: ClipRun, width: int, height: int) -> tuple[int, int]:
    """Draw by how many pixels a picture that is to be tiled is rolled in this step."""
    tiling, random = run.settings.tiling, run.streams.geometry
    if tiling == "none":
        return 0, 0
    x, y = (int(torch.randint(side, (), generator=random)) for side in (width, height))
    return x if tiling != "down" else 0, y if tiling != "across" else 0


def _shares(
    runs: Sequence[ClipRun],
    plans: Sequence[Plan],
    present: Sequence[tuple[Target, ...]],
    shifts: Sequence[float],
    width: int,
    height: int,
) -> Tensor | None:
    """Return how much each crop counts for each target [runs, crops, targets]; None for alike."""
    placed = any(target.place for each in present for target in each)
    if not placed and not any(run.settings.crop_weighting for run in runs):
        return None
    most = max(len(each) for each in present)
    shares = torch.ones(len(runs), len(plans[0].views), most)
    rows = zip(runs, plans, present, shifts, strict=True)
    for row, (run, chosen, aims, shift) in enumerate(rows):
        wraps = run.settings.tiling in ("across", "both")
        for column, target in enumerate(aims):
            if target.place is not None:
                share = place_shares(target.place, chosen.views, shift, wraps=wraps)
                shares[row, :, column] = share
        power = run.settings.crop_weighting
        shares[row] *= size_weights(chosen.views, width, height, power)[:, None]
    return shares


def _texts(vectors: Tensor, weights: Tensor, shares: Tensor | None, count: int) -> Tensor:
    """Return what is asked for where each crop lies: the weighted mean of prompts, [r, c, dim]."""
    wanted = weights.clamp(min=0)[:, None].expand(-1, count, -1)
    if shares is not None:
        wanted = wanted * shares
    return wanted @ vectors / wanted.sum(dim=2, keepdim=True).clamp(min=1e-6)
