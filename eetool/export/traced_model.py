"""Model traced and split once, with every named tensor as the model computes it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, fx

from eetool.data.rows import rows_per_pass
from eetool.errors import ArtefactError
from eetool.export.inference_check import build_checked
from eetool.export.split import ComponentModule, ancestors, output_nodes, run_components, split_graph, trace_network
from eetool.model.checkpoint import Checkpoint
from eetool.model.non_finite import count_non_finite, find_non_finite_module
from eetool.model.scored_network import LOGITS, ScoredNetwork, exit_output_names, scalar_inputs, untuned_policy
from eetool.model.spec import Policy

Arrays = dict[str, np.ndarray]
Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class TracedModel:
    """Components of one model, and the graphs that it is compared with.

    Attributes:
        network: the whole network, with confidences as outputs.
        policy: that of the checkpoint, or full depth.
        components: the parts that the network is split into, in running order.
        references: `unsplit`, the backbone without exits; `all_exits`, every exit in one graph.
        arguments: all samples, and the scalars of the calibration.
        graph: the whole network, before it was split; its nodes know their lines of code.
    """

    network: ScoredNetwork
    policy: Policy
    components: tuple[ComponentModule, ...]
    references: dict[str, ComponentModule]
    arguments: Tensors
    graph: fx.GraphModule

    def example(self, batch: int) -> Tensors:
        """Return every tensor that a component reads or makes, for the first `batch` samples."""
        return run_components(self.components, _first(self.arguments, batch))

    def cases(self, batch: int | None) -> list[Arrays]:
        """Return every named tensor for the samples one by one, and before these in batches where `batch` is free.

        The exits are computed by the whole network, not by its components.
        """
        return self.alone if batch is not None else [*map(self._run, split_batches(self.arguments)), *self.alone]

    @cached_property
    def alone(self) -> list[Arrays]:
        """Every named tensor for each sample at batch 1, as a device runs it."""
        return [self._run(case) for case in split_rows(self.arguments)]

    def exit_answers(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return logits (n, classes) and confidence (n,) of every exit, of samples that ran one by one."""
        pairs = [exit_output_names(i) for i in range(self.network.n_exits)]
        return [(_joined(self.alone, a), _joined(self.alone, b)) for a, b in pairs]

    def calibration(self, inputs: Mapping[str, np.ndarray]) -> Iterator[Arrays]:
        """Yield every named tensor of the float cascade for each of the model inputs (n, …), one by one.

        Several inputs of a network are calibrated together.

        Raises:
            ArtefactError: an exit gives NaN or infinity for one of them.
        """
        arguments = {**self.arguments, **{name: torch.from_numpy(array) for name, array in inputs.items()}}
        exits = [exit_output_names(index)[0] for index in range(self.network.n_exits)]
        for number, case in enumerate(split_rows(arguments)):
            tensors = run_components(self.components, case)
            self._require_finite([tensors[name] for name in exits], case, f"calibration input {number}")
            yield _arrays(tensors, self.final_logits)

    @property
    def final_logits(self) -> str:
        """Name of the final exit's logits."""
        return exit_output_names(self.network.n_exits - 1)[0]

    def _run(self, arguments: Tensors) -> Arrays:
        tensors = run_components(self.components, arguments)
        with torch.no_grad():
            outputs = self.network(*arguments.values())
        self._require_finite(outputs, arguments, "the model's samples")
        names = [name for i in range(self.network.n_exits) for name in exit_output_names(i)]
        tensors.update(zip(names, outputs, strict=True))
        return _arrays(tensors, self.final_logits)

    def _require_finite(self, outputs: Sequence[Tensor], arguments: Tensors, inputs: str) -> None:
        """Raise ArtefactError with the module to blame where an exit is not finite: nothing can be compared with it."""
        counts = next((counts for tensor in outputs if (counts := count_non_finite(tensor))), "")
        if counts:
            cause = find_non_finite_module(self.network, lambda: self.network(*arguments.values())) or counts
            raise ArtefactError(
                f"the model gives {counts} for {inputs}: {cause}", "Look at this module, or train anew."
            )


def trace_model(checkpoint: Checkpoint, references: bool) -> TracedModel:
    """Trace the network of `checkpoint` once, and cut components and references out of the same graph.

    Raises:
        ArtefactError: torch.export cannot trace the network.
        VerificationError: an answer of the network depends on more than its input.
    """
    spec = checkpoint.record.spec
    policy = checkpoint.record.policy or untuned_policy(len(spec.taps) + 1, spec.learned_confidence)
    network = ScoredNetwork(build_checked(checkpoint), policy.score, bool(policy.slopes)).eval()
    arguments = {spec.name: checkpoint.samples[spec.name] for spec in checkpoint.record.spec.inputs}
    inputs = list(arguments)
    arguments |= scalar_inputs(policy)
    # torch.export takes a batch of 1 for a constant, so the example has 2.
    graph = trace_network(network, tuple(_first(arguments, 2).values()), len(inputs))
    exits = [exit_output_names(i) for i in range(network.n_exits)]
    components = split_graph(graph, list(arguments), exits)
    graphs = {}
    if references:  # with one exit there is nothing to cut, so each is one component
        (unsplit,) = split_graph(_without_exits(graph, len(inputs)), inputs, [[LOGITS]])
        (all_exits,) = split_graph(graph, list(arguments), [[name for pair in exits for name in pair]])
        graphs = {"all_exits": all_exits, "unsplit": unsplit}
    return TracedModel(network, policy, tuple(components), graphs, arguments, graph)


def default_operating_point(policy: Policy) -> str:
    """Return the name of the operating point that is in use after loading."""
    if policy.default is not None:
        return policy.default
    return "balanced" if "balanced" in policy.operating_points else "full"


def split_rows(tensors: Mapping[str, Tensor]) -> list[Tensors]:
    """Return the samples one by one, each at batch 1 and with all scalars."""
    n = next(len(tensor) for tensor in tensors.values() if tensor.ndim)
    return [{name: t[i : i + 1] if t.ndim else t for name, t in tensors.items()} for i in range(n)]


def split_batches(tensors: Mapping[str, Tensor]) -> list[Tensors]:
    """Return the samples in batches sized to the input, each with all scalars."""
    step = min(rows_per_pass(tensor.shape[1:]) for tensor in tensors.values() if tensor.ndim)
    n = next(len(tensor) for tensor in tensors.values() if tensor.ndim)
    return [{name: t[i : i + step] if t.ndim else t for name, t in tensors.items()} for i in range(0, n, step)]


def _joined(cases: list[Arrays], name: str) -> np.ndarray:
    return np.concatenate([case[name] for case in cases])


def _first(arguments: Tensors, count: int) -> Tensors:
    """Return the first `count` samples of every argument, and all scalars."""
    return {name: x[:count] if x.ndim else x for name, x in arguments.items()}


def _arrays(tensors: Mapping[str, Tensor], logits: str) -> Arrays:
    """Return tensors as arrays. The output of the graph without exits has a name of its own."""
    return {name: tensor.numpy() for name, tensor in (*tensors.items(), (LOGITS, tensors[logits]))}


def _without_exits(graph: fx.GraphModule, n_inputs: int) -> fx.GraphModule:
    """Return the backbone inside the traced network: all nodes that the final logits need, and the model's inputs."""
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
