"""The settings of DeepDream: what people may change, and what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from generation.engine import EngineError
from generation.engines.options import complete_settings
from generation.protocol import EngineInfo, OptionInfo, Recipe


@dataclass(frozen=True)
class DreamSettings:
    """A recipe's settings; `deepdream_options` explains each."""

    octaves: int
    octave_scale: float
    step_size: float
    jitter: int
    depth: float
    layers: str
    start: str

    @classmethod
    def of(cls, recipe: Recipe, info: EngineInfo) -> DreamSettings:
        """Read a recipe's settings, with the engine's defaults for those it does not have.

        Raises:
            EngineError: one is unknown or out of bounds.
        """
        values = complete_settings(recipe.settings, info.options)
        return cls(
            octaves=int(values["octaves"]),
            octave_scale=float(values["octave_scale"]),
            step_size=float(values["step_size"]),
            jitter=int(values["jitter"]),
            depth=float(values["depth"]),
            layers=str(values["layers"]),
            start=str(values["start"]),
        )


def deepdream_options() -> tuple[OptionInfo, ...]:
    """Return the engine's settings, with the original's defaults."""
    return (
        OptionInfo(
            name="depth",
            help="How deep in the network it looks: 0 finds edges and textures, 1 whole animals.",
            default=0.6,
            minimum=0.0,
            maximum=1.0,
        ),
        OptionInfo(
            name="layers",
            help="The network's layers by name, with commas between; nothing: by depth.",
            default="",
        ),
        OptionInfo(
            name="octaves",
            help="From how many sizes it is dreamed, the smallest first. The steps are shared "
            "among them.",
            default=4,
            minimum=1,
            maximum=12,
        ),
        OptionInfo(
            name="octave_scale",
            help="How many times as large as the last each of these sizes is.",
            default=1.4,
            minimum=1.05,
            maximum=2.0,
        ),
        OptionInfo(
            name="step_size",
            help="How much a step changes, of 255 shades.",
            default=1.5,
            minimum=0.05,
            maximum=20.0,
        ),
        OptionInfo(
            name="jitter",
            help="By how many pixels the picture is shifted in each step at most, so that no "
            "grid shows.",
            default=32,
            minimum=0,
            maximum=256,
        ),
        OptionInfo(
            name="start",
            help="What it starts from where no picture is given: soft clouds of colour, or noise.",
            default="clouds",
            choices=("clouds", "noise"),
        ),
    )


def chosen_layers(own: DreamSettings, known: Sequence[str]) -> tuple[str, ...]:
    """Return the layers that a recipe asks for.

    Raises:
        EngineError: the network has no such layer.
    """
    names = [name.strip() for name in own.layers.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise EngineError(f"This network has no such layer; it has {', '.join(known)}.")
    return tuple(dict.fromkeys(names)) or (known[round(own.depth * (len(known) - 1))],)


def octave_at(recipe: Recipe, own: DreamSettings, step: int) -> int:
    """Return the octave, 0 the smallest, that a step belongs to."""
    return step * own.octaves // recipe.steps


def octave_sizes(recipe: Recipe, own: DreamSettings, smallest: int) -> tuple[tuple[int, int], ...]:
    """Return each octave's height and width; no side goes below what the network takes."""

    def side(full: int, octave: int) -> int:
        shrunk = full / own.octave_scale ** (own.octaves - 1 - octave)
        return max(min(full, smallest), round(shrunk))

    return tuple(
        (side(recipe.height, octave), side(recipe.width, octave)) for octave in range(own.octaves)
    )
