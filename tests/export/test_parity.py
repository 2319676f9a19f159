"""The proof: what counts as equal, and that a bundle which is not equal does not pass."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eetool.errors import VerificationError
from eetool.export.bundle_files import save_arrays, write_manifest
from eetool.export.parity import (
    ParityCheck,
    answers_alone,
    check_bundle,
    compare_tensors,
    component_parity,
    near_threshold,
    require_parity,
)
from eetool_runtime import Bundle, open_bundle
from eetool_runtime.backends import open_graph
from eetool_runtime.loading import load_to_judge
from tests.helpers.tiny_bundle import write_tiny_bundle

RELATIVE = 1e-4
A = np.array([1.0, -300.0, 2.0], np.float32)


def test_compare_tensors_tolerance_grows_with_the_largest_value() -> None:
    assert compare_tensors(A, A, RELATIVE).tolerance == pytest.approx(300 * RELATIVE)
    assert compare_tensors(A / 1000, A / 1000, RELATIVE).tolerance == RELATIVE


def test_compare_tensors_error_is_the_largest_difference() -> None:
    found = compare_tensors(A + np.array([0, 0.02, -0.01], np.float32), A, RELATIVE)
    assert found.max_abs_error == pytest.approx(0.02, rel=1e-2)
    assert found.holds
    assert not compare_tensors(A + np.array([0, 0, 0.04], np.float32), A, RELATIVE).holds


@pytest.mark.parametrize(
    ("made", "reference"),
    [
        (A[:2], A),
        (A[None], A),
        (A.astype(np.float64), A),
        (np.array([np.nan]), np.array([np.nan])),
        (np.array([np.inf]), np.array([1.0])),
        (np.array([1.0]), np.array([np.inf])),
        (np.array([np.inf]), np.array([-np.inf])),
        (A, np.array(["a", "b", "c"])),
    ],
)
def test_compare_tensors_other_shape_nan_or_infinity_fails(made: np.ndarray, reference: np.ndarray) -> None:
    parity = compare_tensors(made, reference, RELATIVE)
    assert not parity.holds
    assert np.isfinite(parity.max_abs_error), "manifests hold finite numbers"


@pytest.mark.parametrize(
    ("made", "reference", "problem"),
    [
        (A[:2], A, "is float32 (2,) instead of float32 (3,)"),
        (A, A.astype(np.float64), "is float32 (3,) instead of float64 (3,)"),
        (A * np.nan, A, "of 3 numbers 3 are NaN or infinite in the graph, and 0 in the model"),
        (A, np.array([1, np.inf, np.nan], np.float32), "of 3 numbers 0 are NaN or infinite in the graph, and 2 in the"),
    ],
)
def test_compare_tensors_without_an_error_to_measure_tells_why(
    made: np.ndarray, reference: np.ndarray, problem: str
) -> None:
    assert str(compare_tensors(made, reference, RELATIVE)).startswith(problem)


def test_compare_tensors_equal_infinities_hold() -> None:
    mask = np.array([0.0, -np.inf], np.float32)
    assert compare_tensors(mask, mask, RELATIVE).max_abs_error == 0
    assert compare_tensors(mask, mask, RELATIVE).tolerance == RELATIVE


@pytest.mark.parametrize("dtype", [np.bool_, np.int64])
def test_compare_tensors_booleans_and_integers_are_compared(dtype: Any) -> None:
    assert compare_tensors(np.array([0, 1], dtype), np.array([0, 1], dtype), RELATIVE).holds
    assert not compare_tensors(np.array([0, 1], dtype), np.array([1, 1], dtype), RELATIVE).holds


Edit = Callable[[dict[str, np.ndarray]], object]


class Spoiled:
    """A tiny bundle whose files may be changed, and sealed again as a careful forger would."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def samples(self, edit: Edit) -> None:
        bundle = open_bundle(self.path)
        name = bundle.manifest.variants["onnx/fp32"].samples
        arrays = bundle.arrays(name)
        edit(arrays)
        save_arrays(bundle.file(name), arrays)
        write_manifest(self.path, bundle.manifest)

    def failed(self) -> list[ParityCheck]:
        return [check for check in check_bundle(open_bundle(self.path), "onnx/fp32") if not check.passed]


@pytest.fixture
def spoiled(tmp_path: Path) -> Spoiled:
    return Spoiled(write_tiny_bundle(tmp_path))


def test_check_bundle_sound_bundle_passes(spoiled: Spoiled) -> None:
    checks = check_bundle(open_bundle(spoiled.path), "onnx/fp32")
    assert all(check.passed for check in checks)
    assert [check.what for check in checks] == [
        *(f"onnx/fp32 exit{i}_logits" for i in range(3)),
        *(f"onnx/fp32 decisions at {name}" for name in ("full", "balanced", "fast")),
    ]
    require_parity(checks)


@pytest.mark.parametrize(
    "edit",
    [
        lambda arrays: arrays["exit1_logits"].__iadd__(0.5),
        lambda arrays: arrays.pop("exit1_logits"),
        lambda arrays: arrays.update(exit1_logits=arrays["exit1_logits"][:1]),
        lambda arrays: arrays.update(exit1_logits=np.array(["text"])),
    ],
)
def test_check_bundle_other_logits_are_reported(spoiled: Spoiled, edit: Edit) -> None:
    spoiled.samples(edit)
    assert [check.what for check in spoiled.failed()] == ["onnx/fp32 exit1_logits"]


@pytest.mark.parametrize(
    "edit",
    [
        lambda arrays: arrays["exit_fast"].__iadd__(1),
        lambda arrays: arrays.pop("exit_fast"),
        lambda arrays: arrays.update(exit_fast=arrays["exit_fast"][:1]),
    ],
)
def test_check_bundle_other_decisions_are_reported(spoiled: Spoiled, edit: Edit) -> None:
    spoiled.samples(edit)
    assert [check.what for check in spoiled.failed()] == ["onnx/fp32 decisions at fast"]


def test_check_bundle_changed_thresholds_change_decisions(spoiled: Spoiled) -> None:
    document = json.loads((spoiled.path / "manifest.json").read_text())
    document["variants"]["onnx/fp32"]["operating_points"]["fast"]["thresholds"] = [0.0, 0.0]
    (spoiled.path / "manifest.json").write_text(json.dumps(document))
    assert [check.what for check in spoiled.failed()] == ["onnx/fp32 decisions at fast"]


@pytest.mark.parametrize(("distance", "passes"), [(1e-6, True), (1e-2, False)])
def test_check_bundle_decisions_at_a_threshold_may_differ_by_rounding(
    spoiled: Spoiled, distance: float, passes: bool
) -> None:
    bundle = open_bundle(spoiled.path)
    model = load_to_judge(bundle, variant="onnx/fp32")
    _, confidence = answers_alone(model, bundle.arrays(bundle.manifest.samples))[0]
    document = json.loads((spoiled.path / "manifest.json").read_text())
    (first, second) = document["variants"]["onnx/fp32"]["operating_points"]["fast"]["thresholds"]
    lowest = float(confidence[confidence >= first].min())  # of those that leave at exit 0
    document["variants"]["onnx/fp32"]["operating_points"]["fast"]["thresholds"] = [lowest + distance, second]
    (spoiled.path / "manifest.json").write_text(json.dumps(document))
    check = next(check for check in check_bundle(open_bundle(spoiled.path), "onnx/fp32") if "fast" in check.what)
    assert check.passed is passes
    assert ("within rounding of a threshold" in check.found) is passes


def test_near_threshold_looks_at_the_gate_where_decisions_part() -> None:
    confidences = np.array([[0.5, 0.5, 0.9, 0.5], [0.7, 0.7001, 0.7, 0.2], [1.0, 1.0, 1.0, 1.0]])
    taken, recorded = np.array([1, 1, 0, 2]), np.array([2, 2, 2, 2])
    near = near_threshold(confidences, (0.9, 0.7), taken, recorded, 1e-5)
    assert near.tolist() == [True, False, True, False]
    assert not near_threshold(confidences, (0.9, None), taken, recorded, 1e-5)[:2].any(), "a gate that never fires"
    assert not near_threshold(confidences, (0.9, 0.7), taken, recorded.astype(str), 1e-5).any()


def test_require_parity_lists_all_failures() -> None:
    with pytest.raises(VerificationError, match="first: 1\n  third: 3") as failed:
        require_parity(
            [ParityCheck("first", False, "1"), ParityCheck("second", True, "2"), ParityCheck("third", False, "3")]
        )
    assert failed.value.exit_code == 4


def test_component_parity_compares_with_the_models_own_tensors(spoiled: Spoiled) -> None:
    bundle: Bundle = open_bundle(spoiled.path)
    component = bundle.manifest.components[0]
    x = bundle.arrays(bundle.manifest.samples)
    path = bundle.file(bundle.manifest.variants["onnx/fp32"].components[component.name].path)
    graph = open_graph(path)
    made = dict(zip(graph.outputs, graph.run({n: x[n] for n in graph.inputs}), strict=True))
    assert component_parity(path, component.inputs, component.outputs, [{**x, **made}], RELATIVE).max_abs_error == 0
    off = {name: array + 1 for name, array in made.items()}
    assert not component_parity(path, component.inputs, component.outputs, [{**x, **off}], RELATIVE).holds
