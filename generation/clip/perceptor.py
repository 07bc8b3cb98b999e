"""The perceptor: any open_clip model behind one small face, with its embeddings of texts kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from generation.clip.vision import vision_tower
from generation.models.compiling import Compiler
from generation.models.kept import Kept
from generation.prompts import words_beyond

_CACHED_TEXTS = 4096

Tokenizer = Callable[[list[str]], Any]


class Perceptor:
    """Embeds pictures and texts as unit vectors that are near where they agree.

    `model` has open_clip's `encode_image` and `encode_text`; `tokenizer` turns texts into what
    the latter takes. `size` is the side of the square pictures it sees; `mean` and `std` [3, 1, 1]
    are the normalisation of the model's own configuration. The model becomes the perceptor's own:
    its vision tower may be arranged anew (`generation.clip.vision`). `compiler` says how it is
    computed.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        tokenizer: Tokenizer,
        *,
        size: int,
        mean: Sequence[float],
        std: Sequence[float],
        device: torch.device,
        compiler: Compiler | None = None,
    ) -> None:
        self.model = model.to(device).eval().requires_grad_(False)
        see = vision_tower(model) or _whole_tower(model)
        self._see = (compiler or Compiler(device)).network("CLIP's vision tower", see)
        self.size = size
        self.device = device
        self._tokenizer = tokenizer
        self.mean = torch.tensor(tuple(mean), device=device).view(3, 1, 1)
        self.std = torch.tensor(tuple(std), device=device).view(3, 1, 1)
        self._texts: OrderedDict[str, Tensor] = OrderedDict()
        # Of one crop alone attention keeps views in place of copies.
        few, many = (torch.zeros(rows, 3, size, size, device=device) for rows in (2, 3))
        formats = self._see.formats
        self._kept = {number: self._see.kept_in(number, few, many) for number in formats}

    @classmethod
    def from_open_clip(
        cls, name: str, weights: str, device: torch.device, compiler: Compiler | None = None
    ) -> Perceptor:
        """Load an open_clip architecture by name with a local file of weights."""
        import open_clip

        model = open_clip.create_model(name, pretrained=weights, weights_only=True)
        return cls.of_open_clip(model, open_clip.get_tokenizer(name), device, compiler)

    @classmethod
    def of_open_clip(
        cls,
        model: torch.nn.Module,
        tokenizer: Tokenizer,
        device: torch.device,
        compiler: Compiler | None = None,
    ) -> Perceptor:
        """Wrap an open_clip model; size and normalisation come from its own configuration."""
        import open_clip

        config: dict[str, Any] = open_clip.get_model_preprocess_cfg(model)
        size = config["size"]
        side = int(size if isinstance(size, int) else min(size))
        mean, std = config["mean"], config["std"]
        return cls(
            model, tokenizer, size=side, mean=mean, std=std, device=device, compiler=compiler
        )

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Return [texts, dim]. Each text is embedded alone, so its vector is always the same."""
        for text in texts:
            if text not in self._texts:
                tokens = self._tokenizer([text])
                if isinstance(tokens, Tensor):
                    tokens = tokens.to(self.device)
                embedding = self.model.encode_text(tokens)  # type: ignore[operator]
                self._texts[text] = F.normalize(embedding.float(), dim=-1)[0]
            self._texts.move_to_end(text)
        found = torch.stack([self._texts[text] for text in texts])
        while len(self._texts) > _CACHED_TEXTS:
            self._texts.popitem(last=False)
        return found

    @torch.no_grad()
    def read(self, texts: Sequence[str]) -> Tensor:
        """Return [texts, dim] of many texts at once: faster, and alike but for the last digits."""
        tokens = self._tokenizer(list(texts))
        if isinstance(tokens, Tensor):
            tokens = tokens.to(self.device)
        return F.normalize(self.model.encode_text(tokens).float(), dim=-1)  # type: ignore[operator]

    def unread(self, text: str) -> str:
        """Return the words of a text that are beyond what the model reads; empty for none."""
        encode = getattr(self._tokenizer, "encode", None)
        room = getattr(self._tokenizer, "context_length", None)
        if encode is None or room is None:
            return ""
        # The tokens of begin and end take two of the places.
        return words_beyond(text, lambda part: len(encode(part)), room - 2)

    def encode_image(self, pictures: Tensor) -> Tensor:
        """Return [n, dim] of pictures [n, 3, size, size] in 0..1; gradients pass."""
        return F.normalize(self._see(self._normed(pictures)).float(), dim=-1)

    def _normed(self, pictures: Tensor) -> Tensor:
        return (pictures - self.mean) / self.std

    def kept(self, *, exact: bool = False) -> Kept:
        """Return what embedding crops keeps in memory for their gradient, a row a crop."""
        return self._kept[torch.float32 if exact else self._see.format]

    @torch.no_grad()
    def look(self, picture: Tensor) -> Tensor:
        """Return the vector [dim] of a whole picture [3, height, width], shrunk to a square.

        It is what recipes aim at and what is kept for searches, so it is always eager, in float32.
        """
        shrunk = F.interpolate(
            picture[None].to(self.device),
            size=(self.size, self.size),
            mode="bicubic",
            antialias=True,
        )
        seen = self._see.plainly(self._normed(shrunk.clamp(0, 1)))
        return F.normalize(seen.float(), dim=-1)[0]

    @torch.no_grad()
    def score(self, picture: Tensor, texts: Sequence[str]) -> Tensor:
        """Return the cosines [texts] of a whole picture [3, height, width] with texts."""
        return (self.look(picture)[None] @ self.encode_text(texts).T)[0]


def _whole_tower(model: torch.nn.Module) -> Callable[[Tensor], Tensor]:
    encode: Callable[[Tensor], Tensor] = model.encode_image  # type: ignore[assignment]
    return encode
