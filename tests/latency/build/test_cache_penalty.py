"""Graphs that run in turn take each other's caches: found from pairs of probes, and added for every component."""

import dataclasses

import pytest
from test_assemble import NETS, probe, times
from test_predict import COMPOSITION, conv, profile, table

from eetool.latency.build.cache_penalty import fit_cache_penalty, weight_mb
from eetool.latency.estimate.predictor import Predictor
from eetool.latency.probes.probe_files import ProbeKind, kernels_of_probe

TURN_MS, PER_MB = 0.006, 0.03


def test_costs_are_found_in_pairs() -> None:
    weights = {net.name: weight_mb(kernels_of_probe(net, ProbeKind())) for net in NETS}
    names, timed = [net.name for net in NETS], []
    for number, net in enumerate(NETS):
        alone, partner = probe(net), names[number ^ 1] if number ^ 1 < len(names) else None
        if partner is not None:
            extra = TURN_MS + PER_MB * min(weights[net.name], weights[partner])
            alone = dataclasses.replace(alone, in_turn_ms=alone.latency_ms.median + extra, in_turn_with=partner)
        timed.append(alone)
    assert fit_cache_penalty([times(timed)], ProbeKind()) == pytest.approx((TURN_MS, PER_MB), rel=1e-3)


def test_what_nobody_measured_costs_nothing() -> None:
    assert fit_cache_penalty([times([probe(net) for net in NETS])], ProbeKind()) == (0.0, 0.0)


def test_components_pay_for_each_others_weights() -> None:
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
