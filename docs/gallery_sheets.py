"""What the sheets of docs/gallery.md show; ``docs/make_gallery.py`` draws them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from benchmarks.held_out import PROMPTS
from generation.protocol import Setting


class View(Enum):
    """How a sheet shows its pictures: each once, or side by side so that its seams show."""

    ONCE = auto()
    TILED = auto()


@dataclass(frozen=True)
class Ask:
    """A picture to be drawn.

    `settings` are those that differ from the defaults and from what the preset says. `begins_as`
    and `guide` are words: a picture of these, drawn by diffusion, is what it starts from or is
    guided by.
    """

    prompt: str
    engine: str = ""
    preset: str = ""
    size: tuple[int, int] | None = None
    steps: int | None = None
    settings: tuple[tuple[str, Setting], ...] = ()
    begins_as: str = ""
    guide: str = ""
    caption: str = ""


@dataclass(frozen=True)
class Sheet:
    """A page of the gallery; `note` is what its section says besides."""

    name: str
    title: str
    asks: tuple[Ask, ...]
    columns: int = 5
    view: View = View.ONCE
    note: str = ""


_SMALL = (96, 96)
_VOLCANO, _FLOWERS = "a volcano with glowing lava", "a field of yellow sunflowers"
_FORMED = (
    ("vqgan-clip", "VQGAN"),
    ("fourier-clip", "Fourier"),
    ("siren-clip", "SIREN"),
    ("strokes-clip", "Strokes"),
)
_THINGS = (
    "an orange cat",
    "a purple butterfly",
    "a slice of watermelon",
    "a white sailing boat on the sea",
    "a snowy mountain at night",
)


def _each(
    engine: str, steps: int | None = None, size: tuple[int, int] | None = _SMALL
) -> tuple[Ask, ...]:
    return tuple(Ask(prompt, engine, size=size, steps=steps) for prompt in PROMPTS)


SHEETS = (
    Sheet(
        "diffusion",
        "Starter diffusion",
        _each("diffusion", size=None),
        note="By eye most are what was asked for, as a child might paint it; the waterfall "
        "and the castle in fog are not.",
    ),
    Sheet(
        "vqgan",
        "VQGAN",
        _each("vqgan-clip"),
        note="By eye most could be told without the words; cat, teapot and boat by their outlines "
        "alone, forest and waterfall by their colours.",
    ),
    Sheet(
        "fourier",
        "Fourier",
        _each("fourier-clip"),
        note="All begin with the same clouds, whose brightest parts stay at the edges. By eye "
        "about half could be told without the words.",
    ),
    Sheet(
        "form",
        "With form and without",
        tuple(
            Ask(prompt, engine, settings=(("form", form),), caption=caption)
            for engine, name in _FORMED
            for form, caption in ((0.0, f"{name}, CLIP alone"), (1.0, f"{name}, form 1"))
            for prompt in _THINGS
        ),
        note="Row by row VQGAN without and with it, then Fourier, SIREN and strokes: "
        f"{'; '.join(_THINGS)}.",
    ),
    Sheet(
        "strokes",
        "Strokes (CLIPDraw)",
        _each("strokes-clip"),
        note="By eye things are large, simple and filled, and where the words name a place all "
        "of the paper is covered.",
    ),
    Sheet(
        "siren",
        "SIREN (Deep Daze)",
        _each("siren-clip"),
        note="By eye things are large and simple, with soft outlines and plain colours.",
    ),
    Sheet(
        "deepdream",
        "DeepDream",
        (
            Ask("", "deepdream", caption="from clouds"),
            *(
                Ask(
                    "",
                    "deepdream",
                    settings=(("depth", depth),),
                    begins_as=_VOLCANO,
                    caption=f"a volcano, depth {depth}",
                )
                for depth in (0.2, 0.4, 0.6, 0.8)
            ),
            Ask(
                "",
                "deepdream",
                settings=(("step_size", 3.0),),
                begins_as=_VOLCANO,
                caption="step size 3",
            ),
            Ask("", "deepdream", begins_as=_VOLCANO, guide=_FLOWERS, caption="guided by flowers"),
            Ask("", "deepdream", guide=_FLOWERS, caption="clouds, guided by flowers"),
        ),
        columns=4,
        note="The volcano and the flowers are pictures of the starter diffusion. Without a guide "
        "it finds more of what it finds; with one it finds that one's.",
    ),
    Sheet(
        "panorama",
        "Panoramas (`preset: panorama`)",
        (
            Ask(
                "a forest in autumn / green hills under a blue sky / a stormy sea",
                "vqgan-clip",
                "panorama",
                (224, 80),
                60,
            ),
        ),
        columns=1,
        note="By eye autumn lies on the left, green hills in the middle and water on the right.",
    ),
    Sheet(
        "doorway",
        "Doorways (`preset: doorway`)",
        tuple(
            Ask(prompt, "vqgan-clip", "doorway", (144, 96), 100)
            for prompt in (
                "a snowy mountain / a volcano with glowing lava",
                "a sunset over the sea / a full moon over dark water",
            )
        ),
        columns=2,
        note="A snowy mountain and a volcano; a sunset over the sea and a moon over dark water. By "
        "eye snow and lava are on their sides, and the two moons mirror each other. No door is to "
        "be seen.",
    ),
    Sheet(
        "tiling",
        "Seamless tiles (`preset: seamless tile`)",
        tuple(
            Ask(prompt, engine, "seamless tile", (64, 64), 60)
            for engine in ("fourier-clip", "vqgan-clip")
            for prompt in ("a pink flower in a green garden", "a field of yellow sunflowers")
        ),
        columns=2,
        view=View.TILED,
        note="Each tile is shown four times, Fourier's above and VQGAN's below. By eye there is no "
        "seam.",
    ),
    Sheet(
        "presets",
        "Other presets",
        tuple(
            Ask(
                "a lighthouse above a stormy sea",
                preset=preset,
                size=(128, 128),
                steps=60,
                caption=preset,
            )
            for preset in (
                "mirror",
                "grow",
                "overview and detail",
                "aphantasia",
                "deep daze",
                "pen drawing",
                "stained glass",
                "oil painting",
            )
        ),
        columns=4,
        note="The words are “a lighthouse above a stormy sea”. By eye all have the sea below and a "
        "light; the mirror's left and right are equally bright, and no two look alike.",
    ),
)
