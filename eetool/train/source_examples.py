"""Examples of a source for a training run: normalised, augmented, and those of the learning curve."""

import math
from dataclasses import replace

import numpy as np
import torch

from eetool.data.augmentation_levels import NONE, choose_augmentation
from eetool.data.image_rows import image_tensor
from eetool.data.source import Source
from eetool.errors import UsageError
from eetool.model.spec import TrainingSettings
from eetool.train.pixel_statistics import pixel_statistics
from eetool.train.training_examples import TrainingExamples, ValidationExamples

Normalisation = tuple[tuple[float, ...], tuple[float, ...]]  # mean and standard deviation of each channel
_LEAST_DEVIATION = 1e-6  # of pixels in [0, 1]; no bundle holds a smaller one
AS_THEY_ARE = TrainingSettings("none", 0, 0, 0, 0.0, augment=NONE)  # of examples that are not augmented
_MOST_VALIDATED = 2000  # examples of a learning curve


def training_examples(
    source: Source, indices: np.ndarray, settings: TrainingSettings, normalisation: Normalisation | None = None
) -> TrainingExamples:
    """Return the examples `indices` (n,) of a source with their normalisation and augmentation.

    Args:
        source: the data.
        indices: of the training split.
        settings: level of augmentation, mirroring and erasing.
        normalisation: of pixels; by default that of these examples.

    Raises:
        UsageError: the normalisation or the augmentation does not fit the data.
        ArtefactError: all images are one plain colour.
    """
    augmentation = choose_augmentation(source, settings.augment, settings.mirror, settings.erase)
    images, labels = image_tensor(source.inputs, indices), torch.from_numpy(source.labels[indices])
    if not source.are_pixels:
        if normalisation is not None:
            raise UsageError(f"{source.name} has no pixels to normalise", None)
        return TrainingExamples(images, labels, None, None, augmentation)
    channels = images.shape[1]
    if normalisation is None:
        mean, std = pixel_statistics(images, source.name)
    else:
        spread = (values * channels if len(values) == 1 else values for values in normalisation)
        mean, std = (torch.tensor(values, dtype=torch.float32) for values in spread)
        if not len(mean) == len(std) == channels:
            raise UsageError(
                f"a mean and a deviation for each of {channels} channels are needed, and {len(mean)} are given",
                "Give one of each for all channels, or those of each.",
            )
        if not (bool(mean.isfinite().all()) and bool(((std >= _LEAST_DEVIATION) & std.isfinite()).all())):
            raise UsageError(f"the deviations {std.tolist()} and means {mean.tolist()} cannot be divided by", None)
    return TrainingExamples(images, labels, mean, std, augmentation)


def validation_examples(
    source: Source, indices: np.ndarray, split: str, examples: TrainingExamples
) -> ValidationExamples:
    """Return examples of a learning curve, normalised as the training `examples`; of a large split evenly spaced ones.

    Args:
        source: the data.
        indices: of the split, which neither thresholds nor test may use.
        split: its name.
        examples: training examples.
    """
    chosen = indices[:: math.ceil(len(indices) / _MOST_VALIDATED)]
    images, labels = image_tensor(source.inputs, chosen), torch.from_numpy(source.labels[chosen])
    return ValidationExamples(split, replace(examples, images=images, labels=labels))
