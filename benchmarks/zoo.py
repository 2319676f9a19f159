"""Every architecture of the zoo through every variant of the exporter: one JSON document on stdout.

    python benchmarks/zoo.py [--variant onnx/fp32] [--only hf-bert]

Networks are small and have random weights; each gets two early exits where eetool places them. A row gives the largest
error as a share of what is allowed (1e-4 × max(1, max |reference|) for onnx/fp32) over all components, the seconds of
the export, and the bytes of the components beside those of the weights. What fails is listed with its error.
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

import torch
from torch.nn.modules.batchnorm import _BatchNorm
from zoo_networks import NETWORKS, Network

from eetool.errors import EarlyExitError
from eetool.export.variants import VARIANTS
from eetool.export.write import ExportOptions, export_bundle
from eetool.model.checkpoint import Checkpoint
from eetool.train.fit import ExitPlan, attach
from eetool_runtime.manifest import Manifest

_CLASSES = 10
_EXITS = 2


def main() -> int:
    """Export what the command line names and print the document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--variant", action="append", choices=VARIANTS, help="by default all of them")
    parser.add_argument("--only", action="append", choices=list(NETWORKS), metavar="NETWORK", help="by default all")
    options = parser.parse_args()
    rows = []
    for name in options.only or NETWORKS:
        for row in network_rows(name, NETWORKS[name], options.variant or VARIANTS):
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
        return with_statistics(attach(network.reference, network.shape, _CLASSES, plan, seed=0))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.json"
        path.write_text(json.dumps(network.config), encoding="utf-8")
        return with_statistics(attach(f"hf:{path}", network.shape, _CLASSES, plan, seed=0))


def with_statistics(checkpoint: Checkpoint) -> Checkpoint:
    """The same model whose batch normalisations have the statistics of its samples, and not those they begin with."""
    net = checkpoint.build()
    for module in net.modules():
        if isinstance(module, _BatchNorm):
            module.train().momentum = None  # of this batch alone
    with torch.no_grad():
        net(*checkpoint.samples.values())
    return dataclasses.replace(checkpoint, state=net.state_dict())


def export_row(name: str, network: Network, checkpoint: Checkpoint, variant: str) -> dict[str, Any]:
    """Export to a folder that is thrown away."""
    options = ExportOptions((variant,), references=False)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        try:
            manifest = export_bundle(checkpoint, Path(folder) / "zoo.eebundle", options)
        except Exception as error:
            return row(name, network, variant, checkpoint, error=reason(error), seconds=time.perf_counter() - started)
    return row(name, network, variant, checkpoint, manifest, time.perf_counter() - started)


def reason(error: Exception) -> str:
    """What eetool says, or the type and text of what it did not expect."""
    return error.message if isinstance(error, EarlyExitError) else f"unexpected {type(error).__name__}: {error}"


def row(
    name: str,
    network: Network,
    variant: str,
    checkpoint: Checkpoint | None = None,
    manifest: Manifest | None = None,
    seconds: float | None = None,
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
    return {**found, **(figures(manifest, variant) if manifest else {})}


def figures(manifest: Manifest, variant: str) -> dict[str, Any]:
    """Parity, sizes and boundaries of one variant."""
    graphs = manifest.variants[variant].components
    limited = [graph for graph in graphs.values() if graph.tolerance is not None]
    segments = [component for component in manifest.components if component.kind == "segment"]
    return {
        "max_abs_error": max(graph.max_abs_error for graph in graphs.values()),
        "error_share_of_allowed": max((g.max_abs_error / g.tolerance for g in limited if g.tolerance), default=None),
        "size_bytes": sum(manifest.files[path].size_bytes for path in {graph.path for graph in graphs.values()}),
        "weights_bytes": 4 * sum(component.parameters for component in manifest.components),
        "macs": sum(component.macs for component in manifest.components),
        "tensors_over_boundaries": [len(segment.outputs) for segment in segments],
    }


if __name__ == "__main__":
    sys.exit(main())
