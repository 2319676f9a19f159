"""Stream policies fitted on whole held-out groups."""

from dataclasses import replace

import numpy as np
import pytest

from eetool.data.source import Source
from eetool.data.splits import split_record, split_source
from eetool.errors import BudgetError, UsageError
from eetool.latency.estimate.cascade_cost import CascadeCosts
from eetool.model.goals import TuningGoals
from eetool.progress import SILENT
from eetool.tune.fit_streams import StreamCosts, fit_streams
from eetool_runtime.manifest import Data
from tests.helpers.frame_streams import stream_source

COSTS = CascadeCosts((1.0, 2.0, 4.0), (0.1, 0.2))


def answers(inputs: np.ndarray) -> tuple[np.ndarray, None]:
    """Logits of three exits, of which deeper ones see less noise."""
    noise = np.random.default_rng(len(inputs)).normal(size=(3, *inputs.shape))
    return 2 * inputs + noise * np.array([1.2, 0.8, 0.3])[:, None, None], None


def fit(source: Source, **goals: float):
    data = Data(source.name, split_record(split_source(source)))
    wanted = TuningGoals(**{"max_accuracy_drop": 1.0, "max_reaction_s": 5.0, **goals})  # type: ignore[arg-type]
    return fit_streams(source, data, answers, (1.0, 1.0, 1.0), StreamCosts(COSTS, COSTS), wanted, SILENT)


def test_fit_streams_gives_three_points_with_figures_for_new_groups() -> None:
    stream, warnings = fit(stream_source())
    assert any("2 groups" in line for line in warnings)
    assert list(stream.points) == ["stream-full", "stream-balanced", "stream-fast"]
    assert stream.default in stream.points
    full, fast = (stream.points[name].expected for name in ("stream-full", "stream-fast"))
    assert full is not None
    assert fast is not None
    assert fast.mean_macs < full.mean_macs
    assert sum(fast.exit_shares) == pytest.approx(1)
    assert fast.sequences == 2
    assert fast.reaction_p95_s is not None
    drop = stream.expected_drops["stream-fast"]
    assert drop.ci95[0] <= drop.points <= drop.ci95[1]
    assert stream.points["stream-fast"].policy.gap_s == 1.5
    assert sum(stream.base_rates) == pytest.approx(1)


def test_fit_streams_impossible_reaction_raises_budget_error() -> None:
    source = stream_source()
    swapped = replace(source, inputs=np.roll(source.inputs, 3, 0))
    with pytest.raises(BudgetError, match=r"no policy reacts within 0\.1 s"):
        fit(swapped, max_reaction_s=0.1)


@pytest.mark.parametrize(
    ("words", "source"),
    [
        ("has no sequences", replace(stream_source(), order=None)),
        ("has no times", stream_source(period_s=None)),
        ("too few to leave whole ones out", stream_source(groups=1, n=400)),
    ],
)
def test_fit_streams_unfit_sources_raise_usage_error(words: str, source: Source) -> None:
    with pytest.raises(UsageError, match=words):
        fit(source)
