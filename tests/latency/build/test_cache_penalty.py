"""Cache penalty of alternating graphs: fitted on pairs of probes, and added for every component."""

import dataclasses

import pytest

from eetool.latency.build.cache_penalty import fit_cache_penalty, weight_mb
from eetool.latency.estimate.predictor import Predictor
from eetool.latency.probes.probe_files import ProbeKind, kernels_of_probe
from tests.helpers.latency_tables import COMPOSITION, conv, profile, table
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


def test_predictor_exit_adds_cache_penalty_per_component() -> None:
    composition = dataclasses.replace(COMPOSITION, turn_ms=TURN_MS, turn_ms_per_mb=PER_MB)
    latency = dataclasses.replace(table(), compositions=(composition,))
    predictor = Predictor(profile(latency), "onnxruntime", "fp32", 1)
    small, large = (predictor.graph(name, [conv(*sizes)]) for name, sizes in (("s", (8, 8)), ("l", (128, 128))))
    assert large.weight_mb == pytest.approx(128 * 128 * 9 * 4 / 1e6)
    alone = predictor._exit(0, [large]).latency_ms
    assert alone == pytest.approx(composition.call_ms + composition.runtime_ms + large.latency_ms)
    both = predictor._exit(1, [small, large]).latency_ms
    added = 2 * TURN_MS + PER_MB * 2 * small.weight_mb
    assert both == pytest.approx(alone + composition.runtime_ms + small.latency_ms + added)
