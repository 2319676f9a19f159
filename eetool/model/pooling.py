"""Pooling of a transformer: its exits pool tokens in the way that its own classifier does."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from eetool.model.early_exit import capture_outputs
from eetool.model.layouts import TOKENS, to_canonical
from eetool.model.taps import TapCost

_MAX_READ = 2  # a distillation token may follow the class token


def reads_first_token(backbone: nn.Module, inputs: tuple[Tensor, ...], taps: Sequence[TapCost]) -> bool:
    """Return True where the classifier reads the first token and not all tokens.

    The gradient of the logits at the deepest tap with tokens is zero for tokens that are not read. The result is False
    for a mean over tokens, and for the last token of a causal model.
    """
    tokens = [(tap.name, tap.layout) for tap in taps if tap.layout in TOKENS]
    if not tokens:
        return False
    deepest, layout = tokens[-1]
    with torch.enable_grad(), capture_outputs(backbone, (deepest,)) as features:
        logits = backbone(*inputs)
    if not features[deepest].requires_grad:
        return False
    (gradient,) = torch.autograd.grad(logits.sum(), features[deepest])
    read = gradient.abs().permute(to_canonical(layout)).amax((0, 2)) > 0  # (N, T, D) -> (T,)
    return bool(read[0]) and int(read.sum()) <= _MAX_READ < len(read)
