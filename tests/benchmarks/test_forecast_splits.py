"""Random splits of stored logits: with trial exits that are the trained ones, the forecast is what `tune` expects."""

import numpy as np
import pytest

from benchmarks.experiments.forecast_splits import StoredLogits, compare_split, summary
from eetool.tune.cross_fitting import LabelledLogits
from tests.helpers.trial_logits import trial_logits


@pytest.fixture(scope="module")
def stored() -> StoredLogits:
    costs, trial = trial_logits(240)
    trained = LabelledLogits(trial.logits, trial.labels)
    return StoredLogits(trial, None, trained, 120, 0.0, costs, costs.cascade(trial.exits), 4.0)


def test_compare_split_equal_exits_differ_by_the_examples_alone(stored: StoredLogits) -> None:
    figures = compare_split(stored, stored.trial.exits, stored.recorded)
    full = figures["full"]
    for name in ("balanced", "fast"):
        point = figures[name]
        assert point["drop_forecast"] == pytest.approx(point["drop_expected_by_tune"])
        assert point["accuracy_forecast"] == pytest.approx(full["forecast"] - point["drop_forecast"])
        assert point["accuracy_outcome"] == pytest.approx(full["outcome"] - point["drop_outcome"])
        assert point["ratio_outcome"] == pytest.approx(point["ratio_forecast"], abs=0.2)


def test_exchanged_splits_are_parts_of_all_examples_and_their_summary_counts_them(stored: StoredLogits) -> None:
    splits = list(stored.exchanged(3))
    for held, test in splits:
        assert len(held) == 120
        assert sorted([*held, *test]) == list(range(240))
    points = [compare_split(stored, stored.trial.exits, split)["fast"] for split in splits]
    result = summary({key: np.array([point[key] for point in points]) for key in points[0]})
    errors = [point["drop_outcome"] - point["drop_forecast"] for point in points]
    assert result["splits"] == 3
    assert result["drop_difference"]["mean"] == pytest.approx(np.mean(errors), abs=1e-3)
