"""Cost of plain calls: a constant and a time per megabyte, from probes that were called both ways."""

from dataclasses import replace

import pytest

from eetool.latency.build.plain_calls import fit_plain_calls, plain_call_ms
from eetool.latency.table.table import Composition
from eetool_measure.probe_timing import ProbeTimes
from tests.helpers.probe_times import NETS, probe, times


def called_both_ways(count: int, disturbed: bool = False) -> ProbeTimes:
    probes = [probe(net) for net in NETS]
    for i in range(count):
        megabytes = 0.1 * (i + 1)
        more_ms = 0.01 + 0.2 * megabytes + (3.0 if disturbed and i == 0 else 0.0)
        probes[i] = replace(probes[i], plain_more_ms=more_ms, io_bytes=int(1e6 * megabytes))
    return times(probes)


@pytest.mark.parametrize(("disturbed", "tolerance"), [(False, 0.001), (True, 0.02)])
def test_fit_plain_calls_finds_constant_and_copies(disturbed: bool, tolerance: float) -> None:
    constant, per_mb = fit_plain_calls([called_both_ways(12, disturbed)])
    assert constant == pytest.approx(0.01, abs=tolerance)
    assert per_mb == pytest.approx(0.2, abs=tolerance)


def test_fit_plain_calls_of_few_probes_is_not_known() -> None:
    assert fit_plain_calls([called_both_ways(3)]) == (None, None)


def test_plain_call_ms_adds_the_relation_to_a_bound_call() -> None:
    known = Composition("fp32", "onnxruntime", 1, "lab", 0.01, 30, 0.03, plain_ms=0.01, plain_ms_per_mb=0.2)
    assert plain_call_ms(known, 1.0, 2.0) == pytest.approx(1.41)
    assert plain_call_ms(replace(known, plain_ms=None), 1.0, 2.0) is None
