"""Early-exit network with the confidence of every exit among its outputs: the network that is exported."""

import torch
from torch import Tensor, nn

from eetool.model.early_exit import EarlyExitNet
from eetool.model.gate_scores import LEARNED, MAX_SOFTMAX, gate_confidence
from eetool.model.spec import Policy
from eetool_runtime.manifest import OperatingPoint

LOGITS = "logits"


def exit_output_names(index: int) -> tuple[str, str]:
    """Return the names of an exit's outputs: its logits (N, classes) and its confidence (N,)."""
    return f"exit{index}_logits", f"exit{index}_confidence"


def temperature_name(index: int) -> str:
    """Return the name of an exit's temperature, a float32 scalar that the runtime binds from the manifest."""
    return f"exit{index}_temperature"


def platt_names(index: int) -> tuple[str, str]:
    """Return the names of an exit's slope and offset, two more such scalars where the policy has them."""
    return f"exit{index}_slope", f"exit{index}_offset"


def scalar_inputs(policy: Policy) -> dict[str, Tensor]:
    """Return the scalars that exits read, in the order of `ScoredNetwork`'s arguments: exit by exit."""
    scalars = {}
    for i, temperature in enumerate(policy.temperatures):
        scalars[temperature_name(i)] = temperature
        if policy.slopes:
            scalars.update(zip(platt_names(i), (policy.slopes[i], policy.offsets[i]), strict=True))
    return {name: torch.tensor(value, dtype=torch.float32) for name, value in scalars.items()}


def untuned_policy(n_exits: int, learned_confidence: bool = False) -> Policy:
    """Return the policy of a model that was never tuned: full depth."""
    score = LEARNED if learned_confidence else MAX_SOFTMAX
    return Policy(score, (1.0,) * n_exits, {"full": OperatingPoint((None,) * (n_exits - 1))}, 0.0)


class ScoredNetwork(nn.Module):
    """Early-exit network that also computes confidences, so that a runtime only compares two floats per gate.

    The temperature is an input and not a weight, so that `tune` can refit a bundle without a new export. With `platt`
    a slope and an offset are inputs as well.
    """

    def __init__(self, net: EarlyExitNet, score: str = MAX_SOFTMAX, platt: bool = False) -> None:
        super().__init__()
        self.score = score
        self.scalars = 3 if platt else 1  # of each exit
        self.net = net
        self.n_exits = len(net.taps) + 1

    def forward(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        """Return logits and confidence of every exit, in turn.

        Args:
            arguments: the model's inputs, then the scalars of exit 0, of exit 1, …
        """
        count = self.scalars * self.n_exits
        inputs, scalars = arguments[:-count], arguments[-count:]
        outputs: list[Tensor] = []
        logits, learned = self.net.forward_with_confidence(*inputs)
        for i, own in enumerate(learned):
            temperature, *rest = scalars[self.scalars * i : self.scalars * (i + 1)]
            platt = (rest[0], rest[1]) if rest else None
            exit_confidence = gate_confidence(self.score, logits[: i + 1], temperature, self.n_exits - 1, own, platt)
            outputs += [logits[i], exit_confidence]  # (N, classes), (N,)
        return tuple(outputs)
