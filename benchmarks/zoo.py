"""Every architecture of the zoo through every variant of the exporter: one JSON document on stdout.

    python benchmarks/zoo.py [--variant onnx/fp32] [--only hf-bert]

Networks are small and have random weights; each gets two early exits where eetool places them. `single` is the one file
with nested `If`. A row gives the largest error as a share of what is allowed (1e-4 × max(1, max |reference|) for
onnx/fp32 and single, 1e-3 for tflite/fp32) over all components, the seconds of the export, and the bytes of the
components beside those of the weights. For bundles it also gives the share of the model's samples that leave at the
same exit as in PyTorch, and of those the share with the same class, under thresholds that spread the samples over the
exits: random weights make this harder than it is for a trained network. What fails is listed with its error.
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
from eetool.export.scored_network import ScoredNetwork
from eetool.export.single_file.export import SingleFile, export_single
from eetool.export.variants import VARIANTS
from eetool.model.checkpoint import Checkpoint
from eetool.train.pipeline import ExitPlan, attach_exits
from eetool_runtime import load
from eetool_runtime.manifest import Manifest

_CLASSES = 10
_EXITS = 2
_ALIVE = 0.01  # least variation of an exit's logits over the samples, as a share of their size
_SINGLE = "single"
_COLUMNS = (*VARIANTS, _SINGLE)


def main() -> int:
    """Export what the command line names and print the document."""
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
    """One row per variant; where the network cannot even be built, all of them say why."""
    try:
        checkpoint = build(network)
    except Exception as error:  # a failure of one network is a row of the table, whatever it is
        return [row(name, network, variant, error=reason(error)) for variant in variants]
    return [export_row(name, network, checkpoint, variant) for variant in variants]


def build(network: Network) -> Checkpoint:
    """The network with its exits and random weights."""
    plan = ExitPlan(_EXITS)
    if network.config is None:
        return with_statistics(attach_exits(network.reference, network.shape, _CLASSES, plan, seed=0))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.json"
        path.write_text(json.dumps(network.config), encoding="utf-8")
        return with_statistics(attach_exits(f"hf:{path}", network.shape, _CLASSES, plan, seed=0))


def with_statistics(checkpoint: Checkpoint) -> Checkpoint:
    """The same model whose batch normalisations have the statistics of its samples, and not those they begin with."""
    net = checkpoint.build()
    for module in net.modules():
        if isinstance(module, _BatchNorm):
            module.train().momentum = None  # of this batch alone
    with torch.no_grad():
        net(*checkpoint.samples.values())
        for index, logits in enumerate(net.eval()(*checkpoint.samples.values())):  # (N, classes)
            if logits.std(0).mean() < _ALIVE * logits.square().mean().sqrt():
                raise ValueError(f"exit {index} answers the same to every sample, so parity would show nothing")
    return dataclasses.replace(checkpoint, state=net.state_dict())


def export_row(name: str, network: Network, checkpoint: Checkpoint, variant: str) -> dict[str, Any]:
    """Export to a folder that is thrown away."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        try:
            found, seconds = export(checkpoint, Path(folder), variant, started)
        except Exception as error:
            return row(name, network, variant, checkpoint, time.perf_counter() - started, error=reason(error))
    return row(name, network, variant, checkpoint, seconds, found)


def export(checkpoint: Checkpoint, folder: Path, variant: str, started: float) -> tuple[dict[str, Any], float]:
    """The figures of one column, and the seconds that its export took."""
    if variant == _SINGLE:
        single = export_single(checkpoint, folder / "zoo.onnx")
        return of_single(single), time.perf_counter() - started
    bundle = folder / "zoo.eebundle"
    manifest = export_bundle(checkpoint, bundle, ExportOptions((variant,), references=False, judge_speed=False))
    seconds = time.perf_counter() - started
    return {**of_bundle(manifest, variant), **agreement(checkpoint, bundle)}, seconds


def reason(error: Exception) -> str:
    """What eetool says, or the type and text of what it did not expect."""
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
    """What is known; the rest is null."""
    spec = checkpoint.record.spec if checkpoint else None
    found: dict[str, Any] = {
        "network": name,
        "reference": network.reference,
        "variant": variant,
        "error": error,
        "taps": spec.taps if spec else None,
        "branches": spec.branches if spec else None,
        "seconds": round(seconds, 1) if seconds is not None else None,
    }
    return {**found, **(figures or {})}


def of_single(single: SingleFile) -> dict[str, Any]:
    """Parity and size of a single file."""
    return {
        "max_abs_error": max(parity.max_abs_error for parity in single.exits),
        "error_share_of_allowed": max(p.max_abs_error / p.tolerance for p in single.exits if p.tolerance),
        "size_bytes": single.size_bytes,
    }


def agreement(checkpoint: Checkpoint, bundle: Path) -> dict[str, float]:
    """Share of the samples that leave at the exit they leave at in PyTorch, and of those, that get the same class."""
    net = ScoredNetwork(checkpoint.build()).eval()
    model = load(bundle)
    with torch.no_grad():
        outputs = net(*checkpoint.samples.values(), *(torch.tensor(1.0) for _ in range(net.n_exits)))
    wanted = [array.numpy() for array in outputs]
    answers = model.every_exit({name: array.numpy() for name, array in checkpoint.samples.items()})
    here, there = np.stack(wanted[1::2], 1), np.stack([confidence for _, confidence in answers], 1)  # (N, exits)
    thresholds = spread_thresholds(here)
    mine, theirs = leaves_at(here, thresholds), leaves_at(there, thresholds)  # (N,)
    same = np.flatnonzero(mine == theirs)
    classes = [wanted[2 * mine[i]][i].argmax() == answers[mine[i]][0][i].argmax() for i in same]
    return {"same_exit": len(same) / len(mine), "same_class": float(np.mean(classes)) if classes else 0.0}


def spread_thresholds(confidences: np.ndarray) -> list[float]:
    """Thresholds of the early exits for (N, exits): exit k takes 1/(exits − k) of those that reach it, half way to the
    next, so that rounding decides nothing."""
    left, thresholds = np.arange(len(confidences)), []
    for k in range(confidences.shape[1] - 1):
        order = np.sort(confidences[left, k])
        cut = len(order) - max(1, len(order) // (confidences.shape[1] - k))
        thresholds.append(float(order[max(cut - 1, 0) : cut + 1].mean()))
        left = left[confidences[left, k] < thresholds[-1]]
    return thresholds


def leaves_at(confidences: np.ndarray, thresholds: list[float]) -> np.ndarray:
    """(N, exits) to the exit of each."""
    fires = confidences >= np.array([*thresholds, -np.inf])
    exits: np.ndarray = fires.argmax(1)
    return exits


def of_bundle(manifest: Manifest, variant: str) -> dict[str, Any]:
    """Parity, sizes and boundaries of one variant."""
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
