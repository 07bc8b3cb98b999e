"""Cards of several dreams, their buttons and menus: out of order, twice, by others, restarted."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import discord
import msgspec
import pytest
from PIL import Image

from bot.delivery.faces import Faces, Room
from bot.delivery.sender import DiscordSender
from bot.delivery.service import Delivery
from bot.ids import now_ms
from bot.limits import Limits
from bot.model import Dream, DreamState, Person, Relation
from bot.rights import Actor
from bot.store import deliveries
from generation.protocol import Attachment, Failed
from tests.bot.drawer import DIFFUSION, FOURIER, WELCOME, finished, request, until
from tests.discord_front.world import World, buttons_of, text_of, world

MANY = Limits(per_person=60, per_ask=60)
CONTINUES = msgspec.structs.replace(
    WELCOME, engines=(msgspec.structs.replace(FOURIER, continues=True), DIFFUSION)
)


def items_of(message: discord.Message) -> list[discord.MediaGalleryItem]:
    """Return what is in a message's gallery."""
    found: list[discord.MediaGalleryItem] = []
    for part in message.components:
        for inner in getattr(part, "children", ()):
            if isinstance(inner, discord.components.MediaGalleryComponent):
                found += inner.items
    return found


def menus_of(message: discord.Message) -> dict[str, list[str]]:
    """Return the values that a message's menus offer, by the first part of their ids."""
    found: dict[str, list[str]] = {}
    for part in message.components:
        for row in getattr(part, "children", ()):
            for one in getattr(row, "children", ()):
                if isinstance(one, discord.SelectMenu):
                    found[one.custom_id or ""] = [option.value for option in one.options]
    return found


async def grid(there: World, count: int, **options: Any) -> tuple[list[str], discord.Message]:
    """Have Ann ask for several dreams; return their ids and their card."""
    first, card = await there.ask(count=count, **options)
    dreams = await there.parts.dreams.together(first)
    assert len(dreams) == count
    return [dream.id for dream in dreams], card


async def ordered(there: World, person: discord.Member, **changes: Any) -> list[Dream]:
    """Ask for dreams with a card in the channel, in a way that no command takes."""
    guild_id, channel_id = there.env.guild.id, there.channel.id

    async def order(connection: Any, dreams: Sequence[Dream]) -> None:
        await deliveries.order(connection, dreams, guild_id, channel_id, now_ms())

    who = Person(f"discord:{person.id}", person.name)
    asked = request(person=who, guild_id=guild_id, channel_id=channel_id, **changes)
    return await there.parts.dreams.ask(asked, order)


async def settled(there: World) -> None:
    await until(lambda: not there.client.delivery.unsettled)


async def test_several_dreams_share_a_card_that_fills_as_they_form(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        ids, card = await grid(there, 3, seed=7)
        assert buttons_of(card) == ["Steer all", "Cancel all"]
        assert text_of(card).count("Waiting") == 3
        await there.parts.draw(ids[1])
        card = await there.shows(0, "`2` done · seed 8")
        await until(lambda: len(items_of(there.cards()[0])) == 1)
        assert "Picture 2 of 3" in (items_of(there.cards()[0])[0].description or "")
        preview = io.BytesIO()
        Image.new("RGB", (8, 8)).save(preview, "WEBP")
        await there.parts.begin(ids[0], step=50, preview=preview.getvalue())
        await until(lambda: len(items_of(there.cards()[0])) == 2)
        await there.parts.dreams.on_message(Failed(job_id=ids[0], reason="It fell over."))
        await there.parts.draw(ids[2])
        await settled(there)
        [card] = there.cards()
        assert "`1` could not be drawn: It fell over." in text_of(card)
        assert buttons_of(card) == ["Other seeds", "Remix", "Rank", "Delete all"]
        kept = []
        for dream_id in ids[1:]:
            image = (await there.parts.dreams.get(dream_id)).image
            assert image is not None
            kept.append(there.parts.library.path(image.sha256).read_bytes())
        assert [await one.read() for one in card.attachments] == kept  # byte for byte
        assert there.posts() == 1
        for dream_id in ids:
            [row] = await deliveries.of_dream(there.parts.store, dream_id)
            assert (row.dream_ids, row.state) == (tuple(ids), "settled")
            assert row.shown == "done+failed"


async def test_more_than_a_gallery_takes_are_on_contact_sheets(tmp_path: Path) -> None:
    async with world(tmp_path, limits=MANY) as there:
        ids, card = await grid(there, 27, prompt="a fox")
        assert "0 of 27 done · 27 waiting" in text_of(card)
        for dream_id in ids:
            await there.parts.draw(dream_id)
        await settled(there)
        [card] = there.cards()
        assert "27 of 27 done" in text_of(card)
        said = [item.description or "" for item in items_of(card)]
        assert [one.split(",")[0] for one in said] == [
            "Pictures 1 to 25 of 27",
            "Pictures 26 to 27 of 27",
        ]
        assert [len(values) for values in menus_of(card).values()] == [25, 2]
        with Image.open(io.BytesIO(await card.attachments[0].read())) as sheet:
            assert sheet.width == sheet.height == 5 * 256 + 4 * 4
        result = await there.bob.select(card, [ids[26]], custom_id=f"pick:look:{ids[0]}:1")
        assert result.ephemeral
        assert ids[26] in text_of(result.response.message)


async def test_a_menu_leads_to_each_pictures_own_buttons(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        ids, _ = await grid(there, 2)
        for dream_id in ids:
            await there.parts.draw(dream_id)
        await settled(there)
        card = there.cards()[0]
        result = await there.bob.select(card, [ids[1]])
        assert result.ephemeral
        shown = result.response.message
        assert "Variations" in buttons_of(shown)
        await there.bob.click(shown, label="Variations")
        await until(lambda: len(there.cards()) == 2)
        children = [d for d in await there.parts.dreams.unfinished(None) if d.parent_id == ids[1]]
        assert len(children) == 4
        assert {child.relation for child in children} == {Relation.VARIATION}
        assert {child.recipe.init_sha256 for child in children} != {None}
        assert text_of(there.cards()[1]).count("Waiting") == 4


async def test_first_looks_are_chosen_from_and_go_on(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        await there.parts.up(CONTINUES)
        looks = await ordered(there, there.ann, count=4, until_step=10, engine="clip")
        for dream in looks[:3]:
            await there.parts.draw(dream.id)
        await there.shows(0, f"`3` first look, step 10 of {looks[2].recipe.steps} · seed")
        card = there.cards()[0]
        menus = menus_of(card)
        assert menus[f"pick:on:{looks[0].id}:0"] == [dream.id for dream in looks[:3]]
        chosen = [looks[2].id, looks[0].id]
        result = await there.bob.select(card, chosen, custom_id=f"pick:on:{looks[0].id}:0")
        assert "2 of them go on" in result.response.content
        await until(lambda: len(there.cards()) == 2)
        further = [d for d in await there.parts.dreams.unfinished(None) if d.parent_id in chosen]
        assert {dream.relation for dream in further} == {Relation.CONTINUE}
        assert {dream.recipe.until_step for dream in further} == {None}
        assert "`2`" in text_of(there.cards()[1])


async def test_all_of_a_card_at_once(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        ids, card = await grid(there, 3)
        result = await there.bob.click(card, label="Cancel all")
        assert "Only ann" in result.response.content
        form = await there.ann.click(card, label="Steer all")
        await there.ann.submit_modal(form, {"prompt": "a blue whale"})
        assert {steer[0] for steer in there.parts.drawer.steers} == set(ids)
        result = await there.ann.click(card, label="Cancel all")
        assert result.response.content == "Cancelled 3 of them."
        await settled(there)
        card = there.cards()[0]
        await there.bob.click(card, label="Other seeds")
        await until(lambda: len(there.cards()) == 2)
        form = await there.bob.click(card, label="Remix")
        await there.bob.submit_modal(form, {"prompt": "a green fox"})
        await until(lambda: len(there.cards()) == 3)
        made = await there.parts.dreams.unfinished(None)
        assert [dream.relation for dream in made] == ["reroll"] * 3 + ["remix"] * 3
        assert len({dream.ask_id for dream in made}) == 2


async def test_deleting_asks_once_more_and_takes_the_message_away(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        dream_id, _ = await there.ask()
        await there.parts.draw(dream_id)
        await settled(there)
        card = there.cards()[0]
        result = await there.bob.click(card, label="Delete")
        assert "Only ann" in result.response.content
        question = await there.ann.click(card, label="Delete")
        again = await there.ann.click(card, label="Delete")
        assert question.ephemeral
        answer = await there.ann.click(question.response.message, label="Yes, delete")
        await until(lambda: there.cards() == [])
        assert (await there.parts.dreams.get(dream_id)).deleted_ms is not None
        assert answer.acknowledged
        await there.ann.click(again.response.message, label="Yes, delete")
        assert "was deleted" in again.response.content
        await settled(there)
        [row] = await deliveries.of_dream(there.parts.store, dream_id)
        assert (row.state, row.reason) == ("given_up", "Its dreams were deleted.")


async def test_a_card_goes_on_without_what_was_deleted(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        ids, card = await grid(there, 3)
        person = (await there.parts.dreams.get(ids[0])).person
        for dream_id in ids[:2]:
            await there.parts.draw(dream_id)
        await there.parts.moderation.delete(ids[0], Actor(person))
        await until(lambda: "`3`" not in text_of(there.cards()[0]))
        await there.parts.draw(ids[2])
        await settled(there)
        await there.parts.moderation.delete(ids[1], Actor(person))
        await until(lambda: len(there.cards()[0].attachments) == 1)
        [card] = there.cards()
        assert ids[2] in text_of(card)  # alone, with its own buttons
        assert "Another seed" in buttons_of(card)
        assert there.posts() == 1
        result = await there.ann.click(card, label="Delete")
        await there.ann.click(result.response.message, label="Yes, delete")
        await until(lambda: there.cards() == [])


async def test_deleting_what_forms_leaves_no_message(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        ids, card = await grid(there, 2)
        await there.parts.begin(ids[0])
        result = await there.ann.click(card, label="Cancel all")
        await until(lambda: "Delete all" in buttons_of(there.cards()[0]))
        result = await there.ann.click(there.cards()[0], label="Delete all")
        assert "Delete all 2?" in result.response.content
        await there.ann.click(result.response.message, label="Yes, delete")
        await until(lambda: there.cards() == [])


async def test_likes_are_counted_on_the_card(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        dream_id, _ = await there.ask()
        await there.parts.draw(dream_id)
        await settled(there)
        for who, says in ((there.ann, "You like it."), (there.bob, "So does another.")):
            result = await who.click(there.cards()[0], custom_id=f"dream:favourite:{dream_id}")
            assert says in result.response.content
        await until(lambda: "♥ 2" in buttons_of(there.cards()[0]))
        await there.bob.click(there.cards()[0], label="♥ 2")
        await until(lambda: "♥ 1" in buttons_of(there.cards()[0]))
        # A guest of the wall likes it as well.
        await there.parts.moderation.favourite(dream_id, Person("guest:ada", "Ada"))
        await until(lambda: "♥ 2" in buttons_of(there.cards()[0]))
        assert there.posts() == 1
        assert len(there.cards()[0].attachments) == 1


async def test_asks_of_one_press_share_a_card(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        first, _ = await there.ask()
        card_id: str | None = None

        async def order(connection: Any, dreams: Sequence[Dream]) -> None:
            nonlocal card_id
            card_id = await deliveries.order(
                connection, dreams, there.env.guild.id, there.channel.id, now_ms(), onto=card_id
            )

        made = [(await there.parts.dreams.ask(request(), order))[0] for _ in range(3)]
        await until(lambda: len(there.cards()) == 2)
        await there.shows(1, "`3`")
        [row] = await deliveries.of_dream(there.parts.store, made[2].id)
        assert row.dream_ids == tuple(dream.id for dream in made)
        # A row is not closed by who does not know all its dreams.
        older = msgspec.structs.replace(row, dream_ids=row.dream_ids[:2])
        async with there.parts.store.write() as connection:
            assert not await deliveries.close(
                connection, older, deliveries.DeliveryState.SETTLED, now_ms()
            )
        for dream in made:
            await there.parts.draw(dream.id)
        await until(lambda: there.client.delivery.unsettled == 1)  # the first one forms on
        assert there.posts() == 2
        assert first not in text_of(there.cards()[1])


async def test_a_grid_that_may_have_been_sent_is_found_and_not_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.delivery.sender.LOOK_BACK_MS", 10**11)  # simcord's time is another
    async with world(tmp_path) as there:
        ids, card = await grid(there, 2)
        await there.client.delivery.stop()
        store = there.parts.store
        async with store.write() as connection:  # as if the answer had never come
            await connection.execute("UPDATE delivery SET message_id = NULL")
        for dream_id in ids:
            await there.parts.draw(dream_id)
        await restarted(there)
        await settled(there)
        [found] = there.cards()
        assert found.id == card.id
        assert len(found.attachments) == 2
        assert there.posts() == 1


async def test_what_discord_refuses_for_good_counts_for_the_channels_limits(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        dream_id, card = await there.ask()
        edits = there.client.delivery.lane(there.channel.id)._pace._edits
        await card.delete()
        before = len(edits._sent_s)
        await there.parts.draw(dream_id)
        await until(lambda: not there.client.delivery.unsettled)
        assert there.cards() == []
        assert len(edits._sent_s) == before + 1


async def restarted(there: World) -> None:
    """Have a delivery over the same rows take up what an earlier one left."""
    client = there.client
    sender = DiscordSender(client, there.parts.store)
    client.delivery = Delivery(client.front, sender, client.faces, client.follow_ups)
    await client.delivery.start()


@pytest.mark.parametrize("label", ["Another seed", "Variations", "Remix", "Animate", "♥", "Delete"])
async def test_buttons_outlive_the_process_that_sent_them(tmp_path: Path, label: str) -> None:
    async with world(tmp_path) as there:
        dream_id, _ = await there.ask()
        await there.parts.draw(dream_id)
        await settled(there)
    async with world(tmp_path) as there:
        # The same message, as Discord kept it, in a channel of another process.
        face = await Faces(there.client.front).of(dream_id, [dream_id], Room())
        assert face is not None
        channel = there.client.get_channel(there.channel.id)
        assert isinstance(channel, discord.TextChannel)
        card = await channel.send(view=face.view(), files=face.files())
        assert label in buttons_of(there.cards()[0])
        result = await there.bob.click(card, label=label)
        assert result.acknowledged
        if label == "Remix":
            assert result.modal is not None
            await there.bob.submit_modal(result, {"prompt": "a green fox"})
        elif label == "Delete":
            assert "Only ann" in result.response.content
        elif label != "♥":
            await there.bob.click(card, label=label)  # twice is two
        waiting = await there.parts.dreams.unfinished(None)
        assert len(waiting) == {"Delete": 0, "♥": 0, "Variations": 8, "Remix": 1}.get(label, 2)


async def test_where_it_may_not_post_only_the_asker_sees_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with world(tmp_path) as there:
        guild = there.env.guild
        closed = guild.create_text_channel(
            "closed",
            overwrites={guild.default_role: discord.PermissionOverwrite(attach_files=False)},
        )
        result = await there.ann.slash(closed, "dream", prompt="a red fox")
        assert "I lack Attach Files" in result.response.content
        await until(lambda: result.followups)
        [dream] = await there.parts.dreams.unfinished(None)
        assert not dream.published
        assert result.followups[0].ephemeral
        assert "a red fox" in text_of(result.followups[0].message)
        await there.parts.draw(dream.id)
        await until(lambda: "seed" in text_of(result.followups[0].message))
        card = result.followups[0].message
        assert len(card.attachments) == 1
        assert "only you see this" in text_of(card)
        assert list(closed.history()) == []
        assert await deliveries.of_dream(there.parts.store, dream.id) == []
        again = await there.ann.click(card, label="Another seed")
        await until(lambda: again.followups)
        assert len(result.followups) == 1
        # Elsewhere nobody else finds it.
        other = await there.bob.slash(there.channel, "show", dream=dream.id)
        assert "no such dream" in other.response.content
        own = await there.ann.slash(there.channel, "show", dream=dream.id)
        assert dream.id in text_of(own.response.message)
        await there.parts.moderation.delete(dream.id, Actor(dream.person))
        await until(lambda: not result.followups)
        assert "webhooks" not in caplog.text


async def test_a_follow_up_says_goodbye_before_its_token_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.delivery.followups.TOKEN_S", 1.0)
    monkeypatch.setattr("bot.delivery.followups.LAST_S", 0.5)
    async with world(tmp_path) as there:
        guild = there.env.guild
        closed = guild.create_text_channel(
            "closed",
            overwrites={guild.default_role: discord.PermissionOverwrite(attach_files=False)},
        )
        result = await there.ann.slash(closed, "dream", prompt="a red fox")
        await until(lambda: result.followups)
        [dream] = await there.parts.dreams.unfinished(None)
        await until(lambda: f"/show {dream.id}" in text_of(result.followups[0].message))
        assert not there.client.follow_ups._by_interaction
        await there.parts.draw(dream.id)
        assert (await there.parts.dreams.wait(dream.id)).state is DreamState.DONE


async def test_a_film_stands_in_the_gallery_and_a_drawing_is_attached(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        dream_id, _ = await there.ask()
        job = await there.parts.begin(dream_id)
        film = Attachment(name="forming.mp4", media_type="video/mp4", data=b"a film")
        drawing = Attachment(name="x.svg", media_type="image/svg+xml", data=b"<svg/>")
        end = msgspec.structs.replace(finished(job), attachments=(film, drawing))
        await there.parts.dreams.on_message(end)
        await settled(there)
        [card] = there.cards()
        found = {one.filename: await one.read() for one in card.attachments}
        assert found == {
            f"dream-{dream_id}.mp4": b"a film",
            f"dream-{dream_id}.svg": b"<svg/>",
        }
        [item] = items_of(card)
        assert (item.description or "").startswith("A film of how a picture formed")
