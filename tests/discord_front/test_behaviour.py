"""What people do in Discord and what they see, in a simulated Discord."""

from __future__ import annotations

import io
from pathlib import Path

import discord
import pytest
from msgspec.structs import replace
from PIL import Image

from bot.rights import Actor
from bot.store import deliveries
from generation.protocol import Failed, OptionInfo, Steer, Steered
from tests.bot.drawer import FOURIER, WELCOME, png, until
from tests.discord_front.oracle import check_requests, faults, needs_description
from tests.discord_front.world import World, buttons_of, gallery_of, text_of, world


async def picture_of(message: discord.Message) -> bytes:
    [attachment] = message.attachments
    return await attachment.read()


async def finish(there: World, dream_id: str, number: int = -1) -> discord.Message:
    """Have a dream drawn and wait for its card to show it."""
    await there.parts.draw(dream_id)
    return await there.shows(number, "seed")


@needs_description
def test_the_oracle_finds_faults() -> None:
    path = "/channels/1/messages"
    good = {"content": "x", "allowed_mentions": {"parse": []}}
    assert list(faults("POST", path, good)) == []
    assert list(faults("POST", path, good | {"attachments": [{"id": 0, "filename": "a"}]})) == []
    for change in ({"tts": "maybe"}, {"colour": 1}, {"content": "x" * 2001}, {"content": ""}):
        assert list(faults("POST", path, good | change)), change
    assert list(faults("POST", path, {"content": "@everyone"}))
    assert list(faults("GET", "/channels/1/nonsense", None))


async def test_a_card_follows_its_dream_to_the_picture(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        dream_id, card = await there.ask(prompt="a red fox", seed=7)
        assert "a red fox" in text_of(card)
        assert "Waiting" in text_of(card)
        assert buttons_of(card) == ["Steer", "Cancel"]
        preview = io.BytesIO()
        Image.new("RGB", (8, 8)).save(preview, "WEBP")
        await there.parts.begin(dream_id, step=50, preview=preview.getvalue())
        card = await there.shows(0, "step 50 of 100 · about 9 s")
        assert "50 %" in text_of(card)
        await until(lambda: there.cards()[0].attachments)
        assert await picture_of(there.cards()[0]) == preview.getvalue()
        card = await finish(there, dream_id)
        assert buttons_of(card) == [
            *("Another seed", "Variations", "Remix", "Animate", "♥", "Delete"),
        ]
        assert "seed 7" in text_of(card)
        image = (await there.parts.dreams.get(dream_id)).image
        assert image is not None
        kept = there.parts.library.path(image.sha256).read_bytes()
        assert await picture_of(card) == kept  # byte for byte
        gallery = gallery_of(card)
        assert gallery is not None
        assert "a red fox" in (gallery.description or "")
        assert "fox" not in card.attachments[0].filename
        assert there.posts() == 1
        await until(lambda: not there.client.delivery.unsettled)
        [row] = await deliveries.of_dream(there.parts.store, dream_id)
        assert (row.state, row.shown, row.message_id) == ("settled", "done", card.id)


async def test_mentions_in_a_prompt_call_nobody(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        _, card = await there.ask(
            prompt=f"@everyone {there.bob.mention} # loud ||x|| [a](http://b)"
        )
        assert "@everyone" not in text_of(card)
        assert there.bob.mention not in text_of(card)
        assert not card.mention_everyone
        assert card.mentions == []
        posts = [one for one in there.env.http_requests if one.path.endswith("/messages")]
        assert all(one.json["allowed_mentions"]["parse"] == [] for one in posts if one.json)


async def test_a_wrong_value_gets_a_sentence(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        for options, says in (
            ({"size": "big"}, "384x256"),
            ({"engine": "oil"}, "There is no engine"),
            ({"engine": "diffusion", "steps": 5000}, "steps"),
            ({"prompt": "|"}, "empty"),
            # What was typed is repeated as it stands: it calls nobody, and is no markup.
            ({"engine": "*oil* @everyone"}, "“\\*oil\\* @\u200beveryone”"),
        ):
            asked = {"prompt": "a fox"} | options
            result = await there.ann.slash(there.channel, "dream", **asked)
            assert says in result.response.content
        assert there.cards() == []


async def test_a_picture_to_start_from_is_taken(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        dream_id, _ = await there.ask(init=("fox.png", png(32, 32, "blue")), strength=0.4)
        job = await there.parts.job(dream_id)
        assert job.init is not None
        assert job.recipe.strength == 0.4
        result = await there.ann.slash(
            there.channel, "dream", prompt="x", init=("fox.png", b"no picture")
        )
        assert "not a picture" in result.response.content


async def test_engines_and_models_are_offered(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        engines = await there.ann.autocomplete(there.channel, "dream", "engine", "diff")
        assert [choice["value"] for choice in engines] == ["diffusion"]
        models = await there.ann.autocomplete(
            there.channel, "dream", "model", "", prompt="x", engine="clip"
        )
        assert [choice["value"] for choice in models] == ["fourier"]  # the other is not here


async def test_the_queue_and_cancelling(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        first, _ = await there.ask(prompt="a first fox")
        await there.ask(prompt="a second fox")
        result = await there.bob.slash(there.channel, "queue")
        assert "a first fox" in result.response.content
        result = await there.bob.slash(there.channel, "cancel", dream=first)
        assert "Only ann" in result.response.content
        result = await there.ann.slash(there.channel, "cancel")
        assert "a second fox" in result.response.content
        card = await there.shows(1, "Cancelled.")
        assert buttons_of(card) == ["Another seed", "Remix", "Delete"]
        own = await there.ann.autocomplete(there.channel, "cancel", "dream", "fox")
        assert [choice["value"] for choice in own] == [first]
        result = await there.bob.slash(there.channel, "cancel")
        assert "no dream" in result.response.content


async def test_show_and_recipe(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        dream_id, _ = await there.ask(seed=7)
        result = await there.bob.slash(there.channel, "show", dream=dream_id)
        assert "does not change" in text_of(result.response.message)
        await finish(there, dream_id)
        result = await there.bob.slash(there.channel, "show", dream=f"http://wall/d/{dream_id}?x=1")
        assert result.ephemeral
        assert "does not change" not in text_of(result.response.message)
        assert "a red fox" in text_of(result.response.message)
        result = await there.bob.slash(there.channel, "recipe", dream=dream_id)
        assert "Seed: 7" in result.response.content
        result = await there.bob.slash(there.channel, "show", dream="nonsense")
        assert "Which dream" in result.response.content


async def test_buttons_do_what_they_say(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        dream_id, card = await there.ask()
        result = await there.bob.click(card, label="Cancel")
        assert "Only ann" in result.response.content
        form = await there.ann.click(card, label="Steer")
        assert form.modal is not None
        await there.ann.submit_modal(form, {"prompt": "a blue whale"})
        assert [steer[:2] for steer in there.parts.drawer.steers] == [(dream_id, "a blue whale")]
        await there.parts.begin(dream_id)
        steer = Steer(5, "a blue whale", 10)
        await there.parts.dreams.on_message(Steered(dream_id, steer))
        await there.shows(0, "→ a blue whale")
        card = await finish(there, dream_id)
        assert dream_id in text_of(card)  # for /show and /recipe
        await there.bob.click(card, label="Another seed")
        await until(lambda: len(there.cards()) == 2)
        form = await there.bob.click(card, label="Remix")
        await there.bob.submit_modal(form, {"prompt": "a green fox"})
        await until(lambda: len(there.cards()) == 3)
        assert "a green fox" in text_of(there.cards()[2])
        result = await there.ann.click(there.cards()[2], label="Cancel")
        assert "Only bob" in result.response.content
        relations = [dream.relation for dream in await there.parts.dreams.unfinished(None)]
        assert relations == ["reroll", "remix"]


async def test_a_remix_has_the_settings_of_its_parent(tmp_path: Path) -> None:
    """Also where its engine has got an option since."""
    since = OptionInfo(name="form", help="How much.", default=1.0, unsaid=0.0)
    newer = replace(FOURIER, options=(*FOURIER.options, since))
    async with world(tmp_path) as there:
        dream_id, _ = await there.ask(options="cutouts=8")
        card = await finish(there, dream_id)
        before = await there.parts.dreams.existing(dream_id)
        await there.parts.up(replace(WELCOME, engines=(newer,)))
        form = await there.bob.click(card, label="Remix")
        await there.bob.submit_modal(form, {"prompt": "a green fox"})
        await until(lambda: len(there.cards()) == 2)
        (remix,) = await there.parts.dreams.unfinished(None)
        assert remix.recipe.settings == before.recipe.settings | {"form": 0.0}
        assert before.recipe.settings["cutouts"] == 8
        newest, _ = await there.ask(prompt="a blue fox")
        assert (await there.parts.dreams.existing(newest)).recipe.settings["form"] == 1.0


async def test_a_button_of_a_card_that_is_out_of_date_is_answered(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        dream_id, card = await there.ask()
        await there.parts.dreams.cancel(
            dream_id, Actor((await there.parts.dreams.get(dream_id)).person)
        )
        form = await there.ann.click(card, label="Steer")
        answer = await there.ann.submit_modal(form, {"prompt": "late"})
        assert "over already" in answer.response.content


async def test_a_card_shows_why_its_dream_failed(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        dream_id, _ = await there.ask()
        await there.parts.begin(dream_id)
        await there.parts.dreams.on_message(Failed(job_id=dream_id, reason="Too *large*."))
        card = await there.shows(0, "Could not be drawn")
        assert r"Too \*large\*." in text_of(card)


async def test_the_commands_are_sent_once(tmp_path: Path) -> None:
    for syncs in (1, 0):
        async with world(tmp_path) as there:
            sent = [one for one in there.env.http_requests if one.method == "PUT"]
            assert len(sent) == syncs
            check_requests((one.method, one.path, one.json) for one in sent)


@pytest.mark.parametrize("status", [403, 500])
async def test_a_final_picture_waits_for_discord(tmp_path: Path, status: int) -> None:
    async with world(tmp_path) as there:
        dream_id, _ = await there.ask()
        there.env.inject_error("PATCH", "/channels/*/messages/*", status=status, times=2)
        await finish(there, dream_id)
        assert there.posts() == 1


async def test_a_picture_that_is_too_large_is_stepped_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.delivery.showing._MIN_ROOM_BYTES", 64)
    async with world(tmp_path) as there:
        dream_id, _ = await there.ask()
        there.env.inject_error(
            "PATCH", "/channels/*/messages/*", status=413, code=40005, message="too large"
        )
        # At once, so that the refusal cannot meet an edit that has no picture.
        await there.parts.job(dream_id)
        await there.parts.draw_late(dream_id)
        card = await there.shows(-1, "seed")
        [attachment] = card.attachments
        assert attachment.filename.endswith((".webp", ".jpg"))
        assert "original is kept" in text_of(card)


async def test_a_message_that_was_deleted_is_not_posted_again(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        dream_id, card = await there.ask()
        owner = there.env.guild.add_member(
            there.env.create_user("mod"),
            roles=[
                there.env.guild.create_role(
                    "M", permissions=discord.Permissions(manage_messages=True)
                )
            ],
        )
        await owner.delete(card)
        await there.parts.draw(dream_id)
        await until(lambda: not there.client.delivery.unsettled)
        [row] = await deliveries.of_dream(there.parts.store, dream_id)
        assert (row.state, row.reason) == ("given_up", "The message was deleted.")
        assert there.cards() == []
        assert there.posts() == 1


async def test_an_old_message_is_replaced_by_a_fresh_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path) as there:
        dream_id, card = await there.ask()
        monkeypatch.setattr("bot.delivery.sender.FRESH_S", -1.0)
        await there.parts.draw(dream_id)
        await until(lambda: not there.client.delivery.unsettled)
        [fresh] = there.cards()
        assert fresh.id != card.id
        assert "seed" in text_of(fresh)
