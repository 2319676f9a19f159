"""Are certificates kept, what do they cost, and how often are they refused?

    python benchmarks/certificates.py model.pt --data cifar10:DIR [--splits 200] [--cache answers.npz]

All held-out images (those that the model was not trained on) are answered once by every exit. They are the world:
again and again 1,000 of them are drawn for temperatures, 2,000 for thresholds and 2,000 for the certificate, each with
replacement, so that draws are independent as a certificate supposes, and the drop of accuracy that it promised about
the world is known exactly: that of all images. Looking at images that were left over instead would add their scatter,
and call a part of the certificates broken that were kept. Prints one JSON document.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from eetool.data.registry import load_source
from eetool.data.splits import TRAIN, recorded_split
from eetool.errors import BudgetError
from eetool.metrics import Thresholds
from eetool.model.checkpoint import load_checkpoint
from eetool.model.gate_scores import LEARNED, MAX_SOFTMAX
from eetool.train.pipeline import answer_arrays
from eetool.tune.exit_costs import CascadeCosts, model_macs
from eetool.tune.operating_points import (
    FULL,
    CertificateGoal,
    LabelledLogits,
    TuningResult,
    certified_point,
    fit_operating_points,
    threshold_problem,
)

PROMISES = (1.0, 2.0, 3.0)
SIZES = {"temperature": 1000, "threshold": 2000, "certificate": 2000}


def main() -> None:
    """Deal, certify, look, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--confidence", type=float, default=0.95)
    parser.add_argument("--cache", type=Path, default=None, help="keeps the answers of all exits")
    parser.add_argument("--sizes", type=int, nargs=3, default=list(SIZES.values()), metavar=tuple(SIZES))
    options = parser.parse_args()
    record = load_checkpoint(options.model).record
    score = LEARNED if record.spec.learned_confidence else MAX_SOFTMAX
    held = answers(options.model, options.data, options.cache)
    costs = model_macs(record.spec, score)
    random = np.random.default_rng(0)
    deals = [random.integers(0, len(held.labels), sum(options.sizes)) for _ in range(options.splits)]
    found = {
        f"{promise:g}": judge(
            [
                one(held, deal, options.sizes, costs, CertificateGoal(promise, options.confidence), score)
                for deal in deals
            ],
            promise,
        )
        for promise in PROMISES
    }
    document = {
        "model": record.spec.backbone,
        "score": score,
        "held_out": len(held.labels),
        "sizes": dict(zip(SIZES, options.sizes, strict=True)),
        "splits": options.splits,
        "confidence": options.confidence,
        "promises": found,
    }
    print(json.dumps(document, indent=2))


def answers(model: Path, data: str, cache: Path | None) -> LabelledLogits:
    """Answers of every exit to all images that the model was not trained on."""
    if cache is not None and cache.exists():
        with np.load(cache) as stored:
            return LabelledLogits(
                stored["logits"], stored["labels"], stored["learned"] if "learned" in stored.files else None
            )
    checkpoint, source = load_checkpoint(model), load_source(data)
    chosen = np.setdiff1d(np.arange(len(source.labels)), recorded_split(source, TRAIN, checkpoint.record.data))
    logits, learned = answer_arrays(checkpoint, source.inputs[chosen])
    arrays = {"logits": logits, "labels": source.labels[chosen]}
    if learned is not None:
        arrays["learned"] = learned
    if cache is not None:
        np.savez(cache, **arrays)  # type: ignore[arg-type]
    return LabelledLogits(arrays["logits"], arrays["labels"], arrays.get("learned"))


def one(
    held: LabelledLogits, deal: np.ndarray, sizes: list[int], costs: CascadeCosts, promise: CertificateGoal, score: str
) -> dict[str, Any]:
    """One deal: the certified choice and the uncertified one of the same split, and what both do to all images."""
    temperature, threshold, certificate = (take(held, part) for part in np.split(deal, np.cumsum(sizes)[:-1]))
    tuned = fit_operating_points(temperature, threshold, costs, costs, promise.max_accuracy_drop, score)
    plain = in_truth(tuned, held, costs, score, tuned.operating_points["fast"].thresholds)
    try:
        point = certified_point(tuned, threshold, certificate, costs, costs, promise, score)
    except BudgetError:
        return {"refused": True, "plain": plain}
    return {"refused": False, "plain": plain, "certified": in_truth(tuned, held, costs, score, point.thresholds)}


def take(held: LabelledLogits, chosen: np.ndarray) -> LabelledLogits:
    """The examples `chosen`."""
    learned = None if held.learned is None else held.learned[:, chosen]
    return LabelledLogits(held.logits[:, chosen], held.labels[chosen], learned)


def in_truth(
    tuned: TuningResult, world: LabelledLogits, costs: CascadeCosts, score: str, thresholds: Thresholds
) -> tuple[float, float]:
    """Drop in points, and cost as a share of full depth."""
    problem = threshold_problem(tuned.calibration, world, costs, score)
    worse, better = problem.changes(thresholds)
    full = problem.evaluate(tuned.operating_points[FULL].thresholds)[0]
    return 100 * (worse - better) / problem.n, problem.evaluate(thresholds)[0] / full


def judge(deals: list[dict[str, Any]], promise: float) -> dict[str, Any]:
    """Shares and means over all deals."""
    certified = [deal["certified"] for deal in deals if not deal["refused"]]
    pairs = [(deal["certified"][1], deal["plain"][1]) for deal in deals if not deal["refused"]]
    return {
        "refused_share": 1 - len(certified) / len(deals),
        "broken_share": sum(drop > promise for drop, _ in certified) / len(deals),
        "certified": summary(certified),
        "uncertified_broken_share": sum(deal["plain"][0] > promise for deal in deals) / len(deals),
        "uncertified": summary([deal["plain"] for deal in deals]),
        "cost_certified_over_uncertified": float(np.mean([a / b for a, b in pairs])) if pairs else None,
    }


def summary(found: list[tuple[float, float]]) -> dict[str, Any] | None:
    """Means of drops and costs, and how drops are spread."""
    if not found:
        return None
    drops, costs = (np.array(column) for column in zip(*found, strict=True))
    return {
        "mean_drop_points": float(drops.mean()),
        "drop_quantiles_points": np.quantile(drops, [0, 0.05, 0.5, 0.95, 1]).round(3).tolist(),
        "mean_cost": float(costs.mean()),
    }


if __name__ == "__main__":
    main()
