"""Local search: gains of hypervolume, predictions from exits, and candidates near the front."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from eetool.search.methods import pareto
from eetool.search.methods.exit_surrogate import ExitSurrogate, knows_exits
from eetool.search.methods.local_search import LocalPlanner, hypervolume_gains
from eetool.search.methods.planners import ObjectiveValues
from eetool.search.space.builtin_spaces import mobilenetv3_cifar
from eetool.search.space.space import Genome

SPACE = mobilenetv3_cifar()
PLACES = 15
coordinate = st.integers(0, 20).map(float)
points = st.lists(st.tuples(coordinate, coordinate), min_size=1, max_size=8).map(np.array)


@given(points, points)
def test_hypervolume_gains_equal_differences_of_hypervolumes(known: np.ndarray, new: np.ndarray) -> None:
    reference = np.array([15.0, 17.0])
    front = known[pareto.pareto_front(known)]
    inside = front[(front < reference).all(1)]
    gains = hypervolume_gains(new, inside, reference)
    before = pareto.hypervolume(known, reference)
    expected = [pareto.hypervolume(np.vstack([known, point]), reference) - before for point in new]
    assert np.allclose(gains, expected)


def exits_of(genome: Genome) -> ObjectiveValues:
    """Return a candidate whose exits get better with place, width of the backbone and depth of the branch."""
    width = float(genome["width"])
    accuracies, costs = [], []
    for place in range(PLACES):
        if genome.get(f"exit{place}.position"):
            depth, share = genome[f"exit{place}.depth"], place / PLACES
            accuracies.append(0.4 + 0.3 * share + 0.1 * width + 0.02 * (3 if depth == "adaptive" else float(depth)))
            costs.append(width * (1 + 3 * share))
    saved = 0.6 * len(accuracies) / PLACES
    full, cost = 0.8 + 0.1 * width, 5 * width
    error = 1 - full + 0.01 * len(accuracies)
    return ObjectiveValues(genome, error, cost * (1 - saved), 0.0, (*accuracies, full), (*costs, cost))


def archive(count: int) -> list[ObjectiveValues]:
    rng = np.random.default_rng(0)
    return [exits_of(SPACE.sample(rng)) for _ in range(count)]


def test_exit_surrogate_predicts_candidates_from_exits() -> None:
    known, new = archive(240)[:120], archive(240)[120:]
    assert knows_exits(known)
    error, cost = ExitSurrogate(SPACE, known, 0).predict([one.genome for one in new])
    assert np.corrcoef(error, [one.error for one in new])[0, 1] > 0.9
    assert np.corrcoef(cost, [one.cost for one in new])[0, 1] > 0.9


def test_knows_exits_older_study_is_false() -> None:
    assert not knows_exits([ObjectiveValues(SPACE.smallest(), 0.1, 1.0, 0.0)])


def test_local_planner_generation_is_near_the_front() -> None:
    planner = LocalPlanner(SPACE, 0, 40, lambda genome: True)
    first = planner.plan([])
    assert all(sum(bool(genome.get(f"exit{i}.position")) for i in range(PLACES)) <= 2 for genome in first)
    known = [exits_of(genome) for genome in first]
    front = [known[i].genome for i in pareto.pareto_front(np.array([[one.error, one.cost] for one in known]))]
    backbones = [{n: v for n, v in genome.items() if not n.startswith(("exit", "score"))} for genome in front]
    planned = planner.plan(known)
    assert len(planned) == planner.batch
    for genome in planned:
        own = {n: v for n, v in genome.items() if not n.startswith(("exit", "score"))}
        differences = [sum(own.get(n) != other.get(n) for n in own) for other in backbones]
        assert min(differences) <= 6  # two genes, and those that a deeper stage adds
        assert sum(bool(genome.get(f"exit{i}.position")) for i in range(PLACES)) <= 6


def test_local_planner_limits_prefers_candidates_within() -> None:
    def judged(genome: Genome) -> ObjectiveValues:
        one = exits_of(genome)
        return ObjectiveValues(genome, one.error, one.cost, max(0.0, one.cost / 3 - 1))

    planner = LocalPlanner(SPACE, 0, 40, lambda genome: True)
    known = [judged(genome) for genome in planner.plan([])]
    known += [judged(genome) for genome in planner.plan(known)]
    planned = [judged(genome) for genome in planner.plan(known)]
    assert sum(one.excess == 0 for one in planned) > len(planned) / 2
