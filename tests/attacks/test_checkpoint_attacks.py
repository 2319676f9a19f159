"""Checkpoints and fronts that name code: commands import, call or open nothing that the user did not name."""

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from eetool.errors import ArtefactError, UsageError
from eetool.model.branches import LINEAR
from eetool.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from eetool.model.references.factory_call import parse_factory, write_factory
from eetool.model.references.size_check import TooLargeError, check_size, limit_size
from eetool.model.spec import Policy
from eetool.search.search_results import pick_candidate, read_front, trusted
from eetool.train.exit_plan import ExitPlan
from eetool.train.pipeline import attach_exits
from eetool_runtime.manifest import OperatingPoint
from tests.attacks import fuzz_checkpoint

HERE = Path(__file__).parent
FRONT = HERE.parent / "golden/search-1.json"
CANARY = """
from pathlib import Path

from torch import nn

Path("pwned").touch()


def make():
    return nn.Sequential(nn.Flatten(), nn.Linear(1024, 8), nn.Linear(8, 10))


def wide(width):
    return nn.Sequential(nn.Flatten(), nn.Linear(1024, width), nn.Linear(width, 10))
"""
SHELL = ["sh", "-c", "touch pwned"]
ATTACKS: dict[str, tuple[str, Any]] = {
    "a command": ("subprocess:run", {"args": SHELL}),
    "a shell": ("os:system", {"command": "touch pwned"}),
    "an import": ("canary:make", None),
    "a module of Python": ("this:c", None),
    "a nested import": ("importlib:import_module", {"name": "canary"}),
    "a hub": ("timm:hf-hub:somebody/something", None),
    "a folder of timm": ("timm:local-dir:secret", None),
    "a path of transformers": ("hf:./secret", {}),
    "code from a hub": ("hf:vit", {"auto_map": {"AutoModelForImageClassification": "somebody/something--m.M"}}),
    "kernels from a hub": ("hf:vit", {"attn_implementation": "somebody/kernels"}),
    "a file of timm in transformers": ("hf:timm_wrapper", {"model_args": {"checkpoint_path": "secret"}}),
}


@pytest.fixture(scope="module")
def sound() -> Checkpoint:
    return attach_exits("resnet8", (1, 1, 32, 32), 10, ExitPlan(1, LINEAR), seed=0)


def attacked(sound: Checkpoint, backbone: str, config: Any) -> Checkpoint:
    spec = replace(sound.record.spec, backbone=backbone, config=config)
    return replace(sound, record=replace(sound.record, spec=spec))


def write_front(path: Path, backbone: str, config: Any) -> None:
    front = json.loads(FRONT.read_text(encoding="utf-8"))
    for candidate in front["front"]:
        candidate.update(backbone=backbone, config=config)
    path.write_text(json.dumps(front), encoding="utf-8")


def commands(model: str, front: str) -> list[list[str]]:
    """Return every command that builds the network of a model.pt or a front."""
    digits, teach = ["--data", "digits"], ["--recipe", "distill", "--epochs", "1"]
    return [
        ["inspect", model],
        ["export", model, "-o", "x.eebundle"],
        ["export", model, "--layout", "single", "-o", "x.onnx"],
        ["tune", model, *digits, "-o", "tuned.pt"],
        ["tune", model, *digits, "--device", "rpi4", "-o", "tuned.pt"],
        ["profile", model, "--device", "rpi4"],
        ["train", "resnet8", *digits, *teach, "--teacher", model, "-o", "x.pt"],
        ["train", "--from", front, *digits, "--epochs", "0", "-o", "x.pt"],
        ["train", "--from", front, "--epochs", "0", "-o", "x.pt"],
    ]


def others(model: str, front: str) -> list[list[str]]:
    """Return commands that read tensors only, or expect another file."""
    digits = ["--data", "digits"]
    return [
        ["search", "--space", "resnet", *digits, "--supernet", model, "--trials", "1", "-o", "s.json"],
        ["search", "--space", "resnet", *digits, "--weights", model, "--trials", "1", "-o", "t.json"],
        ["run", model],
        ["verify", model],
        ["bench", model, *digits],
        ["report", model, front, "-o", "x.html"],
    ]


def audited(folder: Path, lists: list[list[str]]) -> list[dict[str, Any]]:
    child = subprocess.run(
        [sys.executable, str(HERE / "audited.py")],
        input=json.dumps(lists),
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=600,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    answers: list[dict[str, Any]] = json.loads(child.stdout)
    return answers


TRANSFORMERS = importlib.util.find_spec("transformers") is not None


def prepare(folder: Path) -> None:
    (folder / "canary.py").write_text(CANARY)
    (folder / "secret").mkdir()
    (folder / "secret" / "config.json").write_text('{"model_type": "vit"}')


def test_commands_hostile_checkpoint_execute_nothing(sound: Checkpoint, tmp_path: Path) -> None:
    prepare(tmp_path)
    lists = []
    for number, (backbone, config) in enumerate(ATTACKS.values()):
        save_checkpoint(tmp_path / f"{number}.pt", attacked(sound, backbone, config))
        write_front(tmp_path / f"{number}.json", backbone, config)
        lists += commands(f"{number}.pt", f"{number}.json")
    lists += others("2.pt", "2.json")
    for arguments, answer in zip(lists, audited(tmp_path, lists), strict=True):
        assert answer["seen"] == [], arguments
        lacking = answer["code"] == 5 and "package transformers is not installed" in answer["stderr"]
        allowed = answer["code"] in (2, 3) or arguments[0] == "report" or (lacking and not TRANSFORMERS)
        assert allowed, (arguments, answer)
    assert not (tmp_path / "pwned").exists()


def test_train_hostile_weights_and_resume_execute_nothing(sound: Checkpoint, tmp_path: Path) -> None:
    """Only tensors are read, so no reference is required."""
    prepare(tmp_path)
    save_checkpoint(tmp_path / "m.pt", attacked(sound, "canary:make", None))
    save_checkpoint(tmp_path / "y.pt.resume", attacked(sound, "canary:make", None))
    weights = ["train", "resnet8", "--input", "1x1x32x32", "--classes", "10", "--epochs", "0", "--weights", "m.pt"]
    resume = ["train", "resnet8", "--data", "digits", "--epochs", "1", "--resume", "-o", "y.pt"]
    first, second = audited(tmp_path, [[*weights, "-o", "x.pt"], resume])
    assert (first["code"], first["seen"]) == (0, []), first
    assert (second["code"], second["seen"]) == (3, []), second


def test_audit_hook_named_factory_and_outside_path_are_seen(sound: Checkpoint, tmp_path: Path) -> None:
    prepare(tmp_path)
    save_checkpoint(tmp_path / "m.pt", attacked(sound, "canary:make", None))
    with tempfile.NamedTemporaryFile(dir=Path.home(), suffix=".pt") as file:  # outside of all places that are allowed
        outside = Path(file.name)
        named, other = audited(tmp_path, [["inspect", "m.pt", "--model", "canary:make"], ["inspect", str(outside)]])
    assert {"module canary", "exec canary.py"} <= set(named["seen"])
    assert (tmp_path / "pwned").exists()
    assert f"open {outside.resolve()}" in other["seen"]


def test_load_checkpoint_factory_requires_its_name(sound: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    save_checkpoint(path, attacked(sound, "canary:wide", {"width": 8}))
    with pytest.raises(UsageError, match=r"made of the code 'canary:wide\(width=8\)'") as refused:
        load_checkpoint(path)
    assert refused.value.hint is not None
    assert "--model 'canary:wide(width=8)'" in refused.value.hint
    for other in ("canary:wide", "canary:wide(width=9)", "canary:make", "resnet8"):
        with pytest.raises(UsageError, match="is made of"):
            load_checkpoint(path, [other])
    assert load_checkpoint(path, ["canary:wide( width = 8 )"]).record.spec.backbone == "canary:wide"
    assert "canary" not in sys.modules


def test_load_checkpoint_built_in_with_other_name_is_refused(sound: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "m.pt", sound)
    assert load_checkpoint(tmp_path / "m.pt", ["resnet8"]).record == sound.record
    with pytest.raises(UsageError, match="is made of resnet8, not of canary:make"):
        load_checkpoint(tmp_path / "m.pt", ["canary:make"])


@pytest.mark.parametrize("name", ["a b:c", "a:b c", ":c", "a:", "a:b\x1b[2J", "a:b\nc", "a-b:c", "é:c", "a:b(c)"])
def test_load_checkpoint_invalid_reference_is_refused(sound: Checkpoint, tmp_path: Path, name: str) -> None:
    save_checkpoint(tmp_path / "m.pt", attacked(sound, name, None))
    with pytest.raises(ArtefactError) as refused:
        load_checkpoint(tmp_path / "m.pt")
    assert refused.value.message.isprintable()


@pytest.mark.parametrize(
    ("backbone", "config"),
    [
        ("resnet8", {"depth": 9}),
        ("text-tiny", None),
        ("text-tiny", {"vocabulary": 1 << 40}),
        ("text-tiny", {"vocabulary": True}),
        ("text-tiny", {"vocabulary": 9, "more": 1}),
        ("timm:resnet18", {"checkpoint_path": "x"}),
        ("resnet-9999x999-9999x999", None),
        ("mlp-9999x99", None),
        ("x" * 10_000, None),
    ],
)
def test_load_checkpoint_outside_schema_or_size_is_refused(
    sound: Checkpoint, tmp_path: Path, backbone: str, config: Any
) -> None:
    save_checkpoint(tmp_path / "m.pt", attacked(sound, backbone, config))
    with pytest.raises((ArtefactError, UsageError)):
        load_checkpoint(tmp_path / "m.pt")


@pytest.mark.parametrize(
    "config",
    [
        {"hidden_size": 1 << 40},
        {"hidden_size": 1 << 19, "num_hidden_layers": 100_000},
        {"hidden_size": "many"},
        {"hidden_act": "../gelu"},
        {"no_such_field": 1},
        {"_name_or_path": "somebody/something"},
    ],
)
def test_load_checkpoint_transformers_outside_schema_is_refused(sound: Checkpoint, tmp_path: Path, config: Any) -> None:
    pytest.importorskip("transformers")
    save_checkpoint(tmp_path / "m.pt", attacked(sound, "hf:vit", config))
    with pytest.raises(ArtefactError):
        load_checkpoint(tmp_path / "m.pt")


def test_load_checkpoint_tensor_larger_than_file_is_refused(sound: Checkpoint, tmp_path: Path) -> None:
    state = {**sound.state, "more": torch.zeros(1).expand(1 << 20, 1 << 20)}
    save_checkpoint(tmp_path / "m.pt", replace(sound, state=state))
    with pytest.raises(ArtefactError, match="larger than what the file holds"):
        load_checkpoint(tmp_path / "m.pt")


def test_trusted_factory_returns_named_reference(tmp_path: Path) -> None:
    write_front(tmp_path / "f.json", "canary:wide", {"width": 8})
    actual = pick_candidate(read_front(tmp_path / "f.json"), "knee")
    with pytest.raises(UsageError, match="a file alone does not decide"):
        trusted(actual, (), "f.json")
    assert trusted(actual, ["canary:wide(width=8)"], "f.json") == ("canary:wide(width=8)", None)


@pytest.mark.parametrize("arguments", [{}, {"width": 8}, {"name": "a'b\"", "x": [1, 2.5, None, True], "y": {"k": "v"}}])
def test_parse_factory_written_reference_is_equal(arguments: dict[str, Any]) -> None:
    assert parse_factory(write_factory("a.b:c.d", arguments)) == ("a.b:c.d", arguments)


@pytest.mark.parametrize(
    "model", ["a:b(1)", "a:b(x=f())", "a:b(**{})", "a:b(x=1", "a:b)(", "a:b(x=1)(y=2)", "a:b(x=c)", "a:b(x=1, x=2)"]
)
def test_parse_factory_other_text_is_refused(model: str) -> None:
    with pytest.raises(UsageError):
        parse_factory(model)


def test_check_size_network_beyond_bound_is_refused() -> None:
    def build() -> torch.nn.Module:
        return torch.nn.Linear(1 << 20, 1 << 20)

    with pytest.raises(TooLargeError):
        check_size(build, parameters=1 << 30)
    with limit_size(10), pytest.raises(TooLargeError):
        torch.nn.Linear(5, 5)
    torch.nn.Linear(5, 5)  # outside the block there is no bound


def test_load_checkpoint_policy_without_full_is_refused(sound: Checkpoint, tmp_path: Path) -> None:
    policy = Policy("max_softmax", (1.0, 1.0), {"full": OperatingPoint((None,))}, 1.0)
    save_checkpoint(tmp_path / "m.pt", sound.with_policy(policy))
    assert load_checkpoint(tmp_path / "m.pt").record.policy == policy
    points = {"fast": OperatingPoint((0.5,))}
    save_checkpoint(tmp_path / "m.pt", sound.with_policy(replace(policy, operating_points=points)), force=True)
    with pytest.raises(ArtefactError, match="no operating point `full`"):
        load_checkpoint(tmp_path / "m.pt")


WEIGHTLESS = """
import torch
from torch import nn


class Pool(nn.Module):
    def __init__(self, learns):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(10)) if learns else 0.0

    def forward(self, x):
        return x.mean((2, 3)).repeat(1, 10) + self.bias


def bias():
    return Pool(True)


def nothing():
    return Pool(False)
"""


def test_commands_network_without_macs_succeed(
    cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "weightless.py").write_text(WEIGHTLESS)
    monkeypatch.chdir(tmp_path)
    train, named = ("--data", "digits", "--exits", 0, "--epochs", 1, "-o", "m.pt"), ("--model", "weightless:bias")
    refused = cli("train", "weightless:nothing", *train)
    assert (refused.code, "has no weights" in refused.stderr) == (2, True), refused
    assert cli("train", "weightless:bias", *train).code == 0
    assert cli("inspect", "m.pt", *named).code == 0
    assert cli("tune", "m.pt", "--data", "digits", *named).code == 0
    assert cli("export", "m.pt", "--no-reference", *named).code == 0
    assert cli("verify", "m.eebundle").code == 0


@pytest.mark.usefixtures("converted_once")
def test_tune_bundle_with_zero_macs_succeeds(cli: Callable[..., Any], tuned: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "b.eebundle"
    assert cli("export", tuned, "--no-reference", "-o", bundle).code == 0
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    manifest["unsplit_macs"] = 0
    for component in manifest["components"]:
        component["macs"] = 0
    (bundle / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    answered = cli("tune", bundle, "--data", "digits", "-o", tmp_path / "again.eebundle")
    assert answered.code == 0, answered


def test_fuzz_checkpoint_short_run_finds_nothing() -> None:
    document = fuzz_checkpoint.fuzz(runs=150, seed=3)
    assert document["uncaught"] == []
    assert document["checkpoints_read"] > 5
    assert document["fronts_read"] > 0
    assert document["refused_at_places"] > 12


def test_fuzz_checkpoint_careless_reader_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(path: Path) -> None:
        json.loads(torch.load(path, weights_only=True)["record"])["spec"]["inputs"][0]["name"].upper()

    monkeypatch.setattr(fuzz_checkpoint, "judge_checkpoint", careless)
    assert fuzz_checkpoint.fuzz(runs=60, seed=1)["uncaught"]
