"""Networks with exits of their own: order, components, MACs, and what a frozen backbone leaves to train."""

import json
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from eetool.errors import ArtefactError, UsageError
from eetool.export.traced_model import TracedModel, trace_model
from eetool.latency.estimate.recorded_model import record_checkpoint
from eetool.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from eetool.model.macs import count_macs
from eetool.model.network_check.trial_run import TrialTraining, try_training
from eetool.model.own_exits import OwnExitNet, measure_own_exits, order_exits
from eetool.model.references.example_inputs import example_inputs
from eetool.model.references.output_choice import OutputChoice
from eetool.train.exit_plan import ExitPlan
from eetool.train.pipeline import attach_exits
from eetool.tune.exit_costs import model_macs
from tests.helpers import multi_exit_networks as networks

OWN = ExitPlan(0, outputs=OutputChoice(own=True))
# Outputs from shallow to deep, and the components with what they read of others.
EXPECTED: Mapping[str, tuple[tuple[str, ...], Mapping[str, set[str]]]] = {
    "branchy": (
        ("0", "1", "2"),
        {"seg0": {"input"}, "exit0": {"seg0_out"}, "seg1": {"seg0_out"}, "exit1": {"seg1_out"}, "exit2": {"seg1_out"}},
    ),
    "multi-scale": (
        ("0", "1", "2"),
        {
            "seg0": {"input"},
            "exit0": {"seg0_out1"},
            "seg1": {"seg0_out0", "seg0_out1"},
            "exit1": {"seg1_out1"},
            "exit2": {"seg0_out0", "seg1_out0", "seg1_out1"},
        },
    ),
    "shared": (
        ("2", "1", "0"),
        {"seg0": {"input"}, "exit0": {"seg0_out"}, "seg1": {"seg0_out"}, "exit1": {"seg1_out"}, "exit2": {"seg1_out"}},
    ),
    "averaging": (
        ("exits.shallow", "exits.middle", "exits.deep"),
        {
            "seg0": {"input"},
            "exit0": {"seg0_out"},
            "seg1": {"seg0_out"},
            "exit1": {"exit0_logits", "seg1_out"},
            "exit2": {"exit1_logits", "seg1_out"},
        },
    ),
    "perceptron": (("0", "1"), {"seg0": {"input"}, "exit0": {"seg0_out"}, "exit1": {"seg0_out"}}),
}
TRACED = [name for name in EXPECTED if name != "branchy"]  # "shared" is cut alike


@pytest.fixture(scope="module")
def checkpoints() -> dict[str, Checkpoint]:
    made = {n: attach_exits(networks.reference(n), (1, 1, 8, 8), None, OWN, seed=0) for n in EXPECTED}
    return {name: _with_statistics(checkpoint) for name, checkpoint in made.items()}


@pytest.fixture(scope="module")
def traced(checkpoints: Mapping[str, Checkpoint]) -> dict[str, TracedModel]:
    return {name: trace_model(checkpoints[name], references=True) for name in TRACED}


def _with_statistics(checkpoint: Checkpoint) -> Checkpoint:
    """Give normalisations other statistics than 0 and 1, so that their layers cannot be left out unseen."""
    generator = torch.Generator().manual_seed(0)
    state = {
        name: x + torch.rand(x.shape, generator=generator) if ".running_" in name else x
        for name, x in checkpoint.state.items()
    }
    return replace(checkpoint, state=state)


def _authors_outputs(name: str, checkpoint: Checkpoint, images: Tensor) -> dict[str, Tensor]:
    """Return what the author's own class computes with these weights, by the name of the output."""
    network = networks.make(name).eval()
    network.load_state_dict({n.removeprefix("backbone."): x for n, x in checkpoint.state.items()})
    with torch.no_grad():
        outputs = network(images)
    if isinstance(outputs, dict):
        return {f"exits.{key}": value for key, value in outputs["exits"].items()}
    return {str(i): value for i, value in enumerate(outputs)}


@pytest.mark.parametrize("name", EXPECTED)
def test_own_exit_net_exits_are_the_outputs_from_shallow_to_deep(
    checkpoints: Mapping[str, Checkpoint], name: str
) -> None:
    checkpoint, (outputs, _) = checkpoints[name], EXPECTED[name]
    spec = checkpoint.record.spec
    assert spec.outputs == outputs
    assert (spec.taps, set(spec.branches)) == (tuple(f"output {x}" for x in outputs[:-1]), {"own"})
    images = checkpoint.samples["input"][:4]
    expected = _authors_outputs(name, checkpoint, images)
    net = checkpoint.build()
    with torch.no_grad():
        found = net(images)
        final = net.backbone(images)
    assert all(torch.equal(a, expected[b]) for a, b in zip(found, outputs, strict=True))
    assert torch.equal(final, expected[outputs[-1]])


@pytest.mark.parametrize("name", TRACED)
def test_trace_model_own_exits_are_cut_where_their_heads_begin(
    checkpoints: Mapping[str, Checkpoint], traced: Mapping[str, TracedModel], name: str
) -> None:
    outputs, reads = EXPECTED[name]
    model = traced[name]
    assert {c.name: {x for x in c.inputs if "temperature" not in x} for c in model.components} == reads
    tensors = model.example(5)
    expected = _authors_outputs(name, checkpoints[name], model.arguments["input"][:5])
    for i, output in enumerate(outputs):
        assert torch.allclose(tensors[f"exit{i}_logits"], expected[output], atol=1e-5)
    (unsplit,) = model.references["unsplit"].module(model.arguments["input"][:5])
    assert torch.allclose(unsplit, expected[outputs[-1]], atol=1e-5)


@pytest.mark.parametrize("name", TRACED)
def test_model_macs_of_own_exits_are_those_of_their_components(
    checkpoints: Mapping[str, Checkpoint], traced: Mapping[str, TracedModel], name: str
) -> None:
    recorded = record_checkpoint(checkpoints[name], "m")
    tensors = traced[name].example(1)
    exported = {c.name: count_macs(c.module, tuple(tensors[n] for n in c.inputs)) for c in traced[name].components}
    assert recorded.macs == exported
    costs = recorded.layout.arrange({n: float(macs) for n, macs in exported.items()})
    counted = model_macs(checkpoints[name].record.spec)
    assert replace(costs, restarts=counted.restarts) == counted
    for thresholds in product((None, 0.5), repeat=costs.early):  # a view is no operation, and may be a component
        assert costs.leaving(thresholds).tolist() == counted.leaving(thresholds).tolist()


def test_measure_own_exits_shows_where_heads_begin(checkpoints: Mapping[str, Checkpoint]) -> None:
    net = checkpoints["shared"].build()
    assert isinstance(net, OwnExitNet)
    taps = measure_own_exits(net, example_inputs(checkpoints["shared"].record.spec.inputs))
    assert [(t.name, t.shape, t.macs, t.parameters) for t in taps] == [
        ("output 2", (1, 8, 8, 8), 4608, 88),
        ("output 1", (1, 8, 4, 4), 4608 + 9216, 88 + 592),
    ]


class Two(nn.Module):
    """Two exits behind one layer: `narrow` is one large layer, `deep` three small ones."""

    def __init__(self, widths: tuple[int, ...] = (4, 4)) -> None:
        super().__init__()
        self.stem, self.narrow = nn.Linear(8, 8), nn.Linear(8, 3)
        sizes = zip((8, *widths), (*widths, 3), strict=True)
        self.deep = nn.Sequential(*(nn.Linear(a, b) for a, b in sizes))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(x)
        return self.deep(x), self.narrow(x)


def test_order_exits_two_exits_the_deeper_has_more_layers_and_macs() -> None:
    assert order_exits(Two(), (torch.zeros(1, 8),), ("0", "1")) == ("1", "0")


def test_order_exits_layers_and_macs_that_contradict_are_left_to_the_user() -> None:
    net, x = Two((1, 1)), (torch.zeros(1, 8),)
    with pytest.raises(UsageError, match="'0' and '1' leave the network at one place"):
        order_exits(net, x, ("0", "1"))
    assert order_exits(net, x, ("0", "1"), trusted=True) == ("0", "1")
    assert order_exits(net, x, ("1", "0"), trusted=True) == ("1", "0")


def test_order_exits_more_macs_without_more_layers_are_left_to_the_user() -> None:
    """An auxiliary head on large features may cost more than the rest of the network."""

    net, x = Two((4, 4)), (torch.zeros(1, 8),)
    net.narrow = nn.Sequential(nn.Linear(8, 64), nn.Linear(64, 8), nn.Linear(8, 3))
    with pytest.raises(UsageError, match="'0' and '1' leave the network at one place"):
        order_exits(net, x, ("0", "1"))
    assert order_exits(net, x, ("1", "0"), trusted=True) == ("1", "0")


@pytest.mark.parametrize("error", [ValueError("too many"), SystemExit(0)])
def test_own_exit_net_error_of_the_network_names_its_line(error: BaseException) -> None:
    class Breaks(Two):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            raise error

    line = Breaks.forward.__code__.co_firstlineno + 1
    reason = rf"in the network's own forward \(Breaks\), test_own_exits\.py:{line}: "
    with pytest.raises(ArtefactError, match=reason):
        OwnExitNet(Breaks(), ("0", "1"))(torch.zeros(1, 8))


def test_try_training_own_exits_may_learn_before_a_frozen_final_exit() -> None:
    net = OwnExitNet(Two().requires_grad_(False), ("1", "0"))
    net.backbone.narrow.requires_grad_(True)
    assert try_training(net, [torch.zeros(3, 8)], TrialTraining(), "net") == [
        "8 weights of net are frozen (requires_grad is False) and stay as they are"
    ]


def test_order_exits_outputs_that_are_no_exits_are_refused() -> None:
    class Constant(Two):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.narrow(self.stem(x)), self.narrow.bias.expand(len(x), -1) * 2

    with pytest.raises(UsageError, match="output '1' does not depend on the input"):
        order_exits(Constant(), (torch.zeros(1, 8),), ("0", "1"))
    with pytest.raises(UsageError, match="'0' and '1' are one tensor or parts of one") as told:
        order_exits(networks.make("one tensor in parts"), (torch.zeros(1, 1, 8, 8),), ("0", "1", "2"))
    assert "none stacked, split" in str(told.value.hint)


def test_freeze_backbone_trains_what_the_final_exit_does_not_use(checkpoints: Mapping[str, Checkpoint]) -> None:
    net = checkpoints["branchy"].build()
    net.freeze_backbone(checkpoints["branchy"].samples["input"][:2])
    trained = {name for name, x in net.named_parameters() if x.requires_grad}
    heads = ("backbone.heads.0.", "backbone.heads.1.")
    assert trained == {name for name, _ in net.named_parameters() if name.startswith(heads)}
    net.train_exits()
    in_training = {name for name, module in net.named_modules() if module.training}
    assert in_training == {f"backbone.heads.{x}" for x in ("0.0.0", "0.0.1", "0.1.linear", "1.linear")}
    with pytest.raises(UsageError, match="uses every weight of this network"):
        checkpoints["shared"].build().freeze_backbone(checkpoints["shared"].samples["input"][:2])


def test_freeze_backbone_weights_that_the_user_has_frozen_stay_so() -> None:
    net, x = OwnExitNet(Two().requires_grad_(False), ("1", "0")), torch.zeros(2, 8)
    with pytest.raises(UsageError, match="all weights of this network are frozen"):
        net.freeze_backbone(x)
    net.backbone.narrow.requires_grad_(True)
    net.freeze_backbone(x)
    assert [n for n, p in net.named_parameters() if p.requires_grad] == [
        "backbone.narrow.weight",
        "backbone.narrow.bias",
    ]


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        (replace(OWN, branch="linear"), "gets no others, and no branches"),
        (replace(OWN, taps=("blocks.0",)), "gets no others"),
        (replace(OWN, ensemble=True), "gets no others"),
    ],
)
def test_make_spec_own_exits_with_attached_ones_are_refused(plan: ExitPlan, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        attach_exits(networks.reference("branchy"), (1, 1, 8, 8), None, plan, seed=0)


def test_make_spec_built_in_backbone_has_no_exits_of_its_own() -> None:
    with pytest.raises(UsageError, match="resnet8 returns one output, so it has no exits of its own"):
        attach_exits("resnet8", (1, 1, 8, 8), 3, OWN, seed=0)


def test_attach_exits_chosen_output_is_the_final_exit() -> None:
    plan = ExitPlan(1, "linear", outputs=OutputChoice(("2",)))
    made = _with_statistics(attach_exits(networks.reference("branchy"), (1, 1, 8, 8), None, plan, seed=0))
    assert (made.record.spec.outputs, made.record.spec.has_own_exits) == (("2",), False)
    images = made.samples["input"][:4]
    backbone = {n: x for n, x in made.state.items() if n.startswith("backbone.")}
    expected = _authors_outputs("branchy", replace(made, state=backbone), images)
    with torch.no_grad():
        assert torch.equal(made.build()(images)[-1], expected["2"])


def test_make_spec_exits_lie_before_the_chosen_output() -> None:
    """The auxiliary classifier has nearly all MACs of the network, but the chosen output needs none of them."""
    name, choice = networks.reference("trailing"), OutputChoice(("0",))
    made = attach_exits(name, (1, 1, 8, 8), None, ExitPlan(1, "linear", outputs=choice), seed=0)
    assert made.record.spec.taps == ("blocks.0.2",)
    assert sum(model_macs(made.record.spec).trunk) == 4608 + 9216 + 80
    plan = ExitPlan(1, "linear", ("auxiliary.0",), outputs=choice)
    with pytest.raises(UsageError, match=r"auxiliary\.0 does not lie before '0'"):
        attach_exits(name, (1, 1, 8, 8), None, plan, seed=0)


def test_load_checkpoint_outputs_are_kept_and_checked(checkpoints: Mapping[str, Checkpoint], tmp_path: Path) -> None:
    made, path = checkpoints["shared"], tmp_path / "m.pt"
    name = "tests.helpers.multi_exit_networks:make(name='shared')"
    save_checkpoint(path, made)
    assert load_checkpoint(path, [name]).record == made.record
    spec = made.record.spec
    for wrong, reason in (
        (replace(spec, outputs=("2", "1", "1")), "neither the network's own nor attached"),
        (replace(spec, branches=("own", "linear")), "neither the network's own nor attached"),
        (replace(spec, cascade=True), "neither the network's own nor attached"),
        (replace(spec, backbone="resnet8", config=None), "returns one tensor"),
        (replace(spec, outputs=("2",)), "unknown branch layer 'own'"),
    ):
        save_checkpoint(path, replace(made, record=replace(made.record, spec=wrong)), force=True)
        with pytest.raises((ArtefactError, UsageError), match=reason):
            load_checkpoint(path, [name])


def test_load_checkpoint_file_without_outputs_is_read(tmp_path: Path) -> None:
    made = attach_exits("mlp-8x2", (1, 6), 3, ExitPlan(1, "linear"), seed=0)
    save_checkpoint(tmp_path / "new.pt", made)
    stored = torch.load(tmp_path / "new.pt", weights_only=True)
    record = json.loads(stored["record"])
    assert record["spec"].pop("outputs") == []
    torch.save({**stored, "record": json.dumps(record)}, tmp_path / "old.pt")
    assert load_checkpoint(tmp_path / "old.pt").record == made.record
