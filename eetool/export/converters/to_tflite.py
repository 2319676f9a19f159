"""Conversion of components to TFLite files at batch 1. Tensors keep their names in the file's one signature."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eetool.errors import ArtefactError, MissingError
from eetool.export.split import ComponentModule, output_nodes
from eetool.export.suppress_output import suppress_output


def require_litert_torch() -> Any:
    """Return the converter; raises MissingError with the line that installs it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")  # TensorFlow's notes about itself; its warnings stay
    try:
        with suppress_output():
            import litert_torch
    except ImportError as error:
        raise MissingError(f"the tflite format needs litert-torch: {error}", "pip install eetool[tflite]") from None
    return litert_torch


def export_tflite(component: ComponentModule, inputs: Sequence[Tensor], path: Path) -> None:
    """Write a component as one TFLite file.

    Args:
        component: a component.
        inputs: example inputs at batch 1, which becomes the only batch size.
        path: output file.

    Raises:
        MissingError: litert-torch is not installed.
        ArtefactError: an operator has no TFLite form.
    """
    litert_torch = require_litert_torch()
    example = {name: tensor.contiguous() for name, tensor in zip(component.inputs, inputs, strict=True)}
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with suppress_output(), _mute(), torch.no_grad():
            # Without `enable_x64` token ids would become int32.
            model = litert_torch.convert(
                _Named(component).eval(), sample_kwargs=example, enable_x64=_has_int64(component)
            )
            model.export(str(path))
    except Exception as error:  # the converter raises errors of many libraries
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ArtefactError(f"{component.name}: litert-torch failed: {reason}") from error


class _Named(nn.Module):
    """Component that is called by the names of its tensors, which the converter writes into the file."""

    def __init__(self, component: ComponentModule) -> None:
        super().__init__()
        self.module, self.inputs, self.outputs = component.module, component.inputs, component.outputs

    def forward(self, **tensors: Tensor) -> dict[str, Tensor]:
        results = self.module(*(tensors[name] for name in self.inputs))
        return dict(zip(self.outputs, results, strict=True))


# The converter names every tensor after the modules around it. Long names would enlarge a small int8 file.
_Named.__module__ = _Named.__qualname__ = "m"


def _has_int64(component: ComponentModule) -> bool:
    ends = [node for node in component.module.graph.nodes if node.op == "placeholder"] + output_nodes(component.module)
    return any(node.meta["val"].dtype == torch.int64 for node in ends)


@contextmanager
def _mute() -> Iterator[None]:
    """Silence the standard streams of the process: the converter also writes from C++."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 1)
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(kept[0], 1)
        os.dup2(kept[1], 2)
        for descriptor in (*kept, null):
            os.close(descriptor)
