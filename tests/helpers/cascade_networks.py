"""Small untrained networks for a cascade, whose pixels are normalised in different ways."""

from dataclasses import replace

from torch import nn

from eetool.model.checkpoint import Checkpoint
from eetool.train.exit_plan import ExitPlan
from eetool.train.pipeline import attach_exits
from eetool_runtime.manifest import Preprocess

SHAPE, CLASSES = (1, 1, 16, 16), 10
FIRST, SECOND = Preprocess(1 / 255, (0.3,), (0.2,)), Preprocess(1 / 128, (0.9,), (0.5,))


def network(backbone: str, seed: int, exits: int = 0, rule: Preprocess = FIRST) -> Checkpoint:
    """Return a network with linear exits for images 1x16x16."""
    checkpoint = attach_exits(backbone, SHAPE, CLASSES, ExitPlan(exits, "linear" if exits else None), seed)
    spec = checkpoint.record.spec
    spec = replace(spec, inputs=(replace(spec.inputs[0], preprocess=rule),))
    return replace(checkpoint, record=replace(checkpoint.record, spec=spec))


def patches(padding: int = 0, bias: bool = True) -> nn.Module:
    """Return a network whose first layer reads patches, as that of a vision transformer does."""
    first = nn.Conv2d(1, 8, 4, 4, padding, bias=bias)
    return nn.Sequential(first, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES))


def small_and_big() -> list[Checkpoint]:
    """Return a network with an exit inside, and a larger one with one inside that reads other pixels."""
    return [network("resnet-8x0-16x1", 0, 1), network("resnet8", 1, 1, SECOND)]
