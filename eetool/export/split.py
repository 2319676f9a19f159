"""Split of a torch.export graph with many outputs into components with named boundaries (docs/decisions/0001).

The whole early-exit network is traced once. A node that only one exit needs belongs to that exit. A node that several
exits need belongs to the segment of the shallowest of them. An exit that reads the outputs of an earlier exit reads
them by name, and the nodes behind them stay with the earlier exit. Only named tensors cross from one component to
another, never integers: sizes that depend on the batch are read from a tensor inside each component.
"""

import operator
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from eetool.errors import ArtefactError, EarlyExitError
from eetool.export.suppress_output import suppress_output
from eetool.export.trace_errors import places_of_fixed_sizes, trace_error
from eetool.model.dataflow import without_fused_layers
from eetool_runtime.manifest import DTYPES

MAX_BATCH = 1024
_OTHER_TAP = "Move the exit to another tap."


Size = int | torch.SymInt


@dataclass(frozen=True)
class ComponentModule:
    """One component: `module(*inputs)` returns a tuple of `outputs`; both are tensor names.

    `shapes` holds the traced shape of each of these tensors, in which the batch size is a symbol.
    """

    name: str
    kind: str
    module: fx.GraphModule
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    shapes: dict[str, tuple[Size, ...]]


def batch_multiple(size: torch.SymInt) -> int:
    """Return a symbolic `size` as a multiple of the batch size: above 1 where other dimensions were folded into it."""
    factor, symbol = size.node.expr.as_coeff_Mul()
    if not symbol.is_Symbol:
        raise ArtefactError(f"a tensor between components has the size {size}, no multiple of the batch", _OTHER_TAP)
    return int(factor)


def trace_network(net: nn.Module, inputs: tuple[Tensor, ...], shared: int) -> fx.GraphModule:
    """Trace `net` to a graph with a dynamic batch dimension in its first `shared` inputs.

    `inputs` must have batch 2: torch.export turns a batch of 1 into a constant. With `shared` 0 every size is fixed to
    that of `inputs`.

    Raises:
        ArtefactError: torch.export cannot trace the network, or fixes its batch size; the message names the module.
        UsageError: a tap returns no tensor, or runs twice.
    """
    batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
    dynamic = tuple({0: batch} if i < shared else None for i in range(len(inputs)))
    fixed: list[str] = []
    try:
        # Without gradients, so that torch.no_grad in a forward makes no graph of its own inside the graph.
        with torch.no_grad(), without_fused_layers(), suppress_output(), places_of_fixed_sizes(net) as fixed:
            program = torch.export.export(_Positional(net), inputs, dynamic_shapes=(dynamic,), strict=False)
    except EarlyExitError:  # an invalid tap
        raise
    except Exception as error:  # torch.export raises many unrelated types
        raise trace_error(net, error, fixed) from error
    with suppress_output():
        if any(_mutates(node) for node in program.graph.nodes):
            program = program.run_decompositions({})
        graph = program.module()
    _free_strides(graph)
    return graph


def _free_strides(graph: fx.GraphModule) -> None:
    """Make the graph independent of the strides of tensors in this trace.

    A view is valid for these strides only. Implementations of attention differ in their strides, and a converter
    chooses its own.
    """
    attention = torch.ops.aten.scaled_dot_product_attention.default
    for node in graph.graph.find_nodes(op="call_function", target=torch.ops.aten.view.default):
        node.target = torch.ops.aten.reshape.default
    for node in graph.graph.find_nodes(op="call_function", target=attention):
        with graph.graph.inserting_after(node):
            copy = graph.graph.call_function(
                torch.ops.aten.clone.default, (node,), {"memory_format": torch.contiguous_format}
            )
        copy.meta["val"] = node.meta["val"]
        node.replace_all_uses_with(copy, delete_user_cb=lambda user, copy=copy: user is not copy)
    graph.recompile()


def _mutates(node: fx.Node) -> bool:
    """Return whether the node works in place: what a component reads would then depend on the running order."""
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable


class _Positional(nn.Module):
    """Network with positional inputs only, so that one form of `dynamic_shapes` fits all networks."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, *inputs: Tensor) -> Any:
        return self.net(*inputs)


def split_graph(
    graph: fx.GraphModule, input_names: Sequence[str], exits: Sequence[Sequence[str]]
) -> list[ComponentModule]:
    """Cut `graph` into segments and exits, in running order: seg0, exit0, seg1, exit1, …, exitN.

    Every node becomes part of one component. Nodes that depend on no value of an input (constants, weights, masks of
    the batch size alone) are copied into each component that uses them. Empty segments are left out.

    Args:
        graph: its outputs are those of exit 0, then of exit 1, …; exit i has `len(exits[i])` of them.
        input_names: names of its placeholders, in order.
        exits: names of each exit's outputs.
    """
    flat = output_nodes(graph)
    outputs = dict(zip([n for names in exits for n in names], flat, strict=True))
    owners = _owners(graph, [[outputs[name] for name in names] for names in exits])
    names = _tensor_names(graph, input_names, outputs, owners)
    order = [name for i in range(len(exits)) for name in (f"seg{i}", f"exit{i}")]
    components = []
    for component in order:
        nodes = [node for node in graph.graph.nodes if owners.get(node) == component]
        if nodes:
            kind = "exit" if component.startswith("exit") else "segment"
            components.append(_extract(graph, component, kind, nodes, owners, names))
    return components


def run_components(components: Sequence[ComponentModule], inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Run every component in torch, and return all tensors by name, inputs included."""
    tensors = dict(inputs)
    with torch.no_grad():
        for c in components:
            tensors.update(zip(c.outputs, c.module(*(tensors[name] for name in c.inputs)), strict=True))
    return tensors


def output_nodes(graph: fx.GraphModule) -> list[fx.Node]:
    """Return the output nodes of the graph, in order."""
    (result,) = next(node for node in reversed(graph.graph.nodes) if node.op == "output").args
    nodes: list[fx.Node] = []
    fx.node.map_arg(result, nodes.append)
    return nodes


def _is_data(node: fx.Node) -> bool:
    """Return whether the value of the node is a tensor or several, not an integer of a shape or a guard."""
    value = node.meta.get("val")
    parts = value if isinstance(value, (tuple, list)) else (value,)
    return len(parts) > 0 and all(isinstance(part, Tensor) for part in parts)


def _owners(graph: fx.GraphModule, exits: Sequence[Sequence[fx.Node]]) -> dict[fx.Node, str]:
    """Return the component of every tensor that depends on the values of an input, and not on its sizes alone."""
    depends: set[fx.Node] = set()
    for node in graph.graph.nodes:
        if node.target is torch.ops.aten.sym_size.int:
            continue
        if node.op == "placeholder" or any(n in depends for n in node.all_input_nodes):
            depends.add(node)
    needed_by: dict[fx.Node, set[int]] = {}
    ends = {node for outputs in exits for node in outputs}
    for index, outputs in enumerate(exits):
        # Outputs of other exits are read by name and not computed again.
        for node in ancestors(outputs, ends - set(outputs)):
            needed_by.setdefault(node, set()).add(index)
    owners = {}
    for node, indices in needed_by.items():
        if node in depends and node.op == "call_function" and _is_data(node):
            owners[node] = f"exit{min(indices)}" if len(indices) == 1 else f"seg{min(indices)}"
    for node in graph.graph.nodes:
        # A tuple cannot cross a boundary, so its items belong to the component that computes it.
        if node in owners and node.target is operator.getitem and node.args[0] in owners:
            owners[node] = owners[node.args[0]]
    return owners


def ancestors(nodes: Iterable[fx.Node], given: Set[fx.Node] = frozenset()) -> set[fx.Node]:
    """Return `nodes` and everything that they are computed from, without the nodes `given`."""
    needed: set[fx.Node] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node not in needed and node not in given:
            needed.add(node)
            waiting.extend(node.all_input_nodes)
    return needed


def _tensor_names(
    graph: fx.GraphModule,
    input_names: Sequence[str],
    outputs: Mapping[str, fx.Node],
    owners: Mapping[fx.Node, str],
) -> dict[fx.Node, str]:
    """Return names of all tensors that cross a boundary: inputs, exit outputs, and tensors between components."""
    placeholders = [node for node in graph.graph.nodes if node.op == "placeholder"]
    names = dict(zip(placeholders, input_names, strict=True))
    names.update({node: name for name, node in outputs.items()})
    crossing: dict[str, list[fx.Node]] = {}
    for node, owner in owners.items():
        if node not in names and any(_user_owners(user, owners) - {owner} for user in node.users):
            crossing.setdefault(owner, []).append(node)
    position = {node: i for i, node in enumerate(graph.graph.nodes)}
    for owner, nodes in crossing.items():
        for i, node in enumerate(sorted(nodes, key=position.__getitem__)):
            names[node] = f"{owner}_out" if len(nodes) == 1 else f"{owner}_out{i}"
    return names


def _user_owners(user: fx.Node, owners: Mapping[fx.Node, str]) -> set[str]:
    """Return the components that read `user`: its own, or those of its users where it is an integer of a shape."""
    if user in owners:
        return {owners[user]}
    if user.op == "call_function" and user.target is not torch.ops.aten.sym_size.int:
        return {owner for next_user in user.users for owner in _user_owners(next_user, owners)}
    return set()


def _extract(
    graph: fx.GraphModule,
    component: str,
    kind: str,
    nodes: Sequence[fx.Node],
    owners: Mapping[fx.Node, str],
    names: Mapping[fx.Node, str],
) -> ComponentModule:
    own = set(nodes)
    outputs = [n for n in nodes if n in names and (owners[n] == component)]
    for node in outputs:
        dtype = str(node.meta["val"].dtype).removeprefix("torch.")
        if dtype not in DTYPES:
            raise ArtefactError(
                f"{component} hands on a tensor in {dtype} ({node.name}); a bundle has {', '.join(DTYPES)}",
                f"Convert it in forward, as in x.float(). {_OTHER_TAP}",
            )
    reads = [n for n in graph.graph.nodes if n in names and n not in own and any(_reads(u, n, own) for u in n.users)]
    copier = _Copier(own, names, reads)
    copier.cut.output(tuple(copier.copy(node) for node in outputs))
    copier.cut.lint()
    module = fx.GraphModule(graph, copier.cut, class_name=component)
    shapes = {names[n]: tuple(n.meta["val"].shape) for n in (*copier.reads, *outputs)}
    return ComponentModule(
        component, kind, module, tuple(names[n] for n in copier.reads), tuple(names[n] for n in outputs), shapes
    )


def _reads(user: fx.Node, source: fx.Node, own: set[fx.Node]) -> bool:
    if user in own:
        return True
    if _is_data(user) or user.op != "call_function" or user.target is torch.ops.aten.sym_size.int:
        return False
    return any(_reads(next_user, source, own) for next_user in user.users)


class _Copier:
    """Copier of nodes into a component, with the constants and batch sizes that they use.

    Args:
        own: nodes of the component.
        names: names of the tensors that it may read.
        reads: nodes of the tensors that it reads. An input of the network may be added for its batch size.
    """

    def __init__(self, own: set[fx.Node], names: Mapping[fx.Node, str], reads: Sequence[fx.Node]) -> None:
        self.cut = fx.Graph()
        self.own = own
        self.names = names
        self.reads = list(reads)
        self.copies = {node: self._placeholder(node) for node in reads}

    def copy(self, node: fx.Node) -> fx.Node:
        """Copy `node` and everything that it needs, and return the copy of `node`."""
        for needed in self._in_order(node):
            if needed not in self.copies:
                self.copies[needed] = self._copy_one(needed)
        return self.copies[node]

    def _in_order(self, node: fx.Node) -> list[fx.Node]:
        """Return the nodes that `node` needs, itself last; without recursion, as networks are deep."""
        order: list[fx.Node] = []
        waiting = [(node, False)]
        seen: set[fx.Node] = set()
        while waiting:
            current, ready = waiting.pop()
            if ready:
                order.append(current)
            elif current not in seen and current not in self.copies:
                seen.add(current)
                waiting.append((current, True))
                if not self._is_size(current):
                    waiting.extend((n, False) for n in reversed(current.all_input_nodes))
        return order

    def _copy_one(self, node: fx.Node) -> fx.Node:
        if self._is_size(node):
            return self._size(node)
        copied = self.cut.node_copy(node, self.copies.__getitem__)
        # Stack traces would write paths of this machine into the exported file.
        copied.meta = {key: value for key, value in copied.meta.items() if key in ("val", "tensor_meta")}
        return copied

    def _is_size(self, node: fx.Node) -> bool:
        return node.target is torch.ops.aten.sym_size.int and node.all_input_nodes[0] not in self.own

    def _size(self, node: fx.Node) -> fx.Node:
        """Read the same symbolic size from a tensor that this component reads already, else from an input."""
        wanted = node.meta["val"]
        inputs = [n for n in self.names if n.op == "placeholder" and n not in self.reads]
        for tensor in (*self.reads, *inputs):
            for dimension, size in enumerate(tensor.meta["val"].shape):
                if not isinstance(size, int) and str(size) == str(wanted):
                    if tensor not in self.copies:
                        self._read_first(tensor)
                    copied = self.cut.call_function(torch.ops.aten.sym_size.int, (self.copies[tensor], dimension))
                    copied.meta["val"] = wanted
                    return copied
        raise ArtefactError(f"the size {wanted} cannot be read inside one component", _OTHER_TAP)

    def _read_first(self, tensor: fx.Node) -> None:
        """Read one more tensor before all others, because placeholders come first."""
        with self.cut.inserting_before(next(iter(self.cut.nodes))):
            self.copies[tensor] = self._placeholder(tensor)
        self.reads.insert(0, tensor)

    def _placeholder(self, node: fx.Node) -> fx.Node:
        placeholder = self.cut.placeholder(self.names[node].replace(".", "_").replace("-", "_"))
        placeholder.meta["val"] = node.meta["val"]
        return placeholder
