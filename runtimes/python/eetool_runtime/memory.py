"""Memory of the components of a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .backends.base import Graph
from .bundle import Bundle
from .machine import resident_bytes
from .manifest import Variant


def memory_figures(bundle: Bundle, variant: Variant, graphs: Mapping[str, Graph]) -> dict[str, Any]:
    """Return the memory that a model uses.

    Returns:
        `loaded` and `not_loaded`, names of components; `loaded_bytes` and `total_bytes`, sizes of their files
        (engines need more); `process_bytes`, resident memory of this process, or None where unknown.
    """
    files = {name: graph.path for name, graph in variant.components.items()}  # one file may hold all
    loaded = [name for name, graph in graphs.items() if getattr(graph, "loaded", True)]
    return {
        "loaded": loaded,
        "not_loaded": [name for name in files if name not in loaded],
        "loaded_bytes": bundle.size_bytes(files[name] for name in loaded),
        "total_bytes": bundle.size_bytes(files.values()),
        "process_bytes": resident_bytes(),
    }
