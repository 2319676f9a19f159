"""Cascades of MobileNetV2 and EfficientNet-Lite0 at 224 px: predicted mean latencies against `eetool bench`."""

import os
from pathlib import Path
from typing import Any

import torch
from foreign_networks import efficientnet_lite, mobilenet_v2
from table import run
from torch import nn

SIDE = 224
CASCADES = {"mobilenet-v2-224": ("mobilenet", SIDE), "efficientnet-lite0-224": ("lite0", SIDE)}
TOLERANCE = 0.08


def mobilenet() -> nn.Module:
    """Return MobileNetV2 with random weights."""
    return _seeded(mobilenet_v2, 1.0)


def lite0() -> nn.Module:
    """Return EfficientNet-Lite0 with random weights."""
    return _seeded(efficientnet_lite, 1.0, 1.0)


def _seeded(make: Any, *arguments: float) -> nn.Module:
    torch.manual_seed(0)
    network: nn.Module = make(*arguments)
    return network


def compare_cascade(table: Path, model: str, side: int, folder: Path, quick: bool = False) -> dict[str, Any]:
    """Return predicted and measured mean latency of every operating point of a cascade with two early exits.

    Exits are trained on frozen features of the digits, enlarged: which inputs leave does not matter, only that some do.
    """
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    net, bundle = folder / "net.pt", folder / "net.eebundle"
    factory = f"foreign_cascades:{model}"
    data = ["--data", "digits", "--input", f"1x3x{side}x{side}"]
    run("train", factory, *data, "--exits", 2, "--recipe", "frozen", "--epochs", 1, "-o", net)
    named = ["--model", factory]
    run("tune", net, *data, *named, "--max-accuracy-drop", 10, "--drops", "20,40", "-o", folder / "tuned.pt")
    run("export", folder / "tuned.pt", *named, "-o", bundle)
    prediction = run("estimate", bundle, "--device", table, "--threads", 1, "--json")
    passes = ["--passes", 1] if quick else []
    bench = run("bench", bundle, "--data", "digits", "--threads", 1, *passes, "--json")
    measured = {way["name"]: way["latency_ms"]["mean"] for way in bench["ways"]}
    rows = [
        {"point": row["name"], "predicted_ms": row["latency_ms"], "measured_ms": measured[row["name"]]}
        | {"ratio": row["latency_ms"] / measured[row["name"]]}
        for row in prediction["comparison"]["rows"]
        if row["name"] in measured
    ]
    largest = max(abs(row["ratio"] - 1) for row in rows)
    return {"points": rows, "largest_error": largest, "within_8_percent": largest <= TOLERANCE}
