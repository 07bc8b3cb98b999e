"""Sources, captions and composed scenes: pinned, worded, and the same twice."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from training.captions import (
    Words,
    caption,
    in_more_words,
    in_other_words,
    names,
    plural,
    slug,
    with_article,
)
from training.compose import example, one_thing, recolour
from training.evaluate import prompts
from training.filters import FILTERS
from training.lists import lines
from training.packs import pack, unpack
from training.pictures import Pictures
from training.places import PAINTERS, paint
from training.render import render_set, render_svg, svg_document
from training.shards import Shards, make_shard, shard_path
from training.sources import DRAWN, ICON_SETS, PACKAGES

_ROOT = Path(__file__).resolve().parents[2]


def test_notice_names_every_author_who_asks_for_it() -> None:
    notice = (_ROOT / "NOTICE").read_text()
    for icon_set in ICON_SETS:
        if icon_set.licence.startswith("CC-BY"):
            assert icon_set.source in notice, icon_set.prefix
    for package in PACKAGES:
        assert len(package.sha256) == 64


def test_no_share_alike_or_noncommercial_set_is_used() -> None:
    assert {icon_set.licence for icon_set in ICON_SETS} <= {"MIT", "Apache-2.0", "CC-BY-4.0"}


def test_captions_read_as_english() -> None:
    assert with_article("apple") == "an apple"
    assert with_article("glasses") == "glasses"
    plurals = {
        "cat": "cats", "fish": "fish", "cherry": "cherries", "fox": "foxes",
        "red wolf": "red wolves", "walrus": "walruses", "glasses": "glasses",
        "dress": "dresses", "potato": "potatoes",
        "toy": "toys", "brush": "brushes",
    }  # fmt: skip
    assert {noun: plural(noun) for noun in plurals} == plurals
    assert slug("Piñata: the “big” one") == "pinata-the-big-one"
    words = Words("cat", ("pet",), 1.0)
    made = {caption(words, ("3d render of",), np.random.default_rng(seed)) for seed in range(60)}
    assert {"cat", "a cat"} <= made
    assert any("3d render of" in text for text in made)


def test_some_captions_call_things_by_other_names() -> None:
    rng = np.random.default_rng(0)
    made = {in_other_words("an owl beside a dog, pencil style", rng) for _ in range(900)}
    assert "an owl beside a dog, pencil style" in made
    assert {"a barn owl beside a dog, pencil style", "an owl beside a husky, pencil style"} <= made
    for whole in ("a hot dog on the table", "dog house", "two dogs"):
        assert {in_other_words(whole, rng) for _ in range(200)} == {whole}
    unseen = [text for kind, text in prompts() if kind == "unseen"]
    told = {word for line in lines("kinds") for word in re.findall("[a-z]+", line)}
    moods = {in_more_words("an owl", rng) for _ in range(3000)}
    told |= {word for text in moods for word in re.findall("[a-z]+", text)}
    known = told | {"a", "an", "of", "the", "in", "on", "end", "city", "wizard", "robot", "garden"}
    assert all(set(text.split()) - known for text in unseen), "or they are unseen no more"


def test_some_captions_have_words_that_show_nothing() -> None:
    rng = np.random.default_rng(0)
    for text in ("a red apple", "two cats", "an owl and a house"):
        made = {in_more_words(text, rng) for _ in range(600)}
        assert text in made and len(made) > 9
        article, _, rest = text.partition(" ")
        for one in made:
            assert text in one or (article in ("a", "an") and one.endswith(f" {rest}")), one
    assert {"a lovely owl", "an owl, highly detailed"} <= {
        in_more_words("an owl", rng) for _ in range(3000)
    }


def test_every_painter_and_filter_works_at_every_shape() -> None:
    for width, height in ((128, 128), (160, 96), (96, 160)):
        rng = np.random.default_rng(1)
        for painter in PAINTERS:
            scenery = painter(rng, width, height)
            assert scenery.picture.shape == (height, width, 3)
            assert scenery.phrase
        picture = np.clip(paint(rng, width, height).picture, 0, 1).astype(np.float32)
        for name, (function, _, _) in FILTERS.items():
            assert function(picture, rng).shape == picture.shape, name


def test_things_stand_under_the_sky_of_the_hour_that_is_named(cache: Path) -> None:
    """A filter once drew night as a silhouette before a pale blue wall."""
    pictures, rng = Pictures(), np.random.default_rng(0)
    made = [one_thing(pictures, rng, 128, 128) for _ in range(400)]
    tops: dict[str, list[float]] = {"night": [], "sunset": []}
    things = []
    for picture, text in made:
        for name, found in tops.items():
            if f" at {name}" in text:
                found.append(float(picture[:10].mean()))
                things.append(float(picture.max(-1)[40:118].max()))
    assert len(tops["night"]) > 4 and len(tops["sunset"]) > 2, tops
    assert max(tops["night"]) < 0.2 < min(tops["sunset"]), tops
    assert np.median(things) > 0.4, "what stands there cannot be told from the dark"


def test_a_seed_is_a_scene(cache: Path) -> None:
    def draw(seed: int) -> list[object]:
        pictures, rng = Pictures(), np.random.default_rng(seed)
        made = [example(pictures, rng) for _ in range(5)]
        return [(one.caption, one.picture.tobytes()) for one in made]

    assert draw(4) == draw(4)
    assert draw(4) != draw(5)


def test_every_common_noun_is_as_likely_as_the_others(cache: Path) -> None:
    pictures, rng = Pictures(), np.random.default_rng(0)
    picked = [pictures.pick_named(rng) for _ in range(600)]
    counts = {noun: [n for _, n in picked].count(noun) for _, noun in picked}
    assert counts.keys() == {"cat", "dog", "heart", "house", "tree"}
    assert all(85 < count < 155 for count in counts.values()), counts
    assert all(noun in names(pictures.words[index].label) for index, noun in picked)


def test_recolouring_keeps_the_outline(cache: Path) -> None:
    image = Pictures().rgba(0)
    for name in ("red", "blue", "black", "white", "grey"):
        changed = recolour(image, name)
        assert np.array_equal(changed[..., 3], image[..., 3])
    blue = recolour(image, "blue")[64, 64]
    assert blue[2] > blue[0]


def test_shards_are_written_once_and_read_by_index(cache: Path) -> None:
    make_shard("square", 0, 4)
    make_shard("square", 1, 3)
    before = shard_path("square", 0).stat().st_mtime_ns
    make_shard("square", 0, 4)
    assert shard_path("square", 0).stat().st_mtime_ns == before
    shards = Shards("square")
    assert len(shards) == 7
    assert shards.batch([0, 6]).shape == (2, 128, 128, 3)
    assert np.array_equal(shards.picture(5), Shards("square", [1]).picture(1))


def test_packs_carry_the_pictures(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(str(tmp_path / "packs"))
    before = Pictures()
    monkeypatch.setenv("DREAMSTREAM_TRAINING", str(tmp_path / "elsewhere"))
    unpack(str(tmp_path / "packs"))
    after = Pictures()
    assert after.words == before.words
    visible = before.rgba(2)[..., 3] > 0
    difference = after.rgba(2)[visible].astype(int) - before.rgba(2)[visible]
    assert np.abs(difference).mean() < 6


def test_our_own_drawings_are_bold_and_named_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("resvg_py", reason="resvg-py (extra `training`) draws SVG")
    monkeypatch.setenv("DREAMSTREAM_TRAINING", str(tmp_path))
    files = sorted((_ROOT / "training/drawn").glob("*.svg"))
    assert render_set(DRAWN) == len(files) > 30
    pixels = np.load(tmp_path / "pictures" / "drawn.npy")
    for path, picture in zip(files, pixels, strict=True):
        assert 0.14 < (picture[..., 3] > 128).mean() < 0.9, path.name
        rows, columns = np.nonzero(picture[..., 3] > 128)
        assert max(np.ptp(rows), np.ptp(columns)) > 100, f"{path.name} does not fill its square"
    drawn = Pictures((DRAWN,))
    called = {name for words in drawn.words for name in names(words.label)}
    assert {"lighthouse", "pirate ship", "potion", "knight"} <= called
    assert {one.label for one in drawn.words}.isdisjoint({"lighthouse 2", "knight 2"})
    common, further = drawn.by_noun
    assert {"lighthouse", "submarine"} <= set(common) and {"potion", "vase"} <= set(further)


def test_an_svg_body_becomes_a_picture() -> None:
    pytest.importorskip("resvg_py", reason="resvg-py (extra `training`) draws SVG")
    icon = {"body": '<circle cx="8" cy="8" r="6" fill="#f00"/>'}
    image = render_svg(svg_document(icon, {"width": 16, "height": 16}))
    assert image.shape == (128, 128, 4)
    assert image[64, 64].tolist() == [255, 0, 0, 255]
    assert image[0, 0, 3] == 0
