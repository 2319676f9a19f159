"""How much more do operating points lose on new data than on the split that they were fitted on?

    python benchmarks/optimism.py model.pt --data cifar10:DIR [--deals 20] [--cache answers.npz]

All images that the model was not trained on are answered once by every exit. Then, again and again, they are dealt at
random into some for temperatures, some for thresholds, and the rest; thresholds that keep an accuracy drop with none,
a half and one standard error to spare are looked at on the rest. Prints one JSON document (docs/decisions/0016).
"""

import argparse
import json
from pathlib import Path

import numpy as np
from certificates import answers, on_rest, summary, take

from eetool.model.checkpoint import load_checkpoint
from eetool.model.gate_scores import LEARNED, MAX_SOFTMAX
from eetool.tune.exit_costs import model_macs
from eetool.tune.operating_points import fit_operating_points, threshold_problem
from eetool.tune.threshold_search import cheapest_with_margin

DROPS, SPARE = (0.5, 1.0, 2.0), (0.0, 0.5, 1.0)


def main() -> None:
    """Deal, fit, look, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--deals", type=int, default=20)
    parser.add_argument("--cache", type=Path, default=None, help="keeps the answers of all exits")
    parser.add_argument("--sizes", type=int, nargs=2, default=[500, 1500], metavar=("TEMPERATURE", "THRESHOLD"))
    options = parser.parse_args()
    record = load_checkpoint(options.model).record
    score = LEARNED if record.spec.learned_confidence else MAX_SOFTMAX
    held, costs = answers(options.model, options.data, options.cache), model_macs(record.spec, score)
    random = np.random.default_rng(0)
    found: dict[tuple[float, float], list[tuple[float, float, float]]] = {}
    fitted: dict[tuple[float, float], list[float]] = {}
    for _ in range(options.deals):
        deal = np.split(random.permutation(len(held.labels)), np.cumsum(options.sizes))
        temperature, threshold, rest = (take(held, part) for part in deal)
        tuned = fit_operating_points(temperature, threshold, costs, costs, 0.0, score)
        problem = threshold_problem(tuned.calibration, threshold, costs, score)
        for drop in DROPS:
            for spare in SPARE:
                thresholds = cheapest_with_margin(problem, drop, spare)
                found.setdefault((drop, spare), []).append(on_rest(tuned, rest, costs, score, thresholds))
                fitted.setdefault((drop, spare), []).append(100 * problem.evaluate(thresholds)[1] / problem.n)
    rows = [
        {
            "max_accuracy_drop": drop,
            "standard_errors": spare,
            "mean_drop_on_the_split": float(np.mean(fitted[drop, spare])),
            "broken_share": float(np.mean([lost > drop for lost, _, _ in outcomes])),
            "on_new_images": summary(outcomes),
        }
        for (drop, spare), outcomes in found.items()
    ]
    sizes = dict(zip(("temperature", "threshold"), options.sizes, strict=True))
    document = {"model": record.spec.backbone, "held_out": len(held.labels), "sizes": sizes, "deals": options.deals}
    print(json.dumps({**document, "rules": rows}, indent=2))


if __name__ == "__main__":
    main()
