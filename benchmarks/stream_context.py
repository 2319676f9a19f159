"""A learned context policy for streams: a few weights on the history of confidences choose the threshold.

Before every frame a logistic unit reads what the last frames showed, and gives the log-odds of the threshold that all
gates of this frame have. The filter's belief and rule stay; only the threshold moves. The weights minimise cost within
the limits of accuracy and reaction on the frames that policies are chosen on, by the cross-entropy method (Rubinstein,
1999), since thresholds have no gradient. Weights of zero, and the bias of the fixed threshold, are the filter itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from stream_cases import Case, joined

from eetool.tune.stream_figures import Frames, group_interval, percentile_s, reactions_s
from eetool.tune.stream_search import StreamLimits, StreamSearch
from eetool_runtime.manifest import StreamPolicy
from eetool_runtime.stream_filter import posterior_of, prior_of

HISTORY = 8  # frames whose confidences are read
FEATURES = 2 * HISTORY + 4
POPULATION, ELITE, SEED = 48, 8, 0
_LARGEST_ODDS = 12.0


@dataclass(frozen=True)
class Decisions:
    """Answers and exits of candidates, int (P, N) each."""

    labels: np.ndarray
    exits: np.ndarray


def decide_in_context(weights: np.ndarray, policy: StreamPolicy, frames: Frames, base_rates: np.ndarray) -> Decisions:
    """Return the decisions of candidates.

    Features of a frame: the log-odds of the posterior after each of the last 8 frames, whether the exit's own class was
    another one in each, the entropy of the prior, its largest probability, frames since the answer changed, and 1.

    Args:
        weights: (P, FEATURES); the last one is the bias.
        policy: of the filter; its thresholds that never fire stay so.
        frames: in order.
        base_rates: (K,).
    """
    count, (n, exits, classes) = len(weights), frames.probabilities.shape
    labels, left = (np.zeros((count, n), np.int64) for _ in range(2))
    posterior = np.tile(base_rates, (count, 1))
    odds, held, stable = np.zeros((count, HISTORY)), np.zeros((count, HISTORY)), np.zeros(count)
    for t in range(n):
        if frames.starts[t]:
            posterior = np.tile(base_rates, (count, 1))
            odds, held, stable = np.zeros_like(odds), np.zeros_like(held), np.zeros(count)
        prior = prior_of(posterior, base_rates, policy.epsilon)
        entropy = -(prior * np.log(np.maximum(prior, 1e-12))).sum(1) / np.log(classes)
        own = np.stack([entropy, prior.max(1), np.minimum(stable, 20) / 20, np.ones(count)], 1)
        read = np.concatenate([odds / _LARGEST_ODDS, held, own], 1)
        threshold = 1 / (1 + np.exp(-np.clip((read * weights).sum(1), -_LARGEST_ODDS, _LARGEST_ODDS)))
        running, before = np.ones(count, bool), posterior
        raw = np.zeros(count, np.int64)
        for k in range(exits):
            seen = frames.probabilities[t, k]
            updated = posterior_of(prior, seen, base_rates)
            fires = running.copy()
            if k < exits - 1:
                if policy.thresholds[k] is None:
                    continue
                fires &= updated.max(1) >= threshold
                fires &= (updated.argmax(1) == seen.argmax()) | (not policy.agree)
            posterior = np.where(fires[:, None], updated, posterior)
            left[fires, t], raw[fires] = k, seen.argmax()
            running &= ~fires
        labels[:, t] = posterior.argmax(1)
        stable = np.where(labels[:, t] == before.argmax(1), stable + 1, 0)
        largest = np.clip(posterior.max(1), 1e-6, 1 - 1e-6)
        odds = np.concatenate([np.log(largest / (1 - largest))[:, None], odds[:, :-1]], 1)
        held = np.concatenate([(raw != labels[:, t]).astype(float)[:, None], held[:, :-1]], 1)
    return Decisions(labels, left)


def train_context(
    policy: StreamPolicy, frames: Frames, base_rates: np.ndarray, costs: np.ndarray, limits: StreamLimits, rounds: int
) -> np.ndarray:
    """Return weights (FEATURES,) that are cheapest within the limits, or exceed them least.

    Args:
        policy: of the filter, whose fixed threshold is the start.
        frames: to choose on.
        base_rates: (K,).
        costs: of leaving at each exit, (exits,).
        limits: of accuracy and reaction.
        rounds: of the cross-entropy method.
    """
    full = frames.probabilities[:, -1].argmax(1) == frames.labels
    thresholds = [t for t in policy.thresholds if t is not None]
    start = float(np.clip(np.mean(thresholds) if thresholds else 0.99, 1e-5, 1 - 1e-5))
    mean = np.zeros(FEATURES)
    mean[-1] = np.log(start / (1 - start))
    spread, rng = np.full(FEATURES, 2.0), np.random.default_rng(SEED)
    best = mean
    for _ in range(rounds):
        tried = np.concatenate([best[None], mean[None], rng.normal(mean, spread, (POPULATION - 2, FEATURES))])
        decided = decide_in_context(tried, policy, frames, base_rates)
        right = decided.labels == frames.labels
        over = np.maximum(100 * (full.mean() - right.mean(1)) - limits.max_accuracy_drop, 0)
        late = np.maximum(percentile_s(reactions_s(frames, decided.labels)) - limits.max_reaction_s, 0)
        order = np.lexsort((costs[decided.exits].mean(1), over + late))
        best, elite = tried[order[0]], tried[order[:ELITE]]
        mean, spread = elite.mean(0), elite.std(0) + 0.05
    return best


def context_results(cases: Sequence[Case], reaction_s: float, quick: bool = False) -> dict[str, Any]:
    """Return the learned policy beside the filter it starts from, over all cases, at the same limits."""
    answers: dict[str, list[np.ndarray]] = {"filter": [], "learned context": []}
    ratios: dict[str, list[float]] = {name: [] for name in answers}
    for case in cases:
        limits = StreamLimits(0.0, reaction_s)
        policy = StreamSearch(case.fit, case.base_rates, case.costs).cheapest(limits)
        # Checks and repeated answers belong to the filter; both sides go without them here.
        fixed = StreamPolicy(policy.epsilon, policy.thresholds, policy.agree)
        gated = tuple(None if t is None else 0.0 for t in policy.thresholds)
        costs = case.costs.leaving(gated)
        learned = train_context(fixed, case.fit, case.base_rates, costs, limits, 4 if quick else 25)
        thresholds = [t for t in fixed.thresholds if t is not None] or [0.99]
        constant = np.zeros(FEATURES)
        share = float(np.clip(np.mean(thresholds), 1e-5, 1 - 1e-5))
        constant[-1] = np.log(share / (1 - share))
        full = case.costs.leaving((None,) * case.costs.early)[-1]
        for name, weights in (("filter", constant), ("learned context", learned)):
            decided = decide_in_context(weights[None], fixed, case.test, case.base_rates)
            answers[name].append(decided.labels[0])
            ratios[name].append(float(costs[decided.exits[0]].mean() / full))
    return {"weights": FEATURES, "ways": {name: _figures(cases, answers[name], ratios[name]) for name in answers}}


def _figures(cases: Sequence[Case], answers: Sequence[np.ndarray], ratios: Sequence[float]) -> dict[str, Any]:
    right = np.concatenate([a == case.test.labels for a, case in zip(answers, cases, strict=True)])
    full = np.concatenate([case.test.probabilities[:, -1].argmax(1) == case.test.labels for case in cases])
    seconds = np.concatenate([reactions_s(case.test, a) for a, case in zip(answers, cases, strict=True)])
    low, high = group_interval(joined([case.test for case in cases]).groups, right, full)
    return {
        "accuracy": float(right.mean()),
        "accuracy_difference": 100 * float(right.mean() - full.mean()),
        "accuracy_difference_ci95": [100 * low, 100 * high],
        "mac_ratio": float(np.average(ratios, weights=[len(a) for a in answers])),
        "reaction_mean_s": float(seconds.mean()),
        "reaction_p95_s": float(percentile_s(seconds)),
    }
