"""Thumbnails of inputs, from the data source that the bench names."""

import base64
import io
from collections.abc import Iterable

import numpy as np

from eetool.bench.compare import Bench
from eetool.bench.exits import Example
from eetool.data.sources import load_source
from eetool.errors import ArtefactError

_LARGEST = 64  # pixels of a side; more is more page than picture


def thumbnails(name: str, bench: Bench) -> dict[int, str]:
    """PNG data URLs of every example that the bench names, by its index in the source called `name`.

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
    return {e.index: _png(source.images[e.index]) for e in found}


def _examples(bench: Bench) -> Iterable[Example]:
    for e in bench.exits:
        yield from (*e.easiest, *e.hardest)


def _png(pixels: np.ndarray) -> str:
    """uint8 (C, H, W) to a data URL, shrunk where it is large."""
    from PIL import Image

    channels = pixels.transpose(1, 2, 0)  # (C, H, W) -> (H, W, C)
    image = Image.fromarray(channels[:, :, 0] if channels.shape[2] == 1 else channels[:, :, :3])
    image.thumbnail((_LARGEST, _LARGEST))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
