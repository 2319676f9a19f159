"""Honesty of the accuracy that `eetool tune` expects, and accuracy drops on new images, by the number of examples.

    python benchmarks/experiments/expected_accuracy.py logits.npz [--bundle model.eebundle --data cifar10:DIR]
        [--splits 200] [--sizes 100 500 2000]

Every exit classified all images once; `--bundle` writes these logits, of all images that the network was not trained
on. Each split fits a policy on some of the images, as `tune` does. The accuracy on the remaining images is the true
one. Splits are blocks of a permutation of all images, so that every image is held out equally often, and the accuracy
of full depth does not differ between held-out and remaining images in the mean. Prints one JSON document
(docs/results/expected-accuracy.md).
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from eetool.data.model_inputs import model_inputs
from eetool.data.registry import load_source
from eetool.data.splits import TRAIN, recorded_split
from eetool.latency.estimate.cascade_cost import CascadeCosts
from eetool.tune.cross_fitting import LabelledLogits, threshold_problem
from eetool.tune.exit_costs import manifest_macs
from eetool.tune.operating_points import FULL, PointFit, drop_limits
from eetool_runtime import load

DROPS, SCORE, BATCH = (2.0, 3.0), "max_softmax", 64


def main() -> None:
    """Draw the splits, fit a policy on each, and compare expected with true figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("logits", type=Path, help="npz file: logits, labels, trunk, heads (costs)")
    parser.add_argument("--bundle", type=Path, default=None)
    parser.add_argument("--data", default=None)
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 500, 2000])
    options = parser.parse_args()
    if options.bundle is not None:
        write_logits(options.bundle, options.data, options.logits)
    with np.load(options.logits) as stored:
        pool = LabelledLogits(stored["logits"], stored["labels"])
        costs = CascadeCosts(tuple(stored["trunk"].tolist()), tuple(stored["heads"].tolist()))
    rows = [row for size in options.sizes for row in compare(pool, costs, size, options.splits)]
    document = {"logits": options.logits.name, "images": len(pool.labels), "splits": options.splits, "points": rows}
    print(json.dumps(document, indent=2))


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


def compare(pool: LabelledLogits, costs: CascadeCosts, size: int, splits: int) -> list[dict[str, Any]]:
    """Return one row for each operating point at this number of held-out examples."""
    outcomes: dict[str, list[list[float]]] = {}
    for held, rest in blocks(len(pool.labels), size, splits):
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
                    expected.points,
                    expected.optimism,
                    expected.ci95[0] <= drop <= expected.ci95[1],
                    cost / costs.leaving((None,) * costs.early)[-1],
                    name in fit.shortfalls,
                ]
            )
    limits = {FULL: 0.0, **drop_limits(1.0, DROPS)}
    return [row(size, name, limits[name], np.array(values, float)) for name, values in outcomes.items()]


def blocks(n: int, size: int, splits: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield held-out and remaining indices: blocks of one permutation after another."""
    random = np.random.default_rng(0)
    for number in range(splits):
        place = number % (n // size)
        if not place:
            order = random.permutation(n)
        chosen = slice(place * size, (place + 1) * size)
        yield order[chosen], np.delete(order, chosen)


def row(size: int, name: str, limit: float, values: np.ndarray) -> dict[str, Any]:
    """Return means over the splits, in percentage points."""
    error, drop, expected, optimism, covered, cost, short = values.T
    root = np.sqrt(len(values))
    return {
        "examples": size,
        "point": name,
        "max_accuracy_drop": limit,
        "drop_on_new_images": float(drop.mean()),
        "kept_share": float((drop <= limit).mean()),
        "unsupported_share": float(short.mean()),
        "mean_cost": float(cost.mean()),
        "expected_minus_true_accuracy": float(error.mean()),
        "standard_error": float((drop - expected).std(ddof=1) / root),
        "without_correction": float((error + optimism).mean()),
        "interval_coverage": float(covered.mean()),
    }


if __name__ == "__main__":
    main()
