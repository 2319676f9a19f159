"""The first operator of a network that a converter cannot write, or that the converted graph computes differently."""

import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, fx

from eetool.errors import ArtefactError, EarlyExitError, VerificationError
from eetool.export.split import ComponentModule, output_nodes
from eetool.export.traced_model import TracedModel, split_rows
from eetool.export.variants import VariantKind, write_graph
from eetool.model.code_place import traced_place
from eetool.model.network_check.divergence import operator_name
from eetool.workspace import scratch
from eetool_runtime.backends import open_graph

_OTHER = "Compute it there with other operators, or with other arguments."
_TRIED = 4  # samples
_OPERATOR_ERROR = 1e-3  # of the largest value: above what rounding adds up to, below what a wrong operator makes
# An answer's error, as a share of how much answers vary between inputs, and of their size. With initial weights both
# may be small, so a limit in absolute terms would see nothing.
_ANSWER_ERROR, _ROUNDING = 1e-3, 1e-5


@dataclass(frozen=True)
class WrongOperator:
    """An operator and its place, such as `median in head (Head), networks.py:12`, and what is wrong with it."""

    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}" if self.place else self.reason


def find_unwritable(model: TracedModel, kind: VariantKind) -> WrongOperator | None:
    """Return the first operator that the converter of `kind` fails on, by bisection; None where it writes them all."""
    values = _values(model.graph)
    problem = _conversion_problem(model, kind, values)
    if problem is None:
        return None
    written, failed = 0, len(values)
    while failed - written > 1:
        middle = (written + failed) // 2
        found = _conversion_problem(model, kind, values[:middle])
        if found is None:
            written = middle
        else:
            failed, problem = middle, found
    return WrongOperator(_describe(values[failed - 1]), problem)


@contextmanager
def naming_operator(model: Callable[[], TracedModel], kind: VariantKind) -> Iterator[None]:
    """Add the operator at fault, where one is found, to the error of a conversion in the block, or of its proof.

    Args:
        model: returns the traced model.
        kind: the variant that is being written.
    """
    try:
        yield
    except ArtefactError as error:
        unwritable = find_unwritable(model(), kind)
        if unwritable is None:
            raise
        raise ArtefactError(f"{kind.format} cannot be written: {unwritable}", error.hint or _OTHER) from error
    except VerificationError as error:
        wrong = _wrong_operator(model(), kind)
        if wrong is None:
            raise
        raise VerificationError(f"{error.message}\nIt begins at {wrong}", error.hint or _OTHER) from error


def _wrong_operator(model: TracedModel, kind: VariantKind) -> WrongOperator | None:
    try:
        return find_wrong_operator(model, kind)
    except EarlyExitError:  # the error that is being explained is the one to show
        return None


def answers_differ(model: TracedModel, kind: VariantKind) -> bool:
    """Convert the whole network once, and return whether an exit answers otherwise than in torch.

    Raises:
        ArtefactError: the network cannot be converted.
    """
    logits = output_nodes(model.graph)[::2]
    pairs = _compared(model, kind, logits)
    return any(_differs(results[node.name], expected[node.name]) for results, expected in pairs for node in logits)


def find_wrong_operator(model: TracedModel, kind: VariantKind) -> WrongOperator | None:
    """Return the first operator whose result in the converted graph is not torch's: every result becomes an output.

    Raises:
        ArtefactError: the network cannot be converted.
    """
    values = _values(model.graph)
    for results, expected in _compared(model, kind, values):
        for node in values:
            error = _error(results[node.name], expected[node.name])
            if error > _OPERATOR_ERROR:
                return WrongOperator(_describe(node), f"off by {100 * error:.2g} %")
    return None


def _values(graph: fx.GraphModule) -> list[fx.Node]:
    """Return the nodes whose value is one tensor of real numbers that an operator computes, in running order."""
    values = ((n, n.meta.get("val")) for n in graph.graph.nodes if n.op == "call_function")
    return [n for n, value in values if isinstance(value, Tensor) and not value.is_complex()]


def _compared(
    model: TracedModel, kind: VariantKind, values: Sequence[fx.Node]
) -> Iterator[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
    """Yield the values by name that the converted graph computes, and those of torch, for a few samples."""
    with scratch() as folder:
        part = _write(model, kind, values, folder)
        graph = open_graph(_file(folder, kind))
        few = {name: x[:_TRIED] if x.ndim else x for name, x in model.arguments.items()}
        for case in [*([] if kind.batch else [few]), *split_rows(few)]:
            with torch.no_grad():
                expected = [x.numpy() for x in part.module(*(case[name] for name in part.inputs))]
            results = graph.run({name: case[name].numpy() for name in graph.inputs})
            yield dict(zip(graph.outputs, results, strict=True)), dict(zip(part.outputs, expected, strict=True))


def _conversion_problem(model: TracedModel, kind: VariantKind, values: Sequence[fx.Node]) -> str | None:
    with scratch() as folder:
        try:
            _write(model, kind, values, folder)
        except ArtefactError as error:
            return error.message
    return None


def _write(model: TracedModel, kind: VariantKind, values: Sequence[fx.Node], folder: Path) -> ComponentModule:
    """Write the part of the network that computes `values`, all of which are outputs."""
    part = _part(model, values)
    write_graph(kind, model, part, _file(folder, kind), simplify=False)
    return part


def _file(folder: Path, kind: VariantKind) -> Path:
    return folder / f"model.{kind.format}"


def _part(model: TracedModel, values: Sequence[fx.Node]) -> ComponentModule:
    cut = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    cut.graph_copy(model.graph.graph, copies)
    cut.output(tuple(copies[node] for node in values))
    names = tuple(model.arguments)
    placeholders = [node for node in model.graph.graph.nodes if node.op == "placeholder"]
    shapes = {node.name: tuple(node.meta["val"].shape) for node in values}
    shapes |= {name: tuple(node.meta["val"].shape) for name, node in zip(names, placeholders, strict=True)}
    module = fx.GraphModule(model.graph, cut)
    module.graph.eliminate_dead_code()
    module.recompile()
    return ComponentModule("whole", "segment", module, names, tuple(n.name for n in values), shapes)


def _differs(result: np.ndarray, expected: np.ndarray) -> bool:
    spread = np.abs(expected - expected.mean(1, keepdims=True)).max()
    return bool(np.abs(result - expected).max() > _ANSWER_ERROR * spread + _ROUNDING * np.abs(expected).max())


def _error(result: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest error as a share of the largest value; equal infinities, as in a mask, are no error."""
    if result.shape != expected.shape:
        return float("inf")
    if not expected.size:
        return 0.0
    a, b = result.astype(np.float64), expected.astype(np.float64)
    with np.errstate(invalid="ignore"):
        error = float(np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b)).max())
    scale = float(np.abs(b[np.isfinite(b)]).max(initial=0.0)) or 1.0
    return float("inf") if np.isnan(error) else error / scale


def _describe(node: fx.Node) -> str:
    source = node.args[0] if node.target is operator.getitem else node  # an operator with several results
    assert isinstance(source, fx.Node)
    return operator_name(source.target) + traced_place(source)
