"""A folder of `eetool` outputs that every arm of `early_exit_pays.py` works in.

An output that exists is not made again; an interrupted training resumes.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eetool.data.registry import load_source
from eetool.data.splits import TEST, recorded_split
from eetool.metrics import Thresholds
from eetool.model.checkpoint import load_checkpoint
from eetool.train.exit_answers import NetworkAnswers
from eetool.tune.calibration import Calibration
from eetool.tune.cross_fitting import LabelledLogits, threshold_problem
from eetool.tune.exit_costs import model_macs
from eetool.tune.threshold_search import ThresholdProblem

STATIC = ("resnet20", "resnet32", "resnet44", "resnet56")
DEEPEST = "resnet56"
DROPS = "0.1,0.25,0.5,0.75,1,1.5,2,2.5,3,4,5"


@dataclass(frozen=True)
class Backbone:
    """A static network, its weights, and the options of `eetool train` that they need."""

    name: str
    weights: Path
    options: tuple[object, ...]


@dataclass(frozen=True)
class Workspace:
    """Settings that all arms share, and the commands that make their models and measurements."""

    data: str
    out: Path
    weights: Path | None
    epochs: int
    batch_size: int
    learning_rate: float
    precision: str
    erase: int
    threads: int
    teacher: bool
    torch_device: str
    device: str
    splits: int
    quick: bool
    densenet: str
    vgg: str

    def run(self, output: str, *arguments: object) -> Path:
        """Run `eetool arguments -o output` in the folder of results, unless the output exists."""
        path = self.out / output
        if not path.exists():
            command = [sys.executable, "-m", "eetool", *map(str, arguments), "-o", str(path)]
            if path.with_name(path.name + ".resume").exists():
                command.append("--resume")
            print("+", " ".join(command[2:]), file=sys.stderr)
            path_entries = os.pathsep.join(filter(None, (str(Path(__file__).parent), os.environ.get("PYTHONPATH"))))
            environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": path_entries}
            subprocess.run(command, check=True, stdout=sys.stderr, env=environment)
        return path

    def budget(self, epochs: int) -> tuple[object, ...]:
        """Return the options that every training has."""
        device = ("--threads", self.threads, "--torch-device", self.torch_device, "--mixed-precision", self.precision)
        steps = ("--epochs", epochs, "--batch-size", self.batch_size, "--learning-rate", self.learning_rate)
        return ("--data", self.data, "--erase", self.erase, *steps, *device)

    def train(self, output: str, network: str, *options: object, share: float = 1) -> Path:
        """Train a network on the data with the common budget, or with a `share` of its epochs."""
        more = ("--teacher", self.teacher_model(), "--teacher-views", 8, "--distill-share", 0.3) if self.teacher else ()
        budget = self.budget(max(1, round(share * self.epochs)))
        return self.run(output, "train", network, "--recipe", "distill", *budget, *more, *options)

    def train_static(self, name: str) -> Path:
        """Train a published static network here, without a teacher."""
        budget = self.budget(max(1, self.epochs // 3))
        return self.run(f"{name}.pt", "train", name, "--recipe", "joint", *budget, "--exits", 0)

    def backbone(self, name: str) -> Backbone:
        """Return a network to attach exits to: pretrained if weights are given, else trained here."""
        files = sorted(self.weights.glob(f"*_{name}.safetensors")) if self.weights is not None else []
        if files:
            return Backbone(name, files[0], ("--normalise", "imagenet", "--hold-out", "test"))
        return Backbone(name, self.train_static(name), ("--hold-out", "train"))

    def teacher_model(self) -> Path:
        """Return the deepest ResNet as a model.pt whose record holds out training images."""
        backbone = self.backbone(DEEPEST)
        if backbone.weights.suffix == ".pt":
            return backbone.weights
        options = ("--weights", backbone.weights, "--normalise", "imagenet", "--epochs", 0, "--hold-out", "train")
        return self.run("teacher.pt", "train", DEEPEST, "--data", self.data, *options, "--exits", 0)

    def static_bundles(self) -> list[Path]:
        """Return bundles of the published static networks."""
        return [self.run(f"{name}.eebundle", "export", self.without_exits(name)) for name in STATIC]

    def without_exits(self, name: str) -> Path:
        """Return a published static network as a model.pt without exits."""
        backbone = self.backbone(name)
        if backbone.weights.suffix == ".pt":
            return backbone.weights
        options = ("--weights", backbone.weights, *backbone.options, "--epochs", 0, "--exits", 0)
        return self.run(f"{name}-pretrained.pt", "train", name, "--data", self.data, *options)

    def tune_and_bench(self, model: Path, against: list[Path], *tuning: object) -> dict[str, Any]:
        """Tune, export and bench a model; return the bench summary with intervals of the drops."""
        tuned, bundle = self.tune_and_export(model, *tuning)
        result = self.bench(f"{model.stem}-bench", bundle, against)
        for name, drop in self.drops(tuned).items():
            for point in result["points"]:
                if point["name"] == name:
                    point["drop_points"] = drop
        return result

    def tune_and_export(self, model: Path, *tuning: object) -> tuple[Path, Path]:
        """Return the tuned model and its bundle."""
        tuned = self.run(f"{model.stem}-tuned.pt", "tune", model, "--data", self.data, "--drops", DROPS, *tuning)
        return tuned, self.run(f"{model.stem}.eebundle", "export", tuned)

    def bench(self, stem: str, bundle: Path, against: list[Path]) -> dict[str, Any]:
        """Run `eetool bench` and return its summary."""
        rivals = [part for rival in against for part in ("--against", rival)]
        short = ("--passes", 1, "--min-seconds", 0) if self.quick else ()
        path = self.run(f"{stem}.json", "bench", bundle, "--data", self.data, "--threads", 1, *short, *rivals)
        return summary(json.loads(path.read_text(encoding="utf-8")))

    def drops(self, tuned: Path) -> dict[str, list[float]]:
        """Return the accuracy drop of every operating point on the test split, in points, with its 95 % interval.

        The drop is against full depth. The interval is that of a paired difference, by the normal approximation.
        """
        checkpoint = load_checkpoint(tuned)
        policy = checkpoint.record.policy
        assert policy is not None
        calibration = Calibration(policy.temperatures, policy.slopes, policy.offsets)
        costs = model_macs(checkpoint.record.spec, policy.score)
        problem = threshold_problem(calibration, split_logits(tuned, self.data, TEST), costs, policy.score)
        return {name: paired_drop(problem, point.thresholds) for name, point in policy.operating_points.items()}


def split_logits(model: Path, data: str, split: str) -> LabelledLogits:
    """Return the logits of every exit of `model` on a split of the data."""
    checkpoint, source = load_checkpoint(model), load_source(data)
    indices = recorded_split(source, split, checkpoint.record.data)
    logits, learned = NetworkAnswers(checkpoint)(source.inputs[indices])
    return LabelledLogits(logits, source.labels[indices], learned)


def paired_drop(problem: ThresholdProblem, thresholds: Thresholds) -> list[float]:
    """Return the drop in points and the two ends of its 95 % interval."""
    worse, better = problem.changes(thresholds)
    drop = (worse - better) / problem.n
    half = 1.96 * np.sqrt(max((worse + better) / problem.n - drop**2, 0) / problem.n)
    return [round(100 * float(x), 3) for x in (drop, drop - half, drop + half)]


def summary(document: dict[str, Any]) -> dict[str, Any]:
    """Return accuracy and latency of every model in a document of `eetool bench`."""
    points = document["ways"]
    unsplit = points[0]["latency_ms"]["mean"]
    return {
        "n": document["data"]["n"],
        "machine": document["machine"]["cpu"] or document["machine"]["architecture"],
        "verdict": document["verdict"]["text"],
        "points": [
            {
                "name": point["name"],
                "accuracy": point["accuracy"],
                "mean_ms": point["latency_ms"]["mean"],
                "of_unsplit": point["latency_ms"]["mean"] / unsplit,
                "exit_shares": point["exit_shares"],
            }
            for point in points
        ],
    }
