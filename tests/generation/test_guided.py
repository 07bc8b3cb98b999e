"""CLIP-guided diffusion: the published network, the samplers' formulas, runs and their company."""

from __future__ import annotations

import hashlib
import io
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from generation.engine import BadCheckpointError, EngineError
from generation.engines.checkpointing import pack, unpack
from generation.engines.ddpm import (
    ancestral_step,
    ddim_step,
    linear_alphas_bar,
    predicted_picture,
    respaced,
)
from generation.engines.guided import (
    GuidedDiffusionEngine,
    GuidedRun,
    _bounded,
    guided_options,
    out_of_range,
    total_variation,
)
from generation.models.checkpoints import convert, read_weights
from generation.models.guided import PUBLISHED, GuidedConfig, GuidedUNet, load
from generation.protocol import EngineInfo, Job, ModelInfo, Recipe, Steer
from tests.generation import tiny

TINY = GuidedConfig(
    channels=16,
    multipliers=(0.5, 1, 2),
    attention=(False, True, True),
    blocks=1,
    head_channels=8,
    groups=4,
)


def network(config: GuidedConfig = TINY) -> GuidedUNet:
    torch.manual_seed(5)
    return GuidedUNet(config).eval().requires_grad_(False)


# --- the network ---------------------------------------------------------------------------


def read(weights: dict[str, Tensor], config: GuidedConfig, x: Tensor, times: Tensor) -> Tensor:
    """Run a published state dict by its names alone, as openai/guided-diffusion's code does."""

    def linear(name: str, value: Tensor) -> Tensor:
        return F.linear(value, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def conv(name: str, value: Tensor) -> Tensor:
        weight = weights[f"{name}.weight"]
        return F.conv2d(value, weight, weights[f"{name}.bias"], padding=weight.shape[-1] // 2)

    def norm(name: str, value: Tensor) -> Tensor:
        return F.group_norm(
            value, config.groups, weights[f"{name}.weight"], weights[f"{name}.bias"]
        )

    def residual(name: str, value: Tensor, resize: str) -> Tensor:
        h = F.silu(norm(f"{name}.in_layers.0", value))
        if resize == "down":
            h, value = (F.avg_pool2d(each, 2) for each in (h, value))
        elif resize == "up":
            h, value = (each.repeat_interleave(2, 2).repeat_interleave(2, 3) for each in (h, value))
        h = conv(f"{name}.in_layers.2", h)
        moved = linear(f"{name}.emb_layers.1", F.silu(embedding))[..., None, None]
        scale, shift = moved.chunk(2, 1)
        h = norm(f"{name}.out_layers.0", h) * (1 + scale) + shift
        h = conv(f"{name}.out_layers.3", F.silu(h))
        if f"{name}.skip_connection.weight" in weights:
            value = conv(f"{name}.skip_connection", value)
        return value + h

    def attention(name: str, value: Tensor) -> Tensor:
        n, channels = value.shape[:2]
        flat = value.reshape(n, channels, -1)
        qkv = F.conv1d(
            norm(f"{name}.norm", flat), weights[f"{name}.qkv.weight"], weights[f"{name}.qkv.bias"]
        )
        heads = channels // config.head_channels
        # "Legacy": the heads are cut first, and each holds its own q, k and v.
        q, k, v = qkv.reshape(n * heads, 3 * config.head_channels, -1).chunk(3, 1)
        scale = config.head_channels**-0.25
        weight = torch.einsum("bct,bcs->bts", q * scale, k * scale).softmax(-1)
        found = torch.einsum("bts,bcs->bct", weight, v).reshape(n, channels, -1)
        out = F.conv1d(found, weights[f"{name}.proj_out.weight"], weights[f"{name}.proj_out.bias"])
        return (flat + out).reshape(value.shape)

    def block(name: str, value: Tensor, resize: str = "") -> Tensor:
        nth = 0
        while any(key.startswith(f"{name}.{nth}.") for key in weights):
            part = f"{name}.{nth}"
            if f"{part}.qkv.weight" in weights:
                value = attention(part, value)
            elif f"{part}.in_layers.0.weight" in weights:
                resized = resize if resize == "down" or (resize == "up" and nth) else ""
                value = residual(part, value, resized)
            else:
                value = conv(part, value)
            nth += 1
        return value

    half = config.channels // 2
    frequencies = torch.exp(-math.log(10000) * torch.arange(half) / half)
    angles = times[:, None] * frequencies
    embedding = torch.cat([angles.cos(), angles.sin()], 1)
    embedding = linear("time_embed.2", F.silu(linear("time_embed.0", embedding)))
    levels, blocks = len(config.multipliers), config.blocks
    h, skips = x, []
    for nth in range(levels * (blocks + 1)):
        down = nth > 0 and nth % (blocks + 1) == 0
        h = block(f"input_blocks.{nth}", h, "down" if down else "")
        skips.append(h)
    h = block("middle_block", h)
    for nth in range(levels * (blocks + 1)):
        up = nth % (blocks + 1) == blocks and nth + 1 < levels * (blocks + 1)
        h = block(f"output_blocks.{nth}", torch.cat([h, skips.pop()], 1), "up" if up else "")
    return conv("out.2", F.silu(norm("out.0", h)))


def test_the_network_computes_what_the_published_layout_says() -> None:
    made = network()
    x, times = torch.randn(2, 3, 16, 32), torch.tensor([3.0, 777.0])
    noise, variances = made(x, times)
    expected = read(made.state_dict(), TINY, x, times)
    assert tiny.difference(torch.cat([noise, variances], 1), expected) < 1e-5


def test_the_published_networks_have_the_published_sizes() -> None:
    for size, millions in ((256, 552.8), (512, 558.0)):
        with torch.device("meta"):
            made = GuidedUNet(PUBLISHED[size])
        assert sum(each.numel() for each in made.parameters()) / 1e6 == pytest.approx(
            millions, abs=0.05
        )
    assert PUBLISHED[512].factor == 64


def test_a_published_file_is_read_and_others_are_refused(tmp_path: Path) -> None:
    made = network()
    torch.save(made.state_dict(), tmp_path / "tiny.pt")
    convert(tmp_path / "tiny.pt", tmp_path / "tiny.safetensors")
    again = load(read_weights(tmp_path / "tiny.safetensors"), TINY)
    x, times = torch.randn(1, 3, 16, 16), torch.tensor([9.0])
    assert tiny.difference(again(x, times)[0], made(x, times)[0]) < 1e-5
    with pytest.raises(EngineError, match="not the weights"):
        load(made.state_dict())
    with pytest.raises(EngineError, match="not the weights"):
        load({"x": torch.zeros(1)}, TINY)


# --- the samplers --------------------------------------------------------------------------


def test_the_schedule_is_the_published_one() -> None:
    alphas_bar = linear_alphas_bar()
    kept = 1.0
    for nth in range(1000):
        kept *= 1 - (0.0001 + (0.02 - 0.0001) * nth / 999)
        assert float(alphas_bar[nth]) == pytest.approx(kept, rel=1e-9)
    whole = respaced(1000)
    assert whole.times.tolist() == list(range(999, -1, -1))
    some = respaced(10)
    assert some.times.tolist() == [999, 888, 777, 666, 555, 444, 333, 222, 111, 0]
    assert float(some.next_alphas_bar[-1]) == 1.0
    assert torch.equal(some.next_alphas_bar[:-1], some.alphas_bar[1:])
    assert respaced(10, 4).times.tolist() == some.times.tolist()[4:]
    assert respaced(1).times.tolist() == [999]


def test_ddim_without_chance_goes_along_the_line() -> None:
    """With the true noise, every step lands where the schedule says the picture would be."""
    picture, noise = torch.randn(2, 3, 4, 4).double(), torch.randn(2, 3, 4, 4).double()
    steps = respaced(20)
    zero = torch.zeros(2, 1, 1, 1).double()

    def at(kept: float) -> Tensor:
        return math.sqrt(kept) * picture + math.sqrt(1 - kept) * noise

    for nth in range(20):
        _, kept, following = steps.at(nth)
        now, then = (torch.tensor(each, dtype=torch.float64) for each in (kept, following))
        assert tiny.difference(predicted_picture(at(kept), noise, now), picture) < 1e-9
        reached = ddim_step(at(kept), noise, noise, now, then, zero)
        assert tiny.difference(reached, at(following)) < 1e-9


def test_ddim_with_full_chance_and_the_ancestral_step_agree() -> None:
    x, noise, chance = (torch.randn(3, 3, 4, 4).double() for _ in range(3))
    _, kept, following = respaced(50).at(20)
    now, then = (torch.tensor(each, dtype=torch.float64) for each in (kept, following))
    one, none = torch.ones(3, 1, 1, 1).double(), torch.zeros_like(x)
    # The lower bound of the variance is the posterior's, which DDIM has with eta 1.
    low = ancestral_step(x, noise, chance, now, then, -torch.ones_like(x), none)
    assert tiny.difference(low, ddim_step(x, noise, chance, now, then, one)) < 1e-9
    high = ancestral_step(x, noise, chance, now, then, torch.ones_like(x), none)
    beta = 1 - kept / following
    mean = ancestral_step(x, noise, none, now, then, torch.ones_like(x), none)
    assert tiny.difference(high - mean, beta**0.5 * chance) < 1e-9
    pushed = ancestral_step(x, noise, none, now, then, torch.ones_like(x), chance)
    assert tiny.difference(pushed - mean, beta * chance) < 1e-9
    last = ancestral_step(x, noise, chance, now, torch.ones_like(then), none, none)
    assert tiny.difference(last, predicted_picture(x, noise, now)) < 1e-9


def test_the_losses_are_their_formulas() -> None:
    picture = torch.randn(2, 3, 5, 6).double() * 2
    across = torch.zeros_like(picture)
    across[..., :-1] = picture[..., 1:] - picture[..., :-1]
    down = torch.zeros_like(picture)
    down[..., :-1, :] = picture[..., 1:, :] - picture[..., :-1, :]
    expected = (across**2 + down**2).mean(dim=(1, 2, 3))
    assert tiny.difference(total_variation(picture), expected) < 1e-12
    outside = (picture.abs() - 1).clamp(min=0) ** 2
    assert tiny.difference(out_of_range(picture), outside.mean(dim=(1, 2, 3))) < 1e-12
    bounded = _bounded(picture, torch.tensor([0.05, 0.0]).double())
    assert float(bounded[0].square().mean().sqrt()) == pytest.approx(0.05)
    assert torch.equal(bounded[1], picture[1])


# --- the engine ----------------------------------------------------------------------------


class Ideal(GuidedUNet):
    """Knows the noise in pictures whose pixels are normal with a deviation of a half."""

    def forward(self, pictures: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        kept = linear_alphas_bar()[times.long()].float()[:, None, None, None]
        noise = (1 - kept).sqrt() / (0.25 * kept + 1 - kept) * pictures
        return noise, torch.zeros_like(noise)


def ideal(_name: str) -> GuidedUNet:
    return Ideal(TINY).eval().requires_grad_(False)


def engine(*, exact: bool = False) -> GuidedDiffusionEngine:
    info = EngineInfo(
        name="tiny-guided",
        title="Tiny",
        models=(ModelInfo(name="tiny", title="Tiny", licence="MIT"),),
        default_width=16,
        default_height=16,
        min_side=16,
        max_side=64,
        max_pixels=64 * 64,
        size_multiple=4,
        default_steps=8,
        max_steps=1000,
        guidance=1000.0,
        max_guidance=50_000.0,
        takes_init=True,
        takes_negative=True,
        steerable=True,
        options=guided_options(("tiny",), cutouts=4),
    )
    return GuidedDiffusionEngine(info, ideal, tiny.Perceptors(), device=tiny.CPU, exact=exact)


def job(seed: int = 1, *, init: bytes | None = None, **changes: Any) -> Job:
    sha256 = None if init is None else hashlib.sha256(init).hexdigest()
    recipe: dict[str, Any] = {
        "engine": "tiny-guided",
        "model": "tiny",
        "prompt": "a red fox",
        "width": 16,
        "height": 16,
        "steps": 8,
        "guidance": 1000.0,
        "seed": seed,
        "init_sha256": sha256,
    }
    pictures = {} if init is None or sha256 is None else {sha256: init}
    return Job(
        id=f"d{seed}",
        recipe=Recipe(**(recipe | changes)),
        stream="s",
        person="p",
        pictures=pictures,
    )


def picture(colour: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (24, 24), colour).save(file, "PNG")
    return file.getvalue()


def finish(drawing: GuidedDiffusionEngine, run: GuidedRun) -> Tensor:
    while not run.done:
        drawing.step([run])
    assert run.error is None and run.score is not None
    return run.x


@pytest.mark.parametrize("sampler", ["ddim", "ancestral"])
def test_a_run_in_company_becomes_what_it_becomes_alone(sampler: str) -> None:
    drawing = engine()
    settings = {"sampler": sampler, "eta": 0.5}
    wanted = job(1, settings=settings)
    alone = finish(drawing, drawing.begin(wanted, None))
    run = drawing.begin(wanted, None)
    others = [
        drawing.begin(
            job(2 + nth, prompt="a whale", steps=5 + nth, guidance=500.0 * nth, settings=settings),
            None,
        )
        for nth in range(3)
    ]
    drawing.steer(others[0], Steer(0, "an owl", 2))
    drawing.step([others[0]])
    while not run.done:
        drawing.step([run, *(other for other in others if not other.done)])
    assert tiny.difference(run.x, alone) < 1e-3
    exact = [drawing.begin(job(9, exact=True), None) for _ in range(2)]
    assert torch.equal(finish(drawing, exact[0]), finish(drawing, exact[1]))
    keys = {drawing.batch_key(job(seed, exact=True).recipe) for seed in (1, 2)}
    assert len(keys) == 2


def test_a_checkpoint_goes_on_to_the_same_picture() -> None:
    drawing = engine()
    wanted = job(3, init=picture("teal"), strength=0.8, steers=(Steer(4, "a whale", 2),))
    whole = finish(drawing, drawing.begin(wanted, None))
    run = drawing.begin(wanted, None)
    for _ in range(3):
        drawing.step([run])
    assert drawing.image(run).size == (16, 16)
    again = drawing.begin(wanted, drawing.checkpoint(run))
    assert again.step == run.step
    assert torch.equal(finish(drawing, again), whole)
    with pytest.raises(BadCheckpointError):
        drawing.begin(wanted, b"nothing")
    tensors, fields = unpack(drawing.checkpoint(run))
    for stream in ("geometry", "noise"):
        damaged = tensors | {stream: torch.full_like(tensors[stream], 255)}
        with pytest.raises(BadCheckpointError, match="damaged"):
            drawing.begin(wanted, pack(damaged, **fields))


def test_a_start_picture_leaves_out_the_first_steps() -> None:
    drawing = engine()
    run = drawing.begin(job(init=picture("teal"), strength=0.25, guidance=0.0), None)
    assert run.step == 6 and len(run.schedule.times) == 2
    assert drawing.begin(job(init=picture("teal"), strength=1.0), None).step == 0
    assert drawing.begin(job(init=picture("teal"), strength=0.0), None).step == 7


def test_guidance_leads_to_the_prompt() -> None:
    """Whatever the network would draw, CLIP likes the guided picture better."""
    drawing = engine()
    settings = {"clamp_grad": 0.0, "tv_scale": 0.0, "eta": 0.0}
    better = 0
    for seed in range(5):
        scores = []
        for guidance in (0.0, 2000.0):
            run = drawing.begin(job(seed, guidance=guidance, steps=20, settings=settings), None)
            finish(drawing, run)
            assert run.score is not None
            scores.append(run.score)
        better += scores[1] > scores[0]
    assert better == 5


def test_guidance_is_as_strong_however_prompts_are_weighed() -> None:
    """No run of them is torn where what it keeps away from counts as much as what it is to be."""
    drawing = engine(exact=True)

    def pulls(run: GuidedRun) -> float:
        x = run.x[None].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(drawing._guidance([run], x).sum(), x)
        return float(gradient.norm())

    def pulled(prompt: str, negative: str = "", **changes: Any) -> float:
        return pulls(drawing.begin(job(prompt=prompt, negative=negative, **changes), None))

    (fox, fog, other) = (pulled(each) for each in ("a fox", "fog", "smoke"))
    assert pulled("a fox:9") == pytest.approx(fox, rel=1e-3)
    assert pulled("fog:-1") == pulled("fog:-9") == pytest.approx(fog, rel=1e-3)
    for weight in (0.5, 0.9, 1.0, 1.1, 50):
        assert pulled(f"a fox | fog:-{weight}") <= fox + fog
    assert pulled("a fox", "fog | smoke") <= fox + 0.3 * (fog + other)
    assert pulled("a fox", guidance=None) == fox > 0
    run = drawing.begin(job(prompt="fog:-1", steers=(Steer(0, "a fox", 20),)), None)
    for run.step in range(7):
        assert pulls(run) <= fox + fog


def test_a_steer_changes_what_it_is_drawn_towards() -> None:
    drawing = engine()
    plain = finish(drawing, drawing.begin(job(4), None))
    run = drawing.begin(job(4), None)
    drawing.step([run])
    drawing.steer(run, Steer(0, "a blue whale", 2))
    assert run.recipe.steers == (Steer(1, "a blue whale", 2),)
    steered = finish(drawing, run)
    assert not torch.equal(steered, plain)
    again = finish(drawing, drawing.begin(job(4, steers=run.recipe.steers), None))
    assert torch.equal(again, steered)


def test_what_cannot_be_drawn_is_said() -> None:
    drawing = engine()
    with pytest.raises(EngineError, match="says nothing"):
        drawing.begin(job(prompt="|"), None)
    run = drawing.begin(job(guidance=1e30, settings={"clamp_grad": 0.0}), None)
    while not run.done:
        drawing.step([run])
    assert run.error is not None and "Try less guidance" in str(run.error)
