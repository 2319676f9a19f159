"""Bundles: complete, proved, small, the same bytes every time, and never half of one."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from eetool.errors import ArtefactError, EarlyExitError, OutputError, VerificationError
from eetool.export import bundle_export
from eetool.export.bundle_export import ExportOptions, export_bundle
from eetool.export.bundle_files import bundle_name, write_manifest
from eetool.export.parity import Parity
from eetool.model.checkpoint import Checkpoint, load_checkpoint
from eetool.model.macs import count_macs
from eetool.model.scored_network import exit_output_names
from eetool.progress import Advance
from eetool.records import sha256_file
from eetool.train.exit_plan import ExitPlan
from eetool.train.pipeline import attach_exits
from eetool_runtime import Bundle, load, open_bundle
from eetool_runtime.backends import open_graph

FullDisk = Callable[[int], AbstractContextManager[None]]
VARIANT = "onnx/fp32"
NO_REFERENCES = ExportOptions(references=False)
pytestmark = pytest.mark.usefixtures("converted_once")


@pytest.fixture(scope="module")
def opened(bundle: Path) -> Bundle:
    return open_bundle(bundle)


@pytest.fixture(scope="module")
def plain() -> Checkpoint:
    """A small model without early exits: one graph, which is what exporting costs by."""
    return attach_exits("resnet8", (1, 1, 8, 8), 3, ExitPlan(0, "linear"), seed=0)


def files_in(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_export_bundle_folder_holds_only_the_listed_files(bundle: Path, opened: Bundle) -> None:
    assert files_in(bundle) == sorted(["manifest.json", *opened.manifest.files])
    assert files_in(bundle) == [
        *(f"components/{name}/onnx-fp32/model.onnx" for name in ("exit0", "exit1", "exit2", "seg0", "seg1")),
        "examples.json",
        "expected_drops.json",
        "goals.json",
        "manifest.json",
        *(f"reference/{name}/onnx-fp32/model.onnx" for name in ("all_exits", "unsplit")),
        "samples/inputs.npz",
        "samples/onnx-fp32.npz",
    ]
    assert [path for path in bundle.parent.iterdir() if path.name != "export.json"] == [bundle]


def test_export_bundle_sizes_and_hashes_match_the_files(bundle: Path, opened: Bundle) -> None:
    for relative, file in opened.manifest.files.items():
        assert (file.sha256, file.size_bytes) == (sha256_file(bundle / relative), (bundle / relative).stat().st_size)


def test_export_bundle_manifest_records_the_model(opened: Bundle, tuned: Path) -> None:
    record, m = load_checkpoint(tuned).record, opened.manifest
    assert (m.name, m.inputs, m.labels, m.data) == ("model", record.spec.inputs, record.spec.labels, record.data)
    assert tuple(e.tap for e in m.exits) == (*record.spec.taps, None)
    assert record.policy is not None
    variant = m.variants[VARIANT]
    assert (variant.temperatures, variant.operating_points) == (
        record.policy.temperatures,
        record.policy.operating_points,
    )
    assert m.default_operating_point == record.policy.default
    assert m.producer["opset"] == "18"


def test_export_bundle_components_are_hardly_larger_than_their_weights(opened: Bundle) -> None:
    m = opened.manifest
    weights = sum(4 * c.parameters for c in m.components)
    size = sum(m.files[g.path].size_bytes for g in m.variants[VARIANT].components.values())
    assert weights < size <= 1.05 * weights + 300_000
    for c in m.components:  # the bound leaves room, so that each component is held to a tighter one
        assert m.files[m.variants[VARIANT].components[c.name].path].size_bytes <= 1.05 * 4 * c.parameters + 20_000


def test_export_bundle_macs_and_parameters_add_up_to_the_model(opened: Bundle, tuned: Path) -> None:
    net = load_checkpoint(tuned).build()
    assert sum(c.macs for c in opened.manifest.components) == count_macs(net, (torch.zeros(1, 1, 32, 32),))
    assert sum(c.parameters for c in opened.manifest.components) == sum(p.numel() for p in net.parameters())


def test_export_bundle_components_are_wired_by_name_in_running_order(opened: Bundle) -> None:
    assert [(c.name, c.kind, c.inputs, c.outputs) for c in opened.manifest.components] == [
        ("seg0", "segment", ("input",), ("seg0_out",)),
        ("exit0", "exit", ("exit0_temperature", "seg0_out"), ("exit0_logits", "exit0_confidence")),
        ("seg1", "segment", ("seg0_out",), ("seg1_out",)),
        ("exit1", "exit", ("exit1_temperature", "seg1_out"), ("exit1_logits", "exit1_confidence")),
        ("exit2", "exit", ("exit2_temperature", "seg1_out"), ("exit2_logits", "exit2_confidence")),
    ]


def test_export_bundle_every_component_is_within_tolerance(opened: Bundle) -> None:
    for graph in opened.manifest.variants[VARIANT].components.values():
        assert 0 <= graph.max_abs_error <= graph.tolerance
        assert graph.tolerance >= 1e-4


def test_export_bundle_logits_match_the_model(opened: Bundle, tuned: Path) -> None:
    checkpoint = load_checkpoint(tuned)
    x = checkpoint.samples["input"]
    with torch.no_grad():
        expected = checkpoint.build()(x)
    for (logits, _), reference in zip(load(opened).every_exit(x.numpy()), expected, strict=True):
        assert np.allclose(logits, reference.numpy(), atol=1e-4 * max(1, float(reference.abs().max())))


def test_export_bundle_references_are_the_backbone_and_all_exits(opened: Bundle) -> None:
    variant, x = opened.manifest.variants[VARIANT], opened.arrays(opened.manifest.samples)
    answers = [array for pair in load(opened).every_exit(x) for array in pair]
    unsplit, all_exits = (open_graph(opened.file(variant.references[name])) for name in ("unsplit", "all_exits"))
    (logits,) = unsplit.run(x)
    assert np.allclose(logits, answers[-2], atol=1e-4)
    for e, temperature in zip(opened.manifest.exits, variant.temperatures, strict=True):
        x[e.temperature] = np.array(temperature, np.float32)
    made = dict(zip(all_exits.outputs, all_exits.run(x), strict=True))
    for i, answer in enumerate(answers):
        assert np.allclose(made[exit_output_names(i // 2)[i % 2]], answer, atol=1e-4)


def test_export_bundle_temperature_is_an_input(opened: Bundle) -> None:
    head = open_graph(opened.file(opened.manifest.variants[VARIANT].components["exit0"].path))
    assert head.inputs["exit0_temperature"].shape == ()
    features = np.random.default_rng(0).random((3, *head.inputs["seg0_out"].shape[1:]), np.float32)
    names = list(head.outputs)
    cold, hot = (
        dict(zip(names, head.run({"seg0_out": features, "exit0_temperature": np.array(t, np.float32)}), strict=True))
        for t in (0.5, 5.0)
    )
    assert np.array_equal(cold["exit0_logits"], hot["exit0_logits"])
    assert (cold["exit0_confidence"] > hot["exit0_confidence"]).all()


def test_export_bundle_files_hold_no_path_of_this_machine(bundle: Path) -> None:
    places = {str(Path.home()), str(Path.cwd()), str(Path(torch.__file__).parent), sys.prefix, str(bundle.parent)}
    for path in bundle.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert not [place for place in places if place.encode() in content], path


def test_export_bundle_another_process_writes_the_same_bytes(bundle: Path, tuned: Path, tmp_path: Path) -> None:
    again = tmp_path / bundle.name
    command = [sys.executable, "-m", "eetool", "export", str(tuned), "-o", str(again), "--no-reference"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    stages = [line.partition(":")[0] for line in done.stderr.splitlines()]
    assert stages == ["tracing", "exporting"], "other people's warnings are not for the user"
    kept = [name for name in files_in(bundle) if not name.startswith("reference/")]
    assert files_in(again) == kept
    for name in kept:
        if name != "manifest.json":  # which lists the references, or does not
            assert (again / name).read_bytes() == (bundle / name).read_bytes(), name
    assert open_bundle(again).manifest.variants[VARIANT].references == {}


def test_export_bundle_untuned_model_has_full_depth_only(plain: Checkpoint, tmp_path: Path) -> None:
    manifest = export_bundle(plain, tmp_path / "plain.eebundle", NO_REFERENCES).manifest
    model = load(tmp_path / "plain.eebundle")
    assert list(model.operating_points) == ["full"]
    assert [c.name for c in manifest.components] == ["exit0"]
    assert model(plain.samples["input"][:1].numpy()).exit == 0


class CtrlC:
    """Progress whose user loses patience while the first graph is being written."""

    @contextmanager
    def __call__(self, what: str, total: int) -> Iterator[Advance]:
        self.steps = 0
        yield self.advance

    def advance(self, steps: int) -> None:
        self.steps += steps
        if self.steps == 2:
            raise KeyboardInterrupt

    def note(self, line: str) -> None:
        raise AssertionError(line)


def test_export_bundle_interrupted_leaves_the_old_bundle(plain: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "plain.eebundle"
    path.mkdir()
    (path / "manifest.json").write_text("old")
    with pytest.raises(KeyboardInterrupt):
        export_bundle(plain, path, NO_REFERENCES, CtrlC())
    assert files_in(tmp_path) == ["plain.eebundle/manifest.json"]


def test_export_bundle_failed_parity_raises_verification_error(
    plain: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_export, "component_parity", lambda *_: Parity(1.0, 1e-4))
    with pytest.raises(VerificationError, match="graphs differ from the model:\n  components/exit0/"):
        export_bundle(plain, tmp_path / "plain.eebundle", NO_REFERENCES)
    assert files_in(tmp_path) == []


def test_export_bundle_model_that_gives_nan_names_the_module(plain: Checkpoint, tmp_path: Path) -> None:
    state = {**plain.state, "backbone.linear.bias": torch.tensor([0.0, float("nan"), 0.0])}
    with pytest.raises(ArtefactError, match=r"the model gives 32 NaN .*: the module 'net.backbone.linear' \(Linear\)"):
        export_bundle(replace(plain, state=state), tmp_path / "plain.eebundle", NO_REFERENCES)
    assert files_in(tmp_path) == []


def test_export_bundle_disk_fills_up_raises_output_error(plain: Checkpoint, small_disk: Path) -> None:
    with pytest.raises(OutputError, match="No space left on device"):
        export_bundle(plain, small_disk / "model.eebundle")
    assert list(small_disk.iterdir()) == []


def test_export_bundle_file_size_limit_raises_output_error(
    plain: Checkpoint, tmp_path: Path, full_disk: FullDisk
) -> None:
    with full_disk(100_000), pytest.raises(OutputError, match="could not be written: File too large"):
        export_bundle(plain, tmp_path / "plain.eebundle", NO_REFERENCES)
    assert files_in(tmp_path) == []


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("model.eebundle", "model"),
        ("other", "other"),
        ("my model (2).eebundle", "my-model-2"),
        (".hidden.eebundle", "hidden"),
        ("ünï.eebundle", "n"),
        ("模型.eebundle", "bundle"),
        ("x" * 200 + ".eebundle", "x" * 128),
    ],
)
def test_bundle_name_any_file_name_gives_a_valid_name(path: str, name: str) -> None:
    assert bundle_name(Path("somewhere") / path) == name
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", name)


def test_write_manifest_changed_file_opens_again(bundle_copy: Path) -> None:
    before = open_bundle(bundle_copy).manifest
    path = bundle_copy / "components/exit0/onnx-fp32/model.onnx"
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(EarlyExitError, match="bytes where the manifest says"):
        open_bundle(bundle_copy)
    write_manifest(bundle_copy, before)
    assert open_bundle(bundle_copy).manifest.files != before.files
