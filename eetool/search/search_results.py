"""What a search found: candidates with their figures, the front of them, and `search.front.json`."""

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
KNEE = "knee"
MIN_ACCURACY = "min_accuracy"
LIMITS = (
    *("macs", "latency_ms", "energy_mj", "worst_macs", "worst_latency_ms", "parameters", "peak_memory_bytes"),
    MIN_ACCURACY,
)
Value = int | float | str


@dataclass(frozen=True)
class CandidateFigures:
    """Of one candidate, on the judge part; costs are means over its inputs, with every rejected branch charged.

    `worst_…` is full depth with every gate that can fire. What is not known is null.
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
    """A candidate: its genes, the network that they stand for, its gates, and what was found of it.

    `seconds` says where the time of its evaluation went.
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

    def points(self) -> list["Candidate"]:
        """Every operating point of the network, as a candidate of its own."""
        return [self]


@dataclass(frozen=True)
class CandidatePoint:
    """Other thresholds of a candidate's network, and what comes of them."""

    name: str
    thresholds: tuple[float | None, ...]
    figures: CandidateFigures


@dataclass(frozen=True)
class EvaluatedCandidate(Candidate):
    """A candidate as its evaluation leaves it: `others` are further operating points of the same trained network."""

    others: tuple[CandidatePoint, ...] = ()

    def points(self) -> list[Candidate]:
        """Every operating point; the id of a further one is the candidate's with the point's name: `…@full`."""
        own = {field.name: getattr(self, field.name) for field in fields(Candidate)}
        further = [
            {"id": f"{self.id}@{point.name}", "thresholds": point.thresholds, "figures": point.figures}
            for point in self.others
        ]
        return [Candidate(**{**own, **changed}) for changed in ({}, *further)]


@dataclass(frozen=True)
class SpaceName:
    """The space as the method searched it."""

    name: str
    hash: str


@dataclass(frozen=True)
class HistoryStep:
    """One evaluation of a search, in the order of its slots: what came out, and how far the front had come with it.

    `feasible` says whether an operating point of the candidate keeps to the limits; `hypervolume` is that of all that
    do, up to this one.
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
    """The document `search/1`: every operating point on the front that keeps to the limits, by its cost.

    Attributes:
        objective: whose mean over inputs is on the front beside accuracy.
        provenance: of each figure: accuracies are `measured` on the judge part, costs are `predicted` or `estimated`.
        energy_scope: what energies cover; null where they are not known.
        reference: error and cost that the hypervolume reaches up to.
        knee: id of the candidate at the bend of the front.
        evaluated, feasible: candidates in all, and those that keep to the limits.
        history: every evaluation; nothing in documents older than it.
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


def figure_value(candidate: Candidate, name: str) -> float | None:
    """A figure by the name of its limit."""
    value = getattr(candidate.figures, "accuracy" if name == MIN_ACCURACY else name)
    return None if value is None else float(value)


def limit_excess(candidate: Candidate, limits: Mapping[str, float]) -> float:
    """By what share limits are exceeded, added up; 0 where the candidate keeps to all of them."""
    return sum(_over(candidate, name, limit) for name, limit in limits.items())


def _over(candidate: Candidate, name: str, limit: float) -> float:
    value = figure_value(candidate, name)
    if value is None:
        return 0.0
    if name == MIN_ACCURACY:
        return max(0.0, (limit - value) / limit) if limit > 0 else 0.0
    return max(0.0, value / limit - 1)


def objective_points(candidates: Sequence[Candidate], objective: str) -> np.ndarray:
    """Error and cost (n, 2)."""
    found = [(1 - c.figures.accuracy, figure_value(c, objective) or 0.0) for c in candidates]
    return np.array(found, dtype=float).reshape(-1, 2)


def front_of(candidates: Sequence[Candidate], objective: str, limits: Mapping[str, float]) -> list[Candidate]:
    """The operating points that keep to the limits and that no other such one beats in both, the cheapest first.

    Raises:
        BudgetError: there is none; names the limit that binds, and the nearest figure that was reached.
    """
    every = [point for candidate in candidates for point in candidate.points()]
    feasible = [point for point in every if limit_excess(point, limits) == 0]
    if not feasible:
        raise BudgetError(*_infeasible(every, len(candidates), limits))
    return [feasible[i] for i in pareto.pareto_front(objective_points(feasible, objective))]


def history_of(
    candidates: Sequence[Candidate], objective: str, limits: Mapping[str, float], reference: Sequence[float]
) -> tuple[HistoryStep, ...]:
    """One step per candidate, in their order; hypervolumes reach up to `reference`, an error and a cost."""
    kept: list[Candidate] = []
    steps = []
    for evaluated, candidate in enumerate(candidates, 1):
        keeping = [point for point in candidate.points() if limit_excess(point, limits) == 0]
        kept += keeping
        area, feasible = pareto.hypervolume(objective_points(kept, objective), reference), bool(keeping)
        f = candidate.figures
        steps.append(
            HistoryStep(
                evaluated, candidate.id, f.accuracy, f.macs, f.latency_ms, f.energy_mj, feasible, hypervolume=area
            )
        )
    return tuple(steps)


def _infeasible(every: Sequence[Candidate], count: int, limits: Mapping[str, float]) -> tuple[str, str]:
    """Of all operating points of `count` candidates. The limit that binds is the one that fewest of them keep to, and
    of these the one missed by most.
    """
    if not every:
        return "no candidate was evaluated", "Give more --trials."

    def kept(name: str) -> tuple[int, float]:
        over = [_over(c, name, limits[name]) for c in every]
        return sum(o == 0 for o in over), -min(over)

    binding = min(limits, key=kept)
    alone, _ = kept(binding)
    nearest = min(every, key=lambda c: _over(c, binding, limits[binding]))
    option = binding if binding == MIN_ACCURACY else f"max_{binding}"
    option = f"--{option.replace('_', '-')}"
    reached = figure_value(nearest, binding)
    message = f"none of {count} candidates meets the budget: {option} {limits[binding]:g} binds"
    if alone:
        best = min(every, key=lambda c: limit_excess(c, limits))
        others = ", ".join(f"{name} {figure_value(best, name):g}" for name in limits)
        return f"{message}, together with the other limits", f"The nearest candidate has {others}."
    return message, f"The nearest that was reached is {reached:.6g}."


def pick_candidate(front: Front, which: str) -> Candidate:
    """The candidate at the knee, or the one whose id begins with `which`, of several operating points of one network
    the cheapest; raises UsageError where there is none.
    """
    wanted = front.knee if which == KNEE else which
    found = [c for c in front.front if c.id == wanted] or [c for c in front.front if c.id.startswith(wanted)]
    if len({c.id.partition("@")[0] for c in found}) != 1:
        known = ", ".join(c.id for c in front.front)
        raise UsageError(f"{len(found)} candidates of the front have an id like {which!r}", f"Its ids: {known}.")
    return found[0]


def trusted(candidate: Candidate, named: Sequence[str], where: str) -> tuple[str, dict[str, Any] | None]:
    """Return the reference of a candidate from a file and its configuration, fit for `eetool.train.pipeline.train_model`.

    Args:
        named: factories that may be imported, as the user has named them.
        where: the file, for messages.

    Raises:
        ArtefactError: the reference is none that a search writes.
        UsageError: it is a factory that is not among `named`.
    """
    from eetool.model.references.factory_call import is_factory, write_factory
    from eetool.model.references.reference_check import check_reference

    def refuse(reason: str) -> ArtefactError:
        return ArtefactError(f"{where}: {reason}", "Make it again with `eetool search`.")

    check_reference(candidate.backbone, candidate.config, named, where, refuse)
    if is_factory(candidate.backbone):
        return write_factory(candidate.backbone, candidate.config), None
    if candidate.backbone.startswith("hf:"):
        return candidate.backbone, candidate.config or {}
    return candidate.backbone, candidate.config


def best_within(front: Front, limits: Mapping[str, float]) -> Candidate:
    """The most accurate candidate of the front that keeps to further limits; raises BudgetError where none does."""
    kept = front_of(front.front, front.objective, limits)
    return max(kept, key=lambda c: c.figures.accuracy)


def read_front(path: Path) -> Front:
    """Read `search.front.json`; raises ArtefactError where it is none."""
    return read_record(Front, path, SCHEMA)
