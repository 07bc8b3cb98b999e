"""Settings: one TOML file, checked as a whole, every mistake reported at once.

Every setting has a default, so no file is needed. ``config.example.toml`` explains each one, and
a test holds it to this module. The Discord token is never in it, nor on a command line: it comes
from the environment variable `TOKEN_VARIABLE` or from the file `discord.token_file` names.
"""

from __future__ import annotations

import difflib
import errno
import os
import re
import tomllib
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails

from bot.errors import ConfigError
from bot.library_place import is_address


def _as_path(value: Any) -> Any:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("should be a path, in quotes")
    return Path(value)


FilePath = Annotated[Path, BeforeValidator(_as_path)]

CONFIG_VARIABLE = "DREAMSTREAM_CONFIG"
TOKEN_VARIABLE = "DREAMSTREAM_DISCORD_TOKEN"  # noqa: S105 - the variable's name, not a token
SECRET_VARIABLE = "DREAMSTREAM_DISCORD_CLIENT_SECRET"  # noqa: S105 - a name, too
DEFAULT_FILE = Path("config.toml")
LEAST_LOG_DAYS = 30
_LONGEST_BITS = 1024
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
# Before an @ in an address there is a password, perhaps.
_USER = re.compile(r"//[^/\s@]*@")
# As long, and made of such signs, as Discord's tokens and client secrets are; no folder before it.
_LIKE_A_SECRET = re.compile(r"[\w.-]{30,}")
_SECRETIVE = (("discord",), ("wall", "sign_in"))


def _whole_address(value: str, example: str) -> str:
    if not value:
        return value
    try:
        url = urlsplit(value)
        whole = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        whole = False
    if not whole:
        raise ValueError(f"should be a whole address, like {example}")
    if url.username is not None or url.password is not None:
        raise ValueError(f"should have no name and no password in it, like {example}")
    return value.rstrip("/")


class Section(BaseModel):
    """A table of the file. Unknown keys are mistakes; values are not coerced from text."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Storage(Section):
    """Where the durable truth lies."""

    data_dir: FilePath = Path("data")
    checkpoint_days: float = Field(default=5.0, ge=0, le=365)
    checkpoint_gib: float = Field(default=2.0, ge=0, le=10_000)
    keep_days: float = Field(default=0.0, ge=0, le=36_600)
    keep_gib: float = Field(default=0.0, ge=0, le=1_000_000)
    keep_favourites: bool = True
    warn_free_gib: float = Field(default=2.0, ge=0, le=1_000_000)
    least_free_mib: int = Field(default=200, ge=0, le=1_000_000)


class LibraryPlace(Section):
    """Where the pictures and films lie. The keys of a store are in the environment alone."""

    store: str = ""
    endpoint: str = ""
    region: str = Field(default="us-east-1", pattern=r"^[a-z0-9-]{1,40}$")
    cache_gib: float = Field(default=2.0, ge=0.01, le=1_000_000)

    @field_validator("store")
    @classmethod
    def _is_a_store(cls, value: str) -> str:
        if value and not is_address(value):
            raise ValueError('should be like "s3://bucket" or "s3://bucket/prefix", or ""')
        return value

    @field_validator("endpoint")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        return _whole_address(value, "https://s3.example.org")


class Backup(Section):
    """Copies of the data folder that the bot makes by itself."""

    folder: FilePath = Path("backups")
    every_hours: float = Field(default=0.0, ge=0, le=24 * 366)
    keep: int = Field(default=7, ge=1, le=10_000)


class SignIn(Section):
    """Signing in at the wall with Discord."""

    enabled: bool = False
    client_id: str = ""
    client_secret_file: FilePath | None = None
    days: float = Field(default=30.0, ge=0.01, le=365)

    @field_validator("client_id")
    @classmethod
    def _is_an_id(cls, value: str) -> str:
        if value and not re.fullmatch(r"[1-9][0-9]{5,20}", value):
            raise ValueError(
                "should be the application's id, a long number in quotes (developer portal, page "
                "“General Information”), or empty"
            )
        return value


class Wall(Section):
    """The web page on which streams are watched and, in local mode, prompted."""

    mode: Literal["local", "proxy", "off"] = "local"
    host: str = "127.0.0.1"
    port: int = Field(default=8642, ge=0, le=65535)
    title: str = Field(default="Dreamstream", min_length=1, max_length=60)
    public_url: str = ""
    guests_may_ask: bool | None = None
    guests_may_batch: bool | None = None
    trusted_proxies: list[str] = ["127.0.0.0/8", "::1"]
    streams_per_address: int = Field(default=64, ge=1, le=100_000)
    requests_per_address: int = Field(default=500, ge=0, le=1_000_000)
    connections: int = Field(default=1024, ge=16, le=100_000)
    sign_in: SignIn = SignIn()

    @field_validator("host")
    @classmethod
    def _can_be_listened_on(cls, value: str) -> str:
        if not _is_host(value):
            raise ValueError(
                'should be an address of this machine, like "127.0.0.1", or "0.0.0.0" for all'
            )
        return value

    @field_validator("public_url")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        return _whole_address(value, "https://dreams.example.org")

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: list[str]) -> list[str]:
        for one in value:
            try:
                ip_network(one)
            except ValueError:
                raise ValueError(
                    f'“{one}” should be an address or a network, like "10.0.0.7" or "10.0.0.0/24"'
                ) from None
        return value


class Discord(Section):
    """The Discord front; it is on when a token is found."""

    token_file: FilePath | None = None


class Scheduler(Section):
    """The scheduler process, which owns the device."""

    device: str = "auto"
    threads: int = Field(default=0, ge=0, le=1024)
    models_dir: FilePath | None = None
    exact: bool = False
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: Literal["auto", "off"] = "off"
    max_batch: int = Field(default=8, ge=1, le=256)
    quantum_s: float = Field(default=0.5, gt=0, le=30)
    preview_interval_s: float = Field(default=1.0, ge=0.1, le=60)
    checkpoint_interval_s: float = Field(default=5.0, ge=0.5, le=600)
    step_limit_s: float = Field(default=30.0, ge=1, le=3600)
    load_limit_s: float = Field(default=600.0, ge=10, le=7200)
    workers: Literal["local", "ray"] = "local"
    ray_address: str = ""
    most_workers: int = Field(default=0, ge=0, le=100_000)

    @field_validator("device")
    @classmethod
    def _is_a_device(cls, value: str) -> str:
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d{1,3})?", value):
            raise ValueError('should be "auto", "cpu", "cuda", "cuda:1" or the like, or "mps"')
        return value

    @field_validator("workers")
    @classmethod
    def _suits_the_device(cls, value: str, info: ValidationInfo) -> str:
        device = info.data.get("device", "auto")
        if value == "ray" and device not in ("auto", "cuda", "cpu"):
            raise ValueError(
                f'with scheduler.device = "{device}" only "local" will do: Ray says which GPU a '
                'worker gets; set the device to "auto", "cuda" or "cpu"'
            )
        return value

    @field_validator("ray_address")
    @classmethod
    def _is_a_cluster(cls, value: str) -> str:
        if value and not re.fullmatch(r"auto|(ray://)?[\w.-]+:\d{1,5}", value):
            raise ValueError('should be "auto", "ray://head:10001" or the like, "head:6379", or ""')
        return value


class Limits(Section):
    """How much may be asked for at once."""

    waiting_per_person: int = Field(default=30, ge=1, le=10_000)
    waiting_total: int = Field(default=1000, ge=1, le=1_000_000)
    prompt_characters: int = Field(default=1000, ge=10, le=100_000)
    pictures_per_ask: int = Field(default=25, ge=1, le=100)
    background_per_person: int = Field(default=200, ge=1, le=10_000)
    background_total: int = Field(default=2000, ge=1, le=1_000_000)
    pictures_per_batch: int = Field(default=100, ge=1, le=100)
    upload_mib: int = Field(default=10, ge=1, le=100)
    upload_megapixels: int = Field(default=40, ge=1, le=170)  # Pillow itself takes 178


class Parties(Section):
    """How parties are held."""

    max_guests: int = Field(default=50, ge=1, le=1000)
    weight: float = Field(default=2.0, ge=1, le=4)
    idle_hours: float = Field(default=12.0, ge=0.1, le=24 * 30)
    words_per_minute: int = Field(default=20, ge=1, le=1000)
    open_per_person: int = Field(default=3, ge=1, le=100)


class Safety(Section):
    """What is not to be seen."""

    picture_check: Literal["off", "spoiler", "blur", "refuse"] = "spoiler"
    second_check: Literal["off", "clip"] = "off"
    log_days: float = Field(default=365.0, ge=0, le=36_600)

    @field_validator("log_days")
    @classmethod
    def _is_kept_for_a_while(cls, value: float) -> float:
        if 0 < value < LEAST_LOG_DAYS:
            raise ValueError(f"should be {LEAST_LOG_DAYS} or more, or 0 to keep it for ever")
        return value


class Monitoring(Section):
    """A port for who looks after the machine."""

    listen: str = ""

    @field_validator("listen")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        if value and host_and_port(value) is None:
            raise ValueError('should be an address and a port, like "127.0.0.1:9642", or empty')
        return value


def _is_host(text: str) -> bool:
    """Say whether it may name a machine: what else is asked of the system raises all kinds."""
    try:
        return "\0" not in text and bool(text.encode("idna") or not text)
    except UnicodeError:
        return False


def host_and_port(address: str) -> tuple[str, int] | None:
    """Return the parts of an address such as “127.0.0.1:9642”; None where it is none."""
    found = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([\w.-]+)):(\d{1,5})", address)
    if found is None or int(found[3]) > 65535 or not _is_host(found[1] or found[2]):
        return None
    return found[1] or found[2], int(found[3])


class Log(Section):
    """What is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class Config(Section):
    """All settings."""

    storage: Storage = Storage()
    library: LibraryPlace = LibraryPlace()
    backup: Backup = Backup()
    wall: Wall = Wall()
    discord: Discord = Discord()
    scheduler: Scheduler = Scheduler()
    limits: Limits = Limits()
    parties: Parties = Parties()
    safety: Safety = Safety()
    monitoring: Monitoring = Monitoring()
    log: Log = Log()


def find_config(named: Path | None) -> Path | None:
    """Say which file holds the settings: the one named, the environment's, or ./config.toml.

    None means that there is none and the defaults hold.
    """
    if named is not None:
        return named
    from_environment = os.environ.get(CONFIG_VARIABLE)
    if from_environment:
        return Path(from_environment)
    return DEFAULT_FILE if DEFAULT_FILE.exists() else None


def load_config(path: Path | None) -> Config:
    """Read and check the settings; None gives the defaults.

    Relative paths in the file are relative to the file's folder.

    Raises:
        ConfigError: with a sentence for every mistake in the file.
    """
    if path is None:
        return Config()
    table = _read_table(path)
    try:
        config = Config.model_validate(table)
    except ValidationError as error:
        sentences = [_sentence(detail) for detail in error.errors()]
        raise ConfigError([f"{path}: {sentence}" for sentence in sentences]) from error
    return _anchored(config, path.resolve().parent)


def find_mistakes(path: Path | None) -> tuple[str, ...]:
    """Return a sentence for every mistake in the settings and with the token they lead to."""
    mistakes: list[str] = []
    try:
        config = load_config(path)
    except ConfigError as error:
        mistakes += error.mistakes
        config = _discord_alone(path)
    for read in (read_token, read_client_secret):
        try:
            read(config)
        except ConfigError as error:
            mistakes += error.mistakes
    return tuple(mistakes)


def _read_table(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(
            [f"{path}: there is no such file. Copy config.example.toml there, or name another."]
        ) from None
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read ({error.strerror})."]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: this is not UTF-8. Save it as UTF-8."]) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{path}: this is not TOML: {error}."]) from error
    except (RecursionError, ValueError) as error:  # nested too deep; a number of too many digits
        raise ConfigError(
            [f"{path}: this cannot be read: it is nested too deep, or holds a number too long."]
        ) from error


def _discord_alone(path: Path | None) -> Config:
    """Return the settings' part for Discord where the rest is wrong; the defaults if it is too."""
    try:
        assert path is not None, "without a file there are no mistakes"
        discord = _read_table(path).get("discord", {})
        return _anchored(Config.model_validate({"discord": discord}), path.resolve().parent)
    except (ConfigError, ValidationError):
        return Config()


def read_token(config: Config) -> str | None:
    """Return the Discord bot token, or None where none is configured.

    Reads a file: not for the event loop.

    Raises:
        ConfigError: the file named for it cannot be read or holds no token.
    """
    path = config.discord.token_file
    return _secret(TOKEN_VARIABLE, path, "discord.token_file", "the bot token")


def read_client_secret(config: Config) -> str | None:
    """Return the secret with which people are signed in, or None where nobody is to be.

    Reads a file: not for the event loop.

    Raises:
        ConfigError: something that signing in needs is missing, or cannot be read.
    """
    sign_in, wall = config.wall.sign_in, config.wall
    if not sign_in.enabled or wall.mode == "off":
        return None
    mistakes = []
    url = urlsplit(wall.public_url)
    if not wall.public_url:
        mistakes.append(
            "wall.sign_in: Discord has to know where to lead people back to. Set wall.public_url "
            "to the address that they reach the wall by."
        )
    elif url.scheme != "https" and url.hostname not in _LOOPBACK:
        mistakes.append(
            "wall.sign_in: nobody is signed in without encryption. Set wall.public_url to an https "
            "address, behind a proxy that has it; http will do for localhost alone."
        )
    secret = None
    try:
        path, key = sign_in.client_secret_file, "wall.sign_in.client_secret_file"
        secret = _secret(SECRET_VARIABLE, path, key, "the client secret")
    except ConfigError as error:
        mistakes += error.mistakes
    else:
        if secret is None:
            mistakes.append(
                "wall.sign_in: the application's secret is missing. Copy it from the developer "
                f"portal (page “OAuth2”, “Client Secret”) into {SECRET_VARIABLE}, or into a file "
                "that wall.sign_in.client_secret_file names."
            )
    if mistakes:
        raise ConfigError(mistakes)
    return secret


def _secret(variable: str, path: Path | None, key: str, what: str) -> str | None:
    """Return a secret from the environment or else from a file; None where there is neither.

    Raises:
        ConfigError: the file cannot be read, or holds something else.
    """
    secret = os.environ.get(variable, "").strip()
    if secret or path is None:
        return secret or None
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        number = error.errno if isinstance(error, OSError) else None
        if number == errno.ENAMETOOLONG or (
            number == errno.ENOENT and _LIKE_A_SECRET.fullmatch(path.name)
        ):
            sentence = f"{key}: there is no such file. Put {what} into a file, and name that here."
            raise ConfigError([sentence]) from None  # for this may be it
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigError(
            [f"{key}: {path} cannot be read ({reason}). Put {what} in it."]
        ) from error
    if not secret or any(character.isspace() for character in secret):
        raise ConfigError([f"{key}: {path} should hold {what} and nothing else."])
    return secret


def _anchored(config: Config, folder: Path) -> Config:
    storage = config.storage.model_copy(update={"data_dir": folder / config.storage.data_dir})
    backup = config.backup.model_copy(update={"folder": folder / config.backup.folder})
    discord, scheduler, wall = config.discord, config.scheduler, config.wall
    if wall.sign_in.client_secret_file is not None:
        file = folder / wall.sign_in.client_secret_file
        sign_in = wall.sign_in.model_copy(update={"client_secret_file": file})
        wall = wall.model_copy(update={"sign_in": sign_in})
    if discord.token_file is not None:
        discord = discord.model_copy(update={"token_file": folder / discord.token_file})
    if scheduler.models_dir is not None:
        scheduler = scheduler.model_copy(update={"models_dir": folder / scheduler.models_dir})
    return config.model_copy(
        update={
            "storage": storage,
            "backup": backup,
            "wall": wall,
            "discord": discord,
            "scheduler": scheduler,
        }
    )


def _sentence(detail: ErrorDetails) -> str:
    place = [str(part) for part in detail["loc"]]
    key = ".".join(place)
    if detail["type"] == "extra_forbidden":
        return _unknown(place)
    if detail["type"] == "model_type":
        return f"[{key}] should be a table of settings, not {_shown(detail['input'], place)}."
    message = detail["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    return f"{key} = {_shown(detail['input'], place)}: {message}."


def _shown(value: Any, place: list[str]) -> str:
    """Return a value as it may be repeated: a secret may have been put into a wrong place."""
    secretive = any(tuple(place[: len(one)]) == one for one in _SECRETIVE)
    if secretive and not isinstance(value, int | float):
        return "…"
    if isinstance(value, int) and value.bit_length() > _LONGEST_BITS:
        return "…"  # such a number, of hexadecimal digits, cannot be written in decimal ones
    shown = repr(value).replace("'", '"') if isinstance(value, str) else repr(value)
    shown = _USER.sub("//…@", shown)
    return shown if len(shown) <= 60 else shown[:57] + "…"


def _unknown(place: list[str]) -> str:
    key = ".".join(place)
    if place == ["discord", "token"]:
        return (
            "discord.token: the token does not belong in this file. Put it in the environment "
            f"variable {TOKEN_VARIABLE}, or in a file that discord.token_file names."
        )
    if place == ["wall", "sign_in", "client_secret"]:
        return (
            "wall.sign_in.client_secret: the secret does not belong in this file. Put it in the "
            f"environment variable {SECRET_VARIABLE}, or in a file that "
            "wall.sign_in.client_secret_file names."
        )
    known = sorted(_keys_beside(place))
    near = difflib.get_close_matches(place[-1], known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}."
    return f"{key}: there is no such setting; {hint}"


def _keys_beside(place: list[str]) -> set[str]:
    section: type[BaseModel] = Config
    for part in place[:-1]:
        annotation = section.model_fields[part].annotation
        assert isinstance(annotation, type) and issubclass(annotation, BaseModel)
        section = annotation
    return set(section.model_fields)
