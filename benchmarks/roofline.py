"""What a step of VQGAN+CLIP must cost at least: its products, and how fast this machine multiplies.

    python -m benchmarks.roofline [--side 256] [--cutouts 32] [--rate 0]

Products are counted on "meta", which computes shapes only, for the classic loop's networks and for
ours, each with its gradient. The rate is the best of a few products of matrices of CLIP's own
shapes on one thread, in processor time, so that others on the machine lower it little; `--rate`
takes one in GFLOP/s instead. Prints a table, and one line of JSON; seconds are of one core.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.classic import taming_decoder
from benchmarks.step import networks
from generation.models import winograd

META = torch.device("meta")


def products(network: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> float:
    """Return the GFLOP of a network and of its gradient by its input, by torch's own counter."""
    x = torch.zeros(shape, device=META, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        network(x).sum().backward()  # type: ignore[no-untyped-call]
    return float(counter.get_total_flops()) / 1e9


def rate() -> float:
    """Return how fast one core multiplies matrices, in GFLOP/s of processor time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rows, inner, columns = 1600, 768, 3072
    left, right = torch.randn(rows, inner), torch.randn(inner, columns)
    took = []
    for _ in range(8):
        begun = time.process_time()
        left @ right
        took.append(time.process_time() - begun)
    torch.set_num_threads(threads)
    return 2 * rows * inner * columns / min(took) / 1e9


@contextmanager
def as_processors_do() -> Iterator[None]:
    """Have Winograd's algorithm counted where a processor would use it."""
    with patch.object(winograd, "DEVICES", ("meta",)):
        yield


def count(side: int, cutouts: int) -> dict[str, dict[str, float]]:
    """Return GFLOP of one picture's step, by whose networks and by part."""
    vqgan, perceptor, see = networks("full", META)
    classic = taming_decoder(vqgan)
    latents = (1, vqgan.config.embed_dim, side // vqgan.config.factor, side // vqgan.config.factor)
    crops = (cutouts, 3, perceptor.size, perceptor.size)
    codes, dim = vqgan.codebook.shape
    cells = latents[2] * latents[3]
    with as_processors_do():
        ours = products(vqgan.decode, latents)
    return {
        "classic": {
            "quantiser": 2 * 2 * cells * codes * dim / 1e9,
            "decoder": products(lambda x: classic(vqgan.post_quant_conv(x)), latents),
            "CLIP": products(see, crops),
        },
        "ours": {
            "quantiser": 2 * cells * codes * dim / 1e9,
            "decoder": ours,
            "CLIP": products(perceptor.encode_image, crops),
        },
    }


def main() -> None:
    """Count, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--cutouts", type=int, default=32)
    parser.add_argument("--rate", type=float, default=0.0)
    arguments = parser.parse_args()
    found, peak = count(arguments.side, arguments.cutouts), arguments.rate or rate()
    print(f"{peak:.0f} GFLOP/s a core; a step of one picture, {arguments.side}², GFLOP:")
    print(f"{'':12}{'classic':>12}{'ours':>12}{'ours, at least':>18}")
    for part in found["classic"]:
        classic, ours = found["classic"][part], found["ours"][part]
        print(f"{part:12}{classic:>12.1f}{ours:>12.1f}{ours / peak:>16.2f} s")
    classic, ours = (sum(found[whose].values()) for whose in ("classic", "ours"))
    print(f"{'':12}{classic:>12.1f}{ours:>12.1f}{ours / peak:>16.2f} s")
    print(json.dumps({"benchmark": "roofline", "gflop": found, "gflop_per_core_s": peak}))


if __name__ == "__main__":
    main()
