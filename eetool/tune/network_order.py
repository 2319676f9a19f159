"""Order and choice of the networks of a cascade, and weights for the sum of their logits, on held-out examples.

Separately trained networks make different errors, so a sum of their logits is more accurate than each alone (deep
ensembles, Lakshminarayanan et al., arXiv 1612.01474). Each exit has a weight for its own logits and one for the final
logits of the network before, which are a sum already. Both minimise the negative log-likelihood, which is convex in
them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from eetool.latency.estimate.cascade_cost import CascadeCosts
from eetool.latency.estimate.network_costs import join_costs, split_costs
from eetool.metrics import exits_taken
from eetool.model.gate_scores import MAX_SOFTMAX
from eetool.tune.calibration import Calibration, fit_temperature
from eetool.tune.gate_scores import calibrated_confidences
from eetool.tune.margin_search import MarginSearch
from eetool.tune.threshold_search import ThresholdProblem

Weights = tuple[float, float]  # of an exit's own logits, and of those before
Order = tuple[int, ...]
_LARGEST = 100.0
_ALL_ORDERS = 4  # networks up to which every order is tried: 64 cascades
_EQUAL = 0.01  # a network has to save this share of the cost


@dataclass(frozen=True)
class HeldOutAnswers:
    """Logits of separate networks for the same held-out examples.

    Attributes:
        logits: of each network (exits, n, classes).
        labels: int64 (n,).
        fitted: number of examples, the first ones, that weights are fitted on: those of the split `temperature`.
    """

    logits: tuple[np.ndarray, ...]
    labels: np.ndarray
    fitted: int


@dataclass(frozen=True)
class CascadeChoice:
    """Networks in one order, with the cheapest thresholds within an accuracy drop against the reference.

    Attributes:
        order: indices of the networks.
        cost: mean cost of an input; None where they do not keep the drop.
        full_accuracy: accuracy of the last network, with those before it where logits are added.
        accuracy: accuracy with the thresholds, on the examples that they were chosen on.
        shares: share of the inputs that leave at each network.
    """

    order: Order
    cost: float | None
    full_accuracy: float
    accuracy: float
    shares: tuple[float, ...]


def fit_sum(own: np.ndarray, before: np.ndarray, labels: np.ndarray) -> Weights:
    """Return the weights, 0 or larger, whose sum of logits has the least negative log-likelihood.

    Args:
        own: logits (n, classes).
        before: logits (n, classes) of the network before.
        labels: int64 (n,).
    """
    pair = np.stack([own, before]).astype(np.float64)  # (2, n, classes)
    chosen = pair[:, np.arange(len(labels)), labels]  # (2, n)

    def likelihood(weights: np.ndarray) -> tuple[float, np.ndarray]:
        summed = np.tensordot(weights, pair, 1)  # (2,), (2, n, classes) -> (n, classes)
        value = -log_softmax(summed, axis=1)[np.arange(len(labels)), labels].mean()
        expected = (pair * softmax(summed, axis=1)).sum(2)  # (2, n)
        return float(value), (expected - chosen).mean(1)

    result = minimize(likelihood, np.array([1.0, 0.5]), jac=True, method="L-BFGS-B", bounds=[(0.0, _LARGEST)] * 2)
    weight, earlier = np.round(result.x, 6).tolist()
    return weight, earlier


class OrderSearch:
    """Search for the cheapest cascade of some networks within an accuracy drop.

    The drop is that against the most accurate full depth of all cascades that are tried. A cascade with another full
    depth has a margin for that: standard errors of the difference between both.
    """

    def __init__(
        self,
        answers: HeldOutAnswers,
        costs: CascadeCosts,
        ensemble: bool,
        max_accuracy_drop: float,
        every_order: bool = True,
        standard_errors: float = 1.0,
    ) -> None:
        """Prepare the search.

        Args:
            answers: of all networks, in the given order.
            costs: of the cascade of all networks in the given order.
            ensemble: logits are added up.
            max_accuracy_drop: in percentage points.
            every_order: try every choice and order of the networks, of many every choice; else the given one alone.
            standard_errors: margin of a drop, see `eetool.tune.margin_search`.
        """
        self.answers, self.ensemble, self.drop = answers, ensemble, max_accuracy_drop
        self.standard_errors, self._whole = standard_errors, costs
        self._parts = split_costs(costs, [len(logits) for logits in answers.logits])
        self._known: dict[Order, tuple[np.ndarray, tuple[Weights, ...], tuple[float, ...]]] = {}
        self.given = tuple(range(len(answers.logits)))
        self.orders = list(_orders(len(self.given))) if every_order else [self.given]
        right = [self._network(o)[0][-1].argmax(1) == answers.labels for o in (self.given, *self.orders)]
        self._reference = max(right, key=np.count_nonzero)  # the given order, where others are no better

    @property
    def reference_accuracy(self) -> float:
        """Accuracy that the drop counts from."""
        return float(self._reference.mean())

    def weights(self, order: Order) -> list[tuple[Weights, ...]]:
        """Return the weights of every exit of every network from the second on."""
        return [self._network(order[: i + 1])[1] for i in range(1, len(order))] if self.ensemble else []

    def all_choices(self) -> list[CascadeChoice]:
        """Return the cheapest thresholds of every cascade that is tried."""
        return [self.choice(order) for order in self.orders]

    def best(self, choices: Sequence[CascadeChoice]) -> CascadeChoice:
        """Return the cheapest cascade within the drop; one with fewer networks where more save next to nothing."""
        possible = [choice for choice in choices if choice.cost is not None]
        limit = min(_cost(choice) for choice in possible) * (1 + _EQUAL)
        return min((c for c in possible if _cost(c) <= limit), key=lambda c: (len(c.order), _cost(c)))

    def choice(self, order: Order) -> CascadeChoice:
        """Return the cheapest thresholds of the networks `order` within the drop."""
        logits, labels = self._logits(order), self.answers.labels
        correct = logits.argmax(2) == labels  # (exits, n, classes) -> (exits, n)
        calibration = Calibration(tuple(t for i in range(len(order)) for t in self._network(order[: i + 1])[2]))
        confidences = calibrated_confidences(MAX_SOFTMAX, logits, calibration, None)
        costs = join_costs([self._parts[i] for i in order], self._whole, self.ensemble)
        problem = ThresholdProblem(confidences, correct, costs)
        allowed = self.drop - self._shortfall(correct[-1])
        full = float(correct[-1].mean())
        if allowed < 0:
            return CascadeChoice(order, None, full, full, ())
        thresholds = MarginSearch(problem, self.standard_errors).cheapest(allowed)
        taken = exits_taken(confidences, thresholds)
        accuracy = float(correct[taken, np.arange(len(labels))].mean())
        cost = float(costs.leaving(thresholds)[taken].mean())
        return CascadeChoice(order, cost, full, accuracy, self._shares(order, taken))

    def _shortfall(self, correct: np.ndarray) -> float:
        """Return how far full depth may lie below the reference, in percentage points: the difference with its margin.

        Negative where it lies above.
        """
        difference = self._reference.astype(float) - correct
        margin = self.standard_errors * difference.std() / np.sqrt(len(difference))
        return 100 * float(difference.mean() + margin)

    def _shares(self, order: Order, taken: np.ndarray) -> tuple[float, ...]:
        ends = np.cumsum([len(self.answers.logits[i]) for i in order])
        network = np.searchsorted(ends, taken, side="right")
        return tuple((np.bincount(network, minlength=len(order)) / len(taken)).tolist())

    def _logits(self, order: Order) -> np.ndarray:
        return np.concatenate([self._network(order[: i + 1])[0] for i in range(len(order))])

    def _network(self, order: Order) -> tuple[np.ndarray, tuple[Weights, ...], tuple[float, ...]]:
        """Return logits, weights and temperatures of the exits of the last network of `order`, behind the others."""
        key = order if self.ensemble else order[-1:]
        if key not in self._known:
            own, labels, fitted = self.answers.logits[key[-1]], self.answers.labels, self.answers.fitted
            weights: tuple[Weights, ...] = ()
            if len(key) > 1:
                before = self._network(key[:-1])[0][-1]
                weights = tuple(fit_sum(x[:fitted], before[:fitted], labels[:fitted]) for x in own)
                own = np.stack([a * x + b * before for x, (a, b) in zip(own, weights, strict=True)])
            self._known[key] = own, weights, tuple(fit_temperature(x, labels) for x in own)
        return self._known[key]


def unused(choice: CascadeChoice) -> list[int]:
    """Return the networks, by their place in the cascade, at which no input leaves."""
    return [place for place, share in enumerate(choice.shares) if share == 0]


def _cost(choice: CascadeChoice) -> float:
    assert choice.cost is not None
    return choice.cost


def _orders(count: int) -> Iterator[Order]:
    arrange = permutations if count <= _ALL_ORDERS else combinations
    for size in range(1, count + 1):
        yield from arrange(range(count), size)
