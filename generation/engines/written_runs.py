"""What `generation.engines.autoregressive` keeps of a model, of a run and of its start picture."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from generation.clip.perceptor import Perceptor
from generation.engine import EngineError, Run
from generation.engines.notices import lost_words
from generation.models.rudalle import Memory, RuDALLE
from generation.models.vqgan import VQGAN
from generation.models.yttm import BPE
from generation.prompts import plain_text, words_beyond
from generation.protocol import OptionInfo, Recipe, Setting

_RUSSIAN = re.compile("[а-яё]")
_READS_RUSSIAN = (
    "This model reads Russian; words of other languages say little to it. Ask in Russian for what "
    "you mean."
)

KEEPS = ("top", "left", "right", "bottom")


@dataclass(frozen=True)
class Writer:
    """All that draws with one model: its network, the codes' pictures, and the words' tokens.

    `judge` scores finished pictures, and `release` gives it back; both may be missing.
    """

    network: RuDALLE
    vqgan: VQGAN
    bpe: BPE
    judge: Perceptor | None = None
    release: Callable[[], None] = field(default=lambda: None)

    @property
    def side(self) -> int:
        """How many codes a picture is wide, and high."""
        return self.network.config.side

    def read(self, text: str) -> Tensor:
        """Return the tokens [text] of a prompt: as many as there is room for, then zeros.

        Raises:
            EngineError: it says nothing.
        """
        words = plain_text(text).lower().strip()
        if not words:
            raise EngineError("The prompt says nothing to draw. Write a few words.")
        room = self._room
        tokens = [self.bpe.begin, *self.bpe.encode(words), self.bpe.end][:room]
        return torch.tensor(tokens + [0] * (room - len(tokens)))

    def notices(self, recipe: Recipe) -> tuple[str, ...]:
        """Say what of the words asked for last is not read, or hardly: it was taught Russian."""
        words = plain_text(recipe.steers[-1].prompt if recipe.steers else recipe.prompt).lower()
        # One place is the begin's; of the end's token nothing depends.
        lost = words_beyond(words, lambda text: len(self.bpe.encode(text)), self._room - 1)
        said = (lost_words(lost, apart=False),) if lost else ()
        return said if _RUSSIAN.search(words) else (*said, _READS_RUSSIAN)

    @property
    def _room(self) -> int:
        return self.network.config.text


@dataclass(frozen=True)
class Given:
    """The codes that a start picture gives.

    `codes` [side²] are all of its codes, and `kept` [side²] says which are given. `picture`
    [3, h, w] in 0..1 is itself; `mask` [1, h, w] is 1 where it is redrawn, if there is one.
    """

    codes: Tensor
    kept: Tensor
    picture: Tensor
    mask: Tensor | None = None


@dataclass(kw_only=True)
class WrittenRun(Run):
    """A picture of which `rows` rows stand in `codes` [side²]; behind them it means nothing yet.

    `first` are the rows that were given whole from the top. `surprise` is the sum of −log p over
    the `chosen` codes. `memory` and the `logits` of the next code are those by the words that
    `heard` steers lead to; without a memory they are made when they are needed.
    """

    codes: Tensor
    given: Given | None
    first: int
    rows: int
    settings: dict[str, Setting]
    texts: tuple[Tensor, ...]
    surprise: float = 0.0
    chosen: int = 0
    memory: Memory | None = None
    logits: Tensor | None = None
    heard: int = -1

    @property
    def side(self) -> int:
        """How many codes a row has, and how many rows there are."""
        return math.isqrt(len(self.codes))

    def rows_after(self, step: int) -> int:
        """Return how many rows stand after so many steps: all at the last, about as many each."""
        return max(self.first, -(-step * self.side // self.recipe.steps))

    @property
    def is_behind(self) -> bool:
        """Whether the present step has a row to write yet."""
        return self.error is None and self.rows < self.rows_after(self.step + 1)

    def next_row(self) -> tuple[Tensor, Tensor]:
        """Return the codes [side] of the next row, and which of them are given."""
        row = slice(self.rows * self.side, (self.rows + 1) * self.side)
        codes = self.codes[row]
        if self.given is None:
            return codes, torch.zeros_like(codes, dtype=torch.bool)
        return codes, self.given.kept[row]

    def chance(self, codes: int) -> Tensor:
        """Return the exponential noise [side, codes] of the next row, drawn on the CPU.

        It is seeded by the run's seed and the row, so nothing has to be kept of it.
        """
        seed = (self.recipe.seed * self.side + self.rows) & (2**63 - 1)
        generator = torch.Generator().manual_seed(seed)
        return torch.empty(self.side, codes).exponential_(generator=generator)

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint keeps."""
        return {
            "codes": self.codes,
            "rows": torch.tensor(self.rows),
            "surprise": torch.tensor(self.surprise, dtype=torch.float64),
            "chosen": torch.tensor(self.chosen),
        }


def autoregressive_options() -> tuple[OptionInfo, ...]:
    """Return the engine's settings. The defaults are those of ruDALL-E's examples."""
    return (
        OptionInfo(
            name="top_k",
            help="Each code is chosen among so many of the likeliest. Fewer are calmer.",
            default=2048,
            minimum=1,
            maximum=8192,
        ),
        OptionInfo(
            name="top_p",
            help="… and of these among as few as have this much of the likelihood together.",
            default=0.995,
            minimum=0.01,
            maximum=1.0,
        ),
        OptionInfo(
            name="temperature",
            help="Above 1 unlikely codes are chosen more often, below 1 less often.",
            default=1.0,
            minimum=0.1,
            maximum=5.0,
        ),
        OptionInfo(
            name="keep",
            help="Which side of a start picture is kept; strength says how much is drawn anew.",
            default="top",
            choices=KEEPS,
        ),
    )
