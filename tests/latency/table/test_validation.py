"""Validation of latency tables."""

import dataclasses
import math
from typing import Any

import pytest

from eetool.errors import ArtefactError
from eetool.latency.kernels.kernel import Kernel
from eetool.latency.table.table import (
    Composition,
    KernelEnergy,
    LatencyTable,
    Regression,
    RegressionEnergy,
    TableEntry,
)
from eetool.latency.table.validation import check_table

ENTRY = TableEntry("measured", "linear", {"in_features": 4, "out_features": 2}, "fp32", "litert", 1, "lab", 5, 0.5, 0.1)
FITTED = dataclasses.replace(
    ENTRY, kind="fitted", threads=2, count=None, median_ms=None, spread_ms=None, latency_ms=0.4, n=9, cv_error=0.1
)
REGRESSION = Regression("linear", "fp32", "litert", 1, "lab", 0.1, 2.0, 3.0, 9, 0.1)
COMPOSITION = Composition("fp32", "litert", 1, "lab", 0.01, 0, 0.0)


def table(*items: Any) -> LatencyTable:
    def of(kind: type) -> Any:
        return tuple(item for item in items if isinstance(item, kind))

    return LatencyTable(of(TableEntry), of(Regression), of(Composition), frozenset({"lab"}))


def test_check_table_valid_table_passes() -> None:
    check_table(table(ENTRY, FITTED, REGRESSION, COMPOSITION), "t.json")
    assert (ENTRY.ms, FITTED.ms) == (0.5, 0.4)


def test_regression_ms_counts_macs_and_bytes() -> None:
    kernel = Kernel("linear", {"in_features": 1000, "out_features": 500})
    assert math.isclose(REGRESSION.ms(kernel), 0.1 + 2.0 * 0.5 + 3.0 * 4 * (500_000 + 1500) / 1e6)
    energy = RegressionEnergy(0.2, 1.0, 0.0, "core_net")
    assert math.isclose(energy.mj(kernel), 0.2 + 0.5)


@pytest.mark.parametrize(
    ("item", "changes", "message"),
    [
        (ENTRY, {"kind": "guessed"}, r"t.json: table\[0\].kind: expected measured, fitted"),
        (ENTRY, {"kernel": "conv_bn"}, r"table\[0\].shape: unknown kernel 'conv_bn'"),
        (ENTRY, {"shape": {"in_features": 4}}, "needs the size 'out_features'"),
        (ENTRY, {"shape": {**ENTRY.shape, "cin": 4}}, "has no size 'cin'"),
        (ENTRY, {"shape": {**ENTRY.shape, "in_features": 0}}, "in_features of a linear kernel cannot be 0"),
        (REGRESSION, {"pointwise": True}, "only convolutions have a window"),
        (COMPOSITION, {"component_ms": -0.1}, "cannot be negative"),
        (COMPOSITION, {"ratio_error": math.nan}, "cannot be negative"),
        (COMPOSITION, {"cascade_source": "elsewhere"}, "'elsewhere' is not among the sources"),
        (ENTRY, {"count": None}, "a measured entry lacks"),
        (ENTRY, {"count": 0}, "it rests on no measurement"),
        (ENTRY, {"cv_error": 0.1}, "a measured entry holds a figure of the other kind"),
        (ENTRY, {"median_ms": -0.5}, "cannot be negative"),
        (ENTRY, {"median_ms": math.nan}, "cannot be negative or missing"),
        (ENTRY, {"median_ms": 2e6}, "is too long for a kernel; is it in another unit"),
        (ENTRY, {"precision": "fp16"}, r"table\[0\].precision: expected fp32, int8"),
        (ENTRY, {"threads": 0}, "threads: must be at least 1"),
        (ENTRY, {"backend": ""}, "backend: is empty"),
        (ENTRY, {"source": "friend"}, "'friend' is not among the sources"),
        (ENTRY, {"energy": KernelEnergy(0.0, "core_net")}, "0 mJ is impossible; leave unknown energies out"),
        (ENTRY, {"energy": KernelEnergy(math.nan, "core_net")}, "energy: its figures cannot be negative or missing"),
        (ENTRY, {"energy": KernelEnergy(1.0, "socket")}, "energy.scope: expected"),
        (FITTED, {"latency_ms": None}, "a fitted entry lacks"),
        (REGRESSION, {"kernel": "gemm"}, r"regressions\[0\].kernel: expected conv"),
        (REGRESSION, {"ms_per_mb": math.nan}, r"regressions\[0\]: its figures cannot be negative"),
        (REGRESSION, {"n": 0}, "it rests on no measurement"),
        (REGRESSION, {"constant_ms": 0.0, "ms_per_mmac": 0.0, "ms_per_mb": 0.0}, "every kernel takes time"),
        (REGRESSION, {"energy": RegressionEnergy(0.1, -1.0, 0.0, "core_net")}, "cannot be negative"),
        (COMPOSITION, {"dispatch_ms": -0.01}, r"compositions\[0\]: its figures cannot be negative"),
        (COMPOSITION, {"channel_block": 0}, "channel_block: must be at least 1"),
    ],
)
def test_check_table_invalid_item_raises_artefact_error(item: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ArtefactError, match=message):
        check_table(table(dataclasses.replace(item, **changes)), "t.json")


def test_check_table_duplicate_kernel_raises_artefact_error() -> None:
    again = dataclasses.replace(ENTRY, shape={"out_features": 2, "in_features": 4, "rows": 1})
    with pytest.raises(ArtefactError, match=r"table\[1\]: there is an entry for this kernel already"):
        check_table(table(ENTRY, again), "t.json")
    check_table(table(ENTRY, dataclasses.replace(again, threads=2)), "t.json")


def test_check_table_mixed_scopes_raises_artefact_error() -> None:
    core = dataclasses.replace(ENTRY, energy=KernelEnergy(1.0, "core_net"))
    board = dataclasses.replace(FITTED, energy=KernelEnergy(1.0, "board_net"))
    with pytest.raises(ArtefactError, match="different scopes cannot be added: board_net, core_net"):
        check_table(table(core, board), "t.json")
