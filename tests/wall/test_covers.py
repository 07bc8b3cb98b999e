"""What the check of pictures has covered, and copies of what is kept, at the wall."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Literal

import pytest
from PIL import Image

from bot.channels import Channels
from bot.checking.model import Decision
from bot.checking.reviews import Reviews
from bot.checking.service import PictureChecks
from bot.discord_oauth import DiscordOAuth
from bot.membership import Memberships
from bot.model import Act, PictureCheck
from bot.parties.model import Stage
from bot.privacy.exporting import Exports
from bot.rights import Actor
from bot.sessions import Sessions
from bot.wall import WallSettings
from bot.wall.server_rules import ServerRules
from bot.wall.sign_in import SigningIn, session_cookie
from tests.bot.drawer import ANN, request, services
from tests.wall.test_events import watching
from tests.wall.test_games import IDA, Writers
from tests.wall.test_real_services import until, wall_on


class Found:
    async def score(self, data: bytes, media_type: str = "image/png") -> float:
        return 0.9


def colour(encoded: bytes) -> tuple[int, ...]:
    with Image.open(io.BytesIO(encoded)) as picture:
        found = picture.convert("RGB").getpixel((20, 20))
    assert isinstance(found, tuple)
    return tuple(int(one) for one in found)


@pytest.mark.parametrize(
    ("setting", "mode", "seen"),
    [
        (PictureCheck.SPOILER, "proxy", True),
        (PictureCheck.BLUR, "proxy", False),
        (PictureCheck.BLUR, "local", True),
        (PictureCheck.REFUSE, "proxy", False),
    ],
)
async def test_what_is_covered_is_shown_behind_its_cover_to_who_may_see_it(
    tmp_path: Path, setting: PictureCheck, mode: Literal["local", "proxy"], seen: bool
) -> None:
    async with services(tmp_path) as parts:
        checks = PictureChecks(parts.library, parts.settings, Found(), setting)
        parts.dreams.check_pictures(checks)
        (dream,) = await parts.dreams.ask(request(person=ANN))
        await parts.draw(dream.id)
        dream = await parts.dreams.wait(dream.id)
        assert dream.image is not None and dream.behind is not None
        async with wall_on(parts, settings=WallSettings(port=0, mode=mode)) as visitor:
            for path in (f"/i/{dream.image.sha256}.png", f"/t/{dream.image.sha256}.webp"):
                async with visitor.get(f"{path}?d={dream.id}") as answer:
                    assert colour(await answer.read()) != (255, 0, 0)
            async with visitor.get(f"/i/{dream.behind.sha256}.png?d={dream.id}") as answer:
                assert answer.status == (200 if seen else 404)
                if seen:
                    assert colour(await answer.read()) == (255, 0, 0)
            for page in (f"/d/{dream.id}", "/s/open"):
                async with visitor.get(page) as answer:
                    text = await answer.text()
                    shown = dream.behind.sha256 in text
                    assert shown is (seen and page.startswith("/d/"))
            async with visitor.get(f"/d/{dream.id}") as answer:
                assert "picture check" in await answer.text()


@pytest.mark.parametrize("mode", ["local", "proxy"])
async def test_who_sits_at_the_machine_releases_a_picture_and_nobody_else(
    tmp_path: Path, mode: Literal["local", "proxy"]
) -> None:
    async with services(tmp_path) as parts:
        checks = PictureChecks(parts.library, parts.settings, Found(), PictureCheck.REFUSE)
        parts.dreams.check_pictures(checks)
        reviews = Reviews(parts.store, parts.library, parts.dreams, checks)
        (dream,) = await parts.dreams.ask(request(person=ANN))
        await parts.draw(dream.id)
        await parts.dreams.wait(dream.id)
        settings = WallSettings(port=0, mode=mode)
        async with wall_on(parts, settings=settings, reviews=reviews) as visitor:
            here, path = mode == "local", f"/d/{dream.id}/release"
            async with visitor.get(f"/d/{dream.id}") as answer:
                assert (path in await answer.text()) is here
            async with visitor.post(path, headers={"Origin": "https://evil.example"}) as answer:
                assert answer.status == 403
            async with visitor.post(path, allow_redirects=False) as answer:
                assert answer.status == (303 if here else 403)
            assert ((await parts.dreams.get(dream.id)).veil is None) is here


@pytest.mark.usefixtures("elsewhere")
async def test_who_moderates_where_it_was_asked_for_releases_a_picture_signed_in(
    tmp_path: Path,
) -> None:
    async with services(tmp_path) as parts:
        checks = PictureChecks(parts.library, parts.settings, Found(), PictureCheck.REFUSE)
        parts.dreams.check_pictures(checks)
        reviews = Reviews(parts.store, parts.library, parts.dreams, checks)
        channels, discord = Channels(parts.store, parts.themes), Writers()
        for guild_id, channel_id in ((7, 70), (8, 80)):
            await channels.bind(channel_id, guild_id, "open")
        (dream,) = await parts.dreams.ask(request(person=ANN, guild_id=7, channel_id=70))
        await parts.draw(dream.id)
        await parts.dreams.wait(dream.id)
        path, settings = f"/d/{dream.id}/release", WallSettings(port=0)
        sessions = Sessions(parts.store)
        oauth = DiscordOAuth("secret", "http://localhost/sign-in/discord", lambda: "1")
        signing_in = SigningIn(
            oauth,
            sessions,
            Memberships(parts.store, discord),
            ServerRules(parts.gate, parts.themes, guests_ask=True),
        )
        async with wall_on(
            parts, settings=settings, reviews=reviews, signing_in=signing_in
        ) as visitor:
            session = {session_cookie(settings): await sessions.begin(IDA)}
            # A guest; who moderates another server; who does no more; and who does.
            for signed_in, moderated in ((False, 7), (True, 8), (True, None), (True, 7)):
                visitor.cookie_jar.update_cookies(session if signed_in else {})
                discord.moderate, may = moderated, signed_in and moderated == 7
                async with visitor.get(f"/d/{dream.id}") as answer:
                    assert (path in await answer.text()) is may
                async with visitor.post(path, allow_redirects=False) as answer:
                    assert answer.status == (303 if may else 403)
                assert ((await parts.dreams.get(dream.id)).veil is None) is may
        await oauth.close()
        noted, _ = await parts.moderation.log(7)  # before it, that it was covered
        assert (noted.act, noted.by, noted.person) == (Act.RELEASED, IDA, ANN)


async def test_a_copy_is_had_by_its_name_alone(tmp_path: Path) -> None:
    async with services(tmp_path) as parts:
        exports = Exports(parts.store, parts.library, tmp_path / "exports")
        made = await exports.make(ANN)
        async with wall_on(parts, exports=exports) as visitor:
            async with visitor.get(f"/exports/{made.token}.zip") as answer:
                assert answer.status == 200 and answer.headers["Cache-Control"] == "no-store"
                assert (await answer.read())[:2] == b"PK"
            other = ("a" if made.token[0] != "a" else "b") + made.token[1:]
            for path in (f"/exports/{other}.zip", "/exports/", "/exports/..%2fdreamstream.db.zip"):
                async with visitor.get(path) as answer:
                    assert answer.status == 404
            await exports.purge(ANN.id)
            async with visitor.get(f"/exports/{made.token}.zip") as answer:
                assert answer.status == 404


async def test_what_is_released_is_shown_wherever_its_cover_was(tmp_path: Path) -> None:
    async with services(tmp_path) as parts:
        checks = PictureChecks(parts.library, parts.settings, Found(), PictureCheck.BLUR)
        parts.dreams.check_pictures(checks)
        reviews = Reviews(parts.store, parts.library, parts.dreams, checks)
        host = Actor(ANN, at_machine=True)
        theme = await parts.themes.get("open")
        party = await parts.parties.start("foxes", host, theme=theme)
        party = await parts.parties.move(party, host, Stage.SKETCH)
        slug = (await parts.parties.theme_of(party)).slug
        (dream,) = await parts.parties.draw(party, host, "a fox", count=1)
        before = (await parts.feed.replay(theme_id=party.theme_id, after=0))[-1].id
        await parts.draw(dream.id)
        covered = await parts.dreams.wait(dream.id)
        assert covered.image is not None and covered.behind is not None
        async with wall_on(parts, parties=parts.parties, reviews=reviews) as visitor:

            async def shown() -> list[set[str]]:
                """Return the pictures on the party's screen, and what a page is sent again."""
                async with visitor.get(f"/p/{party.code}/screen/pictures") as answer:
                    screen = await answer.text()
                async with watching(visitor, f"/s/{slug}/events?after={before}") as reader:
                    sent = await until(reader, "done", dream.id)
                return [set(re.findall(r"/[it]/([0-9a-f]{64})", one)) for one in (screen, sent)]

            assert await shown() == [{covered.image.sha256}] * 2
            await reviews.decide(covered, host, Decision.RELEASED)
            assert await shown() == [{covered.behind.sha256}] * 2
