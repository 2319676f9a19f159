"""Validation of latency tables: conditions, shapes, figures, units, and energy scopes."""

import math
from collections.abc import Iterable

from eetool.errors import ArtefactError
from eetool.latency.kernels.kernel import KINDS as KERNELS
from eetool.latency.kernels.kernel import check_shape
from eetool.latency.kernels.speed_class import SPEED_CLASSES
from eetool.latency.table.table import (
    KINDS,
    MEASURED,
    PRECISIONS,
    SCOPES,
    Composition,
    LatencyTable,
    ReferenceSet,
    Regression,
    TableEntry,
)

# Larger figures are in another unit than their name: a kernel of ten minutes, or of a kilojoule.
_MAX_MS, _MAX_MJ = 6e5, 1e6


def check_table(table: LatencyTable, where: str) -> None:
    """Check that a table is consistent and that its figures are possible.

    Args:
        table: the table to check.
        where: where the table comes from, for messages.

    Raises:
        ArtefactError: a field is wrong; the message names it.
    """
    for i, entry in enumerate(table.entries):
        _check_entry(entry, f"{where}: table[{i}]", table.sources)
    for i, regression in enumerate(table.regressions):
        _check_regression(regression, f"{where}: regressions[{i}]", table.sources)
    for i, composition in enumerate(table.compositions):
        _check_composition(composition, f"{where}: compositions[{i}]", table.sources)
    for i, references in enumerate(table.references):
        _check_references(references, f"{where}: references[{i}]", table.sources)
    _check_unique(table.entries, f"{where}: table")
    _check_scopes(table, where)


def require(holds: bool, reason: str) -> None:
    """Raise ArtefactError with `reason` unless the condition holds."""
    if not holds:
        raise ArtefactError(reason)


def require_one_of(value: str, allowed: tuple[str, ...], at: str) -> None:
    """Raise ArtefactError, naming `at`, unless `value` is allowed."""
    require(value in allowed, f"{at}: expected {', '.join(allowed)}, found {value!r}")


def _check_entry(entry: TableEntry, at: str, sources: frozenset[str]) -> None:
    require_one_of(entry.kind, KINDS, f"{at}.kind")
    _check_conditions(entry, at, sources)
    check_shape(entry.kernel, entry.shape, f"{at}.shape")
    measured = (entry.count, entry.median_ms, entry.spread_ms)
    fitted = (entry.latency_ms, entry.n, entry.cv_error)
    own, other = (measured, fitted) if entry.kind == MEASURED else (fitted, measured)
    require(None not in own, f"{at}: a {entry.kind} entry lacks one of its figures")
    require(set(other) == {None}, f"{at}: a {entry.kind} entry holds a figure of the other kind")
    for figure in own:
        _check_figure(figure, at)
    require((entry.count or entry.n or 0) >= 1, f"{at}: it rests on no measurement")
    require(entry.ms <= _MAX_MS, f"{at}: {entry.ms:g} ms is too long for a kernel; is it in another unit?")
    if entry.energy is not None:
        _check_scope(entry.energy.scope, f"{at}.energy")
        energy = entry.energy.energy_mj
        _check_figure(energy, f"{at}.energy")
        require(0 < energy <= _MAX_MJ, f"{at}.energy: {energy:g} mJ is impossible; leave unknown energies out")


def _check_regression(r: Regression, at: str, sources: frozenset[str]) -> None:
    _check_conditions(r, at, sources)
    require_one_of(r.kernel, KERNELS, f"{at}.kernel")
    for figure in (r.constant_ms, r.ms_per_mmac, r.ms_per_mb, r.cv_error):
        _check_figure(figure, at)
    require(r.constant_ms + r.ms_per_mmac + r.ms_per_mb > 0, f"{at}: every kernel takes time")
    require(r.n >= 1, f"{at}: it rests on no measurement")
    require(not r.pointwise or r.kernel == "conv", f"{at}.pointwise: only convolutions have a window")
    if r.energy is not None:
        _check_scope(r.energy.scope, f"{at}.energy")
        for figure in (r.energy.constant_mj, r.energy.mj_per_mmac, r.energy.mj_per_mb):
            _check_figure(figure, f"{at}.energy")


def _check_composition(c: Composition, at: str, sources: frozenset[str]) -> None:
    _check_conditions(c, at, sources)
    optional = (c.turn_ms, c.turn_ms_per_mb, c.component_ms, c.component_error_ms, c.turn_error_ms_per_mb)
    present = (c.family_error, c.plain_ms, c.plain_ms_per_mb, c.speed_error)
    figures = (c.dispatch_ms, c.step_ms, c.call_ms, c.runtime_ms, *(figure or 0.0 for figure in (*optional, *present)))
    if c.streaming is not None:
        figures = (*figures, c.streaming.ms_per_mb, c.streaming.ms_per_kernel)
        require(c.streaming.resident_mb > 0, f"{at}.streaming.resident_mb: must be above 0")
    for figure in (*figures, c.cv_error, float(c.n), c.dispatch_mj or 0.0, c.ratio_error or 0.0):
        _check_figure(figure, at)
    if c.cascade_source is not None:
        require(c.cascade_source in sources, f"{at}.cascade_source: {c.cascade_source!r} is not among the sources")
    require(c.channel_block >= 1, f"{at}.channel_block: must be at least 1")


def _check_references(references: ReferenceSet, at: str, sources: frozenset[str]) -> None:
    _check_conditions(references, at, sources)
    require(len(references.probes) > 0, f"{at}.probes: is empty")
    for i, probe in enumerate(references.probes):
        _check_figure(probe.latency_ms, f"{at}.probes[{i}]")
        require(0 < probe.latency_ms <= _MAX_MS, f"{at}.probes[{i}].latency_ms: {probe.latency_ms:g} ms is impossible")
        for name, share in probe.shares.items():
            require_one_of(name, SPEED_CLASSES, f"{at}.probes[{i}].shares")
            require(0 <= share <= 1, f"{at}.probes[{i}].shares: {share:g} is not a share")


def _check_conditions(
    item: TableEntry | Regression | Composition | ReferenceSet, at: str, sources: frozenset[str]
) -> None:
    require_one_of(item.precision, PRECISIONS, f"{at}.precision")
    require(item.threads >= 1, f"{at}.threads: must be at least 1")
    require(item.backend != "", f"{at}.backend: is empty")
    require(item.source in sources, f"{at}.source: {item.source!r} is not among the sources")


def _check_unique(entries: Iterable[TableEntry], at: str) -> None:
    seen = set()
    for i, entry in enumerate(entries):
        key = (*entry.as_kernel.key, entry.backend, entry.threads)
        require(key not in seen, f"{at}[{i}]: there is an entry for this kernel already")
        seen.add(key)


def _check_scopes(table: LatencyTable, where: str) -> None:
    """Check that all energies have one scope: energies of different scopes cannot be added."""
    energies = [*(entry.energy for entry in table.entries), *(fit.energy for fit in table.regressions)]
    scopes = {energy.scope for energy in energies if energy is not None}
    require(len(scopes) <= 1, f"{where}: energies of different scopes cannot be added: {', '.join(sorted(scopes))}")


def _check_scope(scope: str, at: str) -> None:
    require_one_of(scope, SCOPES, f"{at}.scope")


def _check_figure(figure: float | None, at: str) -> None:
    valid = figure is not None and math.isfinite(figure) and figure >= 0
    require(valid, f"{at}: its figures cannot be negative or missing")
