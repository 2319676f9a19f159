"""Evaluation of one candidate: inherit weights, train branches, tune thresholds, estimate costs."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from eetool.errors import DivergedError, MissingError
from eetool.latency.estimate.cascade_cost import CascadeCosts
from eetool.latency.estimate.cascade_price import ENERGY, LATENCY, MACS
from eetool.metrics import Thresholds, exits_taken
from eetool.model.backbones.names import own_size
from eetool.model.branches import Branch
from eetool.model.checkpoint import build_net
from eetool.model.early_exit import EarlyExitNet, capture_outputs
from eetool.model.gate_scores import LEARNED
from eetool.model.memory_format import in_memory_format
from eetool.model.non_finite import count_non_finite
from eetool.model.references.example_inputs import example_inputs
from eetool.model.references.resolve import build
from eetool.model.spec import ModelSpec
from eetool.model.supernet import Supernet, recalibrate_batch_norm
from eetool.model.tap_layouts import choose_layouts, find_layouts
from eetool.search.evaluation.adaptive_branches import adaptive_branches
from eetool.search.evaluation.branch_training import TapFeatures, exit_outputs, train_branches
from eetool.search.evaluation.cost_estimation import (
    CandidateCosts,
    CostEstimator,
    costs_of,
    every_exit_can_save,
    least_figures,
)
from eetool.search.evaluation.fine_tuning import fine_tune
from eetool.search.evaluation.splits import SearchData, SplitPart
from eetool.search.methods.baselines.nachos_loss import CostGoal
from eetool.search.methods.threshold_rules import THRESHOLD_RULES, TUNED
from eetool.search.methods.tuned_thresholds import ThresholdLimits, further_thresholds
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
        thresholds: rule that chooses thresholds, see `eetool.search.methods.threshold_rules.THRESHOLD_RULES`.
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


class Evaluator:
    """Evaluates genomes of one space; the figures of a genome do not depend on earlier evaluations.

    On a GPU they are the same up to the order of its sums.
    """

    def __init__(
        self, space: Space, supernet: Supernet, data: SearchData, estimator: CostEstimator, settings: EvaluationSettings
    ) -> None:
        self.space, self.supernet, self.data, self.estimator, self.settings = space, supernet, data, estimator, settings

    def __call__(self, genome: Genome) -> EvaluatedCandidate:
        """Return the candidate of a genome with its figures on the judge part, see `evaluate_on`."""
        return self.evaluate_on(genome, (self.data.judge,))[0]

    def evaluate_on(self, genome: Genome, parts: Sequence[SplitPart]) -> list[EvaluatedCandidate]:
        """Train the candidate of a genome once and return it with its figures on each of `parts`.

        Raises:
            MissingError: the objective, or a figure that is limited, is not known for this network and device.
        """
        key, timer = genome_key(genome), _LapTimer()
        network = self.space.network(genome)
        torch.manual_seed(_seed(key, self.settings.seed))
        net, spec = self._build(network)
        self._inherit(net, key)
        timer.lap("weights")
        score = LEARNED if self.settings.learned and spec.taps else network.score
        estimate = self.estimator(spec, net, score)
        costs = costs_of(estimate, self.settings.objective, self.settings.device)
        timer.lap("price")  # a name in stored candidates
        held_out = (self.data.temperature, self.data.threshold, *parts)
        temperature, threshold, *judges = self._trained_outputs(net, costs, key, timer, held_out)
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

    def _inherit(self, net: EarlyExitNet, key: str) -> None:
        """Copy shared weights into the candidate, and fine-tune or recalibrate them."""
        self.supernet.copy_weights_to(net.backbone)
        if self.settings.fine_tune:
            seed, epochs = _seed(key, self.settings.seed), self.settings.fine_tune
            fine_tune(net, self.data.training, epochs, seed, self.settings.torch_device)
        else:
            recalibrate_batch_norm(net.backbone, self.data.batches(self.settings.calibration, _BATCH))

    def _trained_outputs(
        self, net: EarlyExitNet, costs: CascadeCosts, key: str, timer: "_LapTimer", held_out: Sequence[SplitPart]
    ) -> list[LabelledLogits]:
        """Train the branches and return the outputs of all exits on the held-out parts."""
        device = torch.device(self.settings.torch_device)
        net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs leave it out
        branches = [branch for branch in net.exits if isinstance(branch, Branch)]
        limit = self.settings.limits.get(self.settings.objective)
        goal = CostGoal(tuple(costs.leaving((0.0,) * len(branches)).tolist()), limit) if self.settings.learned else None
        train = bool(branches) and (goal is not None or not self.settings.fine_tune)  # fine-tuning trains them already
        training = _features(net, self.data.branches, device) if train else None
        held_out_features = [_features(net, part, device) for part in held_out]
        timer.lap("features")
        if training is not None:
            train_branches(
                branches, training, self.settings.epochs, _BRANCH_BATCH, _seed(key, self.settings.seed), goal
            )
        timer.lap("branches")
        return [_labelled(branches, features) for features in held_out_features]

    def _thresholds(
        self, problem: ThresholdProblem, network: CandidateNetwork
    ) -> tuple[Thresholds, dict[str, Thresholds]]:
        """Return thresholds by the method's rule, and those of further operating points by name."""
        limits, rule, drop = self.settings.limits, self.settings.thresholds, self.settings.max_accuracy_drop
        allowed = ThresholdLimits(
            limits.get(self.settings.objective), limits.get(MIN_ACCURACY), drop, network.thresholds
        )
        thresholds = THRESHOLD_RULES[rule](problem, allowed)
        further = further_thresholds(problem, allowed) if rule == TUNED else {}
        return thresholds, {name: choice for name, choice in further.items() if choice != thresholds}

    def estimate_costs(self, genome: Genome) -> CandidateCosts:
        """Return the costs of a genome's network without training it; this takes milliseconds."""
        network = self.space.network(genome)
        net, spec = self._build(network)
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

    def _build(self, network: CandidateNetwork) -> tuple[EarlyExitNet, ModelSpec]:
        backbone = build(network.backbone, self.data.inputs, len(self.data.classes), network.config)
        found = find_layouts(backbone, example_inputs(self.data.inputs), network.taps) if network.taps else {}
        layouts = choose_layouts({tap: found[tap] for tap in network.taps}, (), hint=False)
        branches = self._branches(network, backbone, layouts)
        learned = self.settings.learned and bool(network.taps)
        spec = ModelSpec(
            *(network.backbone, self.data.inputs, self.data.classes, network.taps, branches, network.config, learned),
            layouts=layouts,
        )
        return build_net(spec).eval(), spec

    def _branches(self, network: CandidateNetwork, backbone: nn.Module, layouts: tuple[str, ...]) -> tuple[str, ...]:
        """Return the branches that genes describe; NACHOS' rule makes the others."""
        own = tuple(branch for branch in network.branches if branch is not None)
        if len(own) == len(network.branches):
            return own
        by_rule = adaptive_branches(backbone, self.data.inputs, network.taps, layouts, len(self.data.classes))
        return tuple(branch or given for branch, given in zip(network.branches, by_rule, strict=True))

    def _temperatures(self, split: LabelledLogits) -> tuple[float, ...]:
        """Return fitted temperatures where thresholds are tuned; the other methods use raw scores."""
        if self.settings.thresholds != TUNED:
            return (1.0,) * len(split.logits)
        return tuple(fit_temperature(logits, split.labels) for logits in split.logits)


class _LapTimer:
    """Measures the seconds of consecutive laps by name."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name], self._last = round(now - self._last, 4), now


def _seed(key: str, seed: int) -> int:
    return (int(key[:12], 16) + seed) % 2**31


@torch.no_grad()
def _features(net: EarlyExitNet, part: SplitPart, device: torch.device) -> TapFeatures:
    batches: list[list[torch.Tensor]] = []
    for images in part.batches():
        with capture_outputs(net.backbone, net.taps) as at:
            final = net.backbone(in_memory_format(images, torch.channels_last).to(device))
        batches.append([*(at[tap] for tap in net.taps), final])
    *taps, final = (torch.cat(chunks) for chunks in zip(*batches, strict=True))
    for name, x in zip((*net.taps, "the final exit"), (*taps, final), strict=True):
        if counts := count_non_finite(x):
            raise DivergedError(
                f"a candidate gives {counts} at {name}", "Train the supernet anew, with a lower --learning-rate."
            )
    return TapFeatures(tuple(taps), final, part.labels.to(device))


def _labelled(branches: list[Branch], features: TapFeatures) -> LabelledLogits:
    logits, learned = exit_outputs(branches, features)
    confidences = None if learned is None else learned.cpu().numpy()
    return LabelledLogits(logits.cpu().numpy(), features.labels.cpu().numpy(), confidences)


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


def largest_network(space: Space, data: SearchData) -> nn.Module:
    """Return the largest backbone of a space with fresh weights; it holds the weights of all others."""
    network = space.network(space.largest())
    return build(network.backbone, data.inputs, len(data.classes), network.config)
