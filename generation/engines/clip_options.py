"""The settings of the CLIP-steered engines: what people may change, and what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from generation.clip.cutouts import KINDS
from generation.engines.options import complete_settings
from generation.protocol import EngineInfo, OptionInfo, Recipe, Setting

STARTS = ("chance", "clouds")


@dataclass(frozen=True)
class ClipSettings:
    """A recipe's settings, complete and checked; `clip_options` explains each.

    `own` are those of the canvas alone.
    """

    perceptor: str
    cutouts: int
    cutout_kind: str
    cut_pow: float
    learning_rate: float
    init_weight: float
    start: str
    tries: int = 1
    averaging: float = 0.0
    own: Mapping[str, Setting] = field(default_factory=dict)

    @classmethod
    def of(cls, recipe: Recipe, info: EngineInfo) -> ClipSettings:
        """Read a recipe's settings, with the engine's defaults for those it does not have.

        Raises:
            EngineError: one is unknown or out of bounds.
        """
        values = complete_settings(recipe.settings, info.options)
        shared = {each.name for each in fields(cls)}
        return cls(
            perceptor=str(values["perceptor"]),
            cutouts=int(values["cutouts"]),
            cutout_kind=str(values["cutout_kind"]),
            cut_pow=float(values["cut_pow"]),
            learning_rate=float(values["learning_rate"]),
            init_weight=float(values.get("init_weight", 0.0)),
            start=str(values.get("start", "chance")),
            tries=int(values.get("tries", 1)),
            averaging=float(values.get("averaging", 0.0)),
            own={name: value for name, value in values.items() if name not in shared},
        )


def clip_options(
    perceptors: tuple[str, ...],
    *,
    cutouts: int,
    kind: str,
    learning_rate: float,
    start: str,
    cut_pow: float = 1.0,
    starts: tuple[str, ...] = STARTS,
    tries: int = 1,
    averaging: float = 0.0,
) -> tuple[OptionInfo, ...]:
    """Return the settings that every canvas has, with defaults that suit one of them.

    `starts` are those that the canvas can make; without any, it has no start picture to hold on to
    either. With more than one of `tries`, or some `averaging`, there is a setting for it.
    """
    return (
        OptionInfo(
            name="perceptor",
            help="The CLIP model that judges the picture.",
            default=perceptors[0] if perceptors else "",
            choices=perceptors,
        ),
        OptionInfo(
            name="cutouts",
            help="How many random crops CLIP is shown in each step. More is steadier and slower.",
            default=cutouts,
            minimum=1,
            maximum=256,
        ),
        OptionInfo(
            name="cutout_kind",
            help="How crops are made: plain squares, squares turned and recoloured, the whole "
            "picture pooled and distorted, or (for drawings) seen askew on white.",
            default=kind,
            choices=KINDS,
        ),
        OptionInfo(
            name="cut_pow",
            help="Above 1 favours small crops (detail), below 1 large ones (composition).",
            default=cut_pow,
            minimum=0.05,
            maximum=10.0,
        ),
        OptionInfo(
            name="learning_rate",
            help="How far each step goes. Large is wild, small is gentle.",
            default=learning_rate,
            minimum=0.000001,
            maximum=2.0,
        ),
        *(_start_options(start, starts) if starts else ()),
        *((_tries_option(tries),) if tries > 1 else ()),
        *((_averaging_option(averaging),) if averaging else ()),
    )


def _start_options(start: str, starts: tuple[str, ...]) -> tuple[OptionInfo, ...]:
    return (
        OptionInfo(
            name="init_weight",
            help="How strongly a given start picture holds on, most at first. "
            "The less strength, the more of it counts.",
            default=1.0,
            minimum=0.0,
            maximum=100.0,
        ),
        OptionInfo(
            name="start",
            help="What it starts from where no picture is given: chance alone, or soft clouds "
            "of colour, which make for larger shapes.",
            default=start,
            choices=starts,
        ),
    )


def _tries_option(tries: int) -> OptionInfo:
    return OptionInfo(
        name="tries",
        help="How many random starts it looks at, to go on with the one nearest the prompt.",
        default=tries,
        minimum=1,
        maximum=256,
    )


def _averaging_option(averaging: float) -> OptionInfo:
    return OptionInfo(
        name="averaging",
        help="How much the crops are judged as one, by the average of what CLIP sees in them, "
        "and not each by itself.",
        default=averaging,
        minimum=0.0,
        maximum=1.0,
    )
