"""The simulation of many streams decides as the filter of one does."""

from __future__ import annotations

import numpy as np
import pytest

from eetool.tune.stream_simulation import sequence_starts, simulate
from eetool_runtime.manifest import StreamPolicy
from eetool_runtime.stream_filter import NO_EXIT, StreamFilter

EXITS, CLASSES = 3, 4


def recorded(rng: np.random.Generator, n: int) -> np.ndarray:
    """Return probabilities (n, exits, classes) of slowly changing classes, with NaN at some exits and frames."""
    classes = np.repeat(rng.integers(CLASSES, size=n), rng.integers(1, 9, size=n))[:n]
    logits = rng.normal(size=(n, EXITS, CLASSES)) + 1.5 * np.eye(CLASSES)[classes][:, None] * np.arange(1, 4)[:, None]
    repeats = rng.random(n) < 0.3
    for i in np.flatnonzero(repeats)[1:]:
        logits[i] = logits[i - 1] + 0.02 * rng.normal(size=(EXITS, CLASSES))
    logits[rng.random((n, EXITS)) < 0.05] = np.nan
    logits[rng.random(n) < 0.05] = np.nan
    powers = np.exp(logits)
    return powers / powers.sum(axis=2, keepdims=True)


def random_policy(rng: np.random.Generator) -> StreamPolicy:
    thresholds = [None if rng.random() < 0.2 else float(t) for t in rng.uniform(0.3, 1.0, EXITS - 1)]
    return StreamPolicy(
        float(10 ** rng.uniform(-6, 0)),
        tuple(thresholds),
        agree=bool(rng.random() < 0.5),
        check_every=int(rng.choice([0, 0, 1, 2, 5])),
        skip_distance=None if rng.random() < 0.4 else float(rng.uniform(0, 0.2)),
    )


def one_by_one(policy: StreamPolicy, probabilities: np.ndarray, starts: np.ndarray, base_rates: np.ndarray) -> list:
    """Return the answers of the filter, frame by frame."""
    rule, answers = StreamFilter(policy, base_rates), []
    state = rule.start
    for frame, begins in zip(probabilities, starts, strict=True):
        state = rule.start if begins else state
        seen = [] if np.isnan(frame).any(axis=1).all() else frame
        answer = rule.step(state, lambda full, seen=seen: ((k, seen[k]) for k in rule.exits(full) if len(seen)))
        answers.append(answer)
        state = answer.state
    return answers


@pytest.mark.parametrize("seed", range(5))
def test_simulate_decides_as_the_filter_frame_by_frame(seed: int) -> None:
    rng = np.random.default_rng(seed)
    probabilities = recorded(rng, 120)
    base_rates = rng.dirichlet(np.full(CLASSES, 5.0))
    starts = rng.random(120) < 0.05
    policies = [random_policy(rng) for _ in range(12)]
    decided = simulate(policies, probabilities, starts, base_rates, with_posteriors=True)
    assert decided.posteriors is not None
    for p, policy in enumerate(policies):
        answers = one_by_one(policy, probabilities, starts, base_rates)
        assert decided.exits[p].tolist() == [a.exit for a in answers]
        assert decided.labels[p].tolist() == [a.label for a in answers]
        assert decided.raw_labels[p].tolist() == [-1 if a.raw_label is None else a.raw_label for a in answers]
        assert decided.skipped[p].tolist() == [a.skipped for a in answers]
        np.testing.assert_allclose(decided.posteriors[p], [a.state.posterior for a in answers], atol=1e-12)
    assert all(cases.any() for cases in (decided.skipped, decided.held, decided.exits == NO_EXIT))


def test_simulate_no_frames_gives_none() -> None:
    empty = simulate([StreamPolicy(0.1, (0.9,))], np.zeros((0, 2, 3)), np.zeros(0, bool), np.full(3, 1 / 3))
    assert empty.exits.shape == (1, 0)


def test_sequence_starts_at_other_ids_gaps_and_earlier_times() -> None:
    ids, times = np.array([7, 7, 7, 7, 2, 2]), np.array([0.0, 0.5, 3.0, 2.0, 2.5, 3.0])
    assert sequence_starts(ids).tolist() == [True, False, False, False, True, False]
    assert sequence_starts(ids, times).tolist() == [True, False, False, True, True, False]
    assert sequence_starts(ids, times, 1.0).tolist() == [True, False, True, True, True, False]
