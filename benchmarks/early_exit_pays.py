"""Does early exit pay, by the clock, against static networks? Every experiment from a data path, resumable.

    python benchmarks/early_exit_pays.py --data cifar10:DIR --out FOLDER [--weights FOLDER] [--only ARM …]
    python benchmarks/early_exit_pays.py --data cifar10:DIR --out FOLDER --train-only [--jobs N] [--torch-device cuda]
    python benchmarks/early_exit_pays.py --data cifar10:DIR --out FOLDER --report summary.md

--data is cifar10, cifar100 or svhn, each with or without :DIR, or any other source of 3×32×32 images. Each arm is a row
of `eetool` commands whose outputs lie in FOLDER; what is there already is not made again, and an interrupted training
goes on. --weights holds pretrained CIFAR ResNets (`*_resnet20.safetensors` and so on): these saw all training images,
so thresholds are fitted on half of the test set. Without --weights the static family is trained here, with the budget
of everything else, and training images are held out. --train-only makes the models and stops, --jobs of them at a time:
train on a machine with a GPU, take FOLDER to the one whose clock counts, and repeat the line there without it. Prints
one JSON document, which also lies in FOLDER/results.json; --report writes what it holds as Markdown, and a page and
charts (SVG, PNG) of every race to FOLDER/charts, and runs nothing else.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from in_front import CLASSES, LARGER, LARGEST, LITTLE, MIDDLE, InFront, join, own, three, together, two
from pays_report import report

from eetool.data.registry import load_source
from eetool.data.splits import TEMPERATURE, TEST, THRESHOLD, recorded_split
from eetool.metrics import Thresholds
from eetool.model.checkpoint import load_checkpoint
from eetool.train.pipeline import answer_arrays
from eetool.tune.calibration import Calibration, fit_temperature
from eetool.tune.exit_costs import model_macs
from eetool.tune.operating_points import LabelledLogits, threshold_problem
from eetool.tune.threshold_search import ThresholdProblem, cheapest_with_margin

STATIC = ("resnet20", "resnet32", "resnet44", "resnet56")
DEEPEST = "resnet56"
DROPS = "0.1,0.25,0.5,0.75,1,1.5,2,2.5,3,4,5"
AGREEMENTS = (97.15, 93.62)  # of PTEENet's own table, in percent
# A shallow trunk whose first exit has a small network of its own, and a deep end that few inputs need to pay for.
NETWORK = LARGEST
TAPS = "stage1.0,stage2.0,stage2.1,stage3.0"
STRONG = (
    "max2,conv3-64,conv3-64,max2,conv3-128,conv3-128",
    "max2,conv3-96,max2,conv3-192",
    "max2,conv3-128,max2,conv3-256",
    "max2,conv3-192,max2,conv3-256",
)
WEIGHTS = "0.6,0.6,0.7,0.8,1"
# Static networks of the same architecture: shallower and narrower; beside them the whole one without exits.
OWN_FAMILY = (
    LITTLE,
    "resnet-16x0-32x1-64x1s-128x1",
    LARGER,
    "resnet-16x0-24x1-48x2s-96x1s-192x2",
    NETWORK,
)
# What branches are compared on: smaller, as there are six of them.
COMPARED = "resnet-16x0-32x1-64x1-128x1"
COMPARED_TAPS = "stage1.0,stage2.0"
KINDS = {"strong": STRONG[:2], "linear": ("linear",) * 2}
# On the frozen ResNet: how many exits, and of what.
FROZEN = {"frozen": (7, "max2,conv3-32,max2,conv3-64"), "frozen-strong": (4, "max2,conv3-32,max2,conv3-64,conv3-64")}
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
    batch_size: int
    learning_rate: float
    precision: str
    erase: int
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
            found = os.pathsep.join(filter(None, (str(Path(__file__).parent), os.environ.get("PYTHONPATH"))))
            environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": found}
            subprocess.run(command, check=True, stdout=sys.stderr, env=environment)
        return path

    def budget(self, epochs: int) -> tuple[object, ...]:
        """What every training has."""
        device = ("--threads", self.threads, "--torch-device", self.torch_device, "--mixed-precision", self.precision)
        steps = ("--epochs", epochs, "--batch-size", self.batch_size, "--learning-rate", self.learning_rate)
        return ("--data", self.data, "--erase", self.erase, *steps, *device)

    def train(self, output: str, network: str, *options: object, share: float = 1) -> Path:
        """Train a network on the data, with the budget that all of them have, or a `share` of its epochs."""
        more = ("--teacher", self.a_teacher(), "--teacher-views", 8, "--distill-share", 0.3) if self.teacher else ()
        budget = self.budget(max(1, round(share * self.epochs)))
        return self.run(output, "train", network, "--recipe", "distill", *budget, *more, *options)

    def trained(self, name: str) -> Path:
        """A static network of the field, trained here without a teacher."""
        budget = self.budget(max(1, self.epochs // 3))
        return self.run(f"{name}.pt", "train", name, "--recipe", "joint", *budget, "--exits", 0)

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
        return [self.run(f"{name}.eebundle", "export", self.whole(name)) for name in STATIC]

    def whole(self, name: str) -> Path:
        """A static network of the field as a model.pt without exits."""
        backbone = self.backbone(name)
        if backbone.weights.suffix == ".pt":
            return backbone.weights
        options = ("--weights", backbone.weights, *backbone.options, "--epochs", 0, "--exits", 0)
        return self.run(f"{name}-pretrained.pt", "train", name, "--data", self.data, *options)

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
        problem = threshold_problem(calibration, answered(tuned, self.data, TEST), costs, policy.score)
        return {name: paired_drop(problem, point.thresholds) for name, point in policy.operating_points.items()}


def frozen(bench: Bench) -> dict[str, Any]:
    """Many small branches on the deepest ResNet, which stays as it is, and fewer that are stronger."""
    judged = {name: frozen_network(bench, name) for name in FROZEN}
    return {name: bench.judged(m, bench.static(), "--max-accuracy-drop", 0.5) for name, m in judged.items()}


def frozen_network(bench: Bench, name: str) -> Path:
    """One of each kind."""
    return on(bench, bench.backbone(DEEPEST), name, "frozen", *FROZEN[name])


def confidence(bench: Bench) -> dict[str, Any]:
    """PTEENet: learned confidences with the backbone's own answers for targets, and max softmax on the same nets."""
    found = {}
    for name in confidence_backbones(bench):
        model = confidence_network(bench, name)
        found[name] = {
            "learned": bench.judged(model, bench.static() if name == DEEPEST else [], "--score", "learned"),
            "agreement": {score: agreement(bench, model, score) for score in ("learned", "max_softmax")},
        }
    return found


def confidence_backbones(bench: Bench) -> tuple[str, ...]:
    """One of each family."""
    return DEEPEST, bench.densenet, bench.vgg


def confidence_network(bench: Bench, name: str) -> Path:
    """The backbone `name` with exits that learn how sure they are; on the deepest ResNet those of the arm `frozen`."""
    backbone, exits = bench.backbone(name), FROZEN["frozen"]
    if name == DEEPEST:
        backbone = replace(backbone, weights=frozen_network(bench, "frozen"))
    learning = ("--optimizer", "adamw", "--learning-rate", 0.001, "--cost-weight", 1)  # the paper's way, and a price
    return on(bench, backbone, f"confidence-{name}", "confidence", *exits, "--targets", "backbone", *learning)


def dominates(bench: Bench) -> dict[str, Any]:
    """A network made for exits against the static family."""
    return bench.judged(main_network(bench), bench.static())


def in_front(bench: Bench) -> dict[str, Any]:
    """The smallest static network trained here in front of the deepest ResNet, and ResNet-20 between them."""
    for_ten_classes(bench)
    rivals = [*bench.static(), *own_bundles(bench, (0,))]
    big, little = bench.backbone(DEEPEST), own_static(bench, 0)
    nets = {two: [little], three: [little, bench.whole(MIDDLE)]}
    joined = {make: fronted(bench, make, [*front, bench.whole(DEEPEST)], big.options) for make, front in nets.items()}
    return {make.__name__: bench.judged(model, rivals) for make, model in joined.items()}


def own_in_front(bench: Bench) -> dict[str, Any]:
    """Static networks of the main network's architecture, one in front of the other, against their family: two of
    them, and three that answer together.
    """
    for_ten_classes(bench)
    little, larger, largest = (own_static(bench, OWN_FAMILY.index(name)) for name in (LITTLE, LARGER, LARGEST))
    rivals = [*bench.static(), *own_bundles(bench, range(len(OWN_FAMILY)))]
    nets = {own: [little, larger], together: [little, larger, largest]}
    joined = {make: fronted(bench, make, these, ("--hold-out", "train")) for make, these in nets.items()}
    return {make.__name__: bench.judged(model, rivals) for make, model in joined.items()}


def for_ten_classes(bench: Bench) -> None:
    """What `in_front` can be joined for."""
    if len(load_source(bench.data).classes) != CLASSES:
        raise SystemExit(f"networks in front are for data of {CLASSES} classes: name the other arms with --only")


def fronted(bench: Bench, make: Callable[[], InFront], nets: list[Path], options: tuple[object, ...]) -> Path:
    """Networks in front of the last of `nets`; an epoch for the linear exits that read ten logits each."""
    *front, big = nets
    weights = bench.out / f"{make.__name__}.safetensors"
    if not weights.exists():
        join(make, front, big, weights)
    taps = ",".join(f"said.{i}" for i in range(len(front)))
    given = ("--weights", weights, *options, "--at", taps, "--branch", "linear", "--recipe", "frozen")
    return bench.run(f"{make.__name__}.pt", "train", f"in_front:{make.__name__}", *bench.budget(1), *given)


def own_family(bench: Bench) -> dict[str, Any]:
    """The same network against static ones of its own architecture, with the same budget."""
    bundles = own_bundles(bench, range(len(OWN_FAMILY)))
    return bench.raced("own-family-bench", bench.bundled(main_network(bench))[1], bundles)


def own_bundles(bench: Bench, which: Iterable[int]) -> list[Path]:
    """Static networks of the main network's architecture, ready to race."""
    return [bench.run(f"static-{i}.eebundle", "export", own_static(bench, i)) for i in which]


def own_static(bench: Bench, index: int) -> Path:
    """One of the static networks of the main network's architecture."""
    return bench.train(f"static-{index}.pt", OWN_FAMILY[index], "--exits", 0)


def branch_strength(bench: Bench) -> dict[str, Any]:
    """Strong branches and linear ones at equal training budget, three seeds each (AEBNAS's claim)."""
    return {kind: [bench.judged(compared(bench, kind, seed), []) for seed in range(SEEDS)] for kind in KINDS}


def compared(bench: Bench, kind: str, seed: int) -> Path:
    """The smaller network with branches of a kind."""
    given = [part for branch in KINDS[kind] for part in ("--branch", branch)]
    return bench.train(f"{kind}-{seed}.pt", COMPARED, "--at", COMPARED_TAPS, *given, "--seed", seed, share=0.2)


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
    return bench.train("main.pt", NETWORK, "--at", TAPS, *branches, "--exit-weights", WEIGHTS)


def on(bench: Bench, backbone: Backbone, stem: str, recipe: str, exits: int, branch: str, *options: object) -> Path:
    """A backbone as it is, with trained exits on it."""
    budget = bench.budget(max(1, bench.epochs // 5))
    given = ("--weights", backbone.weights, *backbone.options, "--exits", exits, "--branch", branch, "--recipe", recipe)
    return bench.run(f"{stem}.pt", "train", backbone.name, *budget, *given, *options)


def answered(model: Path, data: str, split: str) -> LabelledLogits:
    """What the exits of `model` answer to a split of the data."""
    checkpoint, source = load_checkpoint(model), load_source(data)
    indices = recorded_split(source, split, checkpoint.record.data)
    logits, learned = answer_arrays(checkpoint, source.inputs[indices])
    return LabelledLogits(logits, source.labels[indices], learned)


def paired_drop(problem: ThresholdProblem, thresholds: Thresholds) -> list[float]:
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
    fitted, tested = (threshold_problem(calibration, split, costs, score) for split in splits[1:])
    found = {}
    for target in AGREEMENTS:
        cost, errors = tested.evaluate(cheapest_with_margin(fitted, 100 - target, standard_errors=1))
        share = cost / float(sum(costs.trunk))
        found[f"{target}"] = {"agreement": 100 * (1 - errors / tested.n), "mean_macs_over_backbone": share}
    return found


def as_labelled_by_the_backbone(split: LabelledLogits) -> LabelledLogits:
    """The final exit is right about everything."""
    return LabelledLogits(split.logits, split.logits[-1].argmax(1), split.learned)


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
    "in-front": in_front,
    "own-in-front": own_in_front,
    "frozen": frozen,
    "confidence": confidence,
    "own-family": own_family,
    "branch-strength": branch_strength,
    "certificates": certificates,
}
FOR_TEN_CLASSES = ("in-front", "own-in-front")
# The longest first.
MODELS: dict[str, Callable[[Bench], list[partial[Any]]]] = {
    "dominates": lambda bench: [partial(main_network, bench)],
    "confidence": lambda bench: [
        partial(confidence_network, bench, name) for name in confidence_backbones(bench)[::-1]
    ],
    "own-family": lambda bench: [partial(own_static, bench, i) for i in reversed(range(len(OWN_FAMILY)))],
    "frozen": lambda bench: [partial(frozen_network, bench, name) for name in FROZEN],
    "branch-strength": lambda bench: [partial(compared, bench, k, s) for k in KINDS for s in range(SEEDS)],
    "in-front": lambda bench: [partial(own_static, bench, 0)],
    "own-in-front": lambda bench: [partial(own_static, bench, i) for i in reversed(range(len(OWN_FAMILY)))],
    "certificates": lambda bench: [],  # of the main network
}


def usual_arms(data: str) -> list[str]:
    """All that can be run on the data."""
    if len(load_source(data).classes) == CLASSES:
        return list(ARMS)
    print(f"left out, for data of {CLASSES} classes: {', '.join(FOR_TEN_CLASSES)}", file=sys.stderr)
    return [arm for arm in ARMS if arm not in FOR_TEN_CLASSES]


def charts(bench: Bench) -> None:
    """Of every race, what `eetool report` draws."""
    for race in sorted(bench.out.glob("*-bench.json")):
        folder = bench.out / "charts" / race.stem.removesuffix("-bench")
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "eetool", "report", str(race), "-o", str(folder / "report.html"), "--force"]
        subprocess.run([*command, "--figures", str(folder)], check=True, stdout=sys.stderr)


def train_all(bench: Bench, arms: list[str], jobs: int) -> None:
    """Make the models of the arms, `jobs` at a time; raises the first error when all others are done."""
    bench.backbone(DEEPEST)  # several of them need it
    if "confidence" in arms:
        frozen_network(bench, "frozen")  # whose exits it begins with
    if bench.teacher:
        bench.a_teacher()
    wanted = [make for arm in MODELS if arm in arms for make in MODELS[arm](bench)]
    with ThreadPoolExecutor(jobs) as pool:  # arms may share a model
        begun = [pool.submit(make) for make in {(make.func, make.args): make for make in wanted}.values()]
    for each in begun:
        each.result()


def main() -> None:
    """Run the arms that were asked for, and print what is known."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--weights", type=Path, default=None)
    parser.add_argument("--only", action="append", choices=list(ARMS), default=None)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=0.1)
    parser.add_argument("--mixed-precision", dest="precision", default="fp32")
    parser.add_argument("--erase", type=int, default=0, help="side of the square that is erased in training images")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--teacher", action=argparse.BooleanOptionalAction, default=False)
    parser.add_argument("--torch-device", default="cpu")
    parser.add_argument("--splits", type=int, default=200, help="of cached answers, for the arm certificates")
    parser.add_argument("--quick", action="store_true", help="one pass over the images, to see that everything runs")
    parser.add_argument("--densenet", default="densenet40")
    parser.add_argument("--vgg", default="vgg11")
    parser.add_argument("--train-only", action="store_true", help="make the models and stop")
    parser.add_argument("--jobs", type=int, default=1, help="with --train-only: how many trainings at a time")
    parser.add_argument("--report", type=Path, default=None, help="write what there is as Markdown")
    options = vars(parser.parse_args())
    only, target = options.pop("only"), options.pop("report")
    train_only, jobs = options.pop("train_only"), options.pop("jobs")
    bench = Bench(**options)
    bench.out.mkdir(parents=True, exist_ok=True)
    results = bench.out / "results.json"
    found = json.loads(results.read_text(encoding="utf-8")) if results.exists() else {}
    if target is not None:
        target.write_text(report(bench.data.partition(":")[0], found), encoding="utf-8")
        charts(bench)
        return
    arms = only or usual_arms(bench.data)
    if train_only:
        train_all(bench, arms, jobs)
        return
    for arm in arms:
        found[arm] = ARMS[arm](bench)
        results.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
