"""Train starter-vqgan: L1, perceptual and a late patch discriminator, on random crops.

Besides the published recipe (Esser et al. 2021) the decoder also sees continuous and noised
latents, and latents that were flipped, turned or shrunk together with their picture (EQ-VAE,
Kouzelis et al. 2025), which makes the latent space an easier one to diffuse in.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generation.starter.autoencoder import StarterVQGAN
from training.optim import optimiser_for, set_rate
from training.perceptual import Perceptual
from training.shards import Feed, Shards
from training.shipped import adopt, shipped_vqgan
from training.state import Average, Stretch, autocast, device, schedule

CONFIG: dict[str, Any] = {
    "embed_dim": 8,
    "n_embed": 8192,
    "ddconfig": {
        "double_z": False, "z_channels": 8, "resolution": 128, "in_channels": 3, "out_ch": 3,
        "ch": 32, "ch_mult": [1, 2, 2, 4], "num_res_blocks": 1, "attn_resolutions": [],
        "dropout": 0.0, "norm_groups": 8,
    },
}  # fmt: skip
_QUANTISE_FROM = 0.65
"""Before this the autoencoder is continuous: quantised from the start, it settles on the few
directions that its first codes know, and loses colour. After it the encoder is frozen, so that a
diffusion model can train on its latents while codes and decoder still improve."""
_SLICES = 3
_CODEBOOK = "quantize.embedding.weight"
_GAN_FROM = 0.7
_TAIL_FROM = 0.85
_NOISE = 0.15
_CALM = 0.003
"""Weight of the latents' mean square while nothing else bounds them."""
_LR = 1e-3
CPU_BATCH, GPU_BATCH = 12, 128
_ADAMW = ("*conv_in*", "*decoder.conv_out*", "quantize*", "*quant_conv*")
_PERCEPTUAL_SHARE = 0.34
"""How much of a batch the perceptual loss sees; it costs as much as the autoencoder."""


class PatchDiscriminator(nn.Module):
    """Four convolutions that judge overlapping patches (Isola et al. 2017)."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, 2, 1), nn.GroupNorm(8, 2 * width), nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 4 * width, 4, 2, 1), nn.GroupNorm(8, 4 * width),
            nn.LeakyReLU(0.2), nn.Conv2d(4 * width, 1, 3, 1, 1),
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        """Return patch logits [B, 1, H/8, W/8]."""
        logits: Tensor = self.layers(images)
        return logits


class Crops:
    """Seeded random crops of the composed pictures, cut on their device, now and then shrunk."""

    def __init__(self, feed: Feed, seed: int) -> None:
        self.feed, self.rng = feed, np.random.default_rng(seed)

    def batch(self, count: int, side: int) -> Tensor:
        """Return [B, 3, side, side] in -1..1."""
        rng = self.rng
        pictures = self.feed.batch(rng.integers(0, len(self.feed), count))
        whole = pictures.shape[-1]
        span = np.where(rng.random(count) < 0.6, side, rng.integers(side, whole + 1, count))
        corner = np.floor(rng.random((2, count)) * (whole + 1 - span))
        flip = np.where(rng.random(count) < 0.5, -1.0, 1.0)
        theta = np.zeros((count, 2, 3), np.float32)
        theta[:, 0, 0], theta[:, 1, 1] = flip * span / whole, span / whole
        theta[:, :, 2] = ((2 * corner + span) / whole - 1).T
        # Pixels are hit exactly where nothing shrinks; half the size averages two by two.
        grid = F.affine_grid(
            torch.from_numpy(theta).to(pictures), [count, 3, side, side], align_corners=False
        )
        crops = F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
        return crops / 127.5 - 1


def equivariant(latents: Tensor, images: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Turn, flip or shrink latents and pictures alike."""
    kind = int(rng.integers(3))
    if kind == 0:
        turns = int(rng.integers(1, 4))
        return latents.rot90(turns, (2, 3)), images.rot90(turns, (2, 3))
    if kind == 1:
        axis = int(rng.integers(2, 4))
        return latents.flip(axis), images.flip(axis)
    side = latents.shape[-1]
    small = int(rng.integers(side // 2, side))
    return (
        F.interpolate(latents, (small, small), mode="bilinear", align_corners=False),
        F.interpolate(images, (8 * small, 8 * small), mode="bilinear", align_corners=False,
                      antialias=True),
    )  # fmt: skip


class Trainer:
    """Everything that a step changes."""

    def __init__(self, config: dict[str, Any], seed: int, where: torch.device,
                 perceptual: nn.Module) -> None:  # fmt: skip
        torch.manual_seed(seed)
        self.where = where
        self.model = StarterVQGAN(config).to(where)
        self.critic = PatchDiscriminator().to(where)
        self.perceptual = perceptual.to(where).requires_grad_(False)
        self.optimiser = optimiser_for(self.model, _LR, adamw=_ADAMW)
        self.critic_optimiser = torch.optim.AdamW(
            self.critic.parameters(), 2e-4, betas=(0.5, 0.95), weight_decay=0.0
        )
        self.average = Average(self.model, 0.998)
        self.usage = torch.zeros(config["n_embed"], device=where)
        self.rng = np.random.default_rng(seed + 1)

    def state(self) -> dict[str, Any]:
        """Return what a resumed training needs."""
        return {
            "model": self.model.state_dict(), "critic": self.critic.state_dict(),
            "optimiser": self.optimiser.state_dict(), "usage": self.usage,
            "critic_optimiser": self.critic_optimiser.state_dict(),
            "average": self.average.values, "updates": self.average.updates,
        }  # fmt: skip

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self.model.load_state_dict(state["model"])
        if "optimiser" in state:
            self.critic.load_state_dict(state["critic"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.critic_optimiser.load_state_dict(state["critic_optimiser"])
            self.usage = state["usage"].to(self.where)
        else:  # carried: every code is given time to be used
            self.usage.fill_(1.0)
        self.average.values = {k: v.to(self.where) for k, v in state["average"].items()}
        self.average.updates = state["updates"]

    @torch.no_grad()
    def freeze_encoder(self) -> None:
        """Settle on the averaged encoder: from here on only codes and decoder learn."""
        self.model.load_state_dict(self.average.values)
        self.model.encoder.requires_grad_(False)
        self.model.quant_conv.requires_grad_(False)

    @torch.no_grad()
    def seed_codebook(self, batches: Iterable[Tensor], rounds: int = 6) -> None:
        """Start the codes at the clusters of real latents (Lloyd's rounds)."""
        found = []
        for images in batches:
            with autocast(self.where):
                latents = self.model.continuous(images).float()
            found.append(latents.permute(0, 2, 3, 1).flatten(0, 2))
        flat = torch.cat(found)
        codes = self.model.codebook
        pick = torch.from_numpy(self.rng.integers(0, len(flat), len(codes))).to(self.where)
        codes.copy_(flat[pick] + 0.02 * flat.std() * torch.randn_like(codes))
        for _ in range(rounds):
            nearest = torch.cat(
                [self.model.nearest(part.T[None, :, :, None]).flatten()
                 for part in torch.split(flat, 8192)]
            )  # fmt: skip
            sums = torch.zeros_like(codes).index_add_(0, nearest, flat)
            counts = torch.bincount(nearest, minlength=len(codes))
            used = counts > 0
            codes[used] = sums[used] / counts[used, None]
        self.usage.fill_(1.0)

    @torch.no_grad()
    def restart_dead_codes(self, latents: Tensor) -> float:
        """Move codes that nobody used to random latents of this batch; return the share alive."""
        dead = (self.usage < 0.03).nonzero()[:, 0]
        flat = latents.detach().float().permute(0, 2, 3, 1).flatten(0, 2)
        if len(dead):
            chosen = dead[: len(flat) // 8]
            pick = torch.from_numpy(self.rng.integers(0, len(flat), len(chosen))).to(self.where)
            self.model.codebook[chosen] = flat[pick]
            self.usage[chosen] = 0.2
        return 1 - len(dead) / len(self.usage)

    def step(self, images: Tensor, fraction: float) -> dict[str, float]:
        """Train on one batch [B, 3, H, W] in -1..1; return the losses."""
        set_rate(self.optimiser, schedule(fraction, decay_from=0.4))
        with autocast(self.where), torch.set_grad_enabled(fraction < _QUANTISE_FROM):
            latents = self.model.continuous(images)
        latents = latents.float()
        targets, draw = images, self.rng.random()
        if fraction < _QUANTISE_FROM:
            codebook_loss = _CALM * latents.square().mean()
            sent = latents
        else:
            sent, codebook_loss = self.quantised(latents)
        if draw >= 0.5:
            scale = float(latents.detach().std())
            sent = latents + _NOISE * scale * self.rng.random() * torch.randn_like(latents)
        if draw < 0.75 and draw > 0.4:
            sent, targets = equivariant(sent, images, self.rng)
        with autocast(self.where):
            drawn = self.model.decode(sent)
            part = max(1, int(len(images) * _PERCEPTUAL_SHARE))
            likeness = self.perceptual(drawn[:part], targets[:part]).float().mean()
        drawn = drawn.float()
        pixel = (drawn - targets).abs().mean()
        square = (drawn - targets).square().mean()
        loss = 2 * pixel + 2 * square + 0.7 * likeness + codebook_loss
        losses = {"pixel": pixel.item(), "likeness": likeness.item()}
        if fraction > _GAN_FROM:
            loss = loss + self._adversarial(drawn, 2 * pixel + likeness, losses)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.average.update(self.model)
        # Codes jump when they restart; their average would lie between places.
        self.average.values[_CODEBOOK] = self.model.codebook.detach().clone()
        if fraction > _GAN_FROM:
            losses["critic"] = self._train_critic(targets, drawn.detach())
        if fraction >= _QUANTISE_FROM:
            losses["alive"] = self.restart_dead_codes(latents)
        losses["spread"] = latents.detach().std().item()
        return losses

    def quantised(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Return the latents' codes and the loss that moves codes to their latents."""
        indices = self.model.nearest(latents)
        codes = self.model.lookup(indices)
        counts = torch.bincount(indices.flatten(), minlength=len(self.usage))
        self.usage.lerp_(counts.float(), 0.02)
        return codes.detach(), F.mse_loss(codes, latents)

    def _adversarial(self, drawn: Tensor, other: Tensor, losses: dict[str, float]) -> Tensor:
        """Return the generator's loss, its gradient a third of the other losses'."""
        last = self.model.decoder.conv_out.weight
        with autocast(self.where):
            adversarial = -self.critic(drawn).float().mean()
        (a,) = torch.autograd.grad(other, last, retain_graph=True)
        (b,) = torch.autograd.grad(adversarial, last, retain_graph=True)
        weight = float((a.norm() / (b.norm() + 1e-6)).clamp(0, 100)) * 0.3
        losses["adversarial"] = adversarial.item()
        weighted: Tensor = weight * adversarial
        return weighted

    def _train_critic(self, real: Tensor, fake: Tensor) -> float:
        with autocast(self.where):
            on_real, on_fake = self.critic(real).float(), self.critic(fake).float()
        loss = 0.5 * (F.relu(1 - on_real).mean() + F.relu(1 + on_fake).mean())
        self.critic_optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.critic_optimiser.step()
        return loss.item()


def train(minutes: float, planned_minutes: float, seed: int = 0, batch: int | None = None,
          shipped: bool = False) -> Stretch:  # fmt: skip
    """Train for a stretch; go on from the last one.

    ``shipped`` starts from the weights in the repository. ``batch`` is counted in crops of 64 px
    and by default suits the device.
    """
    where = device()
    batch = batch or (CPU_BATCH if where.type == "cpu" else GPU_BATCH)
    stretch = Stretch("vqgan", minutes, planned_minutes)
    trainer = Trainer(CONFIG, seed, where, Perceptual(_SLICES))
    saved = stretch.resume()
    if saved:
        trainer.load(saved)
    elif shipped:
        adopt(trainer.model, trainer.average, shipped_vqgan())
    crops = Crops(Feed(Shards("square"), where), seed + stretch.step)
    quantising = bool(saved and saved["quantising"])
    while stretch.running:
        tail = stretch.fraction > _TAIL_FROM and stretch.step % 2 == 0
        count, side = (max(4, batch // 4), 128) if tail else (batch, 64)
        if not quantising and stretch.fraction >= _QUANTISE_FROM:
            quantising = True
            trainer.freeze_encoder()
            trainer.seed_codebook(crops.batch(32, 64) for _ in range(24))
        losses = trainer.step(crops.batch(count, side), stretch.fraction)
        stretch.advance(count)
        stretch.log(50, **losses)
        if stretch.due():
            stretch.save(trainer.state() | {"quantising": quantising})
    stretch.save(trainer.state() | {"quantising": quantising})
    return stretch
