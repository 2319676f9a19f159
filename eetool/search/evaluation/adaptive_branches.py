"""Branches made by NACHOS' rule instead of genes; its own method, EDANAS and spaces with such a choice use them."""

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
    backbone: nn.Module, inputs: tuple[Input, ...], taps: tuple[str, ...], layouts: tuple[str, ...], classes: int
) -> tuple[str, ...]:
    """Return the adaptive branches of NACHOS (arXiv 2401.13330), one per tap, whose features have these layouts.

    A branch has three 3×3 convolutions to 32, 64 and 128 channels behind max-pooling. The pooling is as small as
    possible, and up to 4×4, such that leaving at this exit costs less than leaving at the next.
    """
    if not taps:
        return ()
    example = example_inputs(inputs)
    backbone.eval()
    macs_to_tap = [tap.macs for tap in measure_taps(backbone, example, taps)]
    with torch.no_grad(), capture_outputs(backbone, taps) as features:
        backbone(*example)
    following = count_macs(backbone, example)
    branches: list[str] = []
    for tap, layout, before in reversed(list(zip(taps, layouts, macs_to_tap, strict=True))):
        text, cost = "", 0
        for pools in range(min(_MOST_POOLS, MAX_DEPTH - len(_LAYERS)) + 1):
            text = ",".join(("max2",) * pools + _LAYERS)
            branch = Branch(BranchSpec.parse(text), tuple(features[tap].shape), classes, layout=layout).eval()
            cost = before + count_macs(branch, (features[tap],))
            if cost < following:
                break
        branches.insert(0, text)
        following = cost
    return tuple(branches)
