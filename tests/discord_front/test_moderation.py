"""What Discord shows of the check of pictures and of the log, and to whom."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from discord import Locale, TextChannel

from bot.audit import Audit, Why
from bot.checking.model import Verdict
from bot.checking.reviews import Reviews
from bot.checking.service import PictureChecks
from bot.delivery.audit_log import line_of
from bot.ids import now_ms
from bot.model import Act, ModerationEntry, Person, PictureCheck
from bot.settings import ChannelSettings
from bot.store import moderation, people
from bot.translations import LANGUAGES, in_language_of
from tests.bot.drawer import png, until
from tests.discord_front.test_commands import member, said
from tests.discord_front.world import World, buttons_of, gallery_of, world


class Eyes:
    async def score(self, data: bytes, media_type: str = "image/png") -> float:
        return 0.95


def checks(there: World) -> Reviews:
    """Have pictures checked in a world, by one who finds something in each."""
    parts = there.parts
    found = PictureChecks(parts.library, parts.settings, Eyes(), PictureCheck.SPOILER)
    parts.dreams.check_pictures(found)
    reviews = Reviews(parts.store, parts.library, parts.dreams, found)
    reviews.on_change(there.client.delivery.refresh)
    object.__setattr__(there.client.front, "reviews", reviews)
    return reviews


def said_in(result: Any) -> str:
    return str(getattr(result.response, "content", "") or result.response.message.content)


async def shown(there: World) -> tuple[str, Any]:
    dream_id, _ = await there.ask()
    await there.parts.draw(dream_id)
    return dream_id, await there.shows(-1, "picture check")


async def test_a_spoiler_is_hidden_by_discord(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        checks(there)
        _, card = await shown(there)
        item = gallery_of(card)
        assert item is not None and item.spoiler
        assert "Show it to me" not in buttons_of(card)


async def test_what_is_not_looked_at_in_a_channel_is_drawn_again_with_its_start(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as there:
        checks(there)
        channel = there.client.get_channel(there.channel.id)
        assert isinstance(channel, TextChannel)
        channel.nsfw = True
        asked = {"prompt": "a body", "init": ("a.png", png(32, 32, "blue")), "strength": 0.5}
        assert "It appears" in said_in(await there.ann.slash(there.channel, "dream", **asked))
        (dream,) = await there.parts.dreams.unfinished(None)
        await there.parts.draw(dream.id)
        await until(lambda: not there.client.delivery.unsettled)
        form = await there.ann.click(there.cards()[-1], label="Remix")
        remixed = await there.ann.submit_modal(form, {"prompt": "a body in oil"})
        assert "It appears" in said_in(remixed)
        again = await there.ann.slash(there.channel, "redo", dream=dream.id, steps=3)
        assert "It appears" in said_in(again)
        assert len(await there.parts.dreams.unfinished(None)) == 2


@pytest.mark.parametrize("setting", ["blur", "refuse"])
async def test_behind_a_cover_looks_who_may_and_a_release_shows_it(
    tmp_path: Path, setting: str
) -> None:
    async with world(tmp_path) as there:
        checks(there)
        mod = member(there, "mod", manage_messages=True)
        guild_id = there.env.guild.id
        admin = Person("discord:1", "admin")
        await there.parts.settings.change_guild(guild_id, admin, picture_check=setting)
        dream_id, card = await shown(there)
        item = gallery_of(card)
        assert item is not None and not item.spoiler
        stranger = await there.bob.click(card, label="Show it to me")
        assert stranger.response.message.content.startswith("Only who asked")
        author = (await there.ann.click(card, label="Show it to me")).response.message
        assert bool(author.attachments) is (setting == "blur")
        looked = (await mod.click(card, label="Show it to me")).response.message
        assert looked.attachments[0].filename.startswith("SPOILER_")
        known = {one.name: one for one in await there.client.tree.fetch_commands()}
        there.env.guild.set_command_permissions(known["moderate"], {there.bob: True})
        told = await said(there.bob, there, "moderate picture", dream=dream_id, what="released")
        assert "Only who may manage" in told
        assert "stays" in await said(
            mod, there, "moderate picture", dream=dream_id, what="confirmed"
        )
        assert "Released" in await said(
            mod, there, "moderate picture", dream=dream_id, what="released"
        )
        await until(lambda: "Show it to me" not in buttons_of(there.cards()[-1]))
        log = (await said(mod, there, "moderate log")).splitlines()
        assert "released a picture of ann" in log[0] and "left a picture covered" in log[1]
        assert "covered a picture of ann" in log[2] and "(found, 0.95)" in log[2]


async def test_the_log_is_told_page_by_page_and_by_kind(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        mod = member(there, "mod", manage_messages=True)
        guild_id, ann = there.env.guild.id, Person(f"discord:{there.ann.id}", "ann")
        async with there.parts.store.write() as connection:
            await people.upsert(connection, ann, 0)
            for hours in range(30, 0, -1):
                at_ms = now_ms() - hours * 3_600_000
                await moderation.append(connection, Act.BLOCKED, guild_id, ann, at_ms, person=ann)
        audit = Audit(there.parts.store, 0)
        for _ in range(3):
            audit.refused(ann, guild_id, there.channel.id, Why.BLOCKED_WORD)
        await audit.write()
        first = (await mod.slash(there.channel, "moderate log")).response.message
        lines = first.content.splitlines()
        assert lines[0].endswith(f"refused ann in <#{there.channel.id}> (a blocked word) 3 times")
        seen = set(lines)
        pages, message = 1, first
        while message.components:
            message = (await mod.click(message, label="Older")).response.message
            assert not seen & set(message.content.splitlines())
            seen |= set(message.content.splitlines())
            pages += 1
        assert (pages, len(seen)) == (3, 31)
        (line,) = (await said(mod, there, "moderate log", what="refused")).splitlines()
        assert line == lines[0]
        assert "nothing" in await said(mod, there, "moderate log", person=there.bob)


SPOKEN = (Locale.american_english, *LANGUAGES)
ANN, MOD = Person("discord:1", "ann"), Person("discord:2", "mod")
KEPT = Person("local:picture-check", "Picture check")
LOGGED: tuple[tuple[dict[str, Any], str, str], ...] = (
    (
        {"act": Act.RELEASED, "by": MOD, "person": ANN, "dream_id": "d1", "channel_id": 7},
        "mod hat ein Bild von ann freigegeben `d1` in <#7>",
        "mod a libéré une image de ann `d1` dans <#7>",
    ),
    (
        {"act": Act.COVERED, "by": KEPT, "person": ANN, "detail": {"verdict": "unchecked"}},
        "Die Bilderprüfung hat ein Bild von ann verdeckt (nicht rechtzeitig geprüft)",
        "Le contrôle des images a masqué une image de ann (pas contrôlée à temps)",
    ),
    (
        {"act": Act.REFUSED, "by": KEPT, "person": ANN, "detail": {"why": "limit", "times": 3}},
        "Die Regeln haben ann abgewiesen (eine Grenze) 3-mal",
        "Les règles ont refusé ann (une limite) 3 fois",
    ),
    (
        {"act": Act.SETTINGS, "by": MOD, "detail": {"changed": ["nsfw", "per_hour"]}},
        "mod hat Einstellungen geändert: Wörter für Erwachsene, pro stunde auf dem ganzen Server",
        "mod a changé des réglages : mots pour adultes, par heure sur tout le serveur",
    ),
    (
        {"act": Act.DELETED, "by": MOD, "person": ANN, "channel_id": 7},
        "mod hat in einem Spiel etwas von ann gelöscht in <#7>",
        "mod a supprimé quelque chose de ann dans un jeu dans <#7>",
    ),
    ({"act": Act.CONSENT, "by": ANN, "person": ANN}, "ann hat ein Porträt", "ann a retiré un"),
)


def entry(**given: Any) -> ModerationEntry:
    rest = {"person": None, "dream_id": None, "channel_id": None, "id": 1, "guild_id": 3}
    return ModerationEntry(**{**rest, "at_ms": 60_000, **given})


@pytest.mark.parametrize(("given", "german", "french"), LOGGED)
def test_the_log_is_in_its_readers_language(
    given: dict[str, Any], german: str, french: str
) -> None:
    for locale, told in ((Locale.german, german), (Locale.french, french)):
        line = line_of(entry(**given), partial(in_language_of, locale))
        assert line.startswith(f"<t:60:f> {told}"), line


def test_every_act_and_every_reason_is_told_in_every_language() -> None:
    details: list[dict[str, Any]] = [{"why": why.value} for why in Why]
    details += [{"verdict": one.value} for one in Verdict if one is not Verdict.CLEAR]
    details += [{"changed": [name]} for name in ChannelSettings.__struct_fields__]
    for act in Act:
        for person, dream_id in ((ANN, "d1"), (ANN, None), (MOD, "d1"), (None, None)):
            for detail in details:
                given = entry(act=act, by=MOD, person=person, dream_id=dream_id, detail=detail)
                english, *others = (line_of(given, partial(in_language_of, x)) for x in SPOKEN)
                assert len({english, *others}) == len(SPOKEN), english
                for name in detail.get("changed", ()):
                    untold = re.compile(rf"\b{name.replace('_', ' ')}\b")
                    assert not any(map(untold.search, others)), others
