"""The second opinion on pictures, by a CLIP in the format in which published ones come."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from bot.checking.second import LEAST_COSINE, SAFE, SCALE, TEXTS, UNSAFE, WAYS, SecondOpinion
from bot.library import Library as Pictures
from bot.seeing import Seeing
from generation.clip.perceptor import Perceptor
from generation.engines.perceptors import SharedPerceptors
from generation.models.catalogue import catalogue
from generation.models.library import Library
from generation.protocol import Embedded
from tests.generation import tiny
from tests.generation.test_perceptor import SHAPE

NAME = "ViT-B-32"


class Process:
    """What the scheduler process does with an ask, in this one."""

    up, perceptors = True, ("starter-clip", NAME)

    def __init__(self, shared: SharedPerceptors) -> None:
        self._shared = shared

    async def embed(
        self, perceptor: str, pictures: Sequence[bytes] = (), texts: Sequence[str] = ()
    ) -> Embedded:
        opened = [Image.open(io.BytesIO(picture)) for picture in pictures]
        seen, read = self._shared.look(perceptor, opened, texts)
        return Embedded(id="", pictures=tuple(seen), texts=tuple(read))


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SharedPerceptors:
    (tmp_path / "tiny-clip-for-tests.json").write_text(json.dumps(SHAPE))
    open_clip.add_model_config(tmp_path)
    torch.manual_seed(3)
    model = open_clip.create_model("tiny-clip-for-tests")
    file = tmp_path / "open_clip_model.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, file)
    perceptor = Perceptor.from_open_clip("tiny-clip-for-tests", str(file), tiny.CPU)
    made = SharedPerceptors(Library(tmp_path / "models"), tiny.CPU)
    made.names = (*made.names, NAME)
    monkeypatch.setattr(made, "_load", {NAME: perceptor}.__getitem__)
    return made


async def test_the_score_is_what_the_models_vectors_give(
    shared: SharedPerceptors, tmp_path: Path
) -> None:
    pictures = Pictures(tmp_path / "library")
    seeing = Seeing(Process(shared), pictures)
    second = SecondOpinion(seeing)
    perceptor = shared.acquire(NAME)
    read = perceptor.encode_text(TEXTS)
    texts = read.reshape(-1, len(WAYS), read.shape[1]).mean(dim=1)
    texts = torch.nn.functional.normalize(texts, dim=-1)
    assert texts.shape[0] == len(UNSAFE) + len(SAFE)
    scores = []
    for seed in range(4):
        noise = np.random.default_rng(seed).integers(0, 255, (32, 32, 3), dtype=np.uint8)
        out = io.BytesIO()
        Image.fromarray(noise).save(out, "PNG")
        tensor = torch.from_numpy(noise).permute(2, 0, 1).float() / 255
        cosines = texts @ perceptor.look(tensor).float()
        wanted = float((SCALE * cosines).softmax(0)[: len(UNSAFE)].sum())
        if float(cosines[: len(UNSAFE)].max()) < LEAST_COSINE:
            wanted = 0.0
        scores.append(await second.score(out.getvalue()))
        assert scores[-1] == pytest.approx(wanted, abs=0.05)  # vectors come as float16
    assert len(set(scores)) > 1
    await second.close()
    await seeing.close()
    pictures.close()


def test_what_is_shipped_is_known_by_its_name() -> None:
    clips = [model for model in catalogue().values() if model.family == "clip"]
    assert clips
    for model in clips:
        assert model.name.startswith("starter-") == model.shipped
