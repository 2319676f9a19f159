"""Rows of files of weights and of models."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from eetool.graphs.onnx_graph import read_graph
from eetool.model.early_exit import EarlyExitNet
from eetool.model.weights import load_weights
from tests.helpers.input_rows.row import ACCEPTED, CONVERTED, REFUSED, InputRow, Listener

CLASSES = 2
STATE = {"fc.weight": torch.tensor([[1.0], [2.0]]), "fc.bias": torch.tensor([3.0, 4.0])}
VALUES = {name: tensor.tolist() for name, tensor in STATE.items()}


def weights(write: Callable[[Path], object], name: str = "a.pt") -> Callable[[Path], Any]:
    """Return the reading of a file of weights into a network of one layer: its tensors as lists."""

    def read(folder: Path) -> tuple[Any, list[str]]:
        write(folder / name)
        backbone, listener = nn.Sequential(), Listener()
        backbone.add_module("fc", nn.Linear(1, CLASSES))
        load_weights(EarlyExitNet(backbone, {}), folder / name, CLASSES, listener)
        return {key: tensor.tolist() for key, tensor in backbone.state_dict().items()}, listener.lines

    return read


def saved(stored: Any) -> Callable[[Path], Any]:
    """Return the reading of what torch.save has written."""
    return weights(lambda path: torch.save(stored, path))


def named(beginning: str) -> dict[str, Tensor]:
    """Return the tensors with another beginning of their names."""
    return {beginning + name: tensor for name, tensor in STATE.items()}


def no_graph(folder: Path) -> tuple[Any, list[str]]:
    """Read a text as an ONNX file."""
    (folder / "a.onnx").write_text("no graph")
    return read_graph(folder / "a.onnx"), []


def beside(share: float) -> Callable[[Path], Any]:
    """Return the reading of an ONNX file of which a share of the file beside it is there: its MACs."""

    def read(folder: Path) -> tuple[Any, list[str]]:
        text = '<ir_version: 8, opset_import: ["" : 18]> g (float[1,4] x) => (float[1,3] y) { y = MatMul (x, w) }'
        model = onnx.parser.parse_model(text)
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((4, 3), np.float32), "w"))
        place = str(folder / "a.onnx")
        onnx.save(model, place, save_as_external_data=True, location="a.onnx.data", size_threshold=0)
        data = folder / "a.onnx.data"
        data.write_bytes(data.read_bytes()[: int(share * data.stat().st_size)])
        graph = read_graph(folder / "a.onnx")
        return graph.shapes["w"], []

    return read


ROWS = (
    InputRow(
        "`--weights` `.safetensors`, or `.pt` and `.pth` with a state dict",
        ACCEPTED,
        "tensors by their names",
        weights(lambda path: save_file(STATE, path), "a.safetensors"),
        VALUES,
    ),
    InputRow(
        "the same inside of dictionaries, and names that begin with `model.`, `module.`, `_orig_mod.` or any other",
        CONVERTED,
        "the network in it, where all names and shapes fit",
        saved({"epoch": 3, "state_dict": {**named("model.module."), "model.n_averaged": torch.tensor(1)}}),
        VALUES,
        "the weights are those of 'state_dict.model.module'",
    ),
    InputRow(
        "the same of float16, bfloat16 or float64",
        CONVERTED,
        "float32",
        saved({name: tensor.half() for name, tensor in STATE.items()}),
        VALUES,
        "float16 was converted to float32",
    ),
    InputRow(
        "several networks with other values, such as averaged ones",
        REFUSED,
        "which one is meant is not known; `--weights-key` tells it",
        saved({"model": STATE, "model_ema": {name: tensor + 1 for name, tensor in STATE.items()}}),
        "holds several networks: model, model_ema",
    ),
    InputRow(
        "NaN, infinity or negative running variances",
        REFUSED,
        "no network can compute with them",
        saved({**STATE, "fc.bias": torch.tensor([3.0, torch.nan])}),
        "fc.bias: 1 NaN of 2 values",
    ),
    InputRow(
        "integers, complex, quantised or sparse tensors in the place of floats",
        REFUSED,
        "their numbers have another meaning",
        saved({**STATE, "fc.bias": torch.tensor([3, 4])}),
        "fc.bias is int64 where float32 is needed",
    ),
    InputRow(
        "anything but tensors and plain values",
        REFUSED,
        "to read it is to run code",
        saved(nn.Linear(1, 1)),
        "a.pt",
    ),
    InputRow(
        "an ONNX file with weights in a file beside it (`.data`)",
        ACCEPTED,
        "read from the folder of the file",
        beside(1),
        (4, 3),
    ),
    InputRow(
        "the same, where that file is missing or cut off",
        REFUSED,
        "there are no other weights",
        beside(0.5),
        "its weights lie in 'a.onnx.data', which ends at byte 24 of 48 or more",
    ),
    InputRow(
        "a model file that is no ONNX or TFLite graph", REFUSED, "it is damaged or of another kind", no_graph, "a.onnx"
    ),
)
