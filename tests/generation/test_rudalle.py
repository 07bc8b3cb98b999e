"""ruDALL-E's transformer against a plain reading of its published weights."""

from __future__ import annotations

import functools
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from generation.models.checkpoints import CheckpointError, convert, read_weights
from generation.models.rudalle import Memory, RuDALLE
from generation.models.rudalle_layout import XL, RuDALLEConfig, infer_config, mask
from tests.generation import tiny

CONFIG = RuDALLEConfig(layers=7, width=128, heads=2, text=8, side=8, text_tokens=48, codes=32)


def weights(
    config: RuDALLEConfig = CONFIG, *, is_v2: bool = False, masks: bool = True
) -> dict[str, Tensor]:
    """Return random weights under the published names, with masks as they were published."""
    random = torch.Generator().manual_seed(6)
    with torch.device("meta"):
        shapes = {name: each.shape for name, each in RuDALLE(config).state_dict().items()}
    made = {}
    for name, shape in shapes.items():
        value = torch.randn(shape, generator=random)
        if "layernorm" in name or name.startswith("to_logits.0"):
            made[name] = 0.3 * value + float(name.endswith("weight"))
        else:
            made[name] = value * (0.5 if "embeddings" in name else 0.1)
    for kind in ("row", "col", "conv") if masks else ():
        made[f"transformer.{kind}_mask"] = published_mask(kind, is_v2, config).bool()
    return made


@functools.cache
def published_mask(kind: str, is_v2: bool, config: RuDALLEConfig = CONFIG) -> Tensor:
    """Clear the triangle place by place, as the published code does."""
    text, side = config.text, config.side
    seen = torch.ones(config.places, config.places).tril()
    for key in range(text, config.places):
        for place in range(key + 1, config.places):
            behind = place - key
            row, column = divmod(key - text, side)
            if kind == "row":
                kept = behind <= side
            elif kind == "col":
                kept = behind % side == 0
            else:
                around = set()
                for down in range(-5, 6):
                    for across in range(-5, 6):
                        y, x = row + down, column + across
                        if is_v2:
                            around.add((y % side, x % side))
                        else:
                            around.add((min(max(y, 0), side - 1), min(max(x, 0), side - 1)))
                kept = divmod(place - text, side) in around
            seen[place, key] = float(kept)
    return seen


def answers(state: dict[str, Tensor], text: Tensor, codes: Tensor, *, is_v2: bool) -> Tensor:
    """Return the logits [codes + 1, 32] before each code and after all, without any memory."""

    def linear(name: str, value: Tensor) -> Tensor:
        return F.linear(value, state[f"{name}.weight"], state[f"{name}.bias"])

    def norm(name: str, value: Tensor) -> Tensor:
        return F.layer_norm(value, value.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])

    words = text.clone()
    for place in range(CONFIG.text):
        if words[place] == 0:
            words[place] = CONFIG.text_tokens - CONFIG.text + place
    if is_v2:
        words = torch.cat([torch.tensor([2]), words])
    x = state["text_embeddings.weight"][words] + state["text_pos_embeddings.weight"][: len(words)]
    for place, code in enumerate(codes):
        row, column = divmod(place, CONFIG.side)
        where = state["image_row_embeddings.weight"][row]
        where = where + state["image_col_embeddings.weight"][column]
        x = torch.cat([x, (state["image_embeddings.weight"][code] + where)[None]])
    x = x[: CONFIG.places]
    for nth in range(CONFIG.layers):
        layer = f"transformer.layers.{nth}"
        kind = "col" if nth in (1, 5) else "conv" if nth == 6 else "row"
        seen = state[f"transformer.{kind}_mask"][: len(x), : len(x)].float()
        h = norm(f"{layer}.input_layernorm", x)
        q, k, v = linear(f"{layer}.attention.query_key_value", h).chunk(3, -1)
        heads = []
        for head in range(CONFIG.heads):
            part = slice(64 * head, 64 * (head + 1))
            scores = q[:, part] @ k[:, part].T / math.sqrt(64)
            scores = scores * seen - 10000 * (1 - seen)
            heads.append(scores.softmax(-1) @ v[:, part])
        attended = linear(f"{layer}.attention.dense", torch.cat(heads, -1))
        x = x + norm(f"{layer}.before_first_addition_layernorm", attended)
        h = linear(f"{layer}.mlp.dense_h_to_4h", norm(f"{layer}.post_attention_layernorm", x))
        h = 0.5 * h * (1 + torch.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)))
        h = linear(f"{layer}.mlp.dense_4h_to_h", h)
        x = x + norm(f"{layer}.before_second_addition_layernorm", h)
    x = norm("to_logits.0", norm("transformer.final_layernorm", x))
    return linear("to_logits.1", x)[CONFIG.text - 1 + is_v2 :, CONFIG.text_tokens :]


def example() -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(2)
    text = torch.tensor([2, 7, 30, 11, 3, 0, 0, 0])
    return text, torch.randint(32, (CONFIG.side**2,), generator=random)


@pytest.mark.parametrize("is_v2", [False, True])
def test_codes_one_by_one_and_all_at_once_get_the_published_answers(is_v2: bool) -> None:
    state = weights(is_v2=is_v2)
    network = RuDALLE.from_weights(state)
    assert network.config.is_v2 == is_v2
    text, codes = example()
    expected = answers(state, text, codes[:-1], is_v2=is_v2)
    assert len(expected) == len(codes) and float(expected.std()) > 0.3
    for known in (0, 9, 40):
        logits, memory = network.prefill(text, codes[:known])
        assert tiny.difference(logits, expected[known]) < 1e-4
        batch = Memory.stack([memory])
        for at in range(known, len(codes) - 1):
            fed = network.feed(codes[at, None], torch.tensor([at]), batch)
            assert tiny.difference(fed[0], expected[at + 1]) < 1e-4


@pytest.mark.parametrize("is_v2", [False, True])
def test_runs_at_different_rows_share_a_call(is_v2: bool) -> None:
    network = RuDALLE.from_weights(weights(is_v2=is_v2))
    text, codes = example()
    starts = (0, 16, 56)
    memories = [network.prefill(text.roll(nth), codes[:at])[1] for nth, at in enumerate(starts)]
    together, alone = Memory.stack(memories), [Memory.stack([each]) for each in memories]
    for column in range(8):
        at = torch.tensor(starts) + column
        shared = network.feed(codes[at], at, together)
        for nth, one in enumerate(alone):
            own = network.feed(codes[at[nth, None]], at[nth, None], one)
            if at[nth] < 63:  # behind the last code nothing is asked
                assert tiny.difference(shared[nth], own[0]) < 1e-5
    for mine, own in zip(together.row(1).keys, alone[1].keys, strict=True):
        assert tiny.difference(mine, own[0]) < 1e-5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_the_digits_give_nearly_the_same_answers(dtype: torch.dtype) -> None:
    network = RuDALLE.from_weights(weights())
    halved = RuDALLE.from_weights(weights()).to(dtype)
    text, codes = example()
    expected, got = (each.prefill(text, codes[:30])[0] for each in (network, halved))
    assert got.dtype == torch.float32
    assert tiny.difference(got, expected) < 0.1 * float(expected.std())
    _, memory = halved.prefill(text, codes[:29])
    batch = Memory.stack([memory])
    fed = halved.feed(codes[29, None], torch.tensor([29]), batch)[0]
    assert tiny.difference(fed, got) < 0.1 * float(expected.std())
    assert {each.dtype for each in memory.keys + memory.values} == {dtype}


def test_what_lies_out_of_sight_is_not_kept() -> None:
    """Most layers look back by a row: they keep two rows, however much is drawn."""
    network = RuDALLE.from_weights(weights())
    text, codes = example()
    memory = network.prefill(text, codes[:50])[1]
    assert [len(keys) for keys in memory.keys] == [24, 72, 24, 24, 24, 72, 72]
    assert CONFIG.slots == sum(len(keys) for keys in memory.keys)


def test_the_published_models_have_the_published_size() -> None:
    """Malevich's file: float16, three masks of a byte for each pair, and names of some 400."""
    with torch.device("meta"):
        network = RuDALLE(XL)
    numbers = sum(each.numel() for each in network.parameters())
    assert 0 < 2_624_953_125 - (2 * numbers + 3 * XL.places**2) < 200_000
    kinds = [XL.kind(nth) for nth in range(24)]
    assert [nth for nth, kind in enumerate(kinds) if kind == "column"] == [1, 5, 9, 13, 17, 21]
    assert [nth for nth, kind in enumerate(kinds) if kind == "conv"] == [23]


@pytest.mark.parametrize("is_v2", [False, True])
def test_the_masks_are_the_published_ones(is_v2: bool) -> None:
    for kind, published in (("row", "row"), ("column", "col"), ("conv", "conv")):
        config = RuDALLEConfig(**{**vars(CONFIG), "is_v2": is_v2})
        assert torch.equal(mask(config, kind), published_mask(published, is_v2).bool())


def test_a_published_file_is_read_and_others_are_refused(tmp_path: Path) -> None:
    state = weights(is_v2=True)
    torch.save({name: value.half() for name, value in state.items()}, tmp_path / "model.bin")
    convert(tmp_path / "model.bin", tmp_path / "model.safetensors")
    read = RuDALLE.from_weights(read_weights(tmp_path / "model.safetensors"))
    assert read.config == infer_config(state) and read.config.is_v2 and read.number_bytes == 2
    assert not infer_config(weights(masks=False)).is_v2
    wrapped = {f"module.{name}": value for name, value in state.items()}  # as DDP saves it
    assert RuDALLE.from_weights(wrapped).config.is_v2
    for missing in ("text_embeddings.weight", "transformer.layers.3.mlp.dense_4h_to_h.bias"):
        with pytest.raises(CheckpointError, match="not the weights of a ruDALL-E"):
            RuDALLE.from_weights({key: each for key, each in state.items() if key != missing})
    odd = {**state, "transformer.conv_mask": torch.ones(72, 72, dtype=torch.bool)}
    with pytest.raises(CheckpointError, match="neither v2's nor v3's"):
        RuDALLE.from_weights(odd)
    huge = {**state, "image_row_embeddings.weight": torch.zeros(100_000, 128)}
    with pytest.raises(CheckpointError, match="not the weights of a ruDALL-E"):
        RuDALLE.from_weights(huge)
