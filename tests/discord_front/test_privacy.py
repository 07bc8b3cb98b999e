"""What somebody is handed of what is kept about them, and how they have it deleted, in Discord."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from bot.model import Person
from bot.privacy.exporting import Export, Exports
from bot.privacy.forgetting import Forgetting
from bot.store import forgetting
from tests.bot.drawer import until
from tests.discord_front.test_commands import said
from tests.discord_front.world import World, world


def with_privacy(there: World, folder: Path, **front: Any) -> Forgetting:
    parts = there.parts
    forgetting = Forgetting(parts.store, parts.dreams, parts.parties, parts.games)
    exports = Exports(parts.store, parts.library, folder / "exports")
    for name, value in {"exports": exports, "forgetting": forgetting, **front}.items():
        object.__setattr__(there.client.front, name, value)
    return forgetting


async def test_a_copy_comes_to_who_asks_alone(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        with_privacy(there, tmp_path)
        dream_id, _ = await there.ask(prompt="a lighthouse")
        await there.parts.draw(dream_id)
        await there.parts.dreams.wait(dream_id)
        result = await there.ann.slash(there.channel, "privacy export")
        message = result.response.message
        assert result.ephemeral and "all that is kept" in message.content
        (file,) = message.attachments
        with zipfile.ZipFile(io.BytesIO(await file.read())) as made:
            assert f"pictures/{dream_id}.png" in made.namelist()
        assert "just now" in await said(there.ann, there, "privacy export")


async def test_what_is_too_large_for_discord_is_at_the_wall_or_comes_without_pictures(
    tmp_path: Path,
) -> None:
    class Large(Exports):
        """Makes copies that are too large with their pictures."""

        async def make(self, person: Person, *, pictures: bool = True) -> Export:
            made = await super().make(person, pictures=pictures)
            return replace(made, size_bytes=2**30) if pictures else made

    async with world(tmp_path) as there:
        large = Large(there.parts.store, there.parts.library, tmp_path / "exports")
        with_privacy(there, tmp_path, exports=large, wall_url="https://dreams.example")
        told = await said(there.ann, there, "privacy export")
        assert "<https://dreams.example/exports/" in told and "for a day" in told
        object.__setattr__(there.client.front, "wall_url", "")
        result = await there.bob.slash(there.channel, "privacy export")
        assert "without the pictures" in result.response.message.content
        assert len(result.response.message.attachments) == 1


async def test_who_is_sure_is_forgotten_and_nobody_else(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        service = with_privacy(there, tmp_path)
        dream_id, _ = await there.ask()
        await there.parts.draw(dream_id)
        await there.shows(-1, "seed")
        form = await there.ann.slash(there.channel, "privacy forget")
        told = await there.ann.submit_modal(form, {"sure": "never mind"})
        assert "Nothing was deleted" in told.response.message.content
        assert (await there.parts.dreams.get(dream_id)).deleted_ms is None
        form = await there.ann.slash(there.channel, "privacy forget")
        told = await there.ann.submit_modal(form, {"sure": "Forget me."})
        assert "You are forgotten" in told.response.message.content
        await service.settled()
        assert (await there.parts.dreams.get(dream_id)).deleted_ms is not None
        await until(lambda: not there.cards())
        store = there.parts.store
        (row,) = await store.read(
            "SELECT name FROM person WHERE id = ?", (f"discord:{there.ann.id}",)
        )
        assert row["name"] == forgetting.NOBODY
        await service.stop()
