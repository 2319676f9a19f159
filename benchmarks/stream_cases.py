"""Frames of `benchmarks/streams.py`: networks trained, tuned and exported by eetool, and their outputs on sequences."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import eetool
from eetool.bench.stream_timing import StreamTimes, time_streams
from eetool.bench.stream_ways import AverageFrames, FilterFrames, open_stream_model
from eetool.data.source import Source
from eetool.latency.estimate.cascade_cost import CascadeCosts, layout_of_manifest
from eetool.model.checkpoint import Checkpoint, load_checkpoint
from eetool.tune.moving_average import AveragePolicy
from eetool.tune.stream_figures import Frames
from eetool.tune.stream_rivals import Policy
from eetool_runtime import open_bundle
from eetool_runtime.loading import load_to_judge
from eetool_runtime.stream_filter import calibrated

_BATCH = 64


@dataclass(frozen=True)
class Case:
    """A network on new sequences, and the sequences that policies for it are chosen on.

    Attributes:
        name: of the fold or of the data.
        bundle: of the network.
        fit: frames to choose on, of other groups than `test`.
        test: frames to report on.
        inputs: float32 (N, …), the inputs of `test`.
        base_rates: (K,), of the training examples.
    """

    name: str
    bundle: Path
    fit: Frames
    test: Frames
    inputs: np.ndarray
    base_rates: np.ndarray

    @property
    def costs(self) -> CascadeCosts:
        """MACs of the cascade."""
        manifest = open_bundle(self.bundle).manifest
        return layout_of_manifest(manifest).arrange({c.name: float(c.macs) for c in manifest.components})

    @property
    def full_macs(self) -> float:
        """MACs of full depth without early exits."""
        costs = self.costs
        return float(costs.leaving((None,) * costs.early)[-1])

    def time(self, policies: dict[str, Policy], passes: int, frames: int | None) -> dict[str, StreamTimes]:
        """Return answers and times of each policy, on the first `frames` or all frames of `test`."""
        bundle = open_bundle(self.bundle)
        model = open_stream_model(bundle, variant_of(self.bundle), 1)
        name = bundle.manifest.inputs[0].name
        ways = [
            (AverageFrames if isinstance(policy, AveragePolicy) else FilterFrames)(
                kind, model, policy, self.base_rates.tolist(), lambda index: {name: self.inputs[index : index + 1]}
            )  # type: ignore[arg-type]
            for kind, policy in policies.items()
        ]
        return time_streams(ways, self.test.starts[:frames], passes)


def train_once(path: Path, reference: str, data: Source, **options: Any) -> Checkpoint:
    """Train a network as far as that was not done, and return it; an interrupted training goes on."""
    if path.exists():
        return load_checkpoint(path, [reference])
    print(f"training {path.name}", file=sys.stderr)
    begun = path.with_name(f"{path.name}.resume").exists()
    return eetool.train(reference, data, path, resume=begun, **options)


def variant_of(bundle: Path) -> str:
    """Return the first variant of a bundle, which is the one that runs."""
    return next(iter(open_bundle(bundle).manifest.variants))


def predict(bundle: Path, inputs: np.ndarray) -> np.ndarray:
    """Return logits (exits, N, K) by the runtime."""
    model = load_to_judge(open_bundle(bundle), variant=variant_of(bundle))
    parts = [model.every_exit(inputs[i : i + _BATCH]) for i in range(0, len(inputs), _BATCH)]
    return np.stack([np.concatenate([part[k][0] for part in parts]) for k in range(len(parts[0]))])


def temperatures_of(bundle: Path) -> tuple[float, ...]:
    """Return the temperature of every exit."""
    return open_bundle(bundle).manifest.variants[variant_of(bundle)].temperatures


def source_frames(source: Source, indices: np.ndarray, logits: np.ndarray, temperatures: Sequence[float]) -> Frames:
    """Return frames of a source, of which `logits` (exits, n, K) are those at `indices` (n,)."""
    assert source.order is not None
    assert source.order.period_s is not None
    probabilities = np.stack([calibrated(own, t) for own, t in zip(logits, temperatures, strict=True)], 1)
    starts, groups = source.order.starts(indices), source.order.group[indices]
    return Frames(probabilities, source.labels[indices], starts, groups, source.order.period_s)


def joined(parts: Sequence[Frames]) -> Frames:
    """Return the frames of several networks together; groups of different parts are different ones."""
    offsets = np.cumsum([0, *(int(part.groups.max()) + 1 for part in parts[:-1])])
    return Frames(
        np.concatenate([part.probabilities for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.starts for part in parts]),
        np.concatenate([part.groups + offset for part, offset in zip(parts, offsets, strict=True)]),
        parts[0].period_s,
    )
