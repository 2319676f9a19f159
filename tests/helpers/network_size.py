"""Size of a built-in network."""

import torch

from eetool.model.backbones.registry import build_backbone
from eetool.model.macs import count_macs, count_parameters


def macs_and_parameters(name: str, side: int) -> tuple[int, int]:
    """Return MACs and parameters of a built-in network with 1000 classes, for colour images of `side` pixels."""
    shape = (1, 3, side, side)
    with torch.device("meta"):  # without values
        net = build_backbone(name, shape, 1000).eval()
        return count_macs(net, (torch.zeros(shape),)), count_parameters(net)
