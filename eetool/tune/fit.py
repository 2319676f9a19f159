"""`tune` for a checkpoint and for a finished bundle: the same fit on logits from torch or from the runtime."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from eetool.data.sources import Source
from eetool.data.splits import TEMPERATURE, THRESHOLD, recorded_split
from eetool.tune.costs import Costs, component_costs
from eetool.tune.policy import BALANCED, Labelled, Tuned, tune
from eetool_runtime import Bundle, load
from eetool_runtime.manifest import Data, Manifest, Variant
from eetool_runtime.preprocess import normalise

# uint8 images (n, C, H, W) to the logits of every exit (exits, n, classes) and learned confidences (early exits, n)
Answers = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray | None]]
_BATCH = 64


def fit_policy(
    source: Source,
    data: Data | None,
    answers_of: Answers,
    costs: Costs,
    macs: Costs,
    max_accuracy_drop: float,
    score: str,
) -> Tuned:
    """Fit on the temperature and threshold splits of `source`, proved to be those that `data` records."""
    splits = []
    for name in (TEMPERATURE, THRESHOLD):
        indices = recorded_split(source, name, data)
        logits, learned = answers_of(source.images[indices])
        splits.append(Labelled(logits, source.labels[indices], learned))
    return tune(splits[0], splits[1], costs, macs, max_accuracy_drop, score)


def tune_bundle(
    bundle: Bundle,
    variant: str,
    source: Source,
    max_accuracy_drop: float,
    latency_ms: Mapping[str, float] | None = None,
) -> tuple[Manifest, Tuned]:
    """The manifest of `bundle` with a policy fitted on the outputs of one of its variants.

    Args:
        latency_ms: milliseconds of each component, to minimise latency; by default MACs are minimised.
    """
    manifest = bundle.manifest
    macs = component_costs(manifest, {c.name: float(c.macs) for c in manifest.components})
    costs = component_costs(manifest, latency_ms) if latency_ms else macs
    model = load(bundle, variant=variant)

    def answers_of(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        inputs = normalise(images, manifest.inputs[0])
        parts = [model.every_exit(inputs[i : i + _BATCH]) for i in range(0, len(inputs), _BATCH)]
        logits, sure = (
            np.stack([np.concatenate([p[i][what] for p in parts]) for i in range(len(manifest.exits))])
            for what in (0, 1)
        )
        return logits, sure[:-1]

    tuned = fit_policy(source, manifest.data, answers_of, costs, macs, max_accuracy_drop, manifest.score)
    fitted: Variant = replace(
        manifest.variants[variant], temperatures=tuned.temperatures, operating_points=tuned.operating_points
    )
    variants = {**manifest.variants, variant: fitted}
    everywhere = all(BALANCED in v.operating_points for v in variants.values())
    return (
        replace(
            manifest,
            variants=variants,
            # A default that another variant lacks would make the bundle unreadable.
            default_operating_point=BALANCED if everywhere else manifest.default_operating_point,
            max_accuracy_drop=max_accuracy_drop,
        ),
        tuned,
    )
