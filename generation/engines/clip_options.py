"""The settings of the CLIP-steered engines: what people may change, and what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from generation.clip.cutouts import KINDS
from generation.engine import EngineError
from generation.engines.blending import blend_option
from generation.engines.options import complete_settings
from generation.protocol import EngineInfo, OptionInfo, Recipe, Setting, chosen_with_weights
from generation.schedules import NO_SCHEDULE, Schedule, read_schedule

STARTS = ("chance", "clouds")
SYMMETRIES = ("none", "edge", "tone", "semantic")
TILINGS = ("none", "across", "down", "both")


@dataclass(frozen=True)
class ClipSettings:
    """A recipe's settings, complete and checked; `clip_options` explains each.

    `perceptors` are names with their shares, which sum to 1, the largest first. `own` are the
    settings of the canvas alone.
    """

    perceptors: tuple[tuple[str, float], ...]
    cutouts: int
    cutout_kind: str
    cut_pow: float
    learning_rate: float
    init_weight: float
    start: str
    blend: float = 0.0
    tries: int = 1
    averaging: float = 0.0
    form: float = 0.0
    panorama: bool = False
    symmetry: str = "none"
    symmetry_weight: float = 1.0
    tiling: str = "none"
    crop_weighting: float = 0.0
    overview: Schedule = NO_SCHEDULE
    grey: Schedule = NO_SCHEDULE
    sides: Schedule = NO_SCHEDULE
    own: Mapping[str, Setting] = field(default_factory=dict)

    @classmethod
    def of(cls, recipe: Recipe, info: EngineInfo) -> ClipSettings:
        """Read a recipe's settings, with what those mean that it does not have.

        Raises:
            EngineError: one is unknown or out of bounds, or two do not go together.
        """
        values = complete_settings(recipe.settings, info.options)
        shared = {each.name for each in fields(cls)} | {"perceptor"}
        side = max(recipe.width, recipe.height)
        settings = cls(
            perceptors=_perceptors(str(values["perceptor"]), info),
            cutouts=int(values["cutouts"]),
            cutout_kind=str(values["cutout_kind"]),
            cut_pow=float(values["cut_pow"]),
            learning_rate=float(values["learning_rate"]),
            init_weight=float(values.get("init_weight", 0.0)),
            start=str(values.get("start", "chance")),
            blend=float(values.get("blend", 0.0)),
            tries=int(values.get("tries", 1)),
            averaging=float(values.get("averaging", 0.0)),
            form=float(values.get("form", 0.0)),
            panorama=bool(values["panorama"]),
            symmetry=str(values["symmetry"]),
            symmetry_weight=float(values["symmetry_weight"]),
            tiling=str(values["tiling"]),
            crop_weighting=float(values["crop_weighting"]),
            overview=read_schedule("overview", str(values["overview"]), low=0, high=1),
            grey=read_schedule("grey", str(values["grey"]), low=0, high=1),
            sides=read_schedule("sides", str(values["sides"]), low=info.min_side, high=side),
            own={name: value for name, value in values.items() if name not in shared},
        )
        settings._check()
        return settings

    @property
    def asks_flow(self) -> bool:
        """Whether a flow model is asked for the form: it knows nothing of places and of tiles."""
        return self.form > 0 and not self.panorama and self.tiling == "none"

    def _check(self) -> None:
        if self.symmetry != "semantic":
            return
        if self.tiling in ("across", "both"):
            raise EngineError(
                "Semantic symmetry needs a left and a right edge. Tile down, or not at all."
            )
        if self.cutout_kind in ("pooled", "drawing"):
            raise EngineError(
                f"Semantic symmetry compares crops of both sides; {self.cutout_kind} cutouts show "
                "the whole. Choose classic, augmented or scheduled ones."
            )
        if self.cutouts < 2:
            raise EngineError("Semantic symmetry compares pairs of crops. Take at least 2 cutouts.")


def _perceptors(text: str, info: EngineInfo) -> tuple[tuple[str, float], ...]:
    option = next(option for option in info.options if option.name == "perceptor")
    if not option.choices:
        return ((text, 1.0),)
    chosen = chosen_with_weights(text, option.choices)
    total = sum(weight for _, weight in chosen)
    shares = [(name, weight / total) for name, weight in chosen]
    return tuple(sorted(shares, key=lambda share: (-share[1], share[0])))


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
    form: float | None = None,
) -> tuple[OptionInfo, ...]:
    """Return the settings that every canvas has, with defaults that suit one of them.

    `starts` are those that the canvas can make; without any, it has no start picture to hold on to
    either. With more than one of `tries`, or some `averaging`, there is a setting for it, and with
    any `form`: that is for engines that have a flow model to ask.
    """
    return (
        OptionInfo(
            name="perceptor",
            help="The CLIP model that judges the picture; several as in “one:1 + another:0.5”.",
            default=perceptors[0] if perceptors else "",
            choices=perceptors,
            weighted=True,
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
            "picture pooled and distorted, (for drawings) seen askew on white, or overviews and "
            "squares by the schedule that “overview” gives.",
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
        *_COMPOSITION,
        *(_start_options(start, starts) if starts else ()),
        *((_tries_option(tries),) if tries > 1 else ()),
        *((_averaging_option(averaging),) if averaging else ()),
        *((_form_option(form),) if form is not None else ()),
    )


_COMPOSITION = (
    OptionInfo(
        name="crop_weighting",
        help="Above 0 large crops count more (composition), below 0 small ones (detail).",
        default=0.0,
        minimum=-4.0,
        maximum=4.0,
    ),
    OptionInfo(
        name="overview",
        help="For scheduled cutouts: which part of them shows the whole picture, from which step "
        "on, such as 0.75@0, 0.25@40.",
        default="0.75@0, 0.25@40",
    ),
    OptionInfo(
        name="grey",
        help="For scheduled cutouts: which part of the others is without colour, and from when.",
        default="0.2@0, 0@40",
    ),
    OptionInfo(
        name="panorama",
        help="Whether slashes put prompts side by side, as in: forest / meadow / sea.",
        default=False,
    ),
    OptionInfo(
        name="symmetry",
        help="What the picture's left and right share: edges, tone, or how things are shown.",
        default="none",
        choices=SYMMETRIES,
    ),
    OptionInfo(
        name="symmetry_weight",
        help="How much the symmetry counts beside the prompts.",
        default=1.0,
        minimum=0.0,
        maximum=100.0,
    ),
    OptionInfo(
        name="tiling",
        help="Along which edges the picture goes on at the opposite one, so that it can be tiled.",
        default="none",
        choices=TILINGS,
    ),
    OptionInfo(
        name="sides",
        help="The longer side in pixels and from which step on, such as 64@0, 128@50: the "
        "picture is carried from size to size. Empty for its full size from the start.",
        default="",
    ),
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
        blend_option(0.0),
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


def _form_option(form: float) -> OptionInfo:
    return OptionInfo(
        name="form",
        help="How much the starter diffusion model's idea of the prompt counts beside CLIP's. It "
        "gives things their form; 0 leaves all to CLIP.",
        default=form,
        unsaid=0.0,
        minimum=0.0,
        maximum=10.0,
    )
