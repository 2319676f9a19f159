"""A small latency table of a device whose kernel times follow one formula."""

import dataclasses
from typing import Any

from eetool.latency.estimate.predictor import Predictor
from eetool.latency.kernels.kernel import Kernel, work
from eetool.latency.table.hw_profile import DeviceFacts, FigureSource, HwProfile
from eetool.latency.table.kernel_costs import KernelCosts
from eetool.latency.table.table import Composition, LatencyTable, Regression, TableEntry

FACTS = DeviceFacts("soc", "cpu", 4, None, (), ())
SIZES = [(i, o) for i in (8, 16, 32, 64, 128) for o in (8, 16, 32, 64, 128)]


def conv(inner: int, out: int, side: int = 16) -> Kernel:
    return Kernel("conv", {"in_channels": inner, "out_channels": out, "height": side, "width": side, "kernel": 3})


def true_ms(kernel: Kernel) -> float:
    return 0.004 + kernel.macs * 2e-8 + work(kernel).moved_bytes * 1e-8


def entry(kernel: Kernel, **changes: Any) -> TableEntry:
    made = TableEntry(
        "measured", kernel.kind, kernel.shape, kernel.precision, "onnxruntime", 1, "lab", 50, true_ms(kernel), 0.0
    )
    return dataclasses.replace(made, **changes)


COMPOSITION = Composition("fp32", "onnxruntime", 1, "lab", 0.01, 30, 0.03, call_ms=0.004, runtime_ms=0.001)
ENTRIES = tuple(entry(conv(*sizes)) for sizes in SIZES)


def table(*items: Any, entries: tuple[TableEntry, ...] = ENTRIES) -> LatencyTable:
    regressions = tuple(item for item in items if isinstance(item, Regression))
    return LatencyTable(entries, regressions, (COMPOSITION,), frozenset({"lab"}))


def kernel_costs(*items: Any, **named: Any) -> KernelCosts:
    return KernelCosts(table(*items, **named), "board", "onnxruntime", "fp32", 1)


def profile(latency: LatencyTable) -> HwProfile:
    source = FigureSource("lab", "A lab", "CC0-1.0")
    return HwProfile(
        "board", "Board", (), FACTS, (), latency.entries, latency.regressions, latency.compositions, (source,)
    )


def predictor(latency: LatencyTable | None = None, backend: str = "onnxruntime", threads: int = 1) -> Predictor:
    return Predictor(profile(latency or table()), backend, "fp32", threads)
