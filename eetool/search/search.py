"""A complete search: device, study and front. Subclasses know the networks: `supernet_search`, `backbone_search`."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from eetool.errors import BudgetError, UsageError
from eetool.latency.estimate.cascade_price import ENERGY, LATENCY, MACS
from eetool.latency.estimate.energy import UNKNOWN, Energy
from eetool.latency.estimate.predictor import PREDICTED
from eetool.latency.estimate.predictor import Predictor as DevicePredictor
from eetool.latency.table.hw_profile import HwProfile
from eetool.model.early_exit import EarlyExitNet
from eetool.model.gate_scores import MAX_SOFTMAX
from eetool.model.spec import ModelSpec
from eetool.progress import SILENT, Progress
from eetool.search.evaluation.cost_estimation import OBJECTIVES, CostEstimator
from eetool.search.evaluation.evaluator import EvaluationSettings, Evaluator
from eetool.search.evaluation.splits import JUDGE, SearchData
from eetool.search.methods import pareto
from eetool.search.methods.local_search import LocalPlanner
from eetool.search.methods.methods import Method, find_method
from eetool.search.methods.planners import ObjectiveValues
from eetool.search.methods.recombination import Recombination
from eetool.search.search_results import LIMITS, Candidate, Front, SpaceName, front_of, history_of, objective_points
from eetool.search.space.space import Genome, Space, genome_key
from eetool.search.study.storage import Storage
from eetool.search.study.study import Study, objective_values
from eetool.train.torch_devices import CPU, find_torch_device

_ONNXRUNTIME = "onnxruntime"  # preferred where the table of a device covers it


@dataclass(frozen=True)
class SearchTarget:
    """A device and the conditions of its latency table; without a device only MACs are known.

    Attributes:
        profile: hw profile of the device.
        backend: by default ONNX Runtime, or the backend that the table covers.
        threads: number of threads.
        watts: power for estimates of energy.
    """

    profile: HwProfile | None = None
    backend: str | None = None
    threads: int = 1
    watts: float | None = None


@dataclass(frozen=True)
class SearchOptions:
    """Settings of a search.

    Attributes:
        algorithm: name of a method, see `eetool.search.methods.methods.METHODS`.
        trials: number of candidates.
        seed: of all randomness.
        objective: `macs`, `latency_ms` or `energy_mj`; by default latency with a device, else MACs.
        limits: see `eetool.search.search_results.LIMITS`; `min_accuracy` in [0, 1].
        branches: `searched`, or `fixed` for an arm of AEBNAS' ablation.
        thresholds: `tuned`, or `fixed` for an arm of AEBNAS' ablation.
        max_accuracy_drop: percentage points that tuned thresholds may lose against full depth.
        examples: training examples of a candidate's branches, at most.
        epochs: epochs of the training of branches.
        fine_tune: epochs of joint training of each candidate.
        torch_device: device that the supernet and candidates are trained on.
        reference: error and cost of the reference point of hypervolumes; by default 0.5 and full depth of the largest.
    """

    algorithm: str = "aebnas"
    trials: int = 60
    seed: int = 0
    objective: str | None = None
    limits: Mapping[str, float] = field(default_factory=dict)
    branches: str = "searched"
    thresholds: str = "tuned"
    max_accuracy_drop: float = 1.0
    examples: int = 8192
    epochs: int = 4
    fine_tune: int = 0
    torch_device: str = CPU
    reference: tuple[float, float] | None = None


class Search(ABC):
    """One search: everything that the evaluation of candidates needs, made once.

    Raises:
        UsageError: unknown algorithm, objective, limit or torch device, or a figure that needs a --device.
        MissingError: the torch device is missing.
    """

    def __init__(self, space: Space, target: SearchTarget, options: SearchOptions) -> None:
        self.options, self.target = options, target
        self.method: Method = find_method(options.algorithm, options.branches, options.thresholds)
        self.full_space, self.space = space, self.method.space(space)
        self.objective = options.objective or (LATENCY if target.profile else MACS)
        self._check_figures()
        self.torch_device = find_torch_device(options.torch_device)
        predictor = None
        if target.profile is not None:
            backend = target.backend or table_backend(target.profile)
            predictor = DevicePredictor(target.profile, backend, "fp32", target.threads, target.watts)
        self.predictor = predictor
        self.estimator = CostEstimator(predictor)

    @property
    @abstractmethod
    def data(self) -> SearchData:
        """Examples of the search."""

    @abstractmethod
    def evaluator(self) -> Evaluator:
        """Return the evaluator of candidates."""

    @abstractmethod
    def unsplit_network(self) -> tuple[ModelSpec, EarlyExitNet]:
        """Return the largest network without exits; hypervolumes refer to its cost."""

    def _check_figures(self) -> None:
        limits = self.options.limits
        unknown = [name for name in limits if name not in LIMITS]
        if self.objective not in OBJECTIVES or unknown:
            raise UsageError(
                f"unknown figure {unknown[0] if unknown else self.objective!r}", f"Known: {', '.join(LIMITS)}."
            )
        device_figures = [name for name in (*limits, self.objective) if "latency" in name or "energy" in name]
        if device_figures and self.target.profile is None:
            raise UsageError(f"{device_figures[0]} is not known without a device", "Give --device, or search for macs.")

    def evaluation_settings(self) -> EvaluationSettings:
        """Return the settings of an evaluator."""
        o = self.options
        return EvaluationSettings(
            objective=self.objective,
            limits=o.limits,
            thresholds=self.method.thresholds,
            learned=self.method.learned,
            max_accuracy_drop=o.max_accuracy_drop,
            epochs=o.epochs,
            fine_tune=o.fine_tune,
            torch_device=o.torch_device,
            device=self.target.profile.name if self.target.profile else "",
            seed=o.seed,
        )

    def run(self, storage: Storage, study: str, weights_sha256: str, progress: Progress = SILENT) -> list[Candidate]:
        """Work on a study until it is complete; return all of its candidates, and other networks of their exits.

        Args:
            storage: database of the study.
            study: its name.
            weights_sha256: hash of the weights that candidates get.
            progress: shows the steps.
        """
        o = self.options
        shared = Study(storage, study, self.space, self.study_settings(weights_sha256))
        evaluator = self.evaluator()
        admits = self._screen(evaluator) if self.method.screened else lambda genome: True
        planner = self.method.planner(self.space, o.seed, o.trials, admits)
        trained = _TrainedExits(evaluator, self.objective, o.limits)
        if isinstance(planner, LocalPlanner) and evaluator.shares_branches:
            planner.trained = trained
        candidates = shared.work(planner, evaluator, o.trials, self.objective, o.limits, progress)
        if isinstance(planner, LocalPlanner):
            planner.recombined([objective_values(candidate, self.objective, o.limits) for candidate in candidates])
        if evaluator.shares_branches:
            trained.evaluate_without_idle_exits(self.space, candidates)
        return [*candidates, *trained.found]

    def _screen(self, evaluator: Evaluator) -> Callable[[Genome], bool]:
        """Return a test of whether a genome is worth an evaluation.

        Limits are tested only where the smallest network can meet them. Otherwise the evaluation shows how far the
        nearest network is from them.
        """
        unreachable = not evaluator.can_meet_limits(evaluator.estimate_costs(self.space.smallest()))

        def admits(genome: Genome) -> bool:
            estimate = evaluator.estimate_costs(genome)
            return evaluator.exits_can_save(estimate) and (unreachable or evaluator.can_meet_limits(estimate))

        return admits

    def study_settings(self, weights_sha256: str) -> dict[str, Any]:
        """Return the settings that all workers of a study must share."""
        o, profile = self.options, self.target.profile
        return {
            "space": f"{self.space.name} {self.space.hash[:16]}",
            "data": f"{self.data.name} {self.data.record.splits[JUDGE].sha256[:16]}",
            "supernet": weights_sha256[:16],  # the name in databases that exist
            "algorithm": o.algorithm,
            "objective": self.objective,
            "device": None if profile is None else f"{profile.name} {_hash(profile)}",
            "conditions": [self.target.backend, self.target.threads, self.target.watts],
            "limits": dict(o.limits),
            "arms": [o.branches, o.thresholds],
            "training": [o.examples, o.epochs, o.fine_tune, o.max_accuracy_drop],
            "trials": o.trials,
            "seed": o.seed,
        }

    def reference(self) -> tuple[float, float]:
        """Return error and cost of the reference point: by default 0.5, and the largest network without exits."""
        if self.options.reference is not None:
            return self.options.reference
        estimate = self.estimator(*self.unsplit_network(), MAX_SOFTMAX)
        return 0.5, float(estimate.costs[self.objective].leaving(())[-1])

    def front(self, candidates: list[Candidate], study: str) -> Front:
        """Return the document of the front; raise BudgetError where no candidate keeps to the limits."""
        o, profile = self.options, self.target.profile
        best = front_of(candidates, self.objective, o.limits)
        reference = self.reference()
        history = history_of(candidates, self.objective, o.limits, reference)
        table = None if self.predictor is None else self.predictor.kernel_costs
        return Front(
            study=study,
            space=SpaceName(self.space.name, self.space.hash),
            algorithm=o.algorithm,
            seed=o.seed,
            data=self.data.record,
            objective=self.objective,
            device=profile.name if profile else None,
            backend=table.backend if table else None,
            precision=table.precision if table else None,
            threads=table.threads if table else None,
            limits=dict(o.limits),
            provenance=self._provenance(),
            energy_scope=self._energy().scope,
            evaluated=len(candidates),
            feasible=sum(step.feasible for step in history),
            reference=reference,
            hypervolume=history[-1].hypervolume,
            knee=best[pareto.knee_point(objective_points(best, self.objective))].id,
            front=tuple(best),
            warnings=tuple(table.warnings) if table else (),
            history=history,
        )

    def _provenance(self) -> dict[str, str | None]:
        return {
            "accuracy": "measured",
            "macs": "counted",
            LATENCY: PREDICTED if self.predictor is not None else None,
            ENERGY: self._energy().provenance,
        }

    def _energy(self) -> Energy:
        """Return the energy of an empty graph; it carries provenance and scope of all energies."""
        return UNKNOWN if self.predictor is None else self.predictor.graph("nothing", []).energy_mj


class _TrainedExits:
    """Networks of exits that candidates of a study have trained; `found` holds those that were evaluated."""

    def __init__(self, evaluator: Evaluator, objective: str, limits: Mapping[str, float]) -> None:
        self._evaluator, self._objective, self._limits = evaluator, objective, limits
        self.found: list[Candidate] = []

    def evaluate(self, genome: Genome) -> ObjectiveValues:
        """Return the figures of a genome."""
        candidate = self._evaluator(genome)
        self.found.append(candidate)
        return objective_values(candidate, self._objective, self._limits)

    def evaluate_without_idle_exits(self, space: Space, candidates: Sequence[Candidate]) -> None:
        """Evaluate the networks on the front without the exits whose gates never fire there.

        Such an exit saves nothing, and takes weights, a component of its own and training.
        """
        recombination = Recombination(space)
        known = {genome_key(candidate.encoding) for candidate in [*candidates, *self.found]}
        pending = True
        while pending:  # thresholds are tuned anew, which can leave another exit idle
            pending = False
            for point in self._front([*candidates, *self.found]):
                idle = [i for i, threshold in enumerate(point.thresholds) if threshold is None]
                smaller = recombination.without_exits(point.encoding, idle)
                if genome_key(smaller) not in known:
                    known.add(genome_key(smaller))
                    self.evaluate(smaller)
                    pending = True

    def _front(self, candidates: list[Candidate]) -> list[Candidate]:
        try:
            return front_of(candidates, self._objective, self._limits)
        except BudgetError:
            return []


def table_backend(profile: HwProfile) -> str:
    """Return the backend of a table that candidates are priced for: ONNX Runtime where the table has it."""
    backends = sorted({e.backend for e in profile.table} | {r.backend for r in profile.regressions})
    return _ONNXRUNTIME if _ONNXRUNTIME in backends or not backends else backends[0]


def _hash(profile: HwProfile) -> str:
    from eetool.latency.table.hw_profile import profile_document
    from eetool.records import canonical

    return hashlib.sha256(canonical(profile_document(profile)).encode()).hexdigest()[:16]
