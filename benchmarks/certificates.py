"""Are certificates kept, what do they cost, and how often are they refused?

    python benchmarks/certificates.py model.pt --data cifar10:DIR [--splits 200] [--cache answers.npz]

All held-out images (those that the model was not trained on) are answered once by every exit. Then, again and again,
they are dealt at random into 1,000 for temperatures, 2,000 for thresholds, 2,000 for the certificate, and the rest, on
which the drop of accuracy that a certificate promised is looked at. Prints one JSON document.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from eetool.data.sources import load_source
from eetool.data.splits import TRAIN, recorded_split
from eetool.errors import BudgetError
from eetool.model.checkpoint import load_checkpoint
from eetool.model.scores import LEARNED, MAX_SOFTMAX
from eetool.train.fit import answer_arrays
from eetool.tune.costs import Costs, model_macs
from eetool.tune.metrics import Thresholds
from eetool.tune.policy import FULL, Labelled, Promise, Tuned, certified_point, problem_of, tune

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
    if sum(options.sizes) >= len(held.labels):  # of fewer images the same parts, and half of them to look at
        options.sizes = [size * len(held.labels) // (2 * sum(options.sizes)) for size in options.sizes]
    random = np.random.default_rng(0)
    deals = [random.permutation(len(held.labels)) for _ in range(options.splits)]
    found = {
        f"{promise:g}": judge(
            [one(held, deal, options.sizes, costs, Promise(promise, options.confidence), score) for deal in deals],
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


def answers(model: Path, data: str, cache: Path | None) -> Labelled:
    """Answers of every exit to all images that the model was not trained on."""
    if cache is not None and cache.exists():
        with np.load(cache) as stored:
            return Labelled(
                stored["logits"], stored["labels"], stored["learned"] if "learned" in stored.files else None
            )
    checkpoint, source = load_checkpoint(model), load_source(data)
    chosen = np.setdiff1d(np.arange(len(source.labels)), recorded_split(source, TRAIN, checkpoint.record.data))
    logits, learned = answer_arrays(checkpoint, source.images[chosen])
    arrays = {"logits": logits, "labels": source.labels[chosen]}
    if learned is not None:
        arrays["learned"] = learned
    if cache is not None:
        np.savez(cache, **arrays)  # type: ignore[arg-type]
    return Labelled(arrays["logits"], arrays["labels"], arrays.get("learned"))


def one(
    held: Labelled, deal: np.ndarray, sizes: list[int], costs: Costs, promise: Promise, score: str
) -> dict[str, Any]:
    """One deal: the certified choice and the uncertified one of the same split, on images that neither has seen."""
    temperature, threshold, certificate, rest = (take(held, part) for part in np.split(deal, np.cumsum(sizes)))
    tuned = tune(temperature, threshold, costs, costs, promise.max_accuracy_drop, score)
    plain = on_rest(tuned, rest, costs, score, tuned.operating_points["fast"].thresholds)
    try:
        point = certified_point(tuned, threshold, certificate, costs, costs, promise, score)
    except BudgetError:
        return {"refused": True, "plain": plain}
    return {"refused": False, "plain": plain, "certified": on_rest(tuned, rest, costs, score, point.thresholds)}


def take(held: Labelled, chosen: np.ndarray) -> Labelled:
    """The examples `chosen`."""
    learned = None if held.learned is None else held.learned[:, chosen]
    return Labelled(held.logits[:, chosen], held.labels[chosen], learned)


def on_rest(
    tuned: Tuned, rest: Labelled, costs: Costs, score: str, thresholds: Thresholds
) -> tuple[float, float, float]:
    """Drop in points, its standard error, and cost as a share of full depth."""
    problem = problem_of(tuned.calibration, rest, costs, score)
    worse, better = problem.changes(thresholds)
    drop = (worse - better) / problem.n
    error = np.sqrt(max((worse + better) / problem.n - drop**2, 0) / problem.n)
    full = problem.evaluate(tuned.operating_points[FULL].thresholds)[0]
    return 100 * drop, 100 * float(error), problem.evaluate(thresholds)[0] / full


def judge(deals: list[dict[str, Any]], promise: float) -> dict[str, Any]:
    """Shares and means over all deals; the drop on the rest stands for the true one, whose scatter is given beside."""
    certified = [deal["certified"] for deal in deals if not deal["refused"]]
    pairs = [(deal["certified"][2], deal["plain"][2]) for deal in deals if not deal["refused"]]
    return {
        "refused_share": 1 - len(certified) / len(deals),
        "broken_share": sum(drop > promise for drop, _, _ in certified) / len(deals),
        "certified": summary(certified),
        "uncertified_broken_share": sum(deal["plain"][0] > promise for deal in deals) / len(deals),
        "uncertified": summary([deal["plain"] for deal in deals]),
        "cost_certified_over_uncertified": float(np.mean([a / b for a, b in pairs])) if pairs else None,
    }


def summary(found: list[tuple[float, float, float]]) -> dict[str, Any] | None:
    """Means of drops and costs, and how drops are spread."""
    if not found:
        return None
    drops, errors, costs = (np.array(column) for column in zip(*found, strict=True))
    return {
        "mean_drop_points": float(drops.mean()),
        "drop_quantiles_points": np.quantile(drops, [0, 0.05, 0.5, 0.95, 1]).round(3).tolist(),
        "standard_error_of_a_drop": float(errors.mean()),
        "mean_cost": float(costs.mean()),
    }


if __name__ == "__main__":
    main()
