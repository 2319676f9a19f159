"""Networks of timm and torchvision through the commands `train --epochs 0`, `export` and `verify`: one JSON document.

    make test-libraries             or    python benchmarks/export/library_networks.py [--only timm:resnet18]

Needs timm and torchvision, which need another build of torch than `make test` has: `make test-libraries` makes an
environment of its own. Weights are random, scales and biases too, and the statistics of batch normalisations are set
to those of the samples, as in `zoo.py`. A row says how far a network came: the step that failed with its message, or
for each variant the largest error as a share of the tolerance, and the share of samples that leave at the same exit as
in PyTorch. Every command runs in a process of its own, and one that takes longer than `--limit` seconds counts as
failed.
"""

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from zoo import agreement, of_bundle, with_statistics

from eetool.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from eetool_runtime.bundle import open_bundle

_EXITS, _CLASSES = 2, 10
_VARIANTS = ("onnx/fp32", "tflite/fp32")
_SIDE = 64  # pixels; networks that are made for one size only have it in NETWORKS
NETWORKS = {
    "timm:resnet18": _SIDE,
    "timm:repvgg_a0": _SIDE,
    "timm:regnety_002": _SIDE,
    "timm:ghostnet_100": _SIDE,
    "timm:mobilenetv3_small_100": _SIDE,
    "timm:mobilenetv4_conv_small": _SIDE,
    "timm:mobileone_s0": _SIDE,
    "timm:efficientnet_lite0": _SIDE,
    "timm:tf_efficientnetv2_b0": _SIDE,
    "timm:starnet_s1": _SIDE,
    "timm:convnext_atto": _SIDE,
    "timm:poolformerv2_s12": _SIDE,
    "timm:edgenext_xx_small": _SIDE,
    "timm:mobilevit_xxs": _SIDE,
    "timm:fastvit_t8": _SIDE,
    "timm:levit_128s": 224,
    "timm:vit_tiny_patch16_224": _SIDE,
    "timm:mixer_s32_224": _SIDE,
    "timm:swin_tiny_patch4_window7_224": 224,
    "torchvision:mobilenet_v2": _SIDE,
    "torchvision:mobilenet_v3_small": _SIDE,
    "torchvision:shufflenet_v2_x0_5": _SIDE,
    "torchvision:squeezenet1_1": _SIDE,
    "torchvision:mnasnet0_5": _SIDE,
    "torchvision:regnet_y_400mf": _SIDE,
    "torchvision:efficientnet_b0": _SIDE,
    "torchvision:densenet121": _SIDE,
    "torchvision:googlenet": _SIDE,
    "torchvision:swin_t": 224,
}


class StepError(Exception):
    """A command that failed; the text is its message."""


def main() -> int:
    """Take the networks of the command line through the commands and print the document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", action="append", choices=list(NETWORKS), metavar="NETWORK", help="by default all")
    parser.add_argument("--limit", type=int, default=900, help="seconds of one command")
    options = parser.parse_args()
    rows = []
    for name in options.only or NETWORKS:
        rows.append(network_row(name, NETWORKS[name], options.limit))
        print(f"{name:40} {rows[-1]['seconds']:6.0f} s  {rows[-1]['error'] or 'ok'}", file=sys.stderr, flush=True)
    failed = [f"{row['network']}: {row['error']}" for row in rows if row["error"]]
    document = {"schema": "library_networks/1", "exits": _EXITS, "rows": rows}
    print(json.dumps({**document, "passed": len(rows) - len(failed), "failed": failed}, indent=2))
    return 4 if failed else 0


def network_row(name: str, side: int, limit: int) -> dict[str, Any]:
    """Return the row of one network."""
    row: dict[str, Any] = {"network": name, "side": side, "taps": None, "branches": None, "variants": {}, "error": None}
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        try:
            row.update(_through_the_commands(name, side, Path(folder), limit))
        except Exception as error:  # a failure of one network is a row of the table, whatever it is
            row["error"] = str(error) if isinstance(error, StepError) else f"{type(error).__name__}: {error}"
    return {**row, "seconds": round(time.perf_counter() - started, 1)}


def _through_the_commands(name: str, side: int, folder: Path, limit: int) -> dict[str, Any]:
    model, bundle = folder / "model.pt", folder / "model.eebundle"
    shape = ("--input", f"1x3x{side}x{side}", "--classes", str(_CLASSES))
    _command(limit, "train", name, "--epochs", "0", "--exits", str(_EXITS), *shape, "-o", str(model))
    checkpoint = with_statistics(_with_varied_scales(load_checkpoint(model)))
    save_checkpoint(model, checkpoint, force=True)
    formats = [word for variant in _VARIANTS for word in ("--format", variant.partition("/")[0])]
    _command(limit, "export", str(model), *formats, "--no-reference", "-o", str(bundle))
    _command(limit, "verify", str(bundle))
    manifest = open_bundle(bundle).manifest
    rows = {
        variant: {**of_bundle(manifest, variant), **agreement(checkpoint, bundle, variant)} for variant in _VARIANTS
    }
    return {"taps": checkpoint.record.spec.taps, "branches": checkpoint.record.spec.branches, "variants": rows}


def _with_varied_scales(checkpoint: Checkpoint) -> Checkpoint:
    """Add noise to scales and biases that begin with one value, such as a residual branch's scale of zero.

    A converter drops what is multiplied by zero, and parity would show nothing of it.
    """
    noise = torch.Generator().manual_seed(0)
    state = {
        name: x + torch.rand(x.shape, generator=noise) - 0.5 if _is_constant_vector(name, x) else x
        for name, x in checkpoint.state.items()
    }
    return dataclasses.replace(checkpoint, state=state)


def _is_constant_vector(name: str, x: Tensor) -> bool:
    plain = x.is_floating_point() and x.squeeze().ndim == 1 and x.numel() > 1
    return plain and not name.endswith(("running_mean", "running_var")) and bool((x == x.flatten()[0]).all())


def _command(limit: int, *words: str) -> None:
    """Run one command of eetool; raises StepError with its message where it fails."""
    command = [sys.executable, "-m", "eetool", *words, "--quiet"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        raise StepError(f"{words[0]}: not finished after {limit} s") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith(("error", "  "))] or [done.stderr[-400:]]
        raise StepError(f"{words[0]}: exit {done.returncode}: {' '.join(line.strip() for line in lines[:4])}")


if __name__ == "__main__":
    sys.exit(main())
