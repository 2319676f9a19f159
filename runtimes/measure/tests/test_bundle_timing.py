"""Measurement of bundles: structure of the results, not their times."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from eetool_measure.__main__ import main
from eetool_measure.bundle_timing import measure_bundle
from eetool_measure.records import encode
from eetool_measure.results import Key, Measurement, components_run, summarize_times, thresholds_to_leave_at
from eetool_measure.timing import BLOCK
from eetool_runtime import Bundle, load, open_bundle
from eetool_runtime.backends import Threads
from eetool_runtime.errors import BundleError, UsageError
from eetool_runtime.records import decode
from tests.helpers.tiny_bundle import VARIANT, write_tiny_bundle

QUICK = ["--runs", "10", "--min-seconds", "0"]


def measure(path: Path) -> Measurement:
    return measure_bundle(open_bundle(path), VARIANT, runs=10, min_seconds=0)


def test_measure_bundle_times_every_subject(tiny_bundle: Path) -> None:
    actual = measure(tiny_bundle)
    manifest = open_bundle(tiny_bundle).manifest
    assert [c.name for c in actual.times.components] == [c.name for c in manifest.components]
    assert [at.exit for at in actual.times.cascade] == [0, 1, 2]
    assert actual.times.references.unsplit is not None
    assert actual.times.references.all_exits is not None
    assert actual.times.full.runs == BLOCK
    assert actual.bundle.name == manifest.name
    assert actual.machine.backend == "onnxruntime"


def test_measurement_decode_encoded_is_equal(tiny_bundle: Path) -> None:
    actual = measure(tiny_bundle)
    text = json.dumps(encode(actual), allow_nan=False)
    assert decode(Measurement, json.loads(text), ValueError) == actual


@pytest.mark.parametrize("shape", [{"joined": True}, {"chained": True}, {"ids": True}, {"early_exits": 0}])
def test_measure_bundle_other_layouts_are_measured(tmp_path: Path, shape: Mapping[str, Any]) -> None:
    actual = measure(write_tiny_bundle(tmp_path, **shape))
    assert len(actual.times.cascade) == shape.get("early_exits", 2) + 1


def test_measure_bundle_without_references_has_none(tmp_path: Path) -> None:
    actual = measure(write_tiny_bundle(tmp_path, references=False)).times
    assert (actual.references.unsplit, actual.references.all_exits) == (None, None)
    assert actual.overhead.components_to_all_exits is None
    assert actual.overhead.cascade_to_unsplit is None
    assert actual.overhead.cascade_to_components.median > 0


@pytest.mark.parametrize("index", [0, 1, 2])
def test_thresholds_to_leave_at_leave_there(tiny_bundle: Path, index: int) -> None:
    bundle = open_bundle(tiny_bundle)
    model = load(bundle)
    model.use(threshold=thresholds_to_leave_at(bundle.manifest, index))
    samples = bundle.arrays(bundle.manifest.samples)["input"]
    assert {model(samples[i : i + 1]).exit for i in range(len(samples))} == {index}


def test_components_run_include_earlier_exits(tiny_bundle: Path) -> None:
    manifest = open_bundle(tiny_bundle).manifest
    assert components_run(manifest, 0) == ["seg0", "exit0"]
    assert components_run(manifest, 1) == ["seg0", "exit0", "seg1", "exit1"]
    assert components_run(manifest, 2) == [c.name for c in manifest.components]


def test_summarize_times_separates_split_and_runtime_overhead(tiny_bundle: Path) -> None:
    """Simulated times: each of 5 components takes 100 µs, one graph 400 µs, the cascade 110 µs per component."""
    manifest = open_bundle(tiny_bundle).manifest
    microseconds: dict[Key, int] = {("component", c.name): 100 for c in manifest.components}
    microseconds |= {("reference", "all_exits"): 400, ("reference", "unsplit"): 300, ("full", ""): 330}
    microseconds |= {("exit", str(k)): 110 * len(components_run(manifest, k)) for k in range(3)}
    times = {key: np.full((4, BLOCK), 1000 * us) for key, us in microseconds.items()}
    actual = summarize_times(manifest, Threads(), times)
    assert actual.overhead.components_to_all_exits is not None
    assert actual.overhead.components_to_all_exits.median == pytest.approx(500 / 400)
    assert actual.overhead.cascade_to_components.median == pytest.approx(1.1)
    assert actual.overhead.split_us_per_component is not None
    assert actual.overhead.split_us_per_component.median == pytest.approx(20)
    assert [at.components_sum_ms for at in actual.cascade] == pytest.approx([0.2, 0.4, 0.5])
    assert [at.runtime_us_per_component.median for at in actual.cascade] == pytest.approx([10, 10, 10])


@pytest.mark.parametrize(
    "wrong", [{"variant": "onnx/int8"}, {"runs": 0}, {"min_seconds": float("nan")}, {"threads": 0}, {"pool": "ours"}]
)
def test_measure_bundle_invalid_arguments_raise_usage_error(tiny_bundle: Path, wrong: Mapping[str, Any]) -> None:
    options = {"variant": VARIANT, "runs": 10, "min_seconds": 0, **wrong}
    with pytest.raises(UsageError):
        measure_bundle(open_bundle(tiny_bundle), options.pop("variant"), **options)


def test_measure_bundle_empty_samples_raise_bundle_error(tiny_bundle: Path) -> None:
    bundle = open_bundle(tiny_bundle)

    class Empty(Bundle):
        def arrays(self, relative: str) -> dict[str, np.ndarray]:
            return {"input": np.zeros((0, 1, 4, 4), np.float32)}

    with pytest.raises(BundleError, match="holds no samples"):
        measure_bundle(Empty(bundle.path, bundle.manifest), VARIANT, runs=1, min_seconds=0)


def test_main_bundle_prints_one_document(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tiny_bundle), *QUICK]) == 0
    out, err = capsys.readouterr()
    assert decode(Measurement, json.loads(out), ValueError).times.threads == 1
    assert err == ""


@pytest.mark.parametrize(
    ("arguments", "code"), [(["nothing.eebundle"], 3), (["{tiny}", "--variant", "tflite/fp32"], 2)]
)
def test_main_error_prints_message_and_exit_code(
    tiny_bundle: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int
) -> None:
    assert main([a.format(tiny=tiny_bundle) for a in arguments]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")


def write_trace(path: Path) -> Path:
    """Write a trace of constant 2 W over a minute."""
    path.write_text("time,power_w\n" + "".join(f"{n / 1000:.3f},{2 + n % 2 / 100}\n" for n in range(60_000)))
    return path


def test_measure_bundle_with_meter_has_energy(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    meter = f"replay:{write_trace(tmp_path / 'trace.csv')}"
    options = ["--power", meter, "--power-seconds", "0.02", "--power-scope", "gross"]
    assert main([str(tiny_bundle), *QUICK, *options]) == 0
    measured = decode(Measurement, json.loads(capsys.readouterr().out), ValueError)
    actual = measured.energy
    assert actual is not None
    assert (actual.scope, actual.provenance, actual.meter) == ("board_gross", "measured", "replay:trace.csv")
    assert set(actual.components) == {c.name for c in measured.times.components}
    assert len(actual.cascade) == 3
    assert set(actual.references) == {"unsplit", "all_exits"}  # a busy machine may resolve none of their values


def test_main_watts_estimates_energy(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tiny_bundle), *QUICK, "--watts", "5"]) == 0
    actual = decode(Measurement, json.loads(capsys.readouterr().out), ValueError)
    assert actual.energy is not None
    assert actual.energy.full.value == pytest.approx(5 * actual.times.full.median)


def test_main_absent_meter_exits_with_code(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tiny_bundle), *QUICK, "--power", "log:/nowhere.csv"]) == 5
    out, err = capsys.readouterr()
    assert (out, err.startswith("error: /nowhere.csv")) == ("", True)


def test_main_two_threads_use_process_pool(tiny_bundle: Path) -> None:
    """It runs in its own process, where the pool can be set."""
    command = [sys.executable, "-m", "eetool_measure", str(tiny_bundle), "--threads", "2", *QUICK]
    child = subprocess.run(command, capture_output=True, text=True, check=True)
    times = decode(Measurement, json.loads(child.stdout), ValueError).times
    shared = hasattr(onnxruntime, "set_global_thread_pool_sizes")
    assert (times.threads, times.pool) == (2, "process" if shared else "private")


def test_main_imports_nothing_of_eetool(tiny_bundle: Path) -> None:
    code = "import sys, eetool_measure.__main__ as m; m.main(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    command = [sys.executable, "-c", code, str(tiny_bundle), *QUICK]
    child = subprocess.run(command, capture_output=True, text=True, check=True)
    assert not {"torch", "onnx", "click", "rich", "scipy", "eetool"} & set(child.stderr.split())
