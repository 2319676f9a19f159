"""Flow from the inputs of a network to each of its exits: what an exit needs, what it shares, and its MACs.

One forward pass is recorded operation by operation. Operations are assigned to components by the exporter's rule
(docs/decisions/0001): one that a single exit needs belongs to that exit, one that several need to the segment of the
shallowest of them. Tensors are identified by their storage and by how often it has been overwritten.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn, no_grad
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from eetool.model.dataflow import without_fused_layers
from eetool.model.early_exit import EarlyExitNet, capture_outputs
from eetool.model.macs import MacCounter
from eetool.model.taps import TapCost

_Version = tuple[int, int]  # address of a storage, and how often it was overwritten before


@dataclass(frozen=True)
class Operation:
    """An operation with the tensors that it reads, by shape, and those that it writes."""

    reads: dict[_Version, tuple[int, ...]]
    writes: frozenset[_Version]
    macs: int


@dataclass(frozen=True)
class ExitMacs:
    """MACs by exit, as `eetool.latency.estimate.cascade_cost.CascadeCosts` has them.

    Attributes:
        trunk: from exit i − 1 to exit i; the last stretch includes the final classifier.
        heads: of each early exit.
        read_later: early exits whose outputs the trunk reads.
        reads: for each early exit the earlier exits whose outputs it reads; empty where none reads any.
        crossings: stretches of the writer and the reader of every tensor that is no output of an exit.
    """

    trunk: tuple[int, ...]
    heads: tuple[int, ...]
    read_later: frozenset[int]
    reads: tuple[frozenset[int], ...]
    crossings: frozenset[tuple[int, int]] = frozenset()

    @property
    def backbone(self) -> int:
        """MACs of the final exit alone."""
        return sum(self.trunk)


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, counter: MacCounter) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[Operation] = []
        self._counter = counter
        self._overwritten: dict[int, int] = {}
        self._alive: list[Any] = []  # so that no address is used twice

    def version(self, tensor: Tensor) -> _Version:
        """Return the storage of `tensor`, and how often it was overwritten so far."""
        storage = tensor.untyped_storage()
        self._alive.append(storage)
        address = int(storage._cdata)
        return address, self._overwritten.get(address, 0)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        before = self._counter.macs
        reads = {self.version(x): tuple(x.shape) for x in _tensors((args, kwargs))}
        outputs = func(*args, **kwargs)
        overwritten = {self.version(x)[0] for x in _overwritten(func, args, kwargs)}
        for address in overwritten:
            self._overwritten[address] = self._overwritten.get(address, 0) + 1
        writes = frozenset(self.version(x) for x in (*_tensors(outputs), *_overwritten(func, args, kwargs)))
        if writes - reads.keys():  # else a view: its readers read the tensor
            self.operations.append(Operation(reads, writes - reads.keys(), self._counter.macs - before))
        return outputs


def _tensors(values: Any) -> list[Tensor]:
    return [x for x in pytree.tree_leaves(values) if isinstance(x, Tensor)]


def _overwritten(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Tensor]:
    """Return the tensors that an operation in place changes."""
    if not func._schema.is_mutable:
        return []
    changed = []
    for index, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            changed.append(args[index] if index < len(args) else kwargs.get(argument.name))
    return _tensors(changed)


@dataclass(frozen=True)
class ExitFlow:
    """Recorded operations of a network, and those that each exit needs.

    Attributes:
        operations: all operations, in running order.
        ends: outputs of each exit.
        inputs: the network's inputs.
        owners: for each operation `(exit, True)` where that exit alone needs it, `(exit, False)` where it is the
            shallowest of several, and None where no exit needs it.
        whole: for each exit the indices of all operations that it needs, behind outputs of other exits too.
    """

    operations: tuple[Operation, ...]
    ends: tuple[frozenset[_Version], ...]
    inputs: frozenset[_Version]
    owners: tuple[tuple[int, bool] | None, ...]
    whole: tuple[frozenset[int], ...]

    def depends(self, index: int) -> bool:
        """Return whether exit `index` depends on an input."""
        return any(self.inputs & self.operations[i].reads.keys() for i in self.whole[index])

    def shared(self, index: int) -> frozenset[int]:
        """Return the operations that exit `index` has in common with any other exit."""
        others = frozenset[int]().union(*(needed for i, needed in enumerate(self.whole) if i != index))
        return self.whole[index] & others

    def layers(self, index: int) -> int:
        """Return the greatest number of operations with MACs in a row, from an input to exit `index`."""
        longest: dict[_Version, int] = {}
        for i in sorted(self.whole[index]):
            operation = self.operations[i]
            length = max((longest.get(v, 0) for v in operation.reads), default=0) + (operation.macs > 0)
            longest.update(dict.fromkeys(operation.writes, length))
        return max((longest.get(v, 0) for v in self.ends[index]), default=0)

    def macs(self) -> ExitMacs:
        """Return the MACs of the segments and heads."""
        final = len(self.ends) - 1
        trunk, heads = [0] * (final + 1), [0] * final
        reads, read_later = [set[int]() for _ in range(final)], set[int]()
        makers = {version: i for i, outputs in enumerate(self.ends[:-1]) for version in outputs}
        writers, crossings = dict[_Version, int](), set[tuple[int, int]]()
        for operation, owner in zip(self.operations, self.owners, strict=True):
            if owner is None:
                continue
            index, alone = owner
            head = alone and index < final
            read = {makers[version] for version in operation.reads if version in makers}
            crossings |= {(writers[v], index) for v in operation.reads if v in writers and v not in makers}
            writers.update(dict.fromkeys(operation.writes, index))
            if head:
                heads[index] += operation.macs
                reads[index] |= read - {index}
            else:
                trunk[index] += operation.macs
                read_later |= read
        known = tuple(map(frozenset, reads))
        read_by = known if any(known) else ()
        return ExitMacs(tuple(trunk), tuple(heads), frozenset(read_later), read_by, frozenset(crossings))

    def crossing(self, index: int) -> dict[_Version, tuple[int, ...]]:
        """Return the tensors, with their shapes, that exit `index` alone reads from segments and the inputs."""
        own = [x for x, owner in zip(self.operations, self.owners, strict=True) if owner == (index, True)]
        made = {version for operation in own for version in operation.writes}
        owned = [x for x, owner in zip(self.operations, self.owners, strict=True) if owner is not None]
        given = self.inputs.union(*(operation.writes for operation in owned))
        read = {version: shape for operation in own for version, shape in operation.reads.items()}
        return {v: shape for v, shape in read.items() if v not in made and v in given}


def measure_exit_macs(net: EarlyExitNet, inputs: tuple[Tensor, ...]) -> ExitMacs:
    """Measure the MACs of segments and heads at the batch size of `inputs`."""

    def outputs() -> list[list[Tensor]]:
        made = net.forward_outputs(*inputs)
        pairs = zip(made.logits, made.learned, strict=True)
        return [[logits] if learned is None else [logits, learned] for logits, learned in pairs]

    return record_flow(net, inputs, outputs).macs()


def keep_needed_taps(
    backbone: nn.Module, inputs: tuple[Tensor, ...], taps: Sequence[TapCost]
) -> tuple[list[TapCost], int]:
    """Return the taps that lead to the logits which `backbone` returns, and the MACs of these logits.

    A network with other outputs also runs operations for these. They are not among the MACs of the taps either.
    """
    names = [tap.name for tap in taps]

    def outputs() -> list[list[Tensor]]:
        with capture_outputs(backbone, names) as features:
            logits = backbone(*inputs)
        return [*([features[name]] for name in names), [logits]]

    flow = record_flow(backbone, inputs, outputs)
    *before, needed = flow.whole
    others = [0 if i in needed else operation.macs for i, operation in enumerate(flow.operations)]
    kept = []
    for tap, whole in zip(taps, before, strict=True):
        last = max(whole, default=-1)
        if last in needed or not whole:
            kept.append(replace(tap, macs=tap.macs - sum(others[: last + 1])))
    return kept, sum(flow.operations[i].macs for i in needed)


def record_flow(
    network: nn.Module,
    inputs: tuple[Tensor, ...],
    outputs: Callable[[], Sequence[Sequence[Tensor]]],
) -> ExitFlow:
    """Record one forward pass in eval mode.

    Args:
        network: the network.
        inputs: its inputs.
        outputs: runs the network and returns the outputs of each exit.
    """
    training = network.training
    network.eval()
    counter = MacCounter()
    recorder = _Recorder(counter)
    given = frozenset(recorder.version(x) for x in inputs)
    try:
        with no_grad(), without_fused_layers(), counter, recorder:
            exits = outputs()
    finally:
        network.train(training)
    ends = tuple(frozenset(recorder.version(x) for x in tensors) for tensors in exits)
    operations = tuple(recorder.operations)
    needed = [_needed(operations, own, frozenset[_Version]().union(*ends) - own) for own in ends]
    owners: list[tuple[int, bool] | None] = []
    for i in range(len(operations)):
        by = [index for index, some in enumerate(needed) if i in some]
        owners.append((by[0], len(by) == 1) if by else None)
    whole = tuple(_needed(operations, own, frozenset()) for own in ends)
    return ExitFlow(operations, ends, given, tuple(owners), whole)


def _needed(operations: Sequence[Operation], ends: Iterable[_Version], foreign: frozenset[_Version]) -> frozenset[int]:
    """Return the operations behind `ends`, but not those behind the outputs of other exits."""
    wanted, found = set(ends), set()
    for index in reversed(range(len(operations))):
        if operations[index].writes & wanted:
            found.add(index)
            wanted |= operations[index].reads.keys() - foreign
    return frozenset(found)
