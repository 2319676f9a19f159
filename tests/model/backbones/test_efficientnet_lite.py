"""EfficientNet-Lite: published sizes, and TensorFlow's padding."""

import pytest
import torch
from torch.nn import functional

from eetool.model.backbones.layers import TensorFlowConv
from eetool.model.backbones.registry import build_backbone
from tests.helpers.network_size import macs_and_parameters


# MACs of convolutions and the classifier are 5 % below those that TensorFlow publishes for all operators (407, 631 and
# 899 M); parameters are those of timm's networks of the same name.
@pytest.mark.parametrize(
    ("kind", "side", "macs", "parameters"),
    [(0, 224, 385e6, 4_652_008), (1, 240, 600e6, 5_416_680), (2, 260, 860e6, 6_092_072)],
)
def test_efficientnet_lite_has_published_size(kind: int, side: int, macs: float, parameters: int) -> None:
    own, count = macs_and_parameters(f"efficientnet-lite{kind}", side)
    assert own == pytest.approx(macs, rel=0.002)
    assert own == pytest.approx({0: 407e6, 1: 631e6, 2: 899e6}[kind], rel=0.06)
    assert count == parameters


@pytest.mark.parametrize("side", [224, 260, 192, 131])
def test_efficientnet_lite_halves_images_of_any_size_upwards(side: int) -> None:
    with torch.device("meta"):  # without values
        net = build_backbone("efficientnet-lite2", (1, 3, side, side), 10).eval()
        features = net.last(net.blocks(net.stem(torch.zeros(1, 3, side, side))))
    expected = -(-side // 32)
    assert features.shape == (1, 1280, expected, expected)


@pytest.mark.parametrize(
    ("side", "size", "stride", "before", "after"),
    [(8, 3, 2, 0, 1), (7, 3, 2, 1, 1), (8, 5, 2, 1, 2), (8, 3, 1, 1, 1), (5, 1, 1, 0, 0), (4, 1, 2, 0, 0)],
)
def test_tensorflow_conv_pads_more_at_the_end(side: int, size: int, stride: int, before: int, after: int) -> None:
    conv = TensorFlowConv(2, 3, size, stride, bias=False)
    x = torch.rand(1, 2, side, side)
    padded = functional.pad(x, (before, after) * 2)
    assert torch.allclose(conv(x), functional.conv2d(padded, conv.weight, None, stride))
