"""From logits to operating points, with figures that are what they say."""

import numpy as np
import pytest

from eetool.data.splits import HELD_OUT
from eetool.latency.estimate.cascade_cost import CascadeCosts
from eetool.tune.cross_fitting import LabelledLogits
from eetool.tune.operating_points import TuningResult, fit_operating_points
from eetool_runtime.manifest import NEVER

EXITS, CLASSES = 3, 4
MACS = CascadeCosts((1000.0, 500.0, 500.0), (10.0, 10.0))


def labelled(seed: int, n: int = 400) -> LabelledLogits:
    """Logits that point to the label, more clearly the deeper the exit and the easier the example."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, n)
    signal = np.eye(CLASSES)[labels] * random.uniform(0, 8, (n, 1))
    depth = np.arange(1, EXITS + 1)[:, None, None]
    return LabelledLogits((signal * depth + random.normal(0, 2, (EXITS, n, CLASSES))).astype(np.float32), labels)


@pytest.fixture(scope="module")
def tuned() -> TuningResult:
    return fit_operating_points(labelled(2), MACS, MACS, max_accuracy_drop=4)


def test_fit_operating_points_calibration_has_one_temperature_per_exit(tuned: TuningResult) -> None:
    assert len(tuned.calibration.temperatures) == EXITS
    assert all(t > 0 for t in tuned.calibration.temperatures)


def test_fit_operating_points_full_is_first_and_never_leaves_early(tuned: TuningResult) -> None:
    assert list(tuned.operating_points) == ["full", "balanced", "fast"]
    full = tuned.operating_points["full"]
    assert full.thresholds == (None, None)
    assert full.expected is not None
    assert full.expected.exit_shares == (0, 0, 1)
    assert full.expected.mean_macs == 2000, "heads that never fire do not run"


def test_fit_operating_points_accuracy_stays_within_the_drop_and_macs_fall(tuned: TuningResult) -> None:
    full, balanced, fast = (point.expected for point in tuned.operating_points.values())
    assert full
    assert balanced
    assert fast
    for name, limit in {"balanced": 2, "fast": 4}.items():
        expected = tuned.expected_drops[name]
        assert expected.points - expected.optimism <= limit, "on the held-out examples themselves"
        assert expected.ci95[0] < expected.points < expected.ci95[1]
    assert fast.mean_macs <= balanced.mean_macs < full.mean_macs


def test_fit_operating_points_expected_figures_match_a_cascade_run_by_hand(tuned: TuningResult) -> None:
    split = labelled(2)
    for name, point in tuned.operating_points.items():
        limits = [NEVER if t is None else t for t in point.thresholds]
        heads = [0.0 if t is None else h for t, h in zip(point.thresholds, MACS.heads, strict=True)]
        right, macs, depths, reached = 0, 0.0, [], [[], [], []]
        for j, label in enumerate(split.labels):
            for i in range(EXITS):
                scaled = split.logits[i, j] / tuned.calibration.temperatures[i]
                confidence = float(np.exp(scaled - scaled.max()).max() / np.exp(scaled - scaled.max()).sum())
                reached[i].append(confidence)
                macs += MACS.trunk[i] + (heads[i] if i < EXITS - 1 else 0)
                if i == EXITS - 1 or confidence >= limits[i]:
                    right += split.logits[i, j].argmax() == label
                    depths.append(i)
                    break
        n, expected = len(split.labels), point.expected
        assert expected is not None
        assert (expected.split, expected.n) == (HELD_OUT, n)
        optimism = tuned.expected_drops[name].optimism / 100
        assert expected.accuracy == pytest.approx(right / n - optimism)
        assert expected.exit_shares == pytest.approx([depths.count(i) / n for i in range(EXITS)])
        assert expected.mean_exit_depth == pytest.approx(np.mean(depths))
        assert expected.mean_macs == pytest.approx(macs / n)
        for figures, confidences in zip(expected.reached, reached, strict=True):
            assert (figures.n if figures else 0) == len(confidences)
            assert figures is None or figures.confidence_mean == pytest.approx(np.mean(confidences), abs=1e-5)
            assert figures is None or figures.confidence_std == pytest.approx(np.std(confidences), abs=1e-5)


def test_fit_operating_points_exit_never_reached_has_no_figures() -> None:
    sure = LabelledLogits(np.zeros((2, 300, 2), np.float32), np.zeros(300, np.int64))
    sure.logits[:, :, 0] = 5
    fast = fit_operating_points(
        sure, CascadeCosts((1, 1), (0,)), CascadeCosts((1, 1), (0,)), max_accuracy_drop=2
    ).operating_points["fast"]
    assert fast.expected is not None
    assert fast.expected.exit_shares == (1, 0)
    assert fast.expected.reached[1] is None
