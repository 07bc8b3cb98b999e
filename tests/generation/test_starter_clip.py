"""starter-clip's own network and tokenizer are open_clip's to the bit, and load without it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from generation.starter import clip_tokenizer
from generation.starter.clip_network import ClipNetwork
from generation.starter.tokenizer import ClipTokenizer

SHAPE: dict[str, Any] = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 24, "patch_size": 8, "width": 32, "layers": 2, "head_width": 16},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}


@pytest.fixture(scope="module")
def both() -> tuple[ClipNetwork, Any]:
    """Our network and open_clip's, with the same weights."""
    from open_clip.model import CLIP

    torch.manual_seed(0)
    theirs = CLIP(**SHAPE).eval()
    ours = ClipNetwork(**SHAPE).eval()
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def test_pictures_and_their_gradients_are_the_same_to_the_bit(both: tuple[Any, Any]) -> None:
    pictures = torch.randn(5, 3, 24, 24)
    found = []
    for network in both:
        leaf = pictures.clone().requires_grad_()
        vectors = network.encode_image(leaf)
        vectors.square().sum().backward()
        assert leaf.grad is not None
        with torch.no_grad():  # attention has another kernel where nothing is learnt
            found.append((vectors, leaf.grad, network.encode_image(pictures)))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*found, strict=True))


def test_texts_are_the_same_to_the_bit(both: tuple[Any, Any]) -> None:
    tokens = ClipTokenizer(12)(["", "a cat", "one two three four five six seven eight nine ten"])
    with torch.no_grad():
        ours, theirs = (network.encode_text(tokens) for network in both)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a red fox",
        "Don't SHOUT, they'll hear!!  (1984)",
        "aaaaaaaaaaaaaaaa banana nanana",
        "größte Wörter, déjà vu — 漢字かな 🦊🦊",
        "&lt;b&gt; &amp;amp; schÃ¶n \ufb01sh\x00\u200b",
        "<start_of_text> and <END_OF_TEXT>",
        "incomprehensibilities " * 20,
    ],
)
def test_tokens_are_open_clips_own(text: str) -> None:
    from open_clip.tokenizer import SimpleTokenizer, _tokenizer

    ours = clip_tokenizer()
    theirs: SimpleTokenizer = _tokenizer
    assert ours.encode(text) == theirs.encode(text)
    assert torch.equal(ours([text, "x"]), theirs([text, "x"], ours.context_length))


@settings(deadline=None, max_examples=150)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_tokens_of_any_text_are_open_clips_own(text: str) -> None:
    from open_clip.tokenizer import _tokenizer

    assert clip_tokenizer().encode(text) == _tokenizer.encode(text)


def test_the_starter_models_need_no_more_than_torch() -> None:
    """What they do not need takes three times as long to load: between a start and a picture."""
    code = (
        "import sys\n"
        "from generation.engines import build_engines\n"
        "engine = build_engines(device='cpu', models_dir=None, exact=False)['diffusion']\n"
        "engine.load(engine.info.models[0].name)\n"
        "needless = {'open_clip', 'torchvision', 'timm', 'diffusers', 'transformers'}\n"
        "sys.exit(f'loaded {found}' if (found := needless & set(sys.modules)) else 0)\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
