"""Branches by a rule and not by genes, as NACHOS and EDANAS have them."""

import torch
from torch import nn

from eetool.model.branches import MAX_DEPTH, Branch, BranchSpec
from eetool.model.early_exit import capture_outputs
from eetool.model.macs import count_macs
from eetool.model.references.example_inputs import example_inputs
from eetool.model.taps import measure_taps
from eetool_runtime.manifest import Input

_LAYERS = ("conv3-32", "conv3-64", "conv3-128")
_MOST_POOLS = 2  # of size 2 each, as NACHOS' pooling goes up to 4


def adaptive_branches(
    backbone: nn.Module, inputs: tuple[Input, ...], taps: tuple[str, ...], classes: int
) -> tuple[str, ...]:
    """NACHOS' adaptive branches (arXiv 2401.13330): three 3×3 convolutions to 32, 64 and 128 channels behind as much
    max-pooling as it takes, up to 4×4, to make leaving at this exit cheaper than at the next.
    """
    if not taps:
        return ()
    example = example_inputs(inputs)
    backbone.eval()
    spent = [tap.macs for tap in measure_taps(backbone, example, taps)]
    with torch.no_grad(), capture_outputs(backbone, taps) as features:
        backbone(*example)
    following = count_macs(backbone, example)
    made: list[str] = []
    for tap, before in reversed(list(zip(taps, spent, strict=True))):
        text, cost = "", 0
        for pools in range(min(_MOST_POOLS, MAX_DEPTH - len(_LAYERS)) + 1):
            text = ",".join(("max2",) * pools + _LAYERS)
            branch = Branch(BranchSpec.parse(text), tuple(features[tap].shape), classes).eval()
            cost = before + count_macs(branch, (features[tap],))
            if cost < following:
                break
        made.insert(0, text)
        following = cost
    return tuple(made)
