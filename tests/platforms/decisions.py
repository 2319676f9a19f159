"""Comparison of two platforms: a real bundle, 1,000 real inputs, and thresholds that spread the exits.

The thresholds are quantiles of the confidences. Each exit then classifies about the same share of the inputs, and many
confidences are close to a threshold: a harder test than usual operating points.
"""

import importlib.util
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import eetool_runtime as ee
from eetool_runtime import open_bundle
from eetool_runtime.manifest import Variant
from eetool_runtime.preprocess import normalise

SCRIPT = Path(__file__).with_name("decide.py")
SAME_EXIT = 0.999  # minimum share, of fp32 variants
_MODEL = ("resnet8", "--data", "digits", "--exits", "3", "--epochs", "1")


@dataclass(frozen=True)
class Trial:
    """A bundle, inputs and thresholds as files, and the results of this machine."""

    bundle: Path
    inputs: Path
    thresholds: Path
    decided: Path
    ran: dict[str, Any]


def prepare(folder: Path, bundle: Path | None, inputs: Path | None, formats: list[str] | None, n: int) -> Trial:
    """Make the bundle and the inputs that are not given, and run them on this machine.

    Args:
        formats: of the bundle made here; by default ONNX, and TFLite where eetool's extra for it is installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    bundle = (bundle or make_bundle(folder, formats or formats_here())).resolve()
    if inputs is None:
        inputs = folder / "inputs.npz"
        np.savez(inputs, **digits(bundle, n))  # type: ignore[arg-type]
    inputs = inputs.resolve()
    thresholds, decided = folder / "thresholds.json", folder / "here.npz"
    thresholds.write_text(json.dumps(spread_thresholds(bundle, inputs)))
    command = [sys.executable, str(SCRIPT), str(bundle), str(inputs), str(thresholds), str(decided)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Trial(bundle, inputs, thresholds, decided, json.loads(done.stdout))


def formats_here() -> list[str]:
    """Return the graph formats that can be exported on this machine."""
    return ["onnx", "tflite"] if importlib.util.find_spec("litert_torch") else ["onnx"]


def make_bundle(folder: Path, formats: list[str]) -> Path:
    """Train a small network for one epoch and export it with the command, in full precision and int8."""
    model, bundle = folder / "model.pt", folder / "model.eebundle"
    chosen = [word for graph_format in formats for word in ("--format", graph_format)]
    chosen += ["--precision", "fp32", "--precision", "int8", "--calibration-data", "digits", "--no-judge-speed"]
    for words in (["train", *_MODEL, "-o", str(model)], ["export", str(model), *chosen, "-o", str(bundle)]):
        command = [sys.executable, "-m", "eetool", *words, "--force"]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return bundle


def digits(bundle: Path, n: int) -> dict[str, np.ndarray]:
    """Return the first `n` handwritten digits, preprocessed for this bundle."""
    from eetool.data.registry import load_source

    spec = open_bundle(bundle).manifest.inputs[0]
    return {spec.name: normalise(load_source("digits").inputs[:n], spec)}


def spread_thresholds(bundle: Path, inputs: Path) -> dict[str, list[float]]:
    """Return thresholds for each variant that runs here; every exit then classifies about the same share of inputs."""
    with np.load(inputs) as loaded:
        arrays = dict(loaded)
    thresholds = {}
    for name in open_bundle(bundle).manifest.variants:
        try:
            model = ee.load(bundle, variant=name, threads=1)
        except ee.EarlyExitError as error:
            sys.stderr.write(f"{name} does not run on this machine: {error.message}\n")
            continue
        thresholds[name] = _spread(confidences(model, arrays))
    return thresholds


def confidences(model: ee.Model, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """Return float32 (N, exits): the confidence of every exit, none skipped, at batch 1."""
    n = len(next(iter(inputs.values())))
    outputs = [model.every_exit({name: array[i : i + 1] for name, array in inputs.items()}) for i in range(n)]
    return np.stack([np.concatenate([confidence for _, confidence in exits]) for exits in outputs])


def _spread(confidences: np.ndarray) -> list[float]:
    """Return thresholds for confidences (N, exits): exit k takes 1/(exits − k) of the inputs that reach it."""
    n, exits = confidences.shape
    left = np.ones(n, bool)
    thresholds = []
    for k in range(exits - 1):
        threshold = float(np.quantile(confidences[left, k], 1 - 1 / (exits - k)))
        thresholds.append(threshold)
        left &= confidences[:, k] < threshold
    return thresholds


def compare(trial: Trial, decided: Path, ran: dict[str, Any]) -> dict[str, Any]:
    """Compare the results of another platform with this one's, by variant; `ok` where all fp32 variants pass."""
    manifest = open_bundle(trial.bundle).manifest
    variants = {}
    with np.load(trial.decided) as here, np.load(decided) as there:
        for name, what in ran["variants"].items():
            if "not_run" in what or "not_run" in trial.ran["variants"][name]:
                variants[name] = {**what, "ok": None}
            else:
                mine, theirs = (
                    {k: data[f"{name}.{k}"] for k in ("exit", "confidence", "logits")} for data in (here, there)
                )
                variants[name] = {**what, **differences(mine, theirs, is_fp32(manifest.variants[name]))}
                variants[name]["ok"] &= what.get("pools_agree", True)
    compared = [v["ok"] for v in variants.values() if v["ok"] is not None]
    return {**ran, "variants": variants, "ok": bool(compared) and all(compared)}


def differences(mine: dict[str, np.ndarray], theirs: dict[str, np.ndarray], limited: bool) -> dict[str, Any]:
    """Return the figures of one variant; with `limited` False (int8) any share of equal exits is ok."""
    same = mine["exit"] == theirs["exit"]
    logits, others = mine["logits"][same], theirs["logits"][same]  # (N, classes), of the inputs with equal exits
    error = float(np.abs(logits - others).max(initial=0.0))
    return {
        "inputs": len(same),
        "same_exit": int(same.sum()),
        "same_exit_and_class": int((logits.argmax(1) == others.argmax(1)).sum()),
        "exit_counts": np.bincount(mine["exit"]).tolist(),
        "max_abs_logit_error": error,
        "max_relative_logit_error": error / max(1.0, float(np.abs(logits).max(initial=0.0))),
        "max_abs_confidence_error": float(np.abs(mine["confidence"] - theirs["confidence"])[same].max(initial=0.0)),
        "ok": bool(same.mean() >= SAME_EXIT) or not limited,
    }


def is_fp32(variant: Variant) -> bool:
    """Return whether every graph of the variant has full precision."""
    return all(graph.precision == "fp32" for graph in variant.components.values())
