"""Settings: defaults, every mistake at once, the token's ways in, and the example file."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from bot.config import (
    SECRET_VARIABLE,
    TOKEN_VARIABLE,
    Backup,
    Config,
    find_config,
    find_mistakes,
    load_config,
    read_client_secret,
    read_token,
)
from bot.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "config.example.toml"


@pytest.fixture(autouse=True)
def no_token_around(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    monkeypatch.delenv(SECRET_VARIABLE, raising=False)


def write(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_nothing_configured_gives_the_defaults() -> None:
    config = load_config(None)
    assert config.wall.mode == "local"
    assert config.wall.host == "127.0.0.1"
    assert read_token(config) is None


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
def test_a_secret_in_a_wrong_place_is_not_repeated(tmp_path: Path, text: str, secret: str) -> None:
    path = write(tmp_path, text.format(secret=secret))
    mistakes = find_mistakes(path)
    assert mistakes and not [one for one in mistakes if "abcdefgh" in one]


def test_a_file_begins_with_a_mark_where_some_editors_put_one(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes("\ufeff[wall]\nport = 1234\n".encode())
    assert load_config(path).wall.port == 1234
    path.write_bytes("# caf\xe9\n".encode("latin-1"))
    with pytest.raises(ConfigError, match="Save it as UTF-8"):
        load_config(path)


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.example\.toml"):
        load_config(tmp_path / "absent.toml")


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, '[storage]\ndata_dir = "kept"\n'))
    assert config.storage.data_dir == tmp_path / "kept"


def test_the_environment_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DREAMSTREAM_CONFIG", raising=False)
    assert find_config(None) is None
    path = write(tmp_path, "")
    assert find_config(None) == Path("config.toml")
    monkeypatch.setenv("DREAMSTREAM_CONFIG", "/elsewhere.toml")
    assert find_config(None) == Path("/elsewhere.toml")
    assert find_config(path) == path


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


SIGN_IN = """
[wall]
mode = "proxy"
public_url = "{url}"
[wall.sign_in]
enabled = true
client_secret_file = "secret.txt"
"""


def test_the_client_secret_comes_from_a_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret.txt").write_text("a-secret\n", encoding="utf-8")
    config = load_config(write(tmp_path, SIGN_IN.format(url="https://wall.example")))
    assert read_client_secret(config) == "a-secret"
    monkeypatch.setenv(SECRET_VARIABLE, " another ")
    assert read_client_secret(config) == "another"
    assert read_client_secret(load_config(None)) is None  # where nobody is to sign in


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
    tmp_path: Path, url: str, secret: str | None, says: list[str]
) -> None:
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


def test_the_example_holds_every_setting_with_its_default() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    # A setting without a default stands there commented out; give it back to the reader.
    as_file = re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE)
    config = load_config(EXAMPLE)
    anchored = {"storage": config.storage, "backup": config.backup}
    assert config == load_config(None).model_copy(update=anchored)
    assert config.backup.model_copy(update={"folder": Path("backups")}) == Backup()
    for name, keys in sections(Config).items():
        body = as_file.split(f"[{name}]\n", 1)[1].split("\n[", 1)[0]
        for key in keys:
            match = re.search(rf"^(# .+\n)+(.+\n)?{key} = ", body, flags=re.MULTILINE)
            assert match, f"config.example.toml should explain {name}.{key}"


def sections(table: type[BaseModel], before: str = "") -> dict[str, list[str]]:
    """Return the keys of every table, by its name: those that are no tables themselves."""
    found: dict[str, list[str]] = {}
    for key, field in table.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found |= sections(kind, f"{before}{key}.")
        else:
            found.setdefault(before.rstrip("."), []).append(key)
    return found


def read_settings(path: Path) -> set[tuple[str, str]]:
    """Return what code reads as ``section.key``, of a name or of an attribute."""
    tree: ast.AST = ast.parse(path.read_text(encoding="utf-8"))
    if path.name == "config.py":  # of the module itself, only what uses a setting counts
        names = ("read_token", "read_client_secret")
        functions = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef) and node.name in names
        ]
        assert len(functions) == len(names)
        tree = ast.Module(body=list(functions), type_ignores=[])
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            if isinstance(node.value, ast.Attribute):
                found.add((node.value.attr, node.attr))
            elif isinstance(node.value, ast.Name):
                found.add((node.value.id, node.attr))
    return found


def test_every_setting_is_used() -> None:
    used = {pair for path in (ROOT / "bot").rglob("*.py") for pair in read_settings(path)}
    settings = {
        (name.rpartition(".")[2], key) for name, keys in sections(Config).items() for key in keys
    }
    assert settings - used == set()
