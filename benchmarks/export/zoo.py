"""Export of every architecture of the zoo in every variant: one JSON document on stdout.

    python benchmarks/export/zoo.py [--variant onnx/fp32] [--only hf-bert]

Networks are small and have random weights; eetool places two early exits on each. `single` is the single file with
nested `If`. A row gives the largest error as a share of the tolerance (1e-4 × max(1, max |reference|) for
onnx/fp32 and single, 1e-3 for tflite/fp32) over all components, the seconds of the export, and the bytes of the
components beside those of the weights. For bundles it also gives the share of the model's samples that leave at the
same exit as in PyTorch, and of those the share with the same class, under thresholds that spread the samples over the
exits. Random weights make this harder than for a trained network. Failures are listed with their errors.
"""

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm
from zoo_networks import NETWORKS, Network

from eetool.errors import EarlyExitError
from eetool.export.bundle_export import ExportOptions, export_bundle
from eetool.export.single_file.export import SingleFile, export_single
from eetool.export.variants import VARIANTS
from eetool.model.checkpoint import Checkpoint
from eetool.model.scored_network import ScoredNetwork
from eetool.targets import is_untimed
from eetool.train.exit_plan import ExitPlan
from eetool.train.pipeline import attach_exits
from eetool_runtime import load
from eetool_runtime.manifest import Manifest

_CLASSES = 10
_EXITS = 2
_MIN_VARIATION = 0.01  # least variation of an exit's logits over the samples, as a share of their size
_SINGLE = "single"
_COLUMNS = (*(name for name in VARIANTS if not is_untimed(name)), _SINGLE)


def main() -> int:
    """Export the networks of the command line and print the document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--variant", action="append", choices=_COLUMNS, help="by default all of them")
    parser.add_argument("--only", action="append", choices=list(NETWORKS), metavar="NETWORK", help="by default all")
    options = parser.parse_args()
    rows = []
    for name in options.only or NETWORKS:
        for row in network_rows(name, NETWORKS[name], options.variant or _COLUMNS):
            print(f"{row['network']:20} {row['variant']:12} {row['error'] or 'ok'}", file=sys.stderr, flush=True)
            rows.append(row)
    failed = [f"{row['network']} {row['variant']}: {row['error']}" for row in rows if row["error"]]
    document = {"schema": "zoo/1", "exits": _EXITS, "rows": rows, "passed": len(rows) - len(failed), "failed": failed}
    print(json.dumps(document, indent=2))
    return 4 if failed else 0


def network_rows(name: str, network: Network, variants: Iterable[str]) -> list[dict[str, Any]]:
    """Return one row per variant; if the network cannot be built, every row holds the error."""
    try:
        checkpoint = build(network)
    except Exception as error:  # a failure of one network is a row of the table, whatever it is
        return [row(name, network, variant, error=reason(error)) for variant in variants]
    return [export_row(name, network, checkpoint, variant) for variant in variants]


def build(network: Network) -> Checkpoint:
    """Build the network with its exits and random weights."""
    plan = ExitPlan(_EXITS)
    if network.config is None:
        return with_statistics(attach_exits(network.reference, network.shape, _CLASSES, plan, seed=0))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.json"
        path.write_text(json.dumps(network.config), encoding="utf-8")
        return with_statistics(attach_exits(f"hf:{path}", network.shape, _CLASSES, plan, seed=0))


def with_statistics(checkpoint: Checkpoint) -> Checkpoint:
    """Set the statistics of batch normalisations to those of the model's samples."""
    net = checkpoint.build()
    for module in net.modules():
        if isinstance(module, _BatchNorm):
            module.train().momentum = None  # of this batch alone
    with torch.no_grad():
        net(*checkpoint.samples.values())
        for index, logits in enumerate(net.eval()(*checkpoint.samples.values())):  # (N, classes)
            if logits.std(0).mean() < _MIN_VARIATION * logits.square().mean().sqrt():
                raise ValueError(f"exit {index} has the same logits for every sample, so parity would show nothing")
    return dataclasses.replace(checkpoint, state=net.state_dict())


def export_row(name: str, network: Network, checkpoint: Checkpoint, variant: str) -> dict[str, Any]:
    """Export to a temporary folder and return the row."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        try:
            figures, seconds = export(checkpoint, Path(folder), variant, started)
        except Exception as error:
            return row(name, network, variant, checkpoint, time.perf_counter() - started, error=reason(error))
    return row(name, network, variant, checkpoint, seconds, figures)


def export(checkpoint: Checkpoint, folder: Path, variant: str, started: float) -> tuple[dict[str, Any], float]:
    """Return the figures of one variant and the seconds of its export."""
    if variant == _SINGLE:
        single = export_single(checkpoint, folder / "zoo.onnx")
        return of_single(single), time.perf_counter() - started
    bundle = folder / "zoo.eebundle"
    manifest = export_bundle(
        checkpoint, bundle, ExportOptions((variant,), references=False, judge_speed=False)
    ).manifest
    seconds = time.perf_counter() - started
    return {**of_bundle(manifest, variant), **agreement(checkpoint, bundle)}, seconds


def reason(error: Exception) -> str:
    """Return the message of eetool's own errors, or type and text of others."""
    return error.message if isinstance(error, EarlyExitError) else f"unexpected {type(error).__name__}: {error}"


def row(
    name: str,
    network: Network,
    variant: str,
    checkpoint: Checkpoint | None = None,
    seconds: float | None = None,
    figures: dict[str, Any] | None = None,
    error: str | None = None,
) -> dict[str, Any]:
    """Return a row; unknown figures are null."""
    spec = checkpoint.record.spec if checkpoint else None
    known: dict[str, Any] = {
        "network": name,
        "reference": network.reference,
        "variant": variant,
        "error": error,
        "taps": spec.taps if spec else None,
        "branches": spec.branches if spec else None,
        "seconds": round(seconds, 1) if seconds is not None else None,
    }
    return {**known, **(figures or {})}


def of_single(single: SingleFile) -> dict[str, Any]:
    """Return parity and size of a single file."""
    return {
        "max_abs_error": max(parity.max_abs_error for parity in single.exits),
        "error_share_of_allowed": max(p.max_abs_error / p.tolerance for p in single.exits if p.tolerance),
        "size_bytes": single.size_bytes,
    }


def agreement(checkpoint: Checkpoint, bundle: Path, variant: str | None = None) -> dict[str, float]:
    """Return the share of samples that leave at the same exit as in PyTorch, and of those the share with its class."""
    net = ScoredNetwork(checkpoint.build()).eval()
    model = load(bundle, variant=variant)
    with torch.no_grad():
        outputs = net(*checkpoint.samples.values(), *(torch.tensor(1.0) for _ in range(net.n_exits)))
    expected = [array.numpy() for array in outputs]
    bundle_outputs = model.every_exit({name: array.numpy() for name, array in checkpoint.samples.items()})
    in_torch, in_bundle = (
        np.stack(expected[1::2], 1),
        np.stack([confidence for _, confidence in bundle_outputs], 1),
    )  # (N, exits)
    thresholds = spread_thresholds(in_torch)
    torch_exits, bundle_exits = leaves_at(in_torch, thresholds), leaves_at(in_bundle, thresholds)  # (N,)
    same = np.flatnonzero(torch_exits == bundle_exits)
    classes = [expected[2 * torch_exits[i]][i].argmax() == bundle_outputs[torch_exits[i]][0][i].argmax() for i in same]
    return {"same_exit": len(same) / len(torch_exits), "same_class": float(np.mean(classes)) if classes else 0.0}


def spread_thresholds(confidences: np.ndarray) -> list[float]:
    """Return thresholds of the early exits for confidences (N, exits).

    Exit k takes 1/(exits − k) of the samples that reach it. A threshold lies half way between two confidences, so that
    rounding changes no decision.
    """
    left, thresholds = np.arange(len(confidences)), []
    for k in range(confidences.shape[1] - 1):
        order = np.sort(confidences[left, k])
        cut = len(order) - max(1, len(order) // (confidences.shape[1] - k))
        thresholds.append(float(order[max(cut - 1, 0) : cut + 1].mean()))
        left = left[confidences[left, k] < thresholds[-1]]
    return thresholds


def leaves_at(confidences: np.ndarray, thresholds: list[float]) -> np.ndarray:
    """Return the exit of each sample for confidences (N, exits)."""
    fires = confidences >= np.array([*thresholds, -np.inf])
    exits: np.ndarray = fires.argmax(1)
    return exits


def of_bundle(manifest: Manifest, variant: str) -> dict[str, Any]:
    """Return parity, sizes and boundaries of one variant."""
    graphs = manifest.variants[variant].components
    limited = [graph for graph in graphs.values() if graph.tolerance is not None]
    segments = [component for component in manifest.components if component.kind == "segment"]
    return {
        "int8_components": sum(graph.precision == "int8" for graph in graphs.values()),
        "max_abs_error": max(graph.max_abs_error for graph in graphs.values()),
        "error_share_of_allowed": max((g.max_abs_error / g.tolerance for g in limited if g.tolerance), default=None),
        "size_bytes": sum(manifest.files[path].size_bytes for path in {graph.path for graph in graphs.values()}),
        "weights_bytes": 4 * sum(component.parameters for component in manifest.components),
        "macs": sum(component.macs for component in manifest.components),
        "tensors_over_boundaries": [len(segment.outputs) for segment in segments],
    }


if __name__ == "__main__":
    sys.exit(main())
