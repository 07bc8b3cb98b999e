"""StyleGAN2 against a slow reading of its paper's formulas, the published layouts, the canvas."""

from __future__ import annotations

import argparse
import math
import pickle
import sys
import types
import weakref
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from generation import starter
from generation.canvases import stylegan as stylegan_canvas
from generation.canvases.stylegan import TRUNCATION_OPTION, StyleGANCanvas, _resampling
from generation.engine import EngineError
from generation.engines.builders import shipped_models
from generation.engines.clip_options import clip_options
from generation.engines.clip_run import ClipRun
from generation.engines.clip_steered import ClipSteeredEngine
from generation.engines.perceptors import SharedPerceptors
from generation.engines.stylegan import build_stylegan_clip
from generation.models import adding
from generation.models.checkpoints import CheckpointError
from generation.models.library import Library
from generation.models.stylegan import CLAMP, StyleGAN2, StyleGANConfig, infer_config
from generation.models.stylegan_files import from_rosinality, read_stylegan
from generation.protocol import Job, Steer
from tests.generation import tiny

WIDTHS = {4: 12, 8: 10, 16: 6}


def weights(*, classes: int = 0, clamp: float | None = None, seed: int = 0) -> dict[str, Tensor]:
    """Return a tiny network with NVIDIA's names: 16 pixels, z and w of 8."""
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random)

    found = {"mapping.w_avg": 0.3 * normal(8)}
    if classes:
        found |= {"mapping.embed.weight": normal(8, classes), "mapping.embed.bias": normal(8)}
    for index, inputs in enumerate((16 if classes else 8, 8, 8)):
        found[f"mapping.fc{index}.weight"] = 100 * normal(8, inputs)
        found[f"mapping.fc{index}.bias"] = 10 * normal(8)
    before = 0
    for side, width in WIDTHS.items():
        block = f"synthesis.b{side}"
        layers = {"conv1": (width, width, 3)}
        if side == 4:
            found[f"{block}.const"] = normal(width, 4, 4)
        else:
            layers["conv0"] = (width, before, 3)
        for name, (outputs, inputs, size) in {**layers, "torgb": (3, width, 1)}.items():
            layer = f"{block}.{name}"
            found[f"{layer}.weight"] = normal(outputs, inputs, size, size)
            found[f"{layer}.bias"] = 0.1 * normal(outputs)
            found[f"{layer}.affine.weight"] = normal(inputs, 8)
            found[f"{layer}.affine.bias"] = 1 + 0.1 * normal(inputs)
            if name != "torgb":
                found[f"{layer}.noise_const"] = normal(side, side)
                found[f"{layer}.noise_strength"] = 0.2 * normal(1)[0]
        before = width
    if clamp is not None:
        found[CLAMP] = torch.tensor(clamp)
    return found


# --- a reading of its own: one picture after the other, in float64, each weight modulated -------


def slow_mapping(found: Mapping[str, Tensor], z: Tensor, label: int | None = None) -> Tensor:
    def unit(x: Tensor) -> Tensor:
        return x / math.sqrt(float((x * x).mean()) + 1e-8)

    x = unit(z.double())
    if label is not None:
        table = found["mapping.embed.weight"].double()
        y = table[:, label] / math.sqrt(table.shape[1]) + found["mapping.embed.bias"].double()
        x = torch.cat([x, unit(y)])
    for index in range(3):
        weight = found[f"mapping.fc{index}.weight"].double() * 0.01 / math.sqrt(len(x))
        x = weight @ x + found[f"mapping.fc{index}.bias"].double() * 0.01
        x = torch.where(x > 0, x, 0.2 * x) * math.sqrt(2)
    return x


def zeros_between(x: Tensor) -> Tensor:
    spread = x.new_zeros(x.shape[0], 2 * x.shape[1], 2 * x.shape[2])
    spread[:, ::2, ::2] = x
    return spread


def low_pass(x: Tensor, before: int, after: int) -> Tensor:
    taps = torch.tensor([1.0, 3, 3, 1], dtype=torch.float64)
    kernel = 4 * torch.outer(taps, taps) / 64
    padded = F.pad(x, (before, after, before, after))
    return torch.stack([F.conv2d(each[None, None], kernel[None, None])[0, 0] for each in padded])


def slow_layer(
    found: Mapping[str, Tensor], name: str, x: Tensor, w: Tensor, *, up: bool, rgb: bool = False
) -> Tensor:
    style = found[f"{name}.affine.weight"].double() @ w / math.sqrt(len(w))
    style = style + found[f"{name}.affine.bias"].double()
    kernel = found[f"{name}.weight"].double()
    if rgb:
        style = style / math.sqrt(kernel.shape[1])
    kernel = kernel * style[None, :, None, None]
    if not rgb:
        norm = (kernel.square().sum(dim=(1, 2, 3)) + 1e-8).sqrt()
        kernel = kernel / norm[:, None, None, None]
    if up:
        # A true convolution of the picture with zeros between: the kernel is turned by 180°.
        x = F.conv2d(zeros_between(x)[None], kernel.flip(2, 3), padding=2)[0]
        x = low_pass(x, 1, 0)[:, : 2 * (x.shape[1] // 2 - 1), : 2 * (x.shape[2] // 2 - 1)]
    else:
        x = F.conv2d(x[None], kernel, padding=kernel.shape[-1] // 2)[0]
    if f"{name}.noise_const" in found:
        x = x + found[f"{name}.noise_const"].double() * found[f"{name}.noise_strength"].double()
    x = x + found[f"{name}.bias"].double()[:, None, None]
    if not rgb:
        x = torch.where(x > 0, x, 0.2 * x) * math.sqrt(2)
    if CLAMP in found:
        x = x.clamp(-float(found[CLAMP]), float(found[CLAMP]))
    return x


def slow_synthesis(found: Mapping[str, Tensor], latents: Tensor) -> Tensor:
    w = iter(range(99))
    x = found["synthesis.b4.const"].double()
    picture: Tensor | None = None
    number = 0
    for side in WIDTHS:
        if side > 4:
            x = slow_layer(found, f"synthesis.b{side}.conv0", x, latents[number], up=True)
            number += 1
        x = slow_layer(found, f"synthesis.b{side}.conv1", x, latents[number], up=False)
        number += 1
        name = f"synthesis.b{side}.torgb"
        colours = slow_layer(found, name, x, latents[number], up=False, rgb=True)
        if picture is not None:
            colours = colours + low_pass(zeros_between(picture), 2, 1)
        picture = colours
    assert picture is not None and next(w) == 0
    return picture


@pytest.mark.parametrize("clamp", [None, 1.5])
def test_pictures_are_those_of_the_formulas(clamp: float | None) -> None:
    found = weights(clamp=clamp)
    model = StyleGAN2.from_weights(found)
    assert model.config == StyleGANConfig(
        resolution=16, z_dim=8, w_dim=8, mapping_layers=3, classes=0
    )
    assert model.config.latents == 6
    latents = torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(1))
    drawn = model.synthesise(latents)
    for row in range(2):
        expected = slow_synthesis(found, latents[row].double())
        assert expected.shape == (3, 16, 16) and float(expected.std()) > 0.1
        assert tiny.difference(drawn[row], expected.float()) < 1e-4


@pytest.mark.parametrize("classes", [0, 5])
def test_latents_are_those_of_the_formulas(classes: int) -> None:
    found = weights(classes=classes)
    model = StyleGAN2.from_weights(found)
    assert (model.config.z_dim, model.config.classes) == (8, classes)
    z = torch.randn(3, 8, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([4, 0, 2]) if classes else None
    mapped = model.latents_of(z, labels)
    for row in range(3):
        label = int(labels[row]) if labels is not None else None
        assert tiny.difference(mapped[row], slow_mapping(found, z[row], label).float()) < 1e-4


# --- files -------------------------------------------------------------------------------------


def rosinality(found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Write the same network with the names and shapes of rosinality's Generator."""
    theirs: dict[str, Tensor] = {"input.input": found["synthesis.b4.const"][None]}
    for index in range(3):
        for part in ("weight", "bias"):
            theirs[f"style.{index + 1}.{part}"] = found[f"mapping.fc{index}.{part}"]
    names = [("synthesis.b4.conv1", "conv1")]
    colours = [("synthesis.b4.torgb", "to_rgb1")]
    for level, side in enumerate((8, 16)):
        names += [(f"synthesis.b{side}.conv{n}", f"convs.{2 * level + n}") for n in (0, 1)]
        colours.append((f"synthesis.b{side}.torgb", f"to_rgbs.{level}"))
    for number, (ours, their) in enumerate(names):
        theirs[f"{their}.noise.weight"] = found[f"{ours}.noise_strength"][None]
        theirs[f"noises.noise_{number}"] = found[f"{ours}.noise_const"][None, None]
        theirs[f"{their}.activate.bias"] = found[f"{ours}.bias"]
    for ours, their in colours:
        theirs[f"{their}.bias"] = found[f"{ours}.bias"].view(1, 3, 1, 1)
    for ours, their in names + colours:
        theirs[f"{their}.conv.weight"] = found[f"{ours}.weight"][None]
        for part in ("weight", "bias"):
            theirs[f"{their}.conv.modulation.{part}"] = found[f"{ours}.affine.{part}"]
    return theirs


def test_rosinalitys_checkpoint_is_the_same_network(tmp_path: Path) -> None:
    found = weights()
    path = tmp_path / "550000.pt"
    content = {
        "g_ema": rosinality(found),
        "latent_avg": found["mapping.w_avg"],
        "g_optim": {"state": {}, "param_groups": []},
        "args": argparse.Namespace(size=16, lr=0.002),
    }
    torch.save(content, path)
    read = read_stylegan(path)
    assert read.keys() == found.keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in found.items())
    del content["latent_avg"]
    torch.save(content, path)
    assert read_stylegan(path).keys() == found.keys() - {"mapping.w_avg"}
    assert StyleGANCanvas(StyleGAN2.from_weights(read_stylegan(path)), tiny.CPU)._mean.shape == (8,)


def persistent(kind: str, tensors: Mapping[str, Tensor], **attributes: object) -> Any:
    """Return what pickles as stylegan2-ada-pytorch's networks do: through its own reader."""
    inner: dict[str, dict[str, Tensor]] = {}
    own: OrderedDict[str, Tensor] = OrderedDict()
    for name, tensor in tensors.items():
        head, _, rest = name.partition(".")
        if rest:
            inner.setdefault(head, {})[rest] = tensor
        else:
            own[head] = tensor
    buffers = {"w_avg", "noise_const", "resample_filter"}
    state = {
        "training": False,
        "_parameters": OrderedDict(
            (name, torch.nn.Parameter(tensor, requires_grad=False))
            for name, tensor in own.items()
            if name not in buffers
        ),
        "_buffers": OrderedDict((name, own[name]) for name in own if name in buffers),
        "_modules": OrderedDict(
            (name, persistent("Layer", part, **attributes)) for name, part in inner.items()
        ),
        "_init_kwargs": {"epsilon": 1e-8, "class": Unknown()},
        **attributes,
    }
    meta = {
        "type": "class",
        "version": 6,
        "module_src": "raise SystemExit('this source must never run')",
        "class_name": kind,
        "state": state,
    }
    return _Persistent(meta)


class Unknown:
    """A class that the reader does not know, as dnnlib's are."""


class _Persistent:
    def __init__(self, meta: dict[str, object]) -> None:
        self.meta = meta

    def __reduce__(self) -> tuple[Any, ...]:
        persistence = sys.modules["torch_utils.persistence"]
        return persistence._reconstruct_persistent_obj, (self.meta,)


@pytest.fixture
def nvidia(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the module that NVIDIA's pickles name, as it is where they are written."""

    def _reconstruct_persistent_obj(_meta: object) -> object:
        raise AssertionError("the pickle's own reader was called")

    module = types.ModuleType("torch_utils.persistence")
    _reconstruct_persistent_obj.__module__ = module.__name__
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    module._reconstruct_persistent_obj = _reconstruct_persistent_obj  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch_utils", types.ModuleType("torch_utils"))
    monkeypatch.setitem(sys.modules, "torch_utils.persistence", module)


def nvidia_file(path: Path, found: Mapping[str, Tensor], **others: object) -> Path:
    taps = torch.tensor([1.0, 3, 3, 1])
    tensors = {name: tensor for name, tensor in found.items() if name != CLAMP}
    tensors["synthesis.b8.conv0.resample_filter"] = torch.outer(taps, taps) / 64
    clamp = float(found[CLAMP]) if CLAMP in found else None
    content = {
        "training_set_kwargs": {"class_name": "training.dataset.ImageFolderDataset"},
        "D": persistent("Discriminator", {"b4.fc.weight": torch.zeros(2, 2)}),
        "G_ema": persistent("Generator", tensors, conv_clamp=clamp),
        "augment_pipe": None,
        **others,
    }
    path.write_bytes(pickle.dumps(content))
    return path


@pytest.mark.parametrize("clamp", [None, 256.0])
@pytest.mark.usefixtures("nvidia")
def test_nvidias_pickle_is_read_without_running_it(tmp_path: Path, clamp: float | None) -> None:
    found = weights(clamp=clamp, classes=3)
    path = nvidia_file(tmp_path / "metfaces.pkl", found)
    read = read_stylegan(path)
    assert read.keys() == found.keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in found.items())
    library = Library(tmp_path)
    assert library.info("stylegan2-metfaces").available
    model = StyleGAN2.from_weights(library.weights("stylegan2-metfaces"))
    path.unlink()  # from now on only the safetensors file is needed
    assert [each.name for each in tmp_path.iterdir()] == ["stylegan2-metfaces.safetensors"]
    latents = torch.randn(1, 6, 8)
    again = StyleGAN2.from_weights(Library(tmp_path).weights("stylegan2-metfaces"))
    assert torch.equal(again.synthesise(latents), model.synthesise(latents))


@pytest.mark.usefixtures("nvidia")
def test_a_network_of_ones_own_is_added(tmp_path: Path) -> None:
    file = nvidia_file(tmp_path / "network-snapshot-025000.pkl", weights())
    adding.add_file(file, tmp_path / "models", "stylegan", "mine")
    assert Library(tmp_path / "models").weights("mine").keys() == weights().keys()


class Touch:
    """A pickle that would run code when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.usefixtures("nvidia")
def test_a_malicious_pickle_runs_nothing(tmp_path: Path) -> None:
    mark = tmp_path / "was-here"
    path = nvidia_file(tmp_path / "evil.pkl", weights(), evil=Touch(mark))
    assert read_stylegan(path).keys() == weights().keys()
    inner = pickle.dumps(Touch(mark))

    class Nested:
        def __reduce__(self) -> tuple[Any, ...]:
            return torch.storage._load_from_bytes, (inner,)

    class Tensorlike:
        def __reduce__(self) -> tuple[Any, ...]:
            return torch._utils._rebuild_tensor_v2, (Nested(), 0, (1,), (1,), False, OrderedDict())

    evil = persistent("Generator", {})
    evil.meta["state"]["_buffers"]["w_avg"] = Tensorlike()
    nvidia_file(path, weights(), G_ema=evil)
    with pytest.raises(CheckpointError):
        read_stylegan(path)
    torch.save({"g_ema": {}, "evil": Touch(mark)}, tmp_path / "evil.pt")
    with pytest.raises(CheckpointError, match="damaged"):
        read_stylegan(tmp_path / "evil.pt")
    assert not mark.exists()


@pytest.mark.parametrize("suffix", [".pkl", ".pt"])
@pytest.mark.parametrize("keep", [0.0, 0.3, 0.99])
@pytest.mark.usefixtures("nvidia")
def test_truncated_files_are_refused(tmp_path: Path, suffix: str, keep: float) -> None:
    path = tmp_path / f"model{suffix}"
    if suffix == ".pkl":
        nvidia_file(path, weights())
    else:
        torch.save({"g_ema": rosinality(weights())}, path)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(CheckpointError, match="damaged or incomplete"):
        read_stylegan(path)


@pytest.mark.usefixtures("nvidia")
def test_what_is_no_stylegan2_is_said_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    with pytest.raises(CheckpointError, match="is not in"):
        read_stylegan(path)
    nvidia_file(path, weights())
    with pytest.raises(CheckpointError, match="not the published file"):
        read_stylegan(path, sha256="ab" * 32)
    path.write_bytes(pickle.dumps([1, 2, 3]))
    with pytest.raises(CheckpointError, match="TensorFlow"):
        read_stylegan(path)
    nvidia_file(path, weights(), G_ema=None)
    with pytest.raises(CheckpointError, match="no averaged generator"):
        read_stylegan(path)
    odd = weights() | {"synthesis.b8.resample_filter": torch.ones(2, 2)}
    with pytest.raises(CheckpointError, match="filter"):
        read_stylegan(nvidia_file(path, odd))
    with pytest.raises(CheckpointError, match="residual"):
        infer_config(weights() | {"synthesis.b8.skip.weight": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="not a StyleGAN2"):
        infer_config({"weight": torch.zeros(1)})
    short = weights()
    short["synthesis.b8.conv1.weight"] = torch.zeros(3, 3, 3, 3)
    with pytest.raises(CheckpointError, match="do not fit"):
        StyleGAN2.from_weights(short)
    with pytest.raises(CheckpointError, match="rosinality"):
        from_rosinality({"conv1.conv.weight": torch.zeros(1)}, None)


# --- the canvas, and the engine ------------------------------------------------------------------


def canvas(**options: Any) -> StyleGANCanvas:
    return StyleGANCanvas(StyleGAN2.from_weights(weights(**options)), tiny.CPU)


@pytest.mark.parametrize("classes", [0, 5])
def test_a_start_lies_at_its_truncation_and_the_seed_decides(classes: int) -> None:
    drawn_on = canvas(classes=classes)
    starts = {
        (seed, truncation): drawn_on.start(
            16, 16, torch.Generator().manual_seed(seed), None, {"truncation": truncation}
        ).parameters["q"]
        for seed in (1, 2)
        for truncation in (1.0, 0.5, 0.0)
    }
    assert starts[1, 1.0].shape == (6, 8)
    assert torch.allclose(starts[1, 0.5], 0.5 * starts[1, 1.0])
    assert float(starts[1, 0.0].abs().max()) == 0
    assert not torch.equal(starts[1, 1.0], starts[2, 1.0])
    many = drawn_on._sample(4000, torch.Generator().manual_seed(7))
    assert tiny.difference(many.std(dim=0) / drawn_on._deviation, torch.ones(8)) < 0.1
    with pytest.raises(EngineError, match="cannot start from a picture"):
        drawn_on.start(16, 16, torch.Generator(), torch.zeros(3, 16, 16))


def test_other_sizes_show_the_same_picture_and_other_proportions_its_middle() -> None:
    drawn_on = canvas()
    start = drawn_on.start(16, 16, torch.Generator().manual_seed(3), None)
    q = {"q": start.parameters["q"][None]}
    own = drawn_on.draw(q, {}, 16, 16)
    assert drawn_on.draw(q, {}, 64, 32).shape == (1, 3, 32, 64)
    # Clamping comes last, so compare what was there before it.
    plain = drawn_on._model.synthesise(q["q"] * drawn_on._deviation + drawn_on._mean)
    assert tiny.difference(own, ((plain + 1) / 2).clamp(0, 1)) < 1e-6
    rows, columns = drawn_on._resampler(8, 8)
    assert float((rows @ plain @ columns.T - F.avg_pool2d(plain, 2)).abs().mean()) < 0.3
    assert torch.allclose(rows.sum(dim=1), torch.ones(8))
    rows, columns = drawn_on._resampler(16, 8)
    assert torch.equal(columns, torch.eye(16))
    assert torch.equal(rows, torch.eye(16)[4:12])


def test_whatever_sizes_are_drawn_few_of_their_resamplers_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[weakref.ref[Tensor]] = []

    def noted(side: int, size: int, part: float) -> Tensor:
        product = _resampling(side, size, part)
        made.append(weakref.ref(product))
        return product

    monkeypatch.setattr(stylegan_canvas, "_resampling", noted)
    drawn_on = canvas()
    q = {"q": drawn_on.start(16, 16, torch.Generator(), None).parameters["q"][None]}
    for width in (*range(20, 60), 59, 59):
        drawn_on.draw(q, {}, width, 8)
    assert len(made) == 80
    assert sum(each() is not None for each in made) <= 2 * 16


def engine(*, exact: bool = False) -> ClipSteeredEngine:
    options = clip_options(
        tiny.Perceptors.names,
        cutouts=4,
        kind="classic",
        learning_rate=0.03,
        start="chance",
        starts=("chance",),
        tries=6,
    )
    info = msgspec.structs.replace(
        tiny.engine("stylegan").info, options=(*options, TRUNCATION_OPTION)
    )
    return ClipSteeredEngine(
        info, lambda _name: canvas(), tiny.Perceptors(), device=tiny.CPU, exact=exact
    )


def job(seed: int = 1, **changes: Any) -> Job:
    return tiny.job("stylegan", seed=seed, width=16, height=16, **changes)


def pixels(drawing: ClipSteeredEngine, run: ClipRun) -> Tensor:
    with torch.no_grad():
        parameters = {"q": run.average["q"][None]}
        return drawing._canvases["stylegan"].draw(parameters, {}, 16, 16)[0]


@pytest.mark.parametrize("exact", [False, True])
def test_company_changes_nothing(exact: bool) -> None:
    drawing = engine()
    alone = drawing.begin(job(steps=20, exact=exact), None)
    among = drawing.begin(job(steps=20, exact=exact), None)
    strangers = [drawing.begin(job(seed, steps=30, exact=exact), None) for seed in (7, 8)]
    drawing.steer(strangers[0], Steer(0, "a blue whale", 2))
    before = pixels(drawing, alone)
    for step in range(10):
        drawing.step([alone])
        if step == 4:
            strangers[0] = drawing.begin(job(9, steps=30, exact=exact), None)
        drawing.step([strangers[0], among, strangers[1]])
        off = tiny.difference(pixels(drawing, alone), pixels(drawing, among))
        assert off == 0 if exact else off < 1e-4
    assert tiny.difference(before, pixels(drawing, alone)) > 0.01


def test_a_checkpoint_goes_on_to_the_same_picture_and_the_loss_falls() -> None:
    drawing = engine()
    run = drawing.begin(job(steps=40), None)
    losses: list[float] = []
    saved = b""
    while not run.done:
        drawing.step([run])
        assert run.loss is not None
        losses.append(run.loss)
        if run.step == 30:
            saved = drawing.checkpoint(run)
    other = engine()
    again = other.begin(job(steps=40), saved)
    while not again.done:
        other.step([again])
    assert drawing.image(run).tobytes() == other.image(again).tobytes()
    assert sum(losses[-5:]) < sum(losses[:5])


@pytest.mark.skipif("clip" not in starter.available(), reason="no starter CLIP in this checkout")
@pytest.mark.usefixtures("nvidia")
def test_a_file_put_into_the_models_folder_draws(tmp_path: Path) -> None:
    library = Library(tmp_path, shipped_models())
    perceptors = SharedPerceptors(library, tiny.CPU)
    models = build_stylegan_clip(library, perceptors, tiny.CPU, exact=False).info.models
    assert [model.available for model in models] == [False] * len(models)
    assert "dreamstream models pull stylegan2-ffhq" in models[0].missing
    (tmp_path / "stylegan2-afhq-cat").mkdir()
    nvidia_file(tmp_path / "stylegan2-afhq-cat" / "afhqcat.pkl", weights())
    drawing = build_stylegan_clip(library, perceptors, tiny.CPU, exact=False)
    assert not drawing.info.takes_init
    assert "start" not in {option.name for option in drawing.info.options}
    recipe = tiny.job(steps=3, width=48, height=32, settings={"cutouts": 2}).recipe
    recipe = msgspec.structs.replace(recipe, engine="stylegan-clip", model="stylegan2-afhq-cat")
    run = drawing.begin(Job(id="1", recipe=recipe, stream="s", person="p"), None)
    while not run.done:
        drawing.step([run])
    assert run.error is None and run.score is not None
    assert drawing.image(run).size == (48, 32)
    one, two = (drawing.predict_bytes(recipe, runs) for runs in (1, 2))
    assert 0 < one < two
