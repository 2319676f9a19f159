"""Correction of a latency table by the speed factors of a check."""

from collections.abc import Mapping
from dataclasses import replace

from eetool.latency.check.table_check import ConditionCheck, Conditions, TableCheck
from eetool.latency.kernels.speed_class import CALLS, MEMORY, speed_class
from eetool.latency.table.hw_profile import HwProfile
from eetool.latency.table.table import Composition, TableEntry
from eetool.latency.table.weight_streaming import WeightStreaming
from eetool.wording import counted

Factors = Mapping[str, float]


def correct_profile(profile: HwProfile, check: TableCheck) -> HwProfile:
    """Return the profile at the present speed of its device.

    Latencies of kernels are multiplied by the factor of their class, those of calls by that of calls. Energies stay.
    An int8 graph also has float kernels: entries of a precision that was not checked take the factors of the other.
    """
    parts = {part.conditions: part for part in check.conditions}
    factors = {(part.backend, part.threads): _factors(part) for part in check.conditions}
    own = {conditions: _factors(part) for conditions, part in parts.items()}
    return replace(
        profile,
        table=tuple(
            _entry(entry, own.get(_conditions(entry), factors.get((entry.backend, entry.threads), {})))
            for entry in profile.table
        ),
        compositions=tuple(_composition(c, parts.get(_conditions(c))) for c in profile.compositions),
    )


def check_remarks(check: TableCheck) -> tuple[str, ...]:
    """Return what a check means for estimates, as warnings; none where the table holds as it is."""
    return tuple(remark for part in check.conditions for remark in _remarks(check.device, part))


def _remarks(device: str, part: ConditionCheck) -> list[str]:
    of = f"{part.backend} {part.precision}, {counted(part.threads, 'thread')}"
    applied = [_factor_words(factor.kernels, factor.factor) for factor in part.factors if factor.applied]
    remarks = []
    if applied:
        remarks.append(
            f"{device} is not as fast as when its table was built ({of}), which is applied: {', '.join(applied)}"
        )
    if part.reasons:
        remarks.append(f"the check of {device} ({of}) is not relied on: {'; '.join(part.reasons)}")
    if part.speed_error:
        remarks.append(f"the speed of {device} ({of}) is known to ±{1.645 * part.speed_error:.0%}: intervals are wider")
    return remarks


def _factor_words(kernels: str, factor: float) -> str:
    return f"{kernels} {factor - 1:+.0%}"


def _factors(part: ConditionCheck) -> dict[str, float]:
    return {factor.kernels: factor.factor for factor in part.factors if factor.applied}


def _conditions(item: TableEntry | Composition) -> Conditions:
    return item.backend, item.precision, item.threads


def _entry(entry: TableEntry, factors: Factors) -> TableEntry:
    factor = factors.get(speed_class(entry.as_kernel), 1.0) if factors else 1.0
    if factor == 1.0:
        return entry
    return replace(
        entry,
        median_ms=_times(entry.median_ms, factor),
        spread_ms=_times(entry.spread_ms, factor),
        latency_ms=_times(entry.latency_ms, factor),
    )


def _composition(c: Composition, part: ConditionCheck | None) -> Composition:
    if part is None:
        return c
    calls, memory = (_factors(part).get(name, 1.0) for name in (CALLS, MEMORY))
    return replace(
        c,
        dispatch_ms=c.dispatch_ms * calls,
        step_ms=c.step_ms * calls,
        call_ms=c.call_ms * calls,
        runtime_ms=c.runtime_ms * calls,
        component_ms=_times(c.component_ms, calls),
        turn_ms=_times(c.turn_ms, calls),
        turn_ms_per_mb=_times(c.turn_ms_per_mb, memory),
        plain_ms=_times(c.plain_ms, calls),
        plain_ms_per_mb=_times(c.plain_ms_per_mb, memory),
        speed_error=part.speed_error or None,
        streaming=_streaming(c.streaming, calls, memory),
    )


def _streaming(streaming: WeightStreaming | None, calls: float, memory: float) -> WeightStreaming | None:
    if streaming is None:
        return None
    per_mb, per_kernel = streaming.ms_per_mb * memory, streaming.ms_per_kernel * calls
    return replace(streaming, ms_per_mb=per_mb, ms_per_kernel=per_kernel)


def _times(ms: float | None, factor: float) -> float | None:
    return None if ms is None else ms * factor
