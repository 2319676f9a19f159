"""Accuracies and exit shares on labelled inputs, of networks whose latency is predicted for a device.

An accuracy does not depend on the device, so the networks run here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eetool.bench.contenders import bench_inputs, bundle_contenders, static_contender
from eetool.data.source import Source, check_classes
from eetool.data.vocabulary import use_model_vocabulary
from eetool.progress import SILENT, Progress
from eetool_runtime.model import Model


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
    model: Model, source: Source, indices: np.ndarray, against: Sequence[Path], progress: Progress = SILENT
) -> DataResults:
    """Run `model` at all operating points, its unsplit backbone and the networks of `against` on the same inputs.

    Raises:
        ArtefactError: the bundle has no unsplit reference or takes other inputs, or a network of `against` does not
            fit.
    """
    manifest = model.bundle.manifest
    source = use_model_vocabulary(source, manifest.inputs)
    examples, labels = source.inputs[indices], source.labels[indices]
    check_classes(source, manifest.labels, str(model.bundle.path))
    inputs = bench_inputs(model.bundle, examples)
    own = bundle_contenders(model, inputs)
    networks = [static_contender(path, model, examples, inputs) for path in against]
    results = []
    with progress("accuracy of each network", len(own) + len(networks)) as advance:
        for contender in [*own, *networks]:
            contender.prepare()
            predicted = [contender.predict(index) for index in range(len(inputs))]
            classes = np.array([int(p.probabilities.argmax()) for p in predicted], np.int64)  # (N,)
            exits = [p.exit for p in predicted if p.exit is not None]
            shares = np.bincount(exits, minlength=len(manifest.exits)) / len(inputs) if exits else None
            results.append(AccuracyOnData(classes == labels, None if shares is None else tuple(shares.tolist())))
            advance(1)
    points = dict(zip(model.operating_points, results[1 : len(own)], strict=True))
    return DataResults(source.name, len(inputs), results[0], points, tuple(results[len(own) :]))
