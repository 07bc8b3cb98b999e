"""Train starter-clip's image tower against its distilled, frozen text tower.

Contrastive with soft targets (captions that mean nearly the same are not negatives), on pictures
that are cropped, turned, flipped, blurred and noised; from the middle on with an L2 ascent step
on the pictures of each batch, because the gradients of robust networks draw likenesses
(Santurkar et al. 2019). Only the image tower and the text projection learn, so that token states
stay what the diffusion model was trained on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from torch import Tensor, nn

from generation.starter import clip_config, clip_tokenizer
from generation.starter.text import token_states, tokenize
from training.optim import optimiser_for, set_rate
from training.shards import HELD_OUT, Feed, Shards
from training.shipped import distilled, shipped_distiller
from training.state import Average, Stretch, autocast, device, schedule
from training.text_tower import Distiller

_LR = 1.2e-3
CPU_BATCH, GPU_BATCH = 256, 2048
_ROBUST_FROM = 0.5
_PATCH_DROPOUT = 0.4
_EPSILON = 1.0
"""Radius of the L2 ball around a 64 px picture in 0..1 that the ascent may reach."""
_ASCENT_STEPS = 1
_SOFT = 0.25
_TEACHER_SCALE = 14.0
_ADAMW = ("*embedding*", "*conv1*", "*logit_scale*", "*positional*", "*.proj", "text_projection")
FROZEN = ("token_embedding*", "transformer*", "positional_embedding", "ln_final*")


def augment(images: Tensor, rng: np.random.Generator, mirror: Tensor, size: int = 64) -> Tensor:
    """Return random views [B, 3, size, size] in 0..1 of pictures [B, 3, H, W] in 0..1.

    ``mirror`` [B] says which pictures may be flipped (their captions do not say left or right).
    """
    count = len(images)
    small = F.interpolate(images, (96, 96), mode="bilinear", antialias=True, align_corners=False)
    zoom = np.where(
        rng.random(count) < 0.7, rng.uniform(0.75, 1.05, count), rng.uniform(0.4, 1, count)
    )
    angle = np.where(rng.random(count) < 0.3, rng.normal(0, 0.2, count), 0.0)
    flip = np.where((rng.random(count) < 0.5) & mirror.numpy(), -1.0, 1.0)
    slack = np.abs(1 - zoom)
    shift = rng.uniform(-1, 1, (2, count)) * slack
    theta = np.zeros((count, 2, 3), np.float32)
    theta[:, 0, 0], theta[:, 0, 1] = flip * zoom * np.cos(angle), -zoom * np.sin(angle)
    theta[:, 1, 0], theta[:, 1, 1] = flip * zoom * np.sin(angle), zoom * np.cos(angle)
    theta[:, 0, 2], theta[:, 1, 2] = shift
    grid = F.affine_grid(
        torch.from_numpy(theta).to(images), [count, 3, size, size], align_corners=False
    )
    views = F.grid_sample(small, grid, padding_mode="reflection", align_corners=False)
    jitter = torch.from_numpy(rng.normal(1, 0.08, (count, 3, 1, 1)).astype(np.float32)).to(images)
    light = torch.from_numpy(rng.normal(0, 0.05, (count, 1, 1, 1)).astype(np.float32)).to(images)
    noise = torch.from_numpy((rng.random((count, 1, 1, 1)) ** 3 * 0.15).astype(np.float32)).to(
        images
    )
    views = views * jitter + light + noise * torch.randn_like(views)
    if rng.random() < 0.2:
        views = F.interpolate(
            F.avg_pool2d(views, 2), (size, size), mode="bilinear", align_corners=False
        )
    return views.clamp(0, 1)


def contrastive_loss(image: Tensor, text: Tensor, scale: Tensor, targets: Tensor) -> Tensor:
    """Return the symmetric cross-entropy of unit vectors [B, D] against soft targets [B, B]."""
    logits = scale * image.float() @ text.float().T
    rows = -(targets * F.log_softmax(logits, 1)).sum(1).mean()
    columns = -(targets.T * F.log_softmax(logits.T, 1)).sum(1).mean()
    return (rows + columns) / 2


def soft_targets(meaning: Tensor) -> Tensor:
    """Return targets [B, B]: mostly the own caption, a share for captions that mean the same."""
    alike = F.softmax(_TEACHER_SCALE * meaning @ meaning.T, dim=1)
    return (1 - _SOFT) * torch.eye(len(meaning), device=meaning.device) + _SOFT * alike


@torch.no_grad()
def caption_states(
    distiller: Distiller, captions: list[str], where: torch.device
) -> tuple[Tensor, Tensor]:
    """Return captions' pooled states [N, width] and meanings [N, 384], float16 on the device."""
    tokenizer = clip_tokenizer()
    states, meanings = [], []
    for start in range(0, len(captions), 512):
        tokens, _ = tokenize(tokenizer, captions[start : start + 512])
        tokens = tokens.to(where)
        with autocast(where):
            found = token_states(distiller.clip, tokens)
            pooled = found[torch.arange(len(tokens)), tokens.argmax(-1)]
            meaning = F.normalize(distiller.pooled_head(pooled).float(), dim=-1)
        states.append(pooled.half())
        meanings.append(meaning.half())
    return torch.cat(states), torch.cat(meanings)


class Trainer:
    """The two towers and what a step changes."""

    def __init__(self, clip: CLIP, seed: int, where: torch.device, compiled: bool = False) -> None:
        torch.manual_seed(seed)
        self.where, self.clip = where, clip.to(where)
        self._see: Callable[[Tensor], Tensor] = self.clip.visual
        if compiled:
            self._see = torch.compile(self.clip.visual, dynamic=False)
        self.rng = np.random.default_rng(seed + 3)
        self.mean = torch.full((1, 3, 1, 1), 0.5, device=where)
        self.optimiser = optimiser_for(self.clip, _LR, adamw=_ADAMW, skip=FROZEN, weight_decay=0.05)
        self.average = Average(self.clip, 0.998)

    def image_vectors(self, views: Tensor) -> Tensor:
        """Return unit vectors [B, D] of views in 0..1."""
        with autocast(self.where):
            vectors = self._see((views - self.mean) / 0.5)
        return F.normalize(vectors.float(), dim=-1)

    def worst_views(self, views: Tensor, text: Tensor, targets: Tensor) -> Tensor:
        """Move views uphill on the loss within an L2 ball."""
        start = views.detach()
        moved = start + 0.1 * torch.randn_like(start) / start[0].numel() ** 0.5
        for _ in range(_ASCENT_STEPS):
            moved = moved.detach().requires_grad_()
            loss = contrastive_loss(
                self.image_vectors(moved), text, self.clip.logit_scale.exp().detach(), targets
            )
            (uphill,) = torch.autograd.grad(loss, moved)
            norm = uphill.flatten(1).norm(dim=1).clamp_min(1e-9).view(-1, 1, 1, 1)
            offset = moved.detach() + 1.4 / _ASCENT_STEPS * _EPSILON * uphill / norm - start
            length = offset.flatten(1).norm(dim=1).clamp_min(1e-9).view(-1, 1, 1, 1)
            moved = (start + offset * (_EPSILON / length).clamp(max=1)).clamp(0, 1)
        result: Tensor = moved.detach()
        return result

    def step(self, images: Tensor, mirror: Tensor, states: Tensor, meaning: Tensor,
             fraction: float, phase: float | None = None) -> dict[str, float]:  # fmt: skip
        """Train on one batch; ``states`` [B, width] are the frozen text tower's.

        Args:
            fraction: of the plan that is done; the learning rate follows it.
            phase: how far plain training has come, 0..1; the same unless the weights were trained
                before.
        """
        set_rate(self.optimiser, schedule(fraction, decay_from=0.5))
        robust = (fraction if phase is None else phase) > _ROBUST_FROM
        self.clip.train(not robust)  # patch dropout only while training is plain
        views = augment(images, self.rng, mirror)
        targets = soft_targets(meaning)
        text = F.normalize(states @ self.clip.text_projection, dim=-1)
        if robust:
            views = self.worst_views(views, text.detach(), targets)
        loss = contrastive_loss(
            self.image_vectors(views), text, self.clip.logit_scale.exp().clamp(max=50), targets
        )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(
            [p for g in self.optimiser.param_groups for p in g["params"]], 5.0
        )
        self.optimiser.step()
        self.average.update(self.clip)
        return {
            "loss": loss.item(),
            "norm": norm.item(),
            "scale": self.clip.logit_scale.exp().item(),
        }


@torch.no_grad()
def retrieval(
    trainer: Trainer, shards: Shards, states: Tensor, count: int = 500
) -> dict[str, float]:
    """Return how often a held-out picture's own caption is first, or among five, of ``count``."""
    was = trainer.clip.training
    trainer.clip.eval()
    images = torch.from_numpy(shards.batch(range(count))).permute(0, 3, 1, 2).float() / 255
    views = F.interpolate(images, (64, 64), mode="bilinear", antialias=True, align_corners=False)
    image = torch.cat(
        [trainer.image_vectors(part.to(trainer.where)) for part in torch.split(views, 100)]
    )
    text = F.normalize(states[:count].float() @ trainer.clip.text_projection, dim=-1)
    order = (image @ text.T).argsort(1, descending=True)
    own = torch.arange(count, device=order.device)[:, None]
    trainer.clip.train(was)
    return {
        "top1": (order[:, :1] == own).any(1).float().mean().item(),
        "top5": (order[:, :5] == own).any(1).float().mean().item(),
    }


def train(minutes: float, planned_minutes: float, seed: int = 0, batch: int | None = None,
          shipped: bool = False, begin: float = 0.0,
          compiled: bool = False) -> Stretch:  # fmt: skip
    """Train for a stretch; go on from the last one.

    ``shipped`` starts the image tower from the weights in the repository; ``batch`` by default
    suits the device; ``begin`` is where to begin, 0..1, of which the second half is robust;
    ``compiled`` lets torch's compiler fuse the image tower, which takes it a few minutes.
    """
    where = device()
    batch = batch or (CPU_BATCH if where.type == "cpu" else GPU_BATCH)
    torch.manual_seed(seed)
    distiller = shipped_distiller().to(where).eval() if shipped else distilled(where)
    shards, held_out = Shards("square"), Shards("square", [HELD_OUT])
    feed = Feed(shards, where)
    states, meanings = caption_states(distiller, shards.captions, where)
    held_out_states, _ = caption_states(distiller, held_out.captions[:500], where)
    if not shipped:
        distiller.clip.visual = CLIP(**clip_config()["model_cfg"]).visual.to(where)
        nn.init.orthogonal_(distiller.clip.text_projection)
        distiller.clip.logit_scale.data.fill_(math.log(14))
    _drop_patches(distiller.clip, _PATCH_DROPOUT)
    mirror = torch.tensor([" left " not in c and " right " not in c for c in shards.captions])
    trainer = Trainer(distiller.clip, seed, where, compiled)
    stretch = Stretch("clip", minutes, planned_minutes)
    saved = stretch.resume()
    if saved:
        trainer.clip.load_state_dict(saved["model"])
        if "optimiser" in saved:
            trainer.optimiser.load_state_dict(saved["optimiser"])
        trainer.average.values = {k: v.to(where) for k, v in saved["average"].items()}
        trainer.average.updates = saved["updates"]
    rng = np.random.default_rng(seed + 11 + stretch.step)

    def state() -> dict[str, Any]:
        return {"model": trainer.clip.state_dict(), "optimiser": trainer.optimiser.state_dict(),
                "average": trainer.average.values, "updates": trainer.average.updates}  # fmt: skip

    while stretch.running:
        chosen = rng.integers(0, len(shards), batch)
        index = torch.from_numpy(chosen)
        on_device = index.to(where)
        losses = trainer.step(feed.batch(chosen) / 255, mirror[index], states[on_device].float(),
                              meanings[on_device].float(), stretch.fraction,
                              stretch.phase(begin))  # fmt: skip
        stretch.advance(batch)
        if stretch.step % 100 == 0:
            losses |= retrieval(trainer, held_out, held_out_states)
        stretch.log(20, **losses)
        if stretch.due():
            stretch.save(state())
    stretch.save(state())
    return stretch


def _drop_patches(clip: CLIP, share: float) -> None:
    from open_clip.transformer import PatchDropout

    clip.visual.patch_dropout = PatchDropout(share)
