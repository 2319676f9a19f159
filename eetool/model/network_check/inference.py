"""Check of inference before training and at export: an input has one answer, whatever ran before or beside it."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from eetool.model.early_exit import EarlyExitNet
from eetool.model.network_check.network_copy import BatchSizeError, NetworkCopy, with_padded_row
from eetool.model.network_check.repeatability import find_changed_answer
from eetool.model.network_check.row_independence import find_mixed_rows

_ROWS = 3
_MIXED = (
    "Let forward work on each input by itself: no mean, norm, softmax or sort over dimension 0, and batch "
    "normalisation with running statistics in eval mode."
)
_CHANGED = (
    "Dropout and noise belong to training alone (`training=self.training`), and forward keeps nothing for the next "
    "call."
)
_ANY_BATCH = (
    "A device runs inputs one by one, and training in batches: use x.shape[0] and no number for the batch size."
)


@dataclass(frozen=True)
class Fault:
    """A fault of a network's inference, and the remedy."""

    reason: str
    hint: str


def find_fault(net: EarlyExitNet, samples: Mapping[str, Tensor], fresh: bool) -> Fault | None:
    """Run a copy of the network in eval mode, and return the first fault of its inference.

    The random numbers of the process are left as they were.

    Args:
        net: the network.
        samples: inputs (n, …) in its order. The first few of them are used.
        fresh: see `NetworkCopy`.
    """
    rows = {name: x[:_ROWS] for name, x in samples.items()}
    inputs = tuple((with_padded_row(rows) if fresh else rows).values())
    training = net.training
    try:
        with torch.random.fork_rng(devices=[]):
            return _find(NetworkCopy(net, inputs, fresh), inputs)
    except BatchSizeError as error:
        return Fault(str(error), _ANY_BATCH)
    finally:
        net.train(training)


def _find(network: NetworkCopy, inputs: tuple[Tensor, ...]) -> Fault | None:
    changed = find_changed_answer(network, inputs)
    if changed is not None:
        exit_name = _exit_name(network.net, changed.exit_index)
        return Fault(f"{exit_name} answers the same input differently again{_from(changed.place)}", _CHANGED)
    mixed = find_mixed_rows(network, inputs)
    if mixed is not None:
        exit_name = _exit_name(network.net, mixed.exit_index)
        return Fault(f"{exit_name} answers an input differently alone and in a batch{_from(mixed.place)}", _MIXED)
    return None


def _exit_name(net: EarlyExitNet, index: int) -> str:
    return f"exit {index}" if index < len(net.taps) else "the final exit"


def _from(place: str) -> str:
    return f": it begins at {place}" if place else ""
