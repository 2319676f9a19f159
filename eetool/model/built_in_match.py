"""Search for the built-in network that a file of weights fits."""

from collections.abc import Iterator
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
    return next((name for name in (*names.NAMES, *_MORE) if _fits(stored, name)), None)


@cache
def needed_by(name: str, side: int) -> NeededTensors:
    """Return the tensors of a built-in network for images of `side` pixels; they have shapes and no values."""
    with torch.device("meta"):
        backbone = build_backbone(name, (1, 3, side, side), _CLASSES)
    return needed_tensors(backbone, _CLASSES)


def _fits(stored: Any, name: str) -> bool:
    for side in _SIDES:
        needed = needed_by(name, side)
        expected = {n: x for n, x in needed.tensors.items() if not n.endswith(COUNTER)}
        found = list(_named_as_needed(stored, needed))
        if any(x.keys() == expected.keys() and all(_same(x[n], expected[n]) for n in expected) for x in found):
            return True
        if not any(len(x.keys() & expected.keys()) > len(expected) / 2 for x in found):
            return False  # so the other size need not be built, which takes longer than all of this
    return False


def _named_as_needed(stored: Any, needed: NeededTensors) -> Iterator[dict[str, torch.Tensor]]:
    """Yield the tensors of every network in the file by the names of the built-in one, where they have some."""
    for state in find_states(stored, needed.is_known):
        for tensors in (state.tensors, *(p.translate(state.tensors, needed.tensors) for p in needed.published)):
            yield {name: x for name, x in tensors.items() if not name.endswith(COUNTER)}


def _same(stored: torch.Tensor, expected: torch.Tensor) -> bool:
    shape, other = tuple(stored.shape), tuple(expected.shape)
    return shape == other or (other[:1] == (_CLASSES,) and shape[1:] == other[1:])
