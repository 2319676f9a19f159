"""Parts of a manifest that describe components, tensors and the producer."""

from collections.abc import Mapping, Sequence

import onnx
import torch
from torch import Tensor

from eetool import __version__
from eetool.export.split import ComponentModule, Size, batch_multiple
from eetool.graphs.onnx_normalize import IR_VERSION, OPSET
from eetool.model.macs import count_macs, count_parameters
from eetool_runtime import manifest as m


def describe_component(c: ComponentModule, single: Mapping[str, Tensor]) -> m.Component:
    """Return a component with its MACs on the tensors `single` at batch 1."""
    macs = count_macs(c.module, tuple(single[name] for name in c.inputs))
    return m.Component(c.name, c.kind, c.inputs, c.outputs, macs, count_parameters(c.module))


def describe_tensor(example: Tensor, shape: Sequence[Size]) -> m.Tensor:
    """Return type and shape of a tensor; `example` has the type."""
    dimensions = tuple(size if isinstance(size, int) else _symbol(batch_multiple(size)) for size in shape)
    return m.Tensor(str(example.dtype).removeprefix("torch."), dimensions)


def _symbol(batches: int) -> str:
    return m.BATCH if batches == 1 else f"{m.BATCH}_x{batches}"


def describe_producer() -> dict[str, str]:
    """Return the versions that wrote the bundle."""
    return {
        "eetool": __version__,
        "torch": str(torch.__version__),
        "onnx": str(onnx.__version__),
        "opset": str(OPSET),
        "ir_version": str(IR_VERSION),
    }
