"""Does early exit pay, by the clock, against static networks? Every experiment from a data path, resumable.

    python benchmarks/early_exit_pays.py --data cifar10:DIR --out FOLDER [--weights FOLDER] [--only ARM …]
    python benchmarks/early_exit_pays.py --data cifar10:DIR --out FOLDER --report summary.md

--data is cifar10, cifar100 or svhn, each with or without :DIR, or any other source of 3×32×32 images. Each arm is a row
of `eetool` commands whose outputs lie in FOLDER; what is there already is not made again, and an interrupted training
goes on. --weights holds pretrained CIFAR ResNets (`*_resnet20.safetensors` and so on): these saw all training images,
so thresholds are fitted on half of the test set. Without --weights the static family is trained here, with the budget
of everything else, and training images are held out. Prints one JSON document, which also lies in FOLDER/results.json;
--report writes what it holds as Markdown and runs nothing.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pays_report import report

from eetool.data.sources import load_source
from eetool.data.splits import TEMPERATURE, TEST, THRESHOLD, recorded_split
from eetool.model.checkpoint import load_checkpoint
from eetool.train.fit import answer_arrays
from eetool.tune.calibrate import Calibration, fit_temperature
from eetool.tune.costs import model_macs
from eetool.tune.metrics import Thresholds
from eetool.tune.policy import Labelled, problem_of
from eetool.tune.thresholds import Problem, cheapest

STATIC = ("resnet20", "resnet32", "resnet44", "resnet56")
DEEPEST = "resnet56"
DROPS = "0.1,0.25,0.5,0.75,1,1.5,2,2.5,3,4,5"
AGREEMENTS = (97.15, 93.62)  # of PTEENet's own table, in percent
# Shared trunk at 16×16 pixels; the first exit has a small network of its own, later ones less and less.
NETWORK = "resnet-16x0-32x1-64x2s-128x2-256x2"
TAPS = "stage1.0,stage2.0,stage3.0"
STRONG = ("max2,conv3-64,conv3-64,max2,conv3-128,conv3-128", "max2,conv3-128,max2,conv3-256", "max2,conv3-192")
# Static networks of the same architecture: narrower and shallower.
OWN_FAMILY = (
    "resnet-16x0-32x1-64x1-128x1",
    "resnet-16x0-32x1-48x1s-96x1-192x1",
    "resnet-16x0-32x1-64x1s-128x1-256x1",
    NETWORK,
)
SMALL = "max2,conv3-32,max2,conv3-64"
SEEDS = 3


@dataclass(frozen=True)
class Backbone:
    """A static network: its weights, and what goes with them in `eetool train`."""

    name: str
    weights: Path
    options: tuple[object, ...]


@dataclass(frozen=True)
class Bench:
    """What all arms share. `run` calls `eetool` unless its output is there already."""

    data: str
    out: Path
    weights: Path | None
    epochs: int
    threads: int
    teacher: bool
    torch_device: str
    splits: int
    quick: bool
    densenet: str
    vgg: str

    def run(self, output: str, *arguments: object) -> Path:
        """`eetool arguments -o output` in the folder of results."""
        path = self.out / output
        if not path.exists():
            command = [sys.executable, "-m", "eetool", *map(str, arguments), "-o", str(path)]
            if path.with_name(path.name + ".resume").exists():
                command.append("--resume")
            print("+", " ".join(command[2:]), file=sys.stderr)
            subprocess.run(command, check=True, stdout=sys.stderr, env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"})
        return path

    def budget(self, epochs: int) -> tuple[object, ...]:
        """What every training has."""
        device = ("--threads", self.threads, "--torch-device", self.torch_device)
        return ("--data", self.data, "--epochs", epochs, "--batch-size", 128, *device)

    def train(self, output: str, network: str, *options: object) -> Path:
        """Train a network on the data, with the budget that all of them have."""
        more = ("--teacher", self.a_teacher(), "--teacher-views", 8, "--distill-share", 0.3) if self.teacher else ()
        return self.run(output, "train", network, "--recipe", "distill", *self.budget(self.epochs), *more, *options)

    def trained(self, name: str) -> Path:
        """A static network of the field, trained here without a teacher."""
        return self.run(f"{name}.pt", "train", name, "--recipe", "joint", *self.budget(self.epochs), "--exits", 0)

    def backbone(self, name: str) -> Backbone:
        """A network to put exits on: pretrained where there are weights, else trained here."""
        found = sorted(self.weights.glob(f"*_{name}.safetensors")) if self.weights is not None else []
        if found:
            return Backbone(name, found[0], ("--normalise", "imagenet", "--hold-out", "test"))
        return Backbone(name, self.trained(name), ("--hold-out", "train"))

    def a_teacher(self) -> Path:
        """The deepest ResNet as a model.pt that held out training images, or did not need to."""
        backbone = self.backbone(DEEPEST)
        if backbone.weights.suffix == ".pt":
            return backbone.weights
        options = ("--weights", backbone.weights, "--normalise", "imagenet", "--epochs", 0, "--hold-out", "train")
        return self.run("teacher.pt", "train", DEEPEST, "--data", self.data, *options, "--exits", 0)

    def static(self) -> list[Path]:
        """Bundles of the static family."""
        made = []
        for name in STATIC:
            backbone = self.backbone(name)
            model = backbone.weights
            if model.suffix != ".pt":
                options = ("--weights", model, *backbone.options, "--epochs", 0, "--exits", 0)
                model = self.run(f"{name}-pretrained.pt", "train", name, "--data", self.data, *options)
            made.append(self.run(f"{name}.eebundle", "export", model))
        return made

    def judged(self, model: Path, against: list[Path], *tuning: object) -> dict[str, Any]:
        """Tune, export and race a model; the document of `eetool bench`, with intervals of the drops."""
        tuned, bundle = self.bundled(model, *tuning)
        found = self.raced(f"{model.stem}-bench", bundle, against)
        for name, drop in self.drops(tuned).items():
            for point in found["points"]:
                if point["name"] == name:
                    point["drop_points"] = drop
        return found

    def bundled(self, model: Path, *tuning: object) -> tuple[Path, Path]:
        """The tuned model, and its bundle."""
        tuned = self.run(f"{model.stem}-tuned.pt", "tune", model, "--data", self.data, "--drops", DROPS, *tuning)
        return tuned, self.run(f"{model.stem}.eebundle", "export", tuned)

    def raced(self, stem: str, bundle: Path, against: list[Path]) -> dict[str, Any]:
        """What matters of `eetool bench`."""
        rivals = [part for rival in against for part in ("--against", rival)]
        short = ("--passes", 1, "--min-seconds", 0) if self.quick else ()
        path = self.run(f"{stem}.json", "bench", bundle, "--data", self.data, "--threads", 1, *short, *rivals)
        return summary(json.loads(path.read_text(encoding="utf-8")))

    def drops(self, tuned: Path) -> dict[str, list[float]]:
        """Of every operating point, on the test split: accuracy lost against full depth, in points, with its 95 %
        interval (of a paired difference, by its normal approximation).
        """
        checkpoint = load_checkpoint(tuned)
        policy = checkpoint.record.policy
        assert policy is not None
        calibration = Calibration(policy.temperatures, policy.slopes, policy.offsets)
        costs = model_macs(checkpoint.record.spec, policy.score)
        problem = problem_of(calibration, answered(tuned, self.data, TEST), costs, policy.score)
        return {name: paired_drop(problem, point.thresholds) for name, point in policy.operating_points.items()}


def frozen(bench: Bench) -> dict[str, Any]:
    """Seven small branches on the deepest ResNet, which stays as it is."""
    model = on(bench, bench.backbone(DEEPEST), "frozen", "frozen")
    return bench.judged(model, bench.static(), "--max-accuracy-drop", 0.5)


def confidence(bench: Bench) -> dict[str, Any]:
    """PTEENet: learned confidences with the backbone's own answers for targets, and max softmax on the same nets."""
    found = {}
    for name in (DEEPEST, bench.densenet, bench.vgg):
        backbone = bench.backbone(name)
        model = on(bench, backbone, f"confidence-{name}", "confidence", "--targets", "backbone")
        found[name] = {
            "learned": bench.judged(model, bench.static() if name == DEEPEST else [], "--score", "learned"),
            "agreement": {score: agreement(bench, model, score) for score in ("learned", "max_softmax")},
        }
    return found


def dominates(bench: Bench) -> dict[str, Any]:
    """A network made for exits against the static family."""
    return bench.judged(main_network(bench), bench.static())


def own_family(bench: Bench) -> dict[str, Any]:
    """The same network against static ones of its own architecture, with the same budget."""
    nets = [bench.train(f"static-{i}.pt", network, "--exits", 0) for i, network in enumerate(OWN_FAMILY)]
    bundles = [bench.run(f"{net.stem}.eebundle", "export", net) for net in nets]
    return bench.raced("own-family", bench.bundled(main_network(bench))[1], bundles)


def branch_strength(bench: Bench) -> dict[str, Any]:
    """Strong branches and linear ones at equal training budget, three seeds each (AEBNAS's claim)."""
    found: dict[str, Any] = {}
    for kind, branches in (("strong", STRONG), ("linear", ("linear",) * len(STRONG))):
        given = [part for branch in branches for part in ("--branch", branch)]
        models = [
            bench.train(f"{kind}-{seed}.pt", NETWORK, "--at", TAPS, *given, "--seed", seed) for seed in range(SEEDS)
        ]
        found[kind] = [bench.judged(model, []) for model in models]
    return found


def certificates(bench: Bench) -> dict[str, Any]:
    """Many random splits of the main network's cached answers."""
    model, path = main_network(bench), bench.out / "certificates.json"
    if not path.exists():
        script, cache = Path(__file__).with_name("certificates.py"), bench.out / "answers.npz"
        arguments = ["--data", bench.data, "--cache", str(cache), "--splits", str(bench.splits)]
        command = [sys.executable, str(script), str(model), *arguments]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        path.write_text(done.stdout, encoding="utf-8")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def main_network(bench: Bench) -> Path:
    """The network made for exits."""
    branches = [part for branch in STRONG for part in ("--branch", branch)]
    return bench.train("main.pt", NETWORK, "--at", TAPS, *branches, "--exit-weights", "0.7,0.7,0.8,1")


def on(bench: Bench, backbone: Backbone, stem: str, recipe: str, *options: object) -> Path:
    """A backbone as it is, with trained exits on it."""
    budget = bench.budget(max(1, bench.epochs // 4))
    given = ("--weights", backbone.weights, *backbone.options, "--exits", 7, "--branch", SMALL, "--recipe", recipe)
    return bench.run(f"{stem}.pt", "train", backbone.name, *budget, *given, *options)


def answered(model: Path, data: str, split: str) -> Labelled:
    """What the exits of `model` answer to a split of the data."""
    checkpoint, source = load_checkpoint(model), load_source(data)
    indices = recorded_split(source, split, checkpoint.record.data)
    logits, learned = answer_arrays(checkpoint, source.images[indices])
    return Labelled(logits, source.labels[indices], learned)


def paired_drop(problem: Problem, thresholds: Thresholds) -> list[float]:
    """The drop in points, and the two ends of its interval."""
    worse, better = problem.changes(thresholds)
    drop = (worse - better) / problem.n
    half = 1.96 * np.sqrt(max((worse + better) / problem.n - drop**2, 0) / problem.n)
    return [round(100 * float(x), 3) for x in (drop, drop - half, drop + half)]


def agreement(bench: Bench, model: Path, score: str) -> dict[str, Any]:
    """Cheapest mean MACs / backbone at levels of agreement with the backbone, on images not fitted on."""
    costs = model_macs(load_checkpoint(model).record.spec, score)
    splits = [as_labelled_by_the_backbone(answered(model, bench.data, s)) for s in (TEMPERATURE, THRESHOLD, TEST)]
    calibration = Calibration(tuple(fit_temperature(x, splits[0].labels) for x in splits[0].logits))
    fitted, tested = (problem_of(calibration, split, costs, score) for split in splits[1:])
    found = {}
    for target in AGREEMENTS:
        cost, errors = tested.evaluate(cheapest(fitted, 100 - target))
        share = cost / float(sum(costs.trunk))
        found[f"{target}"] = {"agreement": 100 * (1 - errors / tested.n), "mean_macs_over_backbone": share}
    return found


def as_labelled_by_the_backbone(split: Labelled) -> Labelled:
    """The final exit is right about everything."""
    return Labelled(split.logits, split.logits[-1].argmax(1), split.learned)


def summary(document: dict[str, Any]) -> dict[str, Any]:
    """What matters of `bench`: accuracy and latency of every contender."""
    points = document["points"]
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


ARMS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "dominates": dominates,
    "frozen": frozen,
    "confidence": confidence,
    "own-family": own_family,
    "branch-strength": branch_strength,
    "certificates": certificates,
}


def main() -> None:
    """Run the arms that were asked for, and print what is known."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--weights", type=Path, default=None)
    parser.add_argument("--only", action="append", choices=list(ARMS), default=None)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--teacher", action=argparse.BooleanOptionalAction, default=False)
    parser.add_argument("--torch-device", default="cpu")
    parser.add_argument("--splits", type=int, default=200, help="of cached answers, for the arm certificates")
    parser.add_argument("--quick", action="store_true", help="one pass over the images, to see that everything runs")
    parser.add_argument("--densenet", default="densenet40")
    parser.add_argument("--vgg", default="vgg11")
    parser.add_argument("--report", type=Path, default=None, help="write what there is as Markdown")
    options = vars(parser.parse_args())
    only, target = options.pop("only"), options.pop("report")
    bench = Bench(**options)
    bench.out.mkdir(parents=True, exist_ok=True)
    results = bench.out / "results.json"
    found = json.loads(results.read_text(encoding="utf-8")) if results.exists() else {}
    if target is not None:
        target.write_text(report(bench.data.partition(":")[0], found), encoding="utf-8")
        return
    for arm in only or ARMS:
        found[arm] = ARMS[arm](bench)
        results.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
