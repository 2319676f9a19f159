"""One candidate from genes to figures: weights inherited, branches trained, thresholds tuned, cost predicted."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from eetool.errors import MissingError
from eetool.latency.estimate.cascade_cost import CascadeCosts
from eetool.latency.estimate.cascade_price import ENERGY, LATENCY, MACS
from eetool.metrics import Thresholds, exits_taken
from eetool.model.branches import Branch
from eetool.model.checkpoint import build_net
from eetool.model.early_exit import EarlyExitNet, capture_outputs
from eetool.model.gate_scores import LEARNED
from eetool.model.references.resolve import build
from eetool.model.spec import ModelSpec
from eetool.model.supernet import Supernet, recalibrate_batch_norm
from eetool.search.evaluation.adaptive_branches import adaptive_branches
from eetool.search.evaluation.branch_training import CostGoal, TapFeatures, exit_answers, train_branches
from eetool.search.evaluation.cost_estimation import (
    CandidateCosts,
    CostEstimator,
    costs_of,
    every_exit_can_save,
    least_figures,
)
from eetool.search.evaluation.fine_tuning import fine_tune
from eetool.search.evaluation.splits import SearchData, SplitPart
from eetool.search.evaluation.threshold_rules import RULES, TUNED, ThresholdLimits, full_and_between
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
from eetool.tune.operating_points import LabelledLogits, threshold_problem
from eetool.tune.threshold_search import ThresholdProblem

_BATCH = 256
_BRANCH_BATCH = 32  # branches see few examples: small batches make more steps of them
_FORWARD = 64  # images at a time: more of them leave the cache between layers, and take half as long again


@dataclass(frozen=True)
class EvaluationSettings:
    """How candidates are trained and judged.

    Attributes:
        objective: `macs`, `latency_ms` or `energy_mj`, the mean over inputs of all that ran.
        limits: by name of a figure the most it may be; `min_accuracy` the least.
        thresholds: rule by which thresholds are found, one of `eetool.search.evaluation.threshold_rules.RULES`.
        learned: exits have confidence heads, trained as in NACHOS, and gates go by them.
        max_accuracy_drop: points that tuned thresholds may lose against full depth.
        epochs: passes over the features that branches learn from.
        fine_tune: epochs that backbone and branches are trained together before; 0 leaves weights as inherited.
        calibration: batches for statistics of batch normalisations.
        torch_device: where `fine_tune` trains, features are computed and branches learn.
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
    """Evaluates genomes of one space; the same genome gives the same figures, whatever was evaluated before.

    On a GPU they are the same but for the order of its sums.
    """

    def __init__(
        self, space: Space, supernet: Supernet, data: SearchData, pricer: CostEstimator, setting: EvaluationSettings
    ) -> None:
        self.space, self.supernet, self.data, self.pricer, self.setting = space, supernet, data, pricer, setting

    def __call__(self, genome: Genome) -> EvaluatedCandidate:
        """Everything about one genome, in seconds; see `judged`."""
        return self.judged(genome, (self.data.judge,))[0]

    def judged(self, genome: Genome, parts: Sequence[SplitPart]) -> list[EvaluatedCandidate]:
        """The candidate of a genome, trained once, with its figures on each of `parts`.

        Raises:
            MissingError: the objective, or a figure that is limited, is not known for this network and device.
        """
        key, clock = genome_key(genome), _Clock()
        network = self.space.network(genome)
        torch.manual_seed(_seed(key, self.setting.seed))
        net, spec = self._build(network)
        self._inherit(net, key)
        clock.lap("weights")
        score = LEARNED if self.setting.learned and spec.taps else network.score
        price = self.pricer(spec, net, score)
        costs = costs_of(price, self.setting.objective, self.setting.device)
        clock.lap("price")
        held_out = (self.data.temperature, self.data.threshold, *parts)
        temperature, threshold, *judges = self._learned(net, costs, key, clock, held_out)
        calibration = Calibration(self._temperatures(temperature))
        own, others = self._thresholds(threshold_problem(calibration, threshold, costs, score), network)
        clock.lap("thresholds")

        def on(judge: LabelledLogits) -> EvaluatedCandidate:
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
                thresholds=own,
                figures=_figures(problem, own, price),
                seconds=clock.laps,
                others=tuple(
                    CandidatePoint(name, choice, _figures(problem, choice, price)) for name, choice in others.items()
                ),
            )

        candidates = [on(judge) for judge in judges]
        self._check(candidates[0])
        return candidates

    def _inherit(self, net: EarlyExitNet, key: str) -> None:
        """Shared weights, made the candidate's own."""
        self.supernet.copy_weights_to(net.backbone)
        if self.setting.fine_tune:
            seed, epochs = _seed(key, self.setting.seed), self.setting.fine_tune
            fine_tune(net, self.data.learn, epochs, seed, self.setting.torch_device)
        else:
            recalibrate_batch_norm(net.backbone, self.data.batches(self.setting.calibration, _BATCH))

    def _learned(
        self, net: EarlyExitNet, costs: CascadeCosts, key: str, clock: "_Clock", held_out: Sequence[SplitPart]
    ) -> list[LabelledLogits]:
        """What the exits answer to the parts that are held out, after their branches were trained."""
        device = torch.device(self.setting.torch_device)
        net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs leave it out
        branches = [branch for branch in net.exits if isinstance(branch, Branch)]
        limit = self.setting.limits.get(self.setting.objective)
        goal = CostGoal(tuple(costs.leaving((0.0,) * len(branches)).tolist()), limit) if self.setting.learned else None
        teach = bool(branches) and (goal is not None or not self.setting.fine_tune)  # or they have learned already
        learn = _features(net, self.data.branches, device) if teach else None
        seen = [_features(net, part, device) for part in held_out]
        clock.lap("features")
        if learn is not None:
            train_branches(branches, learn, self.setting.epochs, _BRANCH_BATCH, _seed(key, self.setting.seed), goal)
        clock.lap("branches")
        return [_labelled(branches, features) for features in seen]

    def _thresholds(
        self, problem: ThresholdProblem, network: CandidateNetwork
    ) -> tuple[Thresholds, dict[str, Thresholds]]:
        """Those of the method's rule, and others by the names of their operating points."""
        limits, rule, drop = self.setting.limits, self.setting.thresholds, self.setting.max_accuracy_drop
        cut = ThresholdLimits(limits.get(self.setting.objective), limits.get(MIN_ACCURACY), drop, network.thresholds)
        own = RULES[rule](problem, cut)
        further = full_and_between(problem, cut) if rule == TUNED else {}
        return own, {name: choice for name, choice in further.items() if choice != own}

    def price(self, genome: Genome) -> CandidateCosts:
        """What the network of a genome costs; milliseconds, as nothing is learned."""
        network = self.space.network(genome)
        net, spec = self._build(network)
        return self.pricer(spec, net, network.score)

    def can_pay(self, price: CandidateCosts) -> bool:
        """Return whether every exit can save something of the objective, see `every_exit_can_save`."""
        return every_exit_can_save(costs_of(price, self.setting.objective, self.setting.device))

    def can_keep(self, price: CandidateCosts) -> bool:
        """Whether some thresholds could keep to all limits on cost, whatever is learned."""
        least = least_figures(price)
        return all(least.get(name, 0.0) <= limit for name, limit in self.setting.limits.items())

    def _check(self, candidate: Candidate) -> None:
        unknown = [name for name in self.setting.limits if figure_value(candidate, name) is None]
        if unknown:
            raise MissingError(
                f"{unknown[0]} of {candidate.backbone} is not known, so a limit on it cannot be kept",
                "Leave that limit away, or give a --device whose table knows it.",
            )

    def _build(self, network: CandidateNetwork) -> tuple[EarlyExitNet, ModelSpec]:
        branches = self._branches(network)
        learned = self.setting.learned and bool(network.taps)
        spec = ModelSpec(
            *(network.backbone, self.data.inputs, self.data.classes, network.taps, branches, network.config, learned)
        )
        return build_net(spec).eval(), spec

    def _branches(self, network: CandidateNetwork) -> tuple[str, ...]:
        """Those that genes describe, and where they do not, by the rule."""
        own = tuple(branch for branch in network.branches if branch is not None)
        if len(own) == len(network.branches):
            return own
        classes = len(self.data.classes)
        backbone = build(network.backbone, self.data.inputs, classes, network.config)
        ruled = adaptive_branches(backbone, self.data.inputs, network.taps, classes)
        return tuple(branch or given for branch, given in zip(network.branches, ruled, strict=True))

    def _temperatures(self, split: LabelledLogits) -> tuple[float, ...]:
        """Fitted where thresholds are tuned; the methods that do without get raw scores."""
        if self.setting.thresholds != TUNED:
            return (1.0,) * len(split.logits)
        return tuple(fit_temperature(logits, split.labels) for logits in split.logits)


class _Clock:
    """Seconds between laps."""

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
    found: list[list[torch.Tensor]] = []
    for images in torch.split(part.images.contiguous(memory_format=torch.channels_last), _FORWARD):
        with capture_outputs(net.backbone, net.taps) as at:
            final = net.backbone(images.to(device))
        found.append([*(at[tap] for tap in net.taps), final])
    *taps, final = (torch.cat(chunks) for chunks in zip(*found, strict=True))
    return TapFeatures(tuple(taps), final, part.labels.to(device))


def _labelled(branches: list[Branch], features: TapFeatures) -> LabelledLogits:
    logits, learned = exit_answers(branches, features)
    sure = None if learned is None else learned.cpu().numpy()
    return LabelledLogits(logits.cpu().numpy(), features.labels.cpu().numpy(), sure)


def _figures(problem: ThresholdProblem, thresholds: Thresholds, price: CandidateCosts) -> CandidateFigures:
    taken = exits_taken(problem.confidences, thresholds)
    leaving = {name: costs.leaving(thresholds) for name, costs in price.costs.items()}
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
        parameters=price.parameters,
        peak_memory_bytes=price.peak_memory_bytes,
    )


def largest_network(space: Space, data: SearchData) -> nn.Module:
    """The backbone that holds the weights of all others, with fresh weights."""
    network = space.network(space.largest())
    return build(network.backbone, data.inputs, len(data.classes), network.config)
