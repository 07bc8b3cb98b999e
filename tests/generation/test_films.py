"""Films: frames within bounds, across crashes and first looks, and an MP4 that plays."""

from __future__ import annotations

import io
import itertools
from typing import Any

import av
import pytest
from msgspec.structs import replace
from PIL import Image

from generation import films
from generation.films import MAX_BYTES, MAX_FRAMES, Film, film_size, unwrap, wrap
from generation.protocol import (
    MAX_FILE_BYTES,
    MAX_FILES,
    Attachment,
    Checkpoint,
    Finished,
    Started,
)
from tests.fakes.engine import FakeRun, job, recipe
from tests.generation.test_worker import Bench

BLUE, RED = (20, 40, 230), (230, 30, 20)


def plain(colour: tuple[int, int, int] = BLUE, size: tuple[int, int] = (64, 48)) -> Image.Image:
    return Image.new("RGB", size, colour)


def played(film: Attachment) -> tuple[list[Image.Image], Any]:
    with av.open(io.BytesIO(film.data), "r") as container:
        stream = container.streams.video[0]
        arrays = (frame.to_ndarray(format="rgb24") for frame in container.decode(stream))
        frames = [Image.fromarray(array) for array in arrays]
        return frames, stream


def near(picture: Image.Image, colour: tuple[int, int, int]) -> bool:
    found = picture.resize((1, 1)).getpixel((0, 0))
    assert isinstance(found, tuple)
    return all(abs(a - b) < 12 for a, b in zip(found, colour, strict=True))


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        ((128, 128), (256, 256)),
        ((300, 201), (300, 200)),
        ((2048, 512), (512, 128)),
        ((8, 8), (16, 16)),
    ],
)
def test_sides_are_even_and_bounded(size: tuple[int, int], wanted: tuple[int, int]) -> None:
    assert film_size(*size) == wanted


def test_a_film_shows_the_frames_in_order_and_holds_the_last() -> None:
    film = Film.of(recipe(width=64, height=48, steps=11))
    for step in range(1, 11):
        assert film.wants(step)
        film.add(step, plain(BLUE))
    encoded = film.encode(11, plain(RED))
    assert encoded is not None and (encoded.name, encoded.media_type) == (
        "forming.mp4",
        "video/mp4",
    )
    frames, stream = played(encoded)
    rate = int(stream.average_rate)
    assert rate == 6 and len(frames) == 11 + rate, "the last is held for a second"
    assert frames[0].size == (128, 96) and stream.pix_fmt == "yuv420p"
    assert stream.codec_context.name == "h264"
    assert all(near(frame, BLUE) for frame in frames[:10])
    assert all(near(frame, RED) for frame in frames[10:])


def test_however_many_steps_there_are_the_frames_are_few() -> None:
    film = Film.of(recipe(steps=2000))
    wanted = [step for step in range(1, 2000) if film.wants(step)]
    assert 100 < len(wanted) <= MAX_FRAMES
    assert len({later - one for one, later in itertools.pairwise(wanted)}) == 1
    short = Film.of(recipe(steps=10))
    for step in range(1, 400):
        short.add(step, plain(size=(8, 8)))
    assert len(short.frames) <= MAX_FRAMES
    assert short.frames[0].step == 1 and short.frames[-1].step == 399
    short.add(200, plain(size=(8, 8)))
    assert short.frames[-1].step == 200, "what comes of going back gives way"


def test_what_moves_wildly_is_still_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    film = Film.of(recipe(width=128, height=128, steps=12))
    for step in range(1, 12):
        film.add(step, Image.effect_noise((128, 128), 90))
    at_best = film.encode(12, plain())
    assert at_best is not None
    monkeypatch.setattr(films, "MAX_BYTES", len(at_best.data) // 2)
    smaller = film.encode(12, plain())
    assert smaller is not None and len(smaller.data) <= len(at_best.data) // 2
    monkeypatch.setattr(films, "MAX_BYTES", 10)
    assert film.encode(12, plain()) is None
    assert len(at_best.data) < MAX_BYTES


def test_checkpoints_carry_frames() -> None:
    film = Film.of(recipe(steps=10))
    film.add(1, plain())
    run, frames = unwrap(wrap(b"the run", film))
    assert run == b"the run" and frames == film.frames
    assert unwrap(wrap(b"the run", None)) == (b"the run", [])
    with pytest.raises(ValueError, match="damaged"):
        unwrap(wrap(b"the run", film)[:-3])


def finished(bench: Bench, job_id: str) -> Finished:
    bench.worker.checkpoint_all()
    (found,) = [m for m in bench.said if isinstance(m, Finished) and m.job_id == job_id]
    return found


def test_a_worker_films_what_it_draws() -> None:
    bench = Bench(preview_s=1e6)
    bench.advance(job("plain", steps=9), job("film", steps=9, film=True), steps=20)
    assert finished(bench, "plain").attachments == ()
    (film,) = finished(bench, "film").attachments
    frames, stream = played(film)
    assert len(frames) == 9 + int(stream.average_rate)
    picture = Image.open(io.BytesIO(finished(bench, "film").png)).convert("RGB")
    last = picture.getpixel((0, 0))
    assert isinstance(last, tuple) and near(frames[-1], (last[0], last[1], last[2]))
    assert not bench.worker._films


def test_a_film_goes_on_after_a_crash() -> None:
    whole, before, after = Bench(preview_s=1e6), Bench(preview_s=1e6), Bench(preview_s=1e6)
    whole.advance(job("d", steps=9, film=True), steps=20)
    before.advance(job("d", steps=9, film=True), steps=4)
    before.worker.checkpoint_all()
    (checkpoint,) = [m for m in before.said if isinstance(m, Checkpoint) and m.step == 4]
    after.advance(job("d", steps=9, film=True, checkpoint=checkpoint.data), steps=20)
    assert [m.step for m in after.said if isinstance(m, Started)] == [4]
    one, other = finished(whole, "d"), finished(after, "d")
    assert one.png == other.png
    assert one.attachments[0].data == other.attachments[0].data, "not a frame is missing"


def test_a_run_that_makes_room_keeps_its_film() -> None:
    bench = Bench(preview_s=1e6, checkpoint_s=1e6)
    bench.advance(job("d", steps=9, film=True), steps=4)
    bench.advance(job("other", steps=2), suspend=("d",), steps=1)
    (checkpoint,) = [m for m in bench.said if isinstance(m, Checkpoint)]
    assert [frame.step for frame in unwrap(checkpoint.data)[1]] == [1, 2, 3, 4]
    bench.advance(job("d", steps=9, film=True, checkpoint=checkpoint.data), steps=20)
    assert len(played(finished(bench, "d").attachments[0])[0]) == 9 + 6


def test_a_first_looks_film_goes_on_with_it() -> None:
    bench = Bench(preview_s=1e6, checkpoint_s=1e6)
    bench.advance(job("look", steps=9, film=True, until_step=4), steps=20)
    (checkpoint,) = [m for m in bench.said if isinstance(m, Checkpoint)]
    bench.advance(job("rest", steps=9, film=True, checkpoint=checkpoint.data), steps=20)
    bench.advance(job("bare", steps=9, checkpoint=checkpoint.data), steps=20)
    made = [finished(bench, name).attachments for name in ("look", "rest")]
    assert [len(played(film)[0]) for (film,) in made] == [4 + 6, 3 + 5 + 1 + 6]
    assert finished(bench, "bare").attachments == ()


def test_a_damaged_envelope_means_to_begin_anew() -> None:
    bench = Bench(preview_s=1e6)
    torn = wrap(b"x", Film.of(recipe(steps=3)))[:-1]
    bench.advance(job("d", steps=3, checkpoint=torn), steps=20)
    assert [m.step for m in bench.said if isinstance(m, Started)] == [0]
    assert finished(bench, "d").attachments == ()


def test_files_come_with_the_picture_and_never_in_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    svg = Attachment(name="drawing.svg", media_type="image/svg+xml", data=b"<svg/>")
    bench = Bench(preview_s=1e6)

    def attachments(run: FakeRun) -> tuple[Attachment, ...]:
        if run.job.id == "broken":
            raise RuntimeError("no file")
        return (svg,)

    monkeypatch.setattr(bench.engine, "attachments", attachments, raising=False)
    monkeypatch.setattr("generation.film_files.film_file", lambda *_: 1 / 0)
    bench.advance(job("d", steps=2), job("broken", steps=2, film=True), steps=20)
    assert finished(bench, "d").attachments == (svg,)
    assert finished(bench, "broken").attachments == ()


def test_files_that_would_not_be_kept_stay_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    large = Attachment(name="large.svg", media_type="image/svg+xml", data=bytes(MAX_FILE_BYTES + 1))
    small = [replace(large, name=f"{nth}.svg", data=bytes([nth])) for nth in range(MAX_FILES + 2)]
    bench = Bench(preview_s=1e6)
    made = (large, *small)
    monkeypatch.setattr(bench.engine, "attachments", lambda _: made, raising=False)
    bench.advance(job("d", steps=2), job("filmed", steps=2, film=True), steps=20)
    assert finished(bench, "d").attachments == tuple(small[:MAX_FILES])
    *files, film = finished(bench, "filmed").attachments
    assert files == small[: MAX_FILES - 1] and film.media_type == "video/mp4"
