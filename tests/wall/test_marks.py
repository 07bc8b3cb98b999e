"""The signs of people in pages: nobody who knows an id can tell whether a sign is its."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from aiohttp import ClientSession

from bot.signed_links import Shows, SignedLinks
from bot.wall.marks import KEY_BYTES, Marks
from tests.wall.conftest import ADA, Scene


def test_a_sign_is_of_a_person_and_of_this_installation(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    keys = [SignedLinks.open(tmp_path).derive("signs") for _ in range(2)]
    keys += [SignedLinks.open(tmp_path / "other").derive("signs")]
    assert {len(key) for key in keys} == {KEY_BYTES}
    own, again, other = (Marks(key) for key in keys)
    assert own.of(ADA.id) == again.of(ADA.id)  # open pages outlast a restart
    assert re.fullmatch("[0-9a-f]{12}", own.of(ADA.id))
    assert len({own.of(ADA.id), own.of("guest:x"), other.of(ADA.id), Marks().of(ADA.id)}) == 4


def test_a_key_for_something_else_is_no_key_for_links(tmp_path: Path) -> None:
    links = SignedLinks.open(tmp_path)
    token, _ = links.make(Shows.THEME, "1", 1)
    kept = (tmp_path / "links.json").read_text()
    keys = {links.derive("a"), links.derive("b")}
    assert len(keys) == 2
    for key in keys:
        assert key.hex() not in kept and key.hex() not in token


async def test_no_page_has_what_an_id_alone_makes(scene: Scene, visitor: ClientSession) -> None:
    await scene.ask("a red planet")
    async with visitor.get("/s/planets") as response:
        text = await response.text()
    mark = scene.wall.marks.of(ADA.id)
    assert f'data-by="{mark}"' in text
    (own,) = re.findall('data-me="([0-9a-f]{12})"', text)
    assert own != mark
    assert hashlib.blake2s(ADA.id.encode(), digest_size=6).hexdigest() not in text
    assert ADA.id not in text
