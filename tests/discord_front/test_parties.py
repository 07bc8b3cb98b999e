"""Parties in Discord: their cards, what each button does for whom, and what a restart costs."""

from __future__ import annotations

import asyncio
import io
import zipfile
from pathlib import Path
from typing import Any

import discord
import msgspec
import pytest

from bot.delivery.party_cards import PartyCards
from bot.delivery.party_face import BundleFile, Evening, Face
from bot.errors import DiskError, DreamstreamError, NotFoundError
from bot.model import Dream, Person
from bot.parties.model import Party, Stage
from bot.rights import Actor
from bot.sentences import say
from bot.store import party_cards
from bot.translations import in_language_of
from tests.bot.drawer import until
from tests.discord_front.test_behaviour_cards import menus_of
from tests.discord_front.test_themes import host_of
from tests.discord_front.world import World, buttons_of, gallery_of, text_of, world


def said(result: Any) -> str:
    """Return the sentence that was answered."""
    return str(result.response.content)


async def opened(there: World, host: Any, **options: Any) -> Party:
    """Have a host open a party; wait for its card."""
    given = {"topic": "the sea"} | options
    result = await host.slash(there.channel, "party start", **given)
    assert "The party is open" in said(result)
    party = await there.parts.parties.open_in(there.channel.id)
    assert party is not None
    await card_at(there, "Gather")
    return party


async def card_at(there: World, stage: str, words: str = "") -> discord.Message:
    """Wait for the card of a stage that goes on, with these words."""

    def found() -> discord.Message | None:
        cards = [
            card
            for card in there.cards()
            if f"**{stage}**" in text_of(card)
            and " is over." not in text_of(card)
            and words in text_of(card)
        ]
        return cards[-1] if cards else None

    await until(lambda: found() is not None)
    card = found()
    assert card is not None
    return card


async def moved(there: World, host: Any, party: Party, stage: Stage) -> discord.Message:
    await host.slash(there.channel, "party stage", stage=stage.value)
    return await card_at(there, stage.value.capitalize())


async def drawn(there: World, person: Any, card: discord.Message, words: str) -> list[Dream]:
    """Have somebody sketch, and all of it be drawn."""
    form = await person.click(card, label="Sketch")
    result = await person.submit_modal(form, {"words": words})
    assert "sketches" in said(result)
    return await all_drawn(there)


async def all_drawn(there: World) -> list[Dream]:
    """Have all that waits be drawn, and return it as it is then."""
    dreams = await there.parts.dreams.unfinished(None)
    for dream in dreams:
        await there.parts.draw(dream.id)
    return [await there.parts.dreams.wait(dream.id) for dream in dreams]


async def test_an_evening_from_its_first_word_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A film is a process of its own, for which simcord would wait.
    monkeypatch.setattr("bot.publish.building.film_of", lambda *_: False)
    async with world(tmp_path) as there:
        host, parties = host_of(there), there.parts.parties
        party = await opened(there, host, minutes=10)
        card = await card_at(there, "Gather")
        assert "Until <t:" in text_of(card) and "host (host)" in text_of(card)
        leading = ["Start sketching", "Roles …", "End the party"]
        assert buttons_of(card) == ["Join", "Say a word", *leading]
        # Who is not there is told so, before they type anything.
        result = await there.ann.click(card, label="Say a word")
        assert said(result) == "Join the party first."
        result = await there.ann.click(card, label="Join")
        assert said(result) == "You are at the party, as guest."
        await there.bob.click(card, label="Join")
        form = await there.ann.click(card, label="Say a word")
        result = await there.ann.submit_modal(form, {"words": "waves\n\nfog\n", "kind": ["idea"]})
        assert said(result) == "2 things were said."
        form = await there.bob.click(card, label="Say a word")
        await there.bob.submit_modal(form, {"words": "Fog", "kind": ["idea"]})
        card = await card_at(there, "Gather", "fog ×2 · waves")
        assert "ann, bob" in text_of(card)
        # A member may not lead; a press on a stage that has passed changes nothing.
        result = await there.ann.click(card, label="Start sketching")
        assert "Only the host" in said(result)
        result = await host.click(card, label="Start sketching")
        assert said(result) == "The party is at: Sketch."
        result = await host.click(card, label="Start sketching")
        assert "This stage is over." in said(result)
        sketch = await card_at(there, "Sketch")
        await until(lambda: "This stage is over." in text_of(there.cards()[0]))
        assert buttons_of(there.cards()[0]) == []
        # The words that were said are chosen, more are typed.
        form = await there.ann.click(sketch, label="Sketch")
        ids = {one.words: str(one.id) for one in await parties.associations(party)}
        await there.ann.submit_modal(form, {"said": [ids["fog"]], "words": "a harbour"})
        first = await there.parts.dreams.unfinished(None)
        assert {dream.person.name for dream in first} == {"ann"} and len(first) == 4
        assert "fog" in first[0].prompt and "a harbour" in first[0].prompt
        node = (await parties.nodes(party))[0]
        assert node.entry.association_ids == (int(ids["fog"]),)
        first = await all_drawn(there)
        await card_at(there, "Sketch", "4 finished")
        # What is asked for as ever is the party's, too, and only of those who are there.
        await there.bob.slash(there.channel, "dream", prompt="a lighthouse")
        [bobs] = await there.parts.dreams.unfinished(None)
        assert bobs.theme_id == party.theme_id
        assert bobs.id in {node.dream.id for node in await parties.nodes(party)}
        [bobs] = await all_drawn(there)
        stranger = there.env.guild.add_member(there.env.create_user("cee"))
        result = await stranger.slash(there.channel, "dream", prompt="a fox")
        assert said(result) == "Join the party first."

        card = await moved(there, host, party, Stage.ELABORATE)
        result = await there.bob.click(card, label="Grow")
        menu = result.response.message
        assert "Which picture is to grow?" in text_of(menu) and gallery_of(menu) is not None
        form = await there.bob.select(menu, [bobs.id])
        result = await there.bob.submit_modal(form, {"words": "a red lighthouse"})
        assert "It grows." in said(result)
        [grown] = await there.parts.dreams.unfinished(None)
        assert (grown.prompt, grown.parent_id) == ("a red lighthouse", bobs.id)
        assert grown.recipe.seed == bobs.recipe.seed
        [grown] = await all_drawn(there)
        result = await there.ann.click(card, label="Combine")
        result = await there.ann.select(result.response.message, [grown.id, first[0].id])
        assert "put together" in said(result)
        [both] = await there.parts.dreams.unfinished(None)
        [both] = await all_drawn(there)

        card = await moved(there, host, party, Stage.CHOOSE)
        result = await there.ann.click(card, label="Vote")
        while "Which is the better one?" in text_of(result.response.message):
            result = await there.ann.click(result.response.message, label="The first")
        assert "You have compared all there is" in text_of(result.response.message)
        votes = await parties.votes(party)
        assert len(votes) == 6, "each of the four last ones with each"
        form = await there.bob.click(card, label="Points")
        result = await there.bob.submit_modal(
            form, {"point1": [both.id], "point2": [both.id], "point4": [first[1].id]}
        )
        assert said(result) == "Your points are given. You have 2 left."
        found = next(card for card in there.cards() if bobs.id in text_of(card))
        await there.ann.click(found, label="♥")
        favoured = {
            vote.dream_id for vote in await parties.votes(party) if vote.kind == "favourite"
        }
        assert favoured == {bobs.id}
        await card_at(there, "Choose", "2 people")
        result = await there.ann.click(card, label="How they stand")
        assert "2 points" in text_of(result.response.message)

        card = await moved(there, host, party, Stage.FINALE)
        result = await there.ann.click(card, label="Choose for the finale …")
        assert "Only the host" in said(result)
        result = await host.click(card, label="Choose for the finale …")
        # simcord would wait for what then waits for pictures: it is begun from here.
        chains: list[Any] = []
        monkeypatch.setattr(parties._chains, "spawn", lambda chain, _: chains.append(chain))
        result = await host.select(result.response.message, [both.id, bobs.id])
        begun = [asyncio.create_task(chain) for chain in chains]
        assert "2 are drawn anew" in said(result)
        await until(lambda: gallery_of(there.cards()[-1]) is not None)
        await all_drawn(there)
        await asyncio.gather(*begun)

        result = await host.slash(there.channel, "party publish")
        assert "The bundle is being made." in said(result)
        card = await card_at(there, "Published")
        await until(
            lambda: any(one.filename.endswith(".zip") for one in there.cards()[-1].attachments)
        )
        [bundle] = [one for one in there.cards()[-1].attachments if one.filename.endswith(".zip")]
        with zipfile.ZipFile(io.BytesIO(await bundle.read())) as opened_zip:
            assert opened_zip.testzip() is None
            names = opened_zip.namelist()
        assert any(name.endswith("index.html") for name in names), names
        result = await host.click(card, label="End the party")
        result = await host.click(result.response.message, label="Yes, end it")
        assert "The party is over." in said(result)
        await until(lambda: "The party is over." in text_of(there.cards()[-1]))
        await until_closed(there, party)
        # The channel has its own theme again.
        theme = await there.client.front.channels.theme_of(there.channel.id)
        assert theme.slug == "open"
        stages = [card for card in there.cards() if "Party · stage" in text_of(card)]
        assert len(stages) == 6, "one card a stage"
        assert all(buttons_of(card) == [] for card in stages)


async def until_closed(there: World, party: Party) -> None:
    async with asyncio.timeout(20):
        while await party_cards.open_of(there.parts.store, party.id):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def restarted(there: World) -> None:
    """Let the parties' cards be looked after by another, as after a crash."""
    await there.client.party_cards.stop()
    made = PartyCards(there.client.front, there.client, there.client.delivery.lane)
    there.client.party_cards = made
    there.client.delivery.companions = (made, there.client.digests)
    await made.start()


async def test_a_restart_at_any_moment_posts_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # simcord's messages are months old to our clock.
    monkeypatch.setattr("bot.delivery.sender.snowflake_at", lambda at_ms: 1)
    async with world(tmp_path) as there:
        host, parties = host_of(there), there.parts.parties
        party = await opened(there, host)
        asker = Actor(Person(f"discord:{host.id}", "host"))
        for number, stage in enumerate(Stage, 1):
            if stage is not Stage.GATHER:
                # It moves on while nobody looks after the cards.
                await there.client.party_cards.stop()
                party = await parties.move(party, asker, stage)
                await restarted(there)
            await card_at(there, stage.value.capitalize())
            await restarted(there)
            card = await party_cards.newest_of(there.parts.store, party.id)
            assert card is not None
            # Its message is there, but the process died before it knew of it.
            async with there.parts.store.write() as connection:
                await connection.execute(
                    "UPDATE party_card SET message_id = NULL, shown = '' WHERE id = ?", (card.id,)
                )
            await restarted(there)
            await known(there, party)
            assert there.posts() == number
        await parties.end(party, asker)
        await restarted(there)
        await until_closed(there, party)
        assert there.posts() == len(Stage)
        assert all(buttons_of(one) == [] for one in there.cards())


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("anew", [False, True])
async def test_a_card_that_is_refused_for_too_long_waits_for_a_change_or_a_restart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, anew: bool
) -> None:
    async with world(tmp_path) as there:
        host = host_of(there)
        party = await opened(there, host)
        card = there.cards()[-1]
        there.env.inject_error("PATCH", "/channels/*/messages/*", status=403, code=50013)
        await there.ann.click(card, label="Join")
        await until(lambda: f"party {party.id} will not be shown: 403" in caplog.text)
        there.client.party_cards.hurry()
        await there.client.party_cards._look(party)  # as it looked before
        await asyncio.sleep(0.3)
        assert "ann" not in text_of(there.cards()[-1])
        if anew:
            await restarted(there)
            await there.shows(-1, "ann")
        else:
            await there.bob.click(card, label="Join")
            assert "ann" in text_of(await there.shows(-1, "bob"))
        assert there.posts() == 1


async def known(there: World, party: Party) -> None:
    """Wait until the message of a party's newest card is known."""
    async with asyncio.timeout(20):
        while True:
            card = await party_cards.newest_of(there.parts.store, party.id)
            if card is not None and card.message_id is not None and card.shown:
                return
            await asyncio.sleep(0.02)


async def test_who_leads_gives_roles_and_hands_over(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        host = host_of(there)
        result = await there.ann.slash(there.channel, "party start", topic="the sea")
        assert "Only who may manage this channel" in said(result)
        result = await there.ann.slash(there.channel, "party leave")
        assert said(result) == "There is no party in this channel. Open one: /party start"
        party = await opened(there, host, minutes=0)
        result = await host.slash(there.channel, "party start", topic="again")
        assert said(result) == "There is a party in this channel already."
        card = await card_at(there, "Gather")
        assert "Until" not in text_of(card)
        for person in (there.ann, there.bob):
            await person.click(card, label="Join")
        form = await host.click(card, label="Roles …")
        result = await host.submit_modal(
            form, {"person": [f"discord:{there.ann.id}"], "role": ["facilitator"]}
        )
        assert said(result) == "ann is now: facilitator."
        await card_at(there, "Gather", "ann (facilitator)")
        # A facilitator moves on, and gives no roles.
        result = await there.ann.slash(
            there.channel, "party role", person=there.bob, role="art_expert"
        )
        assert said(result) == "Only the host of the party can do that."
        result = await there.ann.slash(there.channel, "party timer", minutes=5)
        assert "5 minutes" in said(result)
        await card_at(there, "Gather", "Until <t:")
        await host.slash(there.channel, "party role", person=there.bob, role="art_expert")
        await card_at(there, "Gather", "bob (art expert)")
        result = await host.slash(there.channel, "party hand-over", person=there.bob)
        assert said(result) == "bob is now: host."
        await card_at(there, "Gather", "bob (host)")
        await there.bob.slash(there.channel, "party leave")
        await card_at(there, "Gather", "ann (host)")
        form = await there.ann.click(card, label="Roles …")
        result = await there.ann.submit_modal(
            form, {"person": [f"discord:{host.id}"], "role": ["away"]}
        )
        assert said(result) == "They are gone, and cannot come back."
        result = await host.click(card, label="Join")
        assert said(result) == "You were asked to leave this party."
        result = await there.ann.slash(there.channel, "party show")
        assert "ann (host)" in text_of(result.response.message)
        assert party.host.name == "host"


async def test_the_time_is_told_once_and_without_calling_anybody(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        host, parties = host_of(there), there.parts.parties
        party = await opened(there, host, minutes=1)
        async with there.parts.store.write() as connection:
            await connection.execute("UPDATE party SET due_ms = 1 WHERE id = ?", (party.id,))
        await parties.keeper.look()
        await parties.keeper.look()
        await card_at(there, "Gather", "The time for this is up.")
        assert there.posts() == 1


async def until_reopened(there: World, card: party_cards.PartyCard) -> None:
    async with asyncio.timeout(10):
        while True:
            now = await party_cards.by_id(there.parts.store, card.id)
            if now is not None and now.revision > card.revision:
                return
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("while_sent", [False, True])
async def test_a_deleted_picture_goes_from_the_cards_of_a_party_that_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, while_sent: bool
) -> None:
    async with world(tmp_path) as there:
        host, parties = host_of(there), there.parts.parties
        party = await opened(there, host)
        asker = Actor(Person(f"discord:{host.id}", "host"))
        party = await parties.move(party, asker, Stage.SKETCH)
        [dream] = await parties.draw(party, asker, "a fox", count=1)
        await there.parts.draw(dream.id)
        await there.parts.dreams.wait(dream.id)
        party = await parties.move(party, asker, Stage.FINALE)
        async with there.parts.store.write() as connection:
            await connection.execute(
                "INSERT INTO party_finale (party_id, dream_id, person_id, done, at_ms)"
                " VALUES (?, ?, ?, 1, 1)",
                (party.id, dream.id, asker.person.id),
            )
        await card_at(there, "Finale")
        showed = there.client.party_cards._posting._showed

        async def deleted_just_then(card: party_cards.PartyCard, face: Any) -> None:
            if card.newest and not (await parties.get(party.id)).open:
                monkeypatch.undo()
                await there.parts.moderation.delete(dream.id, asker)
                await until_reopened(there, card)
            await showed(card, face)

        if while_sent:
            monkeypatch.setattr(there.client.party_cards._posting, "_showed", deleted_just_then)
        await parties.end(party, asker)
        if not while_sent:
            await until_closed(there, party)
            assert gallery_of(there.cards()[-1]) is not None
            await there.parts.moderation.delete(dream.id, asker)
        await until(lambda: gallery_of(there.cards()[-1]) is None)
        assert there.cards()[-1].attachments == []
        await until_closed(there, party)


async def test_a_party_without_pictures_comes_to_its_end_and_publishes_nothing(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as there:
        host, parties = host_of(there), there.parts.parties
        party = await opened(there, host)
        result = await there.ann.slash(there.channel, "party publish")
        assert "Only the host and the facilitators" in said(result)
        result = await host.slash(there.channel, "party publish")
        assert "There is nothing to publish" in said(result)
        assert (await parties.get(party.id)).stage is Stage.GATHER, "it stays where it was"
        await moved(there, host, party, Stage.FINALE)
        result = await host.click(await card_at(there, "Finale"), label="Publish the evening")
        assert said(result).startswith("The party is at: Published. There is nothing to publish")
        await card_at(there, "Published")
        assert not there.parts.publishing.making(party.id)


async def test_the_card_says_why_there_is_no_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise DiskError("The disk is full: nothing more can be kept. Free some space.")

    monkeypatch.setattr("bot.publish.service.bundle", full)
    async with world(tmp_path) as there:
        host = host_of(there)
        party = await opened(there, host)
        card = await moved(there, host, party, Stage.SKETCH)
        await drawn(there, host, card, "a fox")
        await host.slash(there.channel, "party publish")
        await card_at(there, "Published", "**No bundle was made.** The disk is full")


def evening(party: Party, **changes: Any) -> Evening:
    """Return a party as its last card shows it."""
    shown: dict[str, Any] = {
        "stage": Stage.PUBLISHED,
        "passed": False,
        "card_id": 1,
        "colour": "#112233",
    }
    return Evening(party=party, **(shown | changes))


async def test_a_card_is_compared_without_reading_its_bundle(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        party = await opened(there, host_of(there))
        path = tmp_path / "whole.zip"
        path.write_bytes(b"PK")
        first, same, newer = (
            Face(evening(party, bundle=BundleFile(path, version * 16))) for version in "aab"
        )
        [file] = first.files()
        assert (file.filename, file.fp.read()) == (f"party-{party.id}-aaaaaaaa.zip", b"PK")
        path.unlink()  # withdrawn
        assert first.looks == same.looks != newer.looks
        with pytest.raises(NotFoundError, match="made anew"):
            first.files()
        # A sentence is the same string to Discord as any other.
        sentence = Face(evening(party, trouble=say("{what} is full.", what="The disk")))
        assert sentence.looks == Face(evening(party, trouble="The disk is full.")).looks


async def test_a_card_of_many_pictures_keeps_room_for_its_bundle(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        host = host_of(there)
        party = await opened(there, host)
        path = tmp_path / "whole.zip"
        path.write_bytes(b"PK")
        card = await moved(there, host, party, Stage.SKETCH)
        [dream, *_] = await drawn(there, host, card, "a fox")
        pictures = [(msgspec.structs.replace(dream, id=str(n)), b"") for n in range(10)]
        face = Face(evening(party, pictures=pictures, bundle=BundleFile(path, "a" * 16)))
        assert len(face.files()) == 10  # Discord takes no more
        [box] = face.view().to_components()  # type: ignore[no-untyped-call]
        [gallery] = [one for one in box["components"] if "items" in one]
        assert len(gallery["items"]) == 9
        assert len(Face(evening(party, pictures=pictures)).files()) == 10


async def test_a_party_is_told_to_its_people_in_their_language(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        host, parties = host_of(there), there.parts.parties
        party = await opened(there, host)
        ann = Actor(Person(f"discord:{there.ann.id}", "Ann"))
        await parties.join(party, ann, code=party.code)
        errors: list[DreamstreamError] = []
        for asked in (
            parties.draw(party, ann, "a fox"),
            parties.end(party, ann),
            parties.associate(party, ann, "x" * 121),
            there.parts.publishing.make(party.id, ann),
        ):
            with pytest.raises(DreamstreamError) as caught:
                await asked
            errors.append(caught.value)
        in_german = [in_language_of(discord.Locale.german, one.sentence) for one in errors]
        assert in_german == [
            "Das geht, während ihr skizziert oder ausarbeitet. Wer die Party leitet, bringt sie "
            "weiter.",
            "Das kann nur, wer die Party leitet.",
            "Ein Einfall hat höchstens 120 Zeichen. Sag es kürzer.",
            "Die Party veröffentlichen können nur, wer sie leitet oder moderiert.",
        ]
        in_french = in_language_of(discord.Locale.french, errors[0].sentence)
        assert in_french.startswith("C'est possible pendant que vous esquissez ou élaborez.")


async def test_a_party_lends_its_theme_to_no_other_channel(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        host = host_of(there)
        party = await opened(there, host, topic="the deep sea")
        theme = await there.parts.themes.by_id(party.theme_id)
        await there.parts.themes.create("party-decoration", "A theme of that name")
        other = there.env.guild.create_text_channel("other")
        result = await host.slash(other, "theme list")
        assert theme.slug not in said(result) and "party-decoration" in said(result)
        offered = await host.autocomplete(other, "theme here", "theme", "deep sea")
        assert not offered
        result = await host.slash(other, "theme here", theme=theme.slug)
        assert said(result) == "There is no such theme here."


async def test_whom_the_host_lets_steer_at_a_party_steers_in_discord_too(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        host, parties = host_of(there), there.parts.parties
        party = await opened(there, host, minutes=0)
        card = await card_at(there, "Gather")
        for person in (there.ann, there.bob):
            await person.click(card, label="Join")
        await moved(there, host, party, Stage.SKETCH)
        await there.bob.slash(there.channel, "dream", prompt="a red fox")
        await until(lambda: bool([one for one in there.cards() if "red fox" in text_of(one)]))
        [dream] = await there.parts.dreams.unfinished(None)
        picture = next(one for one in there.cards() if "red fox" in text_of(one))
        form = await there.ann.click(picture, label="Steer")
        result = await there.ann.submit_modal(form, {"prompt": "a blue fox"})
        assert said(result) == "It glides there from the next step on."
        result = await there.ann.slash(
            there.channel, "steer", dream=dream.id, words="a green fox", glide=0
        )
        assert said(result) == "At its next step it turns there at once."
        leader = Actor(Person(f"discord:{host.id}", "host"), guild_id=party.guild_id)
        await parties.change(party, leader, everyone_steers=False)
        result = await there.ann.slash(there.channel, "steer", dream=dream.id, words="a grey fox")
        assert said(result) == "Only bob, or who leads, can steer this."
        result = await there.bob.slash(there.channel, "steer", dream=dream.id, words="a dark fox")
        assert "it glides there" in said(result)


async def test_a_star_and_a_heart_for_several_are_votes_where_there_are_votes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.delivery.stars.GATHER_S", 0.01)
    async with world(tmp_path) as there:
        host, parties = host_of(there), there.parts.parties
        party = await opened(there, host, minutes=0)
        card = await card_at(there, "Gather")
        for person in (there.ann, there.bob):
            await person.click(card, label="Join")
        await moved(there, host, party, Stage.SKETCH)
        await there.bob.slash(there.channel, "batch", prompt="a red fox", count=3)
        await until(lambda: bool([one for one in there.cards() if "red fox" in text_of(one)]))
        first, second, third = [one.id for one in await all_drawn(there)]
        await there.bob.slash(there.channel, "dream", prompt="a blue owl")
        await until(lambda: bool([one for one in there.cards() if "blue owl" in text_of(one)]))
        [owl] = [one.id for one in await all_drawn(there)]
        await moved(there, host, party, Stage.CHOOSE)

        async def hearts() -> dict[str, int]:
            return {one.dream_id: one.favourites for one in await parties.standings(party)}

        async def have(wanted: dict[str, int]) -> None:
            async with asyncio.timeout(10):
                while await hearts() != wanted:  # noqa: ASYNC110
                    await asyncio.sleep(0.005)

        def several() -> discord.Message:
            return next(one for one in there.cards() if "red fox" in text_of(one))

        await until(lambda: bool(menus_of(several())))
        [menu] = menus_of(several())
        result = await there.ann.select(several(), [first, second], custom_id=menu)
        for _ in range(2):
            await there.ann.click(result.response.message, label="♥ these")
        await have({first: 1, second: 1, third: 0, owl: 0})
        picture = next(one for one in there.cards() if "blue owl" in text_of(one))
        await there.ann.react(picture, "⭐")
        await have({first: 1, second: 1, third: 0, owl: 1})
        await there.ann.unreact(picture, "⭐")
        await have({first: 1, second: 1, third: 0, owl: 0})
        named = {one.person.id: one.person.name for one in await parties.members(party)}
        assert named[f"discord:{there.ann.id}"] == "ann"


def offers_of(form: Any) -> dict[str, list[str]]:
    """Return the values that a form's menus offer, the chosen ones marked."""
    found: dict[str, list[str]] = {}
    for label in form.modal["components"]:
        field = label.get("component", {})
        if "options" in field:
            found[field["custom_id"]] = [
                one["value"] + "*" * bool(one.get("default")) for one in field["options"]
            ]
    return found


async def test_forms_lose_no_point_no_person_and_no_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path) as there:
        host, parties = host_of(there), there.parts.parties
        party = await opened(there, host, minutes=0)
        card = await card_at(there, "Gather")
        for person in (there.ann, there.bob):
            await person.click(card, label="Join")
        form = await there.ann.click(card, label="Say a word")
        lines = [f"word {number}" for number in range(24)]
        result = await there.ann.submit_modal(form, {"words": "\n".join(lines), "kind": ["idea"]})
        assert "20 things were said. Not the rest: You have said 20 things" in said(result)
        # More people than one menu takes.
        monkeypatch.setattr("bot.delivery.party_forms.MAX_OFFERED", 2)
        form = await host.click(card, label="Roles …")
        ids = {f"discord:{one.id}" for one in (host, there.ann, there.bob)}
        menus = offers_of(form)
        assert f"discord:{there.bob.id}" in menus["person"], "who came last is first"
        assert {one for name in ("person", "person1") for one in menus[name]} == ids
        both = {name: [menus[name][0]] for name in ("person", "person1")}
        result = await host.submit_modal(form, {**both, "role": ["facilitator"]})
        assert said(result) == "Choose one person, in one of the menus."
        form = await host.click(card, label="Roles …")
        result = await host.submit_modal(
            form, {"person": [f"discord:{there.bob.id}"], "role": ["prompt_master"]}
        )
        assert "is now: prompt master." in said(result)
        # More pictures than one menu takes, of which the oldest has a point.
        card = await moved(there, host, party, Stage.SKETCH)
        drawn_ones = await drawn(there, there.ann, card, "a harbour")
        card = await moved(there, host, party, Stage.CHOOSE)
        nodes = await parties.nodes(party)
        assert len(nodes) == len(drawn_ones) == 4
        oldest = nodes[0].dream.id
        form = await there.ann.click(card, label="Points")
        assert oldest not in offers_of(form)["point1"]
        ann = Actor(Person(f"discord:{there.ann.id}", "ann"), guild_id=party.guild_id)
        await parties.give_points(party, ann, {oldest: 1})
        form = await there.ann.click(card, label="Points")
        assert offers_of(form)["point1"][0] == f"{oldest}*"
