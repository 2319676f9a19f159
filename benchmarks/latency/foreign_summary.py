"""Figures of the hours that `foreign.py` measured: how far estimates are from measured latencies."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import spearmanr

VARIANTS = ("onnx/fp32", "onnx/int8", "tflite/fp32")
STATES = {"as_built": "as built", "checked": "after the check"}

Row = Mapping[str, Any]  # a network: latencies of its passes, and estimates by state


def summaries(hours: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of every variant: of each hour, and of all networks of all hours."""
    result: dict[str, Any] = {}
    for variant in VARIANTS:
        by_hour = {name: measured_rows(hour[variant]) for name, hour in hours.items() if variant in hour}
        by_hour = {name: rows for name, rows in by_hour.items() if rows}
        if by_hour:
            everything = [row for rows in by_hour.values() for row in rows]
            result[variant] = {name: summary(rows) for name, rows in {**by_hour, "all hours": everything}.items()}
    return result


def measured_rows(part: Mapping[str, Any]) -> list[Row]:
    """Return the networks of one hour and variant that were measured and estimated."""
    return [row for row in part["networks"].values() if row.get("passes_ms") and "checked" in row]


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Return shares within ±10 and ±20 %, rank correlation and coverage, before and after the checks."""
    spreads = np.array([spread(row) for row in rows])
    figures: dict[str, Any] = {
        "networks": len(rows),
        "run_to_run": {"median": float(np.median(spreads)), "within_10_percent": float(np.mean(spreads <= 0.1))},
    }
    measured_ms = [float(np.median(row["passes_ms"])) for row in rows]
    for state in STATES:
        errors = np.array([ratio(row, state) for row in rows]) - 1
        predicted_ms = [np.median([one["latency_ms"] for one in estimates(row, state)]) for row in rows]
        figures[state] = {
            "within_10_percent": float(np.mean(np.abs(errors) <= 0.10)),
            "within_20_percent": float(np.mean(np.abs(errors) <= 0.20)),
            "median_error": float(np.median(errors)),
            "largest_error": float(errors[np.argmax(np.abs(errors))]),
            "spearman": float(spearmanr(predicted_ms, measured_ms).statistic) if len(rows) > 2 else None,
            "inside_interval": float(np.mean([is_inside(row, state) for row in rows])),
        }
    return figures


def estimates(row: Row, state: str) -> list[Mapping[str, Any]]:
    """Return the estimate of every pass of a network: always that of the table as built, or those after the checks."""
    return [row[state]] * len(row["passes_ms"]) if state == "as_built" else row[state]


def ratio(row: Row, state: str) -> float:
    """Return predicted over measured latency, the median over passes."""
    pairs = zip(estimates(row, state), row["passes_ms"], strict=True)
    return float(np.median([one["latency_ms"] / ms for one, ms in pairs]))


def is_inside(row: Row, state: str) -> bool:
    """Return whether the measured latency, the median over passes, is within the interval; bounds are medians, too."""
    low, high = np.median([one["interval_ms"] for one in estimates(row, state)], 0)
    return bool(low <= np.median(row["passes_ms"]) <= high)


def spread(row: Row) -> float:
    """Return by which share the slowest pass is above the fastest."""
    return float(max(row["passes_ms"]) / min(row["passes_ms"]) - 1)
