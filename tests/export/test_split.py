"""Cutting a network changes nothing that it computes, whatever crosses the cuts."""

import pytest
import torch
from torch import Tensor, nn

from eetool.errors import ArtefactError
from eetool.export.split import ComponentModule, batch_multiple, run_components, split_graph, trace_network
from tests.helpers.networks import BUILDERS, Case, build


@pytest.fixture(scope="module", params=list(BUILDERS))
def case(request: pytest.FixtureRequest) -> Case:
    return build(request.param)


@pytest.fixture(scope="module")
def components(case: Case) -> list[ComponentModule]:
    return case.cut()


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_split_graph_components_compute_what_the_network_computes(
    case: Case, components: list[ComponentModule], batch: int
) -> None:
    arguments = case.arguments(batch)
    outputs = run_components(components, arguments)
    for name, expected in case.expected(arguments).items():
        assert outputs[name].shape == expected.shape
        assert torch.allclose(outputs[name], expected, atol=1e-6), name


def test_split_graph_inputs_were_computed_before_and_only_once(case: Case, components: list[ComponentModule]) -> None:
    available = set(case.arguments(2))
    for component in components:
        assert set(component.inputs) <= available
        assert not available & set(component.outputs)
        available |= set(component.outputs)


def test_split_graph_every_output_is_read(case: Case, components: list[ComponentModule]) -> None:
    exit_outputs = {name for pair in case.outputs for name in pair}
    read = {name for component in components for name in component.inputs}
    assert {name for component in components for name in component.outputs} <= read | exit_outputs


def test_split_graph_every_exit_has_a_component_after_its_segment(
    case: Case, components: list[ComponentModule]
) -> None:
    exits = [f"exit{i}" for i in range(case.net.n_exits)]
    assert [component.name for component in components if component.kind == "exit"] == exits
    assert [p.name for p in components] == sorted(
        (p.name for p in components), key=lambda n: (n[-1], n.startswith("exit"))
    )


def test_split_graph_components_hold_only_the_weights_they_use(case: Case, components: list[ComponentModule]) -> None:
    parameters = set()
    for component in components:
        names = {name for name, _ in component.module.named_parameters()}
        assert names <= {node.target for node in component.module.graph.nodes if node.op == "get_attr"}
        parameters |= names
    assert parameters == {f"net.{name}" for name, _ in case.net.named_parameters()}


def test_split_graph_shared_weights_are_in_both_components() -> None:
    seg0, _, exit1 = build("recurring").cut()
    for component in (seg0, exit1):
        assert "net.net.backbone.cell.weight" in dict(component.module.named_parameters())


def wiring(name: str) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Return the inputs and outputs of each component by name, without temperatures and outputs of exits."""
    return {
        component.name: tuple(
            tuple(n for n in names if not n.startswith("exit")) for names in (component.inputs, component.outputs)
        )
        for component in build(name).cut()
    }


def test_split_graph_shortcut_crosses_beside_the_features() -> None:
    assert wiring("residual") == {
        "seg0": (("image",), ("seg0_out0", "seg0_out1")),
        "exit0": (("seg0_out1",), ()),
        "exit1": (("seg0_out0", "seg0_out1"), ()),
    }


def test_split_graph_several_tensors_cross_several_boundaries() -> None:
    assert wiring("kept apart") == {
        "seg0": (("image",), ("seg0_out0", "seg0_out1")),
        "exit0": (("seg0_out1",), ()),
        "seg1": (("image", "seg0_out0", "seg0_out1"), ("seg1_out0", "seg1_out1")),
        "exit1": (("seg1_out1",), ()),
        "exit2": (("image", "seg0_out0", "seg1_out0", "seg1_out1"), ()),
    }


def test_split_graph_exit_on_the_input_has_no_segment() -> None:
    assert wiring("from input") == {
        "exit0": (("vector",), ()),
        "seg1": (("vector",), ("seg1_out",)),
        "exit1": (("seg1_out",), ()),
        "exit2": (("vector", "seg1_out"), ()),
    }


def test_split_graph_constants_do_not_cross() -> None:
    assert wiring("constants")["seg0"] == (("vector",), ("seg0_out",))


def test_split_graph_mask_crosses_once_without_the_ids() -> None:
    assert wiring("text") == {
        "seg0": (("ids", "mask"), ("seg0_out0", "seg0_out1")),
        "exit0": (("seg0_out1",), ()),
        "exit1": (("seg0_out0", "seg0_out1"), ()),
    }


def test_split_graph_batch_size_is_read_from_the_input_as_a_last_resort() -> None:
    assert wiring("frames")["exit1"] == (("sequence", "seg0_out"), ())


def test_split_graph_network_without_exits_is_one_component() -> None:
    assert wiring("no exits") == {"exit0": (("image",), ())}


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 1 if x.sum() > 0 else x - 1


class FixedBatch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.ones(2, 1)


class BatchAsNumber(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.zeros(len(x), 1)


class BatchLoop(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([x[i] + 1 for i in range(x.shape[0])])


@pytest.mark.parametrize(
    ("net", "way_out"),
    [
        (Branching(), "It decides on values"),
        (FixedBatch(), "It fixes the batch size"),
        (BatchAsNumber(), "It fixes the batch size"),
        (BatchLoop(), "It fixes the batch size"),
    ],
)
def test_trace_network_untraceable_network_names_module_and_line(net: nn.Module, way_out: str) -> None:
    with pytest.raises(ArtefactError) as refused:
        trace_network(nn.Sequential(net), (torch.randn(2, 3),), 1)
    line = type(net).forward.__code__.co_firstlineno + 1
    assert f"cannot trace this network in 0 ({type(net).__name__}), test_split.py:{line}: " in str(refused.value)
    assert (refused.value.hint or "").startswith(way_out)


class WithoutGradients(nn.Module):
    """Network that switches gradients off, which torch.export turns into a graph inside the graph."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 2)

    @torch.no_grad()
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.first(x)
        return x, self.second(x)


def test_split_graph_network_without_gradients_is_cut_like_any_other() -> None:
    components = split_graph(trace_network(WithoutGradients(), (torch.randn(2, 3),), 1), ["x"], [["a"], ["b"]])
    assert [(c.name, c.inputs, c.outputs) for c in components] == [("exit0", ("x",), ("a",)), ("exit1", ("a",), ("b",))]


class Wide(nn.Module):
    """Network that hands a 64-bit tensor on."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = x.double() * 2
        return y.float() + 1, y.float().relu()


def test_split_graph_tensor_that_no_bundle_holds_is_refused() -> None:
    graph = trace_network(Wide(), (torch.randn(2, 3),), 1)
    with pytest.raises(ArtefactError, match=r"seg0 hands on a tensor in float64 \(mul\); a bundle has float32") as told:
        split_graph(graph, ["x"], [["a"], ["b"]])
    assert "x.float()" in str(told.value.hint)


class Squared(nn.Module):
    """Network that compares every example with every other."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        pairs = (x[:, None] * x[None]).reshape(-1, x.shape[1])  # (N, D) -> (N N, D)
        return pairs.sum(1), pairs.relu().reshape(x.shape[0], -1)


def test_batch_multiple_other_size_raises_artefact_error() -> None:
    components = split_graph(trace_network(Squared(), (torch.randn(2, 3),), 1), ["x"], [["a"], ["b"]])
    size = components[0].shapes["seg0_out"][0]
    assert isinstance(size, torch.SymInt)
    with pytest.raises(ArtefactError, match="no multiple of the batch"):
        batch_multiple(size)
