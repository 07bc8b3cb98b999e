"""One step of each training learns, a resumed training is the same training."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from open_clip.model import CLIP
from torch import nn

from generation.models.compact import is_compact, pack
from generation.starter import WEIGHTS_NAME
from generation.starter.pipeline import StarterPipeline, times
from generation.starter.text import token_states, tokenize
from generation.starter.transformer import StarterTransformer
from tests.training import tiny
from training import clip as clip_training
from training import diffusion, vqgan
from training.latents import SEEN_WIDTH, Sight
from training.optim import MuonAdamW, optimiser_for, orthogonalised
from training.state import Average, Stretch, schedule

_CPU = torch.device("cpu")


def test_muon_updates_are_orthogonal() -> None:
    matrix = torch.randn(24, 60, generator=torch.Generator().manual_seed(0))
    singular = torch.linalg.svdvals(orthogonalised(matrix).float())
    assert singular.min() > 0.5
    assert singular.max() < 1.5


def test_muon_takes_matrices_of_a_shape_together_as_it_would_one_by_one() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = ((6, 4), (4, 6), (6, 4), (3, 2, 2, 1))
    values = [torch.randn(shape, generator=generator) for shape in shapes]
    grads = [torch.randn(shape, generator=generator) for shape in shapes]

    def after(chosen: list[int]) -> list[torch.Tensor]:
        parameters = [nn.Parameter(values[i].clone()) for i in chosen]
        for i, parameter in zip(chosen, parameters, strict=True):
            parameter.grad = grads[i].clone()
        MuonAdamW([{"params": parameters, "muon": True, "lr": 0.1}]).step()
        return [parameter.detach() for parameter in parameters]

    together, alone = after([0, 1, 2, 3]), [after([i])[0] for i in range(4)]
    for a, b, before in zip(together, alone, values, strict=True):
        assert torch.allclose(a, b, atol=1e-5)
        assert not torch.allclose(a, before, atol=1e-2)


def test_the_optimiser_fits_a_small_network() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4))
    optimiser = optimiser_for(model, 3e-3)
    x, y = torch.randn(64, 8), torch.randn(64, 4)
    first = last = 0.0
    for step in range(60):
        loss = (model(x) - y).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        first, last = (loss.item() if step == 0 else first), loss.item()
    assert last < 0.7 * first


def test_vqgan_steps_lower_the_loss_before_and_after_quantisation() -> None:
    trainer = vqgan.Trainer(tiny.VQGAN, 0, _CPU, tiny.NoPerception())
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    images = nn.functional.avg_pool2d(images, 5, 1, 2)
    losses = [trainer.step(images, 0.1)["pixel"] for _ in range(12)]
    assert min(losses[-3:]) < losses[0]
    trainer.seed_codebook([images])
    later = trainer.step(images, 0.9)
    assert {"alive", "adversarial", "critic"} <= later.keys()
    assert all(math.isfinite(value) for value in later.values())


def _flow_batch(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    # Far from the trainers' seeds: the same seed would make the noise equal the picture.
    generator = torch.Generator().manual_seed(1000 + seed)
    return (
        torch.randn(4, 8, 4, 6, generator=generator),
        torch.randn(4, 5, 256, generator=generator),
        torch.ones(4, 5, dtype=torch.bool),
    )


def _seen(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2000 + seed)
    return torch.randn(4, 6, SEEN_WIDTH, generator=generator)


def test_what_is_seen_lies_where_it_is_in_the_picture() -> None:
    left = torch.ones(1, 3, 128, 128)
    left[..., 30:90, 10:50] = torch.tensor([0.9, 0.1, 0.1]).view(3, 1, 1)
    sight = Sight(_CPU)
    blank, seen = sight(torch.ones(1, 3, 128, 128), (4, 4)), sight(left, (4, 4))
    assert seen.shape == (1, 16, SEEN_WIDTH)
    changed = (seen.float() - blank.float()).norm(dim=-1).view(4, 4)
    assert changed[1:3, :2].mean() > 1.5 * changed[:, 2:].mean()
    assert sight(left[..., 16:112, :], (6, 10)).shape == (1, 60, SEEN_WIDTH)


def test_what_was_foreseen_leaves_the_network_alone_when_its_time_is_over() -> None:
    def after(seed: int) -> list[torch.Tensor]:
        trainer = diffusion.Trainer(tiny.DIFFUSION, 0, _CPU)
        trainer.step(*_flow_batch(0), _seen(seed), 0.95)
        return list(trainer.model.parameters())

    for a, b in zip(after(0), after(1), strict=True):
        assert torch.equal(a, b)


def test_weights_that_know_the_forms_are_warmed_up_but_foresee_no_more() -> None:
    trainer = diffusion.Trainer(tiny.DIFFUSION, 0, _CPU)
    assert "foreseen" in trainer.step(*_flow_batch(0), _seen(0), 0.0)
    early = [group["lr"] for group in trainer.optimiser.param_groups]
    assert "foreseen" not in trainer.step(*_flow_batch(0), _seen(0), 0.0, 0.95)
    assert [group["lr"] for group in trainer.optimiser.param_groups] == early


class CompiledEagerly:
    """`torch.compile` without its compiler, which takes tens of seconds; counts what is asked."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, module: nn.Module, **_options: object) -> Callable[..., torch.Tensor]:
        def call(*inputs: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            result: torch.Tensor = module(*inputs)
            return result

        return call


def test_compiled_steps_learn_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = CompiledEagerly()
    monkeypatch.setattr(torch, "compile", compiler)
    monkeypatch.setattr(diffusion, "_COMPILED_FROM", 0)

    def after(compiled: bool) -> list[torch.Tensor]:
        trainer = diffusion.Trainer(tiny.DIFFUSION, 0, _CPU, compiled=compiled)
        for step in range(2):
            trainer.step(*_flow_batch(step), _seen(step), 0.3)
        return list(trainer.model.parameters())

    for eager, compiled in zip(after(False), after(True), strict=True):
        torch.testing.assert_close(compiled, eager, rtol=1e-3, atol=1e-4)
    assert compiler.calls == 2

    monkeypatch.setattr(diffusion, "_COMPILED_FROM", 4 * 6 + 1)
    after(True)
    assert compiler.calls == 2, "smaller pictures are not worth it"


def test_an_image_tower_that_was_trained_before_may_be_hardened_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compiler = CompiledEagerly()
    monkeypatch.setattr(torch, "compile", compiler)
    vision = {"image_size": 64, "patch_size": 16, "width": 32, "layers": 1, "head_width": 16}
    text = {"context_length": 8, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    clip = CLIP(embed_dim=16, vision_cfg=vision, text_cfg=text)
    trainer = clip_training.Trainer(clip, 0, _CPU, compiled=True)
    generator = torch.Generator().manual_seed(0)
    batch = (
        torch.rand(4, 3, 128, 128, generator=generator),
        torch.zeros(4, dtype=torch.bool),
        torch.randn(4, 16, generator=generator),
        nn.functional.normalize(torch.randn(4, 384, generator=generator), dim=-1),
    )
    trainer.step(*batch, 0.0)
    assert compiler.calls == 1
    trainer.step(*batch, 0.0, 0.6)
    assert compiler.calls == 3, "moved uphill once, then learnt from"


def test_forms_are_learnt_small_and_finished_large() -> None:
    begin, end = diffusion.Mix(0.0).odds(), diffusion.Mix(1.0).odds()
    assert max(begin, key=begin.__getitem__) == "tiny"
    assert max(end, key=end.__getitem__) == "square"
    assert min(*begin.values(), *end.values()) > 0


def test_diffusion_learns_and_resumes_to_the_same_weights() -> None:
    whole = diffusion.Trainer(tiny.DIFFUSION, 0, _CPU)
    logged = [whole.step(*_flow_batch(step % 2), _seen(step % 2), 0.3) for step in range(20)]
    for name in ("loss", "foreseen"):
        assert np.mean([one[name] for one in logged[-5:]]) < np.mean(
            [one[name] for one in logged[:5]]
        )

    halves = diffusion.Trainer(tiny.DIFFUSION, 0, _CPU)
    for step in range(10):
        halves.step(*_flow_batch(step % 2), _seen(step % 2), 0.3)
    resumed = diffusion.Trainer(tiny.DIFFUSION, 9, _CPU)
    resumed.load(halves.state())
    for step in range(10, 20):
        resumed.step(*_flow_batch(step % 2), _seen(step % 2), 0.3)
    for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_picture_does_not_depend_on_who_shares_its_batch() -> None:
    model = StarterTransformer(**tiny.DIFFUSION).eval()
    nn.init.normal_(model.head.weight, std=0.1)
    latents, states, mask = _flow_batch(0)
    mask[0, 3:] = False
    t = torch.tensor([0.1, 0.4, 0.7, 0.9])
    with torch.no_grad():
        together = model(latents, t, states, mask)
        alone = model(latents[:1], t[:1], states[:1, :3], mask[:1, :3])
    assert torch.allclose(together[:1], alone, atol=1e-5)


def test_the_network_refuses_odd_latents() -> None:
    model = StarterTransformer(**tiny.DIFFUSION)
    latents, states, mask = _flow_batch(0)
    with pytest.raises(ValueError, match="multiples of 16 px"):
        model(latents[..., :5], torch.zeros(4), states, mask)


def test_pipeline_saves_and_loads_plain_and_compact(tmp_path: Path) -> None:
    model = StarterTransformer(**tiny.DIFFUSION, latent_mean=[0.5] * 8).eval()
    nn.init.normal_(model.head.weight, std=0.1)
    StarterPipeline(model).save_pretrained(tmp_path / "plain")
    plain = StarterPipeline.from_pretrained(tmp_path / "plain")
    assert list(plain.transformer.config["latent_mean"]) == [0.5] * 8
    latents, states, mask = _flow_batch(3)
    t = torch.full((4,), 0.5)
    wanted = StarterPipeline(model).flow.velocity(latents, t, states, mask)
    assert torch.equal(plain.flow.velocity(latents, t, states, mask), wanted)

    weights = tmp_path / "plain" / "transformer" / WEIGHTS_NAME
    pack(model.state_dict(), weights)
    assert is_compact(weights)
    compact = StarterPipeline.from_pretrained(tmp_path / "plain")
    found = compact.flow.velocity(latents, t, states, mask)
    assert (found - wanted).abs().mean() < 0.05 * wanted.abs().mean() + 1e-3


def test_times_run_from_noise_to_picture() -> None:
    schedule_times = times(5, shift=2.0)
    assert schedule_times[0] == 1.0
    assert schedule_times[-1] == 0.0
    assert schedule_times == sorted(schedule_times, reverse=True)
    assert times(4, strength=0.5)[0] == 0.5


def test_views_keep_size_and_range() -> None:
    images = torch.rand(6, 3, 128, 128)
    mirror = torch.tensor([True, False] * 3)
    views = clip_training.augment(images, np.random.default_rng(0), mirror)
    assert views.shape == (6, 3, 64, 64)
    assert views.min() >= 0
    assert views.max() <= 1


def test_captions_that_mean_the_same_are_not_negatives() -> None:
    meaning = nn.functional.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), dim=1)
    targets = clip_training.soft_targets(meaning)
    assert torch.allclose(targets.sum(1), torch.ones(3))
    assert targets[0, 1] > 10 * targets[0, 2]


def test_token_states_are_open_clips_own() -> None:
    from open_clip.model import CLIP

    from generation.starter import clip_config, clip_tokenizer

    torch.manual_seed(0)
    config = clip_config()["model_cfg"]
    clip = CLIP(**config).eval()
    texts = ["a cat", "a red dragon above a very small castle"]
    tokens, mask = tokenize(clip_tokenizer(), texts)
    with torch.no_grad():
        states = token_states(clip, tokens)
        ends = states[torch.arange(2), mask.sum(1) - 1] @ clip.text_projection
        wanted = clip.encode_text(clip_tokenizer()(texts))
    assert torch.allclose(ends, wanted, atol=1e-4)


def test_a_stretch_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DREAMSTREAM_TRAINING", str(tmp_path))
    first = Stretch("toy", minutes=1, planned_minutes=2)
    assert first.resume() is None
    first.advance(32)
    first.before_s = 60.0
    first.save({"weights": torch.ones(2)})
    second = Stretch("toy", minutes=1, planned_minutes=2)
    saved = second.resume()
    assert saved is not None
    assert torch.equal(saved["weights"], torch.ones(2))
    assert (second.step, second.samples) == (1, 32)
    assert 0.5 <= second.fraction < 0.6


def test_rates_warm_up_and_decay() -> None:
    assert schedule(0.0) < 0.1
    assert schedule(0.3) == 1.0
    assert schedule(1.0) == pytest.approx(0.01)


def test_averages_follow_the_model() -> None:
    model = nn.Linear(2, 2)
    average = Average(model, 0.99)
    with torch.no_grad():
        model.weight.add_(1.0)
    for _ in range(200):
        average.update(model)
    assert torch.allclose(average.values["weight"], model.weight, atol=0.15)
