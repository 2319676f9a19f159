"""The tiny bundle with a server's part: the bundle, and a model repository with what lies behind the cut."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any, Callable

import onnx.parser

from eetool_runtime import Result
from tests.helpers.tiny_bundle import image, with_offload, write_tiny_bundle
from tests.helpers.tiny_graphs import CLASSES, make_parts

EASY, HARD = image(1, 2.0), image(1, 0.25)  # at `balanced` they leave at exits 0 and 2
_TYPES = {"fp32": "float", "fp16": "float16", "uint8": "uint8"}


def write_offload_bundle(
    folder: Path,
    *,
    after_exit: int | None = 0,
    wire: str = "fp32",
    early_exits: int = 2,
    edit: Any = None,
    **tweaks: Any,
) -> tuple[Path, Path]:
    """Write the tiny bundle and the repository of its server into `folder`, and return both paths.

    Args:
        folder: parent of both.
        after_exit: the last exit on the device; None: the image travels.
        wire: precision on the wire.
        early_exits: of the bundle.
        edit: changes the manifest further.
        tweaks: arguments of `write_tiny_bundle`.
    """
    data = tail_graph(after_exit, wire, early_exits)
    name = f"tiny-{hashlib.sha256(data).hexdigest()[:8]}"
    graph = folder / "repository" / name / "1/model.onnx"
    graph.parent.mkdir(parents=True)
    graph.write_bytes(data)

    def describe(document: dict[str, Any]) -> None:
        with_offload(document, after_exit, wire)
        document["offload"]["model"] = name
        if edit is not None:
            edit(document)

    bundle = write_tiny_bundle(folder, early_exits=early_exits, edit=describe, **tweaks)
    return bundle, folder / "repository"


def seen(result: Result) -> tuple[int, str, str, str | None]:
    """Return what a test asks of a result: exit, label, where, and the outcome of the attempt."""
    return result.exit, result.label, result.where, result.offload


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds, for at most 20 s."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def tail_graph(after_exit: int | None, wire: str, early_exits: int) -> bytes:
    """Return the ONNX file of what lies behind an exit of the tiny bundle."""
    first = 0 if after_exit is None else after_exit + 1
    tensor = "input" if after_exit is None else f"features{after_exit}"
    parts = [part for part in make_parts(early_exits, False, False) if int(part.name[-1]) >= first]
    sent = tensor if wire == "fp32" else f"{tensor}_wire"
    reads = [f"{_TYPES[wire]}[batch, 1, 4, 4] {sent}"]
    reads += [f"float[1] exit{k}_temperature" for k in range(first, early_exits + 1)]
    makes = [f"float[batch, {CLASSES}] exit{k}_logits" for k in range(first, early_exits + 1)]
    makes += [f"float[batch] exit{k}_confidence" for k in range(first, early_exits + 1)]
    nodes = _decoding(tensor, wire) + "".join(part.nodes for part in parts)
    text = f'<ir_version: 8, opset_import: ["" : 18]>\ntail ({", ".join(reads)}) => ({", ".join(makes)}) {{{nodes}}}'
    data: bytes = onnx.parser.parse_model(text).SerializeToString(deterministic=True)
    return data


def _decoding(tensor: str, wire: str) -> str:
    """Return the nodes that make float features of what travels; pixels are normalised as the bundle says."""
    if wire == "fp32":
        return ""
    cast = f"{tensor}_wire"
    if wire == "fp16":
        return f"{tensor} = Cast <to = 1> ({cast})\n"
    step = "0.015625" if tensor == "input" else "0.0625"
    nodes = f"number = Cast <to = 1> ({cast})\nstep = Constant <value = float {{{step}}}> ()\n"
    if tensor != "input":
        return nodes + f"{tensor} = Mul (number, step)\n"
    half = "half = Constant <value = float {0.5}> ()\n"
    return nodes + half + f"scaled = Mul (number, step)\ncentred = Sub (scaled, half)\n{tensor} = Div (centred, half)\n"
