"""Writer of the graphs that `eetool doctor` runs: relu(conv3x3(x)) with weights of 0.5, 1x3x8x8 to 1x4x6x6.

python tools/make_probes.py eetool/profile/probes
"""

import sys
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from eetool.export.suppress_output import suppress_output


def write_onnx(path: Path) -> None:
    """Write the ONNX graph with opset 18 and IR 8, as the exporter does."""
    weights = numpy_helper.from_array(np.full((4, 3, 3, 3), 0.5, np.float32), "w")
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Relu", ["c"], ["y"])]
    ends = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", (1, 3, 8, 8)), ("y", (1, 4, 6, 6)))
    ]
    graph = helper.make_graph(nodes, "probe", ends[:1], ends[1:], [weights])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path)


def write_tflite(path: Path) -> None:
    """Write the TFLite graph with the converter of the exporter."""
    import litert_torch

    class Probe(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 4, 3, bias=False)
            torch.nn.init.constant_(self.conv.weight, 0.5)

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"y": torch.relu(self.conv(x))}

    with suppress_output():
        litert_torch.convert(Probe().eval(), sample_kwargs={"x": torch.zeros(1, 3, 8, 8)}).export(str(path))


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    write_onnx(folder / "probe.onnx")
    write_tflite(folder / "probe.tflite")
