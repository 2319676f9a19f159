"""Program for the platform under test: run every input with every variant of a bundle.

    python decide.py BUNDLE INPUTS.npz THRESHOLDS.json OUTPUT.npz

THRESHOLDS is `{variant: [one per early exit]}`. For each variant, OUTPUT holds the exit, confidence and logits of every
input: `VARIANT.exit` int64 (N,), `VARIANT.confidence` float64 (N,) and `VARIANT.logits` float32 (N, classes). The
program prints one JSON document, `{variant: backend and version, or the reason why it did not run}`, and whether the
results with `pool="process"` are equal, where LiteRT's graphs share an interpreter. It needs the runtime, numpy and
Python 3.9.
"""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np

import eetool_runtime as ee
from eetool_runtime.backends import backend_for


def decide(model: ee.Model, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return exit, confidence and logits of each input, run at batch 1."""
    n = len(next(iter(inputs.values())))
    results = [model({name: array[i : i + 1] for name, array in inputs.items()}) for i in range(n)]
    return {
        "exit": np.array([r.exit for r in results]),
        "confidence": np.array([r.confidence for r in results]),
        "logits": np.stack([r.logits for r in results]),
    }


def main(bundle: str, inputs: str, thresholds: str, output: str) -> None:
    """Run every variant for which thresholds are given."""
    with np.load(inputs) as loaded:
        arrays = dict(loaded)
    results: dict[str, np.ndarray] = {}
    ran: dict[str, Any] = {}
    for variant, policy in json.loads(Path(thresholds).read_text()).items():
        try:
            model = ee.load(bundle, variant=variant, threads=1)
        except ee.EarlyExitError as error:
            ran[variant] = {"not_run": error.message}
            continue
        sharing = ee.load(bundle, variant=variant, threads=1, pool="process")
        model.use(threshold=tuple(policy))
        sharing.use(threshold=tuple(policy))
        decided, shared = decide(model, arrays), decide(sharing, arrays)
        agree = all(np.array_equal(decided[name], shared[name]) for name in decided)
        backend = backend_for(variant.split("/")[0])
        ran[variant] = {"backend": backend.name, "version": backend.version, "pools_agree": agree}
        results.update({f"{variant}.{name}": array for name, array in decided.items()})
    np.savez(output, **results)  # type: ignore[arg-type]
    facts = {"architecture": platform.machine(), "python": platform.python_version(), "numpy": np.__version__}
    sys.stdout.write(json.dumps({**facts, "variants": ran}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
