"""Accuracy drop of operating points on new images, by the margin that their thresholds were fitted with.

    python benchmarks/experiments/threshold_margins.py model.pt --data cifar10:DIR [--splits 20] [--cache logits.npz]

Every exit classifies all held-out images once. Each random split deals them into images for temperatures, images for
thresholds, and the rest. Thresholds that keep an accuracy drop with a margin of 0, 0.5 and 1 standard errors are then
evaluated on the rest. Prints one JSON document (docs/results/threshold-margins.md).
"""

import argparse
import json
from pathlib import Path

import numpy as np
from held_out_logits import drop_and_cost, held_out_logits, select, summary

from eetool.model.checkpoint import load_checkpoint
from eetool.model.gate_scores import LEARNED, MAX_SOFTMAX
from eetool.tune.cross_fitting import calibrate, threshold_problem
from eetool.tune.exit_costs import model_macs
from eetool.tune.margin_search import MarginSearch

DROPS, MARGINS = (0.5, 1.0, 2.0), (0.0, 0.5, 1.0)


def main() -> None:
    """Draw the splits, fit thresholds on each, and print their drops on the rest."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--splits", "--deals", type=int, default=20)
    parser.add_argument("--cache", type=Path, default=None, help="file that keeps the logits of all exits")
    parser.add_argument("--sizes", type=int, nargs=2, default=[500, 1500], metavar=("TEMPERATURE", "THRESHOLD"))
    options = parser.parse_args()
    record = load_checkpoint(options.model).record
    score = LEARNED if record.spec.learned_confidence else MAX_SOFTMAX
    held, costs = held_out_logits(options.model, options.data, options.cache), model_macs(record.spec, score)
    random = np.random.default_rng(0)
    on_rest: dict[tuple[float, float], list[tuple[float, float]]] = {}
    on_split: dict[tuple[float, float], list[float]] = {}
    for _ in range(options.splits):
        parts = np.split(random.permutation(len(held.labels)), np.cumsum(options.sizes))
        temperature, threshold, rest = (select(held, part) for part in parts)
        calibration = calibrate(temperature, score)
        problem = threshold_problem(calibration, threshold, costs, score)
        for drop in DROPS:
            for margin in MARGINS:
                thresholds = MarginSearch(problem, margin).cheapest(drop)
                on_rest.setdefault((drop, margin), []).append(
                    drop_and_cost(calibration, rest, costs, score, thresholds)
                )
                on_split.setdefault((drop, margin), []).append(100 * problem.evaluate(thresholds)[1] / problem.n)
    rows = [
        {
            "max_accuracy_drop": drop,
            "standard_errors": margin,
            "mean_drop_on_the_split": float(np.mean(on_split[drop, margin])),
            "broken_share": float(np.mean([lost > drop for lost, _ in outcomes])),
            "on_new_images": summary(outcomes),
        }
        for (drop, margin), outcomes in on_rest.items()
    ]
    sizes = dict(zip(("temperature", "threshold"), options.sizes, strict=True))
    document = {"model": record.spec.backbone, "held_out": len(held.labels), "sizes": sizes, "deals": options.splits}
    print(json.dumps({**document, "rules": rows}, indent=2))


if __name__ == "__main__":
    main()
