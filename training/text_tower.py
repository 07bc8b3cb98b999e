"""Distil starter-clip's text tower from a sentence encoder, before it sees a picture.

Every token embedding starts at the teacher's vector of that token's spelling, through a factored
embedding, so words that no training text has already lie near their neighbours. The pooled state
and the mean over tokens then learn the teacher's vectors through heads that are thrown away.
"""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor, nn

from generation.starter import STARTER_DIR
from generation.starter.text import token_states, tokenize
from training.paths import subdir
from training.shards import Shards
from training.state import Average, Stretch, autocast, device, schedule
from training.teacher import WIDTH as TEACHER_WIDTH
from training.teacher import Teacher
from training.words import texts

RANK = 128
_SCALE = 14.0
_REPLAY = 200_000


def clip_config() -> dict[str, Any]:
    """Return the shipped open_clip configuration."""
    config: dict[str, Any] = json.loads(
        (STARTER_DIR / "clip/open_clip_config.json").read_text(encoding="utf-8")
    )
    return config


class FactoredEmbedding(nn.Module):
    """An embedding [vocabulary, width] of rank ``RANK``: small at rest, whole when exported."""

    def __init__(self, rows: Tensor, width: int) -> None:
        super().__init__()
        self.rows = nn.Parameter(rows)
        self.up = nn.Parameter(torch.empty(rows.shape[1], width))
        nn.init.orthogonal_(self.up)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return embeddings [B, L, width]."""
        return F.embedding(tokens, self.rows) @ self.up

    @torch.no_grad()
    def whole(self) -> Tensor:
        """Return the embedding matrix."""
        return self.rows @ self.up


@torch.no_grad()
def spelling_vectors(tokenizer: SimpleTokenizer) -> Tensor:
    """Return the teacher's vector of every token's spelling, [vocabulary, RANK] principal axes."""
    path = subdir("states") / "spellings.pt"
    if path.exists():
        rows: Tensor = torch.load(path, weights_only=True)
        return rows
    teacher = Teacher()
    spelt = [tokenizer.decoder[i].replace("</w>", "") for i in range(tokenizer.vocab_size)]
    order = sorted(range(len(spelt)), key=lambda i: len(spelt[i]))
    vectors = torch.zeros(len(spelt), TEACHER_WIDTH)
    for start in range(0, len(order), 512):
        chosen = order[start : start + 512]
        with autocast(torch.device("cpu")):
            vectors[chosen] = teacher([spelt[i] for i in chosen]).float()
    vectors -= vectors.mean(0)
    words = vectors[[i for i in range(len(spelt)) if tokenizer.decoder[i].endswith("</w>")]]
    _, _, axes = torch.pca_lowrank(words, RANK, center=False, niter=4)
    rows = vectors @ axes
    rows *= 0.05 / rows.std()
    rows[-2:] = 0.05 * torch.randn(2, RANK)  # start and end of text have no spelling
    torch.save(rows, path)
    return rows


def new_clip(rows: Tensor) -> CLIP:
    """Return an untrained starter-clip whose token embedding is factored around ``rows``."""
    config = clip_config()["model_cfg"]
    clip = CLIP(**config)
    clip.token_embedding = FactoredEmbedding(rows.clone(), config["text_cfg"]["width"])
    return clip


class Distiller(nn.Module):
    """The text tower and the two heads that only distillation needs."""

    def __init__(self, clip: CLIP) -> None:
        super().__init__()
        self.clip = clip
        width = clip.ln_final.normalized_shape[0]
        self.pooled_head = nn.Linear(width, TEACHER_WIDTH)
        self.mean_head = nn.Linear(width, TEACHER_WIDTH)

    def forward(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return two guesses [B, 384] at the teacher's vectors."""
        states = token_states(self.clip, tokens)
        pooled = states[torch.arange(len(tokens)), tokens.argmax(-1)]
        weight = mask[..., None].to(states.dtype)
        mean = (states * weight).sum(1) / weight.sum(1)
        return self.pooled_head(pooled), self.mean_head(mean)

    def text_parameters(self) -> list[nn.Parameter]:
        """Return everything that distillation trains."""
        return [
            p for name, p in self.named_parameters()
            if not name.startswith(("clip.visual", "clip.logit_scale", "clip.text_projection"))
        ]  # fmt: skip


def distillation_loss(guess: Tensor, wanted: Tensor) -> Tensor:
    """Return cosine distance plus the divergence of the batch's similarities from the teacher's."""
    guess = F.normalize(guess.float(), dim=-1)
    cosine = 1 - (guess * wanted).sum(-1).mean()
    ours = F.log_softmax(_SCALE * guess @ guess.T, dim=-1)
    theirs = F.log_softmax(_SCALE * wanted @ wanted.T, dim=-1)
    return 2 * cosine + F.kl_div(ours, theirs, log_target=True, reduction="batchmean")


class Replay:
    """Texts with their teacher's vectors, kept for a second and third use."""

    def __init__(self, capacity: int) -> None:
        self.texts: list[str] = []
        self.vectors = torch.zeros(capacity, TEACHER_WIDTH, dtype=torch.float16)
        self.next = 0

    def add(self, fresh: list[str], vectors: Tensor) -> None:
        """Keep a batch, dropping the oldest."""
        for entry, vector in zip(fresh, vectors, strict=True):
            if len(self.texts) < len(self.vectors):
                self.texts.append(entry)
            else:
                self.texts[self.next] = entry
            self.vectors[self.next] = vector
            self.next = (self.next + 1) % len(self.vectors)

    def draw(self, rng: np.random.Generator, count: int) -> tuple[list[str], Tensor]:
        """Return random kept texts and their vectors."""
        chosen = rng.integers(0, len(self.texts), count)
        return [self.texts[i] for i in chosen], self.vectors[torch.from_numpy(chosen)].float()


def train(minutes: float, planned_minutes: float, seed: int = 0, batch: int = 320) -> None:
    """Distil for a stretch; go on from the last one."""
    where = device()
    torch.manual_seed(seed)
    tokenizer = SimpleTokenizer(
        context_length=clip_config()["model_cfg"]["text_cfg"]["context_length"]
    )
    model = Distiller(new_clip(spelling_vectors(tokenizer))).to(where)
    teacher = Teacher().to(where)
    parameters = model.text_parameters()
    optimiser = torch.optim.AdamW(parameters, 1e-3, betas=(0.9, 0.98), weight_decay=0.02)
    average = Average(model, 0.998)
    stretch = Stretch("clip-text", minutes, planned_minutes)
    saved = stretch.resume()
    if saved:
        model.load_state_dict(saved["model"])
        optimiser.load_state_dict(saved["optimiser"])
        average.values = {k: v.to(where) for k, v in saved["average"].items()}
        average.updates = saved["updates"]

    def state() -> dict[str, Any]:
        return {"model": model.state_dict(), "optimiser": optimiser.state_dict(),
                "average": average.values, "updates": average.updates}  # fmt: skip

    replay, rng = Replay(_REPLAY), np.random.default_rng(seed + 7 + stretch.step)
    for fresh in texts(seed + stretch.step, Shards("square").captions, batch // 2):
        if not stretch.running:
            break
        with autocast(where):
            vectors = teacher(fresh).float().cpu()
        replay.add(fresh, vectors)
        older, old_vectors = replay.draw(rng, batch - len(fresh))
        wanted = F.normalize(torch.cat([vectors, old_vectors]), dim=-1)
        losses = {}
        loss = torch.zeros((), device=where)
        everything = fresh + older
        order = sorted(range(len(everything)), key=lambda i: len(everything[i]))
        optimiser.zero_grad(set_to_none=True)
        # Short and long texts in two halves: padding would double the work.
        for start, end in pairwise((0, len(order) // 2, len(order))):
            part = order[start:end]
            tokens, mask = tokenize(tokenizer, [everything[i] for i in part])
            target = wanted[part].to(where)
            with autocast(where):
                pooled, mean = model(tokens.to(where), mask.to(where))
            first = distillation_loss(pooled, target)
            loss = first + 0.5 * distillation_loss(mean, target)
            loss.backward()  # type: ignore[no-untyped-call]
            losses["loss"] = first.item()
        for group in optimiser.param_groups:
            group["lr"] = 1e-3 * schedule(stretch.fraction, decay_from=0.4)
        losses["norm"] = nn.utils.clip_grad_norm_(parameters, 5.0).item()
        optimiser.step()
        average.update(model)
        stretch.advance(batch)
        stretch.log(20, **losses)
        if stretch.due():
            stretch.save(state())
    stretch.save(state())
