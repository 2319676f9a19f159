"""Training images in a memory-mapped file, with the part of a tensor's interface that the training loop needs."""

from typing import Any

import numpy as np
import torch
from torch import Tensor


class ImageRows:
    """The rows `indices` of images uint8 (N, C, H, W) in a file; a batch is read when it is indexed."""

    def __init__(self, images: np.memmap, indices: np.ndarray) -> None:
        self._images, self._indices = torch.from_numpy(images), torch.from_numpy(indices)
        self.shape = torch.Size((len(indices), *images.shape[1:]))
        self.dtype, self.device, self.ndim = self._images.dtype, self._images.device, self._images.ndim
        self.nbytes = self.shape.numel()

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, key: Any) -> Tensor:
        return self._images[self._indices[key]]

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        """Return the images `index` (n,) as a copy in memory; `dim` is 0."""
        assert dim == 0
        return self._images.index_select(0, self._indices[index])

    def to(self, device: torch.device) -> "ImageRows | Tensor":
        """Return itself on the CPU; elsewhere all images are copied, where they fit."""
        return self if device.type == "cpu" else self[:].to(device)


def image_tensor(images: np.ndarray, indices: np.ndarray) -> "Tensor | ImageRows":
    """Return the rows `indices` of `images` as a tensor, or as rows of the memory-mapped file that they are."""
    if isinstance(images, np.memmap):
        return ImageRows(images, indices)
    return torch.from_numpy(images[indices])
