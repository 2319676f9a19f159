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
from eetool.microcontroller.arena_measurement import allocator_bytes
from eetool.microcontroller.cascade import read_cascade
from eetool.microcontroller.footprint import GraphMemory, measure_footprint, measure_graph
from eetool.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from eetool.model.gate_scores import ENTROPY
from eetool_runtime import Bundle, load, open_bundle
from eetool_runtime.execution_plan import plan_steps
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


@pytest.fixture(scope="module")
def separate(micro: Bundle, once: Callable[..., Path], cli: Cli) -> Bundle:
    """Return the read-only bundle of the same model with separate exits, fitted on the same digits."""
    made = micro.path.parent

    def export(folder: Path) -> None:
        options = ("--target", "mcu", "--merge", "none", "--calibration-data", f"npz:{made / 'few.npz'}")
        output = cli("export", made / "model.pt", *options, "-o", folder / "model.eebundle", "--json")
        assert output.code == 0, output

    return open_bundle(once("micro-separate", export) / "model.eebundle")


@pytest.fixture(params=["joined", "separate"])
def either(request: pytest.FixtureRequest) -> Bundle:
    """Return the bundle with joined exits, which is the default, and the one with separate exits."""
    bundle: Bundle = request.getfixturevalue("micro" if request.param == "joined" else "separate")
    return bundle


def files_of(bundle: Bundle) -> dict[str, Path]:
    return {name: bundle.file(graph.path) for name, graph in bundle.variant(VARIANT).components.items()}


def kinds_of(bundle: Bundle) -> list[tuple[str, str]]:
    return [(component.name, component.kind) for component in bundle.manifest.components]


def unsplit_memory(bundle: Bundle) -> GraphMemory:
    """Return the memory of the network without early exits; its allocator is among the records."""
    path = bundle.variant(VARIANT).references["unsplit"]
    own = measure_graph(bundle.file(path).read_bytes(), path)
    return replace(own, persistent_bytes=own.persistent_bytes + allocator_bytes())


def test_export_joins_exits_with_their_segments_unless_asked_otherwise(micro: Bundle, separate: Bundle) -> None:
    assert kinds_of(micro) == [("seg0", "joined"), ("seg1", "joined"), ("exit2", "exit")]
    assert [name for name, _ in kinds_of(separate)] == ["seg0", "exit0", "seg1", "exit1", "exit2"]


def test_export_joined_exits_answer_and_decide_as_separate_ones(
    micro: Bundle, separate: Bundle, digits: Source
) -> None:
    loaded = load(micro)
    inputs = np.concatenate([loaded.preprocess(image.transpose(1, 2, 0)) for image in digits.inputs[:20]])
    for joined, alone in zip(loaded.every_exit(inputs), load(separate).every_exit(inputs), strict=True):
        # The same integers, which a step would tell apart; their scales may differ in the last bit of float32.
        np.testing.assert_allclose(joined[0], alone[0], rtol=1e-6, atol=0)
    one, other = micro.variant(VARIANT), separate.variant(VARIANT)
    assert one.temperatures == pytest.approx(other.temperatures, rel=1e-4)
    for name, point in one.operating_points.items():
        same = other.operating_points[name]
        assert point.thresholds == tuple(None if t is None else pytest.approx(t, rel=1e-4) for t in same.thresholds)
        assert point.expected is not None
        assert same.expected is not None
        assert point.expected.exit_shares == same.expected.exit_shares


def test_export_joined_exits_take_less_memory_and_a_disabled_one_runs(micro: Bundle, separate: Bundle) -> None:
    joined, alone = (measure_footprint(read_cascade(bundle)) for bundle in (micro, separate))
    assert joined.measured_working_bytes <= alone.measured_working_bytes
    assert joined.persistent_bytes < alone.persistent_bytes
    assert joined.graph_bytes < alone.graph_bytes
    unsplit = unsplit_memory(micro)
    assert joined.arena_bytes <= 1.1 * (unsplit.working_bytes + unsplit.persistent_bytes)
    measured = joined.measured_working_bytes + joined.persistent_bytes
    assert measured <= 1.1 * (unsplit.measured_working_bytes + unsplit.persistent_bytes)
    steps = {name: plan_steps(bundle.manifest, (None, None)) for name, bundle in (("all", micro), ("none", separate))}
    assert steps["all"][-1].macs > steps["none"][-1].macs  # no exit but the last is asked, and joined ones run


def test_export_of_small_activations_keeps_the_arena_near_that_of_the_unsplit_network(
    once: Callable[..., Path], cli: Cli
) -> None:
    """TC-ResNet8 has 5 KB of activations, so that the records of interpreters decide; its weights do not matter."""

    def export(folder: Path) -> None:
        features = np.random.default_rng(0).normal(0, 1, (200, 61, 40)).astype(np.float32)
        np.savez(folder / "words.npz", features=features, labels=np.arange(200) % 10)
        options = ("--data", f"npz:{folder / 'words.npz'}", "--exits", 2, "--branch", "linear", "--epochs", 0)
        for command in (
            ("train", "tcresnet8", *options, "-o", folder / "m.pt"),
            ("export", folder / "m.pt", "--target", "mcu", "-o", folder / "m.eebundle"),
        ):
            output = cli(*command)
            assert output.code == 0, output

    bundle = open_bundle(once("micro-words", export) / "m.eebundle")
    own, unsplit = measure_footprint(read_cascade(bundle)), unsplit_memory(bundle)
    assert own.measured_working_bytes <= unsplit.measured_working_bytes  # 4,896 and 5,120 when this was written
    assert own.arena_bytes <= 1.1 * (unsplit.working_bytes + unsplit.persistent_bytes)  # 14,912 and 14,304
    # Records with 64-bit pointers, of three graphs and an allocator in place of one: 9,120 and 7,456.
    assert own.persistent_bytes <= 1.25 * unsplit.persistent_bytes


def test_export_files_are_fully_integer_and_have_operators_of_tflm(either: Bundle) -> None:
    assert list(either.manifest.variants) == [VARIANT]
    for path in files_of(either).values():
        graph, signature = read_tflite(path), read_signature(path.read_bytes())
        assert {o.op for o in graph.operations} <= OPERATORS
        assert float_operators(graph) == ()
        assert {tensor.kind for tensor in graph.tensors} <= {"INT8", "INT32"}
        for stored in (*signature.inputs.values(), *signature.outputs.values()):
            assert stored.tensor.dtype == "int8"


def test_export_boundaries_have_one_scale_and_their_channels_last(either: Bundle) -> None:
    signatures = {name: read_signature(path.read_bytes()) for name, path in files_of(either).items()}
    made = {name: stored for s in signatures.values() for name, stored in s.outputs.items()}
    read = [(name, stored) for s in signatures.values() for name, stored in s.inputs.items() if name in made]
    several = len(read) > len({name for name, _ in read}) > 0  # readers of some tensor
    assert several == any(kind == "segment" for _, kind in kinds_of(either))
    assert read
    for name, stored in read:
        assert stored.quantization == made[name].quantization
    for name, tensor in either.variant(VARIANT).tensors.items():
        n, *image, channels = tensor.shape
        assert (tensor.dtype, n) == ("int8", "batch")
        assert either.manifest.tensors[name].shape == ("batch", channels, *image)
        assert made[name].tensor.shape == (1, *image, channels)
    operators = [o.op for path in files_of(either).values() for o in read_tflite(path).operations]
    assert "TRANSPOSE" not in operators


def test_export_exit_file_ends_at_the_logits(either: Bundle) -> None:
    boundaries = set(either.variant(VARIANT).tensors)
    for e in either.manifest.exits:
        signature = read_signature(files_of(either)[e.component].read_bytes())
        assert set(signature.outputs) - boundaries == {e.logits}
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
