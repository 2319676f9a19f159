"""Contact sheet of augmented training images: one image per row, as it is and as training may see it."""

import io

import numpy as np
import torch
from torch import Tensor

from eetool.data.augmentation import Augmentation, augment, draw_augmentation, mix
from eetool.data.source import Source
from eetool.data.splits import TRAIN, split_source
from eetool.errors import UsageError

_ROWS, _VERSIONS = 8, 7
_GAP = 2  # pixels
_WIDTH = 1200  # pixels; small images are magnified up to it
_MODES = {1: "L", 3: "RGB"}  # by the number of channels


def draw_contact_sheet(source: Source, augmentation: Augmentation, seed: int = 0) -> bytes:
    """Return a PNG file: in each of 8 rows a training image, then 7 augmented versions of it.

    Raises:
        UsageError: the data are no images of one or three channels.
    """
    from PIL import Image

    if not source.are_pixels or source.inputs.shape[1] not in _MODES:
        raise UsageError(f"{source.name} has no grey or RGB images to draw", "Leave --show-augmented out.")
    rows = _augmented_rows(source, augmentation, seed)  # (8, images, C, H, W)
    height, width = rows.shape[3:]
    sheet = np.full((rows.shape[2], len(rows) * (height + _GAP), rows.shape[1] * (width + _GAP)), 255, np.uint8)
    for i, row in enumerate(rows.numpy()):
        for j, image in enumerate(row):
            top, left = i * (height + _GAP), j * (width + _GAP)
            sheet[:, top : top + height, left : left + width] = image
    picture = Image.fromarray(sheet[0] if len(sheet) == 1 else sheet.transpose(1, 2, 0), _MODES[len(sheet)])
    scale = max(1, _WIDTH // picture.width)
    picture = picture.resize((scale * picture.width, scale * picture.height), Image.Resampling.NEAREST)
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def _augmented_rows(source: Source, augmentation: Augmentation, seed: int) -> Tensor:
    """Return uint8 (rows, 1 + versions, C, H, W): images evenly spaced in the training split, and versions of each."""
    train = split_source(source)[TRAIN]
    chosen = train[np.linspace(0, len(train) - 1, min(_ROWS, len(train))).astype(np.int64)]
    images = torch.from_numpy(source.inputs[chosen])
    generator = torch.Generator().manual_seed(seed)
    versions = [images]
    for _ in range(_VERSIONS):
        draw = draw_augmentation(images, generator, augmentation)
        changed = augment(images, draw)
        versions.append(changed if draw.shares is None else mix(changed, draw.shares).round().to(torch.uint8))
    return torch.stack(versions, 1)
