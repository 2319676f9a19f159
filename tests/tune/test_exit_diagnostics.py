"""Diagnoses of exits, against their definition."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from eetool.latency.estimate.cascade_cost import CascadeCosts
from eetool.metrics import auroc
from eetool.tune.exit_diagnostics import diagnose
from eetool.tune.threshold_search import ThresholdProblem

SURE = np.array([[0.9, 0.8, 0.7, 0.2], [0.5, 0.6, 0.4, 0.95], [1, 1, 1, 1]], np.float32)
RIGHT = np.array([[1, 0, 1, 0], [1, 1, 0, 1], [1, 1, 1, 1]], bool)
PROBLEM = ThresholdProblem(SURE, RIGHT, CascadeCosts((1, 1, 1), (1, 1)))


def test_auroc_random_scores_equals_the_area_under_the_curve() -> None:
    random = np.random.default_rng(0)
    confidence, correct = random.random(200).round(1), random.random(200) < 0.7
    assert auroc(confidence, correct) == pytest.approx(roc_auc_score(correct, confidence))
    assert auroc(confidence, np.ones(200, bool)) is None


def test_diagnose_exit_is_judged_by_the_examples_that_reach_it() -> None:
    found = diagnose(PROBLEM, (0.75, 0.9))
    assert [e.n for e in found.exits] == [4, 2, 1]
    assert [e.leave for e in found.exits] == [2, 1, 1]
    assert [e.accuracy for e in found.exits] == [0.5, 0.5, 1.0]
    assert found.exits[0].auroc == pytest.approx(3 / 4)
    assert found.exits[1].auroc == 1.0
    assert found.exit_entropy_bits == pytest.approx(1.5)
    assert found.degenerate_exit is None


def test_diagnose_gate_without_effect_is_degenerate() -> None:
    everyone = diagnose(PROBLEM, (None, 0.1))
    assert (everyone.degenerate_exit, everyone.exit_entropy_bits) == (1, 0.0)
    assert everyone.exits[2].accuracy is None
    assert diagnose(PROBLEM, (None, None)).degenerate_exit is None, "full depth is meant to be so"
