"""Files of probe networks: determinism, and measurement in every format and precision."""

from collections import Counter
from pathlib import Path

import pytest

from eetool.latency.kernels.kernel import FP32, INT8
from eetool.latency.probes.probe_files import ProbeKind, kernels_of_probe, write_probes
from eetool.latency.probes.probe_network import ProbeNetwork
from eetool_measure.probe_timing import measure_probes


def test_probe_network_model_is_deterministic() -> None:
    one, two = (net.model().SerializeToString(deterministic=True) for net in (ProbeNetwork("mixed", 3),) * 2)
    assert one == two


@pytest.mark.parametrize("kind", [ProbeKind("onnx", INT8), ProbeKind("tflite", INT8), ProbeKind("tflite", FP32)])
def test_measure_probes_every_kind_gives_latencies(kind: ProbeKind, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    pytest.importorskip("ai_edge_quantizer")
    chosen = [ProbeNetwork("plain", 0), ProbeNetwork("residual", 1)]
    assert write_probes(tmp_path / "probes", chosen, kind) == chosen
    measured = measure_probes(tmp_path / "probes", runs=1)
    assert (measured.format, measured.precision) == (kind.format, kind.precision)
    assert all(probe.latency_ms.median > 0 and not probe.kernels for probe in measured.probes)
    count = Counter(kernel.precision for net in chosen for kernel in kernels_of_probe(net, kind))
    assert (count[INT8] > count[FP32]) == (kind.precision == INT8)
