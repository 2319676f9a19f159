"""Honesty of the accuracy that `eetool tune` expects, and accuracy drops on new images, by the number of examples.

    python benchmarks/experiments/expected_accuracy.py logits.npz [--bundle model.eebundle --data cifar10:DIR]
        [--resnets WEIGHTS --data cifar10:DIR] [--sizes 100 500 2000] [--splits 2000 200 200] [--keep FOLDER]

Every exit classified all images once. `--bundle` writes these logits, of all images that the network was not trained
on; `--resnets` those of four published networks one after the other, of the test images. Each split fits a policy on
some of the images, as `tune` does. The accuracy on the remaining images is the true one. Splits are all blocks of a
permutation of the images. So every image is held out equally often, and the accuracy of full depth does not differ
between held-out and remaining images in the mean. Permutations are independent, blocks of one are not: standard errors
are those of means over permutations. With `--keep`, figures of every permutation are files in FOLDER, so that an
interrupted run continues. Prints one JSON document (docs/results/expected-accuracy.md).
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eetool.advise.network import NetworkChoice, open_network
from eetool.data.model_inputs import model_inputs
from eetool.data.registry import load_source
from eetool.data.splits import TRAIN, recorded_split
from eetool.latency.estimate.cascade_cost import CascadeCosts
from eetool.model.macs import count_macs
from eetool.model.references.example_inputs import example_inputs
from eetool.progress import SILENT
from eetool.records import write_atomic
from eetool.train.labelled_data import PRESETS
from eetool.tune.cross_fitting import LabelledLogits, threshold_problem
from eetool.tune.exit_costs import manifest_macs
from eetool.tune.operating_points import FULL, PointFit, drop_limits
from eetool_runtime import load

DROPS, SCORE, BATCH = (2.0, 3.0), "max_softmax", 64
SEED = 1  # permutations of 0 served the choice of the estimate
STATIC = ("resnet20", "resnet32", "resnet44", "resnet56")


def main() -> None:
    """Draw the splits, fit a policy on each, and compare expected with true figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("logits", type=Path, help="npz file: logits, labels, trunk, heads (costs)")
    parser.add_argument("--bundle", type=Path, default=None)
    parser.add_argument("--resnets", type=Path, default=None, help="folder of cifar10_resnet20.safetensors, …")
    parser.add_argument("--data", default=None)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 500, 2000])
    parser.add_argument("--splits", type=int, nargs="+", default=[2000, 200, 200], help="at least, for each size")
    parser.add_argument("--keep", type=Path, default=None)
    options = parser.parse_args()
    if options.bundle is not None:
        write_logits(options.bundle, options.data, options.logits)
    if options.resnets is not None:
        write_cascade(options.resnets, options.data, options.logits)
    with np.load(options.logits) as stored:
        pool = LabelledLogits(stored["logits"], stored["labels"])
        costs = CascadeCosts(tuple(stored["trunk"].tolist()), tuple(stored["heads"].tolist()))
    rows = []
    for size, splits in zip(options.sizes, options.splits, strict=True):
        numbers = range(-(-splits // (len(pool.labels) // size)))
        print(f"{options.logits.stem}: {size} examples, {len(numbers)} permutations", file=sys.stderr)
        rows += summary(size, len(pool.labels), [outcomes(pool, costs, size, number, options) for number in numbers])
    print(json.dumps({"logits": options.logits.name, "images": len(pool.labels), "points": rows}, indent=2))


def write_logits(path: Path, data: str, target: Path) -> None:
    """Write the logits of every exit of a bundle on all images that it was not trained on, and the MACs of exits."""
    model, source = load(path), load_source(data)
    manifest = model.bundle.manifest
    rows = np.setdiff1d(np.arange(len(source.labels)), recorded_split(source, TRAIN, manifest.data))
    parts = []
    for start in range(0, len(rows), BATCH):
        inputs = model_inputs(source.inputs[rows[start : start + BATCH]], manifest.inputs[0])
        parts.append(np.stack([logits for logits, _ in model.every_exit(inputs)]))
    costs = manifest_macs(manifest)
    arrays = {"logits": np.concatenate(parts, 1), "labels": source.labels[rows]}
    np.savez(target, **arrays, trunk=np.array(costs.trunk), heads=np.array(costs.heads))  # type: ignore[arg-type]


@torch.no_grad()
def write_cascade(weights: Path, data: str, target: Path) -> None:
    """Write the logits of the ResNets of `weights` on all test images, and their MACs, as those of one cascade."""
    source = load_source(data)
    images = source.inputs[source.training_count :]
    logits, macs = [], []
    for name in STATIC:
        file = weights / f"cifar10_{name}.safetensors"
        choice = NetworkChoice(name, data, weights=file, normalisation=PRESETS["imagenet"], hold_out="test")
        network = open_network(choice, source, SILENT)
        parts = torch.split(network.statistics.normalise(torch.from_numpy(images)), BATCH)
        logits.append(torch.cat([network.net.backbone(part) for part in parts]).numpy())
        macs.append(float(count_macs(network.net.backbone, example_inputs(network.spec.inputs))))
    arrays = {"logits": np.stack(logits), "labels": source.labels[source.training_count :]}
    np.savez(target, **arrays, trunk=np.array(macs), heads=np.zeros(len(macs) - 1))  # type: ignore[arg-type]


def outcomes(
    pool: LabelledLogits, costs: CascadeCosts, size: int, number: int, options: argparse.Namespace
) -> dict[str, list[list[float]]]:
    """Return `compare` of one permutation, from its file where there is one."""
    if options.keep is None:
        return compare(pool, costs, size, number)
    path = options.keep / f"{options.logits.stem}-{size}-{number}.json"
    if not path.exists():
        options.keep.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(compare(pool, costs, size, number)).encode())
    kept: dict[str, list[list[float]]] = json.loads(path.read_text(encoding="utf-8"))
    return kept


def compare(pool: LabelledLogits, costs: CascadeCosts, size: int, number: int) -> dict[str, list[list[float]]]:
    """Return the figures of all splits of one permutation, for each operating point."""
    outcomes: dict[str, list[list[float]]] = {}
    unsplit = float(costs.leaving((None,) * costs.early)[-1])
    for held, rest in blocks(len(pool.labels), size, number):
        fit = PointFit(pool.select(held), costs, costs, SCORE)
        points = {FULL: fit.full_depth(), **fit.within_drops(drop_limits(1.0, DROPS))}
        new = threshold_problem(fit.cross_fit.calibration, pool.select(rest), costs, SCORE)
        full = float(new.correct[-1].mean())
        for name, point in points.items():
            cost, errors = new.evaluate(point.thresholds)
            drop, expected = 100 * errors / new.n, fit.expected_drops[name]
            assert point.expected is not None
            outcomes.setdefault(name, []).append(
                [
                    100 * (point.expected.accuracy - (full - drop / 100)),
                    drop,
                    expected.optimism,
                    *expected.ci95,
                    point.expected.mean_macs / unsplit,
                    cost / unsplit,
                    float(name in fit.shortfalls),
                ]
            )
    return outcomes


def blocks(n: int, size: int, number: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield held-out and remaining indices: the blocks of one permutation, which is that of `number`."""
    order = np.random.default_rng([SEED, number]).permutation(n)
    for start in range(0, n - size + 1, size):
        chosen = slice(start, start + size)
        yield order[chosen], np.delete(order, chosen)


def summary(size: int, images: int, permutations: list[dict[str, list[list[float]]]]) -> list[dict[str, Any]]:
    """Return one row for each operating point at this number of held-out examples."""
    limits = {FULL: 0.0, **drop_limits(1.0, DROPS)}
    widen = (images / (images - size)) ** 0.5  # the remaining images are a sample too, independent of the held-out ones
    return [row(size, name, limits[name], widen, np.array([p[name] for p in permutations])) for name in permutations[0]]


def row(size: int, name: str, limit: float, widen: float, values: np.ndarray) -> dict[str, Any]:
    """Return means over splits, in percentage points, of values (permutations, splits, figures).

    Intervals are those of new images without number. They are widened by `widen` for the number of remaining ones.
    """
    error, drop, optimism, low, high, expected_cost, cost, short = np.moveaxis(values, 2, 0)
    covered = np.abs(drop - (low + high) / 2) <= widen * (high - low) / 2
    return {
        "examples": size,
        "splits": error.size,
        "point": name,
        "max_accuracy_drop": limit,
        "drop_on_new_images": float(drop.mean()),
        "kept_share": float((drop <= limit).mean()),
        "unsupported_share": float(short.mean()),
        "mean_cost": float(cost.mean()),
        "expected_minus_true_cost": float((expected_cost - cost).mean()),
        "expected_minus_true_accuracy": float(error.mean()),
        "standard_error": standard_error(error),
        "deviation_of_one_split": float(error.std()),
        "without_correction": float((error + optimism).mean()),
        "interval_coverage": float(covered.mean()),
    }


def standard_error(values: np.ndarray) -> float | None:
    """Return that of the mean of values (permutations, splits); None for one permutation."""
    means = values.mean(1)
    return float(means.std(ddof=1) / np.sqrt(len(means))) if len(means) > 1 else None


if __name__ == "__main__":
    main()
