"""Rows of files of weights and of models."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from eetool.graphs.onnx_graph import read_graph
from eetool.model.weights import read_tensors
from tests.helpers.input_rows.row import ACCEPTED, REFUSED, InputRow


def weights(write: Callable[[Path], object], name: str) -> Callable[[Path], Any]:
    """Return the reading of a file of weights: its tensors as lists."""

    def read(folder: Path) -> tuple[Any, list[str]]:
        write(folder / name)
        return {key: tensor.tolist() for key, tensor in read_tensors(folder / name, TENSORS.__contains__).items()}, []

    return read


def no_graph(folder: Path) -> tuple[Any, list[str]]:
    """Read a text as an ONNX file."""
    (folder / "a.onnx").write_text("no graph")
    return read_graph(folder / "a.onnx"), []


TENSORS = {"conv.weight": torch.tensor([1.0, 2.0])}

ROWS = (
    InputRow(
        "`--weights` `.safetensors`, or `.pt` and `.pth` with a state dict",
        ACCEPTED,
        "tensors by their names",
        weights(lambda path: save_file(TENSORS, path), "a.safetensors"),
        {"conv.weight": [1.0, 2.0]},
    ),
    InputRow(
        "`--weights` with anything but tensors and plain values",
        REFUSED,
        "to read it is to run code",
        weights(lambda path: torch.save(torch.nn.Linear(1, 1), path), "a.pt"),
        "a.pt",
    ),
    InputRow(
        "a model file that is no ONNX or TFLite graph", REFUSED, "it is damaged or of another kind", no_graph, "a.onnx"
    ),
)
