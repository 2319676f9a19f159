"""Labelled data for a training loop: a source with its splits and the normalisation of its pixels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from eetool.data.image_rows import image_tensor
from eetool.data.source import Source
from eetool.data.splits import FROM_TRAIN, HOLD_OUT, TRAIN, split_record, split_source
from eetool.errors import UsageError
from eetool.train.pixel_statistics import pixel_statistics
from eetool_runtime.manifest import Data, Preprocess

Normalisation = tuple[tuple[float, ...], tuple[float, ...]]  # mean and deviation of each channel of pixels in [0, 1]
DATASET = "dataset"  # that of the training split
# As those of `eetool train --normalize`; one number is for all channels.
PRESETS: dict[str, Normalisation] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5,), (0.5,)),
    "none": ((0.0,), (1.0,)),
}
_LEAST_DEVIATION = 1e-6


@dataclass(frozen=True, eq=False)
class LabelledData:
    """Labelled examples with fixed splits, as `eetool.load_data` returns them.

    Attributes:
        source: the examples.
        splits: sorted indices by name: `train`, `temperature`, `threshold`, `test`, and where there are enough examples
            `certificate`. Only `train` is for training.
        normalisation: mean and standard deviation of each channel, of pixels in [0, 1]; None for finished inputs.
        hold_out: origin of the held-out examples, see `eetool.data.splits.split_source`.
    """

    source: Source
    splits: Mapping[str, np.ndarray]
    normalisation: Normalisation | None
    hold_out: str = FROM_TRAIN

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the labels."""
        return self.source.classes

    @property
    def preprocess(self) -> Preprocess | None:
        """Rule that makes model inputs of pixels; None for finished inputs."""
        if self.normalisation is None:
            return None
        return Preprocess(1 / 255, *self.normalisation, self.source.resize)

    @property
    def record(self) -> Data:
        """Record of the data in models."""
        return Data(self.source.name, split_record(dict(self.splits)))

    def split(self, name: str) -> "SplitDataset":
        """Return the examples of a split as a torch dataset of pairs: normalised input, label.

        Raises:
            UsageError: there is no such split.
        """
        if name not in self.splits:
            raise UsageError(f"{self.source.name} has no split {name!r}", f"It has: {', '.join(self.splits)}.")
        return SplitDataset(self, self.splits[name])


class SplitDataset(Dataset[tuple[Tensor, int]]):
    """Examples of one split: inputs as the model reads them, float32 or int64, and labels.

    Args:
        data: the data.
        indices: examples of the split.
    """

    def __init__(self, data: LabelledData, indices: np.ndarray) -> None:
        self._source, self._indices, self._rule = data.source, indices, data.normalisation

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, int]]:
        """Return several examples at once, which torch's DataLoader asks for."""
        chosen = self._indices[np.asarray(indices, np.int64)]
        inputs, labels = self._inputs(chosen), self._source.labels[chosen].tolist()
        return list(zip(inputs, labels, strict=True))

    def tensors(self, most: int | None = None) -> tuple[Tensor, Tensor]:
        """Return `most` examples, evenly spaced, or all: inputs (n, …) and labels int64 (n,)."""
        chosen = self._indices
        if most is not None and most < len(chosen):  # the first ones may be of one class
            chosen = chosen[np.linspace(0, len(chosen) - 1, most).astype(np.int64)]
        return self._inputs(chosen), torch.from_numpy(self._source.labels[chosen])

    def _inputs(self, chosen: np.ndarray) -> Tensor:
        inputs = torch.from_numpy(np.ascontiguousarray(self._source.inputs[chosen]))
        if self._rule is None:
            return inputs
        mean, std = (torch.tensor(values)[:, None, None] for values in self._rule)
        return (inputs.float() / 255 - mean) / std  # uint8 (n, C, H, W) -> float32


def prepare_data(
    source: Source, normalise: Normalisation | str | None = None, hold_out: str = FROM_TRAIN
) -> LabelledData:
    """Return a source with its splits and the normalisation of its pixels.

    Args:
        source: the examples.
        normalise: mean and standard deviation of each channel, of pixels in [0, 1], one for all, or one of `PRESETS`;
            by default, and as `dataset`, those of the training split.
        hold_out: origin of the held-out examples, see `eetool.data.splits.split_source`.

    Raises:
        UsageError: the normalisation fits no pixels of this source.
        ArtefactError: there are too few examples of a class.
    """
    if hold_out not in HOLD_OUT:
        raise UsageError(f"hold_out is {hold_out!r}", f"One of {', '.join(HOLD_OUT)}.")
    splits = split_source(source, hold_out)
    if not source.are_pixels:
        if normalise not in (None, DATASET):
            raise UsageError(f"{source.name} has no pixels to normalise", "Leave normalise out.")
        return LabelledData(source, splits, None, hold_out)
    if normalise in (None, DATASET):
        mean, std = pixel_statistics(image_tensor(source.inputs, splits[TRAIN]), source.name)
        return LabelledData(source, splits, (tuple(mean.tolist()), tuple(std.tolist())), hold_out)
    assert normalise is not None
    return LabelledData(source, splits, _checked(normalise, source), hold_out)


def _checked(normalise: Normalisation | str, source: Source) -> Normalisation:
    channels = source.inputs.shape[1]
    known = ", ".join([*PRESETS, DATASET])
    hint = f"Give normalise=((mean, …), (deviation, …)) with {channels} numbers each, or one of {known}."
    try:
        rule = PRESETS[normalise] if isinstance(normalise, str) else normalise
        given = (tuple(float(value) for value in values) for values in rule)
        mean, std = (values * channels if len(values) == 1 else values for values in given)
    except (KeyError, TypeError, ValueError):
        raise UsageError(f"{normalise!r} is no normalisation", hint) from None
    if not len(mean) == len(std) == channels:
        raise UsageError(f"a mean and a deviation for each of {channels} channels are needed", hint)
    if not np.isfinite([*mean, *std]).all() or min(std) < _LEAST_DEVIATION:
        raise UsageError(f"the deviations {std} and means {mean} cannot be divided by", hint)
    return mean, std
