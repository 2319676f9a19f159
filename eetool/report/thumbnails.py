"""Inputs as one can look at them: thumbnails of images and of features, the words of texts."""

import base64
import io
from collections.abc import Iterable

import numpy as np

from eetool.bench.benchmark import Bench
from eetool.bench.exit_metrics import ExampleAnswer
from eetool.data.registry import load_source
from eetool.data.source import Source
from eetool.errors import ArtefactError
from eetool_runtime.preprocess import SPECIAL

_LARGEST = 64  # pixels of a side; more is more page than picture
_MOST_CHARACTERS = 120
IMAGE = "data:image/png;base64,"


def example_previews(name: str, bench: Bench) -> dict[int, str]:
    """A PNG data URL or the words of every example that the bench names, by its index in the source called `name`.

    Raises:
        ArtefactError: the source is not the one that was benched, or does not have these examples.
    """
    source = load_source(name)
    if source.name != bench.data.source:
        raise ArtefactError(f"the bench is of {bench.data.source!r}, not of {source.name!r}")
    if source.classes != bench.labels:
        raise ArtefactError(f"{source.name}: has other classes than the bench")
    found = list(_examples(bench))
    for e in found:
        if e.index >= len(source.labels) or int(source.labels[e.index]) != e.label:
            raise ArtefactError(f"{source.name}: example {e.index} is not the one that was benched")
    return {e.index: _look(source, source.inputs[e.index]) for e in found}


def _examples(bench: Bench) -> Iterable[ExampleAnswer]:
    for e in bench.exits:
        yield from (*e.easiest, *e.hardest)


def _look(source: Source, example: np.ndarray) -> str:
    if source.vocabulary:
        return _words(source.vocabulary, example)
    if source.are_pixels:
        return _png(example)
    rows = example.reshape(example.shape[0] if example.ndim > 1 else 1, -1)  # (T, D) or (D,) -> (rows, columns)
    spread = float(np.ptp(rows)) or 1.0
    return _png(
        (255 * (rows.T - rows.min()) / spread).astype(np.uint8)[None, ::-1]
    )  # time to the right, high bands on top


def _words(vocabulary: tuple[str, ...], ids: np.ndarray) -> str:
    """Known words; … for each that is in no vocabulary."""
    words = [vocabulary[i - SPECIAL] if i >= SPECIAL else "…" for i in ids.tolist() if i not in (0, 2)]
    text = " ".join(words)
    return text if len(text) <= _MOST_CHARACTERS else text[:_MOST_CHARACTERS] + " …"


def _png(pixels: np.ndarray) -> str:
    """uint8 (C, H, W) to a data URL, shrunk where it is large."""
    from PIL import Image

    channels = pixels.transpose(1, 2, 0)  # (C, H, W) -> (H, W, C)
    image = Image.fromarray(channels[:, :, 0] if channels.shape[2] == 1 else channels[:, :, :3])
    image.thumbnail((_LARGEST, _LARGEST))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return IMAGE + base64.b64encode(buffer.getvalue()).decode()
