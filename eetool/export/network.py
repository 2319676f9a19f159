"""The networks that are exported: the early-exit net with its confidences, and the references beside it."""

import torch
from torch import Tensor, nn

from eetool.model.early_exit import EarlyExitNet

LOGITS = "logits"


def exit_outputs(index: int) -> tuple[str, str]:
    """Names of an exit's outputs: its logits (N, classes) and its confidence (N,)."""
    return f"exit{index}_logits", f"exit{index}_confidence"


def exit_temperature(index: int) -> str:
    """Name of an exit's temperature, a float32 scalar that the runtime binds from the manifest."""
    return f"exit{index}_temperature"


class Scored(nn.Module):
    """An early-exit net that also computes each exit's confidence, so that a runtime compares two floats and no more.

    The temperature is an input and not a weight, so that `tune` can refit a bundle without exporting it again.
    """

    def __init__(self, net: EarlyExitNet) -> None:
        super().__init__()
        self.net = net
        self.n_exits = len(net.taps) + 1

    def forward(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        """(inputs …, one temperature per exit) -> (logits, confidence) of exit 0, of exit 1, …"""
        inputs, temperatures = arguments[: -self.n_exits], arguments[-self.n_exits :]
        outputs: list[Tensor] = []
        for logits, temperature in zip(self.net(*inputs), temperatures, strict=True):
            outputs += [logits, torch.softmax(logits / temperature, 1).amax(1)]  # (N, classes) -> (N,)
        return tuple(outputs)
