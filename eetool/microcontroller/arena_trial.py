"""Trial of arenas in a process of its own: in some that are too small, TFLM ends the process.

    python -P -m eetool.microcontroller.arena_trial GRAPH LEAST MOST

Arenas of MOST bytes and ever less are tried, and each in which TFLM loads the graph is printed.
"""

import contextlib
import io
import subprocess
import sys
from pathlib import Path

from eetool.microcontroller.memory_plan import ALIGNMENT
from eetool.workspace import scratch

_MODULE = "eetool.microcontroller.arena_trial"


def smallest_arena(graph: bytes, least: int, most: int) -> int | None:
    """Return the smallest arena in bytes, a multiple of the alignment above `least`, in which TFLM loads a graph.

    Every larger one up to `most` is one in which TFLM loads it, too. None where `most` is too small.
    """
    with scratch() as folder:
        path = folder / "model.tflite"
        path.write_bytes(graph)
        command = [sys.executable, "-P", "-m", _MODULE, str(path), str(least), str(most)]
        loaded = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False).stdout.split()
    return int(loaded[-1]) if loaded else None


def _main(path: str, least: str, most: str) -> None:
    from tflite_micro import runtime

    graph = Path(path).read_bytes()
    first = int(least)
    for size in range(first + (int(most) - first) // ALIGNMENT * ALIGNMENT, first - 1, -ALIGNMENT):
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # it prints a count
                runtime.Interpreter.from_bytes(graph, arena_size=size)
        except RuntimeError:
            return
        sys.stdout.write(f"{size}\n")
        sys.stdout.flush()  # what follows may end the process


if __name__ == "__main__":
    _main(*sys.argv[1:])
