"""Errors of networks that cannot be traced: the module at fault, its line of code, and a remedy."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from torch import nn
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from eetool.errors import ArtefactError
from eetool.model.code_place import module_names, place_of, running_frames
from eetool.model.user_code import error_place

_VALUES = ("data-dependent", "DataDependent", "GuardOnDataDependent", "unbacked", ".item()", "aten._local_scalar_dense")
_BRANCH = (
    "It decides on values of a tensor (`if`, `while`, .item(), a size made of values): compute both ways and choose "
    "with torch.where, or move the decision out of forward."
)
_BATCH = (
    "It fixes the batch size: use x.shape[0] and not len(x) or a number, no Python loop over the batch, and another "
    "operator where one, such as torch.cdist, does so."
)
_OTHER = "Its forward must consist of torch operations, work at any batch size, and branch on no values of its inputs."


def trace_error(net: nn.Module, error: Exception, fixed: Sequence[str] = ()) -> ArtefactError:
    """Return the error that torch.export raised on `net` in terms of the user's own code.

    Args:
        net: the network.
        error: what torch.export raised.
        fixed: the places of `places_of_fixed_sizes`.
    """
    reason, place = _first_line(error), error_place(error, net)
    text = f"{type(error).__name__} {error}"
    if any(sign in text for sign in _VALUES):
        hint = _BRANCH
    elif "batch" in text and ("specialized" in text or "Constraints violated" in text):
        hint = _BATCH
        reason, place = "its batch size becomes a constant", place or next(iter(fixed), "")
    else:
        hint = _OTHER
    return ArtefactError(f"torch.export cannot trace this network{place}: {reason}", hint)


@contextmanager
def places_of_fixed_sizes(net: nn.Module) -> Iterator[list[str]]:
    """Collect the places where code of `net` decides on a free size while it is traced; torch's error names none."""
    places: list[str] = []
    names = module_names(net)
    check = getattr(ShapeEnv, "_check_frozen", None)  # called with every decision; no public function is

    def record(*arguments: Any) -> None:
        place = place_of(names, running_frames())
        if place.startswith(" in "):  # else no module runs
            places.append(place)
        if check is not None:
            check(*arguments)

    with patch.object(ShapeEnv, "_check_frozen", record, create=True):
        yield places


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[0].strip() if lines else type(error).__name__
