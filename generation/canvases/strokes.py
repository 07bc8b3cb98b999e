"""A picture as strokes of a pen on white paper: nothing needs training.

The parameters are ``points`` [strokes, 10, 2], ``widths`` [strokes] and ``colours`` [strokes, 4]
(red, green, blue, opacity in 0..1); the constant ``cubics`` [strokes] says how many of its points
a stroke uses. Lengths are in units of which the picture's shorter side has 224, so that learning
rates and widths mean the same at every size.

Source: Frans et al., CLIPDraw (2021), kvfrans/clipdraw: strokes, bounds and learning rates.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from generation.canvases.base import NO_SETTINGS, CanvasDefaults, Optimiser, Rate, Start
from generation.canvases.stroke_raster import POINTS, SEGMENTS, Strokes, predict_bytes, rasterise
from generation.protocol import OptionInfo, Setting

STROKES_OPTION = OptionInfo(
    name="strokes",
    help="How many strokes it draws with. Few make a sketch, many a painting.",
    default=256,
    minimum=1,
    maximum=2048,
)

_UNITS = 224
_WIDEST = 50.0
_REACH = 0.1 * _UNITS
# Of a start from a picture: strokes overlap by about this factor, and let a little through.
_OVERLAP = 1.5
_OPAQUE = 0.9


class StrokesCanvas(CanvasDefaults):
    """Draws a number of strokes over each other, each of 1 to 3 cubic Béziers.

    With a picture to start from, strokes are spread evenly and take its colours.
    """

    multiple = 1
    any_size = True
    optimiser = Optimiser(
        learning_rate=1.0,
        rates={
            "points": Rate(1.0, later=((0.5, 0.4), (0.75, 0.1))),
            "widths": Rate(0.1),
            "colours": Rate(0.01),
        },
    )

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def start(
        self,
        width: int,
        height: int,
        random: torch.Generator,
        picture: Tensor | None,
        settings: Mapping[str, Setting] = NO_SETTINGS,
    ) -> Start:
        """Scatter short thin strokes of random colours, or broad ones of the picture's."""
        count = _count(settings)
        across = torch.tensor([width, height]) / _scale(width, height)
        cubics = torch.randint(1, SEGMENTS + 1, (count,), generator=random)
        places = torch.rand(count, 2, generator=random)
        steps = (torch.rand(count, POINTS - 1, 2, generator=random) - 0.5) * _REACH
        colours = torch.rand(count, 4, generator=random)
        widths = torch.ones(count)
        anchor = {}
        if picture is not None:
            # An even spread in place of chance: the additive recurrence of the plastic number.
            index = torch.arange(1, count + 1, dtype=torch.float64)[:, None]
            stride = torch.tensor([0.7548776662466927, 0.5698402909980532], dtype=torch.float64)
            places = ((places[0] + index * stride) % 1).float()
            area = float(across.prod()) / count
            widths = torch.full_like(widths, min(_WIDEST, (_OVERLAP * area) ** 0.5))
            column = (places[:, 0] * width).long().clamp(max=width - 1)
            row = (places[:, 1] * height).long().clamp(max=height - 1)
            seen = picture.cpu()[:, row, column].T
            colours = torch.cat([seen, torch.full_like(seen[:, :1], _OPAQUE)], dim=1)
            anchor["picture"] = picture.to(self._device)
        first = (places * across)[:, None]
        points = torch.cat([first, first + steps.cumsum(dim=1)], dim=1)
        if picture is not None:
            # Their middle, and not their beginning, lies where the colour is from.
            points = points - (points - first).mean(dim=1, keepdim=True)
        parameters = {"points": points, "widths": widths, "colours": colours}
        return Start(
            {name: value.to(self._device) for name, value in parameters.items()},
            {"cubics": cubics.to(self._device)},
            anchor,
        )

    def draw(
        self,
        parameters: Mapping[str, Tensor],
        constants: Mapping[str, Tensor],
        width: int,
        height: int,
    ) -> Tensor:
        """Draw [runs, 3, height, width]."""
        scale = _scale(width, height)
        strokes = Strokes(
            points=parameters["points"] * scale,
            cubics=constants["cubics"],
            widths=parameters["widths"] * scale,
            colours=parameters["colours"],
        )
        return rasterise(strokes, width, height)

    def pull(
        self,
        parameters: Mapping[str, Tensor],
        pictures: Tensor,
        anchor: Mapping[str, Tensor],
    ) -> Tensor:
        """Return the mean squared difference of each picture from the one it started from."""
        return (pictures - anchor["picture"]).square().flatten(1).mean(dim=1)

    def clamp(self, parameters: Mapping[str, Tensor]) -> None:
        """Keep widths between 1 and 50 units, and colours between 0 and 1."""
        parameters["widths"].clamp_(1.0, _WIDEST)
        parameters["colours"].clamp_(0.0, 1.0)

    def predict_bytes(
        self,
        width: int,
        height: int,
        settings: Mapping[str, Setting] = NO_SETTINGS,
        *,
        exact: bool = False,
    ) -> int:
        """Estimate what the strokes that reach each pixel keep."""
        return predict_bytes(_count(settings), width, height)

    def svg(
        self,
        parameters: Mapping[str, Tensor],
        constants: Mapping[str, Tensor],
        width: int,
        height: int,
    ) -> str:
        """Return one run's picture (tensors have no axis of runs) as an SVG document."""
        scale = _scale(width, height)
        lines = [
            '<svg xmlns="http://www.w3.org/2000/svg" '
            f'width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
            '<rect width="100%" height="100%" fill="#fff"/>',
            '<g fill="none" stroke-linecap="round" stroke-linejoin="round">',
        ]
        rows = zip(
            (parameters["points"] * scale).tolist(),
            (parameters["widths"] * scale).tolist(),
            parameters["colours"].tolist(),
            constants["cubics"].tolist(),
            strict=True,
        )
        for points, pen, (red, green, blue, opacity), cubics in rows:
            curves = (points[first : first + 3] for first in range(1, 3 * cubics, 3))
            path = f"M{_pair(points[0])}" + "".join(
                "C" + " ".join(_pair(point) for point in curve) for curve in curves
            )
            colour = "".join(f"{round(255 * part):02x}" for part in (red, green, blue))
            lines.append(
                f'<path d="{path}" stroke="#{colour}" '
                f'stroke-opacity="{opacity:.3f}" stroke-width="{pen:.2f}"/>'
            )
        return "\n".join([*lines, "</g>", "</svg>", ""])


def _count(settings: Mapping[str, Setting]) -> int:
    return int(settings.get(STROKES_OPTION.name, STROKES_OPTION.default))


def _scale(width: int, height: int) -> float:
    """Return how many pixels a unit has."""
    return min(width, height) / _UNITS


def _pair(point: list[float]) -> str:
    return f"{point[0]:.2f} {point[1]:.2f}"
