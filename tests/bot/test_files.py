"""What is made besides a picture: kept with it, found again, and gone when it is deleted."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from bot.errors import DiskError, NotFoundError
from bot.model import Dream, DreamState, File
from bot.rights import Actor
from generation.protocol import MAX_FILE_BYTES, MAX_FILES, Attachment, Finished
from tests.bot.drawer import ANN, Services, finished, request, services, until

FILM = Attachment(name="forming.mp4", media_type="video/mp4", data=b"\0\0\0 ftyp")
SVG = Attachment(name="drawing.svg", media_type="image/svg+xml", data=b"<svg/>")


async def drawn(s: Services, *attachments: Attachment, colour: str = "red") -> Dream:
    (dream,) = await s.dreams.ask(request())
    job = await s.begin(dream.id)
    await s.dreams.on_message(replace(finished(job, colour), attachments=attachments))
    return await s.dreams.wait(dream.id)


def kept(tmp_path: Path) -> set[str]:
    files = (tmp_path / "library" / "files").rglob("*")
    return {path.name for path in files if path.is_file()}


async def test_files_are_kept_with_the_dream(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        dream = await drawn(s, FILM, SVG)
        assert {file.name: file.media_type for file in dream.files} == {
            "forming.mp4": "video/mp4",
            "drawing.svg": "image/svg+xml",
        }
        assert kept(tmp_path) == {file.sha256 for file in dream.files}
        for file in dream.files:
            data = await s.library.read_file(file)
            assert data == (FILM if file.name == FILM.name else SVG).data
            assert len(data) == file.size_bytes
            assert s.library.file_path(file).read_bytes() == data
        assert (await drawn(s)).files == ()
    async with services(tmp_path) as s:
        assert (await s.dreams.get(dream.id)).files == dream.files
        (recent,) = [d for d in await s.dreams.recent(None) if d.id == dream.id]
        assert recent.files == dream.files


async def test_what_nobody_knows_or_is_too_much_is_not_kept(tmp_path: Path) -> None:
    odd = (
        Attachment(name="../../evil.mp4", media_type="video/mp4", data=b"x"),
        Attachment(name="page.html", media_type="text/html", data=b"<script>"),
        Attachment(name="page.html", media_type="image/svg+xml", data=b"<svg/>"),
        Attachment(name="empty.mp4", media_type="video/mp4", data=b""),
    )
    many = [replace(FILM, name=f"film-{n}.mp4", data=bytes([n])) for n in range(MAX_FILES + 3)]
    large = replace(FILM, data=bytes(MAX_FILE_BYTES + 1))
    async with services(tmp_path) as s:
        assert (await drawn(s, *odd)).files == ()
        assert (await drawn(s, large, SVG)).files[0].name == "drawing.svg"
        assert len((await drawn(s, *many)).files) == MAX_FILES
        with pytest.raises(NotFoundError):
            s.library.file_path(File(name="a", media_type="b", sha256="../../x", size_bytes=1))


async def test_a_dream_has_not_ended_while_its_files_cannot_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with services(tmp_path) as s:
        full = True
        keep_file = s.library.keep_file

        async def refuse(attachment: Attachment) -> File:
            if full:
                raise DiskError("The disk is full.")
            return await keep_file(attachment)

        monkeypatch.setattr(s.library, "keep_file", refuse)
        (dream,) = await s.dreams.ask(request())
        job = await s.begin(dream.id)
        await s.dreams.on_message(replace(finished(job), attachments=(FILM,)))
        await until(lambda: (live := s.dreams.live(dream.id)) and "not kept yet" in live.notice)
        assert (await s.dreams.get(dream.id)).state is not DreamState.DONE
        full = False
        assert (await s.dreams.wait(dream.id)).files[0].name == FILM.name


async def test_what_lost_the_race_to_end_a_dream_leaves_no_file(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        (dream,) = await s.dreams.ask(request())
        job = await s.begin(dream.id)
        endings = s.dreams._unfinished._endings
        late: Finished = replace(finished(job), attachments=(FILM,))
        await s.dreams.cancel(dream.id, Actor(ANN))
        assert not (await endings.done(dream, late, "")).first
        assert kept(tmp_path) == set()


async def test_a_deleted_dreams_files_are_gone(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        one = await drawn(s, FILM)
        twin = await drawn(s, FILM, SVG, colour="blue")
        await s.dreams.delete(twin.id, Actor(ANN))
        await until(lambda: kept(tmp_path) == {file.sha256 for file in one.files})
        assert (await s.dreams.get(twin.id)).files == ()
        await s.dreams.delete(one.id, Actor(ANN))
        await until(lambda: kept(tmp_path) == set())
