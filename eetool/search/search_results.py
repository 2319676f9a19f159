"""Results of a search: candidates with their figures, their front, and `search.front.json`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from eetool.errors import ArtefactError, BudgetError, UsageError
from eetool.records import read_record
from eetool.search.methods import pareto
from eetool_runtime.manifest import Data

SCHEMA = "search/1"
KNEE, CHEAPEST = "knee", "cheapest"
MIN_ACCURACY = "min_accuracy"
LIMITS = (
    *("macs", "latency_ms", "energy_mj", "worst_macs", "worst_latency_ms", "parameters", "peak_memory_bytes"),
    MIN_ACCURACY,
)
Value = int | float | str


@dataclass(frozen=True)
class CandidateFigures:
    """Figures of one candidate on the judge part; those that are not known are null.

    Costs are means over inputs and include every rejected branch. `worst_…` is the cost of full depth with every gate
    that can fire.
    """

    accuracy: float
    n: int
    exit_shares: tuple[float, ...]
    macs: float
    latency_ms: float | None
    energy_mj: float | None
    worst_macs: float
    worst_latency_ms: float | None
    parameters: int
    peak_memory_bytes: int | None


@dataclass(frozen=True)
class Candidate:
    """A candidate: its genes, the network that they describe, its gates and its figures.

    `seconds` holds the duration of each step of its evaluation, `size` the height and width of images that it resizes
    them to; null where it takes them as they are.
    """

    id: str
    encoding: dict[str, Value]
    backbone: str
    config: dict[str, Any] | None
    taps: tuple[str, ...]
    branches: tuple[str, ...]
    score: str
    temperatures: tuple[float, ...]
    thresholds: tuple[float | None, ...]
    figures: CandidateFigures
    seconds: dict[str, float]
    size: int | None = None

    def points(self) -> list["Candidate"]:
        """Return every operating point of the network as a candidate of its own."""
        return [self]


@dataclass(frozen=True)
class CandidatePoint:
    """Other thresholds of a candidate's network, and its figures with them."""

    name: str
    thresholds: tuple[float | None, ...]
    figures: CandidateFigures


@dataclass(frozen=True)
class EvaluatedCandidate(Candidate):
    """An evaluated candidate.

    Attributes:
        others: further operating points of the same trained network.
        exit_accuracies: of every exit alone on all judged examples, the final one last; empty in older studies.
        exit_costs: cost of leaving at every exit in the unit of the objective, where every gate can fire; likewise.
    """

    others: tuple[CandidatePoint, ...] = ()
    exit_accuracies: tuple[float, ...] = ()
    exit_costs: tuple[float, ...] = ()

    def points(self) -> list[Candidate]:
        """Return every operating point; a further one appends its name to the candidate's id: `…@full`."""
        own = {field.name: getattr(self, field.name) for field in fields(Candidate)}
        further = [
            {"id": f"{self.id}@{point.name}", "thresholds": point.thresholds, "figures": point.figures}
            for point in self.others
        ]
        return [Candidate(**{**own, **changes}) for changes in ({}, *further)]


@dataclass(frozen=True)
class SpaceName:
    """Name and hash of the space in the form that the method searched."""

    name: str
    hash: str


@dataclass(frozen=True)
class HistoryStep:
    """One evaluation of a search, in the order of slots, and the front after it.

    `feasible` is whether an operating point of the candidate keeps to the limits. `hypervolume` is that of all feasible
    points up to this evaluation.
    """

    evaluated: int
    id: str
    accuracy: float
    macs: float
    latency_ms: float | None
    energy_mj: float | None
    feasible: bool
    hypervolume: float


@dataclass(frozen=True)
class Front:
    """The document `search/1`: every operating point on the front that keeps to the limits, sorted by cost.

    Attributes:
        objective: cost whose mean over inputs is minimised beside the error.
        provenance: of each figure; accuracies are `measured` on the judge part, costs are `predicted` or `estimated`.
        energy_scope: scope of energies; null where they are not known.
        reference: error and cost of the reference point of hypervolumes.
        knee: id of the candidate at the knee of the front.
        evaluated: number of candidates.
        feasible: number of candidates that keep to the limits.
        history: every evaluation; empty in documents of older versions.
        cheapest: id of the cheapest point within the accuracy drop of the search, of exits on a trained network; null
            where no point is, and for spaces, whose networks differ at full depth.
    """

    study: str
    space: SpaceName
    algorithm: str
    seed: int
    data: Data
    objective: str
    device: str | None
    backend: str | None
    precision: str | None
    threads: int | None
    limits: dict[str, float]
    provenance: dict[str, str | None]
    energy_scope: str | None
    evaluated: int
    feasible: int
    reference: tuple[float, ...]
    hypervolume: float
    knee: str
    front: tuple[Candidate, ...]
    warnings: tuple[str, ...] = ()
    history: tuple[HistoryStep, ...] = ()
    cheapest: str | None = None


def cheapest_within(front: Front, least_accuracy: float) -> str | None:
    """Return the id of the cheapest point of a front with an accuracy in [0, 1]; None without one."""
    return next((c.id for c in front.front if c.figures.accuracy >= least_accuracy), None)


def figure_value(candidate: Candidate, name: str) -> float | None:
    """Return a figure by the name of its limit."""
    value = getattr(candidate.figures, "accuracy" if name == MIN_ACCURACY else name)
    return None if value is None else float(value)


def limit_excess(candidate: Candidate, limits: Mapping[str, float]) -> float:
    """Return the sum of the shares by which limits are exceeded; 0 where the candidate keeps to all of them."""
    return sum(_excess(candidate, name, limit) for name, limit in limits.items())


def _excess(candidate: Candidate, name: str, limit: float) -> float:
    value = figure_value(candidate, name)
    if value is None:
        return 0.0
    if name == MIN_ACCURACY:
        return max(0.0, (limit - value) / limit) if limit > 0 else 0.0
    return max(0.0, value / limit - 1)


def objective_points(candidates: Sequence[Candidate], objective: str) -> np.ndarray:
    """Return error and cost (n, 2)."""
    values = [(1 - c.figures.accuracy, figure_value(c, objective) or 0.0) for c in candidates]
    return np.array(values, dtype=float).reshape(-1, 2)


def front_of(candidates: Sequence[Candidate], objective: str, limits: Mapping[str, float]) -> list[Candidate]:
    """Return the non-dominated operating points that keep to the limits, the cheapest first; of equals the smallest.

    Raises:
        BudgetError: no operating point keeps to them; the message names the binding limit and the nearest figure.
    """
    points = [point for candidate in candidates for point in candidate.points()]
    feasible = [point for point in points if limit_excess(point, limits) == 0]
    if not feasible:
        raise BudgetError(*_infeasible(points, len(candidates), limits))
    feasible.sort(key=lambda point: len(point.taps))
    return [feasible[i] for i in pareto.pareto_front(objective_points(feasible, objective))]


def history_of(
    candidates: Sequence[Candidate], objective: str, limits: Mapping[str, float], reference: Sequence[float]
) -> tuple[HistoryStep, ...]:
    """Return one step per candidate, in their order; `reference` is the error and cost of the reference point."""
    feasible: list[Candidate] = []
    steps = []
    for evaluated, candidate in enumerate(candidates, 1):
        points = [point for point in candidate.points() if limit_excess(point, limits) == 0]
        feasible += points
        f = candidate.figures
        steps.append(
            HistoryStep(
                *(evaluated, candidate.id, f.accuracy, f.macs, f.latency_ms, f.energy_mj),
                feasible=bool(points),
                hypervolume=pareto.hypervolume(objective_points(feasible, objective), reference),
            )
        )
    return tuple(steps)


def _infeasible(points: Sequence[Candidate], count: int, limits: Mapping[str, float]) -> tuple[str, str]:
    """Return message and hint for `points`, all operating points of `count` candidates.

    The binding limit is the one that the fewest points keep to. Of several, it is the one that is exceeded by most.
    """
    if not points:
        return "no candidate was evaluated", "Give more --trials."

    def order(name: str) -> tuple[int, float]:
        excess = [_excess(c, name, limits[name]) for c in points]
        return sum(e == 0 for e in excess), -min(excess)

    binding = min(limits, key=order)
    within, _ = order(binding)
    nearest = min(points, key=lambda c: _excess(c, binding, limits[binding]))
    option = binding if binding == MIN_ACCURACY else f"max_{binding}"
    option = f"--{option.replace('_', '-')}"
    reached = figure_value(nearest, binding)
    message = f"none of {count} candidates meets the budget: {option} {limits[binding]:g} binds"
    if within:
        best = min(points, key=lambda c: limit_excess(c, limits))
        others = ", ".join(f"{name} {figure_value(best, name):g}" for name in limits)
        return f"{message}, together with the other limits", f"The nearest candidate has {others}."
    return message, f"The nearest that was reached is {reached:.6g}."


def pick_candidate(front: Front, which: str) -> Candidate:
    """Return the candidate at the knee, the cheapest within the accuracy drop, or the one whose id begins with `which`.

    Of several operating points of one network it is the cheapest.

    Raises:
        UsageError: no id, or the ids of several networks, begin with `which`.
    """
    if which == CHEAPEST and front.cheapest is None:
        raise UsageError("the front has no cheapest network within an accuracy drop", "Give --pick knee, or an id.")
    prefix = {KNEE: front.knee, CHEAPEST: front.cheapest or ""}.get(which, which)
    matches = [c for c in front.front if c.id == prefix] or [c for c in front.front if c.id.startswith(prefix)]
    if len({c.id.partition("@")[0] for c in matches}) != 1:
        known = ", ".join(c.id for c in front.front)
        raise UsageError(f"{len(matches)} candidates of the front have an id like {which!r}", f"Its ids: {known}.")
    return matches[0]


def trusted(candidate: Candidate, named: Sequence[str], where: str) -> tuple[str, dict[str, Any] | None]:
    """Return the backbone reference and configuration of a candidate for `eetool.train.pipeline.train_model`.

    Args:
        candidate: a candidate from a file, which may come from anywhere.
        named: factories that the user has named; no others are imported.
        where: the file, for messages.

    Raises:
        ArtefactError: the reference is not one that a search writes.
        UsageError: the reference is a factory that is not among `named`.
    """
    from eetool.model.references.factory_call import is_factory, write_factory
    from eetool.model.references.reference_check import check_reference

    def refuse(reason: str) -> ArtefactError:
        return ArtefactError(f"{where}: {reason}", "Write it again with `eetool search`.")

    check_reference(candidate.backbone, candidate.config, named, where, refuse)
    if is_factory(candidate.backbone):
        return write_factory(candidate.backbone, candidate.config), None
    if candidate.backbone.startswith("hf:"):
        return candidate.backbone, candidate.config or {}
    return candidate.backbone, candidate.config


def read_front(path: Path) -> Front:
    """Read `search.front.json`; raise ArtefactError where the file is not such a document."""
    return read_record(Front, path, SCHEMA)
