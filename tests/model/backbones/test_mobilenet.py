"""MobileNetV2 and MobileNetV3: their published sizes."""

import pytest

from tests.helpers.network_size import macs_and_parameters


# MACs of table 4 of arXiv 1801.04381 and of tables 3 and 4 of arXiv 1905.02244; parameters of torchvision's networks.
@pytest.mark.parametrize(
    ("name", "macs", "parameters"),
    [
        ("mobilenetv2", 300e6, 3_504_872),
        ("mobilenetv3-large", 217e6, 5_483_032),
        ("mobilenetv3-small", 56e6, 2_542_856),
    ],
)
def test_mobilenet_has_published_size(name: str, macs: float, parameters: int) -> None:
    own, count = macs_and_parameters(name, 224)
    assert own == pytest.approx(macs, rel=0.01)
    assert count == parameters
