"""Latency on all inputs from a timed sample of them."""

import numpy as np
import pytest

from eetool.bench.timed_sample import LEAST, choose_timed, summarize_times

EXIT_MS = np.array([0.3, 1.2, 4.0])


def test_choose_timed_holds_the_count_and_every_exit() -> None:
    common, rare = np.zeros(2000, np.int64), np.zeros(2000, np.int64)
    rare[:2], rare[5:300] = 2, 1
    timed = choose_timed([common, rare], 2000, 120, seed=0)
    assert 120 <= len(timed) <= 126
    assert (np.diff(timed) > 0).all()
    assert {0, 1} <= set(timed), "both inputs that leave at the last exit"
    assert (choose_timed([common, rare], 2000, 120, seed=0) == timed).all()
    assert set(choose_timed([common, rare], 2000, 120, seed=1)) != set(timed)
    assert len(choose_timed([common], 2000, 0, seed=0)) == LEAST
    assert len(choose_timed([common[:9]], 9, 100, seed=0)) == 9


def test_summarize_times_all_timed_is_the_median_of_passes() -> None:
    times = np.array([[1.0, 2.0, 3.0], [1.0, 4.0, 3.0], [9.0, 3.0, 3.0]])
    summary = summarize_times(times, np.arange(3), np.array([0, 0, 1]))
    assert summary.latency_ms.tolist() == [1.0, 3.0, 3.0]
    assert (summary.mean, summary.p50, summary.p99, summary.sampling) == (pytest.approx(7 / 3), 3.0, 3.0, 0.0)
    assert summary.pass_ms == pytest.approx(times.mean(1))


def test_summarize_times_rare_exit_counts_by_its_share_of_all_inputs() -> None:
    """One of 100 inputs leaves late and is among five timed ones: a plain mean would be 1.04, not 0.309."""
    strata = np.zeros(100, np.int64)
    strata[7] = 1
    timed = np.array([1, 3, 7, 20, 50])
    summary = summarize_times(EXIT_MS[strata[timed]][None], timed, strata)
    assert summary.mean == pytest.approx((99 * 0.3 + 1.2) / 100)
    assert summary.pass_ms == pytest.approx([summary.mean])
    assert (summary.p50, summary.p99) == (0.3, 0.3)
    assert summary.sampling == 0.0, "inputs of one exit took the same time"


def test_summarize_times_sampling_interval_covers_the_mean_of_all() -> None:
    draw = np.random.default_rng(0)
    covered = []
    for seed in range(300):
        strata = draw.choice(3, size=1000, p=[0.8, 0.15, 0.05])
        all_ms = EXIT_MS[strata] * draw.lognormal(0, 0.2, 1000)
        timed = choose_timed([strata], 1000, 120, seed)
        summary = summarize_times(all_ms[None, timed], timed, strata)
        covered.append(abs(np.log(summary.mean / all_ms.mean())) <= summary.sampling)
    assert 0.91 <= np.mean(covered) <= 0.99
