"""One search on the table: a method of `eetool.search.methods`, with the table in place of training.

The evaluation is that of `eetool.search.evaluation.evaluator`: thresholds are fitted on the part `threshold`, a method
sees figures of the part `judge`, and the operating points that it found are reported on the part `test`. Four things
differ. `nachos` has the calibrated largest probability in place of learned confidences, since these depend on all exits
of a network. Temperatures are fitted for every method. Branches by rule are those of a network with all exits. Searches
of more than 200 evaluations have larger generations.
"""

from dataclasses import dataclass, field

import numpy as np

from eetool.metrics import Thresholds
from eetool.search.evaluation.cost_estimation import every_exit_can_save
from eetool.search.methods.local_search import LocalPlanner
from eetool.search.methods.methods import Method, find_method
from eetool.search.methods.planners import ObjectiveValues, SurrogatePlanner
from eetool.search.methods.threshold_rules import TUNED, choose_thresholds
from eetool.search.methods.tuned_thresholds import ThresholdLimits
from eetool.search.space.space import SCORE, Genome
from eetool.tune.threshold_search import ThresholdProblem
from tabular.table_evaluation import CALIBRATED, TableEvaluator, TableNetwork, exit_shares, figures_of
from tabular.table_space import at_most, genome_thresholds, table_network, table_space

JUDGE, TEST, THRESHOLD = "judge", "test", "threshold"
_GENERATIONS = 25  # of long searches


@dataclass(frozen=True)
class SearchTask:
    """One search.

    Attributes:
        method: name of the method.
        trials: number of evaluations.
        seed: of all randomness.
        branches, thresholds: arms of the ablation, see `eetool.search.methods.methods.find_method`.
        most_exits: networks with more exits are not planned; None for no limit.
        max_accuracy_drop: percentage points that tuned thresholds may lose against full depth.
        recombined: `local` evaluates trained exits in other combinations, which count as no evaluation.
    """

    method: str
    trials: int
    seed: int
    branches: str = "searched"
    thresholds: str = TUNED
    most_exits: int | None = None
    max_accuracy_drop: float = 1.0
    recombined: bool = True


@dataclass
class SearchRun:
    """Operating points (n, 2 + objectives) of all networks that a search evaluated, on two parts.

    Columns are error, cost of the objective, and the costs of all objectives of the table, see `objectives`.
    """

    judge: np.ndarray
    test: np.ndarray
    evaluated: int
    archive: list[ObjectiveValues] = field(default_factory=list, repr=False)


class TableJudge:
    """Evaluation of genomes by the threshold rule of a method.

    Args:
        evaluator: table and objective.
        method: the method.
        max_accuracy_drop: of tuned thresholds.
    """

    def __init__(self, evaluator: TableEvaluator, method: Method, max_accuracy_drop: float) -> None:
        self.evaluator, self.method, self.drop = evaluator, method, max_accuracy_drop
        self.space = method.space(table_space(evaluator.table))
        self._every = evaluator.every_objective()

    def __call__(self, genome: Genome) -> tuple[ObjectiveValues, np.ndarray, np.ndarray]:
        """Return what the planner sees, and the operating points on the parts `judge` and `test`, see `points`."""
        table = self.evaluator.table
        network = table_network(table, self.space, genome)
        score = CALIBRATED if self.method.learned else str(genome.get(SCORE, CALIBRATED))
        judged, tested = self.points(network, score, genome_thresholds(genome, table.taps) or ())
        accuracies = self.evaluator.exit_accuracies(network, JUDGE)
        costs = tuple(self.evaluator.costs(network).leaving((0.0,) * len(network.exits)).tolist())
        values = ObjectiveValues(genome, float(judged[0, 0]), float(judged[0, 1]), 0.0, accuracies, costs)
        return values, judged, tested

    def points(self, network: TableNetwork, score: str, genes: Thresholds = ()) -> tuple[np.ndarray, np.ndarray]:
        """Return all operating points on the parts `judge` and `test`, with the columns of a `SearchRun`.

        The first is the one that a planner sees.

        Args:
            network: the network.
            score: score of its gates.
            genes: thresholds that were searched as genes.
        """
        choices = self._thresholds(network, score, genes)
        judged, tested = (
            np.array([self._row(network, self.evaluator.problem(network, part, score), choice) for choice in choices])
            for part in (JUDGE, TEST)
        )
        return judged, tested

    def _row(self, network: TableNetwork, problem: ThresholdProblem, choice: Thresholds) -> list[float]:
        figures = figures_of(problem, choice)
        shares = exit_shares(problem, choice)
        costs = [float(shares @ one.costs(network).leaving(choice)) for one in self._every]
        return [1 - figures.accuracy, figures.cost, *costs]

    def _thresholds(self, network: TableNetwork, score: str, genes: Thresholds) -> list[Thresholds]:
        problem = self.evaluator.problem(network, THRESHOLD, score)
        limits = ThresholdLimits(max_accuracy_drop=self.drop, genes=genes)
        chosen, further = choose_thresholds(self.method.thresholds, problem, limits)
        return [chosen, *further.values()]


def run_search(evaluator: TableEvaluator, task: SearchTask) -> SearchRun:
    """Run one search to its end; it ends early where the method finds no more networks."""
    method = find_method(task.method, task.branches, task.thresholds)
    judge, few = TableJudge(evaluator, method, task.max_accuracy_drop), at_most(task.most_exits)
    space = judge.space

    def admits(genome: Genome) -> bool:
        if not few(genome):
            return False
        return not method.screened or every_exit_can_save(
            evaluator.costs(table_network(evaluator.table, space, genome))
        )

    planner = method.planner(space, task.seed, task.trials, admits)
    if isinstance(planner, SurrogatePlanner):  # whose predictors take half a minute for a thousand candidates
        planner.batch = max(planner.batch, task.trials // _GENERATIONS)
    trained = None
    if isinstance(planner, LocalPlanner) and task.recombined:
        planner.trained = trained = TrainedTableExits(judge)
    archive: list[ObjectiveValues] = []
    judged, tested = [], []
    while len(archive) < task.trials:
        plan = planner.plan(archive)[: task.trials - len(archive)]
        if not plan:
            break
        for genome in plan:
            values, on_judge, on_test = judge(genome)
            archive.append(values)
            judged.append(on_judge)
            tested.append(on_test)
    if trained is not None:
        assert isinstance(planner, LocalPlanner)
        planner.recombined(archive)
        judged += trained.judged
        tested += trained.tested
    return SearchRun(np.concatenate(judged), np.concatenate(tested), len(archive), archive)


class TrainedTableExits:
    """Networks of exits that a search evaluated before, which cost no training; all operating points are kept."""

    def __init__(self, judge: TableJudge) -> None:
        self._judge = judge
        self.judged: list[np.ndarray] = []
        self.tested: list[np.ndarray] = []

    def evaluate(self, genome: Genome) -> ObjectiveValues:
        """Return the figures of a genome."""
        values, on_judge, on_test = self._judge(genome)
        self.judged.append(on_judge)
        self.tested.append(on_test)
        return values
