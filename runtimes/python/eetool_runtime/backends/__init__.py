"""Backends: the engines that run graph files, chosen by file format.

The library of a backend is imported when its first graph is opened, not before. Of the runtime, only the modules of
this package import an engine. `registry` lists the backends. Entry points: `backend_for`, `open_graph`.
"""

from __future__ import annotations

from .base import PRIVATE, PROCESS, Arrays, Backend, BoundCall, ComponentInterface, Graph, Threads
from .registry import backend_for, open_graph, open_onnx_with_side_files

__all__ = [
    "PRIVATE",
    "PROCESS",
    "Arrays",
    "Backend",
    "BoundCall",
    "ComponentInterface",
    "Graph",
    "Threads",
    "backend_for",
    "open_graph",
    "open_onnx_with_side_files",
]
