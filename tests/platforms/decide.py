"""Decide on every input with every variant of a bundle: what runs on the platform under test.

    python decide.py BUNDLE INPUTS.npz THRESHOLDS.json OUTPUT.npz

THRESHOLDS is `{variant: [one per early exit]}`. For each variant OUTPUT gets, of the exit where each input left,
`VARIANT.exit` int64 (N,), `VARIANT.confidence` float64 (N,) and `VARIANT.logits` float32 (N, classes). Prints one JSON
document that says what ran: `{variant: backend and version, or why it did not run}`, and whether the model decides the
same with `pool="process"`, where LiteRT's graphs share an interpreter. Needs the runtime, numpy and Python 3.9.
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
    """Where each input leaves and with which answer; each input alone, at batch 1."""
    n = len(next(iter(inputs.values())))
    results = [model({name: array[i : i + 1] for name, array in inputs.items()}) for i in range(n)]
    return {
        "exit": np.array([r.exit for r in results]),
        "confidence": np.array([r.confidence for r in results]),
        "logits": np.stack([r.logits for r in results]),
    }


def main(bundle: str, inputs: str, thresholds: str, output: str) -> None:
    """Decide with every variant for which thresholds are given."""
    with np.load(inputs) as loaded:
        arrays = dict(loaded)
    found: dict[str, np.ndarray] = {}
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
        found.update({f"{variant}.{name}": array for name, array in decided.items()})
    np.savez(output, **found)  # type: ignore[arg-type]
    facts = {"architecture": platform.machine(), "python": platform.python_version(), "numpy": np.__version__}
    sys.stdout.write(json.dumps({**facts, "variants": ran}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
