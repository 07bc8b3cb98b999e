"""Starting from two pictures at once.

Latents are mixed along the arc between them: a straight mixture would be shorter than either, and
so paler than any picture's. Source: Shoemake, Animating Rotation with Quaternion Curves (1985).
"""

from __future__ import annotations

import torch
from torch import Tensor

from generation.engine import EngineError
from generation.protocol import Job, OptionInfo

_PARALLEL = 0.9995  # cosine above which the arc is a line, and its formula divides by nothing


def blend_option(default: float) -> OptionInfo:
    """Return the setting that says how much of a further picture the start has."""
    return OptionInfo(
        name="blend",
        help="How much of the last further picture is mixed into the start picture: 0 none, 1 "
        "that one alone.",
        default=default,
        minimum=0.0,
        maximum=1.0,
    )


def mixed_in(job: Job, blend: float) -> bytes | None:
    """Return the encoded picture that is mixed into a job's start picture, or None.

    Raises:
        EngineError: it did not come along, or there is nothing to mix it into.
    """
    if not job.recipe.picture_sha256s or not blend:
        return None
    if job.init is None:
        raise EngineError("What is the picture to be mixed into? Give one to start from, too.")
    data = job.pictures.get(job.recipe.picture_sha256s[-1])
    if data is None:
        raise EngineError("A picture that this dream is drawn from did not come with it.")
    return data


def slerp(first: Tensor, second: Tensor, part: float) -> Tensor:
    """Return what lies at `part` (0..1) of the way from one tensor to another of its shape."""
    one, other = first.float(), second.float()
    cosine = torch.dot(one.flatten(), other.flatten()) / (one.norm() * other.norm()).clamp_min(1e-8)
    if abs(float(cosine)) > _PARALLEL:
        return torch.lerp(first, second, part)
    angle = torch.acos(cosine)
    mixed = torch.sin((1 - part) * angle) * one + torch.sin(part * angle) * other
    return (mixed / torch.sin(angle)).to(first.dtype)
