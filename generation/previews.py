"""Pictures on their way out: encoded in threads of their own, at a bounded rate.

What a run tells the bot goes through one `Encoder` in order, so that a preview encoded slowly
never arrives after the finished picture. A film takes seconds to encode, so it has a thread to
itself: the previews of others do not wait for it.
"""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import msgspec
from PIL import Image

from generation.films import Film, wrap
from generation.protocol import Attachment, Checkpoint, Failed, Finished, Progress, Recipe, ToBot

_log = logging.getLogger(__name__)

_MAX_PENDING = 16


class Pace:
    """Says when something costly may be done again for a run.

    The first time at once if `eager`, else after `interval_s`; and then no more often than every
    `interval_s`, nor so often that it takes over a tenth of the time.
    """

    def __init__(self, interval_s: float, *, eager: bool) -> None:
        self._interval_s = interval_s
        self._eager = eager
        self._next: dict[str, float] = {}

    def due(self, job_id: str, now: float) -> bool:
        """Whether it may be done now."""
        if job_id not in self._next:
            self._next[job_id] = now if self._eager else now + self._interval_s
        return now >= self._next[job_id]

    def done(self, job_id: str, now: float, took_s: float) -> None:
        """Note that it was done, and what it cost."""
        self._next[job_id] = now + max(self._interval_s, 10 * took_s)

    def forget(self, job_id: str) -> None:
        """Forget a run."""
        self._next.pop(job_id, None)


class Encoder:
    """Encodes pictures in a thread and hands the messages that carry them to `emit`."""

    def __init__(self, emit: Callable[[ToBot], None], preview_px: int) -> None:
        self._emit = emit
        self._preview_px = preview_px
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="encoder")
        self._films = ThreadPoolExecutor(1, thread_name_prefix="films")
        self._lock = threading.Lock()
        self._pending = 0

    @property
    def behind(self) -> bool:
        """Whether so much waits to be encoded that a preview had better be left out."""
        return self._pending >= _MAX_PENDING

    def progress(self, progress: Progress, picture: Image.Image | None) -> None:
        """Send a run's progress, with a preview if there is one."""
        self._submit(self._send_progress, progress, picture)

    def frame(self, film: Film, step: int, picture: Image.Image) -> None:
        """Add a look of a run to its film."""
        self._submit(film.add, step, picture)

    def checkpoint(self, checkpoint: Checkpoint, film: Film) -> None:
        """Send a filmed run's checkpoint, with all frames that were handed in before."""
        self._submit(self._send_checkpoint, checkpoint, film)

    def finished(
        self,
        job_id: str,
        recipe: Recipe,
        score: float | None,
        picture: Image.Image,
        attachments: tuple[Attachment, ...] = (),
        film: Film | None = None,
    ) -> None:
        """Send a run's picture, with what was made besides, and its film."""
        self._submit(self._send_finished, job_id, recipe, score, picture, attachments, film)

    def flush(self) -> None:
        """Wait until all that was handed in has been sent, but for finished films."""
        self._thread.submit(lambda: None).result()

    def finish(self) -> None:
        """Wait until all that was handed in has been sent."""
        self.flush()
        self._films.submit(lambda: None).result()

    def _submit(self, send: Callable[..., None], *args: object) -> None:
        with self._lock:
            self._pending += 1
        self._thread.submit(self._run, send, args)

    def _run(self, send: Callable[..., None], args: tuple[object, ...]) -> None:
        try:
            _attempt(send, args)
        finally:
            with self._lock:
                self._pending -= 1

    def _send_progress(self, progress: Progress, picture: Image.Image | None) -> None:
        preview = None
        if picture is not None:
            try:
                preview = webp(picture, self._preview_px)
            except Exception:
                _log.exception("dream %s: its preview could not be encoded", progress.job_id)
        self._emit(
            Progress(
                job_id=progress.job_id,
                step=progress.step,
                steps=progress.steps,
                ends_in_s=progress.ends_in_s,
                preview=preview,
                loss=progress.loss,
            )
        )

    def _send_checkpoint(self, checkpoint: Checkpoint, film: Film) -> None:
        data = wrap(checkpoint.data, film)
        self._emit(Checkpoint(checkpoint.job_id, checkpoint.step, data))

    def _send_finished(
        self,
        job_id: str,
        recipe: Recipe,
        score: float | None,
        picture: Image.Image,
        attachments: tuple[Attachment, ...],
        film: Film | None,
    ) -> None:
        try:
            data = png(picture)
        except Exception as error:
            _log.exception("dream %s: its picture could not be encoded", job_id)
            reason = "The finished picture could not be encoded; the log has the details."
            self._emit(Failed(job_id=job_id, reason=reason, detail=repr(error), retry=True))
            return
        finished = Finished(
            job_id=job_id,
            recipe=recipe,
            png=data,
            gpu_s=0.0,
            score=score,
            attachments=attachments,
        )
        if film is None:
            self._emit(finished)
        else:  # all its frames were added before, by this thread
            self._films.submit(_attempt, self._send_filmed, (finished, film, picture))

    def _send_filmed(self, finished: Finished, film: Film, picture: Image.Image) -> None:
        filmed = _encoded(finished.job_id, film, finished.recipe.last_step, picture)
        attachments = finished.attachments + filmed
        self._emit(msgspec.structs.replace(finished, attachments=attachments))


def _attempt(send: Callable[..., None], args: tuple[object, ...]) -> None:
    try:
        send(*args)
    except Exception:
        _log.exception("a message could not be sent")


def _encoded(
    job_id: str, film: Film, last_step: int, picture: Image.Image
) -> tuple[Attachment, ...]:
    """Return the film, or nothing: the picture counts more."""
    try:
        encoded = film.encode(last_step, picture)
    except Exception:
        _log.exception("dream %s: its film could not be encoded", job_id)
        return ()
    if encoded is None:
        _log.warning("dream %s: its film is too large", job_id)
        return ()
    return (encoded,)


def webp(picture: Image.Image, longest_px: int) -> bytes:
    """Return a small WebP of the picture, no side longer than `longest_px`."""
    if max(picture.size) > longest_px:
        picture = picture.copy()
        picture.thumbnail((longest_px, longest_px), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "WEBP", quality=80, method=1)
    return buffer.getvalue()


def png(picture: Image.Image) -> bytes:
    """Return the picture as PNG without metadata."""
    buffer = io.BytesIO()
    clean = picture.convert("RGB")
    clean.info.clear()
    clean.save(buffer, "PNG")
    return buffer.getvalue()
