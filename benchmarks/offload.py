"""Offloading over emulated links: faults, decisions, predicted against measured latency, and where it pays.

    python benchmarks/offload.py CIFAR --weights FOLDER --out DIR [--server-python PYTHON] [--prepare | --timed]
        [--chart FILE] [--tables FILE]

CIFAR is the folder of CIFAR-10, and --weights holds the published ResNets, cifar10_resnet20.safetensors and
cifar10_resnet56.safetensors. The main case is a cascade of the two, ResNet-20 on the device and ResNet-56 on the
server, which gets the image in 8 bits. Links are made between two network namespaces, packet by packet, so it needs
root. The server is that of the tests, or KServe with --server-python, the Python of its environment
(tools/make_server_environment.py).

A device is this machine with slower graphs: every call takes as many times as long as the hw profile says of the
cascade at full depth (benchmarks/slow_device). What happens besides graphs keeps the speed of this machine. On every
link the devices are tried from the fastest on, up to the first for which `eetool tune` chooses to ask the server. Where
it chooses not to, the server is asked all the same in a measurement of its own.

Everything lies in DIR and is not made again. --prepare makes only what is not timed: networks, bundles, decisions and
accuracies. --timed ends with the last part that wants a quiet machine. Without them the rest follows: tuning for this
machine, break-even, tables. Prints one JSON document, also written to DIR/results.json.
"""

import argparse
import contextlib
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
    CASES,
    EXACT,
    FEATURES,
    MAIN,
    Case,
    Settings,
    bundle_of,
    examples_of,
    kept,
    prepare,
)
from offload_chart import break_even, write_chart
from offload_devices import ask_all_the_same, choice_here, estimated, measure_devices, slowdowns
from offload_faults import FaultyCalls, run_faulty_calls
from offload_links import LINKS, LazyLink, measure_calls
from offload_tables import write_tables

import eetool_runtime as ee
from eetool_runtime.offload import Offload
from eetool_runtime.offload.model import OffloadingModel
from tests.helpers.inference_server import InferenceServer

PREPARED, TIMED, ALL = "prepared", "timed", "all"
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


def measure_links(settings: Settings, factors: dict[str, float]) -> dict[str, Any]:
    """Return the results of every link: times of calls, and the devices; see `offload_devices.measure_devices`."""
    results = {}
    for number, (name, conditions) in enumerate(LINKS.items()):
        folder = settings.out / f"link{number}"
        folder.mkdir(exist_ok=True)
        with contextlib.ExitStack() as stack:
            link = LazyLink(stack, settings, conditions)
            calls = {
                case.name: kept(
                    folder / f"{case.name}.calls.json", partial(measure_calls, settings, case, folder, link)
                )
                for case in CASES
            }
            results[name] = {
                "round_trip_ms": conditions.round_trip_ms,
                "rate_mbit_s": conditions.rate_mbit_s,
                "calls": calls,
                "devices": measure_devices(settings, folder, link, factors),
            }
            ask_all_the_same(settings, folder, link)
    return results


def tune_here(settings: Settings, links: dict[str, Any]) -> None:
    """Add this machine to the devices of every link."""
    for number, (name, conditions) in enumerate(LINKS.items()):
        with contextlib.ExitStack() as stack:
            link = LazyLink(stack, settings, conditions)
            here = choice_here(settings, settings.out / f"link{number}", link)
        links[name]["devices"].insert(0, here)


def run(settings: Settings, last: str) -> dict[str, Any]:
    """Make or read all parts up to `last`: PREPARED, TIMED or ALL; return the document."""
    prepare(settings)
    out = settings.out
    document: dict[str, Any] = {
        "fp32": kept(out / "fp32.json", partial(decisions, settings, EXACT, DECISIONS)),
        "uint8": kept(out / "uint8.json", partial(decisions, settings, MAIN, settings.limit)),
        "features": kept(out / "features.json", partial(decisions, settings, FEATURES, settings.limit)),
    }
    for name in settings.devices:
        estimated(settings, MAIN, name)
    predicted = {case.network: estimated(settings, case, settings.device) for case in BREAK_EVEN}
    if last == PREPARED:
        return document
    document["faults"] = [
        kept(out / f"faults-{protocol}-{fallback}.json", partial(faults, settings, protocol, fallback))
        for protocol, fallback in (("grpc", "local"), ("http", "best"))
    ]
    factors = kept(out / "slowdown.json", partial(slowdowns, settings))
    document["slowdown"] = {"factors": factors, "provenance": "predicted"}
    document["links"] = measure_links(settings, factors)
    if last == TIMED:
        return document
    tune_here(settings, document["links"])
    document["break_even"] = break_even(settings, document["links"], predicted)
    return document


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the parts that are missing, and print the document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cifar", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--server-python", type=Path, default=None)
    parser.add_argument("--device", default="rpi4", help="Hw profile of the break-even of two networks.")
    devices = ["rpi5", "pixel3", "rpi4", "rpi3", "rpi-zero2w"]
    parser.add_argument("--devices", nargs="+", default=devices, help="Hw profiles for the main cascade.")
    parser.add_argument("--calls", type=int, default=10_000, help="Under faults, for each protocol.")
    parser.add_argument("--link-calls", type=int, default=60, help="Of every cut on every link.")
    parser.add_argument("--runs", type=int, default=100, help="Of every component, to profile a device.")
    parser.add_argument("--images", type=int, default=1000, help="Test images that the cascade answers on every link.")
    parser.add_argument("--passes", type=int, default=3, help="Over those of the images that are timed.")
    parser.add_argument("--limit", type=int, default=None, help="Test images for accuracies.")
    step = parser.add_mutually_exclusive_group()
    step.add_argument("--prepare", action="store_true", help="Only what is not timed.")
    step.add_argument("--timed", action="store_true", help="End with the last part that is timed.")
    parser.add_argument("--chart", type=Path, default=None, help="SVG file of the break-even.")
    parser.add_argument("--tables", type=Path, default=None, help="Data file of docs/results/offload.md.")
    given = vars(parser.parse_args(arguments))
    prepared, timed, chart, tables = (given.pop(name) for name in ("prepare", "timed", "chart", "tables"))
    last = PREPARED if prepared else TIMED if timed else ALL
    given["devices"] = tuple(given["devices"])
    settings = Settings(**{name: v.absolute() if isinstance(v, Path) else v for name, v in given.items()})
    document = run(settings, last)
    if last == ALL and chart is not None:
        write_chart(document["break_even"], chart)
    if tables is not None:
        write_tables(document, tables)
    text = json.dumps(document, indent=1)
    (settings.out / "results.json").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
