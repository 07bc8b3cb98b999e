"""Pictures written code by code: a transformer chooses the codes of a VQGAN, row by row.

A step is a row (or some, where fewer steps are asked for than there are rows). Runs at different
rows, with different words, share every call of the network. What it remembers of a run is made
anew from the run's codes wherever it is missing: after a checkpoint, and where a steer changes
the words that the rows to come are drawn by.

A start picture gives codes that are not chosen: its upper part, another side of it, or what a
mask leaves. They are read where they stand, as ruDALL-E's “image prompts” are, so codes to the
right and below are met and not foreseen. A picture's last rows cannot be known before its first.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from generation.clip.sending import send
from generation.engine import BadCheckpointError, BatchKey, EngineError
from generation.engines.checkpointing import identity, pack, restore, saved_step, unpack
from generation.engines.clip_prompts import score
from generation.engines.exactness import deterministic_kernels, step_exact_alone
from generation.engines.one_model import OneModelEngine
from generation.engines.options import check_recipe, complete_settings
from generation.engines.steering import note_steer, steer_taken
from generation.engines.token_sampling import choose
from generation.engines.written_runs import Given, Writer, WrittenRun
from generation.imaging import decode_mask, decode_picture, to_pil
from generation.models.rudalle import Memory
from generation.models.rudalle_layout import XL
from generation.protocol import Job, Recipe, Steer

_FORMAT = "autoregressive"
_VERSION = 1
_GREY = 0.5


class AutoregressiveEngine(OneModelEngine[Writer]):
    """See `generation.engine.Engine` for what each method promises.

    `load_model` loads a model by name. `exact` makes every run an exact one.
    """

    # --- models ----------------------------------------------------------------------------

    def batch_key(self, recipe: Recipe) -> BatchKey:
        """All runs of a model share a step, at whatever row."""
        key: BatchKey = (recipe.model,)
        return (*key, "exact", recipe.seed, recipe.prompt) if recipe.exact else key

    def predict_bytes(self, recipe: Recipe, runs: int) -> int:
        """Estimate what is remembered of the runs, theirs and the batch's, and one decoding.

        The decoder's widest layers hold 256 numbers a pixel in float32, some of them several times.
        """
        writer = self._models.get(recipe.model)
        config, number = XL, 2
        if writer is not None:
            config, number = writer.network.config, writer.network.number_bytes
        decoder = recipe.width * recipe.height * 256 * 4 * 6
        reading = config.places * (12 * config.width * number + config.heads * config.places * 4)
        remembered = 2 * config.slots * config.width * number
        chance = config.side * config.codes * 4
        return decoder + reading + runs * (2 * remembered + chance)

    def _let_go(self, model: Writer) -> None:
        model.release()

    # --- a run's life ----------------------------------------------------------------------

    @torch.no_grad()
    def begin(self, job: Job, checkpoint: bytes | None) -> WrittenRun:
        """Make a run at its first row that is not given, or where a checkpoint left it."""
        recipe = job.recipe
        check_recipe(recipe, self._info)
        settings = complete_settings(recipe.settings, self._info.options)
        self.load(recipe.model)
        writer = self._models[recipe.model]
        size = writer.side * writer.vqgan.config.factor
        if (recipe.width, recipe.height) != (size, size):
            raise EngineError(f"{recipe.model} draws {size}×{size} pixels. Upscale it afterwards.")
        given = self._given(writer, job, str(settings["keep"]))
        first = 0
        codes = torch.zeros(writer.side**2, dtype=torch.long, device=self._device)
        if given is not None:
            whole = given.kept.view(writer.side, -1).all(dim=1)
            first = int(whole.cumprod(dim=0).sum())
            codes = given.codes.clone()
        texts = (writer.read(recipe.prompt), *(writer.read(each.prompt) for each in recipe.steers))
        run = WrittenRun(
            job=job,
            recipe=recipe,
            # The rows that are given count as drawn.
            step=first * recipe.steps // writer.side,
            codes=codes,
            given=given,
            first=first,
            rows=first,
            settings=settings,
            texts=tuple(text.to(self._device) for text in texts),
        )
        if checkpoint is not None:
            self._resume(run, checkpoint)
        run.notices = writer.notices(run.recipe)
        return run

    @torch.no_grad()
    def step(self, runs: Sequence[WrittenRun]) -> None:
        """Write a row of each run. Exact runs are taken one by one."""
        step_exact_alone(runs, self._is_exact, self._advance)

    @torch.no_grad()
    def image(self, run: WrittenRun) -> Image.Image:
        """Return the picture; before its end grey where nothing is known yet."""
        with deterministic_kernels(self._is_exact(run)):
            return to_pil(self._drawn(run))

    def preview(self, run: WrittenRun) -> Image.Image:
        """Return `image`."""
        return self.image(run)

    def steer(self, run: WrittenRun, steer: Steer) -> None:
        """Draw the rows to come by other words. They cannot glide: they change at once."""
        text = self._models[run.recipe.model].read(steer.prompt)
        taken = steer_taken(run, steer)
        run.texts += (text.to(self._device),)
        note_steer(run, taken)
        run.notices = self._models[run.recipe.model].notices(run.recipe)

    def checkpoint(self, run: WrittenRun) -> bytes:
        """Return the codes, how many rows of them are drawn, and the step."""
        return pack(run.state(), step=run.step, **identity(_FORMAT, _VERSION, run.recipe))

    # --- one step --------------------------------------------------------------------------

    def _advance(self, runs: Sequence[WrittenRun]) -> None:
        while behind := [
            run for run in runs if run.error is None and run.rows < run.rows_after(run.step + 1)
        ]:
            for run in behind:
                self._remember(run)
            self._write_row(behind)
        for run in runs:
            if run.error is not None:
                continue
            run.step += 1
            run.loss = run.surprise / run.chosen if run.chosen else None
            if run.done:
                run.memory = run.logits = None
                run.score = self._score(run)

    def _remember(self, run: WrittenRun) -> None:
        """Have the network know a run's codes by the words of the present step.

        What it knows is read at once or, after a checkpoint of an exact run, code by code from
        where it first was: only the same operations give the same digits.
        """
        heard = sum(steer.step <= run.step for steer in run.recipe.steers)
        if run.memory is not None and run.heard == heard:
            return
        network = self._models[run.recipe.model].network
        side = network.config.side
        rows = run.rows
        if self._is_exact(run):
            rows = run.rows_after(run.recipe.steers[heard - 1].step if heard else 0)
        logits, memory = network.prefill(run.texts[heard], run.codes[: rows * side])
        if rows < run.rows:
            batch = Memory.stack([memory])
            for at in range(rows * side, run.rows * side):
                place = torch.tensor([at], device=self._device)
                logits = network.feed(run.codes[at, None], place, batch)[0]
            memory = batch.row(0)
        run.logits, run.memory, run.heard = logits, memory, heard

    def _write_row(self, runs: Sequence[WrittenRun]) -> None:
        """Choose the codes of each run's next row. Only whole rows change a run."""
        network = self._models[runs[0].recipe.model].network
        side, codes = network.config.side, network.config.codes
        memory = Memory.stack([run.memory for run in runs if run.memory is not None])
        logits = torch.stack([run.logits for run in runs if run.logits is not None])
        noise = send(torch.stack([run.chance(codes) for run in runs]), self._device)
        manner = {
            name: send(torch.tensor([run.settings[name] for run in runs]), self._device)
            for name in ("temperature", "top_k", "top_p")
        }
        starts = send([run.rows * side for run in runs], self._device, torch.int64)
        there, is_given = (
            torch.stack(each) for each in zip(*(run.next_row() for run in runs), strict=True)
        )
        written: list[Tensor] = []
        surprise = torch.zeros(len(runs), device=self._device)
        sound = torch.ones(len(runs), dtype=torch.bool, device=self._device)
        for column in range(side):
            sound &= logits.isfinite().all(dim=1)
            free = ~is_given[:, column]
            chosen = choose(logits, noise[:, column], **manner)
            written.append(torch.where(free, chosen, there[:, column]))
            surprise += free * F.cross_entropy(logits, written[-1], reduction="none")
            logits = network.feed(written[-1], starts + column, memory)
        rows = torch.stack(written, dim=1)
        free_codes = (~is_given).sum(dim=1).to(surprise.dtype)
        told = torch.stack([surprise, free_codes, sound.to(surprise.dtype)]).tolist()
        every = zip(runs, rows, *told, strict=True)
        for nth, (run, row, nats, count, is_sound) in enumerate(every):
            if not is_sound:
                run.error = EngineError(
                    f"The picture fell apart at row {run.rows}: it is not made of numbers any "
                    "more. Try another seed."
                )
                continue
            run.codes[run.rows * side : (run.rows + 1) * side] = row
            run.surprise, run.chosen = run.surprise + nats, run.chosen + int(count)
            run.memory, run.logits = memory.row(nth), logits[nth].clone()
            run.rows += 1

    # --- smaller parts ---------------------------------------------------------------------

    def _given(self, writer: Writer, job: Job, keep: str) -> Given | None:
        if job.init is None:
            if job.mask is not None:
                raise EngineError("A mask says where a picture is redrawn. Give that picture, too.")
            return None
        side, recipe = writer.side, job.recipe
        picture = decode_picture(job.init, recipe.width, recipe.height).to(self._device)
        with deterministic_kernels(self._exact or recipe.exact):
            codes = writer.vqgan.indices(picture[None] * 2 - 1)[0].flatten()
        if job.mask is not None:
            mask = decode_mask(job.mask, recipe.width, recipe.height, job.init).to(self._device)
            # A code is redrawn if any of its pixels is.
            hole = F.max_pool2d(mask, writer.vqgan.config.factor)[0] >= 0.5
            return Given(codes, ~hole.flatten(), picture, mask)
        strength = max(0.0, min(1.0, recipe.strength))
        count = min(side - 1, round((1 - strength) * side))
        kept = torch.zeros(side, side, dtype=torch.bool, device=self._device)
        part = slice(count) if keep in ("top", "left") else slice(side - count, side)
        kept[(part, slice(None)) if keep in ("top", "bottom") else (slice(None), part)] = True
        return Given(codes, kept.flatten(), picture)

    def _drawn(self, run: WrittenRun) -> Tensor:
        """Return the picture [3, h, w] in 0..1 of the rows that stand, and what else is known."""
        writer = self._models[run.recipe.model]
        side, factor = writer.side, writer.vqgan.config.factor
        shown = torch.full((3, run.recipe.height, run.recipe.width), _GREY, device=self._device)
        given = run.given
        if given is not None:
            kept = given.kept.view(side, side).repeat_interleave(factor, 0)
            shown = torch.where(kept.repeat_interleave(factor, 1), given.picture, shown)
        if run.rows:
            latents = writer.vqgan.lookup(run.codes[: run.rows * side].view(1, run.rows, side))
            above = writer.vqgan.decode(latents)[0] / 2 + 0.5
            shown[:, : run.rows * factor] = above.clamp(0, 1)
        if given is not None and given.mask is not None:
            shown = given.mask * shown + (1 - given.mask) * given.picture
        return shown

    def _score(self, run: WrittenRun) -> float | None:
        judge = self._models[run.recipe.model].judge
        return None if judge is None else score(judge, run.recipe, self._drawn(run))

    def _resume(self, run: WrittenRun, checkpoint: bytes) -> None:
        saved, fields = unpack(checkpoint, **identity(_FORMAT, _VERSION, run.recipe))
        state = restore(saved, run.state())
        config = self._models[run.recipe.model].network.config
        rows, chosen = int(state["rows"]), int(state["chosen"])
        codes = state["codes"]
        if not (
            run.first <= rows <= config.side
            and 0 <= chosen <= len(codes)
            and 0 <= int(codes.min()) <= int(codes.max()) < config.codes
        ):
            raise BadCheckpointError("The saved state of this dream is damaged.")
        run.codes, run.rows = codes, rows
        run.surprise, run.chosen = float(state["surprise"]), chosen
        run.step = saved_step(fields)
