"""What the frozen text tower says of every caption, computed once and kept on the device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from open_clip.model import CLIP
from torch import Tensor

from generation.starter import clip_tokenizer
from generation.starter.text import token_states, tokenize
from training.state import autocast

_CHUNK = 512
Rows = npt.NDArray[np.int64]


class TextStates:
    """Token states of captions, end to end without padding; equal captions are kept once."""

    @torch.no_grad()
    def __init__(self, clip: CLIP, captions: Sequence[str], where: torch.device) -> None:
        texts = list(dict.fromkeys(("", *captions)))
        self._row = {text: row for row, text in enumerate(texts)}
        # Texts of about one length go through the tower together: little of a chunk is padding.
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        tokenizer = clip_tokenizer()
        flat: list[Tensor] = []
        lengths = np.zeros(len(texts), np.int64)
        for start in range(0, len(order), _CHUNK):
            rows = order[start : start + _CHUNK]
            tokens, mask = tokenize(tokenizer, [texts[row] for row in rows])
            with autocast(where):
                states = token_states(clip, tokens.to(where))
            flat.append(states[mask.to(where)].half())
            lengths[rows] = mask.sum(1).numpy()
        starts = np.zeros(len(texts), np.int64)
        starts[order] = np.concatenate([[0], np.cumsum(lengths[order])[:-1]])
        self._flat = torch.cat(flat)
        self._starts, self._lengths = starts, lengths

    @property
    def empty(self) -> int:
        """Return the row of the empty caption, which guidance subtracts."""
        return self._row[""]

    def rows(self, captions: Sequence[str]) -> Rows:
        """Return the row of each caption.

        Raises:
            KeyError: a caption that this was not made with.
        """
        return np.array([self._row[text] for text in captions], np.int64)

    def batch(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """Return float32 states [B, L, width] and their mask [B, L], True up to the end token."""
        where = self._flat.device
        lengths = self._lengths[rows]
        mask = torch.from_numpy(np.arange(lengths.max())[None] < lengths[:, None]).to(where)
        at = self._starts[rows, None] + np.arange(lengths.max())[None]
        at = np.minimum(at, len(self._flat) - 1)  # what lies behind the last caption is masked
        states = self._flat[torch.from_numpy(at).to(where)].float()
        return states * mask[..., None], mask
