"""What all CLIP-steered engines have in common, so that one more is a canvas and a few lines."""

from __future__ import annotations

from collections.abc import Sequence

from generation.protocol import EngineInfo, JourneyInfo, JourneyKind, ModelInfo, OptionInfo

MAX_PICTURES = 4
_MAX_STEPS = 2000


def clip_info(
    *,
    name: str,
    title: str,
    models: Sequence[ModelInfo],
    options: Sequence[OptionInfo],
    side: int,
    steps: int,
    max_pixels: int,
    max_side: int = 1024,
    size_multiple: int = 8,
    takes_init: bool = True,
    continues: bool = True,
) -> EngineInfo:
    """Describe a CLIP-steered engine whose pictures are usually squares of `side` pixels.

    It is steered by words with their negatives and by pictures, draws walks, and if it can start
    from a picture journeys with a camera. It `continues` unless a step of its canvas depends on how
    many there are to be: all schedules of the family count in steps.
    """
    # A walk is one run from its beginning to its end.
    walk = JourneyInfo(kind=JourneyKind.WALK, frame_steps=max(4, steps // 50), max_steps=_MAX_STEPS)
    camera = JourneyInfo(kind=JourneyKind.CAMERA, frame_steps=max(6, steps // 20))
    return EngineInfo(
        name=name,
        title=title,
        models=tuple(models),
        default_width=side,
        default_height=side,
        min_side=32,
        max_side=max_side,
        max_pixels=max_pixels,
        size_multiple=size_multiple,
        default_steps=steps,
        max_steps=_MAX_STEPS,
        takes_init=takes_init,
        max_pictures=MAX_PICTURES,
        takes_negative=True,
        steerable=True,
        journeys=(camera, walk) if takes_init else (walk,),
        continues=continues,
        options=tuple(options),
    )
