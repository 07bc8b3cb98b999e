"""Searching streams: what is found, what is not shown, and what becomes of it over time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bot.checking.model import Decision
from bot.checking.reviews import Reviews
from bot.checking.service import PictureChecks
from bot.errors import InvalidRequestError, NotFoundError, SchedulerError
from bot.model import PictureCheck, StreamEvent, Theme, Visibility
from bot.rights import Actor
from bot.search import Found, ascii_part, says, words_of
from bot.store import vectors
from tests.bot.drawer import ANN, Services, png, request, services, until
from tests.bot.test_seeing import Colours


@asynccontextmanager
async def searching(folder: Path, *, looking: bool = True) -> AsyncIterator[Services]:
    async with services(folder) as parts:
        parts.drawer.perceptors = ("colours",)
        parts.drawer.embed = Colours().embed  # type: ignore[method-assign]
        if looking:
            await parts.looker.start()
        yield parts


async def draw(
    parts: Services, colour: str, theme: str = "open", *, hidden_in: int | None = None
) -> str:
    """Draw a picture of one colour; kept to a channel where one is named. Return its id."""
    asked = request(colour, theme=theme, guild_id=1, channel_id=hidden_in)
    (dream,) = await parts.dreams.ask(asked)
    if hidden_in is not None:
        async with parts.store.write() as connection:
            await connection.execute("UPDATE dream SET published = 0 WHERE id = ?", (dream.id,))
    await parts.draw(dream.id, colour)
    await parts.dreams.wait(dream.id)
    return dream.id


async def seen(parts: Services, count: int, slug: str = "open") -> Theme:
    """Wait until so many pictures of a theme have been looked at, and nothing is left."""
    theme = await parts.themes.get(slug)

    def done() -> bool:
        shelf = parts.looker.shelf(theme.id)
        return (0 if shelf is None else len(shelf)) == count and parts.looker.complete

    await until(done)
    return theme


def ids(found: Found) -> list[str]:
    return [hit.dream.id for hit in found.hits]


async def vectors_kept(parts: Services) -> int:
    row = await parts.store.read_one("SELECT count(*) AS count FROM dream_vector")
    assert row is not None
    return int(row["count"])


async def test_words_and_pictures_find_what_is_like_them(tmp_path: Path) -> None:
    async with searching(tmp_path) as parts:
        made = {colour: await draw(parts, colour) for colour in ("red", "lime", "blue", "#f80000")}
        theme = await seen(parts, 4)
        found = await parts.search.by_text(theme, " green ")
        assert ids(found)[0] == made["lime"] and found.complete
        assert found.hits[0].cosine == pytest.approx(1, abs=1e-3)
        red = await parts.search.by_text(theme, "red")
        # The two reds are nearly the same: one is shown, and the other counted.
        assert len(red.hits) == 3 and red.hits[0].twins == 1
        blue = await parts.search.by_picture(theme, png(40, 30, "#0000fa"))
        assert ids(blue)[0] == made["blue"]
        like = await parts.search.like(await parts.dreams.get(made["red"]), theme)
        assert ids(like)[0] == made["#f80000"] and like.hits[0].is_twin
        assert made["red"] not in ids(like) and len(like.hits) == 3
        assert not like.hits[1].is_twin


async def test_what_may_not_be_seen_is_not_found(tmp_path: Path) -> None:
    async with searching(tmp_path) as parts:
        await parts.themes.create("other", "Other")
        shown, hidden = await draw(parts, "red"), await draw(parts, "#f00000", hidden_in=5)
        elsewhere = await draw(parts, "#e00000", "other")
        theme, other = await seen(parts, 2), await seen(parts, 1, "other")
        assert ids(await parts.search.by_text(theme, "red")) == [shown]
        assert ids(await parts.search.by_text(theme, "red", channel_id=6)) == [shown]
        in_channel = await parts.search.by_text(theme, "red", channel_id=5)
        assert len(in_channel.hits) == 1 and in_channel.hits[0].twins == 1
        like = await parts.search.like(await parts.dreams.get(shown), theme, channel_id=5)
        assert ids(like) == [hidden]
        assert ids(await parts.search.by_text(other, "red")) == [elsewhere]
        with pytest.raises(NotFoundError):
            await parts.search.like(await parts.dreams.get(elsewhere), theme)
        # Kept to its channel after it was looked at: the database is asked each time.
        async with parts.store.write() as connection:
            await connection.execute("UPDATE dream SET published = 0 WHERE id = ?", (shown,))
        assert ids(await parts.search.by_text(theme, "red")) == []
        await parts.themes.change("other", visibility=Visibility.PRIVATE)
        private = await parts.themes.get("other")
        assert ids(await parts.search.by_text(private, "red", channel_id=9)) == [elsewhere]


async def test_what_is_deleted_is_forgotten(tmp_path: Path) -> None:
    async with searching(tmp_path) as parts:
        red, blue = await draw(parts, "red"), await draw(parts, "blue")
        theme = await seen(parts, 2)
        await parts.dreams.delete(red, Actor(ANN))
        assert await vectors_kept(parts) == 1
        assert ids(await parts.search.by_text(theme, "red")) == [blue]
        await seen(parts, 1)


async def test_older_pictures_are_looked_at_and_kept_over_a_restart(tmp_path: Path) -> None:
    async with searching(tmp_path, looking=False) as parts:
        made = [await draw(parts, colour) for colour in ("red", "lime", "blue") * 4]
        theme = await parts.themes.get("open")
        with pytest.raises(SchedulerError, match="still being looked at"):
            await parts.search.by_text(theme, "green")
        await parts.looker.start()
        await seen(parts, len(made))
        assert await vectors_kept(parts) == len(made)
    async with services(tmp_path, up=False) as parts:
        await parts.looker.start()
        theme = await parts.themes.get("open")
        await until(lambda: parts.looker.perceptor == "colours")
        # Nothing looks, but what was looked at is known.
        like = await parts.search.like(await parts.dreams.get(made[0]), theme)
        assert len(like.hits) == len(made) - 1 and like.hits[0].is_twin
        with pytest.raises(SchedulerError, match="at present"):
            await parts.search.by_text(theme, "green")


async def test_what_is_deleted_while_vectors_are_read_is_forgotten_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with searching(tmp_path) as parts:
        red, blue = await draw(parts, "red"), await draw(parts, "blue")
        await seen(parts, 2)
    read = vectors.page
    async with services(tmp_path, up=False) as parts:
        theme = await parts.themes.get("open")

        async def slow(*asked: Any) -> Any:
            page = await read(*asked)
            monkeypatch.setattr(vectors, "page", read)
            async with parts.feed.listen(None) as happenings:
                await parts.dreams.delete(red, Actor(ANN))
                async for happening in happenings:
                    if isinstance(happening, StreamEvent):
                        break
            return page

        monkeypatch.setattr(vectors, "page", slow)
        await parts.looker.start()
        await until(lambda: parts.looker.perceptor == "colours")
        shelf = parts.looker.shelf(theme.id)
        assert shelf is not None and shelf.get(red) is None and shelf.get(blue) is not None


async def test_a_released_picture_is_found_in_place_of_its_cover(tmp_path: Path) -> None:
    class Flags:
        async def score(self, data: bytes, media_type: str = "image/png") -> float:
            return 0.9

    async with searching(tmp_path) as parts:
        checks = PictureChecks(parts.library, parts.settings, Flags(), PictureCheck.REFUSE)
        parts.dreams.check_pictures(checks)
        reviews = Reviews(parts.store, parts.library, parts.dreams, checks)
        reviews.on_change(parts.looker.changed)
        red = await draw(parts, "red")
        theme = await seen(parts, 1)
        shelf, dream = parts.looker.shelf(theme.id), await parts.dreams.get(red)
        assert shelf is not None and dream.image is not None
        (before,) = (await parts.search.by_text(theme, "red")).hits
        stale = vectors.Seeable(red, theme.id, True, None, dream.image.sha256)
        await reviews.decide(dream, Actor(ANN, at_machine=True), Decision.RELEASED)
        async with parts.store.write() as connection:  # what was looked at is shown no more
            assert not await vectors.insert(connection, stale, "colours", b"cover")
        await until(lambda: len(shelf) == 1 and parts.looker.complete)
        (after,) = (await parts.search.by_text(theme, "red")).hits
        assert before.cosine < 0.9 < 0.99 < after.cosine
        assert await vectors_kept(parts) == 1


async def test_another_model_begins_anew_and_the_old_one_is_kept(tmp_path: Path) -> None:
    async with searching(tmp_path) as parts:
        await draw(parts, "red")
        await seen(parts, 1)
        parts.drawer.perceptors = ("other", "colours")
        await until(lambda: parts.looker.perceptor == "other")
        theme = await seen(parts, 1)
        assert await vectors_kept(parts) == 2
        assert len((await parts.search.by_text(theme, "red")).hits) == 1
        parts.drawer.perceptors = ("colours",)
        await until(lambda: parts.looker.perceptor == "colours")
        await seen(parts, 1)
        assert await vectors_kept(parts) == 2


async def test_trouble_is_waited_out(tmp_path: Path) -> None:
    async with searching(tmp_path) as parts:
        eyes = Colours()
        parts.drawer.embed = eyes.embed  # type: ignore[method-assign]
        eyes.reason = "There is no room."
        first = await draw(parts, "red")
        second = await draw(parts, "blue")
        await until(lambda: len(eyes.asked) > 2)
        # A file that is gone keeps nobody else from being found.
        image = (await parts.dreams.get(second)).image
        assert image is not None
        parts.library.path(image.sha256).unlink()
        eyes.reason = ""
        theme = await seen(parts, 1)
        assert ids(await parts.search.by_text(theme, "navy")) == [first]


async def test_new_pictures_are_learnt_of_also_after_a_mistake_of_ours(tmp_path: Path) -> None:
    async with searching(tmp_path, looking=False) as parts:
        listen, asked = parts.feed.listen, list[int | None]()

        def broken(after: int | None) -> Any:
            asked.append(after)
            if len(asked) == 1:
                raise RuntimeError("a bug")
            return listen(after)

        parts.feed.listen = broken  # type: ignore[method-assign, assignment]
        await parts.looker.start()
        await until(lambda: bool(asked) and parts.looker.complete)
        await draw(parts, "red")
        await seen(parts, 1)


async def test_what_cannot_be_searched_is_said(tmp_path: Path) -> None:
    async with searching(tmp_path) as parts:
        await draw(parts, "red")
        theme = await seen(parts, 1)
        with pytest.raises(InvalidRequestError, match="what to look for"):
            await parts.search.by_text(theme, " \u200b ")
        with pytest.raises(InvalidRequestError, match="picture"):
            await parts.search.by_picture(theme, b"nothing")
        (waiting,) = await parts.dreams.ask(request("blue"))
        with pytest.raises(NotFoundError, match="no picture yet"):
            await parts.search.like(waiting, theme)
        parts.drawer.perceptors = ()
        with pytest.raises(SchedulerError, match="no CLIP model"):
            await parts.search.by_text(theme, "green")


async def test_what_prompts_say_comes_before_what_pictures_look_like(tmp_path: Path) -> None:
    async with searching(tmp_path) as parts:
        made = {words: await draw(parts, words) for words in ("red", "tomato", "Maroon", "lime")}
        hidden = await draw(parts, "maroon", hidden_in=5)
        theme = await seen(parts, 5)
        found = await parts.search.by_text(theme, "the MAR")
        assert ids(found)[0] == made["Maroon"] and len(found.hits) > 2
        assert hidden not in ids(found)
        assert ids(await parts.search.by_text(theme, "tomato", looks_only=True))
        # Nothing looks any more: what prompts say is found all the same, and nothing else.
        parts.drawer.perceptors = ()
        assert ids(await parts.search.by_text(theme, "maroon")) == [made["Maroon"]]
        in_channel = await parts.search.by_text(theme, "maroon", channel_id=5)
        assert ids(in_channel) == [hidden, made["Maroon"]]
        await parts.dreams.delete(made["lime"], Actor(ANN, moderates=True))
        with pytest.raises(SchedulerError):
            await parts.search.by_text(theme, "lime")


PROMPTS = [
    ("d1", "a Lighthouse in a STORM"),
    ("d2", "Ärger in der Großen Straße"),
    ("d3", "日本語のプロンプトの"),
    ("d4", "100% wool on a pass"),
]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("lighthouse", "d1"),
        ("light sto", "d1"),
        ("house", ""),
        ("a the", ""),
        ("ÄRGER", "d2"),
        ("straße", "d2"),
        ("STRASSE", "d2"),
        ("groß", "d2"),
        ("トの", "d3"),
        ("100%", "d4"),
        ("pass wool", "d4"),
        ("_", ""),
    ],
)
def test_words_are_found_by_their_beginnings(words: str, found: str) -> None:
    told = words_of(words)
    here = [(id, said) for id, said in PROMPTS if ascii_part(told) in _as_sqlite(said)]
    assert (says(here, told) if told else []) == ([found] if found else [])


def _as_sqlite(text: str) -> str:
    return "".join(letter.lower() if letter.isascii() else letter for letter in text)


async def test_what_may_not_be_seen_tells_nothing_of_its_prompt(tmp_path: Path) -> None:
    async with searching(tmp_path) as parts:
        await draw(parts, "maroon", hidden_in=5)
        theme = await seen(parts, 1)
        parts.drawer.perceptors = ()
        with pytest.raises(SchedulerError):  # as for what no prompt says
            await parts.search.by_text(theme, "maroon", channel_id=6)
