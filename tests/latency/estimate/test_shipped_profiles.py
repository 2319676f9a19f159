"""Shipped hw profiles: their predictions, conditions and uncertainty."""

import json
import math
from pathlib import Path
from types import ModuleType

import onnx
import onnxruntime
import pytest
from click.testing import CliRunner

from eetool.cli.app import cli
from eetool.graphs.onnx_graph import graph_from_model
from eetool.latency.estimate.cascade_cost import CascadeLayout
from eetool.latency.estimate.coverage import POINTWISE, coverage
from eetool.latency.estimate.graph_cost import GraphCost
from eetool.latency.estimate.power_model import board_power_w
from eetool.latency.estimate.predictor import Predictor
from eetool.latency.kernels.from_onnx import kernels_from_graph, total_macs
from eetool.latency.kernels.kernel import Kernel
from eetool.latency.table.hw_profile import find_device, known_devices
from eetool.latency.table.kernel_costs import GUESSED, REGRESSION
from eetool.latency.table.table import LITERT, ONNXRUNTIME
from tests.helpers.scripts import load_script

BOARDS = ("pixel3", "rpi-zero2w", "rpi3", "rpi4", "rpi5")


@pytest.fixture(scope="module")
def nas201() -> ModuleType:
    return load_script("benchmarks/latency/nas201.py")


@pytest.fixture(scope="module")
def heavy(nas201: ModuleType) -> onnx.ModelProto:
    """The NAS-Bench-201 network with 3×3 convolutions everywhere."""
    made: onnx.ModelProto = nas201.network([3] * 6)
    return made


def cost(model: onnx.ModelProto, device: str, backend: str, threads: int = 1, precision: str = "fp32") -> GraphCost:
    kernels = kernels_from_graph(
        graph_from_model(onnx.ModelProto.FromString(model.SerializeToString()), "net"), sums=backend != LITERT
    )
    return Predictor(find_device(device), backend, precision, threads).graph("net", kernels)


def test_nas201_network_has_published_macs_and_parameters(heavy: onnx.ModelProto) -> None:
    """220.12 million MACs and 1.53 million parameters, by NAS-Bench-201's own count."""
    kernels = kernels_from_graph(graph_from_model(onnx.ModelProto.FromString(heavy.SerializeToString()), "net"))
    assert total_macs(kernels) / 1e6 == pytest.approx(220.12, rel=0.01)
    parameters = sum(math.prod(weights.dims) for weights in heavy.graph.initializer)
    assert parameters / 1e6 == pytest.approx(1.53, rel=0.01)
    session = onnxruntime.InferenceSession(heavy.SerializeToString(), providers=["CPUExecutionProvider"])
    assert session.get_outputs()[0].shape == [1, 10]


@pytest.mark.parametrize(
    ("ops", "onnx_ran", "litert_ran"),
    [
        ([3, 3, 3, 3, 3, 3], [3, 3, 3, 3, 3, 3], [3, 3, 3, 3, 3, 3]),
        ([3, 1, 3, 1, 0, 0], [3, 1, 3, 1, 0, 0], [0, 0, 0, 1, 0, 0]),  # what does not reach the output
        ([0, 1, 4, 1, 3, 4], [0, 1, 4, 1, 3, 4], [0, 1, 0, 1, 3, 4]),  # a mean of nothing, a convolution of nothing
    ],
)
def test_nas201_ran_gives_operators_that_reach_the_output(
    nas201: ModuleType, ops: list[int], onnx_ran: list[int], litert_ran: list[int]
) -> None:
    assert nas201.ran(ops, "onnx") == onnx_ran
    assert nas201.ran(ops, "litert") == litert_ran


def test_nas201_parts_counts_merged_poolings_and_sums(nas201: ModuleType) -> None:
    """Two poolings of the input are one where they are merged; three terms at the output are two sums."""
    assert nas201.parts([2, 4, 3, 4, 1, 1], "litert", merges=False) == [1, 1, 1, 2, 3]
    assert nas201.parts([2, 4, 3, 4, 1, 1], "litert", merges=True) == [1, 1, 1, 1, 3]


def test_kernels_from_graph_equal_operators_run_once(nas201: ModuleType) -> None:
    model = nas201.network([4, 4, 4, 4, 4, 4])  # per cell: poolings of nodes 0, 0, 1, 0, 1 and 2
    once = kernels_from_graph(graph_from_model(onnx.ModelProto.FromString(model.SerializeToString()), "net"))
    every = kernels_from_graph(
        graph_from_model(onnx.ModelProto.FromString(model.SerializeToString()), "net"), repeats=True
    )
    assert sum(kernel.kind == "pool" for kernel in once) == 15 * 3 + 2
    assert sum(kernel.kind == "pool" for kernel in every) == 15 * 6 + 2


@pytest.mark.parametrize("device", BOARDS)
def test_predictor_every_board_predicts_its_fitted_network(device: str, heavy: onnx.ModelProto) -> None:
    found = cost(heavy, device, LITERT)
    low, high = found.interval_ms
    assert 0 < low < found.latency_ms < high < 2 * found.latency_ms
    assert found.unknown_operators == ()


def test_predictor_slower_boards_have_larger_latencies(heavy: onnx.ModelProto) -> None:
    times = [cost(heavy, device, LITERT).latency_ms for device in ("rpi5", "rpi4", "rpi3", "rpi-zero2w")]
    assert times == sorted(times)


def test_predictor_energy_has_scope_of_the_table(heavy: onnx.ModelProto) -> None:
    for backend in (ONNXRUNTIME, LITERT):
        energy = cost(heavy, "rpi5", backend).energy_mj
        assert (energy.provenance, energy.scope) == ("predicted", "core_net")
        assert energy.value is not None
    energy = cost(heavy, "rpi4", LITERT).energy_mj
    assert (energy.provenance, energy.scope) == ("estimated", "board_gross")
    assert cost(heavy, "pixel3", LITERT).energy_mj.value is None  # its power is not published


@pytest.mark.parametrize("asked", [(ONNXRUNTIME, "fp32", 1), (LITERT, "int8", 1), (LITERT, "fp32", 4)])
def test_predictor_other_conditions_widen_interval_and_warn(
    heavy: onnx.ModelProto, asked: tuple[str, str, int]
) -> None:
    exact, (backend, precision, threads) = cost(heavy, "rpi4", LITERT), asked
    other = cost(heavy, "rpi4", backend, threads, precision)
    assert other.interval_ms[1] / other.latency_ms > exact.interval_ms[1] / exact.latency_ms
    assert Predictor(find_device("rpi4"), *asked).kernel_costs.warnings


def test_board_power_w_interpolates_between_idle_and_stress() -> None:
    rpi4 = find_device("rpi4")
    assert board_power_w(rpi4, 4) == 5.0
    assert board_power_w(rpi4, 1) == pytest.approx(1.6 + 3.4 / 4)
    assert board_power_w(find_device("pixel3"), 1) is None


def test_predictor_given_watts_replace_energy_of_the_table(heavy: onnx.ModelProto) -> None:
    kernels = kernels_from_graph(
        graph_from_model(onnx.ModelProto.FromString(heavy.SerializeToString()), "net"), sums=False
    )
    found = Predictor(find_device("rpi5"), LITERT, "fp32", 1, watts=4.0).graph("net", kernels)
    assert found.energy_mj.value == pytest.approx(4.0 * found.latency_ms)
    assert (found.energy_mj.provenance, found.energy_mj.scope) == ("estimated", "board_gross")


def test_shipped_profiles_hold_fits_with_errors_and_no_rows() -> None:
    for profile in known_devices():
        assert all(entry.kind == "fitted" for entry in profile.table)
        assert len(profile.regressions) <= 8
        for fit in (*profile.regressions, *profile.compositions):
            assert fit.n >= 4
            assert 0 < fit.cv_error < 0.6


@pytest.mark.parametrize("device", BOARDS)
def test_devices_command_prints_one_profile(device: str) -> None:
    result = CliRunner().invoke(cli, ["devices", device])
    assert result.exit_code == 0, result.stderr
    for said in ("conv", "fitted", "networks left out", "whole graphs, litert fp32, 1 thread", "source hw-nas-bench"):
        assert said in result.stdout
    document = json.loads(CliRunner().invoke(cli, ["devices", device, "--json"]).stdout)
    assert (document["schema"], document["name"]) == ("hw_profile/1", device)


def test_devices_command_prints_measured_and_fitted_entries(tmp_path: Path) -> None:
    golden = Path(__file__).parents[2] / "golden/hw_profile-1.json"
    result = CliRunner().invoke(cli, ["devices", str(golden)])
    assert result.exit_code == 0, result.stderr
    kinds = {entry["kind"] for entry in json.loads(golden.read_text())["table"]}
    assert kinds == {"measured", "fitted"}
    assert "median of" in result.stdout
    assert "measurements, ±" in result.stdout


def test_devices_command_unknown_device_suggests_a_name() -> None:
    result = CliRunner().invoke(cli, ["devices", "rpi44"])
    assert result.exit_code == 5
    assert "Did you mean rpi4" in result.stderr


def test_profile_command_onnx_file_is_predicted(heavy: onnx.ModelProto, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(heavy, path)
    result = CliRunner().invoke(cli, ["profile", str(path), "--device", "rpi4", "--variant", "tflite/fp32", "--json"])
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["graphs"][0]["energy_mj"]["provenance"] == "estimated"
    assert document["warnings"] == []
    result = CliRunner().invoke(cli, ["profile", str(path), "--device", "rpi4", "--power", "hwmon"])
    assert result.exit_code == 2
    assert "is predicted" in result.stderr


def block(channels: int, size: int, expansion: int = 6) -> list[Kernel]:
    """An inverted residual block: expansion, depthwise convolution, projection."""
    inner = channels * expansion
    sizes = {"height": size, "width": size}
    return [
        Kernel("conv", {"in_channels": channels, "out_channels": inner, "kernel": 1, **sizes}),
        Kernel("depthwise", {"channels": inner, "kernel": 3, **sizes}),
        Kernel("conv", {"in_channels": inner, "out_channels": channels, "kernel": 1, **sizes}),
    ]


@pytest.mark.parametrize(
    ("device", "least_ms", "most_ms"),
    # 26 MMAC; the Pi 5 is three to ten times as fast.
    [("rpi4", 5.0, 20.0), ("rpi5", 1.0, 6.0), ("rpi3", 7.0, 45.0)],
)
def test_predictor_depthwise_blocks_rest_on_operator_table(device: str, least_ms: float, most_ms: float) -> None:
    predictor = Predictor(find_device(device), LITERT, "fp32", 1)
    kernels = block(64, 14) * 3
    costs = [predictor.kernel_costs.latency(kernel) for kernel in kernels]
    assert least_ms < predictor.graph("blocks", kernels).latency_ms < most_ms
    assert {cost.basis for cost in costs} == {REGRESSION}
    assert all(0 < cost.deviation < 0.6 for cost in costs)
    kinds = {row.kernel: row.source for row in coverage(kernels, predictor.kernel_costs)}
    assert set(kinds) == {POINTWISE, "depthwise"}
    if device == "rpi4":
        assert set(kinds.values()) == {"hw-nas-bench-fbnet"}


def test_predictor_grouped_convolutions_and_linear_layers_are_guessed() -> None:
    costs = Predictor(find_device("rpi4"), LITERT, "fp32", 1).kernel_costs
    sizes = {"in_channels": 32, "out_channels": 32, "height": 8, "width": 8, "kernel": 3}
    for kernel in (
        Kernel("conv", {**sizes, "groups": 4}),
        Kernel("linear", {"in_features": 64, "out_features": 10}),
    ):
        assert (costs.latency(kernel).basis, costs.latency(kernel).source) == (GUESSED, "")
        assert costs.latency(kernel).deviation >= 0.7


@pytest.mark.parametrize("device", BOARDS)
@pytest.mark.parametrize("backend", [LITERT, ONNXRUNTIME])
def test_shipped_profiles_charge_cascades_for_calls_and_caches(device: str, backend: str) -> None:
    predictor = Predictor(find_device(device), backend, "fp32", 1)
    graphs = {name: predictor.graph(name, block(64, 14)) for name in ("seg0", "seg1", "seg2")}
    price = predictor.cascade(CascadeLayout((("seg0",), ("seg1",), ("seg2",)), (None, None)), graphs)
    latency_ms, error_ms = price.costs["latency_ms"].leaving((0.5, 0.5))[-1], price.call_errors_ms.leaving((0.5, 0.5))
    alone_ms = sum(graph.latency_ms for graph in graphs.values())
    composition = predictor.kernel_costs.composition
    assert latency_ms > alone_ms - 2 * composition.dispatch_ms
    assert 0 == error_ms[0] < error_ms[1] < error_ms[2]
    assert composition.cascade_source in {source.id for source in predictor.profile.sources}
