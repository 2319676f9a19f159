"""Does early exit pay, by the clock, against static networks? Every experiment from a data path, resumable.

    python benchmarks/early_exit_pays.py --data cifar10:DIR --out FOLDER [--weights FOLDER] [--only ARM …]

Each arm is a row of `eetool` commands whose outputs lie in FOLDER; what is there already is not made again, and an
interrupted training goes on. --weights holds pretrained CIFAR ResNets (`*_resnet20.safetensors` and so on); arms that
need them are left out without. Networks trained here hold out training images and report on the whole test set;
pretrained ones hold out half of the test set. Prints one JSON document, which also lies in FOLDER/results.json.
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

from eetool.data.sources import load_source
from eetool.data.splits import TEMPERATURE, TEST, THRESHOLD, recorded_split
from eetool.model.checkpoint import load_checkpoint
from eetool.train.fit import answer_arrays
from eetool.tune.calibrate import fit_temperature
from eetool.tune.costs import model_macs
from eetool.tune.scores import confidences
from eetool.tune.thresholds import Problem, cheapest

STATIC = ("resnet20", "resnet32", "resnet44", "resnet56")
DROPS = "0.1,0.25,0.5,0.75,1,1.5,2,2.5,3,4,5"
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


@dataclass(frozen=True)
class Bench:
    """What all arms share. `run` calls `eetool` unless its output is there already."""

    data: str
    out: Path
    weights: Path | None
    epochs: int
    threads: int
    teacher: bool

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

    def pretrained(self, name: str) -> Path:
        """Weights of a pretrained ResNet."""
        assert self.weights is not None
        (found,) = self.weights.glob(f"*_{name}.safetensors")
        return found

    def train(self, output: str, network: str, *options: object) -> Path:
        """Train a network on the data, with the budget that all of them have."""
        budget = ("--epochs", self.epochs, "--batch-size", 128, "--learning-rate", 0.1, "--threads", self.threads)
        more = ("--teacher", self.a_teacher(), "--teacher-views", 8, "--distill-share", 0.3) if self.teacher else ()
        return self.run(output, "train", network, "--data", self.data, "--recipe", "distill", *budget, *more, *options)

    def a_teacher(self) -> Path:
        """The pretrained ResNet-56 as a model.pt."""
        return self.as_it_is("resnet56", "train")

    def as_it_is(self, name: str, hold_out: str) -> Path:
        """A pretrained network as a model.pt, without training."""
        options = ("--weights", self.pretrained(name), "--normalise", "imagenet", "--epochs", 0, "--hold-out", hold_out)
        return self.run(f"{name}-{hold_out}.pt", "train", name, "--data", self.data, *options, "--exits", 0)

    def static(self) -> list[Path]:
        """Bundles of the static family."""
        if self.weights is None:
            return []
        return [self.run(f"{name}.eebundle", "export", self.as_it_is(name, "test")) for name in STATIC]

    def judged(self, model: Path, against: list[Path], *tuning: object) -> dict[str, Any]:
        """Tune, export and race a model; the document of `eetool bench`."""
        stem = model.stem
        tuned = self.run(f"{stem}-tuned.pt", "tune", model, "--data", self.data, "--drops", DROPS, *tuning)
        bundle = self.run(f"{stem}.eebundle", "export", tuned)
        rivals = [part for rival in against for part in ("--against", rival)]
        path = self.run(f"{stem}-bench.json", "bench", bundle, "--data", self.data, "--threads", 1, *rivals)
        return summary(json.loads(path.read_text(encoding="utf-8")))


def frozen(bench: Bench) -> dict[str, Any]:
    """Seven small branches on the pretrained ResNet-56, which stays as it is."""
    return bench.judged(on_resnet56(bench, "frozen", "frozen"), bench.static(), "--max-accuracy-drop", 0.5)


def confidence(bench: Bench) -> dict[str, Any]:
    """PTEENet: learned confidences on ResNet-56, with its own answers for targets; and max softmax on the same net."""
    model = on_resnet56(bench, "confidence", "confidence", "--targets", "backbone")
    return {
        "learned": bench.judged(model, bench.static(), "--score", "learned"),
        "agreement": {score: agreement(bench, model, score) for score in ("learned", "max_softmax")},
    }


def dominates(bench: Bench) -> dict[str, Any]:
    """A network made for exits against the static family."""
    branches = [part for branch in STRONG for part in ("--branch", branch)]
    model = bench.train("main.pt", NETWORK, "--at", TAPS, *branches, "--exit-weights", "0.7,0.7,0.8,1")
    return bench.judged(model, bench.static())


def own_family(bench: Bench) -> dict[str, Any]:
    """The same network against static ones of its own architecture, with the same budget."""
    nets = [bench.train(f"static-{i}.pt", network, "--exits", 0) for i, network in enumerate(OWN_FAMILY)]
    bundles = [bench.run(f"{net.stem}.eebundle", "export", net) for net in nets]
    dominates(bench)
    bundle = bench.out / "main.eebundle"
    rivals = [part for rival in bundles for part in ("--against", rival)]
    path = bench.run("own-family.json", "bench", bundle, "--data", bench.data, "--threads", 1, *rivals)
    return summary(json.loads(path.read_text(encoding="utf-8")))


def branch_strength(bench: Bench) -> dict[str, Any]:
    """Strong branches and linear ones at equal training budget, three seeds each (AEBNAS's claim)."""
    found: dict[str, Any] = {}
    for kind, branches in (("strong", STRONG), ("linear", ("linear",) * len(STRONG))):
        given = [part for branch in branches for part in ("--branch", branch)]
        found[kind] = []
        for seed in range(3):
            model = bench.train(f"{kind}-{seed}.pt", NETWORK, "--at", TAPS, *given, "--seed", seed)
            found[kind].append(bench.judged(model, []))
    return found


def certificates(bench: Bench) -> dict[str, Any]:
    """200 random splits of the main network's cached answers."""
    dominates(bench)
    path = bench.out / "certificates.json"
    if not path.exists():
        script = Path(__file__).with_name("certificates.py")
        arguments = [str(bench.out / "main.pt"), "--data", bench.data, "--cache", str(bench.out / "answers.npz")]
        done = subprocess.run([sys.executable, str(script), *arguments], check=True, capture_output=True, text=True)
        path.write_text(done.stdout, encoding="utf-8")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def on_resnet56(bench: Bench, stem: str, recipe: str, *options: object) -> Path:
    """ResNet-56 as it is, with trained exits on it."""
    budget = ("--epochs", max(1, bench.epochs // 4), "--batch-size", 128, "--threads", bench.threads)
    backbone = ("--weights", bench.pretrained("resnet56"), "--normalise", "imagenet", "--hold-out", "test")
    exits = ("--exits", 7, "--branch", SMALL, "--recipe", recipe)
    return bench.run(f"{stem}.pt", "train", "resnet56", "--data", bench.data, *backbone, *exits, *budget, *options)


def agreement(bench: Bench, model: Path, score: str) -> dict[str, Any]:
    """Cheapest mean MACs / backbone at two levels of agreement with the backbone, on images not fitted on."""

    checkpoint, source = load_checkpoint(model), load_source(bench.data)
    costs = model_macs(checkpoint.record.spec, score)

    def answered(split: str) -> tuple[np.ndarray, np.ndarray | None]:
        return answer_arrays(checkpoint, source.images[recorded_split(source, split, checkpoint.record.data)])

    logits, _ = answered(TEMPERATURE)
    temperatures = [fit_temperature(x, logits[-1].argmax(1)) for x in logits]
    problems = []
    for split in (THRESHOLD, TEST):
        logits, learned = answered(split)
        same = logits.argmax(2) == logits[-1].argmax(1)
        problems.append(Problem(confidences(score, logits, temperatures, learned), same, costs))
    fitted, tested = problems
    found = {}
    for target in (97.15, 93.62):
        cost, errors = tested.evaluate(cheapest(fitted, 100 - target))
        share = cost / float(sum(costs.trunk))
        found[f"{target}"] = {"agreement": 100 * (1 - errors / tested.n), "mean_macs_over_backbone": share}
    return found


def summary(document: dict[str, Any]) -> dict[str, Any]:
    """What matters of `bench`: accuracy and latency of every contender."""
    points = document["points"]
    unsplit = points[0]["latency_ms"]["mean"]
    return {
        "n": document["data"]["n"],
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
    "frozen": frozen,
    "confidence": confidence,
    "dominates": dominates,
    "own-family": own_family,
    "branch-strength": branch_strength,
    "certificates": certificates,
}
PRETRAINED = {"frozen", "confidence"}


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
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    bench = Bench(options.data, options.out, options.weights, options.epochs, options.threads, options.teacher)
    results = options.out / "results.json"
    found = json.loads(results.read_text(encoding="utf-8")) if results.exists() else {}
    for arm in options.only or [name for name in ARMS if options.weights or name not in PRETRAINED]:
        found[arm] = ARMS[arm](bench)
        results.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
