"""Search for the built-in network that a file of weights fits."""

from functools import cache
from typing import Any

import torch

from eetool.model.backbones import names
from eetool.model.backbones.registry import build_backbone
from eetool.model.needed_tensors import NeededTensors, needed_tensors
from eetool.model.weight_names import find_states
from eetool.model.weight_values import COUNTER

_SIDES = (224, 32)  # the stem of some networks depends on the size of images
_CLASSES = 1009  # of the networks that are compared: a number that no other size of a tensor has
_FEWEST = 30  # tensors; the smallest built-in network for images has more
_MORE = ("mobilenetv1-0.75", *(f"imagenet-resnet{depth}" for depth in (34, 101, 152)))


def find_built_in(stored: Any) -> str | None:
    """Return the first built-in network for images that has all tensors of a file, with any number of classes.

    Args:
        stored: nested dictionaries with tensors.
    """
    if sum(len(state.tensors) for state in find_states(stored, lambda name: False)) < _FEWEST:
        return None
    return next((name for name, needed in _candidates() if _fits(stored, needed)), None)


@cache
def _candidates() -> tuple[tuple[str, NeededTensors], ...]:
    """Return the networks with the shapes of their tensors, which have no values."""
    found = []
    for name in (*names.NAMES, *_MORE):
        for side in _SIDES:
            with torch.device("meta"):
                backbone = build_backbone(name, (1, 3, side, side), _CLASSES)
            found.append((name, needed_tensors(backbone, _CLASSES)))
    return tuple(found)


def _fits(stored: Any, needed: NeededTensors) -> bool:
    for state in find_states(stored, needed.is_known):
        for tensors in (state.tensors, *(p.translate(state.tensors, needed.tensors) for p in needed.published)):
            names_here = {name for name in tensors if not name.endswith(COUNTER)}
            expected = {name: x for name, x in needed.tensors.items() if not name.endswith(COUNTER)}
            if names_here == expected.keys() and all(_same(tensors[n], x) for n, x in expected.items()):
                return True
    return False


def _same(stored: torch.Tensor, expected: torch.Tensor) -> bool:
    shape, other = tuple(stored.shape), tuple(expected.shape)
    return shape == other or (other[:1] == (_CLASSES,) and shape[1:] == other[1:])
