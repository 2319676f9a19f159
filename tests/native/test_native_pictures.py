"""Pictures of any size in the native runtime: the answers of the Python runtime, and the same refusals."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eetool_runtime import load
from eetool_runtime.errors import BundleError, InputError
from eetool_runtime.manifest import FITS
from tests.helpers.native_build import onnxruntime_library
from tests.helpers.native_runtime import Library
from tests.helpers.tiny_bundle import write_tiny_bundle

SIZES = [(8, 8), (9, 30), (31, 6), (3, 2), (1, 1), (1, 200), (200, 1), (57, 43), (4, 9)]


def with_rule(folder: Path, fit: str) -> Path:
    def edit(manifest: dict[str, Any]) -> None:
        manifest["inputs"][0]["preprocess"]["resize"] = {"fit": fit, "filter": "bilinear"}

    return write_tiny_bundle(folder, name=fit, edit=edit)


def picture(height: int, width: int, channels: int) -> np.ndarray:
    """Return a picture of smooth blocks, of which wrong proportions or places change the answer."""
    rng = np.random.default_rng(height * 1000 + width)
    blocks = rng.integers(0, 256, (4, 4, channels))
    rows, columns = np.arange(height) * 4 // height, np.arange(width) * 4 // width
    pixels: np.ndarray = blocks[rows][:, columns].astype(np.uint8)
    if channels in (2, 4):
        pixels[:, :, -1] = 255
    return pixels


@pytest.mark.parametrize("fit", FITS)
def test_pixels_of_any_size_give_the_answers_of_python(tmp_path: Path, native: Library, fit: str) -> None:
    path = with_rule(tmp_path, fit)
    python, model = load(path), native.load(path, engine=onnxruntime_library())
    python.use("full")
    model.use("full")
    for channels in (1, 2, 3, 4):
        for height, width in SIZES:
            raw = picture(height, width, channels)
            model.set_pixels(None, raw)
            x = python.preprocess(raw)
            expected = python(x).logits
            level = abs(python(x + np.float32(1 / 32)).logits - expected).max()  # of one level in all pixels
            assert abs(model.run().logits - expected).max() <= level + 1e-4, (raw.shape, fit)
    transparent = picture(8, 8, 4)
    transparent[3, 3, 3] = 254
    with pytest.raises(InputError, match="transparent pixels"):
        model.set_pixels(None, transparent)
    with pytest.raises(InputError, match=r"uint8 of any size, found uint8 \(8, 8, 5\)"):
        model.set_pixels(None, np.zeros((8, 8, 5), np.uint8))
    with pytest.raises(InputError, match="uint8 of any size"):
        model.set_pixels(None, np.zeros((0, 8, 3), np.uint8))


@pytest.mark.parametrize("rule", [{"fit": "zoom"}, {"filter": "box"}, {"size": 4}])
def test_rule_of_resizing_that_is_unknown_is_refused_by_both(
    tmp_path: Path, native: Library, rule: dict[str, Any]
) -> None:
    path = write_tiny_bundle(tmp_path, edit=lambda m: m["inputs"][0]["preprocess"].update(resize=rule))
    for read in (load, native.load):
        with pytest.raises(BundleError, match=r"preprocess\.resize\."):
            read(path)
