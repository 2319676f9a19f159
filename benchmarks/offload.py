"""Offloading over emulated links: faults, decisions, predicted against measured latency, and where it pays.

    python benchmarks/offload.py CIFAR --weights FOLDER --out DIR [--server-python PYTHON] [--prepare]
        [--chart FILE] [--tables FILE]

CIFAR is the folder of CIFAR-10, and --weights holds the published ResNets, cifar10_resnet20.safetensors and
cifar10_resnet56.safetensors. The main case is a cascade of the two, ResNet-20 on the device and ResNet-56 on the
server, which gets the image in 8 bits. Links are made between two network namespaces, packet by packet, so it needs
root. The server is that of the tests, or KServe with --server-python, the Python of its environment
(tools/make_server_environment.py).

The device is this machine with slower graphs: every call takes as many times as long as the hw profile of --device says
of the cascade at full depth (benchmarks/slow_device). What happens besides graphs keeps the speed of this machine.

Everything lies in DIR and is not made again. --prepare makes only what is not timed: networks, bundles, decisions and
accuracies. The rest wants a quiet machine. Prints one JSON document, also written to DIR/results.json.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # tests.helpers

from offload_cases import (
    BREAK_EVEN,
    CASCADE,
    EXACT,
    FEATURES,
    MAIN,
    Case,
    Settings,
    bundle_of,
    eetool,
    examples_of,
    kept,
    prepare,
)
from offload_chart import break_even, write_chart
from offload_faults import FaultyCalls, run_faulty_calls
from offload_links import measure_links, profile_of
from offload_tables import write_tables

import eetool_runtime as ee
from eetool_runtime.offload import Offload
from eetool_runtime.offload.model import OffloadingModel
from tests.helpers.inference_server import InferenceServer

DECISIONS = 1000
_BATCH = 50
_PATIENT_MS = 60_000.0


def decisions(settings: Settings, case: Case, limit: int | None) -> dict[str, Any]:
    """Compare an offloading model with the local cascade at the same thresholds, and at its own, on test images."""
    path = bundle_of(settings, case)
    inputs, labels = examples_of(settings, case, limit)
    local = ee.load(path)
    with InferenceServer(settings.repository, "grpc") as server:
        remote = ee.load(path, offload=Offload(server.url, timeout_ms=_PATIENT_MS))
        assert isinstance(remote, OffloadingModel)
        remote.check_server()
        own = _answers(local, inputs)
        sent = _answers(remote, inputs)
        local.use(threshold=remote.thresholds)
        alike = _answers(local, inputs)
        figures = remote.stats()["offload"]
        remote.close()
    return {
        "case": case.name,
        "n": len(labels),
        "equal": int((sent == alike).all(axis=0).sum()),
        "share": figures["share"],
        "outcomes": {name: count for name, count in figures["inputs"].items() if count},
        "accuracy": {
            "local": float((own[0] == labels).mean()),
            "offloaded": float((sent[0] == labels).mean()),
            "local, thresholds of offloading": float((alike[0] == labels).mean()),
        },
    }


def _answers(model: ee.Model, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """Return classes and exits, int64 (2, N)."""
    n = len(next(iter(inputs.values())))
    results: list[ee.Result] = []
    for start in range(0, n, _BATCH):
        results += model.batch({name: array[start : start + _BATCH] for name, array in inputs.items()})
    return np.array([[r.index for r in results], [r.exit for r in results]])


def faults(settings: Settings, protocol: str, fallback: str) -> dict[str, Any]:
    """Call the main case under faults."""
    inputs, _ = examples_of(settings, MAIN, 200)
    (array,) = inputs.values()
    examples = [array[i : i + 1] for i in range(len(array))]
    setup = FaultyCalls(
        bundle_of(settings, MAIN), settings.repository, examples, settings.calls, protocol=protocol, fallback=fallback
    )
    return run_faulty_calls(setup)


def estimate(settings: Settings, case: Case) -> dict[str, float]:
    """Return the predicted latency of every component on the device, and of the unsplit network."""
    document = eetool("estimate", bundle_of(settings, case), "--device", settings.device)
    return {graph["name"]: graph["latency_ms"] for graph in document["graphs"]}


def slowdown(settings: Settings) -> float:
    """Return how many times as long the cascade's components take on the device as here."""
    profile = json.loads(profile_of(settings, MAIN, None).read_text(encoding="utf-8"))
    here = sum(c["latency_ms"]["median"] for c in profile["thread_counts"][0]["components"])
    there = sum(kept(settings.out / f"{CASCADE}.estimate.json", partial(estimate, settings, MAIN)).values())
    return round(there / here, 1)


def run(settings: Settings, prepare_only: bool) -> dict[str, Any]:
    """Make or read all parts and return the document."""
    prepare(settings)
    out = settings.out
    document: dict[str, Any] = {
        "fp32": kept(out / "fp32.json", partial(decisions, settings, EXACT, DECISIONS)),
        "uint8": kept(out / "uint8.json", partial(decisions, settings, MAIN, settings.limit)),
        "features": kept(out / "features.json", partial(decisions, settings, FEATURES, settings.limit)),
    }
    predicted = {
        case.network: kept(out / f"{case.network}.estimate.json", partial(estimate, settings, case))
        for case in (MAIN, *BREAK_EVEN)
    }
    if prepare_only:
        return document
    document["faults"] = [
        kept(out / f"faults-{protocol}-{fallback}.json", partial(faults, settings, protocol, fallback))
        for protocol, fallback in (("grpc", "local"), ("http", "best"))
    ]
    factor = kept(out / "slowdown.json", partial(slowdown, settings))
    document["slowdown"] = {"factor": factor, "device": settings.device, "provenance": "predicted"}
    document["links"] = measure_links(settings, factor)
    document["break_even"] = break_even(settings, document["links"], predicted)
    return document


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the parts that are missing, and print the document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cifar", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--server-python", type=Path, default=None)
    parser.add_argument("--device", default="rpi4")
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--link-calls", type=int, default=60)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--limit", type=int, default=None, help="Test images for the accuracy of uint8.")
    parser.add_argument("--prepare", action="store_true")
    parser.add_argument("--chart", type=Path, default=None, help="SVG file of the break-even.")
    parser.add_argument("--tables", type=Path, default=None, help="Data file of docs/results/offload.md.")
    given = vars(parser.parse_args(arguments))
    prepare_only, chart, tables = (given.pop(name) for name in ("prepare", "chart", "tables"))
    settings = Settings(**{name: v.absolute() if isinstance(v, Path) else v for name, v in given.items()})
    document = run(settings, prepare_only)
    if chart is not None and not prepare_only:
        write_chart(document["break_even"], chart)
    if tables is not None and not prepare_only:
        write_tables(document, tables)
    text = json.dumps(document, indent=1)
    (settings.out / "results.json").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
