"""Small networks in front of a large one that stays as it is: what each says alone is an early exit.

Every network reads the image anew, so nothing of any has to change (big/little networks, Park et al., CODES+ISSS 2015;
IDK cascades, arXiv 1706.00885). `eetool train in_front:two --at said.0 --branch linear --weights FILE`, with a FILE
that `join` wrote; `in_front:three` has one more, `in_front:own` two networks of one family. In `in_front:together`,
three of one family, each adds half of what those before it said: networks that were trained apart are wrong about
different images, and together they are right about more (deep ensembles, arXiv 1612.01474).
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


class InFront(nn.Module):
    """What is `said` with every network in `front` is tapped: its logits, and `earlier` times what was said before.

    `scales` and `shifts` make the pixels that they expect of those that `big` does.
    """

    scales: Tensor
    shifts: Tensor

    def __init__(self, front: Sequence[nn.Module], big: nn.Module, earlier: float = 0.0) -> None:
        super().__init__()
        self.front, self.big, self.earlier = nn.ModuleList(front), big, earlier
        self.said = nn.ModuleList(nn.Identity() for _ in front)
        self.register_buffer("scales", torch.ones(len(front), 3, 1, 1))
        self.register_buffer("shifts", torch.zeros(len(front), 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, 32, 32) -> logits (N, 10) of the large network, or of all together."""
        said = None
        for small, tap, scale, shift in zip(self.front, self.said, self.scales, self.shifts, strict=True):
            said = tap(self._with(small(x * scale + shift), said))
        return self._with(self.big(x), said)

    def _with(self, logits: Tensor, said: Tensor | None) -> Tensor:
        return logits + self.earlier * said if self.earlier and said is not None else logits


def two() -> InFront:
    """Fresh weights, which those of a file replace."""
    return _made(LITTLE, BIG)


def three() -> InFront:
    """See `two`."""
    return _made(LITTLE, MIDDLE, BIG)


def own() -> InFront:
    """See `two`."""
    return _made(LITTLE, LARGER)


def together() -> InFront:
    """See `two`."""
    return _made(LITTLE, LARGER, LARGEST, earlier=0.5)


def _made(*names: str, earlier: float = 0.0) -> InFront:
    *small, large = (build_backbone(name, _SHAPE, CLASSES) for name in names)
    return InFront(small, large, earlier)


def join(make: Callable[[], InFront], front: Sequence[Path], big: Path, target: Path) -> None:
    """Weights of what `make` makes, out of the model.pt of its networks."""
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
    """Mean and deviation (3, 1, 1) of the pixels that it expects."""
    rule = checkpoint.record.spec.inputs[0].preprocess
    assert rule is not None
    mean, std = (torch.tensor(values)[:, None, None] for values in (rule.mean, rule.std))
    return mean, std
