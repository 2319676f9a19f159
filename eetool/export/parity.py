"""The proof that a bundle computes what the model computes: components, exits, and the decisions of the cascade."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eetool.errors import VerificationError
from eetool.metrics import exits_taken
from eetool_runtime import Bundle, Model, load
from eetool_runtime.backends import open_graph
from eetool_runtime.manifest import Manifest

_LARGEST = float(np.finfo(np.float32).max)
_ABSENT = np.empty(0)

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Parity:
    """Largest absolute error found, and the largest allowed: a share of max(1, max |reference|)."""

    max_abs_error: float
    tolerance: float

    @property
    def holds(self) -> bool:
        """Whether the error is allowed."""
        return self.max_abs_error <= self.tolerance

    def __str__(self) -> str:
        return f"error {self.max_abs_error:.2e}, allowed {self.tolerance:.2e}"


def component_parity(
    path: Path,
    inputs: Sequence[str],
    outputs: Sequence[str],
    cases: Sequence[Mapping[str, np.ndarray]],
    relative: float,
) -> Parity:
    """Run one graph alone on the model's own tensors and compare what it makes with the model's.

    Args:
        cases: named tensors, at any batch size that the graph runs at.
        relative: allowed error as a share of max(1, max |reference|).
    """
    graph = open_graph(path)
    found = []
    for tensors in cases:
        made = dict(zip(graph.outputs, graph.run({name: tensors[name] for name in inputs}), strict=True))
        found += [compare_tensors(made[name], tensors[name], relative) for name in outputs]
    return max(found, key=lambda parity: parity.max_abs_error / parity.tolerance)


def compare_tensors(made: np.ndarray, reference: np.ndarray, relative: float) -> Parity:
    """Parity of one tensor; another shape or dtype, and NaN or infinity on one side, are the largest error there is."""
    if made.shape != reference.shape or made.dtype != reference.dtype:
        return Parity(_LARGEST, relative)
    differ = made != reference  # the infinities of an attention mask do not: they cannot be subtracted
    error = np.abs(made[differ].astype(np.float64) - reference[differ]).max(initial=0.0)
    scale = np.abs(reference[np.isfinite(reference)].astype(np.float64)).max(initial=1.0)
    return Parity(float(error) if np.isfinite(error) else _LARGEST, relative * float(scale))


def expected_samples(manifest: Manifest, variant: str, exits: Sequence[tuple[np.ndarray, np.ndarray]]) -> Arrays:
    """What a bundle's samples must give: every exit's logits, and the exit taken at every operating point."""
    arrays: Arrays = {e.logits: logits for e, (logits, _) in zip(manifest.exits, exits, strict=True)}
    confidences = np.stack([confidence for _, confidence in exits])
    for name, point in manifest.variants[variant].operating_points.items():
        arrays[f"exit_{name}"] = exits_taken(confidences, point.thresholds).astype(np.int64)
    return arrays


@dataclass(frozen=True)
class ParityCheck:
    """One thing that was compared."""

    what: str
    passed: bool
    found: str


def check_bundle(bundle: Bundle, variant: str) -> list[ParityCheck]:
    """Run a bundle on its own samples and compare it with what they record; needs no torch."""
    model = load(bundle, variant=variant)
    inputs = bundle.arrays(bundle.manifest.samples)
    fitted = bundle.manifest.variants[variant]
    expected = bundle.arrays(fitted.samples)
    checks = []
    for e, (logits, _) in zip(bundle.manifest.exits, model.every_exit(inputs), strict=True):
        parity = compare_tensors(logits, expected.get(e.logits, _ABSENT), fitted.samples_tolerance)
        checks.append(ParityCheck(f"{variant} {e.logits}", parity.holds, str(parity)))
    for name in model.operating_points:
        taken = _decisions(model, name, inputs)
        recorded = expected.get(f"exit_{name}", _ABSENT)
        same = int((taken == recorded).sum()) if recorded.shape == taken.shape else 0
        # Where kernels may round differently, so may a decision on the edge.
        may_differ = int(fitted.samples_tolerance * len(taken))
        passed = same >= len(taken) - may_differ
        checks.append(ParityCheck(f"{variant} decisions at {name}", passed, f"{same} of {len(taken)} the same"))
    return checks


def require_parity(checks: Sequence[ParityCheck], what: str = "the bundle") -> None:
    """Raise VerificationError with every failure in it, not only the first; `what` was exported."""
    failed = [f"{check.what}: {check.found}" for check in checks if not check.passed]
    if failed:
        raise VerificationError(f"{what} does not compute what the model computes:\n  " + "\n  ".join(failed))


def _decisions(model: Model, point: str, inputs: Arrays) -> np.ndarray:
    """The exit that each sample takes through the real cascade, one by one."""
    model.use(point)
    n = len(next(iter(inputs.values())))
    return np.array([model({name: x[i : i + 1] for name, x in inputs.items()}).exit for i in range(n)])
