"""Errors of networks that cannot be traced: the module at fault, its line of code, and a remedy."""

import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from torch import nn

from eetool.errors import ArtefactError

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
    return ArtefactError(f"torch.export cannot trace this network{_place(net, error)}: {reason}", hint)


def _place(net: nn.Module, error: BaseException) -> str:
    """Return ` in NAME (CLASS), file.py:12`, the innermost module of `net` whose forward was running."""
    names = {id(module): name for name, module in net.named_modules()}
    place = ""
    for frame, line in _frames(error):
        module = frame.f_locals.get("self")
        if isinstance(module, nn.Module) and names.get(id(module)) and _is_users(frame):
            name = names[id(module)].removeprefix("net.").removeprefix("backbone.")
            file = Path(frame.f_code.co_filename).name
            place = f" in {name} ({type(module).__name__}), {file}:{line}"
    return place


def _frames(error: BaseException | None) -> Iterator[tuple[FrameType, int]]:
    """Yield frames from the outermost inwards; those of an error come before those of its cause."""
    if error is None:
        return
    yield from traceback.walk_tb(error.__traceback__)
    yield from _frames(error.__cause__ or error.__context__)


def _is_users(frame: FrameType) -> bool:
    """Return whether the code is neither torch's own dispatch nor a wrapper of eetool."""
    module = str(frame.f_globals.get("__name__", ""))
    return not module.startswith(("torch.", "eetool.export.", "eetool.model.early_exit"))


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[0].strip() if lines else type(error).__name__
