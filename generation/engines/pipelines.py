"""Any text-to-image pipeline of diffusers, one of its steps at a time.

Pipelines run from the prompt to the picture in one call. Here that call is made in a thread of
the run's own, which stops at the end of each step (diffusers' ``callback_on_step_end``) until the
run is to go on. So it has previews, progress and an end like every other; what it cannot have is
company in a step, steers, or a checkpoint: such a picture begins anew after a restart, and becomes
the same.
"""

from __future__ import annotations

import copy
import inspect
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor

from generation.engine import BatchKey, EngineError, Run
from generation.engines.checkpointing import identity, pack, unpack
from generation.engines.denoising import seeded
from generation.engines.exactness import deterministic_kernels
from generation.engines.options import check_recipe, complete_settings
from generation.engines.pipeline_words import notices_of, unwanted_in
from generation.imaging import to_pil
from generation.prompts import plain_text
from generation.protocol import EngineInfo, Job, OptionInfo, Recipe, Setting, Steer

_FORMAT = "pipeline"
_VERSION = 1
_PREVIEW_LATENTS = 32
_OWN_GUIDANCE = -1.0


def pipeline_options() -> tuple[OptionInfo, ...]:
    """Return the engine's settings."""
    return (
        OptionInfo(
            name="guidance_scale",
            help="How closely it keeps to the words; -1 for the model's own.",
            default=_OWN_GUIDANCE,
            minimum=_OWN_GUIDANCE,
            maximum=30.0,
        ),
    )


def load_pipeline(folder: Path, device: torch.device) -> Any:
    """Load a diffusers folder, from safetensors alone and without any code that lies in it.

    Raises:
        EngineError: it is damaged, incomplete, or makes no pictures of words step by step.
    """
    from diffusers import DiffusionPipeline

    number = torch.bfloat16 if device.type == "cuda" else torch.float32
    try:
        pipeline = DiffusionPipeline.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, torch_dtype=number
        )
    except torch.OutOfMemoryError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise EngineError(
            f"The model {folder.name} is damaged, incomplete, or of a kind that diffusers does "
            "not know. See what is wrong with: dreamstream models verify"
        ) from error
    takes = inspect.signature(type(pipeline).__call__).parameters
    if not {"prompt", "num_inference_steps", "callback_on_step_end"} <= takes.keys():
        raise EngineError(
            f"{type(pipeline).__name__} does not draw from words step by step, so {folder.name} "
            "cannot be used."
        )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


@dataclass(kw_only=True)
class PipelineRun(Run):
    """A picture that a pipeline draws."""

    call: PipelineCall


class PipelineEngine:
    """See `generation.engine.Engine` for what each method promises.

    `load_model` loads a pipeline by the model's name.
    """

    def __init__(
        self,
        info: EngineInfo,
        load_model: Callable[[str], Any],
        *,
        device: torch.device,
        exact: bool = False,
    ) -> None:
        self._info = info
        self._load_model = load_model
        self._device = device
        self._exact = exact
        self._pipelines: dict[str, Any] = {}

    @property
    def info(self) -> EngineInfo:
        """What may be asked of it."""
        return self._info

    def batch_key(self, recipe: Recipe) -> BatchKey:
        """Each run is stepped alone, so any may stand beside each other."""
        return (recipe.model, recipe.width, recipe.height)

    def predict_bytes(self, recipe: Recipe, runs: int) -> int:
        """Estimate one run's network and decoder, and the latents of the others."""
        return recipe.width * recipe.height * (8192 + 64 * runs)

    def load(self, model: str) -> None:
        """Have the pipeline ready."""
        if model not in self._pipelines:
            self._pipelines[model] = self._load_model(model)

    def unload(self, model: str) -> None:
        """Let go of the pipeline."""
        self._pipelines.pop(model, None)

    def begin(self, job: Job, checkpoint: bytes | None) -> PipelineRun:
        """Make a run at its first step, wherever it stood."""
        recipe = job.recipe
        check_recipe(recipe, self._info)
        settings = complete_settings(recipe.settings, self._info.options)
        if not plain_text(recipe.prompt):
            raise EngineError("The prompt says nothing to draw. Write a few words.")
        if checkpoint is not None:
            unpack(checkpoint, **identity(_FORMAT, _VERSION, recipe))
        self.load(recipe.model)
        call = PipelineCall(self._pipelines[recipe.model], recipe, settings)
        run = PipelineRun(job=job, recipe=recipe, call=call)
        run.notices = notices_of(self._pipelines[recipe.model], recipe)
        # Nobody tells an engine that a run is cancelled; it is let go of.
        weakref.finalize(run, call.cancel)
        return run

    def step(self, runs: Sequence[PipelineRun]) -> None:
        """Take one step of each run, one by one."""
        for run in runs:
            if run.done:
                continue
            with deterministic_kernels(self._exact or run.recipe.exact):
                try:
                    run.call.advance((run.step + 1) / run.recipe.steps)
                except torch.OutOfMemoryError:
                    raise
                except Exception as error:
                    run.error = EngineError(
                        f"The model could not draw this: {str(error)[:200] or type(error).__name__}"
                    )
                    run.error.__cause__ = error
                    continue
            run.step += 1

    def image(self, run: PipelineRun) -> Image.Image:
        """Return the picture, or before its end what it is expected to become."""
        size = (run.recipe.width, run.recipe.height)
        shown = run.call.picture or self._likeness(run, whole=True)
        return shown if shown.size == size else shown.resize(size, Image.Resampling.LANCZOS)

    def preview(self, run: PipelineRun) -> Image.Image:
        """Decode the latents at a small size."""
        return run.call.picture or self._likeness(run, whole=False)

    def steer(self, run: PipelineRun, steer: Steer) -> None:
        """Refuse: the prompt was read before the first step."""
        raise EngineError(f"{self._info.title} cannot be steered. Ask for a new picture.")

    def checkpoint(self, run: PipelineRun) -> bytes:
        """Return who it is: a pipeline's state cannot be put back."""
        return pack({}, step=0, **identity(_FORMAT, _VERSION, run.recipe))

    @torch.no_grad()
    def _likeness(self, run: PipelineRun, *, whole: bool) -> Image.Image:
        latents = run.call.expected()
        pipeline = self._pipelines[run.recipe.model]
        vae = getattr(pipeline, "vae", None)
        grey = Image.new("RGB", (64, 64), "grey")
        if latents is None or vae is None:
            return grey
        if latents.dim() == 3 and hasattr(pipeline, "_unpack_latents"):
            latents = pipeline._unpack_latents(
                latents, run.recipe.height, run.recipe.width, pipeline.vae_scale_factor
            )
        if latents.dim() != 4:
            return grey
        if not whole:
            shrunk = max(1, max(latents.shape[2:]) // _PREVIEW_LATENTS)
            latents = torch.nn.functional.avg_pool2d(latents.float(), shrunk)
        scale, shift = vae.config.scaling_factor, getattr(vae.config, "shift_factor", None)
        decoded = vae.decode((latents / scale + (shift or 0.0)).to(vae.dtype), return_dict=False)
        return to_pil(decoded[0][0].float() / 2 + 0.5)


class _CancelledError(Exception):
    """The run is let go of."""


class PipelineCall:
    """A pipeline's one call, in a thread that goes on only as far as it is told.

    The pipeline is a copy with a scheduler of its own, since those count their steps.
    """

    def __init__(self, pipeline: Any, recipe: Recipe, settings: Mapping[str, Setting]) -> None:
        self.picture: Image.Image | None = None
        self._pipeline = copy.copy(pipeline)
        self._pipeline.scheduler = copy.deepcopy(pipeline.scheduler)
        self._arguments = _arguments(pipeline, recipe, settings)
        self._go, self._stopped = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._until = 0.0
        self._reached = 0.0
        self._cancelled = False
        self._error: BaseException | None = None
        self._before: tuple[Tensor, int] | None = None
        self._latents: tuple[Tensor, int] | None = None

    def advance(self, part: float) -> None:
        """Go on until this part of the steps is taken; 1 is the finished picture.

        Raises:
            Exception: what the pipeline raised.
        """
        self._until = part
        if self.picture is not None or (part < 1 and self._reached >= part):
            return
        self._stopped.clear()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="pipeline", daemon=True)
            self._thread.start()
        self._go.set()
        self._stopped.wait()
        if self._error is not None:
            raise self._error

    def cancel(self) -> None:
        """End the thread at its next stop."""
        self._cancelled = True
        self._go.set()

    def expected(self) -> Tensor | None:
        """Return what the latents are on the way to, from the direction of the last step.

        With Euler's steps along sigmas that is the network's own expectation; other schedulers'
        latents are returned as they are.
        """
        if self._latents is None:
            return None
        latents, step = self._latents
        sigmas = getattr(self._pipeline.scheduler, "sigmas", None)
        name = type(self._pipeline.scheduler).__name__
        if self._before is None or sigmas is None or "Euler" not in name or "Ancestral" in name:
            return latents
        before, earlier = self._before
        now, then = float(sigmas[earlier + 1]), float(sigmas[step + 1])
        return latents if now == then else latents - then * (latents - before) / (then - now)

    def _run(self) -> None:
        try:
            self._go.wait()
            self._go.clear()
            if not self._cancelled:
                answer = self._pipeline(**self._arguments, callback_on_step_end=self._stepped)
                self.picture = answer.images[0].convert("RGB")
        except _CancelledError:
            pass
        except BaseException as error:
            self._error = error
        finally:
            self._stopped.set()

    def _stepped(
        self, pipeline: Any, step: int, _timestep: Any, tensors: dict[str, Any]
    ) -> dict[str, Any]:
        latents = tensors.get("latents")
        if isinstance(latents, Tensor):
            self._before, self._latents = self._latents, (latents.detach(), step)
        self._reached = (step + 1) / max(1, int(pipeline.num_timesteps))
        # The last step goes on to the picture.
        while self._until < 1 and self._reached >= self._until and not self._cancelled:
            self._stopped.set()
            self._go.wait()
            self._go.clear()
        if self._cancelled:
            raise _CancelledError
        return tensors


def _arguments(pipeline: Any, recipe: Recipe, settings: Mapping[str, Setting]) -> dict[str, object]:
    """Return what a pipeline is called with, of what its kind takes."""
    takes = inspect.signature(type(pipeline).__call__).parameters
    arguments: dict[str, object] = {
        "prompt": plain_text(recipe.prompt),
        "width": recipe.width,
        "height": recipe.height,
        "num_inference_steps": recipe.steps,
        "generator": seeded(recipe),
        "output_type": "pil",
    }
    if unwanted := unwanted_in(recipe):
        arguments["negative_prompt"] = unwanted
    if settings["guidance_scale"] != _OWN_GUIDANCE:
        arguments["guidance_scale"] = settings["guidance_scale"]
    return {name: value for name, value in arguments.items() if name in takes}
