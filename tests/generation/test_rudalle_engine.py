"""Writing pictures code by code: chance, company, checkpoints, steers, start pictures."""

from __future__ import annotations

import functools
import hashlib
import io
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from generation import starter
from generation.engine import BadCheckpointError, EngineError
from generation.engines import build_engines
from generation.engines.autoregressive import AutoregressiveEngine
from generation.engines.token_sampling import choose
from generation.engines.written_runs import Writer, WrittenRun, autoregressive_options
from generation.imaging import decode_picture
from generation.models.adding import add_file
from generation.models.rudalle import Memory, RuDALLE
from generation.models.rudalle_layout import RuDALLEConfig
from generation.models.vqgan import VQGAN
from generation.models.yttm import BPE
from generation.protocol import EngineInfo, Job, ModelInfo, Recipe, Steer
from tests.generation import test_rudalle, test_yttm, tiny

SIDE, PIXELS = 6, 24
CONFIG = RuDALLEConfig(layers=3, width=64, heads=1, text=8, side=SIDE, text_tokens=48, codes=32)


@functools.cache
def vqgan() -> VQGAN:
    torch.manual_seed(7)
    model = VQGAN(tiny.vqgan_config(gumbel=True)).eval().requires_grad_(False)
    model.codebook.normal_()
    # As it is made, what differs between places is little beside what does not.
    latents = model.quant_conv(model.encoder(torch.rand(1, 3, 64, 64) * 2 - 1))
    assert model.quant_conv.bias is not None
    model.quant_conv.bias -= latents.mean(dim=(0, 2, 3))
    return model


@functools.cache
def bpe() -> BPE:
    characters = {chr(code): nth + 4 for nth, code in enumerate(range(ord("a"), ord("z") + 1))}
    return BPE({**characters, "▁": 30}, {(30, 4): (0, 31)}, unknown=1, padding=0, begin=2, end=3)


def writer(_name: str = "tiny", *, is_v2: bool = False) -> Writer:
    network = RuDALLE.from_weights(test_rudalle.weights(CONFIG, is_v2=is_v2))
    return Writer(network, vqgan(), bpe(), tiny.perceptor())


def engine(*, exact: bool = False, is_v2: bool = False) -> AutoregressiveEngine:
    info = EngineInfo(
        name="rudalle",
        title="Tiny",
        models=(ModelInfo(name="tiny", title="Tiny", licence="MIT"),),
        default_width=PIXELS,
        default_height=PIXELS,
        min_side=24,
        max_side=48,
        max_pixels=48 * 48,
        size_multiple=24,
        default_steps=SIDE,
        max_steps=SIDE,
        takes_init=True,
        takes_mask=True,
        steerable=True,
        options=autoregressive_options(),
    )
    load = functools.partial(writer, is_v2=is_v2)
    return AutoregressiveEngine(info, load, device=tiny.CPU, exact=exact)


def job(seed: int = 1, *, pictures: tuple[bytes, ...] = (), **changes: Any) -> Job:
    names = [hashlib.sha256(each).hexdigest() for each in pictures]
    fields: dict[str, Any] = {
        "engine": "rudalle",
        "model": "tiny",
        "prompt": "a fox",
        "width": PIXELS,
        "height": PIXELS,
        "steps": SIDE,
        "seed": seed,
        **dict(zip(("init_sha256", "mask_sha256"), names, strict=False)),
    }
    recipe = Recipe(**(fields | changes))
    held = dict(zip(names, pictures, strict=True))
    return Job(id=f"d{seed}", recipe=recipe, stream="s", person="p", pictures=held)


def finish(drawing: AutoregressiveEngine, run: WrittenRun) -> Tensor:
    while not run.done:
        drawing.step([run])
    assert run.error is None
    return run.codes


def png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


@functools.cache
def start() -> bytes:
    random = torch.Generator().manual_seed(1)
    pixels = torch.randint(256, (8, 8, 3), generator=random, dtype=torch.uint8).numpy()
    return png(Image.fromarray(pixels).resize((PIXELS, PIXELS)))


GREY = {(128, 128, 128)}


def colours(picture: Image.Image) -> set[Any]:
    return {colour for _, colour in picture.getcolors(PIXELS**2) or []}


# --- chance --------------------------------------------------------------------------------


def test_tokens_are_chosen_as_often_as_they_are_likely() -> None:
    """Each run by its own rule; what lies outside of it never comes."""
    count = 40_000
    logits = torch.tensor([2.0, -1.0, 1.5, 0.0, 1.0, -3.0])
    rules = {
        "all": (1.0, 6, 1.0, [0, 1, 2, 3, 4, 5]),
        "warm": (3.0, 6, 1.0, [0, 1, 2, 3, 4, 5]),
        "three": (1.0, 3, 1.0, [0, 2, 4]),
        "half": (1.0, 6, 0.5, [0, 2]),  # the first has .46 of it
        "first": (1.0, 6, 0.3, [0]),
        "both": (0.5, 2, 0.999, [0, 2]),
    }
    random = torch.Generator().manual_seed(0)
    for temperature, top_k, top_p, possible in rules.values():
        noise = torch.empty(count, 6).exponential_(generator=random)
        found = choose(
            logits.expand(count, -1),
            noise,
            temperature=torch.full((count,), temperature),
            top_k=torch.full((count,), top_k),
            top_p=torch.full((count,), top_p),
        )
        parts = found.bincount(minlength=6) / count
        expected = torch.zeros(6)
        expected[possible] = (logits[possible] / temperature).softmax(0)
        assert tiny.difference(parts, expected) < 0.012
        assert set(found.tolist()) == set(possible)


def test_a_seed_is_a_picture_however_many_steps_it_takes() -> None:
    drawing = engine()
    whole = finish(drawing, drawing.begin(job(3), None))
    for steps in (1, 4):
        run = drawing.begin(job(3, steps=steps), None)
        assert torch.equal(finish(drawing, run), whole)
        assert run.step == steps
    assert not torch.equal(finish(drawing, drawing.begin(job(4), None)), whole)
    other = job(3, prompt="zzz")
    assert not torch.equal(finish(drawing, drawing.begin(other, None)), whole)


def test_settings_change_what_is_chosen() -> None:
    drawing = engine()
    likeliest = job(3, settings={"top_k": 1})
    first = finish(drawing, drawing.begin(likeliest, None))
    assert torch.equal(finish(drawing, drawing.begin(job(9, settings={"top_k": 1}), None)), first)
    found = drawing.begin(likeliest, None)
    network = writer().network
    logits = network.prefill(found.texts[0], first[:16])[0]
    assert int(first[16]) == int(logits.argmax())
    cold = drawing.begin(job(3, settings={"temperature": 0.1, "top_p": 0.01}), None)
    assert torch.equal(finish(drawing, cold), first)
    with pytest.raises(EngineError, match="top_k is a number from 1"):
        drawing.begin(job(settings={"top_k": 0}), None)


def test_the_loss_is_the_mean_surprise_by_the_codes() -> None:
    drawing = engine()
    run = drawing.begin(job(5, settings={"temperature": 2.0}), None)
    codes = finish(drawing, run)
    network = writer().network
    nats = [
        -float(network.prefill(run.texts[0], codes[:nth])[0].log_softmax(0)[codes[nth]])
        for nth in range(SIDE**2)
    ]
    assert run.loss == pytest.approx(sum(nats) / SIDE**2, abs=1e-4)
    assert run.score is not None and run.memory is None


# --- company -------------------------------------------------------------------------------


@pytest.mark.parametrize("is_v2", [False, True])
def test_strangers_at_other_rows_change_nothing(is_v2: bool) -> None:
    drawing = engine(is_v2=is_v2)
    wanted = job(1, settings={"top_k": 20})
    alone = finish(drawing, drawing.begin(wanted, None))
    run = drawing.begin(wanted, None)
    early = drawing.begin(job(2, prompt="zebra", settings={"temperature": 2.0}), None)
    late = drawing.begin(job(3, pictures=(start(),), strength=0.3), None)
    short = drawing.begin(job(4, steps=3), None)
    drawing.step([early])
    drawing.steer(late, Steer(0, "an owl", 2))
    while not run.done:
        drawing.step([each for each in (early, run, short, late) if not each.done])
    assert torch.equal(run.codes, alone)
    assert late.done and short.done and early.done


def test_exact_runs_are_the_same_to_the_last_digit() -> None:
    drawing = engine()
    wanted = job(6, exact=True, steers=(Steer(2, "an owl"),))
    runs = [drawing.begin(wanted, None) for _ in range(2)]
    other = drawing.begin(job(7, exact=True), None)
    for _ in range(4):
        drawing.step([runs[0]])
        drawing.step([other, runs[1]])
    runs.append(drawing.begin(wanted, drawing.checkpoint(runs[0])))
    drawing.step(runs)
    first, *others = [run.memory for run in runs]
    assert first is not None
    for memory in others:
        assert memory is not None
        for mine, its in zip(first.keys + first.values, memory.keys + memory.values, strict=True):
            assert torch.equal(mine, its)
    codes = [finish(drawing, run) for run in runs]
    assert torch.equal(codes[0], codes[1]) and torch.equal(codes[0], codes[2])
    keys = {drawing.batch_key(job(seed, exact=True).recipe) for seed in (1, 2)}
    assert len(keys) == 2
    assert drawing.batch_key(job(1).recipe) == drawing.batch_key(job(2, prompt="b").recipe)


def test_what_fails_in_the_middle_of_a_row_can_be_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawing = engine()
    whole = finish(drawing, drawing.begin(job(8), None))
    run = drawing.begin(job(8), None)
    drawing.step([run])
    calls = 0
    feed = RuDALLE.feed

    def failing(self: RuDALLE, codes: Tensor, at: Tensor, memory: Memory) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise torch.OutOfMemoryError
        return feed(self, codes, at, memory)

    monkeypatch.setattr(RuDALLE, "feed", failing)
    with pytest.raises(torch.OutOfMemoryError):
        drawing.step([run])
    assert run.step == 1 and run.rows == 1
    assert torch.equal(finish(drawing, run), whole)


def test_a_run_that_falls_apart_takes_nobody_with_it() -> None:
    drawing = engine()
    sound = drawing.begin(job(1), None)
    broken = drawing.begin(job(2), None)
    drawing.step([sound, broken])
    assert broken.logits is not None
    broken.logits[3] = torch.nan
    drawing.step([sound, broken])
    assert broken.error is not None and "Try another seed" in str(broken.error)
    assert broken.done and sound.error is None and sound.step == 2


# --- checkpoints and steers ----------------------------------------------------------------


def test_a_checkpoint_goes_on_to_the_same_picture() -> None:
    drawing = engine()
    wanted = job(3, pictures=(start(),), strength=0.8, steers=(Steer(3, "a whale"),))
    whole = drawing.begin(wanted, None)
    finish(drawing, whole)
    run = drawing.begin(wanted, None)
    for _ in range(4):
        drawing.step([run])
    saved = drawing.checkpoint(run)
    assert len(saved) < 10_000
    again = drawing.begin(wanted, saved)
    assert (again.step, again.rows, again.memory) == (run.step, run.rows, None)
    assert torch.equal(finish(drawing, again), whole.codes)
    assert again.loss == pytest.approx(whole.loss)
    assert drawing.image(again).tobytes() == drawing.image(whole).tobytes()
    with pytest.raises(BadCheckpointError):
        drawing.begin(wanted, b"nothing")
    run.codes[0] = 99
    with pytest.raises(BadCheckpointError, match="damaged"):
        drawing.begin(wanted, drawing.checkpoint(run))


def test_a_steer_changes_the_rows_to_come_and_its_recipe_repeats_it() -> None:
    drawing = engine()
    plain = finish(drawing, drawing.begin(job(4), None))
    run = drawing.begin(job(4), None)
    for _ in range(3):
        drawing.step([run])
    drawing.steer(run, Steer(0, "A Blue | whale:2", 5))
    assert run.recipe.steers == (Steer(3, "A Blue | whale:2", 5),)
    steered = finish(drawing, run)
    assert torch.equal(steered[:18], plain[:18]) and not torch.equal(steered[18:], plain[18:])
    again = finish(drawing, drawing.begin(job(4, steers=run.recipe.steers), None))
    assert torch.equal(again, steered)
    other = drawing.begin(job(5), None)
    with pytest.raises(EngineError, match="says nothing"):
        drawing.steer(other, Steer(0, "|"))
    assert other.recipe.steers == ()


def test_words_are_read_in_lower_case_and_as_far_as_there_is_room() -> None:
    reading = writer()
    assert reading.read("  A b ").tolist() == [2, 31, 30, 5, 3, 0, 0, 0]
    assert torch.equal(reading.read("a:2 | b"), reading.read("a, b"))
    assert reading.read("abcdefghijklmnop").tolist() == [2, 31, 5, 6, 7, 8, 9, 10]


def test_words_without_room_are_named_and_no_other_way_to_have_them_read_is_told() -> None:
    drawing = engine()
    run = drawing.begin(job(prompt="a | abc bcd"), None)
    told, language = run.notices
    assert "“bcd”" in told and told.endswith("Put what matters first.")
    assert "reads Russian" in language
    drawing.steer(run, Steer(0, "лиса"))
    assert run.notices == ()


# --- pictures to start from ----------------------------------------------------------------


@pytest.mark.parametrize("keep", ["top", "left", "right", "bottom"])
def test_a_side_of_the_start_picture_is_given(keep: str) -> None:
    drawing = engine()
    wanted = job(3, pictures=(start(),), strength=0.6, settings={"keep": keep})
    run = drawing.begin(wanted, None)
    assert run.step == run.rows == (2 if keep == "top" else 0)
    codes = finish(drawing, run).view(SIDE, SIDE)
    pixels = decode_picture(start(), PIXELS, PIXELS)[None] * 2 - 1
    given = vqgan().indices(pixels)[0]
    same = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    part = slice(2) if keep in ("top", "left") else slice(4, 6)
    same[(part, slice(None)) if keep in ("top", "bottom") else (slice(None), part)] = True
    assert len(set(given[same].tolist())) > 2
    assert torch.equal(codes[same], given[same])
    assert not torch.equal(codes[~same], given[~same])
    assert run.chosen == 24


def test_strength_says_how_much_is_drawn_anew() -> None:
    drawing = engine()
    rows = {
        strength: drawing.begin(job(pictures=(start(),), strength=strength), None).rows
        for strength in (0.0, 0.3, 0.5, 1.0)
    }
    assert rows == {0.0: 5, 0.3: 4, 0.5: 3, 1.0: 0}
    few = drawing.begin(job(pictures=(start(),), strength=0.5, steps=4), None)
    assert (few.step, few.rows) == (2, 3)
    finish(drawing, few)
    assert few.rows == SIDE and few.chosen == 18


def test_where_the_mask_is_black_the_picture_stays() -> None:
    drawing = engine()
    mask = Image.new("L", (PIXELS, PIXELS))
    inside = (9, 13, 20, 24)
    mask.paste(255, inside)
    run = drawing.begin(job(pictures=(start(), png(mask)), strength=0.0), None)
    assert run.rows == 3
    before = drawing.image(run)
    assert colours(before.crop(inside)) == GREY
    finish(drawing, run)
    assert run.chosen == 3 * 3
    original, drawn = Image.open(io.BytesIO(start())), drawing.image(run)
    assert drawn.crop(inside).tobytes() != original.crop(inside).tobytes()
    drawn.paste(original.crop(inside), inside)
    assert drawn.tobytes() == original.tobytes()


def test_what_is_not_drawn_yet_is_grey() -> None:
    drawing = engine()
    run = drawing.begin(job(2), None)
    assert colours(drawing.preview(run)) == GREY
    for _ in range(3):
        drawing.step([run])
    half = drawing.preview(run)
    assert half.size == (PIXELS, PIXELS)
    assert len(colours(half.crop((0, 0, PIXELS, 12)))) > 50
    assert colours(half.crop((0, 12, PIXELS, PIXELS))) == GREY
    codes = finish(drawing, run).view(1, SIDE, SIDE)
    whole = vqgan().decode(vqgan().lookup(codes))[0] / 2 + 0.5
    pixels = decode_picture(png(drawing.image(run)), PIXELS, PIXELS)
    assert tiny.difference(pixels, whole.clamp(0, 1)) <= 0.5 / 255 + 1e-6


def test_what_cannot_be_drawn_is_said() -> None:
    drawing = engine()
    with pytest.raises(EngineError, match="says nothing to draw"):
        drawing.begin(job(prompt="a:-1"), None)
    with pytest.raises(EngineError, match="draws 24×24 pixels"):
        drawing.begin(job(width=48), None)
    masked = job(pictures=(start(), start()), init_sha256=None)
    with pytest.raises(EngineError, match="Give that picture, too"):
        drawing.begin(masked, None)
    with pytest.raises(EngineError, match="1 to 6 steps"):
        drawing.begin(job(steps=9), None)


# --- published files -----------------------------------------------------------------------


def test_published_files_make_an_engine(tmp_path: Path) -> None:
    """A transformer of one's own, with a tokenizer and a VQGAN under their published names."""
    config = RuDALLEConfig(
        layers=2, width=64, heads=1, text=128, side=32, text_tokens=168, codes=32
    )
    torch.manual_seed(3)
    torch.save({"state_dict": RuDALLE(config).state_dict()}, tmp_path / "mine.pt")
    added = add_file(tmp_path / "mine.pt", tmp_path / "models", "rudalle")
    missing = build_engines(device="cpu", models_dir=tmp_path / "models")
    assert "rudalle" not in missing
    shared = tmp_path / "models" / "rudalle-utils"
    shared.mkdir()
    (shared / "bpe.model").write_text(test_yttm.FILE)
    codes = VQGAN(tiny.vqgan_config(multipliers=(1, 1, 1, 1), gumbel=True, attention_levels=()))
    save_file(codes.state_dict(), shared / "vqgan.gumbelf8-sber.model.safetensors")
    drawing = build_engines(device="cpu", models_dir=tmp_path / "models")["rudalle"]
    infos = {model.name: model for model in drawing.info.models}
    assert infos[added.name].available
    assert "dreamstream models pull rudalle-malevich" in infos["rudalle-malevich"].missing
    wanted = job(model=added.name, prompt="рыжая лиса", width=256, height=256, steps=16)
    drawing.load(str(drawing.batch_key(wanted.recipe)[0]))
    run = drawing.begin(wanted, None)
    drawing.step([run])
    assert run.rows == 2 and run.texts[0].tolist()[:5] == [2, 37, 27, 3, 0]
    assert drawing.preview(run).size == (256, 256)
    assert drawing.predict_bytes(wanted.recipe, 2) > drawing.predict_bytes(wanted.recipe, 1) > 0
    drawing.unload(added.name)
    (shared / "bpe.model").write_text("nothing")
    with pytest.raises(EngineError, match="Fetch it again"):
        drawing.load(added.name)


def test_without_the_shared_files_it_is_said_which_to_fetch(tmp_path: Path) -> None:
    from generation.engines.perceptors import SharedPerceptors
    from generation.engines.rudalle import build_rudalle
    from generation.models.library import Library

    library = Library(tmp_path, [f"starter-{name}" for name in starter.available()])
    drawing = build_rudalle(library, SharedPerceptors(library, tiny.CPU), tiny.CPU, exact=False)
    first = drawing.info.models[0]
    assert not first.available
    assert "pull rudalle-malevich" in first.missing and "pull rudalle-utils" in first.missing
    with pytest.raises(EngineError, match="pull rudalle-malevich"):
        drawing.load("rudalle-malevich")
    assert drawing.predict_bytes(job().recipe, 1) > 2 * 90_000_000  # Malevich's memory, twice
