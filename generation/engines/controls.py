"""ControlNets: a sketch leads a picture through residuals that are added within the network.

A ControlNet sees what the network sees, and the sketch; its answers are added to the network's
skip connections and middle, as much as a run wants, in those of its steps that it wants. Runs
with and without one share the network's call: who has none adds zeros, which change nothing.
Source: Zhang, Rao & Agrawala, Adding Conditional Control to Text-to-Image Diffusion Models (2023).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from generation.clip.sending import send
from generation.engine import EngineError
from generation.engines.conditions import Rows
from generation.engines.diffusers_folders import read_network
from generation.engines.sketches import read_sketch, reading_option
from generation.protocol import Job, OptionInfo, Setting

NONE = "none"
# In these a ControlNet is like the network that it was made for.
_ALIKE = ("in_channels", "cross_attention_dim", "block_out_channels", "layers_per_block")


@dataclass(frozen=True)
class Hint:
    """A sketch in one step: which ControlNet reads it, `lines` [3, H, W] in 0..1, how much."""

    name: str
    lines: Tensor
    weight: float


@dataclass(frozen=True)
class Control:
    """How a sketch leads a run: by which ControlNet, how much, and in which part of its steps."""

    name: str
    lines: Tensor
    scale: float
    start: float
    end: float

    def hint(self, step: int, steps: int) -> Hint | None:
        """Return what it says in a step, or None where it says nothing."""
        if self.scale == 0 or step / steps < self.start or (step + 1) / steps > self.end:
            return None
        return Hint(self.name, self.lines, self.scale)


def control_options(names: tuple[str, ...]) -> tuple[OptionInfo, ...]:
    """Return the settings of a sketch, for the ControlNets with these names."""
    return (
        OptionInfo(
            name="control",
            help="Which ControlNet reads the sketch.",
            default=names[0] if names else NONE,
            choices=(NONE, *names),
        ),
        OptionInfo(
            name="control_scale",
            help="How closely it keeps to the sketch.",
            default=1.0,
            minimum=0.0,
            maximum=2.0,
        ),
        OptionInfo(
            name="control_start",
            help="The part of the steps, from 0 to 1, after which the sketch begins to count.",
            default=0.0,
            minimum=0.0,
            maximum=1.0,
        ),
        OptionInfo(
            name="control_end",
            help="The part of the steps after which the sketch no longer counts: less leaves "
            "details to the words.",
            default=1.0,
            minimum=0.0,
            maximum=1.0,
        ),
        reading_option(),
    )


def control_of(job: Job, settings: Mapping[str, Setting], device: torch.device) -> Control | None:
    """Return what leads a run; None without a sketch.

    Raises:
        EngineError: the sketch cannot be used, or nothing is to read it.
    """
    recipe = job.recipe
    if recipe.sketch_sha256 is None:
        return None
    if job.sketch is None:
        raise EngineError("The sketch that this dream is drawn from did not come with it.")
    name, start, end = settings["control"], settings["control_start"], settings["control_end"]
    if name == NONE:
        raise EngineError("No ControlNet is to read the sketch. Name one, or leave the sketch out.")
    if float(start) >= float(end):
        raise EngineError(
            f"The sketch counts from {float(start):g} to {float(end):g} of the steps, which is "
            "never. Let control_start be below control_end."
        )
    reading = str(settings["sketch_reading"])
    lines = read_sketch(job.sketch, recipe.width, recipe.height, reading).to(device)
    return Control(str(name), lines, float(settings["control_scale"]), float(start), float(end))


class ControlNets:
    """The ControlNets of one model: of its `unet`, whose latents are `factor` pixels wide.

    `folder_of` returns a ControlNet's diffusers folder by its name. Each is read once, and stays
    until the model goes.
    """

    def __init__(
        self,
        unet: Any,
        factor: int,
        folder_of: Callable[[str], Path] | None,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self._unet = unet
        self._factor = factor
        self._folder_of = folder_of
        self._dtype, self._device = dtype, device
        self._networks: dict[str, Any] = {}

    def load(self, name: str) -> None:
        """Have a ControlNet ready.

        Raises:
            EngineError: there is none called so, it is damaged, or was made for another model.
        """
        if name in self._networks:
            return
        if self._folder_of is None:
            raise EngineError(f"There is no ControlNet called {name}.")
        network = read_network(
            self._folder_of(name), "", "ControlNetModel", self._dtype, self._device
        )
        self._check(name, network.config)
        self._networks[name] = network

    def residuals(
        self,
        hints: Sequence[Hint | None],
        latents: Tensor,
        timesteps: Tensor,
        rows: Rows,
        added: dict[str, Tensor] | None,
    ) -> dict[str, Any]:
        """Return what is added in a call of the network with these rows, as its arguments.

        `hints` has an entry for each row. `latents` [rows, c, h, w] and `timesteps` [rows] are
        what the network is asked with, `added` what SDXL is told besides.
        """
        # One prompt's padding must not be seen by another's row, and these networks have no mask.
        groups: dict[tuple[str, int], list[int]] = defaultdict(list)
        for row, hint in enumerate(hints):
            if hint is not None:
                groups[hint.name, rows.lengths[row]].append(row)
        whole: list[Tensor] | None = None
        for (name, length), members in groups.items():
            present = [hint for row in members if (hint := hints[row]) is not None]
            where = send(members, latents.device, torch.int64)
            down, middle = self._networks[name](
                latents[where].to(self._dtype),
                timesteps[where],
                encoder_hidden_states=rows.states[where, :length],
                controlnet_cond=torch.stack([hint.lines for hint in present]).to(self._dtype),
                added_cond_kwargs=None
                if added is None
                else {key: value[where] for key, value in added.items()},
                return_dict=False,
            )
            weights = send([hint.weight for hint in present], latents.device)
            said = [
                part * weights.to(part.dtype).view(-1, *[1] * (part.dim() - 1))
                for part in (*down, middle)
            ]
            if whole is None:
                whole = [part.new_zeros(len(latents), *part.shape[1:]) for part in said]
            for total, part in zip(whole, said, strict=True):
                total.index_copy_(0, where, part)
        if whole is None:
            return {}
        return {
            "down_block_additional_residuals": tuple(whole[:-1]),
            "mid_block_additional_residual": whole[-1],
        }

    def _check(self, name: str, config: Any) -> None:
        theirs = {key: _plain(config[key]) for key in _ALIKE}
        ours = {key: _plain(self._unet.config[key]) for key in _ALIKE}
        shrinks = 2 ** (len(config.conditioning_embedding_out_channels) - 1)
        if theirs != ours or shrinks != self._factor or config.conditioning_channels != 3:
            raise EngineError(
                f"The ControlNet {name} does not fit this model: it was made for another kind. "
                "Choose another with the setting “control”, or another model."
            )


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
