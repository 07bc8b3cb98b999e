"""What Discord says, in the forms of API v10, as far as guilds with one channel each need it."""

from __future__ import annotations

import time
from itertools import count
from typing import Any

Json = dict[str, Any]

EPOCH_MS = 1_420_070_400_000
APPLICATION = 1_000_000_000_000_000_001
BOT = 1_000_000_000_000_000_002
GUILD = 1_000_000_000_000_000_003
CHANNEL = 1_000_000_000_000_000_004
GUILD_B = GUILD + (1 << 22)  # of two shards it is the other's
CHANNEL_B = CHANNEL + (1 << 22)
ANN = 1_000_000_000_000_000_005
_sequence = count()
ALL_PERMISSIONS = "2251799813685247"


def snowflake() -> int:
    """Return a new id of this moment."""
    return ((time.time_ns() // 1_000_000 - EPOCH_MS) << 22) | (next(_sequence) & 0xFFF)


def user(user_id: int, name: str, *, is_bot: bool = False) -> Json:
    """Return a person, or the bot."""
    return {
        "id": str(user_id),
        "username": name,
        "discriminator": "0",
        "global_name": name.title(),
        "avatar": None,
        "bot": is_bot,
        "public_flags": 0,
        "flags": 0,
        "primary_guild": None,
    }


def bot_user() -> Json:
    """Return the bot as `GET /users/@me` does."""
    return user(BOT, "dreamstream", is_bot=True) | {
        "mfa_enabled": False,
        "locale": "en-US",
        "verified": True,
        "email": None,
    }


def application() -> Json:
    """Return the application."""
    return {
        "id": str(APPLICATION),
        "name": "dreamstream",
        "icon": None,
        "description": "",
        "type": None,
        "bot_public": True,
        "bot_require_code_grant": False,
        "verify_key": "0" * 64,
        "flags": 0,
        "owner": user(ANN, "ann"),
        "team": None,
        "summary": "",
        "hook": True,
        "rpc_origins": [],
        "flags_new": "0",
        "approximate_guild_count": 1,
        "approximate_user_install_count": 0,
        "approximate_user_authorization_count": 0,
        "eligible_oauth2_scopes": [],
        "explicit_content_filter": 0,
        "interactions_endpoint_url": None,
        "redirect_uris": [],
        "role_connections_verification_url": None,
    }


def member(user_id: int, name: str) -> Json:
    """Return a member of the guild."""
    return {
        "user": user(user_id, name),
        "roles": [],
        "joined_at": "2026-01-01T00:00:00+00:00",
        "deaf": False,
        "mute": False,
        "flags": 0,
        "permissions": ALL_PERMISSIONS,
        "nick": None,
        "avatar": None,
        "banner": None,
        "pending": False,
        "premium_since": None,
        "communication_disabled_until": None,
    }


def channel(channel_id: int = CHANNEL, guild_id: int = GUILD) -> Json:
    """Return a guild's only channel."""
    return {
        "id": str(channel_id),
        "type": 0,
        "guild_id": str(guild_id),
        "name": "dreams",
        "position": 0,
        "permission_overwrites": [],
        "topic": None,
        "nsfw": False,
        "last_message_id": None,
        "parent_id": None,
        "rate_limit_per_user": 0,
        "flags": 0,
    }


def role(guild_id: int, permissions: int = int(ALL_PERMISSIONS)) -> Json:
    """Return the role that everybody has."""
    return {
        "id": str(guild_id),
        "name": "@everyone",
        "color": 0,
        "colors": {"primary_color": 0, "secondary_color": None, "tertiary_color": None},
        "hoist": False,
        "icon": None,
        "unicode_emoji": None,
        "position": 0,
        "permissions": str(permissions),
        "managed": False,
        "mentionable": False,
        "flags": 0,
    }


def thread(number: int, parent: Json, owner: int, name: str) -> Json:
    """Return a public thread of a channel."""
    return {
        "id": str(number),
        "type": 11,
        "guild_id": parent["guild_id"],
        "parent_id": parent["id"],
        "owner_id": str(owner),
        "name": name,
        "last_message_id": None,
        "thread_metadata": {
            "archived": False,
            "auto_archive_duration": 1440,
            "archive_timestamp": "2026-01-01T00:00:00.000000+00:00",
            "locked": False,
            "create_timestamp": "2026-01-01T00:00:00.000000+00:00",
        },
        "message_count": 0,
        "member_count": 2,
        "total_message_sent": 0,
        "rate_limit_per_user": 0,
        "flags": 0,
    }


def guild(guild_id: int, everybody: Json, channels: list[Json]) -> Json:
    """Return a guild as GUILD_CREATE does, with its channels and threads."""
    return {
        "id": str(guild_id),
        "name": "Dreamers",
        "icon": None,
        "splash": None,
        "discovery_splash": None,
        "banner": None,
        "description": None,
        "owner_id": str(ANN),
        "region": "",
        "afk_channel_id": None,
        "afk_timeout": 300,
        "verification_level": 0,
        "default_message_notifications": 0,
        "explicit_content_filter": 0,
        "roles": [everybody],
        "emojis": [],
        "stickers": [],
        "features": [],
        "mfa_level": 0,
        "application_id": None,
        "system_channel_id": None,
        "system_channel_flags": 0,
        "rules_channel_id": None,
        "vanity_url_code": None,
        "premium_tier": 0,
        "premium_subscription_count": 0,
        "preferred_locale": "en-US",
        "public_updates_channel_id": None,
        "safety_alerts_channel_id": None,
        "nsfw_level": 0,
        "nsfw": False,
        "premium_progress_bar_enabled": False,
        "hub_type": None,
        "incidents_data": None,
        "joined_at": "2026-01-01T00:00:00+00:00",
        "large": False,
        "unavailable": False,
        "member_count": 2,
        "voice_states": [],
        "members": [member(BOT, "dreamstream")],
        "channels": [one for one in channels if "thread_metadata" not in one],
        "threads": [one for one in channels if "thread_metadata" in one],
        "presences": [],
        "stage_instances": [],
        "guild_scheduled_events": [],
        "soundboard_sounds": [],
    }


def ready(address: str, guild_ids: list[int], shard: list[int]) -> Json:
    """Return the first event of a session. `address` is the gateway's, with its scheme."""
    return {
        "v": 10,
        "user": bot_user(),
        "guilds": [{"id": str(one), "unavailable": True} for one in guild_ids],
        "session_id": "s" + str(snowflake()),
        "session_type": "normal",
        "resume_gateway_url": address,
        "shard": shard,
        "application": {"id": str(APPLICATION), "flags": 0, "flags_new": "0"},
    }


def message(message_id: int, channel_id: int, body: Json, attachments: list[Json]) -> Json:
    """Return a message of the bot as it was asked for."""
    made = {
        "id": str(message_id),
        "channel_id": str(channel_id),
        "author": user(BOT, "dreamstream", is_bot=True),
        "content": body.get("content") or "",
        "timestamp": _iso(),
        "edited_timestamp": None,
        "tts": False,
        "mention_everyone": False,
        "mentions": [],
        "mention_roles": [],
        "attachments": attachments,
        "embeds": [],
        "pinned": False,
        "type": 0,
        "flags": body.get("flags") or 0,
        "components": resolved(body.get("components") or [], attachments),
    }
    if body.get("nonce") is not None:
        made["nonce"] = body["nonce"]
    return made


def edited(message: Json, body: Json, attachments: list[Json]) -> Json:
    """Return a message as it is after an edit: what the edit does not name stays."""
    changed = message | {"edited_timestamp": _iso(), "attachments": attachments}
    changed["flags"] = message["flags"] | (body.get("flags") or 0)
    if "content" in body:
        changed["content"] = body["content"] or ""
    if "components" in body:
        changed["components"] = resolved(body["components"] or [], attachments)
    return changed


def attachment(name: str, data: bytes, url: str) -> Json:
    """Return a file that was uploaded."""
    return {
        "id": url.rsplit("/", 2)[1],
        "filename": name,
        "size": len(data),
        "url": url,
        "proxy_url": url,
        "content_type": "image/png" if name.endswith(".png") else "application/octet-stream",
    }


def resolved(components: list[Json], attachments: list[Json]) -> list[Json]:
    """Return components with their ids, and the addresses of what was uploaded.

    Raises:
        KeyError: a component names a file that is not there.
    """
    return [_resolved(one, attachments) for one in components]


def _iso() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000000+00:00", time.gmtime())


def _resolved(component: Json, attachments: list[Json]) -> Json:
    """Return a component with its id, and the address of what was uploaded."""
    made: Json = {"id": next(_sequence) + 1} | component
    if "components" in made:
        made["components"] = [_resolved(one, attachments) for one in made["components"]]
    if "accessory" in made:
        made["accessory"] = _resolved(made["accessory"], attachments)
    if "items" in made:
        made["items"] = [
            item | {"media": _media(item["media"], attachments)} for item in made["items"]
        ]
    if "media" in made:
        made["media"] = _media(made["media"], attachments)
    if "file" in made:
        uploaded = {f"attachment://{one['filename']}": one for one in attachments}
        file = uploaded[made["file"]["url"]]
        made |= {"name": file["filename"], "size": file["size"]}
        made["file"] = _media(made["file"], attachments)
    return made


def _media(media: Json, attachments: list[Json]) -> Json:
    urls = {f"attachment://{one['filename']}": one["url"] for one in attachments}
    url = urls[media["url"]]
    return {"id": str(snowflake()), "url": url, "proxy_url": url}


def interaction(
    kind: int,
    data: Json,
    *,
    by: int = ANN,
    place: Json | None = None,
    permissions: str = ALL_PERMISSIONS,
    **more: Any,
) -> Json:
    """Return what somebody does in `place`, a channel where the bot may so much.

    `more` says how the bot came there, where it has not been invited (`places.context_of`).
    """
    where = channel() if place is None else place
    name = "ann" if by == ANN else f"guest{by - ANN}"
    if "guild_id" in where:
        guild_id = where["guild_id"]
        who: Json = {
            "guild_id": guild_id,
            "guild": {"id": guild_id, "locale": "en-US", "features": []},
            "guild_locale": "en-US",
            "member": member(by, name),
            "authorizing_integration_owners": {"0": guild_id},
        }
    else:
        who = {"user": user(by, name)}
    return {
        "id": str(snowflake()),
        "application_id": str(APPLICATION),
        "type": kind,
        "token": f"token-{snowflake()}",
        "version": 1,
        "channel_id": where["id"],
        "channel": where | ({"permissions": ALL_PERMISSIONS} if "guild_id" in where else {}),
        "locale": "en-US",
        "app_permissions": permissions,
        "entitlements": [],
        "entitlement_sku_ids": [],
        **who,
        "context": 0,
        "attachment_size_limit": 10_485_760,
        "data": data,
        **more,
    }
