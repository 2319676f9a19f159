"""Check that an input's answer does not depend on the inputs beside it: batch 1, as on a device, against a batch."""

from collections.abc import Sequence
from dataclasses import dataclass

from eetool.model.network_check.divergence import RowInBatch, first_divergence
from eetool.model.network_check.network_copy import Inputs, NetworkCopy, largest_difference, rows_of


@dataclass(frozen=True)
class MixedRows:
    """An exit whose answer to an input depends on the batch, and the first operation that mixes rows."""

    exit_index: int
    place: str


def find_mixed_rows(network: NetworkCopy, inputs: Inputs) -> MixedRows | None:
    """Compare the answers to inputs (n, …) alone with those in batches; return the shallowest exit that differs.

    One batch holds the inputs in another order. In the other one input is repeated, so that rows compete, as for the
    places of an expert in a mixture of experts.
    """
    n = len(inputs[0])
    alone = [network.answers(rows_of(inputs, [i])) for i in range(n)]
    limits = network.rounding(inputs)
    for batch in _batches(n):
        together = network.answers(rows_of(inputs, batch))
        for output in sorted(range(len(limits)), key=network.exit_of):
            errors = [largest_difference(together[output][at], alone[i][output][0]) for at, i in enumerate(batch)]
            worst = max(range(len(batch)), key=errors.__getitem__)
            if errors[worst] > limits[output]:
                return MixedRows(network.exit_of(output), _place(network, inputs, batch, worst))
    return None


def _batches(n: int) -> Sequence[tuple[int, ...]]:
    order = tuple(reversed(range(n)))
    return (*order[1:], order[0]), (0, 0, 0, 0, n - 1)


def _place(network: NetworkCopy, inputs: Inputs, batch: tuple[int, ...], position: int) -> str:
    """Return the first operation whose result for this row of the batch is not that for the input alone."""
    one, many = rows_of(inputs, [batch[position]]), rows_of(inputs, batch)
    row = RowInBatch(position, len(batch))
    return first_divergence(network.net, lambda: network.answers(one), lambda: network.answers(many), row)
