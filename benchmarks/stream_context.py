"""A learned context policy for streams: a few weights on the history of confidences choose the threshold.

Before every frame a logistic unit reads what the last frames showed, and gives the log-odds of the threshold that all
gates of this frame have. The filter's belief and rule stay; only the threshold moves. The weights minimise cost within
the limits of accuracy and reaction on the frames that policies are chosen on, by the cross-entropy method (Rubinstein,
1999), since thresholds have no gradient. Weights of zero, and the bias of a fixed threshold, are the filter itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from stream_cases import Case
from stream_choice import pooled

from eetool.tune.stream_figures import Frames, percentile_s, reactions_s
from eetool.tune.stream_search import StreamLimits
from eetool_runtime.manifest import StreamPolicy
from eetool_runtime.stream_filter import posterior_of, prior_of

HISTORY = 8  # frames whose confidences are read
FEATURES = 2 * HISTORY + 4
POPULATION, ELITE, ROUNDS, SEED = 48, 8, 25, 0
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
    begins = np.flatnonzero(np.r_[True, frames.starts[1:]])
    lengths = np.diff(np.r_[begins, len(frames.labels)])
    longest_first = np.argsort(-lengths, kind="stable")
    begins, lengths = begins[longest_first], lengths[longest_first]
    shape = len(weights), len(frames.labels)
    labels, left = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    history = _History(len(weights), len(begins), base_rates)
    for t in range(int(lengths[0])):
        rows = begins[: int((lengths > t).sum())] + t
        labels[:, rows], left[:, rows] = history.step(weights, policy, frames.probabilities[rows])
    return Decisions(labels, left)


class _History:
    """States of P candidates on S sequences; a step advances the first of them."""

    def __init__(self, candidates: int, sequences: int, base_rates: np.ndarray) -> None:
        shape = candidates, sequences
        self.base_rates = base_rates
        self.posterior = np.tile(base_rates, (*shape, 1))
        self.odds, self.held = np.zeros((*shape, HISTORY)), np.zeros((*shape, HISTORY))
        self.stable = np.zeros(shape)

    def step(
        self, weights: np.ndarray, policy: StreamPolicy, probabilities: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return labels and exits (P, S) of the next frame (S, exits, K) of the first S sequences."""
        n, exits = probabilities.shape[:2]
        before = self.posterior[:, :n]
        prior = prior_of(before, self.base_rates, policy.epsilon)
        threshold = self._thresholds(weights, prior)
        posterior, running = before, np.ones(before.shape[:2], bool)
        left, raw = np.zeros(running.shape, np.int64), np.zeros(running.shape, np.int64)
        for k in range(exits):
            fires = running.copy()
            own = probabilities[:, k].argmax(1)
            if k < exits - 1 and policy.thresholds[k] is None:
                continue
            updated = posterior_of(prior, probabilities[:, k], self.base_rates)
            if k < exits - 1:
                fires &= updated.max(2) >= threshold
                fires &= (updated.argmax(2) == own) | (not policy.agree)
            posterior = np.where(fires[:, :, None], updated, posterior)
            left[fires], raw = k, np.where(fires, own, raw)
            running &= ~fires
        self._remember(posterior, raw)
        return posterior.argmax(2), left

    def _thresholds(self, weights: np.ndarray, prior: np.ndarray) -> np.ndarray:
        """Return the threshold (P, S) that weights (P, FEATURES) give for a prior (P, S, K)."""
        n, classes = prior.shape[1:]
        entropy = -(prior * np.log(np.maximum(prior, 1e-12))).sum(2) / np.log(classes)
        own = [entropy, prior.max(2), np.minimum(self.stable[:, :n], 20) / 20, np.ones(entropy.shape)]
        read = np.concatenate([self.odds[:, :n] / _LARGEST_ODDS, self.held[:, :n], np.stack(own, 2)], 2)
        odds = np.einsum("psf,pf->ps", read, weights)
        threshold: np.ndarray = 1 / (1 + np.exp(-np.clip(odds, -_LARGEST_ODDS, _LARGEST_ODDS)))
        return threshold

    def _remember(self, posterior: np.ndarray, raw: np.ndarray) -> None:
        n, label = posterior.shape[1], posterior.argmax(2)
        same = label == self.posterior[:, :n].argmax(2)
        self.stable[:, :n] = np.where(same, self.stable[:, :n] + 1, 0)
        largest = np.clip(posterior.max(2), 1e-6, 1 - 1e-6)
        for known, newest in ((self.odds, np.log(largest / (1 - largest))), (self.held, raw != label)):
            known[:, :n] = np.concatenate([newest[:, :, None], known[:, :n, :-1]], 2)
        self.posterior[:, :n] = posterior


@dataclass(frozen=True)
class ContextSearch:
    """Weights within the limits on the frames of a case that choices are made on.

    Attributes:
        policy: of the filter, whose thresholds the weights replace.
        case: the case.
        costs: of leaving at each exit, (exits,).
        limits: of accuracy and reaction; without a margin, for fixed thresholds as for learned ones.
    """

    policy: StreamPolicy
    case: Case
    costs: np.ndarray
    limits: StreamLimits

    def best_first(self, tried: np.ndarray) -> np.ndarray:
        """Return candidates (P, FEATURES), the cheapest within the limits first, then those that exceed them least."""
        frames = self.case.fit
        decided = decide_in_context(tried, self.policy, frames, self.case.base_rates)
        full = frames.probabilities[:, -1].argmax(1) == frames.labels
        right = decided.labels == frames.labels
        over = np.maximum(100 * (full.mean() - right.mean(1)) - self.limits.max_accuracy_drop, 0)
        late = np.maximum(percentile_s(reactions_s(frames, decided.labels)) - self.limits.max_reaction_s, 0)
        ordered: np.ndarray = tried[np.lexsort((self.costs[decided.exits].mean(1), over + late))]
        return ordered

    def fixed(self) -> np.ndarray:
        """Return the weights (FEATURES,) of the best threshold that is the same for every frame."""
        tried = np.zeros((POPULATION, FEATURES))
        tried[:, -1] = np.linspace(0, _LARGEST_ODDS, POPULATION)
        return self.best_first(tried)[0]

    def learned(self, start: np.ndarray, rounds: int) -> np.ndarray:
        """Return the weights (FEATURES,) after so many rounds of the cross-entropy method from `start`."""
        mean, best = start, start
        spread, rng = np.full(FEATURES, 2.0), np.random.default_rng(SEED)
        for _ in range(rounds):
            drawn = rng.normal(mean, spread, (POPULATION - 2, FEATURES))
            ordered = self.best_first(np.concatenate([best[None], mean[None], drawn]))
            best, elite = ordered[0], ordered[:ELITE]
            mean, spread = elite.mean(0), elite.std(0) + 0.05
        return best


def learn_context(case: Case, chosen: StreamPolicy, reaction_s: float, rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Return weights of the best fixed threshold and learned ones, for the same limits.

    Args:
        case: the case.
        chosen: the filter that was chosen within these limits, see `_plain`.
        reaction_s: limit of the reaction; that of the accuracy is full depth with an answer per frame.
        rounds: of the cross-entropy method.
    """
    policy = _plain(chosen)
    search = ContextSearch(policy, case, _costs(case, policy), StreamLimits(0.0, reaction_s))
    fixed = search.fixed()
    return {"fixed threshold": fixed.tolist(), "learned context": search.learned(fixed, rounds).tolist()}


def context_results(
    cases: Sequence[Case], filters: Sequence[StreamPolicy], learned: Sequence[dict[str, list[float]]]
) -> dict[str, Any]:
    """Return figures of fixed and learned thresholds over all cases; `learned` has the weights of each case."""
    ways = {}
    for name in learned[0]:
        answers, ratios = [], []
        for case, chosen, weights in zip(cases, filters, learned, strict=True):
            policy = _plain(chosen)
            decided = decide_in_context(np.array([weights[name]]), policy, case.test, case.base_rates)
            answers.append(decided.labels[0])
            ratios.append(float(_costs(case, policy)[decided.exits[0]].mean() / case.full_macs))
        mac_ratio = float(np.average(ratios, weights=[len(own) for own in answers]))
        ways[name] = {**pooled(cases, answers), "mac_ratio": mac_ratio}
    return {"weights": FEATURES, "ways": ways}


def _plain(chosen: StreamPolicy) -> StreamPolicy:
    """Return a filter with its ε and agreement and the exits that have a threshold, without checks and repeats."""
    return StreamPolicy(chosen.epsilon, chosen.thresholds, chosen.agree)


def _costs(case: Case, policy: StreamPolicy) -> np.ndarray:
    return case.costs.leaving(tuple(None if t is None else 0.0 for t in policy.thresholds))
