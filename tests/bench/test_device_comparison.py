"""Comparison on a device: rows, verdicts, networks without figures, and inputs of other sizes."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from eetool.bench.device_accuracy import AccuracyOnData, DataResults
from eetool.bench.device_comparison import (
    ComparisonRules,
    DeviceComparison,
    check_input_shapes,
    compare_on_device,
    rival_warnings,
)
from eetool.errors import ArtefactError, UsageError
from eetool.latency.estimate.cascade_cost import CascadeLayout
from eetool.latency.estimate.prediction_target import PredictionTarget
from eetool.latency.estimate.predictor import Predictor
from eetool.latency.kernels.kernel import Kernel
from eetool.model.spec import ExpectedDrop
from eetool_runtime.manifest import Expected, OperatingPoint
from tests.helpers.latency_tables import COMPOSITION, conv, predictor, profile, table

N = 2000
BOARD = predictor()
RULES = ComparisonRules(None, 1.0)
GRAPHS = {"seg0": [conv(64, 64)], "exit0": [conv(8, 8)], "seg1": [conv(64, 64)] * 8}


def point(accuracy: float, share: float) -> OperatingPoint:
    expected = Expected("threshold", N, accuracy, (share, 1 - share), 0.5, 1e6, (None, None))
    return OperatingPoint((0.9 if share else None,), expected)


def model(accuracy: float = 0.9, share: float = 0.9, **changes: Any) -> PredictionTarget:
    return PredictionTarget(
        name="model",
        variant="onnx/fp32",
        graphs=dict(GRAPHS),
        kinds=dict.fromkeys(GRAPHS, "segment"),
        layout=CascadeLayout((("seg0",), ("seg1",)), ("exit0",)),
        operating_points={"full": point(0.9, 0.0), "fast": point(accuracy, share)},
        unsplit=(*GRAPHS["seg0"], *GRAPHS["seg1"]),
        input_shape=(3, 32, 32),
        **changes,
    )


def rival(kernels: list[Kernel], accuracy: float | None = None) -> tuple[PredictionTarget, Predictor]:
    points = {} if accuracy is None else {"full": point(accuracy, 0.0)}
    target = PredictionTarget("small.onnx", "onnx/fp32", {"small.onnx": kernels}, {"small.onnx": "graph"})
    return dataclasses.replace(target, operating_points=points), BOARD


def compared(
    target: PredictionTarget, *rivals: tuple[PredictionTarget, Predictor], drop: ExpectedDrop | None = None
) -> DeviceComparison:
    """Compare; `drop` is what tuning recorded of `fast`."""
    return compare_on_device(target, BOARD, rivals, RULES, drops={} if drop is None else {"fast": drop})


def recorded(points: float, half: float = 0.5) -> ExpectedDrop:
    return ExpectedDrop(points, (points - half, points + half), 0.0)


SMALL, LARGE = [conv(8, 8)], [conv(128, 128)] * 20


@pytest.mark.parametrize(
    ("target", "rivals", "drop", "pays", "words"),
    [
        (model(), [], recorded(0.0), True, "Early exit pays on board: fast is predicted to be 7"),
        (model(), [], recorded(0.0), True, "+0.00 points of accuracy (-0.50 to +0.50)"),
        (model(), [], recorded(0.0, 3.0), None, "fast may lose 3.00 points of accuracy, where 1 may be lost"),
        (model(), [], recorded(0.0, 3.0), None, "on the same inputs, or `eetool tune` with more examples than 2000."),
        (model(), [], None, None, "the accuracies of fast and unsplit are recorded without an interval"),
        (model(), [], None, None, "--data SOURCE, which compares both on the same inputs, or `eetool tune` again"),
        (model(share=0.0), [], recorded(0.0), None, "fast may be no faster than unsplit"),
        (model(share=0.0), [], recorded(0.0), None, "What would decide it: `eetool bench` on board, or a table meas"),
        (model(accuracy=0.85), [], recorded(5.0), False, "fast loses 5.00 points of accuracy"),
        (model(accuracy=0.85), [], recorded(5.0, 5.0), None, "fast may lose 10.00 points of accuracy"),
        (model(), [rival(SMALL, 0.95)], recorded(0.0), None, "small.onnx is faster and may keep the accuracy asked"),
        (model(), [rival(SMALL, 0.85)], recorded(0.0), None, "small.onnx is faster and may keep the accuracy asked"),
        (model(), [rival(SMALL)], recorded(0.0), None, "small.onnx is faster and may keep the accuracy asked for"),
        (model(), [rival(LARGE)], recorded(0.0), True, "No way without early exits is faster at the accuracy asked"),
    ],
)
def test_compare_on_device_gives_verdict_of_recorded_intervals(
    target: PredictionTarget, rivals: list[Any], drop: ExpectedDrop | None, pays: bool | None, words: str
) -> None:
    verdict = compared(target, *rivals, drop=drop).verdict
    assert verdict is not None
    assert (verdict.pays, words in verdict.text) == (pays, True), verdict.text
    assert bool(verdict.remedies) == (pays is None)
    if drop is not None and not rivals:
        assert verdict.accuracy_difference_ci95 == (-drop.ci95[1], -drop.ci95[0])


def test_compare_on_device_rows_have_intervals_and_ratios() -> None:
    rows = {row.name: row for row in compared(model(), rival(SMALL, 0.8)).rows}
    assert list(rows) == ["unsplit", "full", "fast", "small.onnx"]
    assert [rows["unsplit"].latency_ratio, rows["unsplit"].accuracy, rows["fast"].n] == [None, 0.9, N]
    for row in rows.values():
        assert row.latency_ms is not None
        assert row.interval_ms[0] < row.latency_ms < row.interval_ms[1]
    low, high = rows["fast"].latency_ratio_ci95
    assert low < (rows["fast"].latency_ratio or 0.0) < high < 1
    assert rows["fast"].exit_shares == (0.9, pytest.approx(0.1))


def test_compare_on_device_data_replaces_accuracies_and_exit_shares() -> None:
    right = np.arange(N) < 1800

    def result(count: int, shares: tuple[float, ...] | None) -> AccuracyOnData:
        return AccuracyOnData(np.arange(N) < count, shares)

    points = {"full": result(1800, (0.0, 1.0)), "fast": result(1795, (0.5, 0.5))}
    results = DataResults("digits", N, AccuracyOnData(right, None), points, ())
    comparison = compare_on_device(model(), BOARD, [], RULES, results)
    assert comparison.verdict is not None
    assert comparison.verdict.accuracy_difference == pytest.approx(-0.25)
    assert comparison.verdict.accuracy_difference_ci95[0] < -0.25
    fast = comparison.rows[2]
    assert (fast.accuracy, fast.exit_shares, comparison.data) == (1795 / N, (0.5, 0.5), "digits")
    assert (fast.latency_ms or 0) > (compared(model()).rows[2].latency_ms or 0)


def test_compare_on_device_rival_without_int8_table_leaves_it_open() -> None:
    int8 = Predictor(profile(table()), "onnxruntime", "int8", 1)
    comparison = compared(model(), (rival(SMALL, 0.95)[0], int8))
    row = comparison.rows[-1]
    assert (row.latency_ms, row.interval_ms, row.latency_ratio) == (None, (), None)
    assert "board has no int8 table" in (row.reason or "")
    assert comparison.verdict is not None
    assert comparison.verdict.pays is None


def test_compare_on_device_table_without_errors_cannot_tell() -> None:
    silent = dataclasses.replace(table(), compositions=(dataclasses.replace(COMPOSITION, n=0),))
    board = Predictor(profile(silent), "onnxruntime", "fp32", 1)
    verdict = compare_on_device(model(), board, [], RULES).verdict
    assert verdict is not None
    assert (verdict.pays, verdict.latency_ratio < 0.5) == (None, True)


def test_compare_on_device_unknown_point_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown operating point 'slow'"):
        compare_on_device(model(), BOARD, [], ComparisonRules("slow", 1.0))


def test_check_input_shapes_other_size_warns_and_other_rank_is_refused() -> None:
    target, _ = rival(SMALL)
    assert check_input_shapes(model(), target) == ()  # not known
    (warning,) = check_input_shapes(model(), dataclasses.replace(target, input_shape=(3, 64, 64)))
    assert warning == "small.onnx takes inputs of 3 × 64 × 64, and model those of 3 × 32 × 32: compared as they are"
    with pytest.raises(ArtefactError, match="takes inputs of 10, and model"):
        check_input_shapes(model(), dataclasses.replace(target, input_shape=(10,)))


def test_rival_warnings_name_unknown_operators_with_their_share() -> None:
    odd, board = rival([conv(8, 8), Kernel("other", {"elements": 10_000_000}, ops=("my.own.Twist",))])
    (warning,) = rival_warnings(odd, board)
    assert warning.startswith("small.onnx: unknown operator my.own.Twist, guessed: ")
    assert int(warning.split(": ")[-1].split("%")[0]) > 50
