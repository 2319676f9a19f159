"""Pieces to TFLite files at batch 1, through litert-torch. Tensors keep their names in the file's one signature."""

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
    """The converter; raises MissingError with the line that installs it."""
    try:
        with suppress_output():
            import litert_torch
    except ImportError as error:
        raise MissingError(f"the tflite format needs litert-torch: {error}", "pip install eetool[tflite]") from None
    return litert_torch


def export_tflite(piece: ComponentModule, inputs: Sequence[Tensor], path: Path) -> None:
    """Write a component as one TFLite file.

    Args:
        inputs: what the component reads, at batch 1, which becomes the only batch size.

    Raises:
        MissingError: litert-torch is not installed.
        ArtefactError: an operator has no TFLite form.
    """
    litert_torch = require_litert_torch()
    example = {name: tensor.contiguous() for name, tensor in zip(piece.inputs, inputs, strict=True)}
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with suppress_output(), _mute(), torch.no_grad():
            # Without `enable_x64` token ids would come out as int32.
            model = litert_torch.convert(_Named(piece).eval(), sample_kwargs=example, enable_x64=_has_int64(piece))
            model.export(str(path))
    except Exception as error:  # the converter raises whatever its many layers do
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ArtefactError(f"{piece.name}: litert-torch failed: {reason}") from error


class _Named(nn.Module):
    """A piece that is called by the names of its tensors, which the converter then writes into the file."""

    def __init__(self, piece: ComponentModule) -> None:
        super().__init__()
        self.module, self.inputs, self.outputs = piece.module, piece.inputs, piece.outputs

    def forward(self, **tensors: Tensor) -> dict[str, Tensor]:
        made = self.module(*(tensors[name] for name in self.inputs))
        return dict(zip(self.outputs, made, strict=True))


# The converter names every tensor after the modules around it, and in a small int8 file long names weigh.
_Named.__module__ = _Named.__qualname__ = "m"


def _has_int64(piece: ComponentModule) -> bool:
    ends = [node for node in piece.module.graph.nodes if node.op == "placeholder"] + output_nodes(piece.module)
    return any(node.meta["val"].dtype == torch.int64 for node in ends)


@contextmanager
def _mute() -> Iterator[None]:
    """The converter also writes from C++, past Python's own streams."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept[0], 1)
        os.dup2(kept[1], 2)
        for descriptor in (*kept, nowhere):
            os.close(descriptor)
