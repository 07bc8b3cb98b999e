"""A flow model gives a CLIP-steered picture its form, and a run stays its own recipe's alone."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from msgspec.structs import replace
from PIL import Image
from torch import Tensor

from generation.engine import EngineError
from generation.engines.clip_run import ClipRun
from generation.engines.clip_steered import ClipSteeredEngine
from generation.engines.diffusion import FlowModel
from generation.engines.forms import _resized, noise_at, predicted_bytes, seen_size
from generation.engines.journeys import JourneyEngine
from generation.protocol import Job, Journey, JourneyInfo, JourneyKind, Key, Setting, Steer, Stop
from tests.generation import tiny
from tests.generation.test_diffusion import TinyFlow

MODELS = ("fourier", "vqgan", "siren", "strokes")
RED, GREEN = (0.9, 0.1, 0.1), (0.1, 0.8, 0.2)
CAMERA = Journey(
    kind=JourneyKind.CAMERA,
    frames=3,
    frame_steps=4,
    stops=(Stop(0, "a tree"), Stop(2, "a house")),
    zoom=(Key(0, 1.1),),
    strength=1.0,
)


class Flows:
    """Hands out one flow, and counts how often."""

    def __init__(self, flow: FlowModel | None = None) -> None:
        self.flow = flow or TinyFlow()
        self.asked = 0

    def acquire(self) -> FlowModel:
        self.asked += 1
        return self.flow


class Expecting(TinyFlow):
    """Takes every picture for one of one colour, and notes what it was asked."""

    def __init__(self, colour: Sequence[float] = RED) -> None:
        super().__init__()
        self.colour = torch.tensor(colour).view(1, 3, 1, 1)
        self.times: list[float] = []
        self.seen: list[tuple[int, int]] = []
        self.texts: list[str] = []

    def encode_prompt(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        self.texts += texts
        return super().encode_prompt(texts)

    def velocity(self, latents: Tensor, t: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        self.times += t.tolist()
        return super().velocity(latents, t, states, mask)

    def encode(self, pictures: Tensor) -> Tensor:
        self.seen.append((pictures.shape[3], pictures.shape[2]))
        return super().encode(pictures)

    def decode(self, latents: Tensor) -> Tensor:
        height, width = (8 * side for side in latents.shape[2:])
        return self.colour.expand(len(latents), 3, height, width)


def engine(model: str = "fourier", *, form: float = 1.0, flow: FlowModel | None = None,
           exact: bool = False) -> ClipSteeredEngine:  # fmt: skip
    return tiny.engine(model, form=form, flows=Flows(flow), exact=exact)


def finish(drawing: ClipSteeredEngine, *runs: ClipRun) -> list[Image.Image]:
    while not all(run.done for run in runs):
        drawing.step([run for run in runs if not run.done])
    assert all(run.error is None for run in runs)
    return [drawing.image(run) for run in runs]


def noises_of_a_film(job: Job) -> list[float]:
    """Return the noise of each step; a film that is taken up again must go on with the same."""

    class Noting(Expecting):
        def velocity(self, latents: Tensor, t: Tensor, states: Tensor, mask: Tensor) -> Tensor:
            levels.append(float(t[0]))
            return super().velocity(latents, t, states, mask)

    levels: list[float] = []
    flow = Noting()
    drawing = engine(flow=flow)
    drawing._info = replace(
        drawing.info, journeys=(JourneyInfo(kind=JourneyKind.CAMERA, frame_steps=4),)
    )
    film = JourneyEngine(drawing)
    run, resumed = film.begin(job, None), None
    while not run.done:
        film.step([run])
        if run.step == job.recipe.steps + 2:
            resumed = film.begin(job, film.checkpoint(run))
    noises = list(levels)
    assert resumed is not None and len(flow.texts) > 2
    film.step([resumed])
    assert levels[-1] == pytest.approx(noises[job.recipe.steps + 2])
    return noises


def apart(image: Image.Image, colour: Sequence[float]) -> float:
    """Return how far a picture is from one of one colour, as a mean square."""
    pixels = torch.tensor(list(image.tobytes())).view(-1, 3) / 255
    return float((pixels - torch.tensor(colour)).square().mean())


def a_picture(colour: str = "orange") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (50, 40), colour).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("model", "colour", "much"),
    [
        ("fourier", RED, 0.8),
        ("vqgan", RED, 0.98),
        ("siren", GREEN, 0.8),
        ("strokes", GREEN, 0.9),
    ],
)
def test_a_picture_comes_nearer_to_what_the_flow_takes_it_for(
    model: str, colour: Sequence[float], much: float
) -> None:
    """A codebook of chance has no red; so for VQGAN a little nearer is what there is."""
    drawing = engine(model, flow=Expecting(colour))
    jobs = [tiny.job(model, steps=40, settings={"form": form}) for form in (0.0, 0.3, 10.0)]
    free, some, most = (apart(finish(drawing, drawing.begin(job, None))[0], colour) for job in jobs)
    assert free > some > most
    assert most < much * free


@pytest.mark.parametrize("model", MODELS)
def test_the_same_recipe_gives_the_same_pixels(model: str) -> None:
    drawn = []
    for _ in range(2):
        drawing = engine(model)
        drawn += finish(drawing, drawing.begin(tiny.job(model, steps=5), None))
    assert drawn[0].tobytes() == drawn[1].tobytes()


def test_company_changes_no_more_than_the_last_digits() -> None:
    drawing = engine()
    alone = drawing.begin(tiny.job("fourier", steps=12), None)
    among = drawing.begin(tiny.job("fourier", steps=12), None)
    others = [
        drawing.begin(tiny.job("fourier", seed=7, prompt="two words | a fog:-0.5", steps=30), None),
        drawing.begin(tiny.job("fourier", seed=8, steps=30, settings={"form": 0.4}), None),
    ]
    finish(drawing, alone)
    while not among.done:
        drawing.step([others[0], among, others[1]])
    difference = max(
        tiny.difference(alone.start.parameters[name], among.start.parameters[name])
        for name in alone.start.parameters
    )
    assert difference < 1e-4


@pytest.mark.parametrize("model", MODELS)
def test_a_dream_goes_on_where_it_was(model: str) -> None:
    drawing, job = engine(model), tiny.job(model, steps=8)
    through = finish(drawing, drawing.begin(job, None))[0]
    run = drawing.begin(job, None)
    for _ in range(3):
        drawing.step([run])
    (resumed,) = finish(drawing, drawing.begin(job, drawing.checkpoint(run)))
    assert resumed.tobytes() == through.tobytes()


def test_an_exact_dream_is_the_same_to_the_pixel_in_company() -> None:
    drawing = engine(exact=True)
    (alone,) = finish(drawing, drawing.begin(tiny.job("fourier", steps=6), None))
    among = drawing.begin(tiny.job("fourier", steps=6), None)
    other = drawing.begin(tiny.job("fourier", seed=9, steps=6), None)
    assert finish(drawing, other, among)[1].tobytes() == alone.tobytes()


def test_noise_falls_from_step_to_step_and_does_not_depend_on_how_many_there_are() -> None:
    short, long = (engine().begin(tiny.job("fourier", steps=steps), None) for steps in (10, 100))
    levels = []
    for step in (0, 20, 40, 80, 99):
        short.step = long.step = step
        assert noise_at(short) == noise_at(long)
        levels.append(noise_at(long))
    assert levels[0] == pytest.approx(0.95)
    assert levels[:4] == sorted(levels[:4], reverse=True) and levels[1] > levels[2] > levels[3]
    assert levels[3] == levels[4] == pytest.approx(0.4)


def test_a_steer_is_seen_through_noise_again() -> None:
    run = engine().begin(tiny.job("fourier", steps=100), None)
    run.step = 90
    before = noise_at(run)
    run.recipe = replace(run.recipe, steers=(Steer(step=90, prompt="a tree"),))
    steered = noise_at(run)
    run.step = 60
    not_yet = noise_at(run)
    assert before == pytest.approx(0.4) and steered == pytest.approx(0.785)
    run.recipe = replace(run.recipe, steers=())
    assert not_yet == noise_at(run)


def test_a_journeys_frames_go_on_with_the_noise_of_the_first_and_keep_some() -> None:
    noises = noises_of_a_film(tiny.job("fourier", prompt="a tree", steps=48, journey=CAMERA))
    assert noises[:48] == pytest.approx([0.95 - 0.55 * step / 80 for step in range(48)])
    assert noises[48:] == pytest.approx([0.62, 0.613125, 0.60625, 0.6, 0.6, 0.6, 0.6, 0.6])


@pytest.mark.parametrize(
    ("steps", "strength", "first", "others"),
    [(4, 0.3, 0.565, 0.6), (4, 0.5, 0.675, 0.675), (80, 1.0, 0.4 + 0.55 / 80, 0.6)],
)
def test_frames_after_one_with_little_noise_have_little(
    steps: int, strength: float, first: float, others: float
) -> None:
    """Else they would draw anew what the first was to keep of its start picture."""
    job = tiny.job(
        "fourier",
        prompt="a tree",
        steps=steps,
        init=a_picture(),
        strength=strength,
        journey=CAMERA,
    )
    noises = noises_of_a_film(job)
    assert noises[steps - 1] == pytest.approx(first)
    assert noises[steps:] == pytest.approx([others] * 8)


def test_pictures_are_made_smaller_as_torch_does_it() -> None:
    pictures = torch.rand(2, 3, 40, 56, generator=torch.Generator().manual_seed(0))
    wanted = F.interpolate(pictures, (16, 32), mode="bilinear", antialias=True, align_corners=False)
    assert torch.allclose(_resized(pictures, 32, 16), wanted, atol=1e-6)
    assert _resized(pictures, 56, 40) is pictures


def test_a_growing_picture_has_a_form_at_every_size() -> None:
    flow = Expecting()
    drawing = engine(flow=flow)
    settings: dict[str, Setting] = {"sides": "32@0, 64@2"}
    run = drawing.begin(tiny.job("fourier", steps=4, width=64, height=64, settings=settings), None)
    (image,) = finish(drawing, run)
    assert flow.seen == [(32, 32)] * 2 + [(64, 64)] * 2 and image.size == (64, 64)


def test_a_step_without_memory_is_taken_again_by_the_same_chance() -> None:
    class Short(Expecting):
        fails = False

        def decode(self, latents: Tensor) -> Tensor:
            if self.fails:
                self.fails = False
                raise torch.OutOfMemoryError("none left")
            return super().decode(latents)

    smooth, flow = engine(flow=Expecting()), Short()
    (through,) = finish(smooth, smooth.begin(tiny.job("fourier", steps=4), None))
    drawing = engine(flow=flow)
    run = drawing.begin(tiny.job("fourier", steps=4), None)
    drawing.step([run])
    flow.fails = True
    with pytest.raises(torch.OutOfMemoryError):
        drawing.step([run])
    (again,) = finish(drawing, run)
    assert again.tobytes() == through.tobytes()


def test_runs_with_a_form_and_without_are_not_counted_alike() -> None:
    drawing = engine()
    formed, free = (
        drawing.batch_key(tiny.job("fourier", settings={"form": form}).recipe)
        for form in (1.0, 0.0)
    )
    assert formed != free


def test_a_start_picture_is_seen_through_as_much_noise_as_its_strength() -> None:
    flow = Expecting()
    drawing = engine(flow=flow)
    run = drawing.begin(tiny.job("fourier", steps=2, init=a_picture(), strength=0.5), None)
    drawing.step([run])
    assert flow.times == pytest.approx([0.4 + 0.55 * 0.5] * 2)


def test_the_flow_hears_the_words_and_the_negative_ones() -> None:
    flow = Expecting()
    engine(flow=flow).begin(tiny.job("fourier", prompt="a fox:2 | snow", negative="fog"), None)
    assert flow.texts == ["a fox", "snow", "fog"]


@pytest.mark.parametrize(
    "settings", [{"panorama": True}, {"tiling": "across"}, {"tiling": "both"}, {"form": 0.0}]
)
def test_places_and_tiles_are_left_to_clip(settings: dict[str, Setting]) -> None:
    flow = Expecting()
    drawing = engine(flow=flow)
    job = tiny.job("fourier", prompt="forest / sea", steps=2, settings=settings)
    run = drawing.begin(job, None)
    finish(drawing, run)
    assert run.form is None and not flow.texts and not flow.times
    bare = {name: value for name, value in settings.items() if name != "form"} | {"form": 0.0}
    free = replace(job.recipe, settings=bare)
    assert drawing.predict_bytes(job.recipe, 1) == drawing.predict_bytes(free, 1)


def test_a_steer_glides_and_is_part_of_the_recipe() -> None:
    flow = Expecting()
    drawing = engine(flow=flow)
    run = drawing.begin(tiny.job("fourier", steps=20), None)
    drawing.step([run])
    drawing.steer(run, Steer(step=1, prompt="a green tree", glide_steps=4))
    assert run.form is not None and len(run.form.prompts) == 2
    assert flow.texts[-2:] == ["a green tree", ""]
    flow.times.clear()
    for _ in range(2):
        drawing.step([run])
    assert len(flow.times) == 2 * 3  # both prompts, and what it is led away from
    again = drawing.begin(replace(run.job, recipe=run.recipe), None)
    assert again.form is not None and len(again.form.prompts) == 2


def test_a_steers_negative_weights_are_kept_away_from() -> None:
    flow = Expecting()
    drawing = engine(flow=flow)
    run = drawing.begin(tiny.job("fourier", prompt="a fox | fog:-1", steps=20), None)
    drawing.step([run])
    drawing.steer(run, Steer(step=1, prompt="a tree | snow:-1", glide_steps=4))
    assert flow.texts == ["a fox", "fog", "a tree", "snow"]
    flow.times.clear()
    for _ in range(5):
        drawing.step([run])
    # Of both prompts both, as long as it glides.
    assert len(flow.times) == 3 * 4 + 2 * 2


def test_pictures_alone_have_no_form_to_give() -> None:
    data = a_picture()
    sha256 = hashlib.sha256(data).hexdigest()
    job = tiny.job("fourier", prompt="picture 1", steps=3, picture_sha256s=(sha256,))
    flow = Expecting()
    drawing = engine(flow=flow)
    run = drawing.begin(replace(job, pictures={sha256: data}), None)
    finish(drawing, run)
    assert run.form is None and flow.times == []


def test_large_and_oblong_pictures_are_looked_at_in_a_size_that_the_flow_knows() -> None:
    assert seen_size(128, 128) == (128, 128)
    assert seen_size(512, 512) == (128, 128)
    assert seen_size(64, 48) == (64, 48)
    assert seen_size(512, 288) == (176, 96)
    assert seen_size(2048, 32) == (1024, 16)
    flow = Expecting()
    drawing = engine(flow=flow)
    drawing.step([drawing.begin(tiny.job("fourier", width=64, height=20), None)])
    assert flow.seen == [(64, 16)]


def test_the_flow_is_there_from_the_first_run_that_asks_it_until_no_canvas_is_left() -> None:
    class Counting(TinyFlow):
        def close(self) -> None:
            ended.append(flows.asked)

    ended: list[int] = []
    flows = Flows(Counting())
    drawing = tiny.engine("fourier", form=1.0, flows=flows)
    drawing.load("fourier")
    finish(drawing, drawing.begin(tiny.job("fourier", steps=2, settings={"form": 0.0}), None))
    assert flows.asked == 0
    for _ in range(2):
        finish(drawing, drawing.begin(tiny.job("fourier", steps=2), None))
    assert flows.asked == 1 and ended == []
    drawing.unload("fourier")
    assert ended == [1]
    finish(drawing, drawing.begin(tiny.job("fourier", steps=2), None))
    assert flows.asked == 2


def test_without_a_sound_flow_whoever_does_not_ask_it_still_draws() -> None:
    class Broken(Flows):
        def acquire(self) -> FlowModel:
            raise EngineError("The starter diffusion model is damaged. Reinstall Dreamstream.")

    drawing = tiny.engine("fourier", form=1.0, flows=Broken())
    with pytest.raises(EngineError, match=r"damaged\..* With form 0, CLIP draws without it"):
        drawing.begin(tiny.job("fourier"), None)
    kinds: list[dict[str, Setting]] = [{"form": 0.0}, {"panorama": True}, {"tiling": "across"}]
    for settings in kinds:
        job = tiny.job("fourier", steps=2, settings=settings)
        assert drawing.batch_key(job.recipe)[0] == "fourier"
        finish(drawing, drawing.begin(job, None))


@pytest.mark.parametrize(
    ("dtype", "exact", "seen"),
    [
        (torch.float32, False, torch.float32),
        (torch.bfloat16, False, torch.bfloat16),
        (torch.bfloat16, True, torch.float32),
    ],
)
def test_the_flow_is_computed_in_its_number_format(
    dtype: torch.dtype, exact: bool, seen: torch.dtype
) -> None:
    class Noting(TinyFlow):
        def __init__(self) -> None:
            super().__init__()
            self.dtype = dtype
            self.formats: set[torch.dtype] = set()

        def encode(self, pictures: Tensor) -> Tensor:
            latents = super().encode(pictures)
            self.formats.add(latents.dtype)
            return latents

        def preview(self, latents: Tensor) -> Tensor:
            picture = super().preview(latents)
            self.formats.add(picture.dtype)
            return picture

    flow = Noting()
    drawing = engine(flow=flow, exact=exact)
    finish(drawing, drawing.begin(tiny.job("fourier", steps=2), None))
    assert flow.formats == {seen}


def test_its_memory_is_predicted() -> None:
    drawing = engine()
    with_form, without = (
        drawing.predict_bytes(tiny.job("fourier", settings={"form": form}).recipe, 2)
        for form in (1.0, 0.0)
    )
    recipe = tiny.job("fourier").recipe
    looking = predicted_bytes(recipe, 2, torch.float32)  # as long as no flow is loaded
    assert with_form - without == pytest.approx(1.05 * looking, rel=0.01)
    assert predicted_bytes(recipe, 2, torch.bfloat16) < looking
    many = replace(recipe, prompt=" | ".join(f"tree {nth}" for nth in range(32)))
    assert predicted_bytes(many, 2, torch.float32) > looking
