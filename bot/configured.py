"""What the settings say, as the services and the processes take it."""

from __future__ import annotations

import os
from ipaddress import ip_network
from pathlib import Path

from bot.checkpoints import CHECKPOINTS, Checkpoints
from bot.config import Config
from bot.free_space import GIB, MIB, FreeSpace
from bot.library import Library
from bot.limits import Limits
from bot.parties.model import PartyLimits
from bot.retention import RetentionRules
from bot.scheduler_client import SchedulerCommand
from bot.uploads import UploadLimits
from bot.wall import WallSettings

PEOPLE_PER_ADDRESS = 4  # whose share of waiting dreams one address may have at the wall
MODELS_VARIABLE = "DREAMSTREAM_MODELS"


def wall_url(config: Config) -> str:
    """Return the address at which everybody finds the wall, empty where there is none."""
    return "" if config.wall.mode == "off" else config.wall.public_url


def retention_rules(config: Config) -> RetentionRules:
    """Return what the settings want to be kept."""
    storage = config.storage
    return RetentionRules(
        keep_days=storage.keep_days,
        keep_bytes=int(storage.keep_gib * 1024**3),
        keep_favourites=storage.keep_favourites,
    )


def free_space(config: Config, data_dir: Path) -> FreeSpace:
    """Build what watches the disk of the data folder."""
    storage = config.storage
    return FreeSpace(
        data_dir,
        warn_bytes=int(storage.warn_free_gib * GIB),
        least_bytes=storage.least_free_mib * MIB,
    )


def wall_settings(config: Config) -> WallSettings:
    """Return the settings as the wall takes them."""
    return WallSettings(
        mode=config.wall.mode,
        host=config.wall.host,
        port=config.wall.port,
        title=config.wall.title,
        public_url=config.wall.public_url,
        guests_may_ask=config.wall.guests_may_ask,
        guests_may_batch=config.wall.guests_may_batch,
        trusted_proxies=tuple(ip_network(one) for one in config.wall.trusted_proxies),
        streams_per_address=config.wall.streams_per_address,
        requests_per_address=config.wall.requests_per_address,
        connections=config.wall.connections,
        dreams_per_address=PEOPLE_PER_ADDRESS * config.limits.waiting_per_person,
        background_per_address=PEOPLE_PER_ADDRESS * config.limits.background_per_person,
        pictures_per_batch=config.limits.pictures_per_batch,
        max_upload_bytes=(config.limits.upload_mib + 2) * 1024 * 1024,
    )


def limits(config: Config) -> Limits:
    """Return the settings' limits as the services take them."""
    return Limits(
        per_person=config.limits.waiting_per_person,
        everybody=config.limits.waiting_total,
        per_ask=config.limits.pictures_per_ask,
        prompt_length=config.limits.prompt_characters,
        background_per_person=config.limits.background_per_person,
        background_everybody=config.limits.background_total,
        background_per_ask=config.limits.pictures_per_batch,
    )


def party_limits(config: Config) -> PartyLimits:
    """Return the settings of parties as the service takes them."""
    parties = config.parties
    return PartyLimits(
        max_guests=parties.max_guests,
        weight=parties.weight,
        idle_hours=parties.idle_hours,
        words_per_minute=parties.words_per_minute,
        open_per_person=parties.open_per_person,
    )


def checkpoints(config: Config, library: Library) -> Checkpoints:
    """Return where dreams' checkpoints are kept, for as long as the settings say."""
    storage = config.storage
    return Checkpoints(
        library.root / CHECKPOINTS,
        kept_s=storage.checkpoint_days * 24 * 3600,
        kept_bytes=int(storage.checkpoint_gib * 1024**3),
    )


def upload_limits(config: Config) -> UploadLimits:
    """Return the settings' limits of what is uploaded."""
    return UploadLimits(
        max_bytes=config.limits.upload_mib * 1024 * 1024,
        max_pixels=config.limits.upload_megapixels * 1_000_000,
    )


def scheduler_command(config: Config) -> SchedulerCommand:
    """Return how to start the scheduler process as the settings want it."""
    scheduler = config.scheduler
    return SchedulerCommand(
        settings={
            "device": scheduler.device,
            "models_dir": str(models_dir(config)),
            "exact": scheduler.exact,
            "precision": scheduler.precision,
            "compile": scheduler.compile,
            "compiled_dir": str((config.storage.data_dir / "compiled").absolute()),
            "threads": scheduler.threads,
            "max_batch": scheduler.max_batch,
            "quantum_s": scheduler.quantum_s,
            "preview_s": scheduler.preview_interval_s,
            "checkpoint_s": scheduler.checkpoint_interval_s,
            "step_limit_s": scheduler.step_limit_s,
            "load_limit_s": scheduler.load_limit_s,
            "workers": scheduler.workers,
            "ray_address": scheduler.ray_address,
            "most_workers": scheduler.most_workers,
            "log_level": config.log.level.upper(),
        }
    )


def models_dir(config: Config) -> Path:
    """Return where further models' weights lie: as set, or as the environment has it."""
    named = os.environ.get(MODELS_VARIABLE)
    default = Path(named) if named else config.storage.data_dir / "models"
    return (config.scheduler.models_dir or default).absolute()
