"""Records of `manifest.json` with the figures of an operating point. docs/bundle-format.md is normative."""

from __future__ import annotations

from typing import Optional

from .records import dataclass


@dataclass(frozen=True)
class ReachedConfidence:
    """Confidence of the `n` inputs that reach an exit: the reference for drift tests."""

    n: int
    confidence_mean: float
    confidence_std: float


@dataclass(frozen=True)
class Expected:
    """Figures of an operating point on a named held-out split of `n` examples."""

    split: str
    n: int
    accuracy: float
    exit_shares: tuple[float, ...]
    mean_exit_depth: float
    mean_macs: float
    reached: tuple[Optional[ReachedConfidence], ...]


@dataclass(frozen=True)
class Certificate:
    """A certified bound on the accuracy drop.

    With probability `confidence`, early exits lose at most `max_accuracy_drop` percentage points on new data.

    Attributes:
        method: name of the test.
        confidence: 1 - level of the test.
        max_accuracy_drop: in percentage points.
        n: number of examples.
        worse: examples that only full depth classifies correctly.
        better: examples that only the cascade classifies correctly.
        p_value: of the null hypothesis that the drop is larger.
    """

    method: str
    confidence: float
    max_accuracy_drop: float
    n: int
    worse: int
    better: int
    p_value: float
