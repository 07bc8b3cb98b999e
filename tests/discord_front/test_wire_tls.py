"""The shipped program, unpatched: Discord's own names, TLS, and the starter models.

Discord's names lead to loopback by a hosts file that only the program sees (a mount namespace of
its own), and its certificates are of an authority that only it trusts (`SSL_CERT_FILE`).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.discord_front.looks import picture_url, text_of
from tests.discord_front.loopback import Discord
from tests.discord_front.shipped import TOKEN, Bot, accepted, finished
from tests.program import environment

HOSTS = ("discord.com", "gateway.discord.gg", "cdn.discordapp.com")
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
_IN_NAMESPACE = ("unshare", "--mount", "--propagation", "private")


def _missing() -> str | None:
    """Return what keeps this machine from running it."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs root on Linux, for port 443 and a hosts file of its own"
    for tool in ("unshare", "openssl"):
        if shutil.which(tool) is None:
            return f"needs {tool}"
    script = "mount --bind /etc/hosts /etc/hosts"
    if subprocess.run([*_IN_NAMESPACE, "sh", "-c", script], capture_output=True).returncode:
        return "needs a mount namespace of its own"
    with socket.socket() as tried:
        try:
            tried.bind(("127.0.0.1", 443))
        except OSError as error:
            return f"needs port 443 ({error.strerror})"
    return None


def _certificates(folder: Path) -> ssl.SSLContext:
    """Make an authority (`ca.pem`) and a certificate for Discord's names; return what serves it."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    names = ",".join(f"DNS:{name}" for name in HOSTS)
    (folder / "leaf.cnf").write_text(
        f"subjectAltName={names}\nbasicConstraints=critical,CA:FALSE\n", encoding="utf-8"
    )
    authority = ("-addext", "basicConstraints=critical,CA:TRUE", "-days", "2")
    signs = ("-addext", "keyUsage=critical,keyCertSign")
    openssl("req", "-x509", *_KEY, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Loopback",
            *authority, *signs)  # fmt: skip
    openssl("req", *_KEY, "-keyout", "leaf.key", "-out", "leaf.csr", "-subj", "/CN=discord.com")
    openssl("x509", "-req", "-in", "leaf.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "2",
            "-extfile", "leaf.cnf", "-out", "leaf.pem")  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "leaf.pem", folder / "leaf.key")
    return context


class Unpatched(Bot):
    """`dreamstream run` as it is shipped, in a mount namespace with a hosts file of its own."""

    async def start(self, token: str = TOKEN, **environ: str) -> None:
        """Start it."""
        hosts = self.folder / "hosts"
        lines = ["127.0.0.1 localhost", *(f"127.0.0.1 {name}" for name in HOSTS)]
        hosts.write_text("\n".join(lines) + "\n", encoding="utf-8")
        script = 'mount --bind "$0" /etc/hosts && exec "$@"'
        command = (*_IN_NAMESPACE, "sh", "-c", script, str(hosts))
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *command,
                *(sys.executable, "-m", "bot", "run"),
                cwd=self.folder,
                env=environment()
                | {
                    "DREAMSTREAM_DISCORD_TOKEN": token,
                    "SSL_CERT_FILE": str(self.folder / "ca.pem"),
                    "OMP_NUM_THREADS": "1",
                },
                stdout=log,
                stderr=log,
            )


@pytest.fixture
def untouched_hosts() -> Iterator[None]:
    """See that the machine's own hosts file stays as it is; skip where this cannot be run."""
    if (missing := _missing()) is not None:
        pytest.skip(missing)
    hosts = Path("/etc/hosts").read_bytes()
    yield
    assert Path("/etc/hosts").read_bytes() == hosts


@pytest.mark.usefixtures("untouched_hosts")
async def test_the_shipped_program_in_discord_by_name_and_tls(tmp_path: Path) -> None:
    discord = Discord(TOKEN)
    await discord.start(port=443, tls=_certificates(tmp_path))
    bot = Unpatched(tmp_path, discord)
    try:
        await bot.joined()
        said = await accepted(discord, prompt="a red circle on blue", steps=4)
        assert "this channel" in said, bot.said()
        card = await finished(discord)
        assert "starter" in text_of(card)
        address = picture_url(card)
        assert address is not None
        path = address.removeprefix("https://cdn.discordapp.com/attachments/")
        [kept] = (tmp_path / "data" / "library" / "images").rglob("*.png")
        assert discord.rest.files[path] == kept.read_bytes()
        await discord.gateway.cut()
        queue = await discord.slash("queue")
        assert "Nothing" in await discord.answer(queue)
        assert discord.gateway.resumes == 1
        assert await bot.stop() == 0
        assert "Traceback" not in bot.said()
    finally:
        await bot.kill()
        await discord.stop()
    assert discord.mistakes_made() == []
