"""Coverage of certificates: how often they are broken or refused, and their cost.

    python benchmarks/experiments/certificates.py model.pt --data cifar10:DIR [--splits 200] [--cache logits.npz]

Every exit classifies all held-out images once. These images are the population. Each of the random splits draws 1,000
of them for temperatures, 2,000 for thresholds and 2,000 for the certificate, with replacement. Draws are then
independent, as a certificate assumes, and the true drop is known exactly: it is the drop on all images. Images left
over by a split would add their own sampling error and count some kept certificates as broken. Prints one JSON document.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from held_out_logits import drop_and_cost, held_out_logits, select, summary

from eetool.errors import BudgetError
from eetool.latency.estimate.cascade_cost import CascadeCosts
from eetool.model.checkpoint import load_checkpoint
from eetool.model.gate_scores import LEARNED, MAX_SOFTMAX
from eetool.tune.cross_fitting import LabelledLogits
from eetool.tune.exit_costs import model_macs
from eetool.tune.operating_points import CertificateGoal, certified_point, fit_operating_points

PROMISES = (1.0, 2.0, 3.0)
SIZES = {"temperature": 1000, "threshold": 2000, "certificate": 2000}


def main() -> None:
    """Draw the splits, certify on each, and print the summary."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--confidence", type=float, default=0.95)
    parser.add_argument("--cache", type=Path, default=None, help="file that keeps the logits of all exits")
    parser.add_argument("--sizes", type=int, nargs=3, default=list(SIZES.values()), metavar=tuple(SIZES))
    options = parser.parse_args()
    record = load_checkpoint(options.model).record
    score = LEARNED if record.spec.learned_confidence else MAX_SOFTMAX
    held = held_out_logits(options.model, options.data, options.cache)
    costs = model_macs(record.spec, score)
    random = np.random.default_rng(0)
    splits = [random.integers(0, len(held.labels), sum(options.sizes)) for _ in range(options.splits)]
    promises = {}
    for promise in PROMISES:
        goal = CertificateGoal(promise, options.confidence)
        outcomes = [certify_split(held, split, options.sizes, costs, goal, score) for split in splits]
        promises[f"{promise:g}"] = promise_summary(outcomes, promise)
    document = {
        "model": record.spec.backbone,
        "score": score,
        "held_out": len(held.labels),
        "sizes": dict(zip(SIZES, options.sizes, strict=True)),
        "splits": options.splits,
        "confidence": options.confidence,
        "promises": promises,
    }
    print(json.dumps(document, indent=2))


def certify_split(
    held: LabelledLogits, split: np.ndarray, sizes: list[int], costs: CascadeCosts, goal: CertificateGoal, score: str
) -> dict[str, Any]:
    """Return drop and cost on all images, of the certified and of the uncertified thresholds of one split."""
    temperature, threshold, certificate = (select(held, part) for part in np.split(split, np.cumsum(sizes)[:-1]))
    tuned_on = temperature.join(threshold)
    tuned = fit_operating_points(tuned_on, costs, costs, goal.max_accuracy_drop, score)
    plain = drop_and_cost(tuned.calibration, held, costs, score, tuned.operating_points["fast"].thresholds)
    try:
        point = certified_point(tuned.calibration, tuned_on, certificate, costs, costs, goal, score)
    except BudgetError:
        return {"refused": True, "plain": plain}
    return {
        "refused": False,
        "plain": plain,
        "certified": drop_and_cost(tuned.calibration, held, costs, score, point.thresholds),
    }


def promise_summary(outcomes: list[dict[str, Any]], promise: float) -> dict[str, Any]:
    """Return shares and means over all splits."""
    certified = [outcome["certified"] for outcome in outcomes if not outcome["refused"]]
    pairs = [(outcome["certified"][1], outcome["plain"][1]) for outcome in outcomes if not outcome["refused"]]
    return {
        "refused_share": 1 - len(certified) / len(outcomes),
        "broken_share": sum(drop > promise for drop, _ in certified) / len(outcomes),
        "certified": summary(certified),
        "uncertified_broken_share": sum(outcome["plain"][0] > promise for outcome in outcomes) / len(outcomes),
        "uncertified": summary([outcome["plain"] for outcome in outcomes]),
        "cost_certified_over_uncertified": float(np.mean([a / b for a, b in pairs])) if pairs else None,
    }


if __name__ == "__main__":
    main()
