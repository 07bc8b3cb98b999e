"""``python -m training``: one command per step, each of which goes on where it stopped."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

_EPILOG = "Downloads, pictures and unfinished models lie in $DREAMSTREAM_TRAINING."


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m training", description=__doc__, epilog=_EPILOG)
    parser.add_argument("--threads", type=int, help="CPU threads to use")
    steps = parser.add_subparsers(dest="step", required=True)
    steps.add_parser("fetch", help="download the pinned packages")
    steps.add_parser("render", help="draw the picture sets at 128 px")
    carry = steps.add_parser("pack", help="pack pictures for a machine without a network")
    carry.add_argument("--into", required=True, help="folder for the packs")
    unpack = steps.add_parser("unpack", help="read packs instead of fetching and rendering")
    unpack.add_argument("--from", dest="source", required=True, help="folder with the packs")
    compose = steps.add_parser("compose", help="compose seeded examples")
    compose.add_argument("--square", type=int, default=48, help="shards of 128 x 128 px")
    compose.add_argument(
        "--oblong", type=int, default=4, help="shards each of 160 x 96 and 96 x 160"
    )
    compose.add_argument("--count", type=int, default=1000, help="examples a shard")
    compose.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    train = steps.add_parser("train", help="train one model for a stretch")
    train.add_argument("model", choices=["text", "clip", "judge", "vqgan", "diffusion"])
    train.add_argument("--minutes", type=float, default=10, help="this stretch")
    train.add_argument("--plan", type=float, default=60, help="all stretches together, minutes")
    train.add_argument("--batch", type=int, help="examples a step")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument(
        "--rate", type=float, default=1.0, help="factor on the learning rate (diffusion)"
    )
    train.add_argument(
        "--begin", type=float, default=0.0, metavar="PHASE",
        help="where to begin, 0..1: in the turn of sizes, 0.75 is mostly 128 px (diffusion);"
        " 0.5 is robust at once (clip)",
    )  # fmt: skip
    train.add_argument(
        "--compile", action="store_true",
        help="fuse steps with torch's compiler (clip, diffusion from 96 px on; needs g++)",
    )  # fmt: skip
    train.add_argument(
        "--shipped", action="store_true", help="start from the weights in the repository"
    )
    train.add_argument(
        "--depth", type=int, help="blocks that the weights in the repository grow to (diffusion)"
    )
    encode = steps.add_parser(
        "encode", help="encode the examples as latents for the diffusion model"
    )
    encode.add_argument("--tiny", type=int, default=48, help="how many square shards at 64 px")
    encode.add_argument("--small", type=int, default=48, help="how many square shards at 96 px")
    encode.add_argument("--square", type=int, default=24, help="how many at 128 px")
    encode.add_argument("--oblong", type=int, default=4)
    evaluate = steps.add_parser("evaluate", help="draw the fixed prompts and measure")
    evaluate.add_argument("--count", type=int, default=200, help="prompts to draw, from the first")
    evaluate.add_argument("--times", type=int, default=4, help="drawings of each, for the judge")
    evaluate.add_argument("--into", default=None, help="folder for contact sheets and figures")
    steer = steps.add_parser("steer", help="look at what starter-clip's gradients draw")
    steer.add_argument("--steps", type=int, default=100)
    steer.add_argument("--into", required=True, help="the contact sheet's file")
    export = steps.add_parser("export", help="write trained models into the repository")
    export.add_argument("models", nargs="*", default=["clip", "vqgan", "diffusion"])
    export.add_argument(
        "--from", dest="source", type=Path, help="folder that `gpu` wrote, instead of the cache"
    )
    export.add_argument(
        "--part", type=float, default=1.0,
        help="how far diffusion goes from the shipped weights to the trained ones, 0..1",
    )  # fmt: skip
    gpu = steps.add_parser("gpu", help="unpack, compose and train everything, in timed calls")
    gpu.add_argument("--minutes", type=float, required=True, help="wall time of this call")
    gpu.add_argument("--plan", type=float, default=26, help="training of all calls, minutes")
    gpu.add_argument("--out", type=Path, required=True, help="folder for weights and logs")
    gpu.add_argument("--packs", type=Path, required=True, help="folder with the packs")
    gpu.add_argument("--from", dest="start", type=Path, help="folder of an earlier call's --out")
    gpu.add_argument("--square", type=int, default=48, help="shards of 128 x 128 px")
    gpu.add_argument("--oblong", type=int, default=4, help="shards each of the oblong shapes")
    gpu.add_argument("--count", type=int, default=1000, help="examples a shard")
    gpu.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    gpu.add_argument("--seed", type=int, default=0)
    return parser


def main() -> None:
    """Run one step."""
    options = _parser().parse_args()
    import torch

    if options.threads:
        torch.set_num_threads(options.threads)
    match options.step:
        case "fetch":
            from training.fetch import fetch

            fetch()
        case "render":
            from training.render import render

            render()
        case "pack" | "unpack":
            from training import packs

            packs.pack(options.into) if options.step == "pack" else packs.unpack(options.source)
        case "compose":
            from training.shards import compose

            shapes = {"square": options.square, "wide": options.oblong, "tall": options.oblong}
            compose(shapes, options.count, options.workers)
        case "train":
            _train(options)
        case "encode":
            from training.latents import encode
            from training.state import device

            counts = {"tiny": options.tiny, "small": options.small, "square": options.square,
                      "wide": options.oblong, "tall": options.oblong}  # fmt: skip
            for size, count in counts.items():
                encode(size, count, device())
        case "evaluate":
            from training.evaluate import evaluate

            evaluate(options.count, options.into, options.times)
        case "steer":
            from training.steering import sheet

            sheet(Path(options.into), options.steps)
        case "export":
            from training.export import export

            export(options.models, options.source, options.part)
        case "gpu":
            from training import gpu

            data = gpu.Data(options.square, options.oblong, options.count, options.workers)
            gpu.run(
                options.minutes,
                options.plan,
                options.out,
                options.packs,
                start=options.start,
                data=data,
                seed=options.seed,
            )


def _train(options: argparse.Namespace) -> None:
    extra: dict[str, Any] = {"batch": options.batch} if options.batch else {}
    if options.shipped and options.model in ("clip", "vqgan", "diffusion"):
        extra["shipped"] = True
    match options.model:
        case "text":
            from training import text_tower

            text_tower.train(options.minutes, options.plan, options.seed, **extra)
        case "clip":
            from training import clip

            clip.train(
                options.minutes, options.plan, options.seed, begin=options.begin,
                compiled=options.compile, **extra,
            )  # fmt: skip
        case "judge":
            from training import judge

            judge.train(options.seed)
        case "vqgan":
            from training import vqgan

            vqgan.train(options.minutes, options.plan, options.seed, **extra)
        case "diffusion":
            from training import diffusion

            diffusion.train(
                options.minutes, options.plan, options.seed, rate=options.rate,
                begin=options.begin, compiled=options.compile, depth=options.depth, **extra,
            )  # fmt: skip


if __name__ == "__main__":
    main()
