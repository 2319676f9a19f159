"""The networks that are exported: the early-exit net with its confidences, and the references beside it."""

from torch import Tensor, nn

from eetool.model.early_exit import EarlyExitNet
from eetool.model.scores import MAX_SOFTMAX, confidence

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

    def __init__(self, net: EarlyExitNet, score: str = MAX_SOFTMAX) -> None:
        super().__init__()
        self.score = score
        self.net = net
        self.n_exits = len(net.taps) + 1

    def forward(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        """(inputs …, one temperature per exit) -> (logits, confidence) of exit 0, of exit 1, …"""
        inputs, temperatures = arguments[: -self.n_exits], arguments[-self.n_exits :]
        outputs: list[Tensor] = []
        logits, learned = self.net.answers(*inputs)
        for i, (temperature, own) in enumerate(zip(temperatures, learned, strict=True)):
            sure = confidence(self.score, logits[: i + 1], temperature, self.n_exits - 1, own)
            outputs += [logits[i], sure]  # (N, classes), (N,)
        return tuple(outputs)
