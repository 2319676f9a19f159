"""The command `compare`: search methods on a table with many seeds, their measures, and intervals over seeds.

Every search is one file in a folder, so the same command continues after an interruption.
"""

import json
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from eetool.errors import UsageError
from eetool.records import sha256_file, write_atomic, write_file
from eetool.search.methods.methods import METHODS, find_method
from eetool.search.methods.threshold_rules import FIXED, TUNED
from tabular.exact_optimum import best_points
from tabular.measures import REFERENCE_ERROR, Scale, difference_interval, mean_interval
from tabular.table_evaluation import MACS, TableEvaluator, TableNetwork, figures_of, largest_cost, objectives
from tabular.table_file import SearchTable, read_table
from tabular.table_search import TEST, SearchTask, TableJudge, run_search

AGAINST = "local"  # the method that all others are compared with
ABLATED = "aebnas"
ARMS = {
    f"branches {branches} thresholds {thresholds}": (branches, thresholds)
    for branches in ("searched", FIXED)
    for thresholds in (TUNED, FIXED)
}
PARTS = ("compare", "recombination", "ablation", "regret")
_OPTIMUM = "optimum"


@dataclass(frozen=True)
class ComparisonSettings:
    """Settings of a comparison.

    Attributes:
        methods: names of the methods.
        objectives: costs that are searched for, beside the error.
        trials: numbers of evaluations.
        seeds: number of seeds, from 0.
        ablation_trials: evaluations of the arms of the ablation.
        most_exits: exits of the networks among which the optimum is enumerated.
        parts: what is done.
    """

    methods: tuple[str, ...] = tuple(METHODS)
    objectives: tuple[str, ...] = (MACS, "rpi4_latency_ms", "rpi5_latency_ms")
    trials: tuple[int, ...] = (50, 200, 1000)
    seeds: int = 30
    ablation_trials: int = 200
    most_exits: int = 2
    parts: tuple[str, ...] = PARTS


@dataclass(frozen=True)
class Job:
    """One search of one objective, or with a backbone in place of a task, its exact optimum."""

    objective: str
    task: SearchTask
    backbone: int | None = None

    @property
    def name(self) -> str:
        """Name of the file of its result."""
        if self.backbone is not None:
            return f"{self.objective}-{_OPTIMUM}{self.task.most_exits}-{self.backbone}"
        t = self.task
        arm = "" if (t.branches, t.thresholds) == ("searched", TUNED) else f"-{t.branches}-{t.thresholds}"
        arm += "" if t.recombined or t.method != AGAINST else "-alone"
        few = "" if t.most_exits is None else f"-most{t.most_exits}"
        return f"{self.objective}-{t.method}{arm}{few}-{t.trials}-{t.seed}"


def compare(path: Path, folder: Path, settings: ComparisonSettings, workers: int) -> dict[str, Any]:
    """Run the searches that `folder` lacks, and return the document of the comparison.

    Raises:
        ArtefactError: `path` is no table.
        UsageError: unknown methods or objectives, or the folder belongs to another table.
    """
    table = read_table(path)
    for objective in settings.objectives:
        TableEvaluator(table, objective)
    for method in settings.methods:
        find_method(method)
    folder.mkdir(parents=True, exist_ok=True)
    _check_folder(folder, path)
    jobs = [job for job in _jobs(settings, len(table.backbones)) if not _file(folder, job).is_file()]
    if workers > 1 and jobs:
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
            for _ in pool.map(partial(run_job, path, folder), jobs):
                pass
    else:
        for job in jobs:
            run_job(path, folder, job)
    return _document(table, folder, settings)


def run_job(path: Path, folder: Path, job: Job) -> None:
    """Run one search, and write its operating points on the parts `judge` and `test` side by side."""
    evaluator = _evaluator(path, job.objective)
    if job.backbone is not None:
        assert job.task.most_exits is not None
        judge = TableJudge(evaluator, find_method(job.task.method), job.task.max_accuracy_drop)
        points = best_points(evaluator, judge, job.backbone, job.task.most_exits)
    else:
        run = run_search(evaluator, job.task)
        points = np.hstack([run.judge, run.test])
    with write_file(_file(folder, job), force=True) as temporary, temporary.open("wb") as file:
        np.save(file, points)


@lru_cache(1)
def _table(path: Path) -> SearchTable:
    return read_table(path)


@lru_cache(1)
def _evaluator(path: Path, objective: str) -> TableEvaluator:
    return TableEvaluator(_table(path), objective)


def _jobs(settings: ComparisonSettings, backbones: int) -> Iterator[Job]:
    """Yield all searches, the short ones first."""
    parts = settings.parts
    for trials in sorted(settings.trials) if "compare" in parts else ():
        for objective in settings.objectives:
            yield from (
                Job(objective, SearchTask(m, trials, s)) for m in settings.methods for s in range(settings.seeds)
            )
    if "recombination" in parts:
        for trials in sorted(settings.trials):
            yield from (Job(MACS, task) for tasks in _recombined(trials, settings).values() for task in tasks)
    if "ablation" in parts:
        for arm in ARMS.values():
            yield from (Job(MACS, _ablated(settings, arm, seed)) for seed in range(settings.seeds))
    if "regret" in parts:
        few = replace(SearchTask("random", 0, 0), most_exits=settings.most_exits)
        yield from (Job(MACS, few, backbone) for backbone in range(backbones))
        for trials in sorted(settings.trials):
            for method in settings.methods:
                tasks = (replace(few, method=method, trials=trials, seed=seed) for seed in range(settings.seeds))
                yield from (Job(MACS, task) for task in tasks)


def _ablated(settings: ComparisonSettings, arm: tuple[str, str], seed: int) -> SearchTask:
    return SearchTask(ABLATED, settings.ablation_trials, seed, *arm)


def _recombined(trials: int, settings: ComparisonSettings) -> dict[str, list[SearchTask]]:
    """Return searches by `local` as it is, and without recombination of trained exits."""
    tasks = _tasks(AGAINST, trials, settings)
    return {AGAINST: tasks, "without recombination": [replace(task, recombined=False) for task in tasks]}


def _document(table: SearchTable, folder: Path, settings: ComparisonSettings) -> dict[str, Any]:
    document: dict[str, Any] = {"settings": asdict(settings), "reference_error": REFERENCE_ERROR}
    scales = {objective: _scale(table, objective) for objective in dict.fromkeys((*settings.objectives, MACS))}
    document["scales"] = {objective: asdict(scale) for objective, scale in scales.items()}
    if "compare" in settings.parts:
        document["compare"] = {
            objective: {
                str(trials): _rows(
                    {
                        m: _measured(folder, objective, _tasks(m, trials, settings), scales[objective])
                        for m in settings.methods
                    }
                )
                for trials in settings.trials
            }
            for objective in settings.objectives
        }
        document["objectives"] = _objectives(table, folder, settings, scales)
    if "recombination" in settings.parts:
        document["recombination"] = {
            str(trials): _rows(
                {
                    name: _measured(folder, MACS, tasks, scales[MACS])
                    for name, tasks in _recombined(trials, settings).items()
                }
            )
            for trials in settings.trials
        }
    if "ablation" in settings.parts:
        arms = {
            label: _measured(folder, MACS, [_ablated(settings, arm, s) for s in range(settings.seeds)], scales[MACS])
            for label, arm in ARMS.items()
        }
        document["ablation"] = _rows(arms, next(iter(ARMS)))
    if "regret" in settings.parts:
        document["regret"] = _regret(folder, settings, scales[MACS], len(table.backbones))
    return document


def _scale(table: SearchTable, objective: str) -> Scale:
    evaluator = TableEvaluator(table, objective)
    full = [figures_of(evaluator.problem(TableNetwork(b), TEST), ()).accuracy for b in range(len(table.backbones))]
    return Scale.of(largest_cost(evaluator), full)


def _tasks(method: str, trials: int, settings: ComparisonSettings, most_exits: int | None = None) -> list[SearchTask]:
    return [SearchTask(method, trials, seed, most_exits=most_exits) for seed in range(settings.seeds)]


def _measured(folder: Path, objective: str, tasks: Sequence[SearchTask], scale: Scale) -> dict[str, np.ndarray]:
    """Return measures of searches: accuracies (seeds, budgets) in percent, logarithms of costs, and hypervolumes."""
    return _measures([_points(folder, Job(objective, task)) for task in tasks], scale)


def _measures(found: Sequence[tuple[np.ndarray, np.ndarray]], scale: Scale) -> dict[str, np.ndarray]:
    return {
        "accuracy": 100 * np.array([scale.accuracies(judge, test) for judge, test in found]),
        "log_cost": np.log([scale.costs(judge, test) for judge, test in found]),
        "hypervolume": np.array([scale.hypervolume(_on_test(judge, test)) for judge, test in found]),
    }


def _on_test(judge: np.ndarray, test: np.ndarray) -> np.ndarray:
    from eetool.search.methods import pareto

    return test[pareto.pareto_front(judge)]


def _rows(measured: dict[str, dict[str, np.ndarray]], against: str = AGAINST) -> dict[str, Any]:
    """Return means with intervals, and how `against` differs from every other row."""
    rows: dict[str, Any] = {name: _means(one) for name, one in measured.items()}
    for name, one in measured.items():
        if against in measured and name != against:
            rows[name][f"{against} is better by"] = _differences(measured[against], one)
    return rows


def _means(one: dict[str, np.ndarray]) -> dict[str, Any]:
    accuracy, log_cost = one["accuracy"], one["log_cost"]
    return {
        "accuracy_percent": mean_interval(accuracy.mean(1)),
        "accuracy_percent_by_budget": [mean_interval(column) for column in accuracy.T],
        "cost": np.exp(mean_interval(log_cost.mean(1))).tolist(),
        "cost_by_target": [np.exp(mean_interval(column)).tolist() for column in log_cost.T],
        "hypervolume": mean_interval(one["hypervolume"]),
    }


def _differences(best: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return gains in points of accuracy and in hypervolume, and ratios of costs, with intervals."""
    accuracy = [mine["accuracy"] for mine in (best, other)]
    log_cost = [mine["log_cost"] for mine in (best, other)]
    return {
        "accuracy_points": difference_interval(accuracy[0].mean(1), accuracy[1].mean(1)),
        "accuracy_points_by_budget": [
            difference_interval(*pair) for pair in zip(*(a.T for a in accuracy), strict=True)
        ],
        "cost_ratio": np.exp(difference_interval(log_cost[0].mean(1), log_cost[1].mean(1))).tolist(),
        "cost_ratio_by_target": [
            np.exp(difference_interval(*pair)).tolist() for pair in zip(*(c.T for c in log_cost), strict=True)
        ],
        "hypervolume": difference_interval(best["hypervolume"], other["hypervolume"]),
    }


def _objectives(
    table: SearchTable, folder: Path, settings: ComparisonSettings, scales: Mapping[str, Scale]
) -> dict[str, Any]:
    """Return how searches for a cost differ from searches for MACs of the same method, both measured by that cost."""
    result: dict[str, Any] = {}
    for objective in settings.objectives if MACS in settings.objectives else ():
        if objective == MACS:
            continue
        columns = [0, 2 + objectives(table).index(objective)]
        for trials in settings.trials:
            rows = result.setdefault(objective, {}).setdefault(str(trials), {})
            for method in settings.methods:
                tasks, scale = _tasks(method, trials, settings), scales[objective]
                for_macs = [_points(folder, Job(MACS, task)) for task in tasks]
                rival = _measures([(judge[:, columns], test[:, columns]) for judge, test in for_macs], scale)
                rows[method] = _differences(_measured(folder, objective, tasks, scale), rival)
    return result


def _regret(folder: Path, settings: ComparisonSettings, scale: Scale, backbones: int) -> dict[str, Any]:
    """Return the hypervolume on the part `judge`, which a search sees, that is missing to that of all networks."""
    few = SearchTask("random", 0, 0, most_exits=settings.most_exits)
    fronts = [_points(folder, Job(MACS, few, backbone)) for backbone in range(backbones)]
    judge, test = (np.concatenate(part) for part in zip(*fronts, strict=True))
    best = scale.hypervolume(judge)
    result: dict[str, Any] = {"most_exits": settings.most_exits, "optimum": best}
    result["optimum_accuracy_percent_by_budget"] = (100 * scale.accuracies(judge, test)).tolist()
    for trials in settings.trials:
        regrets = {}
        for method in settings.methods:
            found = [_points(folder, Job(MACS, t)) for t in _tasks(method, trials, settings, settings.most_exits)]
            regrets[method] = np.array([best - scale.hypervolume(judged) for judged, _ in found])
        result[str(trials)] = {method: mean_interval(values) for method, values in regrets.items()}
    return result


def _points(folder: Path, job: Job) -> tuple[np.ndarray, np.ndarray]:
    points = np.load(_file(folder, job), allow_pickle=False)
    judge, test = np.hsplit(points, 2)
    return judge, test


def _file(folder: Path, job: Job) -> Path:
    return folder / f"{job.name}.npy"


def _check_folder(folder: Path, path: Path) -> None:
    """Record which table the folder belongs to, or compare it with the recorded one."""
    record, digest = folder / "table.json", sha256_file(path)
    if record.is_file() and json.loads(record.read_text()) != {"sha256": digest}:
        raise UsageError(f"{folder} holds searches on another table", "Give another --folder.")
    write_atomic(record, json.dumps({"sha256": digest}).encode(), force=True)
