"""Arena and flash of cascades for microcontrollers, beside those of the networks without early exits.

    python benchmarks/mcu_memory.py BUNDLE [BUNDLE ...]

Bundles are those of `eetool export --target mcu`, such as `mcu.py` makes; with their reference graphs. Everything is
measured by tflite_micro with its reference kernels and 64-bit pointers. Prints one JSON document.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from eetool.microcontroller.arena_measurement import allocator_bytes
from eetool.microcontroller.cascade import VARIANT, read_cascade
from eetool.microcontroller.footprint import footprint, measure_graph
from eetool.microcontroller.memory_plan import plan_memory
from eetool_runtime import open_bundle


def main() -> None:
    """Measure the bundles, and print the document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE")
    settings = parser.parse_args()
    print(json.dumps({str(path): memory_figures(path) for path in settings.bundles}, indent=2))


def memory_figures(path: Path) -> dict[str, Any]:
    """Return the memory of a bundle's cascade and of its unsplit network, in bytes."""
    bundle = open_bundle(path)
    cascade = read_cascade(bundle)
    plan = plan_memory(cascade)
    graphs = [measure_graph(c.graph, c.file) for c in cascade.components]
    allocator = allocator_bytes()
    whole = footprint(plan, graphs, allocator)
    reference = bundle.variant(VARIANT).references["unsplit"]
    unsplit = measure_graph(bundle.file(reference).read_bytes(), reference)
    measured = whole.measured_working_bytes + whole.persistent_bytes
    persistent = unsplit.persistent_bytes + allocator
    alone = unsplit.measured_working_bytes + persistent
    return {
        "flash": {"cascade": whole.graph_bytes, "unsplit": unsplit.graph_bytes},
        "working": {"cascade": whole.measured_working_bytes, "unsplit": unsplit.measured_working_bytes},
        "persistent": {"cascade": whole.persistent_bytes, "unsplit": persistent},
        "arena": {"cascade": measured, "unsplit": alone, "ratio": round(measured / alone, 3)},
        "arena_with_room_for_cmsis_nn": {
            "cascade": whole.arena_bytes,
            "unsplit": unsplit.working_bytes + persistent,
            "ratio": round(whole.arena_bytes / (unsplit.working_bytes + persistent), 3),
        },
        "components": [
            {
                "name": c.name,
                "flash": graph.graph_bytes,
                "working": graph.measured_working_bytes,
                "waiting": waiting,
                "persistent": graph.persistent_bytes,
            }
            for c, graph, waiting in zip(cascade.components, graphs, plan.waiting_bytes, strict=True)
        ],
    }


if __name__ == "__main__":
    main()
