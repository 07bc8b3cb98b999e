"""ruDALL-E's transformer, read from its published checkpoints.

It writes a picture as one writes a page: after 128 tokens of text come the codes of a VQGAN, row by
row from the top, each chosen by what stands before it. Modules are named as in the published files.

Source: https://github.com/ai-forever/ru-dalle (Apache-2.0), `rudalle/dalle`; the layer norms behind
attention and MLP are those of Ding et al., CogView (2021), section 2.4. Its other measure there,
PB-relax, changes how attention is rounded and not what it is: kernels that add up in float32 do
not need it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generation.models.checkpoints import CheckpointError
from generation.models.rudalle_layout import NOT_THIS, RuDALLEConfig, View, infer_config, mask
from generation.models.unfilled import unfilled

_LARGEST_HALF = 65504.0
_BEGIN = 2


@dataclass
class Memory:
    """The keys and values of each layer: [slots, width], or with a leading axis of runs."""

    keys: list[Tensor]
    values: list[Tensor]

    @classmethod
    def stack(cls, memories: Sequence[Memory]) -> Memory:
        """Put several runs' together."""
        keys = zip(*(memory.keys for memory in memories), strict=True)
        values = zip(*(memory.values for memory in memories), strict=True)
        return cls([torch.stack(each) for each in keys], [torch.stack(each) for each in values])

    def row(self, row: int) -> Memory:
        """Return one run's own; a view would keep the whole batch's while it waits."""
        return Memory(
            [each[row].clone() for each in self.keys], [each[row].clone() for each in self.values]
        )


class RuDALLE(nn.Module):
    """See the module's docstring. It says how likely each code is to come next."""

    def __init__(self, config: RuDALLEConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.text_embeddings = nn.Embedding(config.text_tokens, width)
        self.image_embeddings = nn.Embedding(config.codes, width)
        self.text_pos_embeddings = nn.Embedding(config.text + 1, width)
        self.image_row_embeddings = nn.Embedding(config.side, width)
        self.image_col_embeddings = nn.Embedding(config.side, width)
        self.to_logits = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, config.text_tokens + config.codes)
        )
        self.transformer = _Transformer(config)
        self._views: dict[str, View] = {}

    @classmethod
    def from_weights(cls, weights: Mapping[str, Tensor]) -> RuDALLE:
        """Build the network that fits a state dict, and load it in the type that it is kept in.

        Raises:
            CheckpointError: it is not of the published layout.
        """
        weights = {name.removeprefix("module."): value for name, value in weights.items()}
        config = infer_config(weights)
        with unfilled():
            network = cls(config)
        kept = {name: value for name, value in weights.items() if not name.endswith("_mask")}
        try:
            network.load_state_dict(kept, assign=True)
        except RuntimeError as error:
            raise CheckpointError(NOT_THIS) from error
        return network.eval().requires_grad_(False)

    @property
    def number_bytes(self) -> int:
        """How many bytes a number takes in the type that the weights are kept in."""
        return self.text_embeddings.weight.element_size()

    def prefill(self, text: Tensor, codes: Tensor) -> tuple[Tensor, Memory]:
        """Read a text [text] with a picture's first codes [n], all at once.

        The text's paddings are 0. Not all codes may be given: there must be a next one.

        Returns:
            The logits [codes] of the next code, in float32, and what `feed` needs.
        """
        assert len(codes) < self.config.side**2
        text_length = self.config.text
        x = self._embedded(text, codes)[None]
        count = x.shape[1]
        memory = Memory([], [])
        seen, kept = {}, {}
        for kind, view in self._seen_by().items():
            seen[kind] = mask(self.config, kind)[:count, :count].to(x.device)
            # Of the grid the newest: slots are used again where a layer does not look far back.
            first = max(text_length, count - (view.count - text_length))
            kept[kind] = [*range(text_length), *range(first, count)]

        def attend(kind: str, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            view = self._seen_by()[kind]
            for new, layers in ((k, memory.keys), (v, memory.values)):
                layers.append(new.new_zeros(view.count, self.config.width))
                layers[-1][view.slots[kept[kind]]] = new[0, kept[kind]]
            return self._attended(q, k, v, seen[kind])

        x = self.transformer(x, attend)
        return self._logits(x[0, -1]), memory

    def feed(self, codes: Tensor, at: Tensor, memory: Memory) -> Tensor:
        """Read one code [n] of each run, the picture's `at`-th [n] from 0, into their memory.

        Whoever feeds a picture's last code gets logits that mean nothing.

        Returns:
            The logits [n, codes] of each run's next code, in float32.
        """
        side = self.config.side
        x = self.image_embeddings(codes) + self.image_row_embeddings(at // side)
        x = (x + self.image_col_embeddings(at % side))[:, None]
        grid = (at + int(self.config.is_v2)).clamp(max=side**2 - 1)
        runs = torch.arange(len(codes), device=codes.device)
        layers = iter(zip(memory.keys, memory.values, strict=True))
        places = {
            kind: (view.slots[self.config.text + grid], view.seen[grid], view.is_seen[grid])
            for kind, view in self._seen_by().items()
        }

        def attend(kind: str, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            slot, seen, is_seen = places[kind]
            keys, values = next(layers)
            keys[runs, slot], values[runs, slot] = k[:, 0], v[:, 0]
            k, v = (each[runs[:, None], seen] for each in (keys, values))
            return self._attended(q, k, v, is_seen[:, None, None])

        return self._logits(self.transformer(x, attend)[:, 0])

    def _embedded(self, text: Tensor, codes: Tensor) -> Tensor:
        """Return the tokens [places, width] as the first layer takes them."""
        config = self.config
        # Every place of the text has a padding of its own.
        paddings = torch.arange(config.text, device=text.device)
        text = torch.where(text == 0, config.text_tokens - config.text + paddings, text)
        if config.is_v2:
            text = F.pad(text, (1, 0), value=_BEGIN)
        words = self.text_embeddings(text) + self.text_pos_embeddings.weight[: len(text)]
        at = torch.arange(len(codes), device=codes.device)
        drawn = self.image_embeddings(codes) + self.image_row_embeddings(at // config.side)
        return torch.cat([words, drawn + self.image_col_embeddings(at % config.side)])

    def _attended(self, q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
        """Attend from [n, places, width] to [n, keys, width], by heads."""
        heads = self.config.heads
        q, k, v = (each.view(*each.shape[:2], heads, -1).transpose(1, 2) for each in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=seen).transpose(1, 2).flatten(2)

    def _logits(self, x: Tensor) -> Tensor:
        norm, linear = self.to_logits
        assert isinstance(linear, nn.Linear)
        weight, bias = (each[self.config.text_tokens :] for each in (linear.weight, linear.bias))
        return F.linear(norm(x), weight, bias).float()

    def _seen_by(self) -> dict[str, View]:
        """Return what each kind of layer sees, on the weights' device."""
        if not self._views:
            device = self.text_embeddings.weight.device
            kinds = set(self.transformer.kinds)
            self._views = {kind: View.of(self.config, kind, device) for kind in kinds}
        return self._views


class _Transformer(nn.Module):
    def __init__(self, config: RuDALLEConfig) -> None:
        super().__init__()
        self.kinds = [config.kind(layer) for layer in range(config.layers)]
        self.layers = nn.ModuleList(_Layer(config.width) for _ in self.kinds)
        self.final_layernorm = nn.LayerNorm(config.width)

    def forward(self, x: Tensor, attend: Callable[[str, Tensor, Tensor, Tensor], Tensor]) -> Tensor:
        """Take [n, places, width] through all layers; `attend` is told the layer's kind."""
        for kind, layer in zip(self.kinds, self.layers, strict=True):
            x = layer(x, functools.partial(attend, kind))
        found: Tensor = self.final_layernorm(x)
        return found


class _Layer(nn.Module):
    """Attention, then an MLP, each normalised before and after, beside a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.input_layernorm = nn.LayerNorm(width)
        self.attention = nn.ModuleDict(
            {"query_key_value": nn.Linear(width, 3 * width), "dense": nn.Linear(width, width)}
        )
        self.before_first_addition_layernorm = nn.LayerNorm(width)
        self.post_attention_layernorm = nn.LayerNorm(width)
        self.mlp = nn.ModuleDict(
            {
                "dense_h_to_4h": nn.Linear(width, 4 * width),
                "dense_4h_to_h": nn.Linear(4 * width, width),
            }
        )
        self.before_second_addition_layernorm = nn.LayerNorm(width)

    def forward(self, x: Tensor, attend: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
        q, k, v = self.attention["query_key_value"](self.input_layernorm(x)).chunk(3, dim=-1)
        attended = self.attention["dense"](attend(q, k, v))
        # What is too large for float16 would be infinite, and the norm of it no number.
        attended = attended.clamp(-_LARGEST_HALF, _LARGEST_HALF)
        x = x + self.before_first_addition_layernorm(attended)
        inner = self.mlp["dense_h_to_4h"](self.post_attention_layernorm(x))
        outer = self.mlp["dense_4h_to_h"](F.gelu(inner, approximate="tanh"))
        found: Tensor = x + self.before_second_addition_layernorm(outer)
        return found
