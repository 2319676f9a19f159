"""Mean and deviation of pixels, constant channels among them."""

import pytest
import torch

from eetool.errors import ArtefactError
from eetool.train.pixel_statistics import pixel_statistics


def test_pixel_statistics_constant_channel_has_deviation_one() -> None:
    images = torch.tensor([[[[0, 255]], [[7, 7]]], [[[255, 0]], [[7, 7]]]], dtype=torch.uint8)  # (2, 2, 1, 2)
    mean, std = pixel_statistics(images, "photos")
    assert mean.tolist() == pytest.approx([0.5, 7 / 255])
    assert std.tolist() == pytest.approx([torch.tensor([0.0, 1, 1, 0]).std().item(), 1])


def test_pixel_statistics_plain_images_are_refused() -> None:
    with pytest.raises(ArtefactError, match=r"photos: every pixel of all 3 training images is \[255\]"):
        pixel_statistics(torch.full((3, 1, 4, 4), 255, dtype=torch.uint8), "photos")
