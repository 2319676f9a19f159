"""Data of a search: parts of the training, temperature and threshold splits; the test split is never used.

The `judge` part is cut from the training split. Accuracies of candidates are measured on it, and no weight, temperature
or threshold is fitted on it. Networks of the front are trained again on the whole training split.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from eetool.data.augmentation_levels import LIGHT, choose_augmentation
from eetool.data.image_rows import image_tensor
from eetool.data.rows import rows_per_pass
from eetool.data.source import Source
from eetool.data.splits import TEMPERATURE, THRESHOLD, TRAIN, split_record, split_source
from eetool.errors import ArtefactError
from eetool.train.pixel_statistics import pixel_statistics
from eetool.train.training_examples import TrainingExamples
from eetool_runtime.manifest import Data, Input, Preprocess

JUDGE = "judge"
_JUDGE_SHARE, _MOST_JUDGES = 0.2, 2500
_SEED = 0


@dataclass(frozen=True)
class SplitPart:
    """Examples of one part. Their pixels are normalised when they are used."""

    examples: TrainingExamples

    @property
    def labels(self) -> Tensor:
        """Labels int64 (n,)."""
        return self.examples.labels

    def inputs(self, most: int | None = None) -> Tensor:
        """Return normalised inputs (n, C, H, W) of the first `most` examples, or of all."""
        return self.examples.inputs(torch.arange(len(self.labels))[:most])

    def first(self, count: int) -> "SplitPart":
        """Return the first `count` examples."""
        return SplitPart(replace(self.examples, images=self.examples.images[:count], labels=self.labels[:count]))

    def batches(self, size: int | None = None) -> Iterator[Tensor]:
        """Yield the normalised inputs (n, C, H, W), `size` at a time, by default as many as a forward pass takes."""
        step = size or rows_per_pass(self.examples.images.shape[1:])
        for chosen in torch.split(torch.arange(len(self.labels)), step):
            yield self.examples.inputs(chosen)


@dataclass(frozen=True)
class SearchData:
    """Data of one search.

    Attributes:
        name: name of the data source.
        classes: names of the classes.
        inputs: input specification of every network.
        record: provenance of the splits.
        training: training examples of the supernet, as pixels.
        branches: training examples of a candidate's branches.
        temperature: examples that temperatures are fitted on.
        threshold: examples that thresholds are fitted on.
        judge: examples that figures of candidates are measured on.
    """

    name: str
    classes: tuple[str, ...]
    inputs: tuple[Input, ...]
    record: Data
    training: TrainingExamples
    branches: SplitPart
    temperature: SplitPart
    threshold: SplitPart
    judge: SplitPart

    def batches(self, count: int, size: int) -> Iterator[Tensor]:
        """Yield the first `count` batches (size, C, H, W) of the training examples of branches."""
        yield from islice(self.branches.batches(size), count)


def load_search_data(source: Source, examples: int) -> SearchData:
    """Return the parts of `source`; branches of a candidate are trained on at most `examples` training images.

    Raises:
        ArtefactError: there are too few examples of a class.
    """
    splits = split_source(source)
    train = splits[TRAIN]
    judge_size = min(_MOST_JUDGES, int(_JUDGE_SHARE * len(train)))
    learn, judge = _cut(source, train, judge_size, JUDGE)
    branches = _cut(source, learn, examples, "branches")[1] if examples < len(learn) else learn
    pixels = image_tensor(source.inputs, learn)
    mean, std = pixel_statistics(pixels, source.name)
    augmentation = choose_augmentation(source, LIGHT)
    training = TrainingExamples(pixels, torch.from_numpy(source.labels[learn]), mean, std, augmentation)

    def part(indices: np.ndarray) -> SplitPart:
        images, labels = image_tensor(source.inputs, indices), torch.from_numpy(source.labels[indices])
        return SplitPart(replace(training, images=images, labels=labels))

    preprocess = Preprocess(1 / 255, tuple(mean.tolist()), tuple(std.tolist()), source.resize)
    return SearchData(
        name=source.name,
        classes=source.classes,
        inputs=(Input("input", "float32", ("batch", *source.inputs.shape[1:]), preprocess),),
        record=Data(source.name, {**split_record(splits), **split_record({JUDGE: judge})}),
        training=training,
        branches=part(branches),
        temperature=part(splits[TEMPERATURE]),
        threshold=part(splits[THRESHOLD]),
        judge=part(judge),
    )


def backbone_search_data(
    source: Source, hold_out: str, inputs: tuple[Input, ...], examples: TrainingExamples, most: int, seed: int
) -> SearchData:
    """Return the parts of `source` for exits on a trained backbone, which may have seen all of the training split.

    So candidates are judged on the temperature split; temperatures and thresholds are fitted on the threshold split.

    Args:
        source: the data.
        hold_out: origin of the held-out examples, see `split_source`.
        inputs: inputs of the backbone.
        examples: any of its examples, for their normalisation.
        most: number of training examples of branches, at most.
        seed: of their choice.
    """
    splits = split_source(source, hold_out)

    def part(indices: np.ndarray) -> SplitPart:
        images, labels = image_tensor(source.inputs, indices), torch.from_numpy(source.labels[indices])
        return SplitPart(replace(examples, images=images, labels=labels))

    chosen = np.random.default_rng(seed).permutation(splits[TRAIN])[:most]  # unsorted: the first ones are a sample too
    branches, threshold, judge = part(chosen), part(splits[THRESHOLD]), part(splits[TEMPERATURE])
    return SearchData(
        name=source.name,
        classes=source.classes,
        inputs=inputs,
        record=Data(source.name, {**split_record(splits), **split_record({JUDGE: splits[TEMPERATURE]})}),
        training=branches.examples,
        branches=branches,
        temperature=threshold,
        threshold=threshold,
        judge=judge,
    )


def _cut(source: Source, pool: np.ndarray, size: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Split `pool` into the rest and `size` indices, stratified by label; both are sorted."""
    from sklearn.model_selection import train_test_split

    try:
        rest, taken = train_test_split(
            pool, test_size=size, random_state=_SEED, shuffle=True, stratify=source.labels[pool]
        )
    except ValueError as error:
        raise ArtefactError(
            f"{source.name}: the {name} part would lack a class: {error}", "Give more examples."
        ) from None
    return np.sort(rest), np.sort(taken)
