"""What can be made of a dream: recipes of its children, and where those go on from."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from msgspec.structs import replace

from bot.checkpoints import Checkpoints, goes_on
from bot.errors import InvalidRequestError, LimitError, NotFoundError
from bot.limits import Limits
from bot.model import Dream, DreamState, JourneyRequest, Relation
from bot.rights import Actor
from generation.protocol import (
    PROTOCOL_VERSION,
    Checkpoint,
    EngineInfo,
    Failed,
    JourneyInfo,
    JourneyKind,
    OptionInfo,
    Steer,
    Welcome,
)
from generation.protocol import ModelInfo as Model
from tests.bot.drawer import ANN, BOB, DIFFUSION, FOURIER, Services, png, request, services, until

ADDING = replace(
    FOURIER,
    continues=True,
    journeys=(JourneyInfo(kind=JourneyKind.WALK, frame_steps=1),),
)
UPSCALER = EngineInfo(
    name="upscale",
    title="Upscaler",
    models=(Model(name="big", title="Big", licence="MIT"),),
    default_width=64,
    default_height=64,
    min_side=4,
    max_side=1024,
    max_pixels=1024 * 1024,
    size_multiple=4,
    default_steps=1,
    max_steps=10_000,
    takes_prompt=False,
    takes_init=True,
    needs_init=True,
    scale=4,
    tile=(64, 48),
)
BOTH = Actor(BOB, guild_id=7)


def welcome(*engines: EngineInfo) -> Welcome:
    return Welcome(version=PROTOCOL_VERSION, pid=1, device="a test", engines=engines)


async def done(s: Services, colour: str = "red", **asked: object) -> Dream:
    (dream,) = await s.dreams.ask(request(**asked))  # type: ignore[arg-type]
    await s.draw(dream.id, colour)
    return await s.dreams.wait(dream.id)


async def looked(s: Services, step: int, **asked: object) -> Dream:
    """Have a dream drawn whose last checkpoint comes before its picture."""
    (dream,) = await s.dreams.ask(request(**asked))  # type: ignore[arg-type]
    await s.job(dream.id)
    data = f"{dream.id} at {step}".encode()
    await s.dreams.on_message(Checkpoint(dream.id, step, data))
    await s.draw(dream.id)
    return await s.dreams.wait(dream.id)


def kept(tmp_path: Path) -> list[str]:
    folder = tmp_path / "library" / "checkpoints" / "kept"
    return sorted(path.stem for path in folder.iterdir()) if folder.is_dir() else []


async def test_a_reroll_has_the_same_words_and_another_seed(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        dream = await done(s, seed=4)
        again = await s.offspring.reroll(dream.id, BOTH, channel_id=3)
        same = await s.offspring.reroll(dream.id, BOTH, same_seed=True)
    assert (again.parent_id, again.relation) == (dream.id, Relation.REROLL)
    assert (again.person, again.guild_id, again.channel_id) == (BOB, 7, 3)
    assert again.recipe.seed != 4
    assert replace(again.recipe, seed=4) == dream.recipe == same.recipe


async def test_variations_start_from_the_picture_with_new_seeds(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        dream = await done(s, until_step=40, film=True)
        made = await s.offspring.variations(dream.id, BOTH, count=3)
        jobs = [await s.job(variation.id) for variation in made]
        assert dream.image is not None
        for variation, job in zip(made, jobs, strict=True):
            recipe = variation.recipe
            assert recipe.init_sha256 == dream.image.sha256
            assert job.init == await s.library.read(dream.image.sha256)
            assert recipe.until_step is None and not recipe.film
            assert recipe.prompt == dream.recipe.prompt
            assert (variation.prompt, variation.relation) == (dream.prompt, Relation.VARIATION)
        seeds = {variation.recipe.seed for variation in made}
        assert len(seeds) == 3 and len({v.ask_id for v in made}) == 1
        with pytest.raises(InvalidRequestError, match="1 to 10"):
            await s.offspring.variations(dream.id, BOTH, count=11)


async def test_a_steered_dreams_variations_are_of_what_it_became(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        (dream,) = await s.dreams.ask(request())
        job = await s.job(dream.id)
        steered = replace(job, recipe=replace(job.recipe, steers=(Steer(5, "a green boat"),)))
        s.drawer.jobs[dream.id] = steered
        await s.draw(dream.id)
        await s.dreams.wait(dream.id)
        (one,) = await s.offspring.variations(dream.id, BOTH, count=1)
    assert one.recipe.prompt == "a green boat" and one.recipe.steers == ()


async def test_variations_fall_to_the_first_engine_that_starts_from_pictures(
    tmp_path: Path,
) -> None:
    async with services(tmp_path) as s:
        dream = await done(s, engine="diffusion", negative="fog")
        assert Relation.VARIATION in s.offspring.can(dream)
        (one,) = await s.offspring.variations(dream.id, BOTH, count=1)
        assert one.recipe.engine == "clip" and one.recipe.model == "fourier"
        assert one.recipe.settings["rate"] == 0.1 and one.recipe.negative == ""
        await s.up(welcome(DIFFUSION))
        assert Relation.VARIATION not in s.offspring.can(dream)
        with pytest.raises(InvalidRequestError, match="starts from a picture"):
            await s.offspring.variations(dream.id, BOTH)


async def test_a_first_look_goes_on_from_where_it_was(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        look = await looked(s, 30, until_step=30)
        assert look.step == 30 and Relation.CONTINUE in s.offspring.can(look)
        await until(lambda: kept(tmp_path))
        (rest,) = await s.offspring.carry_on([look.id], BOTH)
        job = await s.job(rest.id)
        assert (job.checkpoint, job.step) == (f"{look.id} at 30".encode(), 30)
        assert rest.recipe == replace(look.recipe, until_step=None)
        assert (rest.parent_id, rest.relation) == (look.id, Relation.CONTINUE)
        (further,) = await s.offspring.carry_on([look.id], BOTH, more_steps=20)
        assert further.recipe.until_step == 50
        (whole,) = await s.offspring.carry_on([look.id], BOTH, more_steps=500)
        assert whole.recipe.until_step is None


async def test_several_go_on_in_one_ask(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        looks = [await looked(s, 30, prompt=f"fox {n}", until_step=30) for n in range(3)]
        heard: list[tuple[str, ...]] = []

        async def also(_: object, dreams: Iterable[Dream]) -> None:
            heard.append(tuple(dream.id for dream in dreams))

        ids = [looks[2].id, looks[0].id, looks[2].id]
        rest = await s.offspring.carry_on(ids, BOTH, also=also)
        assert [dream.parent_id for dream in rest] == [looks[2].id, looks[0].id]
        assert [dream.prompt for dream in rest] == ["fox 2", "fox 0"]
        assert heard == [tuple(dream.id for dream in rest)]
        assert len({dream.ask_id for dream in rest}) == 1
        with pytest.raises(InvalidRequestError, match="which"):
            await s.offspring.carry_on([], BOTH)
        with pytest.raises(NotFoundError):
            await s.offspring.carry_on(["nope"], BOTH)


async def test_a_child_that_died_goes_on_from_its_own_checkpoint(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        look = await looked(s, 30, until_step=30)
        (rest,) = await s.offspring.carry_on([look.id], BOTH)
        await s.begin(rest.id, step=31)
        await s.dreams.on_message(Checkpoint(rest.id, 60, b"its own"))
        await s.down(rest.id)
        await s.up()
        assert (await s.job(rest.id)).checkpoint == b"its own"


async def test_a_child_begins_anew_where_the_checkpoint_is_gone_or_at_fault(
    tmp_path: Path,
) -> None:
    async with services(tmp_path) as s:
        look = await looked(s, 30, until_step=30)
        await until(lambda: kept(tmp_path))
        (rest,) = await s.offspring.carry_on([look.id], BOTH)
        for _ in range(3):
            s.drawer.jobs.pop(rest.id, None)
            await s.dreams.on_message(Failed(job_id=rest.id, reason="No.", retry=True))
            job = await s.job(rest.id)
        assert job.checkpoint is None, "the last try begins anew"
        for path in (tmp_path / "library" / "checkpoints" / "kept").iterdir():
            path.write_bytes(b"torn")
        (other,) = await s.offspring.carry_on([look.id], BOTH)
        job = await s.job(other.id)
        assert job.checkpoint is None and job.recipe == rest.recipe


async def test_only_what_can_go_on_keeps_its_checkpoint(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        plain = await looked(s, 100)
        assert Relation.CONTINUE not in s.offspring.can(plain)
        await until(lambda: not list((tmp_path / "library" / "checkpoints").glob("*.checkpoint")))
        assert kept(tmp_path) == []
        with pytest.raises(InvalidRequestError, match="cannot add"):
            await s.offspring.carry_on([plain.id], BOTH)
        await s.up(welcome(ADDING, DIFFUSION))
        whole = await looked(s, 100)
        await until(lambda: kept(tmp_path) == [whole.id])
        (more,) = await s.offspring.carry_on([whole.id], BOTH)
        assert more.recipe == replace(whole.recipe, steps=150)
        assert (await s.job(more.id)).checkpoint is not None
        # A journey's would be large, and nothing goes on from it.
        trip = await looked(s, 100, journey=JourneyRequest(frames=3))
        folder = tmp_path / "library" / "checkpoints"
        await until(lambda: not (folder / f"{trip.id}.checkpoint").exists())
        assert Relation.CONTINUE not in s.offspring.can(trip) and kept(tmp_path) == [whole.id]
        most = await done(s, steps=1000)
        assert Relation.CONTINUE not in s.offspring.can(most)
        with pytest.raises(InvalidRequestError, match="1,000 steps"):
            await s.offspring.carry_on([most.id], BOTH)
    async with services(tmp_path) as s:
        assert kept(tmp_path) == [whole.id], "it outlives a restart"


def test_what_goes_on() -> None:
    from tests.fakes.engine import recipe

    look = recipe(steps=20, until_step=8, steers=(Steer(3, "b"),))
    whole = replace(look, until_step=None)
    assert goes_on(look, whole, None)
    assert goes_on(look, replace(whole, film=True), None)
    assert goes_on(look, replace(look, until_step=9), None)
    assert goes_on(look, replace(whole, steers=(Steer(3, "b"), Steer(8, "c"))), None)
    assert not goes_on(look, replace(whole, steers=(Steer(3, "b"), Steer(7, "c"))), None)
    assert not goes_on(look, replace(whole, steers=()), None)
    assert not goes_on(look, look, None)
    assert not goes_on(whole, look, None)
    for change in ({"seed": 1}, {"prompt": "x"}, {"width": 8}, {"settings": {"a": 1}}):
        assert not goes_on(look, replace(whole, **change), None)
    assert not goes_on(look, replace(whole, steps=30), FOURIER)
    assert goes_on(look, replace(whole, steps=30), ADDING)


def test_what_is_put_by_stays_for_some_days_within_a_bound(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, kept_s=1000.0, kept_bytes=1000)
    now = time.time()
    for nth in range(5):
        name = f"d{nth}"
        checkpoints.write(name, nth, bytes(300))
        checkpoints.put_by(name)
        path = tmp_path / "kept" / f"{name}.checkpoint"
        if path.exists():
            os.utime(path, (now - 100 + nth, now - 100 + nth))
    names = [path.stem for path in sorted((tmp_path / "kept").iterdir())]
    assert names == ["d2", "d3", "d4"], "the newest that fit"
    os.utime(tmp_path / "kept" / "d3.checkpoint", (now - 2000, now - 2000))
    assert checkpoints.read_put_by("d2") == (2, bytes(300))
    checkpoints.write("young", 1, b"x")
    checkpoints.write("over", 1, b"x")
    assert checkpoints.sweep({"young"}) == 2, "one too old, and one of nobody"
    assert checkpoints.read("young") == (1, b"x") and checkpoints.read("over") is None
    assert checkpoints.read_put_by("d3") is None and checkpoints.read_put_by("d2") is not None
    checkpoints.delete("d2")
    assert checkpoints.read_put_by("d2") is None


async def test_upscaling_takes_the_picture_and_asks_for_nothing_else(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        dream = await done(s, width=128, height=64)
        assert Relation.UPSCALE not in s.offspring.can(dream)
        with pytest.raises(InvalidRequestError, match="weights of an upscaler"):
            await s.offspring.upscale(dream.id, BOTH)
        await s.up(welcome(FOURIER, UPSCALER))
        assert Relation.UPSCALE in s.offspring.can(dream)
        larger = await s.offspring.upscale(dream.id, BOTH)
        recipe = larger.recipe
        assert (recipe.engine, recipe.width, recipe.height) == ("upscale", 512, 256)
        assert recipe.steps == 3 and recipe.prompt == "" and larger.prompt == dream.prompt
        assert dream.image is not None
        assert (await s.job(larger.id)).init == await s.library.read(dream.image.sha256)
        await s.draw(larger.id)
        larger = await s.dreams.wait(larger.id)
        assert larger.state is DreamState.DONE and larger.relation is Relation.UPSCALE
        able = s.offspring.can(larger)
        assert Relation.UPSCALE not in able, "2048 pixels are more than it can do"
        assert Relation.ANIMATE not in able and Relation.VARIATION in able
        with pytest.raises(InvalidRequestError, match="2048×1024"):
            await s.offspring.upscale(larger.id, BOTH)
        with pytest.raises(InvalidRequestError, match="step by step"):
            await s.offspring.animate(larger.id, BOTH)
        (one,) = await s.offspring.variations(larger.id, BOTH, count=1)
        assert one.recipe.engine == "clip" and one.recipe.prompt == dream.prompt
        assert (one.recipe.width, one.recipe.height) == (512, 256)
        redone = await s.offspring.reroll(larger.id, BOTH)
        assert redone.recipe.prompt == "" and redone.recipe.engine == "upscale"


async def test_an_uploaded_picture_is_made_larger(tmp_path: Path) -> None:
    async with services(tmp_path, up=False) as s:
        await s.up(welcome(FOURIER, UPSCALER))
        asked = request("", engine="upscale", init=png(100, 60))
        (larger,) = await s.dreams.ask(asked)
        assert (larger.recipe.width, larger.recipe.height) == (400, 240)
        with pytest.raises(InvalidRequestError, match="Give one to start from"):
            await s.dreams.ask(request("", engine="upscale"))
        with pytest.raises(InvalidRequestError, match="more than"):
            await s.dreams.ask(request("", engine="upscale", init=png(600, 60)))


async def test_a_film_is_the_same_dream_again(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        dream = await done(s)
        assert Relation.ANIMATE in s.offspring.can(dream)
        filmed = await s.offspring.animate(dream.id, BOTH)
        assert filmed.recipe == replace(dream.recipe, film=True)
        assert (filmed.relation, filmed.parent_id) == (Relation.ANIMATE, dream.id)
        await s.draw(filmed.id)
        filmed = await s.dreams.wait(filmed.id)
        assert Relation.ANIMATE not in s.offspring.can(filmed)
        with pytest.raises(InvalidRequestError, match="already"):
            await s.offspring.animate(filmed.id, BOTH)


async def test_children_of_an_old_dream_are_drawn_without_options_that_came_since(
    tmp_path: Path,
) -> None:
    form = OptionInfo(name="form", help="How much.", default=1.0, unsaid=0.0, minimum=0, maximum=9)
    newer = replace(FOURIER, options=(*FOURIER.options, form))
    async with services(tmp_path) as s:
        old = await done(s, until_step=40, settings={"rate": 0.5})
        assert old.recipe.settings.keys() == {option.name for option in FOURIER.options}
        await s.up(welcome(newer, DIFFUSION))
        made = [
            await s.dreams.redo(old.id, BOB, same_seed=True),
            await s.dreams.draw_recipe("open", BOB, old.recipe),
            await s.offspring.reroll(old.id, BOTH, same_seed=True),
            await s.offspring.reroll(old.id, BOTH),
            await s.offspring.animate(old.id, BOTH),
            *await s.offspring.carry_on([old.id], BOTH),
            *await s.offspring.variations(old.id, BOTH, count=1),
        ]
        for child in made:
            assert child.recipe.settings == old.recipe.settings | {"form": 0.0}
        (asked,) = await s.dreams.ask(request(settings={"rate": 0.5}))
        assert asked.recipe.settings == old.recipe.settings | {"form": 1.0}
        (again,) = await s.dreams.ask(request(settings=old.recipe.settings, kept_settings=True))
        assert again.recipe.settings == old.recipe.settings | {"form": 0.0}
        said = replace(old.recipe, settings=old.recipe.settings | {"form": 2.0})
        kept = await s.dreams.draw_recipe("open", BOB, said)
        assert kept.recipe.settings["form"] == 2.0


async def test_what_has_no_picture_has_no_children_of_it(tmp_path: Path) -> None:
    async with services(tmp_path) as s:
        (dream,) = await s.dreams.ask(request())
        assert s.offspring.can(dream) == {Relation.REROLL}
        for make in (s.offspring.upscale, s.offspring.animate, s.offspring.variations):
            with pytest.raises(InvalidRequestError, match="no picture yet"):
                await make(dream.id, BOTH)
        with pytest.raises(InvalidRequestError, match="no picture yet"):
            await s.offspring.carry_on([dream.id], BOTH)
        gone = replace(dream, deleted_ms=1)
        assert s.offspring.can(gone) == frozenset()
        elsewhere = replace(dream, recipe=replace(dream.recipe, engine="gone"))
        assert s.offspring.can(elsewhere) == frozenset()


async def test_children_count_as_what_is_asked(tmp_path: Path) -> None:
    async with services(tmp_path, limits=Limits(per_person=3)) as s:
        dream = await done(s)
        with pytest.raises(LimitError):
            await s.offspring.variations(dream.id, Actor(ANN), count=4)
        assert len(await s.offspring.variations(dream.id, Actor(ANN), count=3)) == 3
