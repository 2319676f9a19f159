"""MODEL arguments: built-in backbones, factories of the user, and models of libraries."""

import importlib
import re
import sys
import types
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from eetool.errors import ArtefactError, MissingError, UsageError
from eetool.model.checkpoint import load_checkpoint, save_checkpoint
from eetool.model.references import resolve
from eetool.model.references.reference import extract_logits
from eetool.train.exit_plan import ExitPlan
from eetool.train.pipeline import attach_exits
from eetool_runtime.manifest import Input

FACTORIES = """
import torch
from torch import nn

def image():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(4, 6))

class Text(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(9, 4)
        self.blocks = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.head = nn.Linear(4, 3)
    def forward(self, ids, mask):
        x = self.embedding(ids)
        for block in self.blocks:
            x = block(x) * mask[..., None]
        return {"logits": self.head(x[:, 0]), "hidden": x}

def text():
    return Text(), {"ids": torch.tensor([[0, 8, 3]]), "attention_mask": torch.tensor([[1, 1, 0]])}

def number():
    return 7

def broken():
    raise RuntimeError("no weights here")

def wants_more(x):
    return x

def settings():
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    return image()
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with the user's module in it."""
    (tmp_path / "user_networks.py").write_text(FACTORIES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "user_networks", raising=False)
    return tmp_path


def test_resolve_built_in_has_default_or_given_shape() -> None:
    assert resolve.resolve("resnet8").inputs == (Input("input", "float32", ("batch", 3, 32, 32)),)
    reference = resolve.resolve("resnet8", (1, 1, 8, 8), 3)
    assert (reference.inputs[0].shape, reference.classes, reference.config) == (("batch", 1, 8, 8), 3, None)


@pytest.mark.usefixtures("here")
def test_resolve_factory_checkpoint_is_rebuilt(tmp_path: Path) -> None:
    made = attach_exits("user_networks:image", (1, 3, 12, 12), None, ExitPlan(1), seed=0)
    assert (made.record.spec.backbone, len(made.record.spec.labels)) == ("user_networks:image", 6)
    save_checkpoint(tmp_path / "model.pt", made)
    outputs = load_checkpoint(tmp_path / "model.pt", ["user_networks:image"]).build()(made.samples["input"])
    assert [x.shape for x in outputs] == [(32, 6), (32, 6)]


@pytest.mark.usefixtures("here")
def test_resolve_factory_with_examples_names_its_inputs() -> None:
    made = attach_exits("user_networks:text", None, None, ExitPlan(1), seed=0)
    assert [(i.name, i.dtype, i.shape) for i in made.record.spec.inputs] == [
        ("ids", "int64", ("batch", 3)),
        ("attention_mask", "int64", ("batch", 3)),
    ]
    assert made.samples["ids"].max() == 8, "ids below the largest example + 1"
    mask = made.samples["attention_mask"]
    assert set(mask.unique().tolist()) == {0, 1}
    assert mask[:, 0].all(), "no mask hides everything"
    assert made.record.spec.branches == ("cls",), "the classifier reads the first token"
    assert all(isinstance(x, Tensor) for x in made.build()(*made.samples.values())), "logits out of a dictionary"


@pytest.mark.usefixtures("here")
def test_resolve_factory_that_sets_defaults_of_torch_changes_nothing_else() -> None:
    made = attach_exits("user_networks:settings", (1, 3, 12, 12), None, ExitPlan(1), seed=0)
    assert {x.dtype for x in made.state.values() if x.is_floating_point()} == {torch.float32}
    assert made.samples["input"].dtype == torch.float32
    assert (torch.get_default_dtype(), torch.is_grad_enabled()) == (torch.float32, True)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("code", ["def image(:", "import sys; sys.exit()", "import no_such_library", "1 / 0"])
def test_resolve_module_of_the_user_that_cannot_be_imported_is_told(here: Path, code: str) -> None:
    (here / "broken_networks.py").write_text(f"\n{code}\n")
    importlib.invalidate_caches()
    with pytest.raises(ArtefactError, match="broken_networks:image fails") as told:
        resolve.resolve("broken_networks:image", (1, 3, 12, 12), 6)
    assert re.search(r"broken_networks\.py(:|, line )2", told.value.message)
    expected = "Install what it needs." if "library" in code else "not of eetool"
    assert expected in str(told.value.hint)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("reference", "error", "reason"),
    [
        ("user_networks:none", UsageError, "has no 'none'"),
        ("no_such_package.networks:make", UsageError, "no module 'no_such_package'"),
        ("user_networks:number", UsageError, "gives int, not a torch.nn.Module"),
        ("user_networks:broken", ArtefactError, "RuntimeError: no weights here"),
        ("user_networks:wants_more", ArtefactError, "TypeError"),
    ],
)
def test_resolve_factory_without_network_raises_error(reference: str, error: type[Exception], reason: str) -> None:
    with pytest.raises(error, match=reason):
        resolve.resolve(reference, (1, 3, 12, 12), 6)


@pytest.mark.usefixtures("here")
def test_check_backbone_network_that_does_not_fit_raises_usage_error() -> None:
    with pytest.raises(UsageError, match=r"gives shape \(2, 6\) for a batch of 2, not logits of shape \(2, 5\)"):
        attach_exits("user_networks:image", (1, 3, 12, 12), 5, ExitPlan(0), seed=0)
    with pytest.raises(UsageError, match="does not take input batchx1x12x12"):
        attach_exits("user_networks:image", (1, 1, 12, 12), 6, ExitPlan(0), seed=0)
    with pytest.raises(UsageError, match="gives no example of its input"):
        resolve.resolve("user_networks:image")


def fake_timm() -> types.ModuleType:
    """Return a module with the functions of timm that the adapter uses."""

    class Convolutional(nn.Sequential):
        def __init__(self, num_classes: int, in_chans: int, pretrained: bool) -> None:
            assert not pretrained
            pool = nn.AdaptiveAvgPool2d(1)
            super().__init__(
                nn.Conv2d(in_chans, 4, 3), nn.Conv2d(4, 4, 3), pool, nn.Flatten(), nn.Linear(4, num_classes)
            )

    module = types.ModuleType("timm")
    module.is_model = lambda name: name == "tiny"  # type: ignore[attr-defined]
    module.list_models = lambda pattern: ["tiny"]  # type: ignore[attr-defined]
    module.get_pretrained_cfg = lambda name: types.SimpleNamespace(input_size=(3, 20, 20))  # type: ignore[attr-defined]
    module.create_model = lambda name, **options: Convolutional(**options)  # type: ignore[attr-defined]
    return module


def test_resolve_timm_model_takes_given_shape_and_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", fake_timm())
    assert resolve.resolve("timm:tiny").inputs[0].shape == ("batch", 3, 20, 20)
    made = attach_exits("timm:tiny", (1, 1, 9, 9), 4, ExitPlan(1), seed=0)
    assert [x.shape for x in made.build()(made.samples["input"])] == [(32, 4), (32, 4)]
    with pytest.raises(UsageError, match="timm has no model 'huge'"):
        resolve.resolve("timm:huge")


@pytest.mark.parametrize(
    ("model", "package"), [("timm:x", "timm"), ("torchvision:x", "torchvision"), ("hf:vit", "transformers")]
)
def test_resolve_missing_library_raises_missing_error_with_command(
    model: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingError, match=package) as caught:
        resolve.resolve(model)
    assert caught.value.exit_code == 5
    assert f"pip install {package}" in str(caught.value.hint)


def test_resolve_broken_library_raises_missing_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torchvision.py").write_text('raise RuntimeError("operator torchvision::nms does not exist")')
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingError, match="torchvision is broken: operator torchvision::nms does not exist"):
        resolve.resolve("torchvision:resnet18")


def test_extract_logits_output_of_any_library_gives_logits() -> None:
    logits = torch.zeros(1, 2)
    for output in (logits, (logits, "more"), {"loss": None, "logits": logits}, types.SimpleNamespace(logits=logits)):
        assert extract_logits(output) is logits
    assert extract_logits({"scores": logits}) is None
