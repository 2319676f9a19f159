"""Evaluation of one candidate: weights, branches, thresholds and costs. Subclasses know where weights come from."""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from eetool.errors import MissingError
from eetool.latency.estimate.cascade_cost import CascadeCosts
from eetool.latency.estimate.cascade_price import ENERGY, LATENCY, MACS
from eetool.metrics import Thresholds, exits_taken
from eetool.model.backbones.names import own_size
from eetool.model.early_exit import EarlyExitNet
from eetool.model.gate_scores import LEARNED
from eetool.model.spec import ModelSpec
from eetool.search.evaluation.cost_estimation import (
    CandidateCosts,
    CostEstimator,
    costs_of,
    every_exit_can_save,
    least_figures,
)
from eetool.search.evaluation.splits import SearchData, SplitPart
from eetool.search.methods.baselines.nachos_loss import CostGoal
from eetool.search.methods.threshold_rules import TUNED, choose_thresholds
from eetool.search.methods.tuned_thresholds import ThresholdLimits
from eetool.search.search_results import (
    MIN_ACCURACY,
    Candidate,
    CandidateFigures,
    CandidatePoint,
    EvaluatedCandidate,
    figure_value,
)
from eetool.search.space.space import CandidateNetwork, Genome, Space, genome_key
from eetool.train.torch_devices import CPU
from eetool.tune.calibration import Calibration, fit_temperature
from eetool.tune.cross_fitting import LabelledLogits, threshold_problem
from eetool.tune.threshold_search import ThresholdProblem

_BATCH = 256
_BRANCH_BATCH = 32  # branches have few training examples: small batches give more steps


@dataclass(frozen=True)
class EvaluationSettings:
    """Settings for training and measuring candidates.

    Attributes:
        objective: `macs`, `latency_ms` or `energy_mj`, the mean over inputs of everything that ran.
        limits: largest value by name of a figure; for `min_accuracy` the smallest.
        thresholds: rule that chooses thresholds, see `eetool.search.methods.threshold_rules.choose_thresholds`.
        learned: exits have confidence heads, trained as in NACHOS, and gates use them.
        max_accuracy_drop: percentage points that tuned thresholds may lose against full depth.
        epochs: passes over the features that branches are trained on.
        fine_tune: epochs of joint training of backbone and branches before; 0 leaves weights as inherited.
        calibration: batches for statistics of batch normalisations.
        device: name of the device, for messages.
        seed: of all randomness in training.
        torch_device: device of `fine_tune`, of the features and of the training of branches.
    """

    objective: str = MACS
    limits: Mapping[str, float] = field(default_factory=dict)
    thresholds: str = "tuned"
    learned: bool = False
    max_accuracy_drop: float = 1.0
    epochs: int = 4
    fine_tune: int = 0
    calibration: int = 4
    device: str = ""
    seed: int = 0
    torch_device: str = CPU


class LapTimer:
    """Measures the seconds of consecutive laps by name."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """End a lap, and begin the next."""
        now = time.perf_counter()
        self.laps[name], self._last = round(now - self._last, 4), now


@dataclass(frozen=True)
class BuiltCandidate:
    """A candidate whose branches are not trained yet.

    Attributes:
        key: SHA-256 of its genome.
        spec, net: the network.
        costs: of the objective.
        timer: timer of the steps of its evaluation.
    """

    key: str
    spec: ModelSpec
    net: EarlyExitNet
    costs: CascadeCosts
    timer: LapTimer


class Evaluator(ABC):
    """Evaluates genomes of one space; the figures of a genome do not depend on earlier evaluations.

    On a GPU they are the same up to the order of its sums.
    """

    def __init__(self, space: Space, data: SearchData, estimator: CostEstimator, settings: EvaluationSettings) -> None:
        self.space, self.data, self.estimator, self.settings = space, data, estimator, settings

    @property
    def shares_branches(self) -> bool:
        """True where exits that are trained for one candidate serve others."""
        return False

    @abstractmethod
    def build(self, network: CandidateNetwork) -> tuple[EarlyExitNet, ModelSpec]:
        """Return a candidate in evaluation mode, and its spec; weights need not be those that it is judged with."""

    @abstractmethod
    def inherit(self, net: EarlyExitNet, key: str) -> None:
        """Give the backbone of a candidate its weights."""

    @abstractmethod
    def trained_outputs(self, built: BuiltCandidate, parts: Sequence[SplitPart]) -> list[LabelledLogits]:
        """Train the branches of a candidate, and return the outputs of all exits on each of the parts."""

    def __call__(self, genome: Genome) -> EvaluatedCandidate:
        """Return the candidate of a genome with its figures on the judge part, see `evaluate_on`."""
        return self.evaluate_on(genome, (self.data.judge,))[0]

    def evaluate_on(self, genome: Genome, parts: Sequence[SplitPart]) -> list[EvaluatedCandidate]:
        """Train the candidate of a genome once and return it with its figures on each of `parts`.

        Raises:
            MissingError: the objective, or a figure that is limited, is not known for this network and device.
        """
        key, timer = genome_key(genome), LapTimer()
        network = self.space.network(genome)
        torch.manual_seed(seed_of(key, self.settings.seed))
        net, spec = self.build(network)
        self.inherit(net, key)
        timer.lap("weights")
        score = LEARNED if self.settings.learned and spec.taps else network.score
        estimate = self.estimator(spec, net, score)
        costs = costs_of(estimate, self.settings.objective, self.settings.device)
        timer.lap("price")  # a name in stored candidates
        held_out = (self.data.temperature, self.data.threshold, *parts)
        temperature, threshold, *judges = self.trained_outputs(BuiltCandidate(key, spec, net, costs, timer), held_out)
        calibration = Calibration(self._temperatures(temperature))
        thresholds, further = self._thresholds(threshold_problem(calibration, threshold, costs, score), network)
        timer.lap("thresholds")

        def measured_on(judge: LabelledLogits) -> EvaluatedCandidate:
            problem = threshold_problem(calibration, judge, costs, score)
            return EvaluatedCandidate(
                id=key[:12],
                encoding=genome,
                backbone=network.backbone,
                config=network.config,
                taps=spec.taps,
                branches=spec.branches,
                score=score,
                temperatures=calibration.temperatures,
                thresholds=thresholds,
                figures=_figures(problem, thresholds, estimate),
                seconds=timer.laps,
                size=own_size(network.backbone),
                others=tuple(
                    CandidatePoint(name, choice, _figures(problem, choice, estimate))
                    for name, choice in further.items()
                ),
                exit_accuracies=tuple(problem.correct.mean(1).tolist()),
                exit_costs=tuple(costs.leaving((0.0,) * costs.early).tolist()),
            )

        candidates = [measured_on(judge) for judge in judges]
        self._check_limits(candidates[0])
        return candidates

    def _thresholds(
        self, problem: ThresholdProblem, network: CandidateNetwork
    ) -> tuple[Thresholds, dict[str, Thresholds]]:
        """Return thresholds by the method's rule, and those of further operating points by name."""
        limits, rule, drop = self.settings.limits, self.settings.thresholds, self.settings.max_accuracy_drop
        allowed = ThresholdLimits(
            limits.get(self.settings.objective), limits.get(MIN_ACCURACY), drop, network.thresholds
        )
        return choose_thresholds(rule, problem, allowed)

    def cost_goal(self, costs: CascadeCosts) -> CostGoal | None:
        """Return the cost target of learned confidences; None without them."""
        if not self.settings.learned:
            return None
        limit = self.settings.limits.get(self.settings.objective)
        return CostGoal(tuple(costs.leaving((0.0,) * costs.early).tolist()), limit)

    def estimate_costs(self, genome: Genome) -> CandidateCosts:
        """Return the costs of a genome's network without training it; this takes milliseconds."""
        network = self.space.network(genome)
        net, spec = self.build(network)
        return self.estimator(spec, net, network.score)

    def exits_can_save(self, estimate: CandidateCosts) -> bool:
        """Return whether every exit can save something of the objective, see `every_exit_can_save`."""
        return every_exit_can_save(costs_of(estimate, self.settings.objective, self.settings.device))

    def can_meet_limits(self, estimate: CandidateCosts) -> bool:
        """Return whether some thresholds could keep to all limits on cost, whatever the branches learn."""
        least = least_figures(estimate)
        return all(least.get(name, 0.0) <= limit for name, limit in self.settings.limits.items())

    def _check_limits(self, candidate: Candidate) -> None:
        unknown = [name for name in self.settings.limits if figure_value(candidate, name) is None]
        if unknown:
            raise MissingError(
                f"{unknown[0]} of {candidate.backbone} is not known, so a limit on it cannot be kept",
                "Omit that limit, or give a --device whose table holds it.",
            )

    def _temperatures(self, split: LabelledLogits) -> tuple[float, ...]:
        """Return fitted temperatures where thresholds are tuned; the other methods use raw scores."""
        if self.settings.thresholds != TUNED:
            return (1.0,) * len(split.logits)
        return tuple(fit_temperature(logits, split.labels) for logits in split.logits)


def seed_of(key: str, seed: int) -> int:
    """Return a seed from a SHA-256 and the seed of a search."""
    return (int(key[:12], 16) + seed) % 2**31


def _figures(problem: ThresholdProblem, thresholds: Thresholds, estimate: CandidateCosts) -> CandidateFigures:
    taken = exits_taken(problem.confidences, thresholds)
    leaving = {name: costs.leaving(thresholds) for name, costs in estimate.costs.items()}
    mean = {name: float(cost[taken].mean()) for name, cost in leaving.items()}
    return CandidateFigures(
        accuracy=float(problem.correct[taken, np.arange(problem.n)].mean()),
        n=problem.n,
        exit_shares=tuple((np.bincount(taken, minlength=len(problem.confidences)) / problem.n).tolist()),
        macs=mean[MACS],
        latency_ms=mean.get(LATENCY),
        energy_mj=mean.get(ENERGY),
        worst_macs=float(leaving[MACS][-1]),
        worst_latency_ms=float(leaving[LATENCY][-1]) if LATENCY in leaving else None,
        parameters=estimate.parameters,
        peak_memory_bytes=estimate.peak_memory_bytes,
    )
