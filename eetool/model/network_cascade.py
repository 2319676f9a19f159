"""Cascades of networks: each network reads the input anew, and inputs that leave no exit of one go to the next.

Big/little networks (Park et al., CODES+ISSS 2015) and IDK cascades (arXiv 1706.00885) are built so. Exits inside a
network and its own final exit are exits of the cascade. Separately trained networks make different errors, so sums of
their logits are more accurate than each alone (deep ensembles, arXiv 1612.01474); see docs/decisions/0052.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from eetool.errors import UsageError
from eetool.model.early_exit import EarlyExitNet, ExitOutputs
from eetool.model.spec import ModelSpec, member_taps
from eetool_runtime.manifest import Input, Preprocess

BEFORE = 0.5  # weight of the logits before, until it is fitted


def member_prefix(index: int) -> str:
    """Return how names of tensors of one network of a cascade begin."""
    return f"backbone.networks.{index}."


def sum_weights(weights: Sequence[Sequence[tuple[float, float]]]) -> dict[str, Tensor]:
    """Return weights of sums by the names that they have in a cascade.

    Args:
        weights: of each exit of each network from the second on: for its own logits, and for those before.
    """
    return {
        f"backbone.sums.{network}.{index}.{name}": torch.tensor(value)
        for network, exits in enumerate(weights)
        for index, pair in enumerate(exits)
        for name, value in zip(("own", "before"), pair, strict=True)
    }


class WeightedSum(nn.Module):
    """Weighted sum of the logits (N, classes) of an exit and the final logits of the network before."""

    def __init__(self) -> None:
        super().__init__()
        self.own, self.before = (nn.Parameter(torch.tensor(value)) for value in (1.0, BEFORE))

    def forward(self, own: Tensor, before: Tensor) -> Tensor:
        """Return logits (N, classes)."""
        return self.own * own + self.before * before


class PixelMap(nn.Module):
    """Pixels (N, C, H, W) that are normalised by one rule, converted to those of another rule."""

    scale: Tensor
    shift: Tensor

    def __init__(self, given: Preprocess, wanted: Preprocess) -> None:
        super().__init__()
        scale, shift = pixel_map(given, wanted)
        self.register_buffer("scale", scale.float()[:, None, None], persistent=False)
        self.register_buffer("shift", shift.float()[:, None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the converted pixels."""
        return x * self.scale + self.shift


def pixel_map(given: Preprocess, wanted: Preprocess) -> tuple[Tensor, Tensor]:
    """Return the scale and shift of each channel, float64 (C,), from pixels of one rule to those of another."""
    (mean, std), (own_mean, own_std) = (
        (torch.tensor(rule.mean, dtype=torch.float64), torch.tensor(rule.std, dtype=torch.float64))
        for rule in (given, wanted)
    )
    units = wanted.scale / given.scale
    return std * units / own_std, (mean * units - own_mean) / own_std


def input_map(given: Input, wanted: Input) -> nn.Module:
    """Return the module that makes the input of a network from that of the cascade; nothing where they are the same."""
    a, b = given.preprocess, wanted.preprocess
    if a is None or b is None or (a.scale, a.mean, a.std) == (b.scale, b.mean, b.std):
        return nn.Identity()
    return PixelMap(a, b)


class _Networks(nn.Module):
    """Networks one after another; alone they return the logits of the last."""

    def __init__(self, spec: ModelSpec, networks: Sequence[EarlyExitNet]) -> None:
        super().__init__()
        places = {item.name: i for i, item in enumerate(spec.inputs)}
        self.networks = nn.ModuleList(networks)
        self.reads = [[places[name] for name in member.reads] for member in spec.members]
        self.maps = nn.ModuleList(
            nn.ModuleList(input_map(spec.inputs[i], own) for i, own in zip(reads, member.spec.inputs, strict=True))
            for reads, member in zip(self.reads, spec.members, strict=True)
        )
        later = spec.members[1:] if spec.ensemble else ()
        self.sums = nn.ModuleList(
            nn.ModuleList(WeightedSum() for _ in range(len(member.spec.taps) + 1)) for member in later
        )

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.logits(*inputs)[0][-1]

    def logits(self, *inputs: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return the logits of every exit, and these before sums, from those that each network computes alone."""
        combined, own = list[Tensor](), list[Tensor]()
        for index, network in enumerate(self.networks):
            maps = cast(nn.ModuleList, self.maps[index])
            given = zip(maps, self.reads[index], strict=True)
            alone = network(*(convert(inputs[place]) for convert, place in given))
            own += alone
            if index and len(self.sums):
                sums = cast(nn.ModuleList, self.sums[index - 1])
                alone = [add(x, combined[-1]) for add, x in zip(sums, alone, strict=True)]
            combined += alone
        return combined, own


class NetworkCascade(EarlyExitNet):
    """A cascade of trained networks.

    Args:
        spec: the cascade.
        networks: its networks, in running order.
    """

    def __init__(self, spec: ModelSpec, networks: Sequence[EarlyExitNet]) -> None:
        super().__init__(_Networks(spec, networks), {})
        self.taps = member_taps(spec.parts)

    def forward_outputs(self, *inputs: Tensor) -> ExitOutputs:
        """Return the outputs of every exit of every network; none has a learned confidence."""
        combined, own = self._cascade.logits(*inputs)
        return ExitOutputs(tuple(combined), (None,) * len(combined), tuple(own))

    @property
    def networks(self) -> Sequence[EarlyExitNet]:
        """The networks, in running order."""
        return cast(Sequence[EarlyExitNet], self._cascade.networks)

    def weights(self, index: int) -> list[tuple[float, float]]:
        """Return the weights of each exit of network `index`, for its own logits and those before; empty without."""
        if not index or not len(self._cascade.sums):
            return []
        sums = cast(Sequence[WeightedSum], self._cascade.sums[index - 1])
        return [(x.own.item(), x.before.item()) for x in sums]

    @property
    def _cascade(self) -> "_Networks":
        return cast(_Networks, self.backbone)

    @property
    def branches(self) -> dict[str, nn.Module]:
        """Nothing: no exit is attached to the cascade itself."""
        return {}

    def freeze_backbone(self, *inputs: Tensor) -> None:
        """Refuse: the networks of a cascade are trained one by one."""
        raise UsageError("the networks of a cascade are trained one by one", "Train each, then `eetool cascade`.")
