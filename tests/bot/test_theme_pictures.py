"""Pictures that stand for themes: whose they may be, and that none stays longer than it should."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot import recipes
from bot.checking.service import PictureChecks
from bot.errors import GoneError, InvalidRequestError, NotFoundError
from bot.model import Dream, PictureCheck
from bot.rights import Actor
from bot.theme_pictures import ThemePictures
from tests.bot.drawer import ANN, BOB, Services, png, request, services


def pictures_of(s: Services) -> ThemePictures:
    return ThemePictures(s.store, s.library, s.themes, s.dreams)


async def drawn(s: Services, theme: str = "open", colour: str = "red") -> Dream:
    [dream] = await s.dreams.ask(request("a gate", theme=theme))
    await s.draw(dream.id, colour)
    return await s.dreams.wait(dream.id)


async def test_a_dream_stands_for_a_theme_until_it_is_deleted(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        told: list[None] = []
        s.themes.on_change(lambda: told.append(None))
        dream = await drawn(s)
        theme = await pictures_of(s).choose("open", dream, person=BOB)
        assert dream.image is not None and theme.picture_sha256 == dream.image.sha256
        path = s.library.path(dream.image.sha256)
        assert path.exists()
        before = len(told)
        await s.dreams.delete(dream.id, Actor(ANN))
        assert (await s.themes.get("open")).picture_sha256 is None
        assert [one.picture_sha256 for one in s.themes.known] == [None]
        assert len(told) > before and not path.exists()
        with pytest.raises((NotFoundError, InvalidRequestError, GoneError)):
            await pictures_of(s).choose("open", dream)


async def test_a_theme_is_not_made_with_a_picture_that_has_just_gone(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        dream = await drawn(s)
        with pytest.raises(NotFoundError, match="no such dream"):
            async with pictures_of(s).dreamt(dream) as ready:
                await s.dreams.delete(dream.id, Actor(ANN))
                await s.themes.create(
                    "gates", "Gates", picture_sha256=ready.sha256, also=ready.also
                )
        with pytest.raises(NotFoundError):
            await s.themes.get("gates")


class Flags:
    """Finds something in everything."""

    async def score(self, data: bytes, media_type: str = "image/png") -> float:
        return 0.9


@pytest.mark.parametrize("setting", [None, PictureCheck.OFF, PictureCheck.BLUR])
async def test_a_picture_for_adults_stands_for_no_theme(
    tmp_path: Path, setting: PictureCheck | None
) -> None:
    async with services(tmp_path) as s:
        s.dreams.check_pictures(PictureChecks(s.library, s.settings, Flags(), PictureCheck.SPOILER))
        with pytest.raises(InvalidRequestError, match="for adults"):
            await pictures_of(s).take_in("open", png(40, 30, "blue"), setting=setting)
        assert (await s.themes.get("open")).picture_sha256 is None
        assert not [*s.library.root.glob("**/*.png")]


async def test_what_is_replaced_goes_and_what_something_else_names_stays(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        pictures = pictures_of(s)
        first = await pictures.take_in("open", png(40, 30, "blue"))
        assert first.picture_sha256 is not None
        assert s.library.path(first.picture_sha256).exists()
        # The same picture also is what a dream starts from.
        [dream] = await s.dreams.ask(request("a gate", init=png(48, 48, "green")))
        init = dream.recipe.init_sha256
        assert init is not None
        await pictures.take_in("open", png(48, 48, "green"))
        assert (await s.themes.get("open")).picture_sha256 == init
        assert not s.library.path(first.picture_sha256).exists()
        await pictures.take_off("open")
        assert s.library.path(init).exists()
        assert (await s.themes.get("open")).picture_sha256 is None


async def test_nothing_is_kept_of_what_is_refused(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        pictures = pictures_of(s)
        with pytest.raises(InvalidRequestError, match="picture"):
            await pictures.take_in("open", b"no picture")
        with pytest.raises(NotFoundError):
            await pictures.take_in("absent", png(40, 30, "blue"))
        assert not list((s.library.root / "images").rglob("*.png"))
        assert not await s.store.read("SELECT * FROM image")


async def test_what_is_not_for_everybody_stands_for_nothing_else(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        await s.themes.create("ours", "Ours", visibility="private")
        dream = await drawn(s, "ours")
        with pytest.raises(InvalidRequestError, match="stays where"):
            await pictures_of(s).choose("open", dream)
        assert dream.image is not None
        file = await s.library.read(dream.image.sha256)
        with pytest.raises(InvalidRequestError, match="stays where"):
            await pictures_of(s).take_in("open", file)  # saved, and uploaded
        with pytest.raises(InvalidRequestError, match="stays where"):  # and edited in between
            await pictures_of(s).take_in("open", recipes.embed(png(48, 48, "pink"), dream.recipe))
        assert await s.library.read(dream.image.sha256) == file
        assert (await pictures_of(s).take_in("ours", file)).picture_sha256 == dream.image.sha256
        assert (await pictures_of(s).choose("ours", dream)).picture_sha256 is not None
        [waiting] = await s.dreams.ask(request("an owl"))
        with pytest.raises(InvalidRequestError, match="no picture yet"):
            await pictures_of(s).choose("open", waiting)


async def test_a_picture_survives_a_restart(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        theme = await pictures_of(s).take_in("open", png(40, 30, "blue"))
    async with services(tmp_path) as s:
        assert await s.themes.get("open") == theme
        assert theme.picture_sha256 is not None
        assert s.library.path(theme.picture_sha256).exists()
