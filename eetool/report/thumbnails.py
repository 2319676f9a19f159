"""Previews of examples: thumbnails of images and features, and words of texts."""

import base64
import io
from collections.abc import Iterable

import numpy as np

from eetool.bench.benchmark import Bench, DataUsed
from eetool.bench.exit_metrics import ExampleAnswer
from eetool.data.image_form import DataChoice, ImageForm
from eetool.data.registry import load_source
from eetool.data.source import Source, check_classes
from eetool.errors import ArtefactError
from eetool_runtime.manifest import CROP
from eetool_runtime.preprocess import SPECIAL

_LARGEST = 64  # pixels of a side; larger images only enlarge the page
_MOST_CHARACTERS = 120
IMAGE = "data:image/png;base64,"


def example_previews(data: str | DataChoice, bench: Bench) -> dict[int, str]:
    """Return a PNG data URL or the words of every example in `bench`, by its index in the source `data`.

    Raises:
        ArtefactError: the source is not that of the benchmark, or lacks these examples.
    """
    source = load_source(data, form=_form(bench.data))
    if source.name != bench.data.source:
        raise ArtefactError(f"the benchmark is of {bench.data.source!r}, not of {source.name!r}")
    check_classes(source, bench.labels, "the benchmark")
    examples = list(_examples(bench))
    for e in examples:
        if e.index >= len(source.labels) or int(source.labels[e.index]) != e.label:
            raise ArtefactError(f"{source.name}: example {e.index} is not the one of the benchmark")
    return {e.index: _preview(source, source.inputs[e.index]) for e in examples}


def _form(data: DataUsed) -> ImageForm | None:
    """Return the form of the images that the benchmark ran on."""
    if data.shape is None:
        return None
    channels, height, width = data.shape
    return ImageForm(height, width, data.fit or CROP, channels, "the benchmark")


def _examples(bench: Bench) -> Iterable[ExampleAnswer]:
    for e in bench.exits:
        yield from (*e.easiest, *e.hardest)


def _preview(source: Source, example: np.ndarray) -> str:
    if source.vocabulary:
        return _words(source.vocabulary, example)
    if source.are_pixels:
        return _png(example)
    rows = example.reshape(example.shape[0] if example.ndim > 1 else 1, -1)  # (T, D) or (D,) -> (rows, columns)
    spread = float(np.ptp(rows)) or 1.0
    return _png(
        (255 * (rows.T - rows.min()) / spread).astype(np.uint8)[None, ::-1]
    )  # time to the right, high bands at the top


def _words(vocabulary: tuple[str, ...], ids: np.ndarray) -> str:
    """Return the words of a text, with … for each that is not in the vocabulary."""
    words = [vocabulary[i - SPECIAL] if i >= SPECIAL else "…" for i in ids.tolist() if i not in (0, 2)]
    text = " ".join(words)
    return text if len(text) <= _MOST_CHARACTERS else text[:_MOST_CHARACTERS] + " …"


def _png(pixels: np.ndarray) -> str:
    """Return pixels uint8 (C, H, W) as a data URL; large images are shrunk."""
    from PIL import Image

    channels = pixels.transpose(1, 2, 0)  # (C, H, W) -> (H, W, C)
    image = Image.fromarray(channels[:, :, 0] if channels.shape[2] == 1 else channels[:, :, :3])
    image.thumbnail((_LARGEST, _LARGEST))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return IMAGE + base64.b64encode(buffer.getvalue()).decode()
