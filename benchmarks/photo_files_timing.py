"""Latency from the file of a photograph to its class, with decoding and every view that was made."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import eetool_runtime as ee
from eetool.bench.intervals import input_half_width, ratio_interval
from eetool_measure.timing import without_garbage_collection

_PHOTOGRAPHS, _PASSES, _SEED = 200, 3, 0
VARIANT = "onnx/fp32"


def time_files(folder: Path, points: Mapping[str, str], reference: str) -> dict[str, Any]:
    """Return mean milliseconds from file to class, and ratios to the reference with intervals of 95 %.

    Args:
        folder: the folder of results, with `photographs/test` and the bundles.
        points: operating point by name of the form; `full` for a static network.
        reference: the form that the others are compared with.
    """
    files = sorted((folder / "photographs/test").glob("*/*.*"))
    rng = np.random.default_rng(_SEED)
    chosen = [str(files[i]) for i in rng.permutation(len(files))[:_PHOTOGRAPHS]]
    models = {}
    for form, point in points.items():
        models[form] = ee.load(folder / f"{form}.eebundle", threads=1, variant=VARIANT)
        models[form].use(point)
    with without_garbage_collection():
        passes = [_one_pass(models, chosen, rng) for _ in range(_PASSES)]
    times = {form: np.median([one[form] for one in passes], axis=0) for form in models}
    base = times[reference]
    return {
        form: {
            "point": points[form],
            "n": len(chosen),
            "mean_ms": float(own.mean()),
            "ratio": float(own.mean() / base.mean()),
            "ratio_ci95": list(ratio_interval(float(own.mean() / base.mean()), input_half_width(own, base))),
        }
        for form, own in times.items()
    }


def _one_pass(models: Mapping[str, ee.Model], files: Sequence[str], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return milliseconds (files,) of every model; they take turns at each file, in a random order."""
    times = {form: np.empty(len(files)) for form in models}
    forms = list(models)
    for index, file in enumerate(files):
        for form in rng.permutation(forms):
            model = models[form]
            start = time.perf_counter()
            model(model.preprocess(file))
            times[form][index] = 1000 * (time.perf_counter() - start)
    return times
