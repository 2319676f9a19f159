"""Trial of a network before it is trained: what only a device would show after the whole run."""

from collections.abc import Callable, Sequence

from eetool.errors import UsageError
from eetool.model.checkpoint import Checkpoint
from eetool.model.early_exit import EarlyExitNet
from eetool.model.network_check.inference import find_fault
from eetool.model.references.reference_check import is_built_in

Trial = Callable[[Checkpoint], None]  # tries a network with initial weights, and raises what it finds
_LESS_OPERATORS = "tflm"  # the format of microcontrollers


def formats_to_try(backbone: str, formats: Sequence[str]) -> tuple[str, ...]:
    """Return those of `formats` that a network is tried in; eetool's own are known to convert to all but `tflm`."""
    return tuple(name for name in formats if name == _LESS_OPERATORS or not is_built_in(backbone))


def try_network(net: EarlyExitNet, start: Checkpoint, trial: Trial | None) -> None:
    """Try a network before it is trained; whether each input has one answer is known of eetool's own networks.

    Args:
        net: the network, which is left as it is.
        start: the same with its initial weights, and inputs to try it on.
        trial: a further trial, such as a conversion, which is not a matter of training.

    Raises:
        UsageError: an answer depends on more than its input; the message names the exit and the module.
        Exception: made by `trial`.
    """
    backbone = start.record.spec.backbone
    if not is_built_in(backbone):
        fault = find_fault(net, start.samples, fresh=True)
        if fault is not None:
            raise UsageError(f"{backbone}: {fault.reason}", fault.hint)
    if trial is not None:
        trial(start)
