"""Checks of arrays that are given as features: floats that a network reads as they are."""

import numpy as np

from eetool.errors import ArtefactError

_HINT = "Features are floats (N, D), (N, T, D) or (N, C, H, W); images are uint8 (N, C, H, W)."


def finished_features(where: str, array: np.ndarray) -> np.ndarray:
    """Return features as float32.

    Args:
        where: their place, for messages.
        array: array of any dtype and shape.

    Raises:
        ArtefactError: they are no floats of two to four dimensions, or one is not finite as float32.
    """
    if not np.issubdtype(array.dtype, np.floating) or array.ndim not in (2, 3, 4):
        form = "floats (N, D), (N, T, D) or (N, C, H, W)"
        hint = "Store features.astype(np.float32)." if array.dtype.kind in "biu" and array.ndim in (2, 3, 4) else _HINT
        raise ArtefactError(f"{where} are {array.dtype} {array.shape}, not {form}", hint)
    with np.errstate(over="ignore"):  # becomes infinite, which is refused
        features: np.ndarray = array.astype(np.float32)
    odd = np.flatnonzero(~np.isfinite(features).all(tuple(range(1, features.ndim))))
    if len(odd):
        raise ArtefactError(f"{where} of example {odd[0]} are not finite as float32", f"{len(odd)} examples are not.")
    return features
