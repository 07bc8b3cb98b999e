"""The secrets' ways in: the environment, or files that the settings name."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.config_file import find_mistakes, load_config
from bot.config_secrets import SECRET_VARIABLE, TOKEN_VARIABLE, read_client_secret, read_token
from bot.errors import ConfigError
from tests.bot.test_config_file import write

SIGN_IN = """
[wall]
mode = "proxy"
public_url = "{url}"
[wall.sign_in]
enabled = true
client_secret_file = "secret.txt"
"""


@pytest.fixture(autouse=True)
def no_token_around(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    monkeypatch.delenv(SECRET_VARIABLE, raising=False)


def test_nothing_configured_gives_no_secrets() -> None:
    config = load_config(None)
    assert read_token(config) is None
    assert read_client_secret(config) is None  # where nobody is to sign in


def test_the_token_comes_from_a_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token.txt").write_text("a.b.c\n", encoding="utf-8")
    config = load_config(write(tmp_path, '[discord]\ntoken_file = "token.txt"\n'))
    assert read_token(config) == "a.b.c"
    monkeypatch.setenv(TOKEN_VARIABLE, " d.e.f ")
    assert read_token(config) == "d.e.f"


@pytest.mark.parametrize("content", ["", "a b", None])
def test_a_useless_token_file_is_named(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "token.txt").write_text(content, encoding="utf-8")
    config = load_config(write(tmp_path, '[discord]\ntoken_file = "token.txt"\n'))
    with pytest.raises(ConfigError, match=r"discord\.token_file"):
        read_token(config)


def test_a_missing_token_file_is_reported_with_the_rest(tmp_path: Path) -> None:
    path = write(tmp_path, '[discord]\ntoken_file = "absent.txt"\n[wall]\nport = -1\n')
    first, second = find_mistakes(path)
    assert "wall.port" in first
    assert "discord.token_file" in second and "absent.txt" in second
    assert find_mistakes(None) == ()


def test_the_client_secret_comes_from_a_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret.txt").write_text("a-secret\n", encoding="utf-8")
    config = load_config(write(tmp_path, SIGN_IN.format(url="https://wall.example")))
    assert read_client_secret(config) == "a-secret"
    monkeypatch.setenv(SECRET_VARIABLE, " another ")
    assert read_client_secret(config) == "another"


@pytest.mark.parametrize(
    ("url", "secret", "says"),
    [
        ("", "x", ["Set wall.public_url"]),
        ("http://wall.example", "x", ["https"]),
        ("http://localhost:8642", "x", []),
        ("https://wall.example", "a b", ["client_secret_file"]),
        ("", None, ["Set wall.public_url", "secret.txt cannot be read"]),
    ],
)
def test_what_signing_in_lacks_is_said_at_once(
    tmp_path: Path,
    url: str,
    secret: str | None,
    says: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "a.b.c")
    if secret is not None:
        (tmp_path / "secret.txt").write_text(secret, encoding="utf-8")
    mistakes = find_mistakes(write(tmp_path, SIGN_IN.format(url=url)))
    assert len(mistakes) == len(says)
    for mistake, part in zip(mistakes, says, strict=True):
        assert part in mistake and "a b" not in mistake


def test_a_missing_client_secret_is_asked_for(tmp_path: Path) -> None:
    text = SIGN_IN.format(url="https://wall.example").replace("client_secret_file", "# ")
    (mistake,) = find_mistakes(write(tmp_path, text))
    assert SECRET_VARIABLE in mistake


def test_a_program_that_nobody_could_use_is_no_sound_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    (mistake,) = find_mistakes(write(tmp_path, '[wall]\nmode = "off"\n'))
    assert "Nobody could ask for anything" in mistake
    (tmp_path / "secret.txt").write_text("a-secret", encoding="utf-8")
    (mistake,) = find_mistakes(write(tmp_path, SIGN_IN.format(url="https://wall.example")))
    assert "without a bot" in mistake
    monkeypatch.setenv(TOKEN_VARIABLE, "a.b.c")
    assert find_mistakes(tmp_path / "config.toml") == ()


def test_a_token_that_notepad_saved_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    (tmp_path / "token.txt").write_bytes(b"\xef\xbb\xbfa.b.c\r\n")
    config = load_config(write(tmp_path, '[discord]\ntoken_file = "token.txt"\n'))
    assert read_token(config) == "a.b.c"
