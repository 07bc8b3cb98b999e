"""Go on from the weights in the repository, where no unfinished training is at hand.

What a resumed training has besides (optimiser, log, noise) is lost; what the models know is not.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from generation.models.compact import expand
from generation.starter import CLIP_WEIGHTS, DIFFUSION_DIR, WEIGHTS_NAME, vqgan_state_dict
from generation.starter.transformer import StarterTransformer
from training.state import Average, latest
from training.text_tower import RANK, Distiller, new_clip

_ADDING = {"attention.to_out.weight", "cross.to_out.weight", "down.weight", "skip.weight"}
"""By these a block adds to its states."""


def adopt(model: nn.Module, average: Average, state: dict[str, torch.Tensor]) -> None:
    """Give a model and its average new weights."""
    model.load_state_dict(state)
    for name, value in model.state_dict().items():
        average.values[name] = value.detach().clone()


def shipped_distiller() -> Distiller:
    """Return the shipped CLIP with its embedding factored again.

    The heads of distillation are not shipped; meaning is what the projection says instead.
    """
    state = expand(CLIP_WEIGHTS)
    whole = state.pop("token_embedding.weight")
    # The rank is RANK by construction, so the Gram matrix's leading eigenvectors span the rows;
    # the decomposition of the matrix itself takes seconds.
    up = torch.linalg.eigh((whole.T @ whole).double()).eigenvectors[:, -RANK:].T.float()
    state["token_embedding.rows"], state["token_embedding.up"] = whole @ up.T, up.contiguous()
    distiller = Distiller(new_clip(state["token_embedding.rows"]))
    distiller.clip.load_state_dict(state)
    with torch.no_grad():
        width = distiller.clip.text_projection.shape[1]
        distiller.pooled_head.weight.zero_()
        distiller.pooled_head.weight[:width] = distiller.clip.text_projection.T
        distiller.pooled_head.bias.zero_()
    return distiller


def distilled(where: torch.device) -> Distiller:
    """Return the text tower of the training at hand, else the shipped one, frozen."""
    if latest("clip-text").exists():
        saved: dict[str, Any] = torch.load(
            latest("clip-text"), map_location="cpu", weights_only=True
        )
        distiller = Distiller(new_clip(saved["average"]["clip.token_embedding.rows"]))
        distiller.load_state_dict(saved["average"])
    else:
        print("no text tower was trained here: taking the shipped one", flush=True)
        distiller = shipped_distiller()
    distiller.to(where).eval()
    return distiller


def shipped_vqgan() -> dict[str, torch.Tensor]:
    """Return starter-vqgan's shipped weights."""
    return vqgan_state_dict()


def deeper(
    config: dict[str, Any], weights: dict[str, torch.Tensor], depth: int
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return starter-diffusion's network with more blocks that add nothing yet.

    A new block is a copy of the one that it is beside, but what it would add is zero, so that the
    network answers as before and learns from there. Old blocks of the first half stay partners of
    those of the second that look back at them.

    Source: Chen et al., Net2Net: accelerating learning via knowledge transfer (2016).

    Raises:
        ValueError: the depth is odd or less than the network's own.
    """
    old = int(config["depth"])
    if depth % 2 or depth < old:
        raise ValueError(f"a network of {old} blocks grows to an even number of at least {old}")
    moved = {2 * i * (depth // 2) // old: i for i in range(old // 2)}
    moved |= {depth - 1 - there: old - 1 - i for there, i in moved.items()}
    grown = {name: value for name, value in weights.items() if not name.startswith("blocks.")}
    for there in range(depth):
        # The first half has its new blocks behind the old ones, the second before them.
        step = -1 if there < depth // 2 else 1
        beside = next(at for at in range(there, -1 if step < 0 else depth, step) if at in moved)
        prefix = f"blocks.{moved[beside]}."
        for name, value in weights.items():
            if name.startswith(prefix):
                part = name.removeprefix(prefix)
                quiet = beside != there and part in _ADDING
                grown[f"blocks.{there}.{part}"] = torch.zeros_like(value) if quiet else value
    return config | {"depth": depth}, grown


def shipped_diffusion() -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return starter-diffusion's shipped configuration and weights."""
    folder = DIFFUSION_DIR / "transformer"
    config = {
        name: value
        for name, value in StarterTransformer.load_config(folder).items()
        if not name.startswith("_")
    }
    return config, expand(folder / WEIGHTS_NAME)
