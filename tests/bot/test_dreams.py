"""The dreams service: from asking to the one end, with a drawer that does as it is told."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bot.errors import (
    ForbiddenError,
    InvalidRequestError,
    LimitError,
    NotFoundError,
    SchedulerError,
)
from bot.limits import Limits
from bot.model import DreamState, EventKind, Live, Person, Relation, StreamEvent
from bot.monitoring import metrics
from bot.recipes import read_document
from bot.rights import Actor
from bot.steering import MAX_STEERS_WAITING
from bot.store import steers
from bot.values import SEEDS
from generation.protocol import (
    Cancelled,
    Checkpoint,
    Failed,
    Finished,
    Place,
    Queue,
    Refused,
    Steer,
    Steered,
)
from tests.bot.drawer import (
    ANN,
    BOB,
    DIFFUSION,
    FOURIER,
    WELCOME,
    Services,
    finished,
    png,
    request,
    services,
    until,
)

LOCAL = Person("local:root", "root")


async def kinds(s: Services, dream_id: str) -> list[str]:
    log = await s.feed.replay(theme_id=None, after=0)
    return [event.kind.value for event in log if event.dream_id == dream_id]


# --- asking and watching -----------------------------------------------------------------------


async def test_a_dream_is_asked_for_drawn_watched_and_kept(tmp_path: Path) -> None:
    async with services(tmp_path) as s, s.feed.listen(None) as updates:
        (dream,) = await s.dreams.ask(request(seed=7))
        assert dream.state is DreamState.WAITING
        asked, waiting = await anext(updates), await anext(updates)
        assert isinstance(asked, StreamEvent)
        assert (asked.kind, asked.dream_id, asked.person) == (EventKind.ASKED, dream.id, ANN)
        assert isinstance(waiting, Live)
        assert waiting.state is DreamState.WAITING

        job = await s.job(dream.id)
        assert (job.stream, job.person, job.recipe.seed) == ("open", ANN.id, 7)
        await s.dreams.on_message(Queue((Place(dream.id, 3, 4.0, 9.0),)))
        queued = await anext(updates)
        assert isinstance(queued, Live)
        assert (queued.place, queued.eta_s) == (3, 9.0)

        await s.begin(dream.id, step=3, preview=b"webp")
        drawing = await anext(updates)
        while drawing != s.dreams.live(dream.id):
            drawing = await anext(updates)
        assert isinstance(drawing, Live)
        assert (drawing.state, drawing.step, drawing.steps) == (DreamState.DRAWING, 3, 100)
        assert (drawing.place, drawing.preview_version) == (None, 1)
        assert s.dreams.preview(dream.id) == (1, b"webp")
        assert (await s.dreams.get(dream.id)).step == 3
        assert [d.state for d in await s.dreams.unfinished(None)] == [DreamState.DRAWING]

        await s.dreams.on_message(finished(job))
        done = await s.dreams.wait(dream.id)
        end = await anext(updates)
        assert isinstance(end, StreamEvent)
        assert end.kind is EventKind.DONE
        assert (done.state, done.step, done.gpu_s) == (DreamState.DONE, 100, 0.5)
        assert done.image is not None
        assert end.payload["sha256"] == done.image.sha256
        document = read_document(await s.library.read(done.image.sha256))
        assert document is not None
        assert (document.recipe, document.prompt) == (job.recipe, "a red fox")
        assert document.licence == "MIT"
        assert s.dreams.live(dream.id) is None
        assert s.dreams.preview(dream.id) is None
        assert await s.dreams.unfinished(None) == []
        assert [d.id for d in await s.dreams.recent(dream.theme_id)] == [dream.id]


async def test_several_at_once_differ_by_their_seeds(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        made = await s.dreams.ask(request("{a|b|c|d} fox", seed=9, count=4))
        assert [dream.recipe.seed for dream in made] == [9, 10, 11, 12]
        assert {dream.ask_id for dream in made} == {made[0].id}
        assert len({dream.recipe.prompt for dream in made}) > 1
        assert {dream.prompt for dream in made} == {"{a|b|c|d} fox"}
        assert [d.id for d in await s.dreams.together(made[0].ask_id)] == [d.id for d in made]
        await until(lambda: len(s.drawer.jobs) == 4)
        assert [job.id for job in s.drawer.submitted] == sorted(dream.id for dream in made)


async def test_an_uploaded_picture_goes_with_the_job(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        (dream,) = await s.dreams.ask(request(init=png(30, 20), strength=0.4))
        job = await s.job(dream.id)
        assert job.init is not None
        assert job.recipe.init_sha256 is not None
        assert job.init == await s.library.read(job.recipe.init_sha256)
        assert job.recipe.strength == 0.4
        with pytest.raises(InvalidRequestError, match="not a picture"):
            await s.dreams.ask(request(init=b"text"))


async def test_a_picture_that_is_gone_is_a_sentence(tmp_path: Path) -> None:
    async with services(tmp_path, up=False) as s:
        s.drawer.engines = WELCOME.engines
        (dream,) = await s.dreams.ask(request(init=png(30, 20)))
        assert dream.recipe.init_sha256 is not None
        s.library.path(dream.recipe.init_sha256).unlink()
        await s.up()
        failed = await s.dreams.wait(dream.id)
        assert (failed.state, failed.reason) == (
            DreamState.FAILED,
            "The picture that this dream starts from is no longer kept.",
        )


async def test_what_cannot_be_done_is_refused_and_leaves_no_trace(tmp_path: Path) -> None:
    async with services(tmp_path, limits=Limits(per_person=3, everybody=5)) as s:
        for bad in (
            request(prompt=""),
            request(theme="nowhere"),
            request(parent_id="0" * 16),
            request(parent_id="../x"),
            request(width=13, height=70_000),
            request(engine="gone"),
            request(count=4),
        ):
            with pytest.raises((InvalidRequestError, NotFoundError, LimitError)):
                await s.dreams.ask(bad)
        assert [e.kind for e in await s.feed.replay(theme_id=None, after=0)] == [EventKind.THEME]
        await s.dreams.ask(request(count=3))
        with pytest.raises(LimitError, match="You have 3 dreams waiting"):
            await s.dreams.ask(request())
        await s.dreams.ask(request(person=BOB, count=2))
        with pytest.raises(LimitError, match="queue is full"):
            await s.dreams.ask(request(person=BOB))


def pictures(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "library" / "images").rglob("*.*"))


async def test_uploads_that_are_refused_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with services(tmp_path, limits=Limits(per_person=2)) as s:
        decoded = []
        real = s.library.keep_upload

        async def keep_upload(data: bytes) -> tuple[str, bytes]:
            decoded.append(data)
            return await real(data)

        monkeypatch.setattr(s.library, "keep_upload", keep_upload)
        # All are decoded before the first is accepted; only two may be.
        asked = await asyncio.gather(
            *(
                s.dreams.ask(request(init=png(8, 8, colour)))
                for colour in ("red", "lime", "blue", "black", "white")
            ),
            return_exceptions=True,
        )
        assert sum(isinstance(answer, LimitError) for answer in asked) == 3
        assert len(decoded) == 5
        kept = {f"{dream.recipe.init_sha256}.png" for dream in await s.dreams.unfinished(None)}
        assert set(pictures(tmp_path)) == kept
        assert len(kept) == 2
        with pytest.raises(LimitError):
            await s.dreams.ask(request(init=png(8, 8, "navy")))
        assert len(decoded) == 5  # it was refused before it was looked at
        recipe = (await s.dreams.unfinished(None))[0].recipe
        with pytest.raises(InvalidRequestError, match="not here"):
            await s.dreams.draw_recipe(
                "open",
                BOB,
                msgspec.structs.replace(recipe, init_sha256="0" * 64),
                [png(8, 8, "navy")],
            )
        assert set(pictures(tmp_path)) == kept


async def test_an_upload_stays_while_anybody_asks_with_it(tmp_path: Path) -> None:
    people = [Person(f"guest:{number}", "Guest") for number in range(12)]
    async with services(tmp_path, limits=Limits(everybody=3)) as s:
        for colour in ("red", "blue"):
            asked = await asyncio.gather(
                *(s.dreams.ask(request(init=png(8, 8, colour), person=one)) for one in people),
                return_exceptions=True,
            )
            taken = [answer[0] for answer in asked if isinstance(answer, list)]
            assert len(taken) == 3
            for dream in taken:
                assert (await s.job(dream.id)).init is not None
                await s.dreams.cancel(dream.id, Actor(dream.person))
        await s.dreams.ask(request(count=3))
        with pytest.raises(LimitError):
            await s.dreams.ask(request(init=png(8, 8, "red"), person=BOB))
        assert len(pictures(tmp_path)) == 2


async def test_what_was_half_written_is_swept_away(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        (dream,) = await s.dreams.ask(request())
        await s.draw(dream.id)
        done = await s.dreams.wait(dream.id)
        assert done.image is not None
        path = s.library.path(done.image.sha256)
        small = s.library.thumbnail(done.image.sha256)
    for folder in (path.parent, path.parent.parent, small.parent):
        (folder / ".part-0123456789abcdef").write_bytes(b"half")
    async with services(tmp_path):
        assert list((tmp_path / "library").rglob(".part-*")) == []
        assert path.exists()
        assert small.exists()


async def test_limits_hold_when_all_ask_at_once(tmp_path: Path) -> None:
    async with services(tmp_path, limits=Limits(per_person=5)) as s:
        asked = await asyncio.gather(
            *(s.dreams.ask(request(count=2)) for _ in range(10)), return_exceptions=True
        )
        assert sum(isinstance(one, LimitError) for one in asked) == 8
        assert len(await s.dreams.unfinished(None)) == 4


async def test_who_waits_for_the_first_start_is_told_at_once_why_there_is_none(
    tmp_path: Path,
) -> None:
    async with services(tmp_path, up=False, first_up_s=60.0) as s:
        asking = asyncio.create_task(s.dreams.ask(request()))
        await asyncio.sleep(0.05)
        s.drawer.paused = "There is no device called cuda on this machine."
        await s.dreams.on_down((), s.drawer.paused)
        async with asyncio.timeout(20):
            with pytest.raises(SchedulerError, match="no device called cuda"):
                await asking


async def test_before_the_first_start_one_waits_a_while(tmp_path: Path) -> None:
    async with services(tmp_path, up=False) as s:
        with pytest.raises(SchedulerError, match="still starting"):
            await s.dreams.ask(request())
        asking = asyncio.create_task(s.dreams.ask(request()))
        await asyncio.sleep(0.01)
        s.drawer.paused = "The drawing process keeps failing."
        with pytest.raises(SchedulerError, match="keeps failing"):
            await asking
        s.drawer.paused = None
        asking = asyncio.create_task(s.dreams.ask(request()))
        await asyncio.sleep(0.01)
        await s.up()
        (dream,) = await asking
        assert (await s.job(dream.id)).id == dream.id
        await s.down()
        (later,) = await s.dreams.ask(request())
        assert later.id not in s.drawer.jobs
        await s.up()
        assert set(s.drawer.jobs) == {dream.id, later.id}


async def test_nothing_is_taken_while_drawing_is_paused(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        s.drawer.paused = "Drawing has crashed three times in five minutes."
        with pytest.raises(SchedulerError, match="three times"):
            await s.dreams.ask(request())


async def test_who_goes_away_while_asking_leaves_a_dream_that_is_drawn_or_none(
    tmp_path: Path,
) -> None:
    async with services(tmp_path, limits=Limits(per_person=1000)) as s:
        for moment in range(30):
            asking = asyncio.create_task(s.dreams.ask(request()))
            for _ in range(moment % 12):
                await asyncio.sleep(0.0003)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        await s.dreams.ask(request())
        kept = {dream.id for dream in await s.dreams.unfinished(None)}
        await until(lambda: set(s.drawer.jobs) == kept)


async def test_unknown_dreams_are_not_found(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        for bad in ("", "0" * 16, "../../x", "'; DROP TABLE dream", "é" * 16):
            with pytest.raises(NotFoundError):
                await s.dreams.get(bad)
            with pytest.raises(NotFoundError):
                await s.dreams.cancel(bad, Actor(ANN))
            assert s.dreams.live(bad) is None
            assert s.dreams.preview(bad) is None


# --- cancel, steer, redo -----------------------------------------------------------------------


async def test_only_the_author_or_the_machines_owner_cancels(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        (first,) = await s.dreams.ask(request())
        (second,) = await s.dreams.ask(request())
        await s.begin(second.id)
        with pytest.raises(ForbiddenError, match="Only Ann"):
            await s.dreams.cancel(first.id, Actor(BOB))
        await s.dreams.cancel(first.id, Actor(ANN))
        await s.dreams.cancel(second.id, Actor(Person("local:root", "root"), at_machine=True))
        assert s.drawer.cancelled == [first.id, second.id]
        for dream in (first, second):
            assert (await s.dreams.wait(dream.id)).state is DreamState.CANCELLED
            assert await kinds(s, dream.id) == ["asked", "cancelled"]
            with pytest.raises(InvalidRequestError, match="over already"):
                await s.dreams.cancel(dream.id, Actor(ANN))
        # What the scheduler answers, whichever it is, changes nothing.
        await s.dreams.on_message(Cancelled(first.id))
        job = s.drawer.jobs[second.id]
        await s.dreams.on_message(finished(job))
        await s.up()
        assert s.drawer.jobs == {}
        assert await kinds(s, second.id) == ["asked", "cancelled"]


async def test_cancelling_while_it_finishes_gives_one_end(tmp_path: Path) -> None:
    async with services(tmp_path, limits=Limits(per_person=100)) as s:
        for moment in range(20):
            (dream,) = await s.dreams.ask(request())
            job = await s.begin(dream.id)
            await s.dreams.on_message(finished(job, f"rgb({moment},0,0)"))
            await asyncio.sleep(0.0008 * moment)
            await asyncio.gather(s.dreams.cancel(dream.id, Actor(ANN)), return_exceptions=True)
            ended = await s.dreams.wait(dream.id)
            log = await kinds(s, dream.id)
            assert log == ["asked", ended.state.value]
            assert (ended.image is not None) == (ended.state is DreamState.DONE)


async def test_a_cancel_that_comes_too_late_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with services(tmp_path) as s:
        (dream,) = await s.dreams.ask(request(first_look=20))
        job = await s.begin(dream.id)
        await s.dreams.on_message(Checkpoint(dream.id, 20, b"twenty"))
        real, last, go_on = s.library.let_go, asyncio.Event(), asyncio.Event()

        async def let_go(*names: Any, **how: Any) -> None:
            last.set()
            await go_on.wait()
            await real(*names, **how)

        monkeypatch.setattr(s.library, "let_go", let_go)
        before = ended_as("done"), ended_as("cancelled")
        await s.dreams.on_message(finished(job))
        await last.wait()
        with pytest.raises(InvalidRequestError, match="over already"):
            await s.dreams.cancel(dream.id, Actor(ANN))
        go_on.set()
        kept = tmp_path / "library" / "checkpoints" / "kept" / f"{dream.id}.checkpoint"
        await until(kept.exists)
        assert (await s.dreams.wait(dream.id)).state is DreamState.DONE
        assert (ended_as("done"), ended_as("cancelled")) == (before[0] + 1, before[1])
        assert s.drawer.cancelled == []


async def test_what_was_cancelled_is_not_drawn_again_for_its_damaged_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with services(tmp_path) as s:
        (dream,) = await s.dreams.ask(request())
        job = await s.begin(dream.id)
        real, reading, go_on = s.library.keep, asyncio.Event(), asyncio.Event()

        async def keep(*given: Any, **how: Any) -> Any:
            reading.set()
            await go_on.wait()
            return await real(*given, **how)

        monkeypatch.setattr(s.library, "keep", keep)
        await s.dreams.on_message(msgspec.structs.replace(finished(job), png=b"no picture"))
        await reading.wait()
        await s.dreams.cancel(dream.id, Actor(ANN))
        go_on.set()
        await asyncio.sleep(0.2)
        assert [job.id for job in s.drawer.submitted] == [dream.id]


def ended_as(state: str) -> float:
    """Return how many dreams have ended so, of whatever engine."""
    return sum(
        sample.value
        for metric in metrics.REGISTRY.collect()
        for sample in metric.samples
        if sample.name == "dreamstream_dreams_ended_total" and state in sample.labels.values()
    )


async def test_a_steer_becomes_part_of_the_recipe(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        await s.themes.change("open", template="{prompt}, oil")
        (dream,) = await s.dreams.ask(request())
        await s.begin(dream.id, step=20)
        await s.dreams.steer(dream.id, Actor(ANN), " an owl ", glide_steps=5)
        assert s.drawer.steers == [(dream.id, "an owl, oil", 5)]
        steer = Steer(21, "an owl, oil", 5)
        for _ in range(2):
            await s.dreams.on_message(Steered(dream.id, steer))
        assert (await s.dreams.get(dream.id)).recipe.steers == (steer,)
        assert await kinds(s, dream.id) == ["asked", "steered"]
        # It goes along when the dream is taken up again.
        await s.down()
        await s.up()
        assert (await s.job(dream.id)).recipe.steers == (steer,)


@pytest.mark.parametrize("short", [{"steps": 8}, {"steps": 30, "first_look": True}])
async def test_a_steer_that_names_no_glide_is_taken_however_short_the_dream_is(
    tmp_path: Path, short: dict[str, Any]
) -> None:
    async with services(tmp_path) as s:
        (dream,) = await s.dreams.ask(request(**short))
        await s.begin(dream.id, step=1)
        await s.dreams.steer(dream.id, Actor(ANN), "an owl")
        steps = dream.recipe.last_step
        assert steps < 10
        assert s.drawer.steers == [(dream.id, "an owl", steps)]


async def test_a_steer_is_asked_again_of_every_process_until_it_is_answered(
    tmp_path: Path,
) -> None:
    async with services(tmp_path) as s:
        made = await s.dreams.ask(request(count=2))
        for dream in made:
            await s.begin(dream.id, step=20)
        await s.dreams.steer(made[0].id, Actor(ANN), "an owl", glide_steps=5)
        await s.dreams.steer(made[0].id, Actor(LOCAL, at_machine=True), "an owl", glide_steps=0)
        await s.dreams.steer(made[1].id, Actor(ANN), "a bear")
        asked = list(s.drawer.steers)
        assert asked == [
            (made[0].id, "an owl", 5),
            (made[0].id, "an owl", 0),
            (made[1].id, "a bear", 10),
        ]
        await s.down()
        assert s.drawer.steers == asked
        s.drawer.steers.clear()
        await s.up()
        assert s.drawer.steers == asked
        assert s.drawer.steers_unknown == []
        await s.dreams.on_message(Steered(made[0].id, Steer(21, "an owl", 0)))
    async with services(tmp_path) as s:
        assert s.drawer.steers == [(made[0].id, "an owl", 5), (made[1].id, "a bear", 10)]
        await s.dreams.on_message(Steered(made[0].id, Steer(30, "an owl", 5)))
        await s.dreams.on_message(Refused(made[1].id, "It cannot be steered."))
        s.drawer.steers.clear()
        await s.down()
        await s.up()
        assert s.drawer.steers == []
        assert [steer.step for steer in (await s.job(made[0].id)).recipe.steers] == [21, 30]
        log = await s.feed.replay(theme_id=None, after=0, limit=100)
        steered = [event.person for event in log if event.kind is EventKind.STEERED]
        assert steered == [LOCAL, ANN]


async def test_a_steer_whose_glide_was_bounded_is_answered(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        (dream,) = await s.dreams.ask(request())
        await s.begin(dream.id, step=20)
        await s.dreams.steer(dream.id, Actor(ANN), "an owl", glide_steps=5)
        taken = Steer(21, "an owl", 3)
        await s.dreams.on_message(Steered(dream.id, taken))
        assert (await s.dreams.get(dream.id)).recipe.steers == (taken,)
        assert await steers.pending(s.store) == []


async def test_a_steer_that_waits_goes_with_its_dream(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        drawn, cancelled = await s.dreams.ask(request(count=2))
        for dream in (drawn, cancelled):
            await s.begin(dream.id)
            await s.dreams.steer(dream.id, Actor(ANN), "an owl")
        assert len(await steers.pending(s.store)) == 2
        await s.draw(drawn.id)
        await s.dreams.wait(drawn.id)
        await s.dreams.cancel(cancelled.id, Actor(ANN))
        assert await steers.pending(s.store) == []
        assert await kinds(s, drawn.id) == ["asked", "done"]
    async with services(tmp_path) as s:
        assert s.drawer.steers == []


async def test_steers_without_an_answer_are_bounded(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        (dream,) = await s.dreams.ask(request())
        await s.begin(dream.id)
        results = await asyncio.gather(
            *(
                s.dreams.steer(dream.id, Actor(ANN), "an owl")
                for _ in range(MAX_STEERS_WAITING + 3)
            ),
            return_exceptions=True,
        )
        refused = [result for result in results if result is not None]
        assert [type(error) for error in refused] == [LimitError] * 3
        assert len(await steers.pending(s.store)) == MAX_STEERS_WAITING


async def test_steers_that_cannot_be_are_refused(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        (dream,) = await s.dreams.ask(request())
        (still,) = await s.dreams.ask(request(engine="diffusion"))
        await s.job(dream.id)
        with pytest.raises(ForbiddenError):
            await s.dreams.steer(dream.id, Actor(BOB), "an owl")
        for prompt, glide in (("", 5), ("a" * 2000, 5), ("an owl", -1), ("an owl", 101)):
            with pytest.raises(InvalidRequestError):
                await s.dreams.steer(dream.id, Actor(ANN), prompt, glide)
        with pytest.raises(InvalidRequestError, match="cannot be steered"):
            await s.dreams.steer(still.id, Actor(ANN), "an owl")
        await s.dreams.on_message(Refused(dream.id, "Too late."))
        live = s.dreams.live(dream.id)
        assert live is not None
        assert live.notice == "Too late."
        await s.down()
        with pytest.raises(SchedulerError):
            await s.dreams.steer(dream.id, Actor(ANN), "an owl")
        await s.dreams.cancel(dream.id, Actor(ANN))
        with pytest.raises(InvalidRequestError, match="over already"):
            await s.dreams.steer(dream.id, Actor(ANN), "an owl")


async def test_a_waiting_dream_takes_no_steer_that_it_could_not_begin_with(tmp_path: Path) -> None:
    """It takes steers into its recipe unseen, and would fail of them when it begins."""
    able = (
        msgspec.structs.replace(FOURIER, max_pictures=2),
        msgspec.structs.replace(DIFFUSION, steerable=True),
    )
    async with services(tmp_path) as s:
        await s.up(msgspec.structs.replace(WELCOME, pid=2, engines=able))
        (flow,) = await s.dreams.ask(request(engine="diffusion"))
        (towards,) = await s.dreams.ask(request(pictures=(png(),)))
        for prompt in ("fog:-1", "{fog:-1|rain:-2}"):
            with pytest.raises(InvalidRequestError, match="only what is to be kept away from"):
                await s.dreams.steer(flow.id, Actor(ANN), prompt)
        for prompt in ("picture 2", "a fox | {picture 0:0.5|picture 0}"):
            with pytest.raises(InvalidRequestError, match="speaks of picture"):
                await s.dreams.steer(towards.id, Actor(ANN), prompt)
        await s.dreams.steer(flow.id, Actor(ANN), "picture 2 | fog:-1")
        await s.dreams.steer(towards.id, Actor(ANN), "picture 1 | fog:-1")
        await s.dreams.steer(towards.id, Actor(ANN), "fog:-1")
        assert [prompt for _, prompt, _ in s.drawer.steers] == [
            "picture 2 | fog:-1",
            "picture 1 | fog:-1",
            "fog:-1",
        ]


async def test_redoing_keeps_the_recipe_or_takes_another_seed(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        (dream,) = await s.dreams.ask(
            request("a {red|blue|green|pink} fox", seed=5, steps=50, settings={"rate": 0.5})
        )
        await s.draw(dream.id)
        await s.dreams.wait(dream.id)
        same = await s.dreams.redo(dream.id, BOB, same_seed=True)
        assert same.recipe == dream.recipe
        assert (same.parent_id, same.relation) == (dream.id, Relation.REROLL)
        assert same.person == BOB
        other = await s.dreams.redo(same.id, BOB, same_seed=False)
        assert other.recipe.seed != 5
        assert 0 <= other.recipe.seed < SEEDS
        assert (
            msgspec.structs.replace(other.recipe, seed=5, prompt=dream.recipe.prompt)
            == dream.recipe
        )
        ancestors, children = await s.dreams.lineage(same.id)
        assert [one.id for one in ancestors] == [dream.id]
        assert [one.id for one in children] == [other.id]
        ancestors, _ = await s.dreams.lineage(other.id)
        assert [one.id for one in ancestors] == [same.id, dream.id]


async def test_a_recipe_from_a_file_is_drawn_as_it_is(tmp_path: Path) -> None:
    async with services(tmp_path / "one") as s:
        (dream,) = await s.dreams.ask(request(init=png(30, 20), settings={"kind": "hard"}))
        steered = msgspec.structs.replace(dream.recipe, steers=(Steer(5, "an owl", 2),))
        (start,) = await s.dreams.ask(request())
        again = await s.dreams.draw_recipe("open", BOB, steered)
        assert again.recipe == steered
        assert (await s.job(again.id)).init == await s.library.read(steered.init_sha256 or "")
    async with services(tmp_path / "two") as s:
        for given in ([], [png(31, 20)]):
            with pytest.raises(InvalidRequestError, match="drawn from a picture"):
                await s.dreams.draw_recipe("open", BOB, steered, given)
        assert (await s.dreams.draw_recipe("open", BOB, steered, [png(30, 20)])).recipe == steered
        assert (await s.dreams.draw_recipe("open", BOB, start.recipe)).recipe == start.recipe
        changes: list[dict[str, Any]] = [
            {"engine": "gone"},
            {"width": 100},
            {"width": 64000},
            {"steps": 0},
            {"seed": -1},
            {"prompt": ""},
            {"prompt": "a" * 10_000},
            {"steers": (Steer(1, "b" * 10_000),)},
            {"steers": (Steer(1, "b"),) * 2000},
            {"negative": "fog"},
            {"settings": {"nonsense": 1}},
            {"init_sha256": "../../etc/passwd"},
        ]
        for change in changes:
            with pytest.raises(InvalidRequestError):
                bad = msgspec.structs.replace(start.recipe, **change)
                await s.dreams.draw_recipe("open", BOB, bad)


async def test_the_same_recipe_is_the_same_file(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        (dream,) = await s.dreams.ask(request(seed=5))
        again = await s.dreams.redo(dream.id, BOB, same_seed=True)
        await s.draw(dream.id)
        await s.draw(again.id)
        one, two = await s.dreams.wait(dream.id), await s.dreams.wait(again.id)
        assert one.image == two.image
        assert one.image is not None


# --- when the scheduler process dies -----------------------------------------------------------


async def test_a_dream_goes_on_from_its_newest_checkpoint(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        (dream,) = await s.dreams.ask(request())
        (waiting,) = await s.dreams.ask(request())
        await s.begin(dream.id, step=10)
        for step in (10, 20, 30):
            data = f"step {step}".encode()
            await s.dreams.on_message(Checkpoint(dream.id, step, data))
        await s.down(dream.id)
        live = s.dreams.live(dream.id)
        assert live is not None
        assert live.state is DreamState.WAITING
        await s.up()
        job = await s.job(dream.id)
        assert (job.checkpoint, job.attempt) == (b"step 30", 1)
        other = await s.job(waiting.id)
        assert (other.checkpoint, other.attempt) == (None, 0)
        await s.draw(dream.id)
        assert (await s.dreams.wait(dream.id)).state is DreamState.DONE
        folder = tmp_path / "library" / "checkpoints"
        await until(lambda: not list(folder.iterdir()))


async def test_two_crashes_are_enough(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        (poison,) = await s.dreams.ask(request())
        (innocent,) = await s.dreams.ask(request())
        for _ in range(2):
            await s.begin(poison.id)
            await s.down(poison.id)
            await s.up()
        failed = await s.dreams.wait(poison.id)
        assert failed.state is DreamState.FAILED
        assert failed.reason.startswith("Stopped: this dream was being drawn at two crashes")
        assert failed.attempt == 2
        await until(lambda: set(s.drawer.jobs) == {innocent.id})
        await s.draw(innocent.id)
        assert (await s.dreams.wait(innocent.id)).attempt == 0


async def test_what_is_in_company_at_crashes_is_only_set_apart(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        one, other = [(await s.dreams.ask(request()))[0] for _ in range(2)]
        for _ in range(3):
            await s.begin(one.id, step=40)
            await s.begin(other.id, step=7)
            await s.down(one.id, other.id)
            await s.up()
        jobs = [await s.job(dream.id) for dream in (one, other)]
        assert [(job.attempt, job.fell_at) for job in jobs] == [(1, 40), (1, 7)]


async def test_a_checkpoint_past_where_it_fell_clears_a_dream(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        (dream,) = await s.dreams.ask(request())
        for step in (10, 30, 50):
            await s.begin(dream.id, step)
            await s.down(dream.id)
            await s.up()
            job = await s.job(dream.id)
            assert (job.attempt, job.fell_at) == (1, step)
            await s.dreams.on_message(Checkpoint(dream.id, step, b"no further"))
            assert (await s.dreams.get(dream.id)).attempt == 1
            await s.dreams.on_message(Checkpoint(dream.id, step + 1, b"further"))
            assert (await s.dreams.get(dream.id)).attempt == 0


async def test_kills_from_outside_set_apart_and_in_the_end_give_up(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        (dream,) = await s.dreams.ask(request())
        for nth in range(4):
            job = await s.begin(dream.id, 20)
            assert job.attempt == min(nth, 1)
            s.drawer.up = False
            s.drawer.jobs.clear()
            await s.dreams.on_down((dream.id,), "killed", outside=True)
            await s.up()
        failed = await s.dreams.wait(dream.id)
        assert failed.state is DreamState.FAILED
        assert "killed again and again" in failed.reason


async def test_a_new_process_is_given_no_more_than_it_takes(tmp_path: Path) -> None:
    async with services(tmp_path, up=False) as s:
        s.drawer.engines = WELCOME.engines
        s.dreams._known.set()
        for _ in range(3):
            await s.dreams.ask(request())
        s.drawer.room.clear()
        coming_up = asyncio.create_task(s.up())
        await until(lambda: s.drawer.submitted)
        await asyncio.sleep(0.05)
        assert len(s.drawer.submitted) == 1
        s.drawer.room.set()
        await coming_up
        assert len(s.drawer.submitted) == 3


async def test_crashes_are_counted_across_a_restart_of_the_bot(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        (dream,) = await s.dreams.ask(request())
        await s.begin(dream.id)
        await s.down(dream.id)
    async with services(tmp_path) as s:
        await s.begin(dream.id)
        await s.down(dream.id)
        assert (await s.dreams.wait(dream.id)).state is DreamState.FAILED


async def test_a_failure_that_may_pass_is_tried_again_a_few_times(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        (dream,) = await s.dreams.ask(request())
        failure = Failed(job_id=dream.id, reason="Out of memory.", retry=True)
        for attempt in range(3):
            await until(lambda: len(s.drawer.submitted) == attempt + 1)  # noqa: B023
            await s.begin(dream.id)
            if attempt == 0:
                await s.dreams.on_message(Checkpoint(dream.id, 5, b"five"))
            await s.dreams.on_message(failure)
            live = s.dreams.live(dream.id)
            assert live is not None
            assert (live.state, live.notice) == (DreamState.WAITING, "Out of memory.")
        await until(lambda: len(s.drawer.submitted) == 4)
        checkpoints = [job.checkpoint for job in s.drawer.submitted]
        assert checkpoints == [None, b"five", b"five", None]
        await s.dreams.on_message(failure)
        failed = await s.dreams.wait(dream.id)
        assert (failed.state, failed.reason) == (DreamState.FAILED, "Out of memory.")


async def test_what_is_begun_anew_goes_on_from_its_new_checkpoints(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        (dream,) = await s.dreams.ask(request())
        failure = Failed(job_id=dream.id, reason="Out of memory.", retry=True)
        for attempt in range(3):
            await until(lambda: len(s.drawer.submitted) == attempt + 1)  # noqa: B023
            await s.begin(dream.id)
            await s.dreams.on_message(Checkpoint(dream.id, 5, b"five"))
            await s.dreams.on_message(failure)
        await until(lambda: len(s.drawer.submitted) == 4)
        for step in (0, 6):
            if step:
                await s.begin(dream.id, step=step)
                await s.dreams.on_message(Checkpoint(dream.id, step, b"six"))
            await s.down()
            await s.up()
        checkpoints = [job.checkpoint for job in s.drawer.submitted[3:]]
        assert checkpoints == [None, None, b"six"], "it begins anew until it has got anywhere"


async def test_a_failure_that_will_not_pass_ends_it(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        (dream,) = await s.dreams.ask(request())
        await s.begin(dream.id)
        await s.dreams.on_message(Failed(job_id=dream.id, reason="No words.", detail="trace"))
        failed = await s.dreams.wait(dream.id)
        assert (failed.state, failed.reason) == (DreamState.FAILED, "No words.")
        (event,) = [e for e in await s.feed.replay(theme_id=None, after=2) if e.dream_id]
        assert event.payload == {"reason": "No words."}


async def test_finishing_twice_is_finishing_once(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        (dream,) = await s.dreams.ask(request())
        job = await s.begin(dream.id)
        for colour in ("red", "blue"):
            await s.dreams.on_message(finished(job, colour))
        done = await s.dreams.wait(dream.id)
        await s.dreams.on_message(finished(job, "green"))
        await asyncio.sleep(0.05)
        assert await s.dreams.get(dream.id) == done
        assert await kinds(s, dream.id) == ["asked", "done"]


async def test_a_picture_that_came_out_damaged_is_drawn_again(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        (dream,) = await s.dreams.ask(request())
        job = await s.begin(dream.id)
        damaged = Finished(job_id=dream.id, recipe=job.recipe, png=png()[:50], gpu_s=1.0)
        await s.dreams.on_message(damaged)
        await until(lambda: len(s.drawer.submitted) == 2)
        await s.draw(dream.id)
        assert (await s.dreams.wait(dream.id)).state is DreamState.DONE


async def test_a_new_bot_process_takes_up_what_was_unfinished(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        made = await s.dreams.ask(request(count=3))
        await s.begin(made[0].id)
        await s.dreams.on_message(Checkpoint(made[0].id, 40, b"forty"))
        await s.draw(made[1].id)
        await s.dreams.wait(made[1].id)
        await until(lambda: list((tmp_path / "library" / "checkpoints").glob("*.checkpoint")))
    (tmp_path / "library" / "checkpoints" / f"{made[1].id}.checkpoint").write_bytes(b"stray")
    async with services(tmp_path, up=False) as s:
        assert [d.id for d in await s.dreams.unfinished(None)] == [made[0].id, made[2].id]
        assert not (tmp_path / "library" / "checkpoints" / f"{made[1].id}.checkpoint").exists()
        live = s.dreams.live(made[0].id)
        assert live is not None
        assert (live.state, live.step) == (DreamState.WAITING, 40)
        s.drawer.engines = WELCOME.engines
        (new,) = await s.dreams.ask(request())
        assert new.id > made[2].id
        await s.up()
        assert set(s.drawer.jobs) == {made[0].id, made[2].id, new.id}
        assert s.drawer.jobs[made[0].id].checkpoint == b"forty"


async def test_what_was_charged_before_a_restart_counts(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        drawn, cancelled = await s.dreams.ask(request(count=2))
        for dream in (drawn, cancelled):
            job = await s.begin(dream.id)
            assert job.gpu_s == 0.0
            await s.dreams.on_message(Checkpoint(dream.id, 40, b"forty", gpu_s=2.5))
        await s.down()
        await s.up()
        assert (await s.job(drawn.id)).gpu_s == 2.5
    async with services(tmp_path) as s:
        job = await s.job(drawn.id)
        assert job.gpu_s == 2.5
        damaged = Finished(job_id=drawn.id, recipe=job.recipe, png=png()[:50], gpu_s=4.0)
        await s.dreams.on_message(damaged)
        await until(lambda: s.drawer.jobs[drawn.id].gpu_s == 4.0)
        await s.dreams.cancel(cancelled.id, Actor(ANN))
        assert (await s.dreams.get(cancelled.id)).gpu_s == 2.5


async def test_stopping_waits_for_pictures_that_are_being_kept(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        made = await s.dreams.ask(request(count=6))
        for dream in made:
            await s.draw(dream.id)
    async with services(tmp_path) as s:
        assert await s.dreams.unfinished(None) == []


async def test_an_engine_that_is_gone_is_named_when_redoing(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        (dream,) = await s.dreams.ask(request(engine="diffusion"))
        s.drawer.engines = (FOURIER,)
        with pytest.raises(InvalidRequestError, match="no engine “diffusion”"):
            await s.dreams.redo(dream.id, ANN, same_seed=True)


async def test_reports_about_unknown_dreams_are_harmless(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        for message in (
            Queue((Place("gone", 1, 0.0, 1.0),)),
            Checkpoint("gone", 1, b""),
            Steered("gone", Steer(1, "x")),
            Refused("gone", "no"),
            Cancelled("gone"),
            Failed(job_id="gone", reason="no"),
        ):
            await s.dreams.on_message(message)
        await s.down("gone")
        await s.up()
