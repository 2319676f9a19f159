"""Which tokens a transformer classifies by: the exits on it pool as it does itself."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from eetool.model.early_exit import capture_outputs
from eetool.model.taps import TapCost

_FEW = 2  # a distillation token may stand beside the class token


def reads_first_token(backbone: nn.Module, inputs: tuple[Tensor, ...], taps: Sequence[TapCost]) -> bool:
    """Whether the classifier reads the first token and not all of them.

    Seen from the gradient of the logits at the deepest tap that gives tokens (N, T, D): it is zero where the classifier
    does not look. A mean over tokens, and the last token of a causal model, give no class token.
    """
    tokens = [tap for tap in taps if len(tap.shape) == 3]
    if not tokens:
        return False
    deepest = tokens[-1].name
    with torch.enable_grad(), capture_outputs(backbone, (deepest,)) as features:
        logits = backbone(*inputs)
    if not features[deepest].requires_grad:
        return False
    (gradient,) = torch.autograd.grad(logits.sum(), features[deepest])
    read = gradient.abs().amax((0, 2)) > 0  # (N, T, D) -> (T,)
    return bool(read[0]) and int(read.sum()) <= _FEW < len(read)
