"""The model on its way out: traced once, split once, and every named tensor as the model itself computes it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, fx

from eetool.export.split import ComponentModule, ancestors, output_nodes, run_components, split_graph, trace_network
from eetool.model.checkpoint import Checkpoint, Policy
from eetool.model.scored_network import LOGITS, ScoredNetwork, exit_output_names, scalar_inputs, untuned_policy

Arrays = dict[str, np.ndarray]
Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class TracedModel:
    """Pieces of one model and of the graphs it is compared with; `arguments` are all samples and temperatures.

    `references`: `unsplit` is the backbone as it is, without exits; `all_exits` computes every exit in one graph.
    """

    network: ScoredNetwork
    policy: Policy
    pieces: tuple[ComponentModule, ...]
    references: dict[str, ComponentModule]
    arguments: Tensors

    def example(self, batch: int) -> Tensors:
        """Every tensor that a piece reads or makes, for the first `batch` samples."""
        return run_components(self.pieces, _first(self.arguments, batch))

    def cases(self, batch: int | None) -> list[Arrays]:
        """Every named tensor for all samples, in one case, or in one for each sample where the batch is fixed at 1.

        The exits are those that the whole network computes, not its pieces.
        """
        cases = [self.arguments] if batch is None else list(split_rows(self.arguments))
        return [self._run(case) for case in cases]

    def calibration(self, inputs: Mapping[str, np.ndarray]) -> list[Arrays]:
        """Every named tensor for each of the model inputs (n, …), one by one, as they flow through the float cascade.

        Where a network has several inputs they are calibrated together.
        """
        arguments = {**self.arguments, **{name: torch.from_numpy(array) for name, array in inputs.items()}}
        return [_arrays(run_components(self.pieces, case), self.final_logits) for case in split_rows(arguments)]

    @property
    def final_logits(self) -> str:
        """Name of the logits of the final exit."""
        return exit_output_names(self.network.n_exits - 1)[0]

    def _run(self, arguments: Tensors) -> Arrays:
        tensors = run_components(self.pieces, arguments)
        with torch.no_grad():
            outputs = self.network(*arguments.values())
        names = [name for i in range(self.network.n_exits) for name in exit_output_names(i)]
        tensors.update(zip(names, outputs, strict=True))
        return _arrays(tensors, self.final_logits)


def trace_model(checkpoint: Checkpoint, references: bool) -> TracedModel:
    """Trace the network of `checkpoint` once, and cut the components and the references out of the same graph.

    Raises:
        ArtefactError: torch.export cannot trace the network.
    """
    spec = checkpoint.record.spec
    policy = checkpoint.record.policy or untuned_policy(len(spec.taps) + 1, spec.learned_confidence)
    network = ScoredNetwork(checkpoint.build(), policy.score, bool(policy.slopes)).eval()
    arguments = {spec.name: checkpoint.samples[spec.name] for spec in checkpoint.record.spec.inputs}
    inputs = list(arguments)
    arguments |= scalar_inputs(policy)
    # torch.export takes a batch of 1 for a constant, so the example has 2.
    graph = trace_network(network, tuple(_first(arguments, 2).values()), len(inputs))
    exits = [exit_output_names(i) for i in range(network.n_exits)]
    pieces = split_graph(graph, list(arguments), exits)
    made = {}
    if references:  # with one exit there is nothing to cut, so each is one piece
        (unsplit,) = split_graph(_without_exits(graph, len(inputs)), inputs, [[LOGITS]])
        (all_exits,) = split_graph(graph, list(arguments), [[name for pair in exits for name in pair]])
        made = {"all_exits": all_exits, "unsplit": unsplit}
    return TracedModel(network, policy, tuple(pieces), made, arguments)


def default_operating_point(policy: Policy) -> str:
    """Name of the operating point that is in use after loading."""
    return "balanced" if "balanced" in policy.operating_points else "full"


def split_rows(tensors: Mapping[str, Tensor]) -> list[Tensors]:
    """The samples one by one, each at batch 1; scalars go with every sample."""
    n = next(len(tensor) for tensor in tensors.values() if tensor.ndim)
    return [{name: t[i : i + 1] if t.ndim else t for name, t in tensors.items()} for i in range(n)]


def _first(arguments: Tensors, count: int) -> Tensors:
    """The first `count` samples of every argument; scalars are themselves."""
    return {name: x[:count] if x.ndim else x for name, x in arguments.items()}


def _arrays(tensors: Mapping[str, Tensor], logits: str) -> Arrays:
    """The same as arrays; what the graph without exits makes has a name of its own."""
    return {name: tensor.numpy() for name, tensor in (*tensors.items(), (LOGITS, tensors[logits]))}


def _without_exits(graph: fx.GraphModule, n_inputs: int) -> fx.GraphModule:
    """The backbone inside the traced network: the model's inputs, and what the logits of the final exit need."""
    placeholders = [node for node in graph.graph.nodes if node.op == "placeholder"]
    logits = output_nodes(graph)[-2]
    needed = ancestors([logits]) | set(placeholders[:n_inputs])
    cut = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in graph.graph.nodes:
        if node in needed:
            copies[node] = cut.node_copy(node, copies.__getitem__)
    cut.output((copies[logits],))
    return fx.GraphModule(graph, cut)
