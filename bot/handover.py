"""Hand dreams to the drawer with all that they need, and keep what it will need again.

A dream is handed to each scheduler process once, with its newest checkpoint and the steers that
no process has answered; which process that was is its `epoch`. This module does not know why a
dream is handed over, nor how it ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import msgspec

from bot.active import Active
from bot.checkpoints import Checkpoints, Kept, goes_on
from bot.disk import TROUBLE, DiskWatch
from bot.drawing import Drawer
from bot.library import Library
from bot.model import Dream, PendingSteer, Relation
from bot.quarantine import Quarantine
from bot.side_tasks import SideTasks
from bot.store import Store, dream_states
from bot.store import dreams as rows
from generation.protocol import Checkpoint, EngineInfo, Job

STOP_S = 5.0


class Handover:
    """Between the unfinished dreams and the drawer."""

    def __init__(
        self,
        store: Store,
        library: Library,
        drawer: Drawer,
        disk: DiskWatch,
        quarantine: Quarantine,
        checkpoints: Checkpoints,
    ) -> None:
        self._store = store
        self._library = library
        self._drawer = drawer
        self._disk = disk
        self._quarantine = quarantine
        self._checkpoints = checkpoints
        self._tasks = SideTasks()
        self._epoch = 0

    async def sweep(self, unfinished: Collection[str]) -> None:
        """Remove the checkpoints of all other dreams."""
        await self._library.run(self._checkpoints.sweep, frozenset(unfinished))

    async def stop(self) -> None:
        """Write down the checkpoints that have come, within reason."""
        await self._tasks.wait(STOP_S)
        await self._tasks.stop()

    def new_process(self) -> None:
        """From now on a scheduler process is meant that has no dream yet."""
        self._epoch += 1

    async def submit(self, active: Active) -> bool:
        """Hand a dream to the present process; return whether it was.

        It is not if there is none, if that has it already, and if the dream is ending.

        Raises:
            NotFoundError: a picture that it is drawn from is not in the library; an UnreadableError
                where it is damaged.
            OutOfReachError: it cannot be had at present.
        """
        async with active.submitting:
            if active.epoch == self._epoch or not self._wanted(active):
                return False
            checkpoint = None
            pictures = {
                sha256: await self._library.read(sha256)
                for sha256 in active.dream.recipe.named_pictures
            }
            await self.saved(active)
            if active.resumable and not active.anew:
                checkpoint = await self._library.run(self._checkpoints.read, active.dream.id)
            if checkpoint is None and not active.anew:
                checkpoint = await self._of_parent(active.dream)
            # The drawer may have gone, and come back, while the files were read.
            if not self._wanted(active):
                return False
            active.epoch = self._epoch
            standing = self._quarantine.standing(active.dream)
            self._drawer.submit(
                Job(
                    id=active.dream.id,
                    recipe=active.dream.recipe,
                    stream=active.stream,
                    person=active.dream.person.id,
                    pictures=pictures,
                    checkpoint=None if checkpoint is None else checkpoint.data,
                    step=0 if checkpoint is None else checkpoint.step,
                    background=active.dream.background,
                    attempt=max(standing.attempt, int(standing.suspect)),
                    fell_at=standing.step if standing.suspect else 0,
                    gpu_s=active.dream.gpu_s,
                )
            )
            for steer in active.steers:
                self._drawer.steer(steer.dream_id, steer.prompt, steer.glide_steps)
        # With their pictures, hundreds of dreams would not fit into memory at once.
        await self._drawer.handed_over()
        return True

    def steer(self, active: Active, steer: PendingSteer) -> None:
        """Hand over a steer that has been kept: now, or after its dream."""
        active.steers.append(steer)
        if active.epoch == self._epoch and self._wanted(active):
            self._drawer.steer(steer.dream_id, steer.prompt, steer.glide_steps)

    def keep(self, active: Active, checkpoint: Checkpoint) -> None:
        """Write down a checkpoint, on the side; of several that come meanwhile, the last."""
        active.unsaved = checkpoint
        active.dream = msgspec.structs.replace(active.dream, gpu_s=checkpoint.gpu_s)
        active.resumable = True
        active.anew = False  # it has begun anew, and goes on from here
        if active.saving is None or active.saving.done():
            active.saving = self._tasks.spawn(self._save(active))

    async def saved(self, active: Active) -> None:
        """Wait until the checkpoint that came last is written down, or cannot be."""
        if active.saving is not None:
            await asyncio.wait([active.saving])

    async def clean(self, active: Active, *, done: bool = False) -> None:
        """Remove the checkpoint of a dream that has ended; of one that can go on, put it by."""
        await self.saved(active)
        recipe = active.dream.recipe
        engine = self._engine(recipe.engine)
        can_go_on = recipe.journey is None and (
            recipe.until_step is not None or (engine is not None and engine.continues)
        )
        if done and can_go_on:
            await self._library.run(self._checkpoints.put_by, active.dream.id)
        else:
            await self.forget(active.dream.id)

    async def forget(self, dream_id: str) -> None:
        """Remove all checkpoints of a dream."""
        await self._library.run(self._checkpoints.delete, dream_id)

    async def _of_parent(self, dream: Dream) -> Kept | None:
        """Return the checkpoint to go on from where the dream goes on with its parent."""
        if dream.relation is not Relation.CONTINUE or dream.parent_id is None:
            return None
        try:
            parent = await rows.by_id(self._store, dream.parent_id)
        except TROUBLE:
            return None  # drawn from its beginning it becomes the same picture
        engine = self._engine(dream.recipe.engine)
        if parent is None or not goes_on(parent.recipe, dream.recipe, engine):
            return None
        return await self._library.run(self._checkpoints.read_put_by, parent.id)

    def _engine(self, name: str) -> EngineInfo | None:
        return next((engine for engine in self._drawer.engines if engine.name == name), None)

    def _wanted(self, active: Active) -> bool:
        return self._drawer.up and not active.ending

    async def _save(self, active: Active) -> None:
        while (message := active.unsaved) is not None:
            active.unsaved = None
            try:
                await self._library.run(
                    self._checkpoints.write, active.dream.id, message.step, message.data
                )
                async with self._store.write() as connection:
                    await dream_states.set_step(
                        connection, active.dream.id, message.step, message.gpu_s
                    )
            except TROUBLE as error:
                self._disk.report(error)  # the checkpoint before it still stands
