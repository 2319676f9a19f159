"""Cascades of MobileNetV2 and EfficientNet-Lite0 at 224 px: predicted mean latencies against `eetool bench`."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from foreign_networks import efficientnet_lite, mobilenet_v2
from PIL import Image
from table import run
from torch import nn

SIDE = 224
_DIRECTIONS = 4
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
    network: nn.Sequential = make(*arguments)
    head = network[-1]
    assert isinstance(head, nn.Sequential)
    assert isinstance(head[-1], nn.Linear)
    head[-1] = nn.Linear(head[-1].in_features, _DIRECTIONS)
    return network


def write_pictures(folder: Path, side: int, count: int = 480) -> None:
    """Write noisy stripes of four directions, a folder for each."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:side, :side] / side
    for index in range(count):
        direction = index % _DIRECTIONS
        angle, phase = np.pi * direction / _DIRECTIONS, rng.uniform(0, 2 * np.pi)
        stripes = np.sin(2 * np.pi * 6 * (rows * np.sin(angle) + columns * np.cos(angle)) + phase)
        pixels = 128 + 60 * stripes[..., None] + rng.normal(0, rng.uniform(5, 120), (side, side, 3))
        path = folder / f"direction{direction}" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)


def compare_cascade(table: Path, model: str, side: int, folder: Path, quick: bool = False) -> dict[str, Any]:
    """Return predicted and measured mean latency of every operating point of a cascade with two early exits.

    Exits are trained on frozen random features of noisy stripes. Which inputs leave early does not matter, only that
    some do.
    """
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    net, bundle = folder / "net.pt", folder / "net.eebundle"
    factory = f"foreign_cascades:{model}"
    write_pictures(folder / "pictures", side)
    data = ["--data", f"folder:{folder / 'pictures'}@{side}"]
    weights = folder / "weights.pt"
    torch.save(globals()[model]().state_dict(), weights)
    run("train", factory, *data, "--weights", weights, "--exits", 2, "--recipe", "frozen", "--epochs", 1, "-o", net)
    named = ["--model", factory]
    run("tune", net, *data, *named, "--max-accuracy-drop", 10, "--drops", "20,40", "-o", folder / "tuned.pt")
    run("export", folder / "tuned.pt", *named, "-o", bundle)
    prediction = run("estimate", bundle, "--device", table, "--threads", 1, "--json")
    passes = ["--passes", 1] if quick else []
    bench = run("bench", bundle, *data, "--threads", 1, *passes, "--json")
    measured = {way["name"]: way["latency_ms"]["mean"] for way in bench["ways"]}
    rows = [
        {"point": row["name"], "predicted_ms": row["latency_ms"], "measured_ms": measured[row["name"]]}
        | {"ratio": row["latency_ms"] / measured[row["name"]]}
        for row in prediction["comparison"]["rows"]
        if row["name"] in measured
    ]
    largest = max(abs(row["ratio"] - 1) for row in rows)
    return {"points": rows, "largest_error": largest, "within_8_percent": largest <= TOLERANCE}
