"""Search methods compared: their fronts, an ablation of AEBNAS, and the cost of a search.

    python benchmarks/experiments/search.py --data cifar10:DIR --folder results [--trials N] [--parts compare,ablation]

All searches have the same number of evaluations, supernet and reference point. The reference point is fixed beforehand:
an accuracy of one half, and the latency of the largest network without exits. Fronts are evaluated again on the test
split, with the networks that the search trained. Studies, supernet and results stay in --folder; the same command
resumes an interrupted run. Prints one JSON document.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eetool.data.registry import load_source
from eetool.data.source import Source
from eetool.data.splits import TEST, split_source
from eetool.latency.estimate.cascade_price import LATENCY, MACS
from eetool.latency.table.hw_profile import load_device
from eetool.records import decode, encode, write_atomic
from eetool.search.evaluation.splits import SplitPart
from eetool.search.evaluation.supernet_evaluator import SupernetEvaluator
from eetool.search.methods import pareto
from eetool.search.search import SearchOptions, SearchTarget
from eetool.search.search_results import Candidate, EvaluatedCandidate, figure_value, front_of, objective_points
from eetool.search.space.builtin_spaces import load_space
from eetool.search.space.space import Genome, Space
from eetool.search.study.storage import HEARTBEAT, Storage
from eetool.search.supernet_search import SupernetSearch
from eetool.search.supernet_training import SupernetTraining
from eetool_runtime.records import parse_json

METHODS = ("aebnas", "nachos", "edanas", "random")
ARMS = {(b, t): f"branches {b} thresholds {t}" for b in ("searched", "fixed") for t in ("tuned", "fixed")}
ARMS["searched", "tuned"] = METHODS[0]  # the method itself
LIMITS = (0.15, 0.3, 0.5)  # of the latency of the largest network, for the part objectives
PARTS = ("train", "compare", "ablation", "objectives", "workers")


@dataclass(frozen=True)
class Scored:
    """Candidates of one search, evaluated on the judge part and on the test split."""

    objective: str
    found: list[EvaluatedCandidate]
    tested: list[EvaluatedCandidate]

    @property
    def front(self) -> list[Candidate]:
        """Front of the judge part, evaluated on the test split."""
        return [self.on_test(point) for point in front_of(self.found, self.objective, {})]

    def on_test(self, chosen: Candidate) -> Candidate:
        """Return the figures of an operating point on the test split."""
        return next(point for candidate in self.tested for point in candidate.points() if point.id == chosen.id)


class TestedEvaluator(SupernetEvaluator):
    """Evaluator that also writes the test-split figures of every candidate, which the search does not see."""

    def __init__(self, base: SupernetEvaluator, test: SplitPart, folder: Path) -> None:
        super().__init__(base.space, base.supernet, base.data, base.estimator, base.settings)
        self.test, self.folder = test, folder

    def __call__(self, genome: Genome) -> EvaluatedCandidate:
        """See `SupernetEvaluator`."""
        candidate, tested = self.evaluate_on(genome, (self.data.judge, self.test))
        write_atomic(self.folder / f"{candidate.id}.json", json.dumps(encode(tested)).encode(), force=True)
        return candidate

    def tested(self, candidate: Candidate) -> EvaluatedCandidate:
        """Return a candidate of the search, evaluated on the test split."""
        return decode(
            EvaluatedCandidate, parse_json((self.folder / f"{candidate.id}.json").read_text(), ValueError), ValueError
        )


class TestedSearch(SupernetSearch):
    """Search whose candidates are also evaluated on the test split, in a folder of its own."""

    def __init__(
        self, source: Source, space: Space, target: SearchTarget, options: SearchOptions, folder: Path
    ) -> None:
        super().__init__(source, space, target, options)
        folder.mkdir(exist_ok=True)
        indices = split_source(source)[TEST]
        images, labels = torch.from_numpy(source.inputs[indices]), torch.from_numpy(source.labels[indices])
        self.test, self.folder = SplitPart(replace(self.data.training, images=images, labels=labels)), folder

    def evaluator(self) -> TestedEvaluator:
        """See `SupernetSearch`."""
        return TestedEvaluator(super().evaluator(), self.test, self.folder)


def main() -> None:
    """Run the requested parts and print the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--space", default="mobilenetv3-cifar")
    parser.add_argument("--device", default="rpi4")
    parser.add_argument("--trials", type=int, default=180)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--supernet-epochs", type=int, default=60)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--torch-device", default="cpu", help="where torch trains")
    parser.add_argument("--examples", type=int, default=8192)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--fine-tune", type=int, default=0, help="epochs of fine-tuning for each candidate")
    parser.add_argument("--max-latency-ms", type=float, default=None, help="limit of the part objectives")
    parser.add_argument("--worker-trials", type=int, default=24)
    parser.add_argument("--parts", default=",".join(PARTS))
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    bench = Bench(options, load_source(options.data))
    document: dict[str, Any] = {name: value for name, value in vars(options).items() if name != "folder"}
    document["reference"] = dict(zip(("error", "latency_ms"), bench.reference(LATENCY), strict=True))
    for part in options.parts.split(","):
        document[part] = getattr(bench, part)()
    print(json.dumps(document, indent=2))


class Bench:
    """Searches that share a folder, a supernet and a reference point."""

    def __init__(self, options: argparse.Namespace, source: Source) -> None:
        self.o, self.source = options, source
        self.target = SearchTarget(load_device(options.device))
        self.supernet = options.folder / "supernet.pt"

    def options(self, seed: int, **more: Any) -> SearchOptions:
        """Return the options of one search."""
        learning = {name: getattr(self.o, name) for name in ("examples", "epochs", "fine_tune", "torch_device")}
        return SearchOptions(trials=self.o.trials, seed=seed, **learning, **more)

    def reference(self, objective: str) -> tuple[float, float]:
        """Return the reference point: an error of one half, and the cost of the largest network without exits."""
        return self.search(self.options(0, objective=objective)).reference()

    def search(self, options: SearchOptions) -> SupernetSearch:
        """Return a search that has not started."""
        return SupernetSearch(self.source, load_space(self.o.space), self.target, options)

    def train(self) -> dict[str, Any]:
        """Train the supernet that all other parts need, for example on a machine with a GPU."""
        return {"epochs": self.o.supernet_epochs, "sha256": self.prepare(self.search(self.options(0)))}

    def prepare(self, search: SupernetSearch) -> str:
        """Train or load the supernet; see `SupernetSearch.prepare`."""
        shrinking = SupernetTraining(self.o.supernet_epochs, self.o.batch_size)
        return search.prepare(self.supernet, shrinking)

    def scored(self, label: str, options: SearchOptions) -> Scored:
        """Run a search to its end, or load the results of an earlier run."""
        folder = self.o.folder / f"{label.replace(' ', '-')}-{options.seed}"
        path = folder.with_suffix(".json")
        if not path.exists():
            search = TestedSearch(self.source, load_space(self.o.space), self.target, options, folder)
            digest = self.prepare(search)
            storage = Storage(f"sqlite:///{(self.o.folder / 'studies.db').absolute()}", HEARTBEAT)
            found = search.run(storage, f"{label} {options.seed}", digest)
            evaluator = search.evaluator()
            tested = [evaluator.tested(candidate) for candidate in found]
            write_atomic(path, json.dumps(encode({"found": found, "tested": tested})).encode())
        kept = parse_json(path.read_text(), ValueError)
        found, tested = (
            [decode(EvaluatedCandidate, c, ValueError) for c in kept[name]] for name in ("found", "tested")
        )
        return Scored(options.objective or LATENCY, found, tested)

    def compare(self) -> dict[str, Any]:
        """Return the test-split hypervolume (accuracy × mean latency) of every method, and its ratio to aebnas."""
        area = {m: [self.area(self.scored(m, self.options(s, algorithm=m))) for s in self.seeds()] for m in METHODS}
        rows = {m: {"hypervolume": areas, **_spread(areas)} for m, areas in area.items()}
        for m in METHODS[1:]:
            rows[m]["aebnas_is_times"] = [a / b if b else None for a, b in zip(area["aebnas"], area[m], strict=True)]
        cost = {m: self.cost(self.scored(m, self.options(0, algorithm=m)).found) for m in METHODS}
        return {"methods": rows, "seconds_per_candidate": cost}

    def ablation(self) -> dict[str, Any]:
        """Return four arms, the gain in area of each part alone and of both, and the paper's claim in MACs."""
        fronts = {
            arm: [self.scored(label, self.options(s, branches=arm[0], thresholds=arm[1])) for s in self.seeds()]
            for arm, label in ARMS.items()
        }
        area = {arm: [self.area(scored) for scored in found] for arm, found in fronts.items()}
        both, neither = np.mean(area["searched", "tuned"]), np.mean(area["fixed", "fixed"])
        gain = float(both - neither)
        arms = {"branches": ("searched", "fixed"), "thresholds": ("fixed", "tuned")}
        alone = {name: float(np.mean(area[arm]) - neither) for name, arm in arms.items()}
        claim = [
            _gains(searched.front, fixed.front)
            for searched, fixed in zip(fronts["searched", "tuned"], fronts["fixed", "tuned"], strict=True)
        ]
        return {
            "arms": {label: {"hypervolume": area[arm], **_spread(area[arm])} for arm, label in ARMS.items()},
            "gain_of_both": gain,
            "gain_alone": alone,
            "share_of_gain_alone": {name: one / gain if gain > 0 else None for name, one in alone.items()},
            "accuracy_gained_by_searched_branches_at_no_more_macs": claim,
        }

    def objectives(self) -> dict[str, Any]:
        """Compare a search for latency with one for MACs: the most accurate network within a latency limit."""
        longest = self.reference(LATENCY)[1]
        limits = [self.o.max_latency_ms] if self.o.max_latency_ms else [share * longest for share in LIMITS]
        labels = {LATENCY: METHODS[0], MACS: f"for {MACS}"}  # aebnas itself is a search for latency
        rows: list[dict[str, Any]] = []
        for seed in self.seeds():
            scored = {o: self.scored(label, self.options(seed, objective=o)) for o, label in labels.items()}
            for limit in limits:
                figures = {}
                for objective, one in scored.items():
                    best = _most_accurate(one.found, limit)
                    figures[objective] = None if best is None else asdict(one.on_test(best).figures)
                rows.append({"seed": seed, "max_latency_ms": limit, **figures})
        return {"rows": rows, "latency_minus_macs_accuracy": _differences(rows)}

    def workers(self) -> dict[str, Any]:
        """Return evaluations per hour of 1, 2 and 4 workers on this machine, from the first candidate to the last."""
        return {str(count): self.evaluations_per_hour(count) for count in (1, 2, 4)}

    def evaluations_per_hour(self, count: int) -> float:
        """Return evaluations per hour of `count` workers with one thread each."""
        search = self.search(self.options(0))
        self.prepare(search)
        database = self.o.folder / f"workers-{count}.db"
        database.unlink(missing_ok=True)
        command = [sys.executable, "-m", "eetool", "search", "--space", self.o.space, "--data", self.o.data]
        command += ["--device", self.o.device, "--trials", str(self.o.worker_trials), "--algorithm", "random"]
        command += ["--supernet", str(self.supernet), "--storage", f"sqlite:///{database.absolute()}", "--threads", "1"]
        command += ["--examples", str(self.o.examples), "--epochs", str(self.o.epochs)]
        command += ["--fine-tune", str(self.o.fine_tune), "--torch-device", self.o.torch_device, "--force"]
        outputs = [self.o.folder / f"workers-{count}-{i}.json" for i in range(count)]
        workers = [subprocess.Popen([*command, "-o", str(path)], stdout=subprocess.DEVNULL) for path in outputs]
        if any(process.wait() for process in workers):
            raise SystemExit("a worker failed")
        trials = list(_finished(database))
        seconds = (max(end for _, end in trials) - min(start for start, _ in trials)).total_seconds()
        return round(3600 * len(trials) / seconds, 1)

    def seeds(self) -> range:
        """Return the seeds of every search."""
        return range(self.o.seeds)

    def area(self, scored: Scored) -> float:
        """Return the hypervolume of a front on the test split."""
        return pareto.hypervolume(objective_points(scored.front, LATENCY), self.reference(LATENCY))

    @staticmethod
    def cost(found: list[EvaluatedCandidate]) -> dict[str, float]:
        """Return the mean seconds per candidate, in total and by part."""
        parts = {name: float(np.mean([c.seconds[name] for c in found])) for name in found[0].seconds}
        return {"all": sum(parts.values()), **parts}


def _spread(values: list[float]) -> dict[str, float]:
    return {"mean": float(np.mean(values)), "deviation": float(np.std(values))}


def _gains(searched: list[Candidate], fixed: list[Candidate]) -> dict[str, float | int | None]:
    """Return the accuracy gain of searched branches at no more MACs than each candidate with fixed ones."""
    gains = []
    for candidate in fixed:
        rivals = [c.figures.accuracy for c in searched if c.figures.macs <= candidate.figures.macs]
        if rivals:
            gains.append(max(rivals) - candidate.figures.accuracy)
    mean = float(np.mean(gains)) if gains else None
    return {"compared": len(gains), "of": len(fixed), "mean": mean, "better": sum(g > 0 for g in gains)}


def _most_accurate(found: list[EvaluatedCandidate], max_latency_ms: float) -> Candidate | None:
    """Return the candidate within the limit that is most accurate on the judge part."""
    every = [point for candidate in found for point in candidate.points()]
    allowed = [c for c in every if (figure_value(c, LATENCY) or 0) <= max_latency_ms]
    return max(allowed, key=lambda c: c.figures.accuracy, default=None)


def _differences(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return by limit the accuracy gain of the search for latency on the test split, over seeds."""
    by_limit: dict[str, list[float]] = {}
    for row in rows:
        if row[LATENCY] and row[MACS]:
            gap = row[LATENCY]["accuracy"] - row[MACS]["accuracy"]
            by_limit.setdefault(f"{row['max_latency_ms']:.4g} ms", []).append(gap)
    return {limit: {"each": gaps, **_spread(gaps)} for limit, gaps in by_limit.items()}


def _finished(database: Path) -> Iterator[tuple[Any, Any]]:
    import optuna

    for trial in optuna.load_study(study_name="search", storage=f"sqlite:///{database.absolute()}").trials:
        if trial.state == optuna.trial.TrialState.COMPLETE:
            yield trial.datetime_start, trial.datetime_complete


if __name__ == "__main__":
    main()
