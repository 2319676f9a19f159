"""The built-in network that a file of weights fits."""

import pytest
import torch
from torch import Tensor

from eetool.model.backbones.names import NAMES
from eetool.model.backbones.published_names import published_names
from eetool.model.backbones.registry import build_backbone
from eetool.model.built_in_match import find_built_in, needed_by


def stored(name: str, side: int = 224, classes: int = 1000) -> dict[str, Tensor]:
    with torch.device("meta"):
        return build_backbone(name, (1, 3, side, side), classes).state_dict()


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("resnet20", 32),
        ("imagenet-resnet18", 32),
        ("imagenet-resnet50", 224),
        ("mobilenetv1-0.5", 160),
        ("vgg11", 64),
        ("densenet121", 32),
    ],
)
def test_find_built_in_own_names_are_found_in_wrappers(name: str, side: int) -> None:
    state = {f"module.{key}": x for key, x in stored(name, side).items()}
    assert find_built_in({"epoch": 3, "state_dict": state}) == name


@pytest.mark.parametrize("name", ["mobilenetv2", "mobilenetv3-large", "efficientnet-lite1"])
def test_find_built_in_published_names_are_found(name: str) -> None:
    state = stored(name)
    with torch.device("meta"):
        backbone = build_backbone(name, (1, 3, 224, 224), 1000)
    for names in published_names(backbone):
        assert find_built_in({key: state[own] for key, own in names.own.items()}) == name


def test_find_built_in_other_tensors_fit_none() -> None:
    state = stored("resnet20", 32)
    assert find_built_in({**state, "more.weight": torch.zeros(1)}) is None
    assert find_built_in({key.replace("conv", "c"): x for key, x in state.items()}) is None
    assert find_built_in({"fc.weight": torch.zeros(2)}) is None


def test_find_built_in_networks_are_large_enough_and_have_most_names_at_every_size() -> None:
    needed = [[needed_by(name, side).tensors.keys() for side in (32, 224)] for name in NAMES]
    assert min(len(small) for small, _ in needed) >= 30
    assert all(len(small & large) > 0.9 * len(large) for small, large in needed)
