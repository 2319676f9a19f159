"""Weight sharing: the largest network of a space holds the weights of all other networks.

A smaller network takes the leading channels of every weight, the first blocks of every stage, and the centre of every
depthwise kernel, transformed by a small matrix that is learned for each size (Once-for-All, arXiv 1908.09791). Its
weights are found by name and shape, so any space can be used whose smaller networks have the same names. Nothing is
copied in training: gradients flow through the slices.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from eetool.errors import UsageError
from eetool.model.module_state import load_state

_SEPARATOR = "/"  # a parameter's name cannot contain a dot


class Supernet(nn.Module):
    """The largest network, and the matrices from each depthwise kernel larger than 3×3 to the smaller sizes."""

    def __init__(self, largest: nn.Module) -> None:
        super().__init__()
        self.network = largest
        self.steps = nn.ParameterDict()
        for name, module in largest.named_modules():
            if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
                for size in range(module.kernel_size[0] - 2, 1, -2):
                    self.steps[_step(f"{name}.weight", size)] = nn.Parameter(torch.eye(size * size))

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) to logits (N, classes) of the largest network."""
        logits: Tensor = self.network(x)
        return logits

    def run(self, candidate: nn.Module, x: Tensor) -> Tensor:
        """Return the logits (N, classes) of `candidate` with shared weights; gradients reach the supernet.

        Only the shapes of the candidate's own tensors are used, so it may be on the meta device.
        """
        logits: Tensor = torch.func.functional_call(candidate, self.shared_tensors(candidate.state_dict()), (x,))
        return logits

    @torch.no_grad()
    def copy_weights_to(self, candidate: nn.Module) -> None:
        """Copy the shared weights into `candidate`."""
        shared = self.shared_tensors(candidate.state_dict())
        load_state(candidate, {name: tensor.clone() for name, tensor in shared.items()})

    def shared_tensors(self, wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return, for every tensor of `wanted`, the part of the supernet's tensor that has its shape.

        Raises:
            UsageError: the supernet has no such tensor, or a smaller one.
        """
        own = self.network.state_dict(keep_vars=True)
        return {name: self._part(name, own.get(name), tuple(tensor.shape)) for name, tensor in wanted.items()}

    def _part(self, name: str, weight: Tensor | None, shape: tuple[int, ...]) -> Tensor:
        if weight is None or weight.ndim != len(shape) or any(a < b for a, b in zip(weight.shape, shape, strict=True)):
            available = "has none" if weight is None else f"has {tuple(weight.shape)}"
            raise UsageError(
                f"a network of the space needs the weight {name} {shape}, and the largest {available}",
                "The last choice of every gene must give a network that holds all others.",
            )
        if len(shape) == 4:
            weight = self._kernel(name, weight[: shape[0], : shape[1]], shape[2])
        return weight[tuple(slice(0, size) for size in shape)]

    def _kernel(self, name: str, weight: Tensor, size: int) -> Tensor:
        """Reduce a kernel (O, I, K, K) to (O, I, size, size): its centre, two rows and columns fewer per step."""
        while weight.shape[2] > size:
            weight = weight[:, :, 1:-1, 1:-1]
            step = _step(name, weight.shape[2])
            if step in self.steps:
                flat = functional.linear(weight.flatten(2), self.steps[step])  # (O, I, k, k) -> (O, I, k²)
                weight = flat.reshape(weight.shape)
        return weight


def _step(name: str, size: int) -> str:
    return f"{name.replace('.', _SEPARATOR)}{_SEPARATOR}{size}"


@torch.no_grad()
def recalibrate_batch_norm(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Recompute the statistics of batch normalisations as means over `batches` (N, C, H, W); set eval mode.

    The statistics of a supernet belong to other networks, so a candidate's accuracy is meaningless without this.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative mean
    network.train()
    for batch in batches:
        network(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()
