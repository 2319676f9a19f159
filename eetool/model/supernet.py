"""Weight sharing: the largest network of a space holds the weights of all others.

A smaller network takes the leading channels of every weight, the first blocks of every stage, and the middle of every
depthwise kernel, passed through a small matrix that is learned for each size (Once-for-All, arXiv 1908.09791). It is
found by the names and shapes of its own weights, so that any network can share whose smaller relatives have the same
names. Nothing is copied while training: gradients go through the slices.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from eetool.errors import UsageError

_SEPARATOR = "/"  # a dot cannot be part of a parameter's name


class Supernet(nn.Module):
    """The largest network, and for each of its depthwise kernels larger than 3×3 the matrices to the smaller sizes."""

    def __init__(self, largest: nn.Module) -> None:
        super().__init__()
        self.network = largest
        self.steps = nn.ParameterDict()
        for name, module in largest.named_modules():
            if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
                for size in range(module.kernel_size[0] - 2, 1, -2):
                    self.steps[_step(f"{name}.weight", size)] = nn.Parameter(torch.eye(size * size))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> logits (N, classes) of the largest network."""
        logits: Tensor = self.network(x)
        return logits

    def run(self, candidate: nn.Module, x: Tensor) -> Tensor:
        """Logits (N, classes) of `candidate` with shared weights; gradients reach the supernet.

        The candidate's own tensors are not looked at, but for their shapes; it may be on the meta device.
        """
        logits: Tensor = torch.func.functional_call(candidate, self.tensors(candidate.state_dict()), (x,))
        return logits

    @torch.no_grad()
    def hand_down(self, candidate: nn.Module) -> None:
        """Copy the shared weights into `candidate`."""
        shared = self.tensors(candidate.state_dict())
        candidate.load_state_dict({name: tensor.clone() for name, tensor in shared.items()})

    def tensors(self, wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """For every tensor of `wanted`, by name, the part of the supernet's that has its shape.

        Raises:
            UsageError: there is no such tensor, or it is smaller.
        """
        held = self.network.state_dict(keep_vars=True)
        return {name: self._part(name, held.get(name), tuple(tensor.shape)) for name, tensor in wanted.items()}

    def _part(self, name: str, held: Tensor | None, shape: tuple[int, ...]) -> Tensor:
        if held is None or held.ndim != len(shape) or any(a < b for a, b in zip(held.shape, shape, strict=True)):
            found = "has none" if held is None else f"has {tuple(held.shape)}"
            raise UsageError(
                f"a network of the space needs the weight {name} {shape}, and the largest {found}",
                "The last choice of every gene must give a network that holds all others.",
            )
        if len(shape) == 4:
            held = self._kernel(name, held[: shape[0], : shape[1]], shape[2])
        return held[tuple(slice(0, size) for size in shape)]

    def _kernel(self, name: str, weight: Tensor, size: int) -> Tensor:
        """(O, I, K, K) -> (O, I, size, size): the middle, two rows and columns fewer at a time."""
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
def recalibrate(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Statistics of batch normalisations from scratch, as plain means over `batches` (N, C, H, W); then eval mode.

    Those of the supernet are of other networks: without this a candidate's accuracy says nothing.
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
