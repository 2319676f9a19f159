"""Registry of the backends by file format."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from ..errors import BackendError, UsageError
from .base import Backend, Graph, Threads

_BY_FORMAT = {
    "onnx": ("onnx", "onnxruntime", "pip install eetool-runtime[onnx]"),
    "tflite": ("litert", "ai-edge-litert or tflite-runtime", "pip install eetool-runtime[tflite]"),
    "tflm": ("tflm", "tflite-micro", "pip install eetool[mcu]"),
}


def backend_for(graph_format: str) -> Backend:
    """Return the installed backend that runs `graph_format` (`onnx`, `tflite`, `tflm`).

    Raises:
        UsageError: no backend runs this format.
        BackendError: the library is missing; the hint is the command that installs it.
    """
    if graph_format not in _BY_FORMAT:
        raise UsageError(f"no backend runs {graph_format!r} graphs", f"Known formats: {', '.join(_BY_FORMAT)}.")
    module, library, install = _BY_FORMAT[graph_format]
    try:
        backend: Backend = importlib.import_module(f"{__package__}.{module}").BACKEND
    except ImportError as error:
        raise BackendError(f"the {graph_format} backend needs {library}: {error}", install) from None
    return backend


def open_graph(path: Path, threads: Threads = Threads()) -> Graph:  # noqa: B008 - frozen, so safe to share
    """Open one graph file; its suffix names the format. Raises as `backend_for` and `Backend.open` do."""
    return backend_for(Path(path).suffix.lstrip(".")).open(Path(path), threads)


def open_onnx_with_side_files(path: Path, threads: Threads) -> Graph:
    """Open an ONNX file outside of a bundle, whose weights may lie in files of its folder. Raises as `open_graph`."""
    backend: Any = backend_for("onnx")
    graph: Graph = backend.open(path, threads, side_files=True)
    return graph
