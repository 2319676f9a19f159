"""What a search learns from and is judged on: parts of the training, temperature and threshold splits, never the test.

The `judge` part is taken out of the training split. No weight, temperature or threshold of the search ever sees it; it
is what accuracies of candidates are measured on. Networks that are found are trained anew on the whole training split.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from eetool.data.source import Source
from eetool.data.splits import TEMPERATURE, THRESHOLD, TRAIN, split_record, split_source
from eetool.errors import ArtefactError
from eetool.train.training_loop import TrainingExamples
from eetool_runtime.manifest import Data, Input, Preprocess

JUDGE = "judge"
_JUDGE_SHARE, _MOST_JUDGES = 0.2, 2500
_SEED = 0


@dataclass(frozen=True)
class SplitPart:
    """Finished inputs (n, C, H, W) and labels int64 (n,)."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class SearchData:
    """`learn` for the supernet, as pixels; `branches`, `temperature`, `threshold` and `judge` for every candidate."""

    name: str
    classes: tuple[str, ...]
    inputs: tuple[Input, ...]
    record: Data
    learn: TrainingExamples
    branches: SplitPart
    temperature: SplitPart
    threshold: SplitPart
    judge: SplitPart

    def batches(self, count: int, size: int) -> Iterator[Tensor]:
        """The first `count` batches (size, C, H, W) of what branches learn from."""
        yield from torch.split(self.branches.images, size)[:count]


def load_search_data(source: Source, examples: int) -> SearchData:
    """The parts of `source`; at most `examples` training images teach the branches of a candidate.

    Raises:
        ArtefactError: there are too few examples of a class.
    """
    splits = split_source(source)
    train = splits[TRAIN]
    judge_size = min(_MOST_JUDGES, int(_JUDGE_SHARE * len(train)))
    learn, judge = _cut(source, train, judge_size, JUDGE)
    few = _cut(source, learn, examples, "branches")[1] if examples < len(learn) else learn
    pixels = torch.from_numpy(source.inputs[learn])
    scaled = pixels.float() / 255
    mean, std = scaled.mean((0, 2, 3)), scaled.std((0, 2, 3))  # (N, C, H, W) -> (C,)
    known = TrainingExamples(pixels, torch.from_numpy(source.labels[learn]), mean, std, source.mirror)

    def part(indices: np.ndarray) -> SplitPart:
        images = known.normalise(torch.from_numpy(source.inputs[indices]))
        return SplitPart(images, torch.from_numpy(source.labels[indices]))

    rule = Preprocess(1 / 255, tuple(mean.tolist()), tuple(std.tolist()))
    return SearchData(
        name=source.name,
        classes=source.classes,
        inputs=(Input("input", "float32", ("batch", *source.inputs.shape[1:]), rule),),
        record=Data(source.name, {**split_record(splits), **split_record({JUDGE: judge})}),
        learn=known,
        branches=part(few),
        temperature=part(splits[TEMPERATURE]),
        threshold=part(splits[THRESHOLD]),
        judge=part(judge),
    )


def _cut(source: Source, pool: np.ndarray, size: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    """What is left of `pool`, and `size` of it, stratified by label; both sorted."""
    from sklearn.model_selection import train_test_split

    try:
        left, taken = train_test_split(
            pool, test_size=size, random_state=_SEED, shuffle=True, stratify=source.labels[pool]
        )
    except ValueError as error:
        raise ArtefactError(
            f"{source.name}: the {name} part would be without a class: {error}", "Bring more examples."
        ) from None
    return np.sort(left), np.sort(taken)
