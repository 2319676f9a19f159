"""Cycles on an Ethos-U, estimated by Vela, the compiler for it (package `ethos-u-vela`, extra `vela`).

Vela's figures are of its own model of the processor and its memories, not of a device. Operators that it leaves to the
core are in no figure, and are listed.
"""

import csv
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from eetool.errors import ArtefactError, MissingError
from eetool.graphs.tflite_graph import parse_tflite
from eetool.workspace import scratch

PACKAGE = "ethos-u-vela"
SYSTEM, MEMORY_MODE = "Ethos_U55_High_End_Embedded", "Shared_Sram"
_NPU = "CUSTOM"  # the operator that Vela puts in place of those that it compiles
_KIB = 1024


@dataclass(frozen=True)
class VelaEstimate:
    """Vela's figures for one graph.

    Attributes:
        cycles: of the neural processor, at `clock_hz`.
        graph_bytes: of the compiled graph: flash.
        working_bytes: of SRAM.
        core_operators: names of operators that run on the core.
        clock_hz: of the neural processor in Vela's configuration.
    """

    cycles: int
    graph_bytes: int
    working_bytes: int
    core_operators: tuple[str, ...]
    clock_hz: float


def vela_version() -> str:
    """Return the version of the installed Vela; raises MissingError where there is none."""
    if importlib.util.find_spec("ethosu") is None:
        raise MissingError("cycles on an Ethos-U are estimated by Vela", "pip install eetool[vela]")
    return metadata.version(PACKAGE)


def estimate_by_vela(graph: bytes, accelerator: str, where: str) -> VelaEstimate:
    """Return Vela's estimate for a graph.

    Args:
        graph: bytes of a TFLite file of int8 tensors.
        accelerator: configuration such as `ethos-u55-128`.
        where: name of the graph, for messages.

    Raises:
        MissingError: Vela is not installed.
        ArtefactError: Vela cannot compile the graph.
    """
    vela_version()
    with _compiled(graph, accelerator, where) as folder:
        (summary,) = folder.glob("*_summary_*.csv")
        with summary.open(encoding="utf-8", newline="") as file:
            row = next(csv.DictReader(file))
        (compiled,) = folder.glob("*_vela.tflite")
        data = compiled.read_bytes()
        operations = parse_tflite(data, where).operations
    return VelaEstimate(
        round(float(row["cycles_total"])),
        len(data),
        round(float(row["sram_memory_used"]) * _KIB),
        tuple(dict.fromkeys(o.op for o in operations if o.op != _NPU)),
        float(row["core_clock"]),
    )


@contextmanager
def _compiled(graph: bytes, accelerator: str, where: str) -> Iterator[Path]:
    """Yield a folder with what Vela wrote."""
    with scratch() as folder:
        source, output = folder / "graph.tflite", folder / "vela"
        source.write_bytes(graph)
        command = [sys.executable, "-m", "ethosu.vela", str(source), "--output-dir", str(output)]
        command += ["--accelerator-config", accelerator, "--config", "Arm/vela.ini"]
        command += ["--system-config", SYSTEM, "--memory-mode", MEMORY_MODE]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            lines = (done.stderr + done.stdout).strip().splitlines()
            raise ArtefactError(f"{where}: Vela cannot compile it: {lines[-1] if lines else 'no reason given'}")
        yield output
