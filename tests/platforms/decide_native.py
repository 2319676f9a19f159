"""Program for the platform under test: as `decide.py`, by the native runtime.

    python decide_native.py LIBRARY BUNDLE INPUTS.npz THRESHOLDS.json OUTPUT.npz

It needs the Python runtime and its tests' helpers beside the library, and the packages with the engines.
"""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np

import eetool_runtime as ee
from tests.helpers.native_build import litert_library, onnxruntime_library
from tests.helpers.native_runtime import Library


def main(library: str, bundle: str, inputs: str, thresholds: str, output: str) -> None:
    """Run every variant for which thresholds are given."""
    with np.load(inputs) as loaded:
        arrays = dict(loaded)
    results: dict[str, np.ndarray] = {}
    ran: dict[str, Any] = {}
    for variant, policy in json.loads(Path(thresholds).read_text()).items():
        engine = onnxruntime_library() if variant.startswith("onnx/") else litert_library()
        try:
            model = Library(Path(library)).load(bundle, variant=variant, threads=1, engine=engine)
        except ee.EarlyExitError as error:
            ran[variant] = {"not_run": error.message}
            continue
        model.use(threshold=policy)
        rows = range(len(next(iter(arrays.values()))))
        answers = [model({name: array[i : i + 1] for name, array in arrays.items()}) for i in rows]
        info = model.info["engine"]
        ran[variant] = {"backend": info["name"], "version": info["version"]}
        results[f"{variant}.exit"] = np.array([a.exit for a in answers])
        results[f"{variant}.confidence"] = np.array([a.confidence for a in answers])
        results[f"{variant}.logits"] = np.stack([a.logits for a in answers])
    np.savez(output, **results)  # type: ignore[arg-type]
    sys.stdout.write(json.dumps({"architecture": platform.machine(), "variants": ran}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
