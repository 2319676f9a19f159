"""Cascades of networks: every network answers as it does alone, and a file holds what a cascade needs and no more."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from eetool.errors import ArtefactError, UsageError
from eetool.export.split import run_components
from eetool.export.traced_model import trace_model
from eetool.latency.estimate.cascade_cost import WiredComponent, layout_of_components
from eetool.model.checkpoint import Checkpoint, build_net, load_checkpoint, save_checkpoint
from eetool.model.macs import count_macs
from eetool.model.network_cascade import PixelMap, sum_weights
from eetool.model.network_joining import check_networks, join_networks
from eetool.model.references.output_choice import OutputChoice
from eetool.model.spec import Member, ModelSpec
from eetool.train.exit_plan import ExitPlan
from eetool.train.pipeline import attach_exits
from eetool.tune.exit_costs import model_macs
from eetool_runtime.manifest import Data, Preprocess, Resize, Split, Text
from tests.helpers.cascade_networks import FIRST, SECOND, SHAPE, network, small_and_big
from tests.helpers.multi_exit_networks import reference

PIXELS = torch.rand(3, *SHAPE[1:], generator=torch.Generator().manual_seed(0)) * 255
WEIGHTS = (((1.5, 0.25), (0.75, 2.0)),)  # of the two exits of the second network


@pytest.fixture(scope="module")
def networks() -> list[Checkpoint]:
    return small_and_big()


def normalise(rule: Preprocess) -> torch.Tensor:
    return (PIXELS * rule.scale - rule.mean[0]) / rule.std[0]


def with_weights(joined: Checkpoint) -> Checkpoint:
    return replace(joined, state={**joined.state, **sum_weights(WEIGHTS)})


@torch.no_grad()
def test_cascade_each_network_answers_as_alone(networks: list[Checkpoint]) -> None:
    logits = join_networks(networks, ensemble=False).build()(normalise(FIRST))
    alone = [*networks[0].build()(normalise(FIRST)), *networks[1].build()(normalise(SECOND))]
    assert len(logits) == 4
    for ours, theirs in zip(logits, alone, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


@torch.no_grad()
def test_cascade_together_adds_the_final_logits_of_the_network_before(networks: list[Checkpoint]) -> None:
    joined = with_weights(join_networks(networks, ensemble=True))
    inner, before, shallow, deep = joined.build()(normalise(FIRST))
    small, big = networks[0].build()(normalise(FIRST)), networks[1].build()(normalise(SECOND))
    assert torch.equal(inner, small[0])
    assert torch.equal(before, small[1])
    for ours, theirs, (own, earlier) in zip((shallow, deep), big, WEIGHTS[0], strict=True):
        assert torch.allclose(ours, own * theirs + earlier * small[1], atol=1e-5)


def test_cascade_equal_normalisation_adds_no_operation(networks: list[Checkpoint]) -> None:
    same = join_networks([networks[0], network("resnet8", 1)], ensemble=False)
    operations = {str(node.target) for node in trace_model(same, references=False).components[-1].module.graph.nodes}
    assert not any("mul" in name for name in operations), operations


@torch.no_grad()
@pytest.mark.parametrize(
    ("padding", "bias", "given", "folded"),
    [
        (0, True, FIRST, True),
        (1, True, FIRST, False),
        (0, False, FIRST, False),
        (1, False, replace(SECOND, std=(0.125,)), True),
    ],
)
def test_cascade_normalisation_is_folded_where_that_is_exact(
    padding: int, bias: bool, given: Preprocess, folded: bool
) -> None:
    code = f"tests.helpers.cascade_networks:patches(padding={padding}, bias={bias})"
    last = network(code, 0, rule=SECOND)
    joined = join_networks([network("resnet-8x0-16x1", 1, rule=given), last], ensemble=False)
    maps = [module for module in joined.build().modules() if isinstance(module, PixelMap)]
    assert (maps == []) is folded
    alone = last.build()(normalise(SECOND))[-1]
    assert torch.allclose(joined.build()(normalise(given))[-1], alone, atol=1e-5)


def test_cascade_exits_are_named_by_network(networks: list[Checkpoint]) -> None:
    spec = join_networks(networks, ensemble=False).record.spec
    inside = [checkpoint.record.spec.taps[0] for checkpoint in networks]
    assert spec.taps == (f"network 0 {inside[0]}", "network 0", f"network 1 {inside[1]}")
    assert spec.branches == ("linear", "own", "linear")
    assert spec.inputs == networks[0].record.spec.inputs


def test_cascade_learned_confidences_are_dropped(networks: list[Checkpoint]) -> None:
    spec = replace(networks[0].record.spec, learned_confidence=True)
    record = replace(networks[0].record, spec=spec)
    learned = Checkpoint(record, build_net(spec).state_dict(), networks[0].samples)
    joined = join_networks([learned, networks[1]], ensemble=False)
    assert not any("confidence" in name for name in joined.state)
    assert len(joined.build()(normalise(FIRST))) == 4


@pytest.mark.parametrize("ensemble", [False, True])
def test_cascade_saved_and_loaded_is_the_same(networks: list[Checkpoint], tmp_path: Path, ensemble: bool) -> None:
    joined = join_networks(networks, ensemble)
    save_checkpoint(tmp_path / "m.pt", joined)
    loaded = load_checkpoint(tmp_path / "m.pt")
    assert loaded.record == joined.record
    ours, theirs = (checkpoint.build()(normalise(FIRST)) for checkpoint in (joined, loaded))
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("ensemble", [False, True])
def test_cascade_macs_are_those_of_its_components(networks: list[Checkpoint], ensemble: bool) -> None:
    joined = join_networks(networks, ensemble)
    traced = trace_model(joined, references=False)
    tensors = run_components(traced.components, {k: x[:1] if x.ndim else x for k, x in traced.arguments.items()})
    macs = {c.name: float(count_macs(c.module, tuple(tensors[n] for n in c.inputs))) for c in traced.components}
    wired = [WiredComponent(c.name, c.kind, c.inputs, c.outputs) for c in traced.components]
    arranged = layout_of_components(wired, [f"exit{i}" for i in range(4)]).arrange(macs)
    counted = model_macs(joined.record.spec)
    assert counted.restarts == arranged.restarts == {2}
    for thresholds in itertools.product((None, 0.5), repeat=3):
        assert arranged.leaving(thresholds).tolist() == counted.leaving(thresholds).tolist()
    alone = model_macs(networks[1].record.spec).leaving((None,))[-1]
    assert (counted.leaving((None,) * 3)[-1] == alone) is not ensemble, "only a sum needs the first network"


CLASSES_DIFFER = (
    (("a", "b", "c"), "a.pt has 10 classes, and b.pt has 3"),
    (tuple("abcdefghij"), "class 0 is '0' in a.pt and 'a' in b.pt"),
    (tuple("0132456789"), "class 2 is '2' in a.pt and '3' in b.pt, the same ones in another order"),
)


@pytest.mark.parametrize(("labels", "message"), CLASSES_DIFFER)
def test_check_networks_other_classes_are_named(
    networks: list[Checkpoint], labels: tuple[str, ...], message: str
) -> None:
    first, second = networks
    other = replace(second, record=replace(second.record, spec=replace(second.record.spec, labels=labels)))
    with pytest.raises(UsageError, match=message):
        check_networks([first, other], ["a.pt", "b.pt"])


def changed(checkpoint: Checkpoint, **fields: object) -> Checkpoint:
    spec = checkpoint.record.spec
    spec = replace(spec, inputs=(replace(spec.inputs[0], **fields),))
    return replace(checkpoint, record=replace(checkpoint.record, spec=spec))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: changed(c, shape=("batch", 1, 8, 8)), "float32 batchx1x16x16, and b.pt reads float32 batchx1x8x8"),
        (lambda c: changed(c, dtype="int64"), "reads int64"),
        (lambda c: changed(c, preprocess=None), "other rules"),
        (lambda c: changed(c, text=Text(("a",))), "other rules"),
        (lambda c: changed(c, preprocess=replace(SECOND, resize=Resize("pad"))), r"\(pad, bilinear\)"),
        (lambda c: replace(c, record=replace(c.record, data=Data("d", {"x": Split(1, "a")}))), "held-out"),
        (lambda c: join_networks(small_and_big(), ensemble=False), "b.pt is a cascade of resnet-8x0-16x1 → resnet8"),
    ],
)
def test_check_networks_that_do_not_belong_together_are_refused(
    networks: list[Checkpoint], change: Callable[[Checkpoint], Checkpoint], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        check_networks([networks[0], change(networks[1])], ["a.pt", "b.pt"])


@pytest.mark.parametrize("count", [1, 9])
def test_check_networks_one_or_many_is_refused(networks: list[Checkpoint], count: int) -> None:
    with pytest.raises(UsageError, match="2 to 8 networks"):
        check_networks(networks[:1] * count, ["a.pt"] * count)


def with_member(spec: ModelSpec, index: int, **fields: object) -> ModelSpec:
    members = list(spec.members)
    members[index] = replace(members[index], spec=replace(members[index].spec, **fields))
    return replace(spec, members=tuple(members))


def with_reads(spec: ModelSpec, *reads: str) -> ModelSpec:
    return replace(spec, members=(spec.members[0], replace(spec.members[1], reads=reads)))


def with_scale(spec: ModelSpec, scale: float) -> ModelSpec:
    item = spec.inputs[0]
    return replace(spec, inputs=(replace(item, preprocess=replace(FIRST, scale=scale)),))


HOSTILE: dict[str, Callable[[ModelSpec], ModelSpec]] = {
    "a cascade of nothing": lambda s: replace(s, members=()),
    "a cascade of one": lambda s: replace(s, members=s.members[:1]),
    "a cascade of many": lambda s: replace(s, members=s.members * 5),
    "a cascade inside": lambda s: replace(s, members=(Member(s, s.members[0].training, ("input",)), s.members[1])),
    "a network with members": lambda s: replace(s, backbone="resnet8"),
    "other classes": lambda s: with_member(s, 1, labels=tuple("abcdefghij")),
    "no classes": lambda s: with_member(s, 1, labels=()),
    "a learned confidence": lambda s: with_member(s, 0, learned_confidence=True),
    "no exits": lambda s: replace(s, taps=(), branches=()),
    "exits of other networks": lambda s: replace(s, taps=("layer1.0", "layer2.0", "layer3.0")),
    "branches of other networks": lambda s: replace(s, branches=("linear",) * 3),
    "layouts": lambda s: replace(s, layouts=("NC",) * 3),
    "a configuration": lambda s: replace(s, config={"width": 8}),
    "outputs": lambda s: replace(s, outputs=("a",)),
    "an input that does not exist": lambda s: with_reads(s, "absent"),
    "an input twice": lambda s: with_reads(s, "input", "input"),
    "no input": lambda s: with_reads(s),
    "an input of another size": lambda s: with_member(
        s, 1, inputs=(replace(s.members[1].spec.inputs[0], shape=("batch", 1, 8, 8)),)
    ),
    "a negative size": lambda s: with_member(
        s, 1, inputs=(replace(s.members[1].spec.inputs[0], shape=("batch", -1, 16, 16)),)
    ),
    "a scale of nothing": lambda s: with_scale(s, 0.0),
    "a branch that does not exist": lambda s: replace(
        with_member(s, 0, branches=("conv9-1",)), branches=("conv9-1", "own", "linear")
    ),
    "code": lambda s: with_member(s, 1, backbone="subprocess:run", config={"args": ["touch", "pwned"]}),
    "a path": lambda s: with_member(s, 1, backbone="timm:local-dir:secret"),
    "a giant": lambda s: with_member(s, 1, backbone="resnet-9999x999-9999x999"),
    "another network": lambda s: with_member(s, 1, backbone="resnet14"),
}


@pytest.mark.parametrize("attack", HOSTILE)
def test_load_checkpoint_hostile_cascade_is_refused(networks: list[Checkpoint], tmp_path: Path, attack: str) -> None:
    joined = join_networks(networks, ensemble=True)
    spec = HOSTILE[attack](joined.record.spec)
    save_checkpoint(tmp_path / "m.pt", replace(joined, record=replace(joined.record, spec=spec)))
    with pytest.raises((ArtefactError, UsageError)):
        load_checkpoint(tmp_path / "m.pt").build()
    assert not Path("pwned").exists()


def test_load_checkpoint_cascade_with_missing_or_more_weights_is_refused(
    networks: list[Checkpoint], tmp_path: Path
) -> None:
    joined = join_networks(networks, ensemble=True)
    name = "backbone.sums.0.0.own"
    states = [
        {n: x for n, x in joined.state.items() if n != name},
        {**joined.state, name: torch.zeros(1000)},
        {**joined.state, "backbone.sums.1.0.own": torch.tensor(1.0)},
        {**joined.state, name: torch.tensor(float("nan"))},
    ]
    for state in states:
        save_checkpoint(tmp_path / "m.pt", replace(joined, state=state), force=True)
        with pytest.raises(ArtefactError):
            load_checkpoint(tmp_path / "m.pt").build()


def test_load_checkpoint_cascade_requires_each_factory_by_name(tmp_path: Path) -> None:
    code = reference("branchy")
    own = attach_exits(code, (1, 1, 8, 8), 10, ExitPlan(0, outputs=OutputChoice(own=True)), 0)
    plain = attach_exits("resnet8", (1, 1, 8, 8), 10, ExitPlan(0), 0)
    joined = join_networks([plain, own], ensemble=False)
    save_checkpoint(tmp_path / "m.pt", joined)
    with pytest.raises(UsageError, match="a file alone does not decide"):
        load_checkpoint(tmp_path / "m.pt")
    loaded = load_checkpoint(tmp_path / "m.pt", [code])
    assert len(loaded.build()(torch.zeros(2, 1, 8, 8))) == len(loaded.record.spec.taps) + 1
