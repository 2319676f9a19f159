"""Tables of docs/results/microcontrollers.md from what the benchmarks of microcontrollers left in a folder.

    python benchmarks/mcu_memory.py DIR/*/*.eebundle > DIR/memory.json
    python benchmarks/mcu_device_code.py DIR/NETWORK/BUNDLE.eebundle … > DIR/device/NETWORK-BUNDLE-MACHINE.json
    python benchmarks/mcu_tables.py DIR --tables docs/results/data/microcontrollers.json

DIR is that of `mcu.py`. NETWORK is digits, spoken_digits or cifar10, BUNDLE joined or model, MACHINE x86 or arm.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

NETWORKS = {"digits": "ResNet-8, digits", "spoken_digits": "TC-ResNet8, spoken digits", "cifar10": "ResNet-8, CIFAR-10"}
BUNDLES = {"joined": "joined", "model": "separate"}
MACHINES = {"x86": "x86-64", "arm": "32-bit Arm, emulated"}
FLOAT, LITERT, MICRO = "onnx/fp32", "tflite/int8", "tflm/int8"
KIB = 1024
TEXT, NUMBER, SHARES = "text", "number", "shares"
SOURCE = "benchmarks/mcu.py, mcu_memory.py and mcu_device_code.py; tables by mcu_tables.py"


def main() -> None:
    """Write the file of the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--tables", type=Path, required=True)
    settings = parser.parse_args()
    figures = {name: _read(settings.folder / name / "figures.json") for name in NETWORKS}
    joined = {name: _read(settings.folder / name / "joined.json") for name in NETWORKS}
    memory = {Path(path).parent.name + "-" + Path(path).stem: m for path, m in _memory(settings.folder).items()}
    device = {path.stem: _read(path) for path in sorted((settings.folder / "device").glob("*.json"))}
    tables = {
        "accuracy": accuracy(figures, joined),
        "points": points(figures),
        "decisions": decisions(device),
        "arena": arena(device),
        "reserved": reserved(memory),
    }
    text = json.dumps({"source": SOURCE, "tables": tables}, indent=2, ensure_ascii=False)
    settings.tables.write_text(text + "\n", encoding="utf-8")


def accuracy(figures: dict[str, Any], joined: dict[str, Any]) -> dict[str, Any]:
    """Return the accuracy of every exit alone."""
    rows = []
    for name, title in NETWORKS.items():
        variants = figures[name]["variants"]
        whole = (variants[FLOAT], variants[LITERT], joined[name]["variants"][MICRO], variants[MICRO])
        exits = [variant["exit_accuracies"] for variant in whole]
        same = variants[LITERT]["same_class_as_tflite_micro"]
        for i, cells in enumerate(zip(*exits, same, strict=True)):
            rows.append([title, figures[name]["n"], i, *(_percent(c) for c in cells)])
    columns = [("network", TEXT), ("test inputs", NUMBER), ("exit", NUMBER), ("fp32, %", NUMBER)]
    columns += [("LiteRT int8, %", NUMBER), ("TFLM int8, %", NUMBER), ("the same, exits separate, %", NUMBER)]
    return _table([*columns, ("same class in LiteRT and TFLM, %", NUMBER)], rows)


def points(figures: dict[str, Any]) -> dict[str, Any]:
    """Return accuracy and exit shares of every operating point, each fitted on the answers of its variant."""
    rows = []
    for name, title in NETWORKS.items():
        variants = figures[name]["variants"]
        for point in variants[MICRO]["operating_points"]:
            own = [variants[v]["operating_points"][point] for v in (FLOAT, LITERT, MICRO)]
            shares = [_percent(share) for share in own[2]["exit_shares"]]
            rows.append([title, point, *(_percent(p["accuracy"]) for p in own), shares])
    columns = [("network", TEXT), ("point", TEXT), ("fp32, %", NUMBER), ("LiteRT int8, %", NUMBER)]
    return _table([*columns, ("TFLM int8, %", NUMBER), ("leave at exit 0 / 1 / 2 in TFLM, %", SHARES)], rows)


def decisions(device: dict[str, Any]) -> dict[str, Any]:
    """Return how often the emitted source decides as the runtime on the same machine's tflite_micro."""
    rows = []
    for title, exits, machine, d in _runs(device):
        same = [point["same_class_and_exit"] for point in d["points"].values()]
        largest = max(point["largest_confidence_difference"] for point in d["points"].values())
        rows.append([title, exits, machine, d["inputs"], ", ".join(d["points"]), min(same), f"{largest:.1e}"])
    columns = [("network", TEXT), ("exits", TEXT), ("source runs on", TEXT), ("inputs", NUMBER), ("points", TEXT)]
    columns += [("same class and exit, least of the points", NUMBER), ("largest difference of a confidence", TEXT)]
    return _table(columns, rows)


def arena(device: dict[str, Any]) -> dict[str, Any]:
    """Return the smallest arenas in which the cascade and the unsplit network run."""
    rows = []
    for title, exits, machine, d in _runs(device):
        own = d["smallest_arena_bytes"]
        sizes = [own[key] for key in ("working", "persistent", "cascade", "unsplit")]
        rows.append([title, exits, machine, *sizes, round(d["ratio"], 3)])
    columns = [("network", TEXT), ("exits", TEXT), ("TFLM on", TEXT), ("working, bytes", NUMBER)]
    columns += [("records, bytes", NUMBER), ("arena, bytes", NUMBER), ("unsplit network's arena, bytes", NUMBER)]
    return _table([*columns, ("ratio", NUMBER)], rows)


def reserved(memory: dict[str, Any]) -> dict[str, Any]:
    """Return flash and arena as the source reserves them, with room for CMSIS-NN and 64-bit records."""
    rows = []
    for name, title in NETWORKS.items():
        for bundle, exits in BUNDLES.items():
            own = memory[f"{name}-{bundle}"]
            room = own["arena_with_room_for_cmsis_nn"]
            sizes = (own["flash"]["cascade"], own["flash"]["unsplit"], room["cascade"], room["unsplit"])
            rows.append([title, exits, *(round(size / KIB, 1) for size in sizes), room["ratio"]])
    columns = [("network", TEXT), ("exits", TEXT), ("flash, KiB", NUMBER), ("unsplit network's, KiB", NUMBER)]
    columns += [("arena, KiB", NUMBER), ("unsplit network's arena, KiB", NUMBER), ("ratio", NUMBER)]
    return _table(columns, rows)


def _runs(device: dict[str, Any]) -> Iterator[tuple[str, str, str, Any]]:
    for name, title in NETWORKS.items():
        for bundle, exits in BUNDLES.items():
            for machine, where in MACHINES.items():
                yield title, exits, where, device[f"{name}-{bundle}-{machine}"]


def _table(columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
    return {
        "columns": [{"title": title, "kind": kind} for title, kind in columns],
        "rows": [{"cells": list(row)} for row in rows],
    }


def _percent(share: float) -> float:
    return round(100 * share, 1)


def _memory(folder: Path) -> dict[str, Any]:
    return _read(folder / "memory.json")


def _read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


if __name__ == "__main__":
    main()
