"""The single file: equal to the bundle at every threshold, and nothing left behind where it is not."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn

from eetool.errors import ArtefactError, EarlyExitError, OutputError, UsageError, VerificationError
from eetool.export.single_file import export as exporter
from eetool.export.single_file.export import export_single, run_single, threshold_value
from eetool.export.single_file.nested_if import (
    MAX_EARLY_EXITS,
    ConditionalStage,
    nest_stages,
    prefix_names,
    threshold_name,
)
from eetool.model.checkpoint import Checkpoint, save_checkpoint
from eetool.model.spec import Policy
from eetool.train.exit_plan import ExitPlan
from eetool.train.pipeline import attach_exits
from eetool_runtime import load
from eetool_runtime.backends import open_graph
from eetool_runtime.errors import InputError
from eetool_runtime.manifest import NEVER, OperatingPoint


def tiny(exits: int) -> Checkpoint:
    return attach_exits("resnet8", (1, 1, 8, 8), 4, ExitPlan(exits, "linear"), seed=0)


@pytest.fixture(scope="session")
def spread(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """Two early exits; the points send samples to every exit, with null, numbers, and one confidence exactly."""
    made = tiny(2)
    with torch.no_grad():
        logits = made.build()(made.samples["input"])
    confidences = [torch.softmax(x / t, 1).amax(1).sort().values for x, t in zip(logits, (1.5, 0.7, 2.0), strict=True)]
    a, b = (float(c[15:17].mean()) for c in confidences[:2])
    points = {"full": (None, None), "mixed": (a, b), "second": (None, b), "first": (0.0, 1.0), "never": (1.0, 2.0)}
    policy = Policy("max_softmax", (1.5, 0.7, 2.0), {k: OperatingPoint(t) for k, t in points.items()}, 1.0)
    return made.with_policy(policy)


@pytest.fixture(scope="session")
def single_file(spread: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("single") / "model.onnx"
    export_single(spread, path)
    return path


def test_export_single_decisions_match_the_bundle(spread: Checkpoint, single_file: Path, tmp_path: Path) -> None:
    from eetool.export.bundle_export import ExportOptions, export_bundle

    export_bundle(spread, tmp_path / "b.eebundle", ExportOptions(references=False))
    bundle, graph = load(tmp_path / "b.eebundle"), open_graph(single_file)
    x = spread.samples["input"].numpy()
    left_at = set()
    for name, point in bundle.operating_points.items():
        bundle.use(name)
        answers = [bundle(x[i : i + 1]) for i in range(len(x))]
        made = run_single(graph, {"input": x}, point.thresholds)
        assert made["exit"].tolist() == [a.exit for a in answers]
        np.testing.assert_allclose(made["confidence"], [a.confidence for a in answers], rtol=1e-5)
        np.testing.assert_allclose(made["logits"], [a.logits for a in answers], rtol=1e-4, atol=1e-5)
        left_at.update(made["exit"].tolist())
        if name == "mixed":
            assert set(made["exit"].tolist()) == {0, 1, 2}
    assert left_at == {0, 1, 2}


def test_export_single_metadata_is_complete(spread: Checkpoint, single_file: Path) -> None:
    model = onnx.load(single_file)
    onnx.checker.check_model(model, full_check=True)
    assert (model.ir_version, [(o.domain, o.version) for o in model.opset_import]) == (8, [("", 18)])
    session = ort.InferenceSession(single_file, providers=["CPUExecutionProvider"])
    assert [(i.name, i.shape, i.type) for i in session.get_inputs()] == [
        ("input", [1, 1, 8, 8], "tensor(float)"),
        ("exit0_threshold", [], "tensor(float)"),
        ("exit1_threshold", [], "tensor(float)"),
    ]
    assert [(o.name, o.shape, o.type) for o in session.get_outputs()] == [
        ("logits", [1, 4], "tensor(float)"),
        ("exit", [1], "tensor(int64)"),
        ("confidence", [1], "tensor(float)"),
    ]
    said = session.get_modelmeta().custom_metadata_map
    assert said.pop("eetool.single") == "1"
    found = {key: json.loads(text) for key, text in said.items()}
    assert found["eetool.labels"] == list(spread.record.spec.labels)
    assert found["eetool.temperatures"] == [1.5, 0.7, 2.0]
    assert found["eetool.operating_points"]["full"] == {"thresholds": [NEVER, NEVER], "expected": None}
    assert found["eetool.operating_points"]["first"]["thresholds"] == [0.0, 1.0]
    assert found["eetool.inputs"][0]["name"] == "input"


def test_export_single_file_holds_no_path_of_this_machine(single_file: Path) -> None:
    data = single_file.read_bytes()
    assert str(Path(exporter.__file__).parents[2]).encode() not in data
    assert b"torch" not in data


def test_export_single_thresholds_are_required_inputs(single_file: Path) -> None:
    model = onnx.load(single_file)
    assert not {i.name for i in model.graph.input} & {i.name for i in model.graph.initializer}
    feed = {"input": np.zeros((1, 1, 8, 8), np.float32), "exit0_threshold": np.array(NEVER, np.float32)}
    with pytest.raises(InputError, match="exit1_threshold"):
        open_graph(single_file).run(feed)


def test_export_single_without_early_exits_is_a_plain_graph(tmp_path: Path) -> None:
    checkpoint = tiny(0)
    export_single(checkpoint, tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    assert "If" not in {node.op_type for node in model.graph.node}
    x = checkpoint.samples["input"]
    made = run_single(open_graph(tmp_path / "model.onnx"), {"input": x.numpy()}, ())
    with torch.no_grad():
        (logits,) = checkpoint.build()(x)
    np.testing.assert_allclose(made["logits"], logits.numpy(), rtol=1e-4, atol=1e-5)
    assert made["exit"].tolist() == [0] * len(x)


class Tangled(nn.Module):
    """Two tensors cross every boundary, and the input is needed again at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(6, 6) for _ in range(3))
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        skip, y = x, x
        for block in self.blocks:
            skip, y = torch.tanh(y + skip), block(y) * skip
        return self.head(torch.cat([skip + y, x], 1))


def test_nest_stages_several_tensors_cross_a_boundary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eetool.model.references.resolve.build_backbone", lambda *_: Tangled())
    checkpoint = attach_exits("tangled", (1, 6), 3, ExitPlan(2, "linear", ("blocks.0", "blocks.1")), seed=0)
    made = export_single(checkpoint, tmp_path / "model.onnx")
    assert all(parity.holds for parity in made.exits)
    assert len(made.exits) == 3


@pytest.mark.parametrize("threshold", [0.0, 0.1, 1 / 3, 0.5, 0.7, 0.9999999999, 1.0, 1.5, 2.0])
def test_threshold_value_rounded_decides_as_the_exact_one(threshold: float) -> None:
    rounded = threshold_value(threshold)
    assert np.float32(rounded) == rounded
    below = np.nextafter(np.float32(rounded), np.float32(-1))
    assert float(below) < threshold <= rounded


def test_threshold_value_null_never_fires() -> None:
    assert threshold_value(None) == NEVER


def test_prefix_names_renames_inner_graphs() -> None:
    text = """
        <ir_version: 8, opset_import: ["" : 18]>
        inner (float[1, 2] x, bool go) => (float[1, 2] y) <float[1, 2] w = {1.0, 2.0}> {
            z = Add(x, w)
            y = If (go) <
                then_branch = yes () => (float[1, 2] a) { a = Mul(z, w) },
                else_branch = no () => (float[1, 2] b) { b = Sub(x, w) }
            >
        }
    """
    model = onnx.parser.parse_model(text)
    graph = prefix_names(model.graph, "seg0", frozenset({"x", "go", "y"}), {})
    onnx.checker.check_model(onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=8))
    (weight,), (_, branch) = graph.initializer, graph.node
    assert weight.name == "seg0/w"
    then, other = (a.g.node[0] for a in branch.attribute)
    assert (list(then.input), list(other.input)) == (["seg0/z", "seg0/w"], ["x", "seg0/w"])


Spoil = Callable[[onnx.ModelProto], None]


@pytest.fixture
def spoil(single_file: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Spoil], None]:
    """`spoil(change)` makes the next export assemble the file with a change, without converting anything again."""

    def spoil(change: Spoil) -> None:
        model = onnx.load(single_file)
        change(model)
        monkeypatch.setattr(exporter, "_split", lambda *_: ([], {}))
        monkeypatch.setattr(exporter, "assemble_model", lambda *_: model)

    return spoil


def swap_thresholds(model: onnx.ModelProto) -> None:
    _, first, second = model.graph.input
    first.name, second.name = second.name, first.name
    for graph in (model.graph, *(a.g for node in model.graph.node for a in node.attribute)):
        for node in graph.node:
            if node.op_type == "GreaterOrEqual":
                other = {"exit0_threshold": "exit1_threshold", "exit1_threshold": "exit0_threshold"}
                node.input[1] = other[node.input[1]]


def spoil_weight(model: onnx.ModelProto) -> None:
    weight = next(w for w in model.graph.initializer if len(w.dims) == 4)
    weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) + np.float32(0.01), weight.name))


def lose_weight(model: onnx.ModelProto) -> None:
    del model.graph.initializer[0]


@pytest.mark.parametrize(
    ("existed", "change", "error", "said"),
    [
        (False, swap_thresholds, VerificationError, ("decisions at mixed", "decisions at second: ", " of 32 the same")),
        (True, spoil_weight, VerificationError, ("exit 0: error", "exit 1: error", "exit 2: error")),
        (False, lose_weight, ArtefactError, ("does not load",)),
        (True, lose_weight, ArtefactError, ("does not load",)),
    ],
)
def test_export_single_failed_parity_leaves_no_file(
    spread: Checkpoint,
    spoil: Callable[[Spoil], None],
    tmp_path: Path,
    existed: bool,
    change: Spoil,
    error: type[EarlyExitError],
    said: tuple[str, ...],
) -> None:
    path = tmp_path / "model.onnx"
    if existed:
        path.write_text("old")
    spoil(change)
    with pytest.raises(error) as raised:
        export_single(spread, path)
    assert raised.value.exit_code == (4 if error is VerificationError else 3)
    for words in said:
        assert words in raised.value.message
    assert [p.name for p in tmp_path.iterdir()] == (["model.onnx"] if existed else [])
    assert not existed or path.read_text() == "old"


def test_export_single_full_disk_leaves_nothing(
    spread: Checkpoint, spoil: Callable[[Spoil], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    spoil(lambda model: None)
    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OutputError, match="No space left"):
        export_single(spread, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["exit", "exit1_threshold"])
def test_export_single_reserved_input_name_raises_artefact_error(spread: Checkpoint, name: str) -> None:
    spec = spread.record.spec
    renamed = replace(spec, inputs=(replace(spec.inputs[0], name=name),))
    checkpoint = replace(spread, record=replace(spread.record, spec=renamed), samples={name: spread.samples["input"]})
    assert checkpoint.record.policy is not None
    with pytest.raises(ArtefactError, match=f"an input named '{name}'"):
        exporter.assemble_model([], [], checkpoint, checkpoint.record.policy)


def test_export_single_too_many_exits_raises_usage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter, "MAX_EARLY_EXITS", 1)
    with pytest.raises(UsageError, match="can nest 1 early exits; this model has 2"):
        export_single(tiny(2), tmp_path / "model.onnx")


def test_nest_stages_deepest_nesting_loads() -> None:
    part = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 18]>
        part (float[1, 2] x) => (float[1, 2] l, float[1] c) <float[1] half = {0.5}> {
            l = Identity(x)
            c = Identity(half)
        }
    """)
    stages = []
    for i in range(MAX_EARLY_EXITS + 1):
        graph = prefix_names(part.graph, f"part{i}", frozenset({"x"}), {})
        stages.append(ConditionalStage((graph,), f"part{i}/l", f"part{i}/c"))
    graph = nest_stages(stages, [part.graph.input[0]], 2)
    model = onnx.helper.make_model(graph, opset_imports=part.opset_import, ir_version=8)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    limits = {threshold_name(i): np.array(NEVER, np.float32) for i in range(MAX_EARLY_EXITS)}
    _, exit_index, _ = session.run(None, {"x": np.zeros((1, 2), np.float32), **limits})
    assert exit_index.tolist() == [MAX_EARLY_EXITS]


@pytest.fixture(scope="session")
def model_pt(spread: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("spread") / "model.pt"
    save_checkpoint(path, spread)
    return path


def test_export_command_single_layout_is_deterministic(
    cli: Callable[..., Any], model_pt: Path, single_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    answered = cli("export", model_pt, "--layout", "single", "-o", path, "--json")
    assert answered.code == 0, answered
    document = answered.document
    assert (document["layout"], document["size_bytes"]) == ("single", path.stat().st_size)
    assert [e["exit"] for e in document["exits"]] == [0, 1, 2]
    assert path.read_bytes() == single_file.read_bytes()


@pytest.mark.parametrize(
    ("output", "options", "code", "message"),
    [
        ("model.eebundle", (), 2, "does not end in .onnx"),
        ("model", (), 2, "does not end in .onnx"),
        ("there.onnx", (), 2, "exists already"),
        ("folder.onnx", ("--force",), 2, "is not a plain file"),
        ("nowhere/model.onnx", (), 2, "is not a folder"),
        ("model.onnx", ("--layout", "pair"), 2, "'pair' is not one of"),
        ("model.onnx", ("--no-reference",), 2, "has no use for --reference"),
        ("model.onnx", ("--calibration-data", "digits"), 2, "has no use for --calibration-data"),
        ("model.onnx", ("--no-judge-speed",), 2, "has no use for --judge-speed"),
        ("model.onnx", ("--precision", "int8"), 2, "one ONNX file in fp32"),
        ("model.onnx", ("--format", "onnx", "--format", "tflite"), 2, "one ONNX file in fp32"),
    ],
)
def test_export_command_single_layout_invalid_options_exit_with_2(
    cli: Callable[..., Any],
    model_pt: Path,
    tmp_path: Path,
    output: str,
    options: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    (tmp_path / "there.onnx").write_text("")
    (tmp_path / "folder.onnx").mkdir()
    answered = cli("export", model_pt, "--layout", "single", "-o", tmp_path / output, *options)
    assert (answered.code, message in answered.stderr) == (code, True), answered
