"""Program that writes tflm_graphs/*.tflm for the tests of the TFLM backend: `python -m tests.helpers.make_tflm_graphs`.

It needs litert-torch, ai-edge-quantizer and eetool; the tests of the runtime do not.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import litert_torch
import numpy as np
import torch

from eetool.graphs.calibration_feeds import save_feeds
from eetool.graphs.quantize import QuantizationJob, quantize
from tests.helpers.tflm_bundle import HEAD_WEIGHTS, SEGMENT_WEIGHTS, TAIL_WEIGHTS, TFLM_GRAPHS, float_answers


class Layer(torch.nn.Module):
    """A linear layer between tensors with names, with ReLU where it is a segment."""

    def __init__(self, weights: np.ndarray, source: str, target: str, relu: bool) -> None:
        super().__init__()
        self.weights = torch.nn.Parameter(torch.from_numpy(weights))
        self.source, self.target, self.relu = source, target, relu

    def forward(self, **tensors: torch.Tensor) -> dict[str, torch.Tensor]:
        values = torch.nn.functional.linear(tensors[self.source], self.weights)
        return {self.target: torch.relu(values) if self.relu else values}


LAYERS = {
    "segment0": Layer(SEGMENT_WEIGHTS, "x", "segment0_out", True),
    "exit0": Layer(HEAD_WEIGHTS, "segment0_out", "exit0_logits", False),
    "exit1": Layer(TAIL_WEIGHTS, "segment0_out", "exit1_logits", False),
}

if __name__ == "__main__":
    TFLM_GRAPHS.mkdir(exist_ok=True)
    x = np.random.default_rng(0).uniform(-1, 1, (200, 1, 4)).astype(np.float32)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        feeds = save_feeds(folder, ["x", "segment0_out"], [{"x": row, **float_answers(row)} for row in x])
        for stem, layer in LAYERS.items():
            size = layer.weights.shape[1]
            converted = litert_torch.convert(layer.eval(), sample_kwargs={layer.source: torch.zeros(1, size)})
            converted.export(str(folder / f"{stem}.tflite"))
            earlier = {} if stem == "segment0" else {"segment0_out": str(TFLM_GRAPHS / "segment0.tflm")}
            source, target = str(folder / f"{stem}.tflite"), str(TFLM_GRAPHS / f"{stem}.tflm")
            (problem,) = quantize([QuantizationJob("tflm-static", source, target, feeds.of([layer.source]), earlier)])
            assert problem is None, problem
