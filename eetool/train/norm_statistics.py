"""Statistics of batch normalisations that a file has folded into convolutions.

Such a normalisation is an identity with a bias. In evaluation nothing is lost. A training step normalises by the
statistics of its batch, and would change every layer at once. With the statistics of training images, and weights that
undo them, both modes agree.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from eetool.data.rows import rows_per_pass
from eetool.train.training_examples import TrainingExamples

_IMAGES = 256


def estimate_norm_statistics(backbone: nn.Module, names: Sequence[str], examples: TrainingExamples) -> None:
    """Give normalisations the mean and variance of their inputs, and weights and biases with the same output.

    Args:
        backbone: the network, changed in place; its output in evaluation mode stays the same.
        names: normalisations (`nn.BatchNorm2d`) that are identities with a bias.
        examples: training examples, some of which are used.
    """
    norms = {name: backbone.get_submodule(name) for name in names}
    sums = {name: torch.zeros(3, 1, dtype=torch.float64) for name in names}  # count, sum, sum of squares

    def hook_for(name: str) -> Any:
        def hook(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            x = arguments[0].double().transpose(0, 1).flatten(1)  # (N, C, H, W) -> (C, values)
            count = torch.full((len(x),), x.shape[1], dtype=torch.float64)
            sums[name] = sums[name] + torch.stack((count, x.sum(1), x.square().sum(1)))

        return hook

    handles = [module.register_forward_pre_hook(hook_for(name)) for name, module in norms.items()]
    try:
        _run(backbone, examples)
    finally:
        for handle in handles:
            handle.remove()
    with torch.no_grad():
        for name, module in norms.items():
            assert isinstance(module, nn.BatchNorm2d)
            count, total, squares = sums[name]
            mean = total / count
            _set_statistics(module, mean, (squares / count - mean.square()).clamp_min(0))


def _run(backbone: nn.Module, examples: TrainingExamples) -> None:
    backbone.eval()
    chosen = torch.from_numpy(np.unique(np.linspace(0, len(examples.labels) - 1, _IMAGES).astype(np.int64)))
    step = rows_per_pass(examples.images.shape[1:])
    with torch.no_grad():
        for part in torch.split(chosen, step):
            backbone(examples.normalise(examples.images.index_select(0, part)))


def _set_statistics(module: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    """Set statistics; what the module did to its inputs stays the same."""
    assert module.running_mean is not None
    assert module.running_var is not None
    factor = module.weight / (module.running_var + module.eps).sqrt()
    bias = module.bias - factor * module.running_mean
    module.running_mean.copy_(mean)
    module.running_var.copy_(variance)
    module.weight.copy_(factor * (module.running_var + module.eps).sqrt())
    module.bias.copy_(bias + factor * module.running_mean)
