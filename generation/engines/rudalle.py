"""Builds the engine that draws with ruDALL-E."""

from __future__ import annotations

import msgspec
import torch

from generation.engine import EngineError
from generation.engines.autoregressive import AutoregressiveEngine
from generation.engines.perceptors import SharedPerceptors
from generation.engines.written_runs import Writer, autoregressive_options
from generation.models.checkpoints import CheckpointError
from generation.models.library import Library
from generation.models.precision import has_bfloat16
from generation.models.rudalle import RuDALLE
from generation.models.vqgan import VQGAN
from generation.models.yttm import BPE
from generation.protocol import EngineInfo, ModelInfo

_SIDE = 256
_ROWS = 32
_SHARED = "rudalle-utils"
_CODES = "vqgan.gumbelf8-sber.model.ckpt"
_WORDS = "bpe.model"


def build_rudalle(
    library: Library, perceptors: SharedPerceptors, device: torch.device, *, exact: bool
) -> AutoregressiveEngine:
    """Build it. All models share a tokenizer and a VQGAN, which are a model of the library, too."""
    info = EngineInfo(
        name="rudalle",
        title="ruDALL-E",
        models=tuple(_info(library, model) for model in library.models("rudalle")),
        default_width=_SIDE,
        default_height=_SIDE,
        min_side=_SIDE,
        max_side=_SIDE,
        max_pixels=_SIDE * _SIDE,
        size_multiple=_SIDE,
        default_steps=_ROWS,
        max_steps=_ROWS,
        takes_init=True,
        takes_mask=True,
        needs_positive=True,
        steerable=True,
        options=autoregressive_options(),
    )

    def load_model(name: str) -> Writer:
        network, vqgan, bpe = _load(library, name)
        judge = perceptors.names[0] if perceptors.names else ""
        return Writer(
            network.to(device, _dtype(device)),
            vqgan.to(device),
            bpe,
            perceptors.acquire(judge) if judge else None,
            lambda: perceptors.release(judge) if judge else None,
        )

    return AutoregressiveEngine(info, load_model, device=device, exact=exact)


def _info(library: Library, model: ModelInfo) -> ModelInfo:
    """Count a model as here only with what all of them need."""
    shared = library.info(_SHARED)
    if shared.available:
        return model
    missing = f"{model.missing} {shared.missing}".strip()
    return msgspec.structs.replace(model, available=False, missing=missing)


def _load(library: Library, name: str) -> tuple[RuDALLE, VQGAN, BPE]:
    """Return a model's parts, on the CPU.

    Raises:
        EngineError: one is missing or damaged, or they are not of one kind.
    """
    network = RuDALLE.from_weights(library.weights(name))
    vqgan = VQGAN.from_weights(library.weights(_SHARED, _CODES))
    bpe = BPE.read(library.file(_SHARED, _WORDS))
    config = network.config
    if vqgan.config.codes != config.codes:
        raise CheckpointError(
            f"{name} chooses among {config.codes} codes, and the VQGAN has {vqgan.config.codes}."
        )
    words = config.text_tokens - config.text
    if bpe.size > words or bpe.padding != 0 or min(bpe.begin, bpe.end) < 0:
        raise EngineError(f"{name} knows {words} tokens, and {_WORDS} is made for another model.")
    return network, vqgan, bpe


def _dtype(device: torch.device) -> torch.dtype:
    """Return what the network is kept in; its weights are published in float16."""
    if device.type != "cpu":
        return torch.float16
    return torch.bfloat16 if has_bfloat16(device) else torch.float32
