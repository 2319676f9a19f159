"""Code of the user: wherever it runs, its errors are told as its own, with the module and the line.

Networks and factories can raise anything, end the program, or break inside torch for a reason in their own code.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from eetool.errors import ArtefactError
from eetool.model.code_place import frames_of, is_users, module_names, place_of

_BUILT_IN = ("eetool.model.backbones.", "eetool.search.space.")
_NETWORKS_CODE = "This is code of the network, not of eetool; --verbose prints its traceback."
_OWN_CODE = "This is code of yours, not of eetool; --verbose prints its traceback."
_INFERENCE = (
    "Its forward makes tensors in torch.inference_mode, which training cannot use: remove it. Commands that only run "
    "the network switch gradients off themselves."
)
# Signs in a message, and the remedy.
_REMEDIES = (
    (r"[Ii]nference tensor", _INFERENCE),
    (
        r"in-?place operation",
        "A gradient needs the old values: in forward write x = x + 1 and not x += 1, and no inplace=True there.",
    ),
    (
        r"Expected more than 1 value per channel",
        "In training a batch normalisation cannot have one value alone: train with batches of 2 or more. In evaluation "
        "mode it has to use running statistics: training=self.training.",
    ),
    (
        r"(?i)bfloat16|half|double|float64|same dtype|scalar type",
        "eetool trains and exports float32 and converts all weights to it: cast to their dtype, as in "
        "x.to(self.weight.dtype), or not at all.",
    ),
    (r"(?i)\bdevice\b", "The network and all tensors that its forward makes must be on the device of its input."),
    (r"not enough memory|can't allocate memory|out of memory", "Give smaller inputs or batches, or a smaller network."),
)


@contextmanager
def user_code(what: str, network: nn.Module | None = None) -> Iterator[None]:
    """Tell an error of the user's code that runs inside the block as its own.

    Errors of eetool pass, and so do those of torch.export, which `eetool.export.trace_errors` explains.

    Args:
        what: its name at the beginning of the message.
        network: the network that runs, for the names of its modules.

    Raises:
        ArtefactError: anything that the code raises, `SystemExit` included.
    """
    try:
        yield
    except (Exception, SystemExit) as error:
        if is_ours(error) or torch.compiler.is_exporting():
            raise
        mode = " in train mode" if network is not None and network.training else ""
        reason = f"{what} fails{mode}{error_place(error, network)}: {describe(error)}"
        own_code = _OWN_CODE if network is None else _NETWORKS_CODE
        raise ArtefactError(reason, remedy(error) or own_code) from error


def is_ours(error: BaseException) -> bool:
    """Return whether eetool raised `error`, on purpose or by a fault in a built-in backbone."""
    if type(error).__module__.partition(".")[0] in ("eetool", "eetool_runtime"):
        return True
    frames = [frame for frame, _ in frames_of(error)]
    built_in = any(str(frame.f_globals.get("__name__", "")).startswith(_BUILT_IN) for frame in frames)
    return built_in and not any(map(is_users, frames))


def error_place(error: BaseException, network: nn.Module | None = None) -> str:
    """Return ` in NAME (CLASS), file.py:12` where `error` was raised; empty where no code of the user was running."""
    place = place_of({} if network is None else module_names(network), frames_of(error))
    return place if not place or place.startswith(" in ") else f" in {place}"


def describe(error: BaseException) -> str:
    """Return the type and the first line of the message."""
    if isinstance(error, SystemExit):
        return "it ends the program (SystemExit)"
    text = str(error).partition("Hint: enable anomaly detection")[0]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def remedy(error: BaseException) -> str | None:
    """Return the remedy for a reason that torch's messages show, or None."""
    if isinstance(error, ModuleNotFoundError):
        return "Install what it needs."
    if not isinstance(error, (RuntimeError, ValueError, TypeError)):
        return None
    return next((text for sign, text in _REMEDIES if re.search(sign, str(error))), None)
