"""Parity checks between a bundle and its model: components, exits, and decisions of the cascade."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from eetool.data.rows import rows_per_pass
from eetool.errors import VerificationError
from eetool.metrics import Thresholds, exits_taken
from eetool_runtime import Bundle, Model
from eetool_runtime.backends import open_graph
from eetool_runtime.loading import load_to_judge
from eetool_runtime.manifest import Manifest

_LARGEST = float(np.finfo(np.float32).max)
_ABSENT = np.empty(0)
_LARGEST_ROUNDING = 1e-3  # of a confidence

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Parity:
    """Largest absolute error, and the largest allowed: a share of max(1, max |reference|).

    `problem` tells why there is no error to measure; the error is then the largest number. `relative_rms` is the root
    mean square of the errors of a component, over that of the model's own numbers; of its outputs the largest.
    """

    max_abs_error: float
    tolerance: float
    problem: str = ""
    relative_rms: float = 0.0

    @property
    def holds(self) -> bool:
        """Result of the check: the error is at most the allowed one."""
        return self.max_abs_error <= self.tolerance

    def __str__(self) -> str:
        return self.problem or f"error {self.max_abs_error:.2e}, allowed {self.tolerance:.2e}"


def component_parity(
    path: Path,
    inputs: Sequence[str],
    outputs: Sequence[str],
    cases: Sequence[Mapping[str, np.ndarray]],
    relative: float,
) -> Parity:
    """Run one graph alone on the model's own tensors and compare its outputs with the model's.

    Args:
        path: file of the graph.
        inputs: names of its inputs.
        outputs: names of its outputs.
        cases: named tensors, at batch sizes that the graph runs at.
        relative: allowed error as a share of max(1, max |reference|).
    """
    graph = open_graph(path)
    parities = []
    squares = {name: np.zeros(2) for name in outputs}
    for tensors in cases:
        results = dict(zip(graph.outputs, graph.run({name: tensors[name] for name in inputs}), strict=True))
        for name in outputs:
            parities.append(compare_tensors(results[name], tensors[name], relative))
            squares[name] += _squares(results[name], tensors[name])
    worst = max(parities, key=lambda parity: parity.max_abs_error / parity.tolerance)
    return replace(worst, relative_rms=max(float(np.sqrt(error / (power or 1.0))) for error, power in squares.values()))


def _squares(result: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    """Return the sums of the squared errors and of the squared reference."""
    if result.shape != reference.shape:
        return _LARGEST, 0.0
    exact = reference.astype(np.float64)
    differ = result != reference  # equal infinities, as in an attention mask, cannot be subtracted
    errors = np.nan_to_num(result[differ] - exact[differ], nan=_LARGEST, posinf=_LARGEST, neginf=_LARGEST)
    return float((errors**2).sum()), float((exact[np.isfinite(exact)] ** 2).sum())


def compare_tensors(result: np.ndarray, reference: np.ndarray, relative: float) -> Parity:
    """Compare one tensor; another shape or dtype, and NaN or infinity on one side, count as the largest error."""
    if result.shape != reference.shape or result.dtype != reference.dtype:
        found, wanted = (f"{array.dtype} {array.shape}" for array in (result, reference))
        return Parity(_LARGEST, relative, f"is {found} instead of {wanted}")
    differ = result != reference  # equal infinities, as in an attention mask, cannot be subtracted
    error = np.abs(result[differ].astype(np.float64) - reference[differ]).max(initial=0.0)
    scale = np.abs(reference[np.isfinite(reference)].astype(np.float64)).max(initial=1.0)
    if np.isfinite(error):
        return Parity(float(error), relative * float(scale))
    graph, model = (int((~np.isfinite(array[differ])).sum()) for array in (result, reference))
    problem = f"of {result.size} numbers {graph} are NaN or infinite in the graph, and {model} in the model"
    return Parity(_LARGEST, relative * float(scale), problem)


def expected_samples(manifest: Manifest, variant: str, exits: Sequence[tuple[np.ndarray, np.ndarray]]) -> Arrays:
    """Return the outputs that a bundle records for its samples: logits of every exit, and exits at every point."""
    arrays: Arrays = {e.logits: logits for e, (logits, _) in zip(manifest.exits, exits, strict=True)}
    confidences = np.stack([confidence for _, confidence in exits])
    for name, point in manifest.variants[variant].operating_points.items():
        arrays[f"exit_{name}"] = exits_taken(confidences, point.thresholds).astype(np.int64)
    return arrays


@dataclass(frozen=True)
class ParityCheck:
    """One comparison."""

    what: str
    passed: bool
    found: str


def answers_alone(model: Model, inputs: Arrays) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return logits (n, classes) and confidence (n,) of every exit for inputs (n, …), each run at batch 1."""
    return _answers(model, inputs, 1)


def answers_in_batches(model: Model, inputs: Arrays) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the same in batches sized to the inputs."""
    return _answers(model, inputs, min(rows_per_pass(x.shape[1:]) for x in inputs.values()))


def _answers(model: Model, inputs: Arrays, step: int) -> list[tuple[np.ndarray, np.ndarray]]:
    n = len(next(iter(inputs.values())))
    rows = [model.every_exit({name: x[i : i + step] for name, x in inputs.items()}) for i in range(0, n, step)]
    return [
        (np.concatenate([logits for logits, _ in e]), np.concatenate([confidence for _, confidence in e]))
        for e in zip(*rows, strict=True)
    ]


def check_bundle(bundle: Bundle, variant: str) -> list[ParityCheck]:
    """Run a bundle on its own samples and compare the outputs with the recorded ones; needs no torch.

    The samples run one by one, as on a device, and in batches where the variant takes them.
    """
    model = load_to_judge(bundle, variant=variant)
    inputs = bundle.arrays(bundle.manifest.samples)
    fitted = bundle.manifest.variants[variant]
    expected = bundle.arrays(fitted.samples)
    checks = []
    alone = answers_alone(model, inputs)
    together = alone if fitted.batch is not None else answers_in_batches(model, inputs)
    for e, (single, _), (batched, _) in zip(bundle.manifest.exits, alone, together, strict=True):
        recorded = expected.get(e.logits, _ABSENT)
        checks.append(_logits_check(f"{variant} {e.logits}", single, batched, recorded, fitted.samples_tolerance))
    confidences = np.stack([confidence for _, confidence in alone])
    for name, point in fitted.operating_points.items():
        taken = _decisions(model, name, inputs)
        recorded = expected.get(f"exit_{name}", _ABSENT)
        near = near_threshold(confidences, point.thresholds, taken, recorded, fitted.samples_tolerance)
        # Kernels that round differently may change a decision.
        may_differ = int(fitted.samples_tolerance * len(taken))
        checks.append(decisions_check(f"{variant} decisions at {name}", taken, recorded, near, may_differ))
    return checks


def near_threshold(
    confidences: np.ndarray, thresholds: Thresholds, taken: np.ndarray, recorded: np.ndarray, tolerance: float
) -> np.ndarray:
    """Return bool (n,): where two decisions differ, whether rounding decides the gate that they differ at.

    Args:
        confidences: (exits, n), of every exit.
        thresholds: of every early exit.
        taken: exit of each example (n,).
        recorded: the same as it was recorded.
        tolerance: error of a confidence that counts as rounding, at most a thousandth.
    """
    if recorded.shape != taken.shape or recorded.dtype.kind != "i":
        return np.zeros(taken.shape, bool)
    limits = np.array([np.nan if t is None else t for t in (*thresholds, None)])
    gates = np.clip(np.minimum(taken, recorded), 0, len(thresholds))  # the one that only one decision passed
    distance = np.abs(confidences[gates, np.arange(len(gates))] - limits[gates])
    near: np.ndarray = (taken != recorded) & (distance <= min(tolerance, _LARGEST_ROUNDING))
    return near


def decisions_check(
    what: str, taken: np.ndarray, recorded: np.ndarray, near: np.ndarray, may_differ: int = 0
) -> ParityCheck:
    """Compare exits (n,); those that rounding decides count as equal, see `near_threshold`."""
    same = int((taken == recorded).sum()) if recorded.shape == taken.shape else 0
    decided_by_rounding = int(near.sum())
    found = f"{same} of {len(taken)} the same"
    found += f", {decided_by_rounding} within rounding of a threshold" if decided_by_rounding else ""
    return ParityCheck(what, same + decided_by_rounding >= len(taken) - may_differ, found)


def _logits_check(
    what: str, single: np.ndarray, batched: np.ndarray, recorded: np.ndarray, relative: float
) -> ParityCheck:
    """Compare the answers to inputs alone and in a batch with the recorded ones, and say where only one differs."""
    alone, together = (compare_tensors(made, recorded, relative) for made in (single, batched))
    if alone.holds == together.holds:
        worst = max(alone, together, key=lambda parity: parity.max_abs_error)
        return ParityCheck(what, worst.holds, str(worst))
    reason = f"{alone} for inputs alone; error {together.max_abs_error:.2e} in a batch: the answer depends on the batch"
    return ParityCheck(what, False, reason)


def require_parity(checks: Sequence[ParityCheck], what: str = "the bundle") -> None:
    """Raise VerificationError with all failures; `what` names the exported file in the message."""
    failed = [f"{check.what}: {check.found}" for check in checks if not check.passed]
    if failed:
        raise VerificationError(f"{what} does not compute what the model computes:\n  " + "\n  ".join(failed))


def _decisions(model: Model, point: str, inputs: Arrays) -> np.ndarray:
    """Run the samples one by one through the real cascade, and return the exit of each."""
    model.use(point)
    n = len(next(iter(inputs.values())))
    return np.array([model({name: x[i : i + 1] for name, x in inputs.items()}).exit for i in range(n)])
