"""Frames of `benchmarks/streams.py`: networks trained, tuned and exported by eetool, and their outputs on sequences."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eetool.bench.stream_timing import StreamTimes, time_streams
from eetool.bench.stream_ways import AverageFrames, FilterFrames, open_stream_model
from eetool.data.source import Source
from eetool.latency.estimate.cascade_cost import CascadeCosts, layout_of_manifest
from eetool.tune.calibration import fit_temperature
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


def eetool(folder: Path, *arguments: str, path: Path | None = None) -> None:
    """Run a command of eetool in `folder`, with networks from `path`; its lines go to stderr."""
    command = [sys.executable, "-m", "eetool", *arguments]
    root = Path(__file__).parents[1]
    own = [] if path is None else [str(path)]
    places = os.pathsep.join([*own, *(str(root / part) for part in ("", "runtimes/python", "runtimes/measure"))])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": places}
    done = subprocess.run(command, cwd=folder, check=False, stdout=sys.stderr, env=environment)
    if done.returncode:
        raise SystemExit(f"failed with exit code {done.returncode}: {' '.join(command)}")


def make_bundle(folder: Path, stem: str, train: Sequence[str], data: str, path: Path | None, reference: str) -> Path:
    """Train, tune and export a network, as far as that was not done; return its bundle."""
    model, bundle = folder / f"{stem}.pt", folder / f"{stem}.eebundle"
    own = ("--model", reference) if ":" in reference else ()
    if not model.exists():
        eetool(folder, "train", reference, "--data", data, *train, "--threads", "1", "-o", model.name, path=path)
    if not bundle.exists():
        tuned = folder / f"{stem}_tuned.pt"
        eetool(folder, "tune", model.name, "--data", data, *own, "-o", tuned.name, "--force", path=path)
        eetool(folder, "export", tuned.name, *own, "-o", bundle.name, path=path)
    return bundle


def variant_of(bundle: Path) -> str:
    """Return the first variant of a bundle, which is the one that runs."""
    return next(iter(open_bundle(bundle).manifest.variants))


def predict(bundle: Path, inputs: np.ndarray) -> np.ndarray:
    """Return logits (exits, N, K) by the runtime."""
    model = load_to_judge(open_bundle(bundle), variant=variant_of(bundle))
    parts = [model.every_exit(inputs[i : i + _BATCH]) for i in range(0, len(inputs), _BATCH)]
    return np.stack([np.concatenate([part[k][0] for part in parts]) for k in range(len(parts[0]))])


def source_frames(
    source: Source, indices: np.ndarray, logits: np.ndarray, temperatures: Sequence[float] | None = None
) -> Frames:
    """Return frames of a source; without temperatures these are fitted on the frames themselves."""
    assert source.order is not None
    assert source.order.period_s is not None
    labels = source.labels[indices]
    temperatures = temperatures or [fit_temperature(own, labels) for own in logits]
    probabilities = np.stack([calibrated(own, t) for own, t in zip(logits, temperatures, strict=True)], 1)
    starts, groups = source.order.starts(indices), source.order.group[indices]
    return Frames(probabilities, labels, starts, groups, source.order.period_s)


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
