"""Latency tables from traced probes: overheads are removed, inconsistent probes are excluded."""

import dataclasses

import numpy as np
import pytest

from eetool.latency.build.table_from_traces import (
    consistent_probes,
    fit_overheads,
    make_table_from_traces,
    match_probes,
)
from eetool.latency.build.trace_matching import channel_block, match_trace
from eetool.latency.probes.probe_files import ProbeKind, kernels_of_probe
from eetool_measure.probe_timing import ProbeTime
from tests.helpers.probe_times import DISPATCH_US, NETS, PROFILER_OVERHEAD_US, probe, times, traced, true_us


@pytest.fixture(scope="module")
def probes() -> list[ProbeTime]:
    return [probe(net) for net in NETS]


def test_match_trace_any_order_matches_every_kernel() -> None:
    for net in NETS[:5]:
        kernels, given = kernels_of_probe(net, ProbeKind(), 8), traced(net)
        backwards = sorted(
            given, key=lambda timed: timed.name.partition(".")[0], reverse=True
        )  # steps reversed, kernels of a step in order
        pairs = match_trace(kernels, backwards)
        assert pairs is not None
        for kernel, timed in pairs:
            assert timed.mean_us == pytest.approx(true_us(kernel) + PROFILER_OVERHEAD_US)
        assert match_trace(kernels, given[1:]) is None
        assert match_trace(kernels[1:], given) is None


def test_channel_block_from_reorders_or_1_without(probes: list[ProbeTime]) -> None:
    assert channel_block(probes) == 8
    assert channel_block([dataclasses.replace(probe, kernels=()) for probe in probes]) == 1


def test_fit_overheads_recovers_dispatch_and_profiler_overhead(probes: list[ProbeTime]) -> None:
    known = fit_overheads(match_probes([times(probes)], 8))
    assert known.profiler_overhead_ms * 1e3 == pytest.approx(PROFILER_OVERHEAD_US, rel=0.02)
    assert known.dispatch_ms * 1e3 == pytest.approx(DISPATCH_US, rel=0.2)


def test_make_table_from_traces_entries_have_true_times(probes: list[ProbeTime]) -> None:
    table = make_table_from_traces([times(probes)], "lab")
    composition = table.compositions[0]
    assert (composition.channel_block, composition.call_ms, composition.runtime_ms) == (8, 0.004, 0.001)
    assert composition.n == len(NETS)
    ratios = [entry.ms * 1e3 / true_us(entry.as_kernel) for entry in table.entries]
    assert np.median(ratios) == pytest.approx(1, rel=0.05)
    assert all(entry.count and entry.count >= 60 for entry in table.entries)


def test_match_and_consistent_probes_exclude_scattering_and_inconsistent_probes(probes: list[ProbeTime]) -> None:
    scattered, wrong = probe(NETS[0], mad=0.3), probe(NETS[1], factor=2.0)
    kept = match_probes([times([scattered, wrong, *probes[2:]])], 8)
    assert len(kept) == len(NETS) - 1
    assert len(consistent_probes(kept, fit_overheads(kept))) == len(NETS) - 2


def test_make_table_from_traces_too_few_probes_raises_value_error(probes: list[ProbeTime]) -> None:
    with pytest.raises(ValueError, match="probes could be used"):
        make_table_from_traces([times(probes[:2])], "lab")
