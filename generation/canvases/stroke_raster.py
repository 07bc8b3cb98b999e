"""A soft rasteriser: strokes along cubic Béziers become pictures, and pictures' gradients strokes'.

A stroke is a path of up to three cubics drawn with a round pen of constant width. How much of a
pixel it covers falls linearly from 1 to 0 over two pixels across the stroke's edge, which is what
gives points and widths a gradient. Strokes are laid over each other in their order.

The picture is worked out in square tiles, each with only the strokes that can reach it. A pixel's
distance from a stroke is that from its nearest point, found without a gradient: at a nearest
point, moving along the curve changes the distance by nothing, so the gradient through the
control points alone is the whole one. What the gradient needs is recomputed tile by tile, so
memory is bounded by a group of tiles and not by the picture.

Source: Li et al., Differentiable Vector Graphics Rasterization (2020), for the idea; the method
here is our own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

SEGMENTS = 3
"""How many cubics a stroke has at most."""
POINTS = 3 * SEGMENTS + 1
"""How many control points a stroke has; those past its last cubic are not used."""

_TILE = 8
_SAMPLES = 12
_REFINEMENTS = 2
_SOFTNESS = 1.0
# The square root's slope is infinite at 0.
_TINY = 1e-6
# How many pixels times strokes are worked out together: a cache's worth, or a GPU's.
_TOGETHER = {"cpu": 1 << 17}
_TOGETHER_ON_DEVICE = 1 << 20

# Control points to the coefficients of 1, t, t² and t³.
_POWERS = (
    (1.0, 0.0, 0.0, 0.0),
    (-3.0, 3.0, 0.0, 0.0),
    (3.0, -6.0, 3.0, 0.0),
    (-1.0, 3.0, -3.0, 1.0),
)


@dataclass(frozen=True)
class Strokes:
    """The strokes of several runs, in pixels from the top left corner, the first undermost.

    points: [runs, strokes, POINTS, (x, y)].
    cubics: [runs, strokes], how many cubics each has: 1 to SEGMENTS.
    widths: [runs, strokes].
    colours: [runs, strokes, (red, green, blue, opacity)] in 0..1.
    """

    points: Tensor
    cubics: Tensor
    widths: Tensor
    colours: Tensor


def rasterise(strokes: Strokes, width: int, height: int) -> Tensor:
    """Draw strokes on white paper: [runs, 3, height, width] in 0..1.

    Gradients pass to points, widths and colours.
    """
    runs, count = strokes.widths.shape
    columns, rows = -(-width // _TILE), -(-height // _TILE)
    points = strokes.points.reshape(runs * count, POINTS, 2)
    cubics = strokes.cubics.reshape(runs * count)
    widths = strokes.widths.reshape(runs * count)
    colours = strokes.colours.reshape(runs * count, 4)
    drawn: list[Tensor] = []
    places: list[Tensor] = []
    for place, chosen, valid in _groups(_reach(strokes, rows, columns)):
        corner = _TILE * torch.stack([place % columns, place // columns % rows], dim=1)
        middle = (corner + _TILE / 2).to(points.dtype)
        pen = [each.index_select(0, chosen.flatten()).view(*chosen.shape, *each.shape[1:])
               for each in (points, widths, colours)]  # fmt: skip
        local = pen[0] - middle[:, None, None]
        nearest = _nearest(local, cubics[chosen])
        drawn.append(cast(Tensor, _Tiles.apply(local, pen[1], pen[2], valid, *nearest)))
        places.append(place)
    tiles = points.new_ones(runs * rows * columns, _TILE * _TILE, 3)
    if drawn:
        tiles = tiles.index_copy(0, torch.cat(places), torch.cat(drawn))
    picture = tiles.view(runs, rows, columns, _TILE, _TILE, 3).permute(0, 5, 1, 3, 2, 4)
    return picture.reshape(runs, 3, rows * _TILE, columns * _TILE)[:, :, :height, :width]


def predict_bytes(strokes: int, width: int, height: int) -> int:
    """Estimate what one run's picture keeps for its gradient, in bytes.

    Per pixel and stroke that reaches it: a nearest point's cubic and place on it. A fifth of all
    strokes reaching each tile is more than was seen of finished pictures. Besides there is what a
    group of tiles is worked out with.
    """
    return (64 << 20) + 8 * width * height * max(1, strokes // 5)


# --- which strokes reach which tiles ---------------------------------------------------------


@torch.no_grad()
def _reach(strokes: Strokes, rows: int, columns: int) -> Tensor:
    """Return whether a stroke's box, which its control points span, meets a tile.

    Returns:
        [runs · rows · columns, runs · strokes].
    """
    runs, count = strokes.widths.shape
    used = torch.arange(POINTS, device=strokes.points.device) <= 3 * strokes.cubics[..., None]
    low = strokes.points.masked_fill(~used[..., None], torch.inf).amin(dim=2)
    high = strokes.points.masked_fill(~used[..., None], -torch.inf).amax(dim=2)
    margin = (strokes.widths / 2 + _SOFTNESS)[..., None]
    low, high = low - margin, high + margin

    def meets(tiles: int, axis: int) -> Tensor:
        first = _TILE * torch.arange(tiles, device=low.device)
        before = low[:, None, :, axis] < (first + _TILE)[:, None]
        return before & (high[:, None, :, axis] > first[:, None])  # [runs, tiles, strokes]

    met = meets(rows, 1)[:, :, None] & meets(columns, 0)[:, None]
    return met.view(runs, rows * columns, count)


def _groups(reach: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Go through the tiles that any stroke reaches, in groups of about equally many strokes.

    Yields:
        which tiles of all runs' [tiles]; their strokes of all runs' [tiles, most], in order, the
        last one repeated as padding; which of these are no padding [tiles, most].
    """
    runs, tiles, count = reach.shape
    flat = reach.view(runs * tiles, count)
    reached = flat.sum(dim=1)
    order = reached.argsort(descending=True, stable=True)
    amounts = reached[order].tolist()
    together = _TOGETHER.get(reach.device.type, _TOGETHER_ON_DEVICE) // (_TILE * _TILE)
    first = 0
    while first < len(amounts) and amounts[first]:
        most = amounts[first]
        end = first + max(1, together // most)
        place = order[first:end]
        place = place[reached[place] > 0]
        # The strokes that reach a tile sort before the others, each kind in its order.
        chosen = flat[place].byte().argsort(dim=1, descending=True, stable=True)[:, :most]
        valid = torch.arange(most, device=place.device) < reached[place][:, None]
        yield place, chosen + count * (place // tiles)[:, None], valid
        first = end


# --- the nearest point of a stroke -----------------------------------------------------------


def _pixels(like: Tensor) -> Tensor:
    """Return the pixel centres of a tile, from its middle: [pixels, (x, y)]."""
    ticks = torch.arange(_TILE, device=like.device, dtype=like.dtype) + 0.5 - _TILE / 2
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    return torch.stack([x, y], dim=-1).view(-1, 2)


@torch.no_grad()
def _nearest(points: Tensor, cubics: Tensor) -> tuple[Tensor, Tensor]:
    """Find the point of each stroke that is nearest to each pixel of its tile.

    Args:
        points: [tiles, strokes, POINTS, 2], from the tile's middle.
        cubics: [tiles, strokes].

    Returns:
        On which cubic it lies, and where (0..1), both [tiles, strokes, pixels].
    """
    tiles, strokes = cubics.shape
    pixels = _pixels(points)
    # [tiles, strokes, SEGMENTS, (1, t, t², t³), 2]
    powers = points.new_tensor(_POWERS)
    polynomials = powers @ points.unfold(2, 4, 3).transpose(-1, -2)
    t = torch.linspace(0, 1, _SAMPLES + 1, device=points.device, dtype=points.dtype)
    samples = torch.stack([t**power for power in range(4)], dim=1) @ polynomials
    squares = samples.square().sum(dim=-1)
    unused = torch.arange(SEGMENTS, device=points.device) >= cubics[..., None]
    squares = squares.masked_fill(unused[..., None], 1e12)
    each = SEGMENTS * (_SAMPLES + 1)
    # |pixel − sample|², less |pixel|², which does not decide which is the least.
    distances = torch.baddbmm(
        squares.reshape(tiles, strokes * each, 1),
        samples.reshape(tiles, strokes * each, 2),
        (-2 * pixels.T).expand(tiles, 2, -1),
    ).view(tiles, strokes, each, -1)
    least = distances.min(dim=2).indices  # several times as fast as argmin
    cubic = least // (_SAMPLES + 1)
    place = t[least % (_SAMPLES + 1)]
    chosen = polynomials.flatten(3).gather(2, cubic[..., None].expand(-1, -1, -1, 8))
    c0, c1, c2, c3 = chosen.view(*chosen.shape[:-1], 4, 2).unbind(dim=-2)
    c0 = c0 - pixels
    best = place
    for _ in range(_REFINEMENTS):
        at = place[..., None]
        towards = c0 + at * (c1 + at * (c2 + at * c3))
        speed = c1 + at * (2 * c2 + 3 * at * c3)
        bend = 2 * c2 + 6 * at * c3
        slope = (towards * speed).sum(dim=-1)
        curvature = speed.square().sum(dim=-1) + (towards * bend).sum(dim=-1)
        # Newton's step, where it leads to a minimum and stays between the neighbouring samples.
        step = torch.where(curvature > _TINY, slope / curvature.clamp(min=_TINY), 0)
        place = torch.minimum(torch.maximum(place - step, best - 1 / _SAMPLES), best + 1 / _SAMPLES)
        place = place.clamp(0, 1)
    return cubic.to(torch.uint8), place


# --- covering pixels -------------------------------------------------------------------------


class _Tiles(torch.autograd.Function):
    """Draws tiles, and for the gradient draws them again, so that nothing is kept in between.

    What `torch.utils.checkpoint` does, which imports a compiler (200 MB, seconds) for it.
    """

    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> Tensor:
        ctx.save_for_backward(*inputs)
        return _draw_tiles(*inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        points, widths, colours, *others = ctx.saved_tensors
        wanted = [each.detach().requires_grad_() for each in (points, widths, colours)]
        with torch.enable_grad():
            tiles = _draw_tiles(*wanted, *others)
        return (*torch.autograd.grad(tiles, wanted, grad), None, None, None)


def _draw_tiles(
    points: Tensor, widths: Tensor, colours: Tensor, valid: Tensor, cubic: Tensor, place: Tensor
) -> Tensor:
    """Draw the strokes of each tile over white: [tiles, pixels, 3]."""
    tiles, strokes = widths.shape
    with torch.no_grad():
        weights = _bernstein(cubic, place).view(tiles * strokes, -1, POINTS)
    nearest = torch.bmm(weights, points.view(tiles * strokes, POINTS, 2))
    away = (nearest - _pixels(points)).square().sum(dim=-1)
    distance = (away + _TINY).sqrt().view(tiles, strokes, -1)
    inside = (widths / 2)[..., None] - distance
    cover = (inside / (2 * _SOFTNESS) + 0.5).clamp(0, 1)
    opacity = cover * (colours[..., 3] * valid)[..., None]
    return cast(Tensor, _Over.apply(colours[..., :3], opacity))


def _bernstein(cubic: Tensor, place: Tensor) -> Tensor:
    """Return how much each control point weighs in the chosen points: [..., POINTS]."""
    rest = 1 - place
    four = torch.stack(
        [rest**3, 3 * rest.square() * place, 3 * rest * place.square(), place**3], dim=-1
    )
    first = 3 * cubic.long()
    weights = four.new_zeros(*place.shape, POINTS)
    return weights.scatter_(-1, first[..., None] + torch.arange(4, device=first.device), four)


class _Over(torch.autograd.Function):
    """Lays colours over white, each with its opacity: the "over" operator of Porter and Duff.

    Unlike `cumprod` its gradient is exact and cheap where an opacity is 1.
    """

    @staticmethod
    def forward(ctx: Any, colours: Tensor, opacity: Tensor) -> Tensor:
        through = _through(opacity)
        ctx.save_for_backward(colours, opacity)
        laid = torch.einsum("tsp,tsc->tpc", opacity * through[:, 1:], colours)
        return laid + through[:, 0, :, None]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        colours, opacity = ctx.saved_tensors
        through = _through(opacity)[:, 1:]
        to_colours = torch.einsum("tsp,tpc->tsc", opacity * through, grad)
        # What a stroke's opacity changes is its colour against what lies below it.
        own = torch.einsum("tsc,tpc->tsp", colours, grad)
        below = grad.sum(dim=-1)
        change = torch.empty_like(opacity)
        for layer in range(opacity.shape[1]):
            change[:, layer] = own[:, layer] - below
            below = below + opacity[:, layer] * change[:, layer]
        return to_colours, change * through


def _through(opacity: Tensor) -> Tensor:
    """Return how much is seen through the strokes from each on, and through none: [.., s+1, ..]."""
    clear = torch.cat([1 - opacity, torch.ones_like(opacity[:, :1])], dim=1)
    return clear.flip(1).cumprod(dim=1).flip(1)
