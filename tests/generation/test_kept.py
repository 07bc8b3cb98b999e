"""What networks keep for their gradient is known before they are asked, in each number format."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.step import OnePerceptor
from generation.canvases.vqgan import VQGANCanvas
from generation.clip.chance import Streams
from generation.clip.cutouts import KINDS, crop_bytes, cut, plan
from generation.clip.perceptor import Perceptor
from generation.engines.clip_steered import ClipSteeredEngine
from generation.engines.exactness import deterministic_kernels
from generation.models import compiling
from generation.models.compiling import Compiler, Network, Precision
from generation.models.kept import kept_by
from generation.models.vqgan import VQGAN
from tests.generation import tiny

WEIGHT = torch.randn(32, 64, generator=torch.Generator().manual_seed(0))


def network(precision: Precision) -> Network:
    def forward(x: Tensor) -> Tensor:
        return F.linear(x, WEIGHT).sigmoid()

    return Compiler(tiny.CPU, precision=precision).network("thing", forward)


def canvas(precision: Precision) -> VQGANCanvas:
    """Return one so wide that Winograd's algorithm suits it."""
    torch.manual_seed(1)
    model = VQGAN(tiny.vqgan_config(channels=64, multipliers=(1, 1))).eval()
    return VQGANCanvas(model, tiny.CPU, Compiler(tiny.CPU, precision=precision))


def perceptor(precision: Precision) -> Perceptor:
    plain = tiny.perceptor()
    return Perceptor(
        plain.model, plain._tokenizer, size=16, mean=(0.5,) * 3, std=(0.25,) * 3, device=tiny.CPU,
        compiler=Compiler(tiny.CPU, precision=precision),
    )  # fmt: skip


@pytest.fixture
def bears_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights round coarsely."""
    monkeypatch.setitem(compiling._ROUNDING, torch.bfloat16, 10.0)


def drawing_bytes(drawn: VQGANCanvas, runs: int, side: int) -> int:
    """Count what a drawing keeps beyond weights, as torch tells."""
    z = torch.zeros(runs, 8, side // drawn.multiple, side // drawn.multiple)
    drawn.draw({"z": z.requires_grad_()}, {}, side, side)  # judged, and made for good
    for_good = {each.untyped_storage()._cdata for each in drawn._model.parameters()}
    for layer in drawn._model.decoder.modules():
        if (folded := getattr(layer, "_folded", None)) is not None:
            for_good.add(folded[1].untyped_storage()._cdata)
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes()
        return tensor.detach()  # else it may keep itself alive

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        picture = drawn.draw({"z": z}, {}, side, side)
    assert picture.requires_grad
    return sum(size for place, size in kept.items() if place not in for_good)


def test_in_float32_only_what_belongs_to_rows_is_kept() -> None:
    found = network("fp32").kept_in(torch.float32, torch.zeros(2, 64), torch.zeros(5, 64))
    assert (found.a_row, found.once) == (32 * 4, 0)


def test_in_bfloat16_rows_keep_half_as_much_and_weights_are_kept_once_more() -> None:
    found = network("bf16").kept_in(torch.bfloat16, torch.zeros(2, 64), torch.zeros(5, 64))
    assert (found.a_row, found.once) == (32 * 2, WEIGHT.numel() * 2)


def test_what_was_made_for_good_is_not_a_step_s() -> None:
    made = WEIGHT * 2
    found = kept_by(lambda x: F.linear(x, made).sigmoid(), torch.zeros(1, 64), torch.zeros(2, 64))
    assert (found.a_row, found.once) == (32 * 4, 0)


def test_tensors_without_memory_are_told_apart() -> None:
    """Models that are only sized up lie on the device `meta`."""
    weight = WEIGHT.to("meta")
    few, many = (torch.zeros(rows, 64, device="meta") for rows in (1, 2))
    found = kept_by(lambda x: F.linear(x, weight).sigmoid().exp(), few, many)
    assert (found.a_row, found.once) == (2 * 32 * 4, 0)


@pytest.mark.parametrize("side", [64, 96])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.usefixtures("bears_rounding")
def test_a_drawing_keeps_what_is_predicted(precision: Precision, side: int) -> None:
    drawn = canvas(precision)
    kept = drawing_bytes(drawn, 2, side)
    predicted = 2 * drawn.predict_bytes(side, side) + drawn.predict_shared_bytes()
    assert 0.97 < predicted / kept < 1.05


def test_an_exact_drawing_keeps_what_is_predicted() -> None:
    drawn = canvas("bf16")
    with deterministic_kernels(True):
        kept = drawing_bytes(drawn, 2, 96)
    predicted = 2 * drawn.predict_bytes(96, 96, exact=True)
    predicted += drawn.predict_shared_bytes(exact=True)
    assert 0.97 < predicted / kept < 1.05
    assert predicted > 1.2 * 2 * drawn.predict_bytes(96, 96)  # which is by Winograd's algorithm


@pytest.mark.usefixtures("bears_rounding")
def test_a_step_is_predicted_in_the_format_that_it_is_taken_in() -> None:
    judge, drawn = perceptor("bf16"), canvas("bf16")
    plain = tiny.engine()
    engine = ClipSteeredEngine(
        plain.info, lambda _name: drawn, OnePerceptor(judge), device=tiny.CPU
    )
    job = tiny.job()
    run = engine.begin(job, None)
    exact = tiny.job(exact=True).recipe

    before = [engine.predict_bytes(job.recipe, runs) for runs in (1, 8, 9)]
    before_exact = engine.predict_bytes(exact, 1)
    engine.step([run])  # in both formats, and then in bfloat16
    after = [engine.predict_bytes(job.recipe, runs) for runs in (1, 8, 9)]

    assert judge._see.format is drawn._decode.format is torch.bfloat16
    # Weights in another format weigh more than so small a picture; each further run weighs less.
    assert 0.5 < (after[2] - after[1]) / (before[2] - before[1]) < 0.9
    assert after[0] - (after[2] - after[1]) > judge.kept().once > 0
    assert engine.predict_bytes(exact, 1) == before_exact


def test_exact_runs_take_turns() -> None:
    engine = tiny.engine(exact=True)
    engine.begin(tiny.job(), None)
    recipe = tiny.job().recipe
    assert engine.predict_bytes(recipe, 4) == engine.predict_bytes(recipe, 1)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_crops_keep_what_is_predicted(kind: str, exact: bool) -> None:
    streams = Streams.seeded(1, tiny.CPU)

    def crops(x: Tensor) -> Tensor:
        """Cut as many crops as there are rows."""
        chosen = plan(kind, streams, count=len(x), size=32, width=40, height=40)
        picture = x.mean(dim=0, keepdim=True)
        return cut(kind, picture, [chosen], [streams], 32, deterministic=exact)

    found = kept_by(crops, torch.rand(4, 3, 40, 40), torch.rand(12, 3, 40, 40))
    the_crop_itself = 2 * 3 * 4 * 32**2
    predicted = crop_bytes(32, 1, exact=exact) - the_crop_itself
    assert 0.79 < found.a_row / predicted <= 1.01


def test_measuring_leaves_nothing_behind() -> None:
    examples = [torch.zeros(rows, 4) for rows in (1, 2)]
    left = [weakref.ref(example) for example in examples]
    # exp keeps its result, which knows that it came of exp.
    assert kept_by(torch.exp, *examples).a_row == 16
    examples.clear()
    gc.collect()
    assert [each() for each in left] == [None, None]
