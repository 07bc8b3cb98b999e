"""What a card looks like stays within what Discord takes, whatever people type."""

from __future__ import annotations

import io
import re
from typing import Any

import msgspec
import pytest
from PIL import Image

from bot.delivery.card import Attached, Face, Shown
from bot.delivery.controls import Action, actions_for, dream_of
from bot.delivery.pictures import fitting_together
from bot.delivery.sheets import sheet
from bot.delivery.words import plain
from bot.ids import IdMaker
from bot.model import Dream, DreamState, Live, Person, PictureCheck, Relation, Theme
from generation.protocol import Recipe, Steer
from tests.bot.drawer import png

NASTY = "*_`~|@everyone <@123456789012345678> # " * 40
THEME = Theme(id=1, slug="open", title=NASTY)
IDS = IdMaker()


def dream(state: DreamState = DreamState.DONE, **changes: Any) -> Dream:
    recipe = Recipe(
        engine="clip",
        model="fourier",
        prompt=NASTY,
        width=64,
        height=64,
        steps=100,
        seed=7,
        steers=tuple(Steer(step, NASTY) for step in range(9)),
        until_step=changes.pop("until_step", None),
    )
    return Dream(
        id=IDS.next(),
        ask_id="a",
        theme_id=1,
        person=Person("discord:1", NASTY),
        prompt=NASTY,
        recipe=recipe,
        state=state,
        reason=NASTY,
        **changes,
    )


def parts(components: list[Any]) -> list[dict[str, Any]]:
    found = []
    for component in components:
        found += [component, *parts(component.get("components", []))]
    return found


@pytest.mark.parametrize("count", [1, 2, 10, 11, 25, 26, 100])
@pytest.mark.parametrize("state", list(DreamState))
@pytest.mark.parametrize("until_step", [None, 10])
def test_a_card_is_within_discords_limits(
    count: int, state: DreamState, until_step: int | None
) -> None:
    shown = []
    for number in range(count):
        one = dream(state, until_step=until_step)
        live = Live(
            dream_id=one.id, theme_id=1, state=state, step=1, steps=9, eta_s=9.0, notice=NASTY
        )
        shown.append(
            Shown(
                one,
                None if state.final else live,
                picture=Attached(".png", b"x"),
                steerable=True,
                can=frozenset(Relation),
                hearts=number,
                note=NASTY if number < 2 else "",
            )
        )
    sheets = () if count <= 10 else (b"x",) * -(-count // 25)
    face = Face(shown[0].dream.id, THEME, tuple(shown), sheets)
    view = face.view()
    made = parts([item.to_component_dict() for item in view.children])
    assert len(made) <= 40
    assert view.content_length() <= 4000
    ids = [part["custom_id"] for part in made if "custom_id" in part]
    assert len(set(ids)) == len(ids)
    assert all(len(custom_id) <= 100 for custom_id in ids)
    for part in made:
        if part["type"] == 1:
            assert 1 <= len(part["components"]) <= 5
        elif part["type"] == 3:
            assert 1 <= len(part["options"]) <= 25
            assert part["max_values"] <= len(part["options"])
        elif part["type"] == 12:
            assert 1 <= len(part["items"]) <= 10
            assert all(0 < len(item["description"]) <= 1024 for item in part["items"])
            named = {item["media"]["url"].removeprefix("attachment://") for item in part["items"]}
            assert named <= {file.filename for file in face.files()}
    assert "@everyone" not in str([part.get("content") for part in made])
    assert dream_of(list(view.walk_children())) == shown[0].dream.id


def test_faces_between_which_nobody_sees_a_difference_are_equal() -> None:
    one = dream()
    assert Face(one.id, THEME, (Shown(one),)).looks == Face(one.id, THEME, (Shown(one),)).looks
    other = Face(one.id, THEME, (Shown(one, hearts=1),))
    assert other.looks != Face(one.id, THEME, (Shown(one),)).looks


def test_buttons_are_those_that_the_engines_can_do() -> None:
    nothing = actions_for(dream(), can=frozenset(), steerable=True, worded=True)
    assert nothing == [Action.REROLL, Action.REMIX, Action.FAVOURITE, Action.DELETE]
    tool = actions_for(dream(), can=frozenset(), steerable=False, worded=False)
    assert tool == [Action.FAVOURITE, Action.DELETE]
    every = actions_for(dream(), can=frozenset(Relation), steerable=False, worded=True)
    of_several = {Action.RANK, Action.RANK_BY}
    others = {Action.STEER, Action.CANCEL, Action.SURELY, Action.UNCOVER}
    assert set(every) == set(Action) - others - of_several
    covered = msgspec.structs.replace(dream(), veil=PictureCheck.BLUR)
    shown = actions_for(covered, can=frozenset(), steerable=False, worded=True)
    assert shown[0] is Action.UNCOVER
    waiting = dream(DreamState.WAITING)
    assert actions_for(waiting, steerable=False, worded=True) == [Action.CANCEL]


@pytest.mark.parametrize("length", [1, 7, 100])
def test_what_is_typed_is_cut_to_what_is_shown(length: int) -> None:
    assert len(plain(NASTY, length)) <= length
    assert plain("a fox", 100) == "a fox"


def test_what_is_typed_cannot_end_the_brackets_of_a_link_of_ours() -> None:
    title = plain("Cats](https://evil.example/nitro) x", 80)
    link = f"[{title}](https://wall.example/s/cats)"
    (address,) = re.findall(r"(?<!\\)\]\((.*?)\)", link)
    assert address == "https://wall.example/s/cats"


def test_pictures_share_a_request_and_small_ones_leave_room() -> None:
    noise = Image.effect_noise((256, 256), 100).convert("RGB")
    out = io.BytesIO()
    noise.save(out, "PNG")
    large, small = out.getvalue(), png(16, 16)
    total = len(large) + 4 * len(small)
    uploads = fitting_together([small, large, small], 10**9, total)
    assert [None if one is None else one.suffix for one in uploads] == [".png"] * 3
    uploads = fitting_together([large, small, large], 10**9, total)
    assert sum(len(one.data) for one in uploads if one is not None) <= total
    assert uploads[1] is not None
    assert not uploads[1].lessened
    assert fitting_together([large], 0) == [None]


def test_a_sheet_leaves_empty_what_is_not_there_or_cannot_be_read() -> None:
    made = sheet([png(colour="red"), None, b"no picture", png(32, 16, "blue")], range(1, 5), 64)
    with Image.open(io.BytesIO(made)) as picture:
        assert picture.size == (2 * 64 + 4, 2 * 64 + 4)
        middle = [picture.convert("RGB").getpixel(at) for at in ((32, 40), (100, 40), (32, 108))]
    assert isinstance(middle[0], tuple)
    assert middle[0][0] > 200 and middle[0][2] < 60
    for empty in middle[1:]:
        assert isinstance(empty, tuple)
        assert max(empty) < 80
