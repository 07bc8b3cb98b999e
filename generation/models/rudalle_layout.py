"""How ruDALL-E's transformers are laid out: their shape, and what each layer sees.

Every layer sees the whole text, but only some of a picture's codes: the 32 before (of most
layers), those above (of layers 1, 5, 9, …), or a square of 11 × 11 (of the last layer).

Places are counted as the published masks do it: first those that every later place sees, then a
grid of rows. There are two layouts. In v3 the former are the text and the grid is the codes. In v2
a token for “begin” is put before the text, which the masks do not know of: so the text's last token
stands in the grid's first place, the codes are one place late, and the last one is never read.
v2's squares also reach over the grid's edges to the opposite ones.

Source: https://github.com/ai-forever/ru-dalle (Apache-2.0), `rudalle/dalle/image_attention.py`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from generation.models.checkpoints import CheckpointError

_REACH = 5
_MOST_PLACES = 8192
NOT_THIS = "These are not the weights of a ruDALL-E transformer of the published layout."


@dataclass(frozen=True)
class RuDALLEConfig:
    """A transformer's shape. `text_tokens` counts the words' tokens and the `text` paddings.

    Pictures are squares of `side` × `side` codes.
    """

    layers: int
    width: int
    heads: int
    text: int
    side: int
    text_tokens: int
    codes: int
    is_v2: bool = False

    @property
    def places(self) -> int:
        """How many tokens a whole picture is, with its text."""
        return self.text + self.side**2

    def kind(self, layer: int) -> str:
        """Say what a layer sees of the codes: ``row``, ``column`` or ``conv``."""
        if layer % 4 == 1:
            return "column"
        return "conv" if layer == self.layers - 1 else "row"

    def kept(self, kind: str) -> int:
        """Return for how many of the codes a kind of layer keeps what it sees.

        A row's layer looks back by a row's length, so it never needs more than two rows.
        """
        return 2 * self.side if kind == "row" else self.side**2

    @property
    def slots(self) -> int:
        """How many keys all layers keep of a run together; values are as many."""
        return sum(self.text + self.kept(self.kind(layer)) for layer in range(self.layers))


XL = RuDALLEConfig(
    layers=24, width=2048, heads=16, text=128, side=32, text_tokens=16384 + 128, codes=8192
)
"""The shape of Malevich, Emojich and Surrealist: 1.3 billion parameters."""


def infer_config(weights: Mapping[str, Tensor]) -> RuDALLEConfig:
    """Read a configuration off a state dict.

    How many heads there are cannot be read: those of the 2,048 wide models (all of “XL”) are 128
    wide, all others' 64. Which layout it is, the masks tell that the published files carry;
    without them it is v3.

    Raises:
        CheckpointError: it is not of the published layout.
    """
    try:
        text_tokens, width = weights["text_embeddings.weight"].shape
        pattern = re.compile(r"transformer\.layers\.(\d+)\.attention\.dense\.weight")
        layers = 1 + max(int(found[1]) for name in weights if (found := pattern.fullmatch(name)))
        config = RuDALLEConfig(
            layers=layers,
            width=width,
            heads=width // (128 if width == 2048 else 64),
            text=weights["text_pos_embeddings.weight"].shape[0] - 1,
            side=weights["image_row_embeddings.weight"].shape[0],
            text_tokens=text_tokens,
            codes=weights["image_embeddings.weight"].shape[0],
        )
    except (KeyError, ValueError) as error:
        raise CheckpointError(NOT_THIS) from error
    fits = config.heads and width % config.heads == 0 and 2 <= config.text < text_tokens
    if not fits or config.places > _MOST_PLACES:  # masks grow with their square
        raise CheckpointError(NOT_THIS)
    carried = weights.get("transformer.conv_mask")
    if carried is None:
        return config
    for is_v2 in (False, True):
        known = replace(config, is_v2=is_v2)
        if torch.equal(mask(known, "conv"), carried.bool()):
            return known
    raise CheckpointError("This ruDALL-E sees its codes in a way that is neither v2's nor v3's.")


@functools.lru_cache(maxsize=6)
def mask(config: RuDALLEConfig, kind: str) -> Tensor:
    """Return which places [places, keys] a kind of layer sees from each place: true where it does.

    A published mask of ones and zeros is the same.
    """
    index = torch.arange(config.side**2)
    row, column = index // config.side, index % config.side
    back = index[:, None] - index[None, :]
    if kind == "row":
        seen = back <= config.side
    elif kind == "column":
        seen = back % config.side == 0
    else:
        down, across = ((each[:, None] - each[None, :]).abs() for each in (row, column))
        if config.is_v2:
            down, across = (torch.minimum(each, config.side - each) for each in (down, across))
        seen = (down <= _REACH) & (across <= _REACH)
    whole = torch.ones(config.places, config.places, dtype=torch.bool)
    whole[config.text :, config.text :] = seen
    return whole.tril()


@dataclass(frozen=True)
class View:
    """What a kind of layer keeps, and which of it is seen from each place of the grid.

    `slots` [places] says where a place's key is kept, of `count`. `seen` [grid, n] are the slots
    that a place of the grid sees; where `is_seen` is false they only fill the row.
    """

    count: int
    slots: Tensor
    seen: Tensor
    is_seen: Tensor

    @classmethod
    def of(cls, config: RuDALLEConfig, kind: str, device: torch.device) -> View:
        """Derive it from the mask, so that one by one places see what they see all at once."""
        grid = torch.arange(config.side**2)
        kept = config.kept(kind)
        slots = torch.cat([torch.arange(config.text), config.text + grid % kept])
        rows = [slots[each.nonzero()[:, 0]] for each in mask(config, kind)[config.text :]]
        seen = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1)
        on_device = (each.to(device) for each in (slots, seen.clamp(min=0), seen >= 0))
        return cls(config.text + kept, *on_device)
