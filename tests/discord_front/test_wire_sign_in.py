"""Signing in at the wall of the shipped program, with the Discord that its bot is in."""

from __future__ import annotations

import asyncio
import re
import socket
import sqlite3
from contextlib import closing

from aiohttp import ClientResponse, ClientSession

from bot.config_secrets import SECRET_VARIABLE
from tests.discord_front import payloads
from tests.discord_front.loopback import Discord
from tests.discord_front.payloads import CHANNEL, CHANNEL_B, GUILD
from tests.discord_front.rest import HISTORY, VIEW
from tests.discord_front.shipped import SETTINGS, Bot
from tests.program import PATIENCE_S
from tests.wall.fake_oauth import SECRET

ADMINISTRATOR = 1 << 3
BEA = payloads.ANN + 7


def free_port() -> int:
    """Return a port that nobody listens on: Discord has to know where to lead back to."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def read(browser: ClientSession, path: str, status: int = 200) -> str:
    async with browser.get(path) as response:
        assert response.status == status, (path, response.status)
        return await response.text()


async def read_until(stream: ClientResponse, pattern: str) -> re.Match[str]:
    """Read an event stream until it says something."""
    said = ""
    async with asyncio.timeout(PATIENCE_S):
        async for line in stream.content:
            said += line.decode()
            if found := re.search(pattern, said):
                return found
    raise AssertionError(f"the stream ended before {pattern}: {said}")


async def shown(browser: ClientSession, path: str, status: int) -> None:
    """Wait until an address is answered so."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            async with browser.get(path) as response:
                if response.status == status:
                    return
            await asyncio.sleep(0.1)


async def sign_in(browser: ClientSession, wants: str) -> tuple[str, str]:
    """Sign in as a browser does; return where one is afterwards, and what is there."""
    async with browser.get("/sign-in", params={"next": wants}) as response:
        consent = await response.text()  # Discord's page
    found = re.search('href="([^"]+)">Authorize', consent)
    assert found is not None, consent
    async with browser.get(found[1].replace("&amp;", "&")) as response:
        assert response.status == 200, await response.text()
        return response.url.path, await response.text()


async def test_who_signs_in_sees_and_asks_where_they_are_a_member_for_as_long_as_they_are(
    bot: Bot, discord: Discord
) -> None:
    # Who administers a server reads all of it, whatever a channel says.
    everybody = int(payloads.ALL_PERMISSIONS) & ~ADMINISTRATOR
    discord.rest.roles[GUILD] = payloads.role(GUILD, everybody)
    address = f"http://localhost:{free_port()}"
    wall = f"""
[wall]
mode = "proxy"
port = {address.rpartition(":")[2]}
public_url = "{address}"
[wall.sign_in]
enabled = true
"""
    settings = SETTINGS.replace("\n[wall]\nport = 0\n", wall)
    (bot.folder / "config.toml").write_text(settings, encoding="utf-8")
    await bot.joined(**{SECRET_VARIABLE: SECRET, "LOOPBACK_FRESH_S": "0.3"})
    for place, name in ((CHANNEL, "reef"), (CHANNEL_B, "vault")):
        title = f"The {name}"
        asked = await discord.slash(
            "theme create", place=place, name=name, title=title, visibility="private"
        )
        assert f"**{title}**" in await discord.answer(asked)
    discord.rest.members[GUILD].add(BEA)
    discord.oauth.be(BEA, "Bea")
    html = {"Accept": "text/html"}
    async with ClientSession(address, headers=html) as browser:
        # Signed out, and a guest: only what is public, and nothing to be asked for.
        front = await read(browser, "/")
        assert "Open canvas" in front and "/sign-in?next=" in front
        assert "The reef" not in front and "The vault" not in front
        for path in ("/s/reef", "/s/vault", "/s/reef/events"):
            await read(browser, path, 404)
        async with browser.post("/s/open/dreams", data={"prompt": "a fox"}) as response:
            assert response.status == 403

        path, said = await sign_in(browser, "/me")
        assert path == "/me" and '<h1 class="title">Bea</h1>' in said
        await shown(browser, "/s/reef", 200)  # the gateway takes its time to tell of all servers
        front = await read(browser, "/")
        assert "The reef" in front and "The vault" not in front and "Bea" in front
        await read(browser, "/s/vault", 404)

        # What they ask for there is drawn, under their name, and is that server's.
        async with browser.get("/s/reef/events") as stream:
            form = {"prompt": "a blue whale", "steps": "5"}
            async with browser.post("/s/reef/dreams", data=form) as response:
                assert response.status == 200, await response.text()
            done = await read_until(stream, r'event: done\n.*?id="dream-([^"]+)"')
            page = await read(browser, f"/d/{done[1]}")
            assert "a blue whale" in page and "Bea" in page
            picture = re.search(r'/i/[^"]+', page)
            assert picture is not None
            [kept] = (bot.folder / "data" / "library" / "images").rglob("*.png")
            async with browser.get(picture[0]) as response:
                assert await response.read() == kept.read_bytes()

            # A role's permission is gone with the gateway's event, and comes back with it.
            await discord.permit(CHANNEL, VIEW | HISTORY)
            await shown(browser, "/s/reef", 404)
            await read(browser, picture[0], 404)
            async with asyncio.timeout(PATIENCE_S):
                await stream.read()  # the page that was open is told nothing more
        await discord.permit(CHANNEL, 0)
        await shown(browser, "/s/reef", 200)

        # Of who leaves Discord tells the bot nothing, which asks every so often.
        async with browser.get("/s/reef/events") as stream:
            discord.rest.members[GUILD].discard(BEA)
            async with asyncio.timeout(PATIENCE_S):
                await stream.read()
        await shown(browser, "/s/reef", 404)
        for path in (f"/d/{done[1]}", picture[0]):
            await read(browser, path, 404)
        assert "The reef" not in await read(browser, "/")

        discord.rest.members[GUILD].add(BEA)
        await shown(browser, "/s/reef", 200)
        async with browser.post("/sign-out") as response:
            front = await response.text()
        assert "/sign-in?next=" in front and "The reef" not in front
        await read(browser, "/s/reef", 404)
    assert await bot.stop() == 0
    with closing(sqlite3.connect(bot.folder / "data" / "dreamstream.db")) as connection:
        asked_for = connection.execute("SELECT person_id, guild_id FROM dream").fetchall()
        names = connection.execute(
            "SELECT name FROM person WHERE id = ?", (f"discord:{BEA}",)
        ).fetchall()
        assert connection.execute("SELECT * FROM wall_session").fetchall() == []
    assert asked_for == [(f"discord:{BEA}", GUILD)]
    assert names == [("Bea",)]
    # Nothing of Discord's is kept or told of.
    for secret in (SECRET, *discord.oauth.tokens):
        assert secret not in bot.said()
        for file in (bot.folder / "data").rglob("*"):
            assert file.is_dir() or secret.encode() not in file.read_bytes(), file
    assert "Traceback" not in bot.said()
