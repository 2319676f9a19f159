"""Choice of the thread count."""

from dataclasses import replace
from pathlib import Path

import pytest

from eetool.profile.thread_choice import candidate_threads, choose_threads
from eetool_measure.bundle_timing import measure_bundle
from eetool_measure.results import ThreadTimes
from eetool_runtime import open_bundle
from tests.helpers.tiny_bundle import VARIANT, write_tiny_bundle


@pytest.fixture
def times(tmp_path: Path) -> ThreadTimes:
    return measure_bundle(open_bundle(write_tiny_bundle(tmp_path)), VARIANT, runs=1, min_seconds=0).times


def with_medians(times: ThreadTimes, threads: int, exits: list[float], full: float) -> ThreadTimes:
    cascade = tuple(
        replace(at, latency_ms=replace(at.latency_ms, median=ms)) for at, ms in zip(times.cascade, exits, strict=True)
    )
    return replace(times, threads=threads, cascade=cascade, full=replace(times.full, median=full))


@pytest.mark.parametrize(
    ("cores", "counts"),
    [(1, (1,)), (2, (1, 2)), (4, (1, 2, 3, 4)), (6, (1, 2, 3, 4, 6)), (16, (1, 2, 3, 4, 8, 16)), (8, (1, 2, 3, 4, 8))],
)
def test_candidate_threads_for_cores(cores: int, counts: tuple[int, ...]) -> None:
    assert candidate_threads(cores) == counts


def test_choose_threads_weights_exits_by_shares(times: ThreadTimes) -> None:
    """Two threads are faster at deep exits and slower at the first exit."""
    measured = [with_medians(times, 1, [1.0, 2.0, 4.0], 3.8), with_medians(times, 2, [1.2, 1.8, 2.5], 2.4)]
    assert choose_threads(measured, "balanced", (0.9, 0.1, 0.0))[0] == 1
    assert choose_threads(measured, "balanced", (0.1, 0.1, 0.8))[0] == 2
    assert choose_threads(measured, None, None) == (2, "latency at full depth")


def test_choose_threads_small_gain_keeps_fewer_threads(times: ThreadTimes) -> None:
    exits = [1.0, 2.0, 4.0]
    measured = [with_medians(times, n, exits, full) for n, full in ((1, 1.00), (2, 0.98), (4, 0.60), (8, 0.59))]
    assert choose_threads(measured, None, None)[0] == 4
    assert choose_threads(measured[:2], None, None)[0] == 1
