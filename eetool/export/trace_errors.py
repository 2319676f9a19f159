"""Errors of networks that cannot be traced: the module at fault, its line of code, and a remedy."""

from torch import nn

from eetool.errors import ArtefactError
from eetool.model.user_code import error_place

_VALUES = ("data-dependent", "DataDependent", "GuardOnDataDependent", "unbacked", ".item()", "aten._local_scalar_dense")
_BRANCH = (
    "It decides on values of a tensor (`if`, `while`, .item(), a size made of values): compute both ways and choose "
    "with torch.where, or move the decision out of forward."
)
_BATCH = "It fixes the batch size: use x.shape[0] and not a number, and no Python loop over the batch."
_OTHER = "Its forward must consist of torch operations, work at any batch size, and branch on no values of its inputs."


def trace_error(net: nn.Module, error: Exception) -> ArtefactError:
    """Return the error that torch.export raised on `net` in terms of the user's own code."""
    reason = _first_line(error)
    text = f"{type(error).__name__} {error}"
    if any(sign in text for sign in _VALUES):
        hint = _BRANCH
    elif "batch" in text and ("specialized" in text or "Constraints violated" in text):
        hint = _BATCH
    else:
        hint = _OTHER
    return ArtefactError(f"torch.export cannot trace this network{error_place(error, net)}: {reason}", hint)


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[0].strip() if lines else type(error).__name__
