"""Order and weights of networks: the sum is the most likely one, and networks that do not help are left out."""

import numpy as np
import pytest
from scipy.special import log_softmax

from eetool.latency.estimate.cascade_cost import CascadeCosts
from eetool.tune.network_order import HeldOutAnswers, OrderSearch, fit_sum, unused
from eetool.tune.unused_networks import unused_networks
from eetool_runtime.manifest import Expected, OperatingPoint

N, CLASSES, FITTED = 1200, 5, 500
COSTS = CascadeCosts((0.0, 0.0, 100.0), (10.0, 30.0), restarts=frozenset({1, 2}))  # networks of 10, 30 and 100


def logits(labels: np.ndarray, accuracy: float, seed: int) -> np.ndarray:
    """Logits (1, n, classes) of a network: sure where it is right, and unsure elsewhere."""
    random = np.random.default_rng(seed)
    right = random.random(len(labels)) < accuracy
    said = np.where(right, labels, (labels + random.integers(1, CLASSES, len(labels))) % CLASSES)
    noise = random.normal(0, 0.3, (len(labels), CLASSES))
    noise[np.arange(len(labels)), said] += np.where(right, 6.0, 1.5)
    return noise[None].astype(np.float32)


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, CLASSES, N)


def answers(labels: np.ndarray, *accuracies: float) -> HeldOutAnswers:
    return HeldOutAnswers(tuple(logits(labels, a, 1 + i) for i, a in enumerate(accuracies)), labels, FITTED)


def test_fit_sum_has_the_least_negative_log_likelihood(labels: np.ndarray) -> None:
    own, before = logits(labels, 0.8, 1)[0], logits(labels, 0.7, 2)[0]

    def likelihood(a: float, b: float) -> float:
        return float(-log_softmax(a * own + b * before, axis=1)[np.arange(N), labels].mean())

    a, b = fit_sum(own, before, labels)
    least = likelihood(a, b)
    assert a > 0
    assert b > 0
    for other in ((1.0, 0.5), (1.0, 0.0), (a + 0.05, b), (a - 0.05, b), (a, b + 0.05), (a, b - 0.05)):
        assert likelihood(*other) > least


def test_fit_sum_noise_before_gets_no_weight(labels: np.ndarray) -> None:
    noise = np.random.default_rng(9).normal(0, 1, (N, CLASSES))
    _, before = fit_sum(logits(labels, 0.9, 1)[0], noise, labels)
    assert before == pytest.approx(0, abs=0.15)
    opposite = -logits(labels, 0.9, 3)[0]
    assert fit_sum(logits(labels, 0.9, 1)[0], opposite, labels)[1] == 0, "no weight is negative"


def test_search_useless_network_is_left_out(labels: np.ndarray) -> None:
    """The second says the same as the first and costs three times as much."""
    first, last = answers(labels, 0.8, 0.98).logits
    networks = HeldOutAnswers((first, first, last), labels, FITTED)
    search = OrderSearch(networks, COSTS, ensemble=False, max_accuracy_drop=1.0)
    choices = search.all_choices()
    assert len(choices) == 15
    best = search.best(choices)
    assert best.order == (0, 2)
    given = search.choice(search.given)
    assert best.cost is not None
    assert given.cost is not None
    assert best.cost <= given.cost * 1.01
    assert best.accuracy >= given.full_accuracy - 0.01


def test_search_wrong_order_is_turned(labels: np.ndarray) -> None:
    costs = CascadeCosts((0.0, 10.0), (100.0,), restarts=frozenset({1}))
    search = OrderSearch(answers(labels, 0.98, 0.8), costs, ensemble=False, max_accuracy_drop=30.0)
    assert search.best(search.all_choices()).order == (1,), "the drop allows the small one alone"
    search = OrderSearch(answers(labels, 0.98, 0.8), costs, ensemble=False, max_accuracy_drop=10.0)
    best = search.best(search.all_choices())
    assert best.order == (1, 0)
    assert best.cost is not None
    assert best.cost < 100
    assert search.choice(search.given).cost is None, "it ends in the less accurate network"
    alone = OrderSearch(answers(labels, 0.98, 0.8), costs, False, 10.0, every_order=False)
    assert alone.reference_accuracy < 0.9, "that of the given order"


def test_search_given_order_always_keeps_the_drop(labels: np.ndarray) -> None:
    search = OrderSearch(answers(labels, 0.7, 0.8, 0.9), COSTS, ensemble=False, max_accuracy_drop=0.0)
    assert search.reference_accuracy == search.choice(search.given).full_accuracy
    best = search.best(search.all_choices())
    assert best.cost is not None
    assert search.choice((0,)).cost is None, "far less accurate than the reference"


def test_search_together_sums_are_more_accurate(labels: np.ndarray) -> None:
    networks = answers(labels, 0.85, 0.85, 0.85)
    alone = OrderSearch(networks, COSTS, ensemble=False, max_accuracy_drop=1.0)
    together = OrderSearch(networks, COSTS, ensemble=True, max_accuracy_drop=1.0)
    assert together.choice((0, 1, 2)).full_accuracy > alone.choice((0, 1, 2)).full_accuracy + 0.02
    assert alone.weights((0, 1, 2)) == []
    weights = together.weights((0, 1, 2))
    assert [len(pairs) for pairs in weights] == [1, 1]
    assert all(own > 0 and before > 0 for pairs in weights for own, before in pairs)


def test_unused_network_is_found(labels: np.ndarray) -> None:
    search = OrderSearch(answers(labels, 0.99, 0.5, 0.99), COSTS, ensemble=False, max_accuracy_drop=1.0)
    choice = search.choice(search.given)
    assert 1 in unused(choice)
    assert sum(choice.shares) == pytest.approx(1)


def point(*shares: float) -> OperatingPoint:
    return OperatingPoint((0.5,) * (len(shares) - 1), Expected("held", 100, 0.9, shares, 1.0, 1.0, ()))


@pytest.mark.parametrize(
    ("taps", "shares", "unused"),
    [
        (("network 0", "network 1"), ((0.0, 0.0, 1.0), (0.6, 0.0, 0.4), (0.7, 0.0, 0.3)), [1]),
        (("network 0", "network 1"), ((0.0, 0.0, 1.0), (0.6, 0.1, 0.3), (0.9, 0.1, 0.0)), []),
        (("network 0", "network 1"), ((0.0, 0.0, 1.0), (0.9, 0.1, 0.0), (0.9, 0.1, 0.0)), [2]),
        (("network 0", "network 1 layer1.0"), ((0.0, 0.0, 1.0), (1.0, 0.0, 0.0)), [1]),
        (("network 0 a", "network 0"), ((0.0, 0.0, 1.0), (0.0, 0.0, 1.0)), [0]),
        (("layer1", "layer2"), ((0.0, 0.0, 1.0), (1.0, 0.0, 0.0)), []),
        ((), ((1.0,),), []),
    ],
)
def test_unused_networks_are_those_without_inputs_before_full_depth(
    taps: tuple[str, ...], shares: tuple[tuple[float, ...], ...], unused: list[int]
) -> None:
    points = {name: point(*share) for name, share in zip(("full", "balanced", "fast"), shares, strict=False)}
    lines = unused_networks(taps, points)
    assert [f"network {number} of the cascade" in line for number, line in zip(unused, lines, strict=True)] == [
        True
    ] * len(unused)
