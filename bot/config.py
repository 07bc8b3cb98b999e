"""Settings: their sections, their defaults, and which values they take.

Every setting has a default, so no file is needed. ``config.example.toml`` explains each one, and
a test holds it to this module. `bot.config_file` reads them; the Discord token is never among them
(`bot.config_secrets`).
"""

from __future__ import annotations

import re
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from bot.library_place import is_address

LEAST_LOG_DAYS = 30


def _as_path(value: Any) -> Any:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("should be a path, in quotes")
    return Path(value)


FilePath = Annotated[Path, BeforeValidator(_as_path)]


_EXAMPLE = "https://dreams.example.org"


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
        address = _whole_address(value, _EXAMPLE)
        # Its pages name all from the root: below a path none would find its style or pictures.
        if address and urlsplit(address)[2:] != ("", "", ""):
            raise ValueError(
                "should end with the name or the port: the wall needs a whole host, and cannot be "
                f"below a path. Give it a name of its own, like {_EXAMPLE}"
            )
        return address

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
