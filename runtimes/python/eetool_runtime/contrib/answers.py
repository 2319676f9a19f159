"""Requests and answers of a whole bundle in the terms of the Open Inference Protocol, shared by the adapters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..model import Model

_DATATYPES = {
    "bool": "BOOL",
    "float16": "FP16",
    "float32": "FP32",
    "int32": "INT32",
    "int64": "INT64",
    "int8": "INT8",
    "uint8": "UINT8",
}
_OUTPUTS = (("class", "INT64"), ("exit", "INT64"), ("confidence", "FP32"))


def answer(model: Model, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run a batch and return `class` int64, `exit` int64 and `confidence` float32, each (N,).

    Args:
        model: any loaded model; inputs leave at the operating point in use.
        inputs: arrays (N, ...) by name, prepared as the bundle says.

    Raises:
        InputError: a name, shape or dtype is wrong, or values are not finite.
    """
    results = model.batch(dict(inputs))
    return {
        "class": np.array([result.index for result in results], np.int64),
        "exit": np.array([result.exit for result in results], np.int64),
        "confidence": np.array([result.confidence for result in results], np.float32),
    }


def describe_inputs(model: Model) -> list[dict[str, Any]]:
    """Return name, datatype and shape of every input, as in the protocol's metadata; -1 is any size."""
    return [
        {
            "name": i.name,
            "datatype": _DATATYPES[i.dtype],
            "shape": [s if isinstance(s, int) else -1 for s in i.shape],
        }
        for i in model.bundle.manifest.inputs
    ]


def describe_outputs() -> list[dict[str, Any]]:
    """Return name, datatype and shape of every output of `answer`."""
    return [{"name": name, "datatype": datatype, "shape": [-1]} for name, datatype in _OUTPUTS]
