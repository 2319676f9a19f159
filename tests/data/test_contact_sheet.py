"""Contact sheets of augmented images."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from eetool.data.augmentation import Augmentation
from eetool.data.contact_sheet import draw_contact_sheet
from eetool.data.source import Source
from eetool.errors import UsageError


def sheet(source: Source, augmentation: Augmentation) -> np.ndarray:
    with Image.open(io.BytesIO(draw_contact_sheet(source, augmentation))) as image:
        return np.asarray(image)


def test_draw_contact_sheet_first_column_is_the_image_itself(digits: Source) -> None:
    plain, strong = (sheet(digits, a) for a in (Augmentation(0), Augmentation(4, erase=8, mixup=0.2)))
    scale = 1200 // (8 * 34)
    assert plain.shape == strong.shape == (8 * 34 * scale, 8 * 34 * scale)
    tile = 34 * scale
    assert np.array_equal(plain[:, :tile], strong[:, :tile])
    assert all(np.array_equal(plain[:, :tile], plain[:, i * tile : (i + 1) * tile]) for i in range(8))
    assert not np.array_equal(plain[:, tile:], strong[:, tile:])


def test_draw_contact_sheet_other_data_than_images_is_refused(digits: Source) -> None:
    with pytest.raises(UsageError, match="no grey or RGB images"):
        draw_contact_sheet(replace(digits, inputs=digits.inputs.astype(np.float32)), Augmentation())
