"""Accuracies and exit shares on labelled inputs, of networks whose latency is predicted for a device.

An accuracy does not depend on the device, so the networks run here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eetool.bench.predicted_sets import make_sets, predict_sets
from eetool.bench.predictions import WayPredictions
from eetool.bench.ways import EARLY_EXIT, UNSPLIT
from eetool.data.source import Source, check_classes
from eetool.data.views import take_examples
from eetool.data.vocabulary import use_model_vocabulary
from eetool.errors import ArtefactError
from eetool.progress import SILENT, Progress
from eetool_runtime.bundle import Bundle


@dataclass(frozen=True)
class AccuracyOnData:
    """Results of one network on N inputs.

    Attributes:
        right: bool (N,), the inputs with a right answer.
        exit_shares: share of the inputs that left at each exit; null for a static network.
    """

    right: np.ndarray
    exit_shares: tuple[float, ...] | None

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return float(self.right.mean())


@dataclass(frozen=True)
class DataResults:
    """Results of the unsplit backbone, of every operating point by name, and of every network to compare with."""

    source: str
    n: int
    unsplit: AccuracyOnData
    points: dict[str, AccuracyOnData]
    rivals: tuple[AccuracyOnData, ...]


def measure_accuracies(
    bundle: Bundle,
    variant: str,
    source: Source,
    indices: np.ndarray,
    against: Sequence[Path],
    progress: Progress = SILENT,
) -> DataResults:
    """Run a variant of `bundle` at all operating points, unsplit, and the networks of `against` on the same inputs.

    Raises:
        ArtefactError: the bundle has no unsplit reference or takes other inputs, or a network of `against` does not
            fit.
    """
    manifest = bundle.manifest
    source = use_model_vocabulary(source, manifest.inputs)
    examples, labels = take_examples(source, indices), source.labels[indices]
    check_classes(source, manifest.labels, str(bundle.path))
    sets = make_sets(bundle, [variant], examples, against, threads=1)
    predicted = predict_sets(sets, keep=False, required=True, progress=progress)
    if predicted.not_run:  # every network is asked for by name
        missing = predicted.not_run[0]
        raise ArtefactError(f"{missing.name}: {missing.reason}")
    unsplit: list[AccuracyOnData] = []
    rivals: list[AccuracyOnData] = []
    points = {}
    for name, label in predicted.labels.items():
        result = _on_data(predicted.ways[name], labels, len(manifest.exits))
        if label.kind == EARLY_EXIT:
            points[str(label.operating_point)] = result
        else:
            (unsplit if label.kind == UNSPLIT else rivals).append(result)
    return DataResults(source.name, len(labels), unsplit[0], points, tuple(rivals))


def _on_data(way: WayPredictions, labels: np.ndarray, exits: int) -> AccuracyOnData:
    shares = None if way.exits is None else np.bincount(way.exits, minlength=exits) / len(labels)
    return AccuracyOnData(way.classes == labels, None if shares is None else tuple(shares.tolist()))
