"""Difference between tflite_micro and LiteRT on one int8 file: both round on their own, and nothing else may differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eetool_runtime.backends import Threads, backend_for, open_graph
from eetool_runtime.tflite_signature import Quantization, read_signature

_LARGEST_MEAN = 1.0  # steps; kernels that round differently stay far below


@dataclass(frozen=True)
class LitertDifference:
    """Differences of the outputs in steps of their int8 scales.

    Attributes:
        largest_steps: largest difference.
        mean_steps: mean of the absolute differences.
        share: share of the numbers that differ.
    """

    largest_steps: int
    mean_steps: float
    share: float

    @property
    def problem(self) -> str | None:
        """Fault that rounding does not explain; None without one."""
        if self.mean_steps <= _LARGEST_MEAN:
            return None
        return f"outputs differ by {self.mean_steps:.1f} steps in the mean, and by up to {self.largest_steps}"


def compare_with_litert(
    path: Path, inputs: Sequence[str], cases: Sequence[Mapping[str, np.ndarray]]
) -> LitertDifference:
    """Run a fully integer file in both engines.

    Args:
        path: the file.
        inputs: names of its inputs.
        cases: float32 values of named tensors at batch 1, in the layout of the file.
    """
    signature = read_signature(path.read_bytes())
    micro, litert = open_graph(path), backend_for("tflite").open(path, Threads())
    differences = []
    for case in cases:
        quantised = {name: _integers(signature.inputs[name].quantization, case[name]) for name in inputs}
        expected = dict(zip(litert.outputs, litert.run(quantised), strict=True))
        for name, values in zip(micro.outputs, micro.run({name: case[name] for name in inputs}), strict=True):
            own = _integers(signature.outputs[name].quantization, values)
            differences.append(np.abs(own.astype(np.int32) - expected[name]).ravel())
    steps = np.concatenate(differences)
    return LitertDifference(int(steps.max()), float(steps.mean()), float((steps > 0).mean()))


def _integers(quantization: Quantization | None, values: np.ndarray) -> np.ndarray:
    assert quantization is not None
    return quantization.quantize(values)
