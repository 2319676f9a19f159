"""MobileNetV1 of several widths."""

import pytest
import torch

from eetool.model.backbones.registry import build_backbone
from tests.helpers.network_size import macs_and_parameters


# Tables 6 and 7 of arXiv 1704.04861, and the table of TensorFlow's published weights.
@pytest.mark.parametrize(
    ("name", "side", "macs", "parameters"),
    [
        ("mobilenetv1", 224, 569e6, 4.24e6),
        ("mobilenetv1-0.75", 224, 325e6, 2.59e6),
        ("mobilenetv1-0.5", 160, 77e6, 1.34e6),
        ("mobilenetv1-0.25", 128, 14e6, 0.47e6),
    ],
)
def test_mobilenet_v1_has_published_size(name: str, side: int, macs: float, parameters: float) -> None:
    own, count = macs_and_parameters(name, side)
    assert own == pytest.approx(macs, rel=0.04)
    assert count == pytest.approx(parameters, rel=0.01)


def test_mobilenet_v1_downsamples_small_images_less() -> None:
    for side, features in ((224, 7), (128, 4), (32, 4)):
        with torch.device("meta"):  # without values
            net = build_backbone("mobilenetv1-0.25", (1, 3, side, side), 10).eval()
            assert net.blocks(net.stem(torch.zeros(1, 3, side, side))).shape == (1, 256, features, features)
