"""``/extend`` and ``/blend``: what they ask for, what they offer, what they say."""

from __future__ import annotations

from pathlib import Path

from bot.model import Dream, Relation
from generation.protocol import PROTOCOL_VERSION, Welcome
from tests.bot.drawer import FOURIER
from tests.bot.test_repainting import PAINTER
from tests.discord_front.test_commands import said, values, waiting
from tests.discord_front.world import World, world


async def finished(there: World, prompt: str, colour: str = "red") -> Dream:
    dream_id, _ = await there.ask(prompt=prompt)
    await there.parts.draw(dream_id, colour)
    return await there.parts.dreams.wait(dream_id)


async def up(there: World) -> None:
    welcome = Welcome(version=PROTOCOL_VERSION, pid=2, device="a test", engines=(PAINTER, FOURIER))
    await there.parts.up(welcome)


async def test_a_picture_is_extended(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        await up(there)
        dream = await finished(there, "the sea")
        here, ann = there.channel, there.ann
        offered = await ann.autocomplete(here, "extend", "dream", "SEA")
        assert values(offered) == [dream.id]
        assert values(await there.bob.autocomplete(here, "extend", "dream", "")) == []
        answer = await said(
            there.bob, there, "extend", dream=dream.id, side="right", percent=100, words="an island"
        )
        assert answer.startswith("More of it is drawn.")
        (child,) = await waiting(there)
        assert (child.parent_id, child.relation) == (dream.id, Relation.INPAINT)
        assert (child.prompt, child.person.name, child.guild_id) == (
            "an island", "bob", there.env.guild.id,
        )  # fmt: skip
        assert (child.recipe.width, child.recipe.height) == (128, 64)
        await there.shows(-1, "an island")
        for options, says in (
            ({"dream": "nonsense"}, "Which dream"),
            ({"dream": child.id}, "no picture yet"),
        ):
            assert says in await said(there.ann, there, "extend", **options)
        assert len(await waiting(there)) == 1


async def test_two_pictures_are_blended(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        await up(there)
        fox, owl = await finished(there, "a fox"), await finished(there, "an owl", "blue")
        offered = await there.ann.autocomplete(there.channel, "blend", "second", "")
        assert values(offered) == [owl.id, fox.id]
        answer = await said(there.ann, there, "blend", first=fox.id, second=owl.id, share=30)
        assert answer.startswith("One is made of both.")
        (child,) = await waiting(there)
        assert (child.parent_id, child.relation) == (fox.id, Relation.BLEND)
        assert child.prompt == "a fox:0.70 | an owl:0.30"
        assert child.recipe.settings["blend"] == 0.3
        assert "different" in await said(there.ann, there, "blend", first=fox.id, second=fox.id)
        await there.parts.up(
            Welcome(version=PROTOCOL_VERSION, pid=3, device="a test", engines=(FOURIER,))
        )
        sentence = await said(there.ann, there, "blend", first=fox.id, second=owl.id)
        assert "Nothing here starts from two pictures." in sentence
