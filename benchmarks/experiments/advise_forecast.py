"""Forecasts of `eetool advise` against the networks that its commands train.

    python benchmarks/experiments/advise_forecast.py --out DIR [--network NAME …] [--cifar DIR --weights DIR]
        [--speech FILE] [--train-images N] [--epochs N] [--joint-epochs N] [--device rpi4]

For each network: the advice; then its printed `train` and `tune` commands, with the recipes frozen and distill; then
accuracy on the test split, and the latency that the device's table predicts. Every step keeps its files in DIR, so that
an interrupted run continues. Prints one JSON document: forecast and outcome of both operating points, of the recorded
split into held-out and test examples and in the mean over random ones of the same sizes (`forecast_splits.py`), which
keep the exits and their trainings. The latency ratio shall be within 0.1 and the accuracy within 1.5 points. The
difference of accuracies has two parts: that of full depth between held-out and test examples, which is chance, and that
of the drops.

The pretrained ResNets have seen all training images of CIFAR-10: half of the test images serve temperatures and
thresholds, the other half the figures (`--hold-out test`).
"""

import argparse
import contextlib
import json
import math
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from forecast_splits import ACCURACY_LIMIT, RATIO_LIMIT, Split, StoredLogits, compare_split, summary

from eetool.advise.exit_costs import ExitCosts
from eetool.advise.network import NetworkChoice, open_network
from eetool.advise.trial_exits import TrialExit, chosen_net, find_taps, trial_nets
from eetool.advise.trials import Trials
from eetool.data.registry import load_source
from eetool.data.splits import TEST, recorded_split
from eetool.export.temporary_bundle import temporary_bundle
from eetool.latency.estimate.predictor import Predictor
from eetool.latency.table.hw_profile import load_device
from eetool.model.checkpoint import load_checkpoint
from eetool.model.goals import DEFAULT_DROP
from eetool.progress import SILENT
from eetool.records import write_atomic
from eetool.train.exit_answers import NetworkAnswers
from eetool.train.labelled_data import PRESETS
from eetool.tune.cross_fitting import LabelledLogits
from eetool.tune.device_costs import predicted_costs
from eetool.tune.operating_points import FULL

POINTS, SEED = ("balanced", "fast"), 0
SAME = 0.2  # points by which features computed in other batches may change a forecast


@dataclass(frozen=True)
class Case:
    """A network: MODEL of the advice, its options, and a step that makes its weights and data."""

    model: str
    options: tuple[str, ...]
    data: str
    prepare: Callable[[Path], None] = lambda folder: None

    def choice(self, device: str) -> NetworkChoice:
        """Return the choice that `eetool advise` makes of these options."""
        if not self.options:
            return NetworkChoice(self.model, self.data, device)
        _, weights, _, normalise, _, hold_out = self.options
        return NetworkChoice(
            self.model, self.data, device, Path(weights), None, normalise, PRESETS[normalise], hold_out
        )


def main() -> None:
    """Advise on every network, train what was advised, and print the differences."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--network", action="append", default=[], choices=["resnet20", "resnet56", "speech", "digits"])
    parser.add_argument("--cifar", type=Path, help="folder of CIFAR-10, as `--data cifar10:DIR` takes it")
    parser.add_argument("--weights", type=Path, help="folder of cifar10_resnet20.safetensors, …")
    parser.add_argument("--speech", type=Path, help="npz: logmel_u8 (N, frames, bands), label, is_test")
    parser.add_argument("--train-images", type=int, default=50_000, help="of CIFAR-10")
    parser.add_argument("--examples", type=int, default=4096, help="of the advice")
    parser.add_argument("--epochs", type=int, default=10, help="of the recipe frozen")
    parser.add_argument("--joint-epochs", type=int, default=0, help="of the recipe distill; 0 for none")
    parser.add_argument("--splits", type=int, default=100, help="random splits into held-out and test examples")
    parser.add_argument("--device", default="rpi4")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rows = [row for name in options.network or ["digits"] for row in judge(name, case(name, options), options)]
    met = [row["ratio_met"] and row["accuracy_met"] for row in rows]
    settings = {name: value for name, value in vars(options).items() if isinstance(value, (int, str))}
    print(json.dumps({"settings": settings, "all_met": all(met), "rows": rows}, indent=2))


def case(name: str, options: argparse.Namespace) -> Case:
    """Return the case of a network."""
    if name == "digits":
        return Case("plain.pt", (), "digits", lambda folder: train_plain(folder, "resnet8", "digits", 12))
    if name == "speech":
        return Case("plain.pt", (), "npz:speech.npz", lambda folder: prepare_speech(folder, options.speech))
    weights = (options.weights / f"cifar10_{name}.safetensors").resolve()
    given = ("--weights", str(weights), "--normalise", "imagenet", "--hold-out", "test")
    return Case(name, given, "npz:cifar.npz", lambda folder: prepare_cifar(folder, options))


def prepare_cifar(folder: Path, options: argparse.Namespace) -> None:
    """Write the first training images, and all test images."""
    if not (folder / "cifar.npz").exists():
        source = load_source(f"cifar10:{options.cifar}")
        count, first_test = options.train_images, source.training_count
        arrays = {"images": source.inputs[:count], "labels": source.labels[:count]}
        test = {"test_images": source.inputs[first_test:], "test_labels": source.labels[first_test:]}
        np.savez(folder / "cifar.npz", **arrays, **test, classes=np.array(source.classes))


def prepare_speech(folder: Path, path: Path) -> None:
    """Write the log-mel levels as standardised features, and train TC-ResNet8 without exits."""
    if not (folder / "speech.npz").exists():
        with np.load(path) as stored:
            levels, labels, is_test = (stored[name] for name in ("logmel_u8", "label", "is_test"))
        train = levels[~is_test].astype(np.float32)
        features = ((levels - train.mean()) / train.std()).astype(np.float32)  # (N, frames, bands)
        test = {"test_features": features[is_test], "test_labels": labels[is_test].astype(np.int64)}
        arrays = {"features": features[~is_test], "labels": labels[~is_test].astype(np.int64)}
        np.savez(folder / "speech.npz", **arrays, **test)
    train_plain(folder, "tcresnet8", "npz:speech.npz", 20)


def train_plain(folder: Path, model: str, data: str, epochs: int) -> None:
    """Train a network without early exits."""
    words = ("train", model, "--data", data, "--exits", "0", "--epochs", str(epochs), "--batch-size", "64")
    run(folder, "plain.pt", (*words, "-o", "plain.pt"))


def run(folder: Path, output: str, words: tuple[str, ...]) -> None:
    """Run a command of eetool in `folder`, unless its output exists."""
    if not (folder / output).exists():
        print(f"{folder.name}: eetool {shlex.join(words)}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "eetool", *words], check=True, cwd=folder, stdout=sys.stderr)


def judge(name: str, network: Case, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return one row for each recipe and operating point of a network."""
    folder = options.out.absolute() / name
    folder.mkdir(exist_ok=True)
    network.prepare(folder)
    words = (*network.options, "--data", network.data, "--device", options.device, "--examples", str(options.examples))
    run(folder, "advice.json", ("advise", network.model, *words, "-o", "advice.json"))
    advice = json.loads((folder / "advice.json").read_text())
    rows = []
    for recipe, epochs in (("frozen", options.epochs), ("distill", options.joint_epochs)):
        if not epochs:
            continue
        seconds = train_advised(folder, advice, recipe, epochs)
        with contextlib.chdir(folder):
            stored, exits = stored_logits(network, advice, f"{recipe}-tuned.pt", options)
        splits = enumerate([stored.recorded, *stored.exchanged(options.splits)])
        files = [(folder / f"{recipe}-split-{number}.json", split) for number, split in splits]
        recorded, *exchanged = [kept_figures(path, stored, exits, split) for path, split in files]
        for point in POINTS:
            row = {"network": name, "recipe": recipe, "point": point, "train_seconds": round(seconds, 1)}
            row |= {
                "advise_seconds": advice["seconds"],
                "exits": [f"{e['tap']} {e['branch']}" for e in advice["exits"]],
            }
            row |= {"held_out_examples": stored.held_out, "test_examples": len(stored.recorded[1])}
            rows.append({**row, **judged(point, advice, recorded, exchanged)})
    return rows


def train_advised(folder: Path, advice: dict[str, Any], recipe: str, epochs: int) -> float:
    """Run the printed commands `train` and `tune` of a recipe; return the seconds that they took, 0 if done before."""
    (commands,) = (step["commands"] for step in advice["next"] if step["recipe"] == recipe)
    train, tune = (shlex.split(line)[1:] for line in commands[:2])
    started = time.monotonic()
    run(folder, f"{recipe}.pt", (*train[:-1], f"{recipe}.pt", "--epochs", str(epochs)))
    tune[1] = f"{recipe}.pt"
    run(folder, f"{recipe}-tuned.pt", (*tune[:-1], f"{recipe}-tuned.pt"))
    return time.monotonic() - started


def stored_logits(
    network: Case, advice: dict[str, Any], file: str, options: argparse.Namespace
) -> tuple[StoredLogits, tuple[TrialExit, ...]]:
    """Return the logits of trial and trained exits, as `eetool advise` and the commands made them, and the exits."""
    checkpoint, source = load_checkpoint(Path(file)), load_source(network.data)
    opened = open_network(network.choice(options.device), source, SILENT)
    parts = [opened.held_out, recorded_split(source, TEST, checkpoint.record.data)]
    rows = np.concatenate(parts)
    taps = find_taps(opened.net.backbone, opened.spec)
    nets = trial_nets(opened.net.backbone, opened.spec, taps, SEED)
    trials = Trials(nets, opened, parts, options.examples, advice["epochs"], SEED, SILENT)
    trial = trials.judge(nets)
    advised = [(e["tap"], e["branch"]) for e in advice["exits"]]
    exits = tuple(e for e in trial.exits if (e.tap, e.branch) in advised)
    doublings, half = math.log2(len(opened.training) / trials.count), None
    if doublings:
        half = trials.judge([chosen_net(opened.net.backbone, opened.spec, taps, exits, SEED)], trials.count // 2)
    predictor = Predictor(load_device(options.device), advice["backend"], advice["precision"], advice["threads"])
    logits, _ = NetworkAnswers(checkpoint)(source.inputs[rows])
    stored = StoredLogits(
        trial,
        half,
        LabelledLogits(logits, source.labels[rows]),
        len(opened.held_out),
        doublings,
        ExitCosts(nets, len(taps), predictor),
        predicted_costs(Path(file), options.device, temporary_bundle).costs,
        DEFAULT_DROP,
    )
    return stored, exits


def kept_figures(
    path: Path, stored: StoredLogits, exits: tuple[TrialExit, ...], split: Split
) -> dict[str, dict[str, float]]:
    """Return `compare_split`, from its file where there is one."""
    if not path.exists():
        write_atomic(path, json.dumps(compare_split(stored, exits, split)).encode())
    figures: dict[str, dict[str, float]] = json.loads(path.read_text(encoding="utf-8"))
    return figures


def judged(
    point: str, advice: dict[str, Any], recorded: dict[str, Any], exchanged: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return the figures of one operating point on the recorded split, and their means over random ones."""
    (forecast,) = (p for p in advice["points"] if p["name"] == point)
    figures, full = recorded[point], recorded[FULL]
    if abs(100 * forecast["accuracy"] - figures["accuracy_forecast"]) > SAME:
        raise SystemExit("the stored logits give another forecast than `eetool advise` did")
    ratio = figures["ratio_outcome"] - figures["ratio_forecast"]
    accuracy = figures["accuracy_outcome"] - figures["accuracy_forecast"]
    result: dict[str, Any] = {
        "full_depth": full,
        "recorded": figures,
        "ratio_met": abs(ratio) <= RATIO_LIMIT,
        "accuracy_met": abs(accuracy) <= ACCURACY_LIMIT,
    }
    if exchanged:
        result["exchanged"] = summary({k: np.array([split[point][k] for split in exchanged]) for k in figures})
    return result


if __name__ == "__main__":
    main()
