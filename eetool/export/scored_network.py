"""The networks that are exported: the early-exit net with its confidences, and the references beside it."""

import torch
from torch import Tensor, nn

from eetool.model.checkpoint import Policy
from eetool.model.early_exit import EarlyExitNet
from eetool.model.gate_scores import MAX_SOFTMAX, confidence

LOGITS = "logits"


def exit_output_names(index: int) -> tuple[str, str]:
    """Names of an exit's outputs: its logits (N, classes) and its confidence (N,)."""
    return f"exit{index}_logits", f"exit{index}_confidence"


def temperature_name(index: int) -> str:
    """Name of an exit's temperature, a float32 scalar that the runtime binds from the manifest."""
    return f"exit{index}_temperature"


def platt_names(index: int) -> tuple[str, str]:
    """Names of an exit's slope and offset, two more such scalars where the policy has them."""
    return f"exit{index}_slope", f"exit{index}_offset"


def scalar_inputs(policy: Policy) -> dict[str, Tensor]:
    """What the exits read beside activations, in the order in which `ScoredNetwork` takes it: exit by exit."""
    found = {}
    for i, temperature in enumerate(policy.temperatures):
        found[temperature_name(i)] = temperature
        if policy.slopes:
            found.update(zip(platt_names(i), (policy.slopes[i], policy.offsets[i]), strict=True))
    return {name: torch.tensor(value, dtype=torch.float32) for name, value in found.items()}


class ScoredNetwork(nn.Module):
    """An early-exit net that also computes each exit's confidence, so that a runtime compares two floats and no more.

    The temperature is an input and not a weight, so that `tune` can refit a bundle without exporting it again; with
    `platt` so are a slope and an offset.
    """

    def __init__(self, net: EarlyExitNet, score: str = MAX_SOFTMAX, platt: bool = False) -> None:
        super().__init__()
        self.score = score
        self.scalars = 3 if platt else 1  # of each exit
        self.net = net
        self.n_exits = len(net.taps) + 1

    def forward(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        """(inputs …, the scalars of exit 0, of exit 1, …) -> (logits, confidence) of exit 0, of exit 1, …"""
        count = self.scalars * self.n_exits
        inputs, scalars = arguments[:-count], arguments[-count:]
        outputs: list[Tensor] = []
        logits, learned = self.net.answers(*inputs)
        for i, own in enumerate(learned):
            temperature, *rest = scalars[self.scalars * i : self.scalars * (i + 1)]
            platt = (rest[0], rest[1]) if rest else None
            sure = confidence(self.score, logits[: i + 1], temperature, self.n_exits - 1, own, platt)
            outputs += [logits[i], sure]  # (N, classes), (N,)
        return tuple(outputs)
