"""Mistakes in the settings: all at once, as sentences, and none that repeats a secret."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bot.config_file import find_mistakes, load_config
from bot.config_secrets import SECRET_VARIABLE, TOKEN_VARIABLE
from bot.errors import ConfigError
from tests.bot.test_config_file import write


def test_every_mistake_is_reported_at_once_with_its_key(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        [wall]
        port = 70000
        mode = "public"
        titel = "x"
        [scheduler]
        threads = "four"
        device = "tpu"
        [discord]
        token = "abc"
        [nonsense]
        """,
    )
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    text = "\n".join(caught.value.mistakes)
    assert len(caught.value.mistakes) == 7
    assert "wall.port = 70000: input should be less than or equal to 65535" in text
    assert "wall.mode" in text and "'local', 'proxy' or 'off'" in text
    assert "wall.titel: there is no such setting; did you mean title?" in text
    assert "scheduler.threads" in text and "integer" in text
    assert "scheduler.device" in text
    assert "discord.token: the token does not belong in this file" in text
    assert "nonsense: there is no such setting; known here: backup, discord" in text
    assert "abc" not in text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[wall\n", "not TOML"),
        ('[scheduler]\nworkers = "ray"\ndevice = "cuda:1"\n', "Ray says which GPU a worker gets"),
        ('[scheduler]\nray_address = "http://head"\n', 'should be "auto", "ray://head:10001"'),
        ("wall = 3\n", "[wall] should be a table"),
        ('[wall.sign_in]\nclient_secret = "x"\n', "the secret does not belong in this file"),
        ('[wall.sign_in]\nclient_id = "me"\n', "should be the application's id"),
        ('[wall]\npublic_url = "dreams.example.org"\n', "should be a whole address"),
        ('[wall]\npublic_url = "https://"\n', "should be a whole address"),
        ('[storage]\ndata_dir = "x\\u0000y"\n', "should be a path"),
        ("[storage]\ndata_dir = 3\n", "storage.data_dir = 3: should be a path, in quotes"),
        ('[scheduler]\ndevice = "gpu"\n', 'should be "auto", "cpu", "cuda"'),
        ("[scheduler]\nquantum_s = 0\n", "greater than 0"),
        ('[wall]\nhost = "192.168..1"\n', "should be an address of this machine"),
        ('[wall]\nhost = "a\\u0000b"\n', "should be an address of this machine"),
        ('[monitoring]\nlisten = "a..b:9642"\n', "should be an address and a port"),
        ('[library]\nendpoint = "https://k:s@s3.example.org"\n', "no name and no password in it"),
        ('[wall]\npublic_url = "https://u@example.org"\n', "no name and no password in it"),
        ('[wall]\npublic_url = "https://example.org/dreams/"\n', "cannot be below a path"),
        ('[wall]\npublic_url = "https://example.org:81?a=b"\n', "cannot be below a path"),
    ],
)
def test_mistakes_are_sentences(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        load_config(write(tmp_path, text))


@pytest.mark.parametrize(
    "text",
    [
        'discord = "{secret}"\n',
        '[discord]\ntoken_file = ["{secret}"]\n',
        '[discord]\ntoken_file = "{secret}"\n',
        '[wall.sign_in]\nenabled = true\nclient_id = "{secret}"\n',
        '[wall]\npublic_url = "https://x.org"\n'
        '[wall.sign_in]\nenabled = true\nclient_secret_file = "{secret}"\n',
        '[library]\nendpoint = "https://key:{secret}@s3.example.org"\n',
    ],
)
@pytest.mark.parametrize(
    "secret",
    [
        "MTAxMjM0NTY3ODkwMTIz.Gabcde.abcdefghijklmnopqrstuvwxyz-_01",
        "abcdefgh" * 40,  # as a key of another service is: no file can have such a name
        "abcdefgh+=" * 40,
    ],
    ids=["token", "long", "long-base64"],
)
def test_a_secret_in_a_wrong_place_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, secret: str
) -> None:
    for variable in (TOKEN_VARIABLE, SECRET_VARIABLE):  # else no file would be read
        monkeypatch.delenv(variable, raising=False)
    path = write(tmp_path, text.format(secret=secret))
    mistakes = find_mistakes(path)
    assert mistakes and not [one for one in mistakes if "abcdefgh" in one]
