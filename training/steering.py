"""Does starter-clip's gradient draw likenesses? Steer starter-vqgan's latents and look.

A plain loop, batched over prompts; the product's own engine does the same with more care.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from generation.starter import load_clip, vqgan_config, vqgan_state_dict
from generation.starter.autoencoder import StarterVQGAN
from generation.starter.pipeline import to_images
from training.clip import augment
from training.evaluate import contact_sheet, encoders
from training.state import autocast

PROMPTS = (
    "a cat", "a red apple", "a dog", "sunset over the sea", "a green tree", "a blue butterfly",
    "a rocket", "a pizza", "a castle at night", "a yellow sunflower", "mountains with snow",
    "a robot",
)  # fmt: skip


def steer(texts: Sequence[str], steps: int, cutouts: int = 10, seed: int = 0) -> list[Image.Image]:
    """Draw every text by gradient ascent on its similarity (Crowson et al. 2022), 96 px."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = StarterVQGAN(vqgan_config())
    model.load_state_dict(vqgan_state_dict())
    model.eval().requires_grad_(False)
    clip = load_clip()[0]
    wanted = encoders(clip)[1](texts)
    codes = model.codebook
    low, high = codes.amin(0).view(1, -1, 1, 1), codes.amax(0).view(1, -1, 1, 1)
    start = torch.randint(len(codes), (len(texts), 12, 12))
    z = model.lookup(start).clone().requires_grad_()
    optimiser = torch.optim.Adam([z], 0.1)

    def picture() -> Tensor:
        quantised = model.lookup(model.nearest(z))
        through = z + (quantised - z).detach()
        return (model.decode(through) + 1) / 2

    for _ in range(steps):
        with autocast(z.device):
            image = picture().float().clamp(0, 1)
            many = image.repeat_interleave(cutouts, 0)
            views = augment(many, rng, torch.ones(len(many), dtype=torch.bool))
            found = F.normalize(clip.encode_image((views - 0.5) / 0.5).float(), dim=-1)
        gap = (found - wanted.repeat_interleave(cutouts, 0)).norm(dim=-1) / 2
        loss = (2 * gap.clamp(max=0.999).arcsin().square()).mean() * len(texts)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            z.copy_(z.clamp(low, high))
    with torch.no_grad():
        return to_images(picture() * 2 - 1)


def sheet(path: Path, steps: int) -> None:
    """Write a contact sheet of the fixed texts."""
    contact_sheet(steer(PROMPTS, steps), PROMPTS, columns=6).save(path)
