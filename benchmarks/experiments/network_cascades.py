"""Cascades of separate networks: low-confidence inputs go to the next network.

Every network reads the image anew, so no network has to change (big/little networks, Park et al., CODES+ISSS 2015; IDK
cascades, arXiv 1706.00885). An early exit is a linear classifier on the logits of one network. Train one with
`eetool train network_cascades:two --at logits.0 --branch linear --weights FILE`, where `join` wrote FILE. `three` has
three networks, `own` two of one family. In `together`, three of one family, each network adds half of the earlier
logits to its own. Separately trained networks make different errors, so the sum is more accurate (deep ensembles,
arXiv 1612.01474).
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from eetool.model.backbones.registry import build_backbone
from eetool.model.checkpoint import Checkpoint, load_checkpoint

LITTLE, MIDDLE, BIG = "resnet-16x0-32x1-64x1-128x1", "resnet20", "resnet56"
LARGER, LARGEST = "resnet-16x0-32x1-64x2s-128x2", "resnet-16x0-32x1-64x2s-128x1s-256x2"  # of the family of LITTLE
_SHAPE, CLASSES = (1, 3, 32, 32), 10


class NetworkCascade(nn.Module):
    """Networks in `front` of the last one, `big`; `logits` are the taps.

    Each network adds `earlier` times the logits before it to its own. `scales` and `shifts` convert the normalised
    pixels of `big` to those of each network in front.
    """

    scales: Tensor
    shifts: Tensor

    def __init__(self, front: Sequence[nn.Module], big: nn.Module, earlier: float = 0.0) -> None:
        super().__init__()
        self.front, self.big, self.earlier = nn.ModuleList(front), big, earlier
        self.logits = nn.ModuleList(nn.Identity() for _ in front)
        self.register_buffer("scales", torch.ones(len(front), 3, 1, 1))
        self.register_buffer("shifts", torch.zeros(len(front), 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (N, 10) of the last network, with the earlier ones added, for images (N, 3, 32, 32)."""
        summed = None
        for small, tap, scale, shift in zip(self.front, self.logits, self.scales, self.shifts, strict=True):
            summed = tap(self._add_earlier(small(x * scale + shift), summed))
        return self._add_earlier(self.big(x), summed)

    def _add_earlier(self, logits: Tensor, summed: Tensor | None) -> Tensor:
        return logits + self.earlier * summed if self.earlier and summed is not None else logits


def two() -> NetworkCascade:
    """Return a small network in front of ResNet-56, with fresh weights."""
    return _cascade(LITTLE, BIG)


def three() -> NetworkCascade:
    """Return `two` with ResNet-20 in between."""
    return _cascade(LITTLE, MIDDLE, BIG)


def own() -> NetworkCascade:
    """Return two networks of one family."""
    return _cascade(LITTLE, LARGER)


def together() -> NetworkCascade:
    """Return three networks of one family that add half of the earlier logits."""
    return _cascade(LITTLE, LARGER, LARGEST, earlier=0.5)


def _cascade(*names: str, earlier: float = 0.0) -> NetworkCascade:
    *small, large = (build_backbone(name, _SHAPE, CLASSES) for name in names)
    return NetworkCascade(small, large, earlier)


def join(make: Callable[[], NetworkCascade], front: Sequence[Path], big: Path, target: Path) -> None:
    """Write the weights of the cascade that `make` builds, from the model.pt of each network."""
    net, large = make(), load_checkpoint(big)
    net.big.load_state_dict(large.build().backbone.state_dict())
    big_mean, big_std = _statistics(large)
    for i, path in enumerate(front):
        small = load_checkpoint(path)
        net.front[i].load_state_dict(small.build().backbone.state_dict())
        mean, std = _statistics(small)
        net.scales[i].copy_(big_std / std)
        net.shifts[i].copy_((big_mean - mean) / std)
    save_file(net.state_dict(), target)


def _statistics(checkpoint: Checkpoint) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation, (3, 1, 1) each, that the network's pixels are normalised with."""
    rule = checkpoint.record.spec.inputs[0].preprocess
    assert rule is not None
    mean, std = (torch.tensor(values)[:, None, None] for values in (rule.mean, rule.std))
    return mean, std
