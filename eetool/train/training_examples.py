"""Examples of a training run: those that it learns from, and those that every exit is validated on."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from eetool.data.augmentation import NO_AUGMENTATION, Augmentation, AugmentationDraw, augment, draw_augmentation, mix
from eetool.data.image_rows import ImageRows
from eetool.train.losses import BatchTargets


@dataclass(frozen=True)
class TrainingExamples:
    """Training examples with int64 labels (N,).

    They are images uint8 (N, C, H, W), with the mean and std (C,) of pixels in [0, 1]; or finished inputs (N, …), which
    are not normalised, and of all augmentations only mixed. Images may stay in a file, of which each batch is read when
    it is needed.
    """

    images: Tensor | ImageRows
    labels: Tensor
    mean: Tensor | None
    std: Tensor | None
    augmentation: Augmentation = NO_AUGMENTATION

    def normalise(self, images: Tensor) -> Tensor:
        """Return uint8 images (N, C, H, W) as float32, normalised as in the runtime's preprocessing."""
        if self.mean is None or self.std is None:
            return images
        return (images.float() / 255 - self.mean[:, None, None]) / self.std[:, None, None]

    @property
    def device(self) -> torch.device:
        """Torch device that stores them."""
        return self.images.device

    def to(self, device: torch.device) -> "TrainingExamples":
        """Return the examples on another torch device."""
        mean, std = (None if x is None else x.to(device) for x in (self.mean, self.std))
        return replace(self, images=self.images.to(device), labels=self.labels.to(device), mean=mean, std=std)

    def at_epoch(self, epoch: int) -> "TrainingExamples":
        """Return the version of the examples that an epoch uses: the same in all epochs."""
        return self

    def draw(self, generator: torch.Generator) -> AugmentationDraw:
        """Draw an augmentation of every example."""
        return draw_augmentation(self.images, generator, self.augmentation).to(self.device)

    def batch(self, chosen: Tensor, draw: AugmentationDraw) -> Tensor:
        """Return the examples `chosen` (n,), augmented by their part of `draw`; mixed ones are floats."""
        images, own = self.images.index_select(0, chosen), draw[chosen]
        images = images if self.mean is None else augment(images, own)
        return images if own.shares is None else mix(images, own.shares)

    def inputs(self, chosen: Tensor) -> Tensor:
        """Return the inputs of the network for the examples `chosen` (n,), without augmentation."""
        return self.normalise(self.images.index_select(0, chosen))

    def targets(self, chosen: Tensor, draw: AugmentationDraw, position: float) -> BatchTargets:
        """Return the targets of the same batch, without those of a teacher."""
        labels = self.labels[chosen]
        if draw.shares is None:
            return BatchTargets(labels, position)
        return BatchTargets(labels, position, partners=labels.roll(1), shares=draw.shares[chosen])


@dataclass(frozen=True)
class ValidationExamples:
    """Examples that every exit is run on after each epoch, and the name of their split."""

    split: str
    examples: TrainingExamples

    def batches(self, size: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield inputs (n, …), without augmentation, and labels (n,), at most `size` at a time."""
        for start in range(0, len(self.examples.labels), size):
            images, labels = (x[start : start + size] for x in (self.examples.images, self.examples.labels))
            yield self.examples.normalise(images).to(device), labels.to(device)
