"""`digits`: the handwritten digits that scikit-learn ships (UCI)."""

import numpy as np

from eetool.data.source import Source

_GREY_LEVELS = 16  # above 0
_SIDE = 32  # pixels


def read_digits() -> Source:
    """Return 1,797 handwritten digits of 8×8 pixels and 17 grey levels, resized to 32×32."""
    from PIL import Image
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    grey = np.rint(images.reshape(-1, 8, 8) * (255 / _GREY_LEVELS)).astype(np.uint8)  # (N, 64) -> (N, 8, 8)
    resized = [np.asarray(Image.fromarray(x).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)) for x in grey]
    return Source(
        name="digits",
        inputs=np.stack(resized)[:, None],  # (N, 32, 32) -> (N, 1, 32, 32)
        labels=labels.astype(np.int64),
        classes=tuple(str(digit) for digit in range(10)),
        mirror=False,
    )
