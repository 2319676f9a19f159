"""NSGA-II over genomes, with limits as a penalty on the second objective (Deb et al. 2002)."""

from collections.abc import Callable, Sequence

import numpy as np

from eetool.search.methods.pareto import crowding_distances, pareto_ranks
from eetool.search.space.space import Genome, Space, genome_key

_POPULATION, _GENERATIONS, _CROSSOVER = 40, 20, 0.9
_PENALTY = 1e10


def penalised(cost: np.ndarray, excess: np.ndarray) -> np.ndarray:
    """Return the second objective with constraints, as in NACHOS: φ · cost + (1 − φ) · penalty · excess.

    φ is the share of the population within all limits. While φ is small, the excess dominates.
    """
    share = float((excess <= 0).mean())
    second: np.ndarray = share * cost + (1 - share) * _PENALTY * np.maximum(excess, 0)
    return second


def evolve(
    space: Space,
    start: Sequence[Genome],
    objectives: Callable[[Sequence[Genome]], tuple[np.ndarray, np.ndarray]],
    rng: np.random.Generator,
    excess: Callable[[Sequence[Genome]], np.ndarray],
) -> list[Genome]:
    """Run NSGA-II with two-point crossover; every gene is redrawn with probability 1 / genes.

    Args:
        space: space of the genomes.
        start: first population, filled up with random genomes.
        objectives: returns two values (n,), (n,) of n genomes, both to minimise.
        rng: source of randomness.
        excess: returns the shares (n,) by which n genomes exceed limits.

    Returns:
        The last population, the best first.
    """
    population = [space.vector(genome) for genome in start][:_POPULATION]
    population += [space.vector(space.sample(rng)) for _ in range(_POPULATION - len(population))]
    for _ in range(_GENERATIONS):
        children = []
        for _ in range(_POPULATION // 2):
            first, second = (population[min(rng.integers(0, _POPULATION, 2))] for _ in range(2))  # tournament
            children += [_mutate(child, space, rng) for child in _cross(first, second, rng)]
        pool = _unique(space, [*population, *children])
        genomes = [space.genome(vector) for vector in pool]
        error, cost = objectives(genomes)
        points = np.stack([error, penalised(cost, excess(genomes))], axis=1)
        population = [pool[i] for i in _order_by_rank(points)[:_POPULATION]]
        while len(population) < _POPULATION:  # the pool holds the whole of a small space
            population.append(space.vector(space.sample(rng)))
    return [space.genome(vector) for vector in population]


def _cross(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    low, high = np.sort(rng.integers(0, len(a) + 1, 2))
    inside = (np.arange(len(a)) >= low) & (np.arange(len(a)) < high)
    if rng.random() >= _CROSSOVER:
        inside[:] = False
    return np.where(inside, b, a), np.where(inside, a, b)


def _mutate(vector: np.ndarray, space: Space, rng: np.random.Generator) -> np.ndarray:
    changes = rng.random(len(vector)) < 1 / len(vector)
    return np.where(changes, space.draw(rng), vector)


def _unique(space: Space, vectors: Sequence[np.ndarray]) -> list[np.ndarray]:
    unique = {genome_key(space.genome(vector)): vector for vector in reversed(vectors)}
    return list(reversed(unique.values()))


def _order_by_rank(points: np.ndarray) -> np.ndarray:
    """Return indices of points (n, 2), sorted by rank, and within a rank by decreasing crowding distance."""
    rank = pareto_ranks(points)
    spread = np.zeros(len(points))
    for r in np.unique(rank):
        spread[rank == r] = crowding_distances(points[rank == r])
    return np.lexsort((np.arange(len(points)), -spread, rank))
