"""Train starter-diffusion: rectified flow on starter-vqgan's latents, told by starter-clip's text.

Times are logit-normal (Esser et al. 2024), one caption in ten is dropped, and the shapes take
turns: 64 px while forms are learnt, which costs a quarter, then 96 px, and 128 px and oblong at the
end. Early on the first half of the blocks also learns to foresee what starter-clip's image tower
sees in each place of the clean picture (Yu et al. 2024, *Representation Alignment for Generation*).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from torch import Tensor, nn

from generation.starter.transformer import StarterTransformer
from training.conditioning import TextStates
from training.latents import SEEN_WIDTH, Latents, constants
from training.optim import optimiser_for, set_rate
from training.shipped import adopt, deeper, distilled, shipped_diffusion
from training.state import Average, Stretch, autocast, device, schedule

_LR = 1.5e-3
_DROPOUT = 0.1
_COMPILED_FROM = 12 * 12
"""Latents of a picture that is worth compiling for, 96 px: fusing gained nothing at 64 px."""
_COMPILED_LENGTH = 24
"""Text states are filled up to multiples of this: every length would be compiled by itself."""
_FORESIGHT, _FORESIGHT_UNTIL = 0.3, 0.7
"""Its weight beside the velocity's error, and when in the training it is gone."""
_ADAMW = ("stem_conv*", "head*", "from_position*", "from_time*", "to_shared*", "to_last*",
          "*modulation*", "*.scale", "to_patches*")  # fmt: skip
CPU_MODEL: dict[str, Any] = {"width": 224, "depth": 6, "heads": 4, "hidden": 512, "stem_width": 40}
GPU_MODEL: dict[str, Any] = {"width": 320, "depth": 10, "heads": 5, "hidden": 672, "stem_width": 64}
"""17 M parameters: as many as the repository has room for at rest."""
CPU_BATCH, GPU_BATCH = 128, 1024


@dataclass(frozen=True)
class Mix:
    """How often each size is drawn, as a function of how far forms are learnt."""

    phase: float

    def odds(self) -> dict[str, float]:
        """Return odds by size name."""
        middle = float(np.clip((self.phase - 0.35) / 0.1, 0, 1))
        late = float(np.clip((self.phase - 0.65) / 0.2, 0, 1))
        return {"tiny": 1 - 0.95 * middle, "small": 0.1 + 0.9 * middle * (1 - late),
                "square": 0.04 + 0.7 * late, "wide": 0.01 + 0.07 * late,
                "tall": 0.01 + 0.07 * late}  # fmt: skip


def frozen_text(where: torch.device) -> CLIP:
    """Return the distilled text tower (inside its CLIP), frozen."""
    distiller = distilled(where)
    clip: CLIP = distiller.clip.to(where).eval().requires_grad_(False)
    return clip


def flow_loss(model: nn.Module, pictures: Tensor, noise: Tensor, t: Tensor, states: Tensor,
              mask: Tensor) -> Tensor:  # fmt: skip
    """Return the velocity's mean squared error at times ``t`` [B] (1 is noise)."""
    at = t.view(-1, 1, 1, 1)
    noisy = (1 - at) * pictures + at * noise
    with autocast(pictures.device):
        velocity = model(noisy, t, states, mask)
    loss: Tensor = (velocity.float() - (noise - pictures)).square().mean()
    return loss


class Foresight(nn.Module):
    """Guess from the states half-way through the network what there is to be seen, place by place.

    It is needed in training only.
    """

    def __init__(self, model: StarterTransformer, seen_width: int) -> None:
        super().__init__()
        width = model.from_text.out_features
        self.guess = nn.Sequential(
            nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, seen_width)
        )
        self._states: list[Tensor] = []
        model.blocks[len(model.blocks) // 2 - 1].register_forward_hook(
            lambda _module, _inputs, output: self._states.append(output)
        )

    def loss(self, seen: Tensor) -> Tensor:
        """Return one minus the cosine with ``seen`` [B, N, width], after a pass of the network."""
        guessed = self.guess(F.rms_norm(self._states[-1], self._states[-1].shape[-1:]))
        return 1 - F.cosine_similarity(guessed.float(), seen, dim=-1).mean()

    def forget(self) -> None:
        """Let go of the last pass."""
        self._states.clear()


class Trainer:
    """The network, its average, and what a step changes."""

    def __init__(
        self, config: dict[str, Any], seed: int, where: torch.device, rate: float = 1.0,
        compiled: bool = False,
    ) -> None:  # fmt: skip
        torch.manual_seed(seed)
        self.where, self.config = where, config
        self.model = StarterTransformer(**config).to(where)
        self._compiled: nn.Module | None = None
        if compiled:
            self._compiled = torch.compile(self.model, dynamic=False)  # type: ignore[assignment]
        self.optimiser = optimiser_for(self.model, _LR * rate, adamw=_ADAMW, weight_decay=0.02)
        self.average = Average(self.model, 0.997 if where.type == "cpu" else 0.999)
        self.foresight = Foresight(self.model, SEEN_WIDTH).to(where)
        self.foresight_optimiser = torch.optim.AdamW(self.foresight.parameters(), 1e-3)
        self.generator = torch.Generator(where).manual_seed(seed)

    def step(
        self, pictures: Tensor, states: Tensor, mask: Tensor, seen: Tensor, fraction: float,
        phase: float | None = None,
    ) -> dict[str, float]:  # fmt: skip
        """Train on normalised latents [B, C, h, w], their text states, and what is seen in them.

        Args:
            fraction: of the plan that is done; the learning rate follows it.
            phase: how far forms are learnt, 0..1; the same unless the weights were trained before.
        """
        phase = fraction if phase is None else phase
        set_rate(self.optimiser, schedule(fraction, decay_from=0.45))
        noise = torch.randn(pictures.shape, generator=self.generator, device=self.where)
        t = torch.randn(len(pictures), generator=self.generator, device=self.where)
        t = (t + 0.4).sigmoid()
        network: nn.Module = self.model
        if self._compiled is not None and pictures[0, 0].numel() >= _COMPILED_FROM:
            network = self._compiled
            filler = -states.shape[1] % _COMPILED_LENGTH
            states, mask = F.pad(states, (0, 0, 0, filler)), F.pad(mask, (0, filler))
        loss = flow_loss(network, pictures, noise, t, states, mask)
        losses, total = {"loss": loss.item()}, loss
        weight = _FORESIGHT * float(np.clip((_FORESIGHT_UNTIL - phase) / 0.1, 0, 1))
        self.optimiser.zero_grad(set_to_none=True)
        self.foresight_optimiser.zero_grad(set_to_none=True)
        if weight:
            foreseen = self.foresight.loss(seen)
            total = loss + weight * foreseen
            losses["foreseen"] = foreseen.item()
        total.backward()  # type: ignore[no-untyped-call]
        self.foresight.forget()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), 2.0)
        self.optimiser.step()
        self.foresight_optimiser.step()
        self.average.update(self.model)
        return losses | {"norm": norm.item()}

    def state(self) -> dict[str, Any]:
        """Return what a resumed training needs."""
        return {
            "config": self.config, "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(), "foresight": self.foresight.state_dict(),
            "foresight_optimiser": self.foresight_optimiser.state_dict(),
            "average": self.average.values, "updates": self.average.updates,
            "generator": self.generator.get_state(), "device": self.where.type,
        }  # fmt: skip

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self.model.load_state_dict(state["model"])
        if "optimiser" in state:
            self.optimiser.load_state_dict(state["optimiser"])
        if "foresight" in state:
            self.foresight.load_state_dict(state["foresight"])
            self.foresight_optimiser.load_state_dict(state["foresight_optimiser"])
        self.average.values = {k: v.to(self.where) for k, v in state["average"].items()}
        self.average.updates = state["updates"]
        if state.get("device") == self.where.type:  # devices' generators have states of their own
            self.generator.set_state(state["generator"])


class Batches:
    """Every encoded picture and what the text tower says of it, on the device that trains."""

    def __init__(self, config: dict[str, Any], seed: int, where: torch.device) -> None:
        self.rng = np.random.default_rng(seed)
        found = {size: pool for size in Mix(0).odds() if (pool := Latents.load(size)) is not None}
        if not found:
            raise FileNotFoundError("no latents yet; run: python -m training encode")
        captions = [text for pool in found.values() for text in pool.captions]
        self.texts = TextStates(frozen_text(where), captions, where)
        mean = torch.tensor(config["latent_mean"]).view(1, -1, 1, 1)
        std = torch.tensor(config["latent_std"]).view(1, -1, 1, 1)
        self.pictures = {
            size: ((pool.values.float() - mean) / std).half().to(where)
            for size, pool in found.items()
        }
        self.rows = {size: self.texts.rows(pool.captions) for size, pool in found.items()}
        self.seen = {
            size: (pool.seen - pool.seen.mean(0, dtype=torch.float32)).half().to(where)
            for size, pool in found.items()
        }
        self.odds = {size: pool.odds() for size, pool in found.items()}

    def draw(self, count: int, phase: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return latents [B, C, h, w] of one size, text states, their mask, and what is seen."""
        odds = {size: p for size, p in Mix(phase).odds().items() if size in self.pictures}
        share = np.array(list(odds.values()))
        size = str(self.rng.choice(list(odds), p=share / share.sum()))
        chosen = np.searchsorted(self.odds[size], self.rng.random(count))
        dropped = self.rng.random(count) < _DROPOUT
        states, mask = self.texts.batch(
            np.where(dropped, self.texts.empty, self.rows[size][chosen])
        )
        rows = torch.from_numpy(chosen).to(states.device)
        return self.pictures[size][rows].float(), states, mask, self.seen[size][rows].float()


def train(minutes: float, planned_minutes: float, seed: int = 0, batch: int | None = None,
          model: dict[str, Any] | None = None, shipped: bool = False,
          rate: float = 1.0, begin: float = 0.0, compiled: bool = False,
          depth: int | None = None) -> Stretch:  # fmt: skip
    """Train for a stretch; go on from the last one, with the model that it had.

    Args:
        minutes: how long this stretch may take.
        planned_minutes: how long all stretches together take; the learning rate follows it.
        seed: of weights, noise and batches.
        batch: pictures a step; by default what suits the device.
        model: the network's configuration, for a first stretch.
        shipped: start from the weights in the repository.
        rate: a factor on the learning rate; less than 1 to go on from finished weights.
        begin: where in the turn of sizes to begin, 0..1; late for weights that know the forms.
        compiled: let torch's compiler fuse the steps from 96 px on; it takes a minute a size.
        depth: how many blocks weights from the repository grow to; by default as many as they have.
    """
    where = device()
    stretch = Stretch("diffusion", minutes, planned_minutes)
    saved = stretch.resume()
    on_cpu = where.type == "cpu"
    count = batch or (CPU_BATCH if on_cpu else GPU_BATCH)
    if saved:
        config = saved["config"]
    elif shipped:
        config, weights = shipped_diffusion()
        if depth is not None:
            config, weights = deeper(config, weights, depth)
    else:
        config = (model or (CPU_MODEL if on_cpu else GPU_MODEL)) | constants(where)
    trainer = Trainer(config, seed, where, rate, compiled)
    if saved:
        trainer.load(saved)
    elif shipped:
        adopt(trainer.model, trainer.average, weights)
    batches = Batches(config, seed + 5 + stretch.step, where)
    while stretch.running:
        fraction, phase = stretch.fraction, stretch.phase(begin)
        losses = trainer.step(*batches.draw(count, phase), fraction, phase)
        stretch.advance(count)
        stretch.log(25, **losses)
        if stretch.due():
            stretch.save(trainer.state())
    stretch.save(trainer.state())
    return stretch
