"""The backend contract for TFLM, and what a component for microcontrollers is: int8 tensors, exits computed outside."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from eetool_runtime import load, open_bundle
from eetool_runtime.backends import PROCESS, ComponentInterface, Threads, backend_for, open_graph
from eetool_runtime.errors import BackendError, BundleError
from eetool_runtime.manifest import Exit, Tensor
from eetool_runtime.tflite_signature import read_signature
from tests.helpers.backend_contract import GOLDEN, BackendContract
from tests.helpers.tflm_bundle import (
    HAS_TFLM,
    SAMPLES,
    TEMPERATURES,
    TFLM_GRAPHS,
    THRESHOLD,
    VARIANT,
    WITHOUT_TFLM,
    float_answers,
    write_tflm_bundle,
)

pytestmark = pytest.mark.skipif(not HAS_TFLM, reason=WITHOUT_TFLM)

EXIT = Exit("layer", "exit0", "exit0_logits", "exit0_confidence", "exit0_temperature")
PLATT = Exit("layer", "exit0", "exit0_logits", "exit0_confidence", "exit0_temperature", "slope", "offset")
INTERFACE = ComponentInterface(
    {"segment0_out": Tensor("int8", ("batch", 4)), "exit0_temperature": Tensor("float32", ())},
    {"exit0_logits": Tensor("float32", ("batch", 3)), "exit0_confidence": Tensor("float32", ("batch",))},
    EXIT,
    "max_softmax",
)


class TestTflm(BackendContract):
    batched = False
    ids_dtype = np.int32  # TFLM computes nothing from int64
    if HAS_TFLM:
        backend = backend_for("tflm")

    def write(self, path: Path) -> None:
        shutil.copyfile(GOLDEN / "contract_int32.tflite", path)

    def test_threads_in_use_are_reported(self, path: Path) -> None:
        for threads in (Threads(1), Threads(2), Threads(2, PROCESS)):
            assert self.backend.open(path, threads).threads == Threads(1)


def test_open_int8_file_is_presented_as_floats() -> None:
    graph = open_graph(TFLM_GRAPHS / "exit0.tflm")
    assert dict(graph.inputs) == {"segment0_out": Tensor("float32", (1, 4))}
    features = float_answers(SAMPLES[:1])["segment0_out"]
    (logits,) = graph.run({"segment0_out": features})
    np.testing.assert_allclose(logits, float_answers(SAMPLES[:1])["exit0_logits"], atol=0.03)


def test_open_component_takes_int8_and_computes_the_confidence() -> None:
    graph = backend_for("tflm").open_component(TFLM_GRAPHS / "exit0.tflm", Threads(), INTERFACE)
    stored = read_signature((TFLM_GRAPHS / "exit0.tflm").read_bytes()).inputs["segment0_out"].quantization
    assert stored is not None
    features = stored.quantize(float_answers(SAMPLES[:1])["segment0_out"])
    temperature = np.array(0.5, np.float32)
    results = dict(zip(graph.outputs, graph.run({"segment0_out": features, "exit0_temperature": temperature})))
    logits = results["exit0_logits"]
    powers = np.exp(logits.astype(np.float64) / 0.5)
    np.testing.assert_allclose(results["exit0_confidence"], powers.max(1) / powers.sum(1), rtol=1e-6)


@pytest.mark.parametrize(
    ("interface", "reason"),
    [
        (ComponentInterface(INTERFACE.inputs, INTERFACE.outputs, EXIT, "entropy"), "gate score max_softmax"),
        (
            ComponentInterface(
                INTERFACE.inputs,
                INTERFACE.outputs,
                Exit(None, "exit0", "a", "b", "c", "slope", "offset"),
                "max_softmax",
            ),
            "without Platt scaling",
        ),
    ],
    ids=["score", "platt"],
)
def test_open_component_of_other_gates_raises_backend_error(interface: ComponentInterface, reason: str) -> None:
    with pytest.raises(BackendError, match=reason):
        backend_for("tflm").open_component(TFLM_GRAPHS / "exit0.tflm", Threads(), interface)


def test_load_bundle_answers_like_the_float_network(tmp_path: Path) -> None:
    model = load(write_tflm_bundle(tmp_path))
    assert model.variant == VARIANT
    model.use("fast")
    expected = float_answers(SAMPLES)
    for i, sample in enumerate(SAMPLES):
        result = model(sample[None])
        exits = model.every_exit(sample[None])
        assert result.exit == (0 if exits[0][1][0] >= THRESHOLD else 1)
        for k, (logits, _) in enumerate(exits):
            np.testing.assert_allclose(logits, expected[f"exit{k}_logits"][i : i + 1], atol=0.06)
        np.testing.assert_allclose(result.probabilities, _softmax(exits[result.exit][0][0], TEMPERATURES[result.exit]))
    assert {model(sample[None]).exit for sample in SAMPLES} == {0, 1}


def test_load_bundle_with_float_graph_raises_backend_error(tmp_path: Path) -> None:
    bundle = write_tflm_bundle(tmp_path, segment0=(GOLDEN / "contract.tflite").read_bytes())
    with pytest.raises(BackendError, match="is float32; files for microcontrollers take and give int8"):
        load(bundle)


def test_load_bundle_with_graph_of_another_component_raises_bundle_error(tmp_path: Path) -> None:
    bundle = write_tflm_bundle(tmp_path, exit0=(TFLM_GRAPHS / "exit1.tflm").read_bytes())
    with pytest.raises((BundleError, BackendError), match="exit0"):
        load(bundle)


def test_load_other_score_raises_backend_error(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="gate score max_softmax"):
        load(open_bundle(write_tflm_bundle(tmp_path, score="margin")))


def _softmax(logits: np.ndarray, temperature: float) -> np.ndarray:
    powers = np.exp((logits - logits.max()) / temperature)
    return powers / powers.sum()
