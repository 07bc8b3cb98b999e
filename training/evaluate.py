"""Draw the fixed prompts, look at them together, and measure what can be measured.

The judge is ``training.judge``, of which nothing took part in making the pictures:
``python -m training train judge``. Figures go to ``figures.json``; pictures to contact sheets.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from generation.starter import (
    clip_tokenizer,
    load_clip,
    load_diffusion,
    vqgan_config,
    vqgan_state_dict,
)
from generation.starter.autoencoder import StarterVQGAN
from generation.starter.pipeline import StarterPipeline
from generation.starter.text import tokenize
from training import judge
from training.lists import lines
from training.paths import subdir
from training.shards import HELD_OUT, Shards

_BATCH = 20
_STEPS, _GUIDANCE = 25, 7.0
_SEEDS = 1_000_000
"""Between the seeds of one time that all prompts are drawn and the next."""
_NEAR_COPY, _COPY_PX = 0.05, 32
"""Root mean square difference (0..1) under which two small pictures count as copies."""
_HELD_OUT_COUNT = 500
_KINDS = ("object", "colour", "count", "pair", "scene", "style", "unseen")


def prompts() -> list[tuple[str, str]]:
    """Return the fixed (kind, prompt) list."""
    pairs = [line.split("\t") for line in lines("prompts")]
    return [(kind, text) for kind, text in pairs]


def contact_sheet(
    images: Sequence[Image.Image], words: Sequence[str], columns: int = 10
) -> Image.Image:
    """Return the pictures in rows with their prompts above them."""
    wide, tall = max(i.width for i in images), max(i.height for i in images)
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * (wide + 4), rows * (tall + 18)), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (image, text) in enumerate(zip(images, words, strict=True)):
        x, y = i % columns * (wide + 4), i // columns * (tall + 18)
        draw.text((x + 2, y + 2), text[: wide // 6], fill="black")
        sheet.paste(image, (x, y + 15))
    return sheet


def draw_all(pipeline: StarterPipeline, texts: Sequence[str], seed: int = 0) -> list[Image.Image]:
    """Draw every prompt once, each from its own seed."""
    images: list[Image.Image] = []
    for start in range(0, len(texts), _BATCH):
        part = list(texts[start : start + _BATCH])
        noise = [torch.Generator().manual_seed(seed + start + i) for i in range(len(part))]
        images += pipeline(
            part, num_inference_steps=_STEPS, guidance_scale=_GUIDANCE, generator=noise
        ).images
    return images


def pixels(images: Sequence[Image.Image], size: int = 64) -> Tensor:
    """Return pictures as [B, 3, size, size] in 0..1."""
    arrays = np.stack([np.asarray(image.convert("RGB"), np.float32) / 255 for image in images])
    whole = torch.from_numpy(arrays).permute(0, 3, 1, 2)
    return F.interpolate(whole, (size, size), mode="bilinear", antialias=True, align_corners=False)


Encoder = Callable[[Tensor], Tensor]


def encoders(clip: torch.nn.Module) -> tuple[Encoder, Callable[[Sequence[str]], Tensor]]:
    """Return functions from pictures in 0..1, and from texts, to unit vectors."""
    tokenizer = clip_tokenizer()

    @torch.no_grad()
    def image(views: Tensor) -> Tensor:
        return F.normalize(clip.encode_image((views - 0.5) / 0.5).float(), dim=-1)  # type: ignore[operator]

    @torch.no_grad()
    def text(texts: Sequence[str]) -> Tensor:
        tokens, _ = tokenize(tokenizer, texts)
        tokens = F.pad(tokens, (0, tokenizer.context_length - tokens.shape[1]))
        return F.normalize(clip.encode_text(tokens).float(), dim=-1)  # type: ignore[operator]

    return image, text


def retrieval(image: Tensor, text: Tensor) -> dict[str, float]:
    """Return how often a picture's own text is first, and among the first five."""
    order = (image @ text.T).argsort(1, descending=True)
    own = torch.arange(len(image))[:, None]
    return {f"top{k}": round(float((order[:, :k] == own).any(1).float().mean()), 3) for k in (1, 5)}


@torch.no_grad()
def autoencoder_figures(count: int = 100) -> dict[str, float]:
    """Return PSNR in dB (0..1 scale) and perceptual distance on held-out pictures."""
    from training.perceptual import Perceptual

    model = StarterVQGAN(vqgan_config())
    model.load_state_dict(vqgan_state_dict())
    model.eval()
    perceptual = Perceptual(5)
    shards = Shards("square", [HELD_OUT])
    errors: list[float] = []
    quantised_errors: list[float] = []
    distances: list[float] = []
    codes: set[int] = set()
    for start in range(0, count, _BATCH):
        images = torch.from_numpy(shards.batch(range(start, start + _BATCH))).permute(0, 3, 1, 2)
        wanted = images.float() / 127.5 - 1
        latents = model.continuous(wanted)
        indices = model.nearest(latents)
        codes |= set(indices.flatten().tolist())
        for values, into in ((latents, errors), (model.lookup(indices), quantised_errors)):
            drawn = model.decode(values).clamp(-1, 1)
            into += ((drawn - wanted) / 2).square().mean((1, 2, 3)).tolist()
        distances += perceptual(drawn, wanted).tolist()
    return {
        "psnr_db": round(float(np.mean(-10 * np.log10(errors))), 2),
        "psnr_quantised_db": round(float(np.mean(-10 * np.log10(quantised_errors))), 2),
        "lpips_quantised": round(float(np.mean(distances)), 4),
        "codes_used": len(codes),
    }


def near_copies(images: Sequence[Image.Image], texts: Sequence[str]) -> dict[str, Any]:
    """Return how close the nearest training pictures are, pixel by pixel at 32 px.

    Embeddings do not tell: a small CLIP puts any two blobs of one colour side by side.
    """
    shards = Shards("square")
    rows = np.random.default_rng(0).choice(len(shards), min(20_000, len(shards)), replace=False)
    drawn = pixels(images, _COPY_PX).flatten(1)
    best = torch.full((len(images),), torch.inf)
    nearest = torch.zeros(len(images), dtype=torch.long)
    for start in range(0, len(rows), 500):
        part = rows[start : start + 500]
        batch = torch.from_numpy(shards.batch(part)).permute(0, 3, 1, 2).float() / 255
        known = F.interpolate(batch, (_COPY_PX, _COPY_PX), mode="area").flatten(1)
        distance, at = (torch.cdist(drawn, known) / drawn.shape[1] ** 0.5).min(1)
        closer = distance < best
        best, nearest = (
            torch.where(closer, distance, best),
            torch.where(closer, at + start, nearest),
        )
    copies = []
    for i, (error, row) in enumerate(zip(best.tolist(), nearest.tolist(), strict=True)):
        there = shards.captions[int(rows[row])]
        named = bool(set(texts[i].split()) & set(there.split()) - {"a", "an", "the", "of"})
        if error < _NEAR_COPY and not named:
            copies.append({"prompt": texts[i], "training": there, "rms": round(error, 3)})
    return {"median_rms": round(float(best.median()), 3), "unnamed_near": copies}


def judged(
    images: Sequence[Image.Image], chosen: Sequence[tuple[str, str]], times: int = 1
) -> dict[str, Any]:
    """Return what the judge says of drawn (kind, prompt)s, if there is a judge.

    A prompt has to be told from all the others that were drawn, whatever their kind. ``images`` has
    every prompt ``times`` times, one drawing of all of them after the other.
    """
    found = judge.load()
    if found is None:
        return {}
    held_out = Shards("square", [HELD_OUT])
    views = (
        torch.from_numpy(held_out.batch(range(_HELD_OUT_COUNT))).permute(0, 3, 1, 2).float() / 255
    )
    order = (
        found.images(pixels(images, 128)) @ found.texts([text for _, text in chosen]).T
    ).argsort(1, descending=True)
    place = order.argsort(1)  # of each prompt, for each picture
    own = place[torch.arange(len(images)), torch.arange(len(images)) % len(chosen)]
    own = own.view(times, len(chosen))
    kinds = np.array([kind for kind, _ in chosen])
    by_kind = {kind: _among(own[:, kinds == kind]) for kind in _KINDS if (kinds == kind).any()}
    return {
        "judge_held_out_500": retrieval(
            found.images(views), found.texts(held_out.captions[:_HELD_OUT_COUNT])
        ),
        "judge_on_drawn": _among(own),
        "judge_on_each_drawing": [_among(each) for each in own],
        "judge_by_kind": by_kind,
    }


def _among(places: Tensor) -> dict[str, float]:
    """Return how often a place, counted from 0, is the first, and one of the first five."""
    return {f"top{k}": round(float((places < k).float().mean()), 3) for k in (1, 5)}


def evaluate(count: int = 200, into: str | None = None, times: int = 4) -> dict[str, Any]:
    """Draw and measure with the models as exported; write sheets and ``figures.json``.

    The judge sees every prompt drawn ``times`` times from other seeds: of 200 pictures it says
    three points more or less by chance. The sheets and all else are of the first time.
    """
    folder = Path(into) if into else subdir("evaluation")
    folder.mkdir(parents=True, exist_ok=True)
    chosen = prompts()[:count]
    kinds, texts = [k for k, _ in chosen], [t for _, t in chosen]
    pipeline = load_diffusion()
    began = time.perf_counter()
    images = draw_all(pipeline, texts)
    took = time.perf_counter() - began
    more = [draw_all(pipeline, texts, turn * _SEEDS) for turn in range(1, times)]
    figures: dict[str, Any] = {
        "prompts": len(texts),
        "times": times,
        "seconds_a_picture_in_batches": round(took / len(texts), 2),
        "autoencoder": autoencoder_figures(),
    }
    for kind in _KINDS:
        rows = [i for i, k in enumerate(kinds) if k == kind]
        if rows:
            sheet = contact_sheet([images[i] for i in rows], [texts[i] for i in rows])
            sheet.save(folder / f"starter-{kind}.webp", quality=88, method=6)
    own_image, own_text = encoders(load_clip()[0])
    held_out = Shards("square", [HELD_OUT])
    views = (
        torch.from_numpy(held_out.batch(range(_HELD_OUT_COUNT))).permute(0, 3, 1, 2).float() / 255
    )
    views = F.interpolate(views, (64, 64), mode="bilinear", antialias=True, align_corners=False)
    figures["clip_held_out_500"] = retrieval(
        own_image(views), own_text(held_out.captions[:_HELD_OUT_COUNT])
    )
    # Its image tower took no part in drawing, but shares text tower and pictures with what did.
    figures["clip_on_drawn"] = retrieval(own_image(pixels(images)), own_text(texts))
    figures |= judged([*images, *chain.from_iterable(more)], chosen, times)
    figures["near_copies"] = near_copies(images, texts)
    (folder / "figures.json").write_text(json.dumps(figures, indent=2))
    print(json.dumps(figures, indent=2))
    return figures
