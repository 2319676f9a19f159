"""ResNets of ImageNet: their sizes and names."""

import pytest
import torch

from eetool.model.backbones.registry import build_backbone, recorded_name
from tests.helpers.network_size import macs_and_parameters


# GFLOPs of table 1 of arXiv 1512.03385 count projections of shortcuts otherwise; MACs and parameters of torchvision's.
@pytest.mark.parametrize(
    ("depth", "macs", "parameters"),
    [(18, 1.81e9, 11_689_512), (34, 3.66e9, 21_797_672), (50, 4.09e9, 25_557_032), (101, 7.80e9, 44_549_160)],
)
def test_imagenet_resnet_has_published_size(depth: int, macs: float, parameters: int) -> None:
    own, count = macs_and_parameters(f"imagenet-resnet{depth}", 224)
    assert own == pytest.approx(macs, rel=0.003)
    assert count == parameters


def test_imagenet_resnet_downsamples_small_images_less() -> None:
    for side, features in ((224, 7), (32, 4)):
        with torch.device("meta"):  # without values
            net = build_backbone("imagenet-resnet18", (1, 3, side, side), 10).eval()
            x = net.maxpool(net.relu(net.bn1(net.conv1(torch.zeros(1, 3, side, side)))))
            assert net.layer4(net.layer3(net.layer2(net.layer1(x)))).shape == (1, 512, features, features)


@pytest.mark.parametrize(
    ("written", "side", "recorded"),
    [
        ("resnet18", 32, "imagenet-resnet18"),
        ("resnet18", 224, "imagenet-resnet18"),
        ("resnet50", 32, "resnet50"),
        ("resnet50", 64, "resnet50"),
        ("resnet50", 65, "imagenet-resnet50"),
        ("resnet50@32", 224, "resnet50@32"),
        ("resnet50@128", 32, "imagenet-resnet50@128"),
        ("resnet56", 224, "resnet56"),
        ("imagenet-resnet50", 32, "imagenet-resnet50"),
        ("mobilenetv2", 224, "mobilenetv2"),
    ],
)
def test_recorded_name_is_of_one_network(written: str, side: int, recorded: str) -> None:
    assert recorded_name(written, ("batch", 3, side, side)) == recorded
    assert recorded_name(recorded, ("batch", 3, side, side)) == recorded


def test_resnet50_in_a_record_is_that_of_cifar() -> None:
    with torch.device("meta"):
        names = build_backbone("resnet50", (1, 3, 224, 224), 10).state_dict()
    assert "layer1.7.conv2.weight" in names
    assert names["linear.weight"].shape == (10, 64)
