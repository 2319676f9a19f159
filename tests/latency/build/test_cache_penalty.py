"""Cache penalty of alternating graphs: fitted on pairs of probes, and added for every component."""

import dataclasses

import pytest

from eetool.latency.build.cache_penalty import fit_cache_penalty
from eetool.latency.probes.probe_files import ProbeKind, kernels_of_probe
from eetool.latency.table.weight_streaming import weight_mb
from tests.helpers.probe_times import NETS, probe, times

TURN_MS, PER_MB = 0.006, 0.03


def test_fit_cache_penalty_alternating_probes_recovers_costs() -> None:
    weights = {net.name: weight_mb(kernels_of_probe(net, ProbeKind())) for net in NETS}
    names, timed = [net.name for net in NETS], []
    for number, net in enumerate(NETS):
        alone, partner = probe(net), names[number ^ 1] if number ^ 1 < len(names) else None
        if partner is not None:
            extra = TURN_MS + PER_MB * min(weights[net.name], weights[partner])
            alone = dataclasses.replace(alone, in_turn_ms=alone.latency_ms.median + extra, in_turn_with=partner)
        timed.append(alone)
    assert fit_cache_penalty([times(timed)], ProbeKind()) == pytest.approx((TURN_MS, PER_MB), rel=1e-3)


def test_fit_cache_penalty_without_alternating_probes_is_zero() -> None:
    assert fit_cache_penalty([times([probe(net) for net in NETS])], ProbeKind()) == (0.0, 0.0)
