"""Forecasts of `eetool advise` against the networks that its commands train.

    python benchmarks/experiments/advise_forecast.py --out DIR [--network NAME …] [--cifar DIR --weights DIR]
        [--speech FILE] [--train-images N] [--epochs N] [--joint-epochs N] [--device rpi4]

For each network: the advice; then its printed `train` and `tune` commands, with the recipes frozen and distill; then
accuracy and exit shares on the test split, and the latency that the device's table predicts for them. Every step keeps
its files in DIR, so that an interrupted run continues. Prints one JSON document: forecast and outcome of both operating
points, and whether the latency ratio is within 0.1 and the accuracy within 1.5 points. The difference of accuracies has
two parts: that of full depth between held-out and test examples, which is chance, and that of the drops.

The pretrained ResNets have seen all training images of CIFAR-10: half of the test images serve temperatures and
thresholds, the other half the figures (`--hold-out test`).
"""

import argparse
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eetool.data.registry import load_source
from eetool.data.splits import TEST, recorded_split
from eetool.export.temporary_bundle import temporary_bundle
from eetool.metrics import exits_taken
from eetool.model.checkpoint import load_checkpoint
from eetool.train.pipeline import every_exit_logits
from eetool.tune.calibration import Calibration
from eetool.tune.device_costs import predicted_costs
from eetool.tune.gate_scores import calibrated_confidences

RATIO_LIMIT, ACCURACY_LIMIT = 0.1, 1.5
POINTS = ("balanced", "fast")


@dataclass(frozen=True)
class Case:
    """A network: MODEL of the advice, its options, and a step that makes its weights and data."""

    model: str
    options: tuple[str, ...]
    data: str
    prepare: Callable[[Path], None] = lambda folder: None


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
    folder = options.out / name
    folder.mkdir(exist_ok=True)
    network.prepare(folder.absolute())
    words = (*network.options, "--data", network.data, "--device", options.device, "--examples", str(options.examples))
    run(folder, "advice.json", ("advise", network.model, *words, "-o", "advice.json"))
    advice = json.loads((folder / "advice.json").read_text())
    rows = []
    for recipe, epochs in (("frozen", options.epochs), ("distill", options.joint_epochs)):
        if not epochs:
            continue
        seconds = train_advised(folder, advice, recipe, epochs)
        outcome = outcomes(folder, f"{recipe}-tuned.pt", network.data, options.device, advice["unsplit"]["cost"])
        rows += [compare(name, recipe, advice, outcome, point, seconds) for point in POINTS]
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


def outcomes(folder: Path, file: str, data: str, device: str, unsplit: float) -> dict[str, dict[str, float]]:
    """Return accuracy on the test split, and predicted latency over that of the unsplit network, by point."""
    path = folder / file
    checkpoint = load_checkpoint(path)
    kind, _, place = data.partition(":")
    source = load_source(f"{kind}:{folder / place}" if place else data)
    indices = recorded_split(source, TEST, checkpoint.record.data)
    labels, logits = source.labels[indices], torch.stack(every_exit_logits(checkpoint, source.inputs[indices])).numpy()
    policy = checkpoint.record.policy
    assert policy is not None
    confidences = calibrated_confidences(policy.score, logits, Calibration(policy.temperatures), None)
    costs = predicted_costs(path, device, temporary_bundle).costs
    right = logits.argmax(2) == labels
    results = {"full": {"accuracy": float(right[-1].mean()), "n": len(labels)}}
    for name in POINTS:
        thresholds = policy.operating_points[name].thresholds
        taken = exits_taken(confidences, thresholds)
        spent = costs.leaving(thresholds)[taken]
        accuracy = float(right[taken, np.arange(len(labels))].mean())
        error = float(np.sqrt(accuracy * (1 - accuracy) / len(labels)))
        results[name] = {"accuracy": accuracy, "standard_error": error, "ratio": float(spent.mean() / unsplit)}
    return results


def compare(
    name: str, recipe: str, advice: dict[str, Any], outcome: dict[str, dict[str, float]], point: str, seconds: float
) -> dict[str, Any]:
    """Return the forecast beside the outcome of one operating point."""
    (forecast,) = (p for p in advice["points"] if p["name"] == point)
    reached = outcome[point]
    lost = 100 * (reached["accuracy"] - forecast["accuracy"])
    full = 100 * (outcome["full"]["accuracy"] - advice["unsplit"]["accuracy"])
    held, p = advice["held_out_examples"], forecast["accuracy"]
    error = 100 * float(np.hypot(np.sqrt(p * (1 - p) / held), reached["standard_error"]))
    ratio = reached["ratio"] - forecast["ratio_all_examples"]
    return {
        "network": name,
        "recipe": recipe,
        "point": point,
        "exits": [f"{e['tap']} {e['branch']}" for e in advice["exits"]],
        "advise_seconds": advice["seconds"],
        "train_seconds": round(seconds, 1),
        "forecast": {n: forecast[n] for n in ("accuracy", "ratio", "ratio_ci95", "ratio_all_examples")},
        "outcome": reached,
        "ratio_difference": round(ratio, 4),
        "accuracy_difference_points": round(lost, 2),
        "standard_error_points": round(error, 2),
        "full_depth_difference_points": round(full, 2),
        "drop_difference_points": round(full - lost, 2),
        "held_out_examples": held,
        "test_examples": outcome["full"]["n"],
        "ratio_met": abs(ratio) <= RATIO_LIMIT,
        "accuracy_met": abs(lost) <= ACCURACY_LIMIT,
    }


if __name__ == "__main__":
    main()
