"""Checkpoint as its component graphs, recorded without an export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from eetool.graphs.onnx_graph import SizedGraph
from eetool.latency.estimate.cascade_cost import EXIT, SEGMENT, CascadeLayout, WiredComponent, layout_of_components
from eetool.latency.estimate.view_costs import views_warnings
from eetool.latency.kernels.from_onnx import kernels_from_graph, total_macs
from eetool.model.goals import TuningGoals
from eetool.model.spec import ExpectedDrop
from eetool_runtime.manifest import Input, OperatingPoint

if TYPE_CHECKING:
    from eetool.model.checkpoint import Checkpoint
    from eetool.model.graph_recorder import RecordedGraphs


@dataclass(frozen=True)
class RecordedModel:
    """Component graphs of one network with their layout; float32 only, as an export to `onnx/fp32` has them.

    `warnings` say what its costs leave out. `inputs` are those of the network; graphs call them input0, input1, …
    """

    name: str
    graphs: Mapping[str, SizedGraph]
    kinds: dict[str, str]
    layout: CascadeLayout
    operating_points: Mapping[str, OperatingPoint] = field(default_factory=dict)
    expected_drops: Mapping[str, ExpectedDrop] = field(default_factory=dict)
    goals: TuningGoals | None = None
    warnings: tuple[str, ...] = ()
    inputs: tuple[Input, ...] = ()

    @property
    def read_inputs(self) -> dict[str, tuple[str, ...]]:
        """Names of the network's inputs that every component reads, in running order."""
        names = {f"input{i}": item.name for i, item in enumerate(self.inputs)}
        return {name: tuple(names[x] for x in graph.inputs if x in names) for name, graph in self.graphs.items()}

    @property
    def macs(self) -> dict[str, int]:
        """MACs of every component."""
        return {name: total_macs(kernels_from_graph(graph)) for name, graph in self.graphs.items()}


def recorded_model(
    recorded: RecordedGraphs, name: str, operating_points: Mapping[str, OperatingPoint] | None = None
) -> RecordedModel:
    """Return a recording with the layout of its components."""
    kinds = {component: EXIT if component.startswith(EXIT) else SEGMENT for component in recorded.graphs}
    components = [WiredComponent(n, kinds[n], g.inputs, g.outputs) for n, g in recorded.graphs.items()]
    layout = layout_of_components(components, recorded.owners)
    return RecordedModel(name, recorded.graphs, kinds, layout, operating_points or {})


def record_checkpoint(checkpoint: Checkpoint, name: str) -> RecordedModel:
    """Record the network of `checkpoint` with the gate score of its policy.

    Raises:
        ArtefactError: the tensors do not fit the spec.
        UnknownOperatorError: only an export shows the kernels of this network.
    """
    from eetool.model.graph_recorder import UnknownOperatorError, record_graphs
    from eetool.model.references.example_inputs import example_inputs
    from eetool.model.scored_network import ScoredNetwork, untuned_policy

    spec = checkpoint.record.spec
    if spec.ensemble:  # the exporter folds powers and biases of ensembles into classifiers
        raise UnknownOperatorError("ensemble")
    policy = checkpoint.record.policy or untuned_policy(len(spec.taps) + 1, spec.learned_confidence)
    network = ScoredNetwork(checkpoint.build(), policy.score, bool(policy.slopes)).eval()
    model = recorded_model(record_graphs(network, example_inputs(spec.inputs)), name, policy.operating_points)
    warnings = views_warnings(spec.inputs)
    return replace(
        model, expected_drops=policy.expected_drops, goals=policy.goals, warnings=warnings, inputs=spec.inputs
    )


def with_score(checkpoint: Checkpoint, score: str) -> Checkpoint:
    """Return `checkpoint` with gates that use `score`; a policy of another score is dropped."""
    from eetool.model.scored_network import untuned_policy

    policy = checkpoint.record.policy
    if policy is not None and policy.score == score:
        return checkpoint
    return checkpoint.with_policy(replace(untuned_policy(len(checkpoint.record.spec.taps) + 1), score=score))
