"""Export for microcontrollers: int8 in every tensor, one scale per boundary, proved and refitted in tflite_micro."""

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eetool.bench.accuracy_benchmark import bench_accuracy
from eetool.cli.bench_output import accuracy_bench_text
from eetool.data.contents import source_contents
from eetool.data.registry import load_source
from eetool.data.source import Source
from eetool.data.splits import split_record, split_source
from eetool.errors import UsageError
from eetool.export.bundle_export import ExportOptions, export_bundle
from eetool.export.litert_difference import compare_with_litert
from eetool.graphs.tflite_graph import read_tflite
from eetool.graphs.tflm_operators import OPERATORS, float_operators
from eetool.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from eetool.model.gate_scores import ENTROPY
from eetool_runtime import Bundle, load, open_bundle
from eetool_runtime.tflite_signature import read_signature
from tests.helpers.tflm_bundle import HAS_TFLM, WITHOUT_TFLM

pytestmark = [
    pytest.mark.skipif(not HAS_TFLM, reason=WITHOUT_TFLM),
    pytest.mark.skipif(importlib.util.find_spec("litert_torch") is None, reason="litert-torch is not installed"),
]
VARIANT = "tflm/int8"
Cli = Callable[..., Any]  # see tests/conftest.py


@pytest.fixture(scope="module")
def model(tuned: Path) -> Checkpoint:
    """Return the tuned model."""
    return load_checkpoint(tuned)


@pytest.fixture(scope="module")
def micro(model: Checkpoint, digits: Source, once: Callable[..., Path], cli: Cli) -> Bundle:
    """Return the read-only bundle of the tuned model for microcontrollers, fitted on a third of the held-out digits.

    tflite_micro has reference kernels: with all of them, half of the export's time would be theirs.
    """

    def export(folder: Path) -> None:
        np.savez(folder / "few.npz", images=digits.inputs[::3], labels=digits.labels[::3])
        name = f"npz:{folder / 'few.npz'}"
        few = load_source(name)
        assert model.record.data is not None
        data = replace(model.record.data, source=name, splits=split_record(split_source(few)))
        record = replace(model.record, data=data, contents=source_contents(few))
        save_checkpoint(folder / "model.pt", replace(model, record=record))
        options = ("--target", "mcu", "--calibration-data", name)
        output = cli("export", folder / "model.pt", *options, "-o", folder / "model.eebundle", "--json")
        assert output.code == 0, output
        assert "keep the policy" not in output.stderr

    return open_bundle(once("micro", export) / "model.eebundle")


def files_of(bundle: Bundle) -> dict[str, Path]:
    return {name: bundle.file(graph.path) for name, graph in bundle.variant(VARIANT).components.items()}


def test_export_files_are_fully_integer_and_have_operators_of_tflm(micro: Bundle) -> None:
    assert list(micro.manifest.variants) == [VARIANT]
    for path in files_of(micro).values():
        graph, signature = read_tflite(path), read_signature(path.read_bytes())
        assert {o.op for o in graph.operations} <= OPERATORS
        assert float_operators(graph) == ()
        assert {tensor.kind for tensor in graph.tensors} <= {"INT8", "INT32"}
        for stored in (*signature.inputs.values(), *signature.outputs.values()):
            assert stored.tensor.dtype == "int8"


def test_export_boundaries_have_one_scale_and_their_channels_last(micro: Bundle) -> None:
    signatures = {name: read_signature(path.read_bytes()) for name, path in files_of(micro).items()}
    made = {name: stored for s in signatures.values() for name, stored in s.outputs.items()}
    read = [(name, stored) for s in signatures.values() for name, stored in s.inputs.items() if name in made]
    assert len(read) > len({name for name, _ in read}) > 0  # some tensor has several readers
    for name, stored in read:
        assert stored.quantization == made[name].quantization
    for name, tensor in micro.variant(VARIANT).tensors.items():
        n, *image, channels = tensor.shape
        assert (tensor.dtype, n) == ("int8", "batch")
        assert micro.manifest.tensors[name].shape == ("batch", channels, *image)
        assert made[name].tensor.shape == (1, *image, channels)
    operators = [o.op for path in files_of(micro).values() for o in read_tflite(path).operations]
    assert "TRANSPOSE" not in operators


def test_export_exit_file_ends_at_the_logits(micro: Bundle) -> None:
    for e in micro.manifest.exits:
        signature = read_signature(files_of(micro)[e.component].read_bytes())
        assert list(signature.outputs) == [e.logits]
        assert e.temperature not in signature.inputs


def test_export_engines_differ_by_rounding_alone(micro: Bundle) -> None:
    samples = micro.arrays(micro.manifest.samples)
    path = micro.file(micro.variant(VARIANT).references["unsplit"])
    name = micro.manifest.inputs[0].name
    difference = compare_with_litert(path, [name], [{name: sample[None]} for sample in samples[name]])
    assert difference.problem is None
    assert difference.mean_steps < 0.5


def test_export_answers_agree_with_the_model(micro: Bundle, model: Checkpoint, digits: Source) -> None:
    loaded = load(micro)
    inputs = np.concatenate([loaded.preprocess(image.transpose(1, 2, 0)) for image in digits.inputs[:50]])
    with torch.no_grad():
        expected = model.build().eval()(torch.from_numpy(inputs))
    for (own, _), exact in zip(loaded.every_exit(inputs), expected, strict=True):
        assert (own.argmax(1) == exact.numpy().argmax(1)).mean() >= 0.9


def test_export_policy_is_fitted_on_the_answers_of_tflite_micro(micro: Bundle, model: Checkpoint) -> None:
    own, policy = micro.variant(VARIANT), model.record.policy
    assert policy is not None
    assert own.temperatures != policy.temperatures
    assert set(own.operating_points) == set(policy.operating_points)
    expected = own.operating_points["fast"].expected
    assert expected is not None
    assert 0 < expected.exit_shares[0] <= 1


def test_bench_accuracy_of_few_examples_has_no_latency(micro: Bundle, digits: Source) -> None:
    indices = np.arange(30)
    bench = bench_accuracy(micro, VARIANT, digits, indices, "some")
    ways = {way.name: way for way in bench.ways}
    assert bench.latency_ms is None
    assert ways["full"].exit_shares == (0.0, 0.0, 1.0)
    assert ways["full"].accuracy == bench.exits[-1].accuracy
    assert ways[bench.reference].accuracy_difference == 0
    assert sum(ways["fast"].exit_shares or ()) == pytest.approx(1)
    text = "\n".join(part for part in accuracy_bench_text(bench) if isinstance(part, str))
    assert "30 examples of digits, tflite_micro" in text
    assert "latency: not measured" in text


def test_commands_that_time_refuse_the_variant(cli: Cli, micro: Bundle) -> None:
    for command, said in (
        (("profile", micro.path), "made for microcontrollers"),
        (("bench", micro.path, "--data", "digits", "--against", micro.path), "has no latency here"),
        (("estimate", micro.path, "--device", "rpi4"), "no latency of tflm/int8 can be predicted"),
    ):
        refused = cli(*command)
        assert (refused.code, said in refused.stderr) == (2, True), refused


def test_export_other_gate_score_raises_usage_error(model: Checkpoint, tmp_path: Path) -> None:
    policy = model.record.policy
    assert policy is not None
    other = model.with_policy(replace(policy, score=ENTROPY))
    with pytest.raises(UsageError, match="this model uses the gate score 'entropy'"):
        export_bundle(other, tmp_path / "model.eebundle", ExportOptions((VARIANT,)))
    assert list(tmp_path.iterdir()) == []
