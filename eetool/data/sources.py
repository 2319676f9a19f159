"""Where examples come from. A source is plain arrays, so that benches read it without torch."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from eetool.errors import UsageError

NAMES = ("digits",)


@dataclass(frozen=True)
class Source:
    """Labelled images.

    Attributes:
        images: uint8 (N, C, H, W).
        labels: int64 (N,), numbers of `classes`.
        mirror: whether a mirrored image keeps its label, so that training may flip it.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    mirror: bool


def load_source(name: str) -> Source:
    """The source called `name`; raises UsageError with the names there are."""
    if name == "digits":
        return _digits()
    raise UsageError(f"unknown data source {name!r}", f"Known sources: {', '.join(NAMES)}.")


def _digits() -> Source:
    """1,797 handwritten digits of 8×8 pixels and 17 grey levels (UCI, shipped with scikit-learn), brought to 32×32."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    grey = np.rint(images.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)  # (N, 64) -> (N, 8, 8)
    large = [np.asarray(Image.fromarray(g).resize((32, 32), Image.Resampling.BILINEAR)) for g in grey]
    return Source(
        name="digits",
        images=np.stack(large)[:, None],  # (N, 32, 32) -> (N, 1, 32, 32)
        labels=labels.astype(np.int64),
        classes=tuple(str(digit) for digit in range(10)),
        mirror=False,
    )
