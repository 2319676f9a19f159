"""Check that the same input gets the same answer again: neither noise nor a memory of earlier inputs."""

from dataclasses import dataclass

from eetool.model.network_check.divergence import first_divergence
from eetool.model.network_check.network_copy import Inputs, NetworkCopy, largest, largest_difference, rows_of


@dataclass(frozen=True)
class ChangedAnswer:
    """An exit that answers the same inputs differently again, and the first operation that does."""

    exit_index: int
    place: str


def find_changed_answer(network: NetworkCopy, inputs: Inputs) -> ChangedAnswer | None:
    """Run inputs (n, …), others, and the first ones again; return the shallowest exit that changed its answer.

    They run twice again, because what a network remembers may come back after every second call.
    """
    others = rows_of(inputs, [len(inputs[0]) - 1] * len(inputs[0]))
    before = network.answers(inputs)
    network.answers(others)
    again = [network.answers(inputs) for _ in range(2)]
    for output in sorted(range(len(before)), key=network.exit_of):
        change = max(largest_difference(after[output], before[output]) for after in again)
        if change > network.least * largest(before[output]):
            network.answers(others)
            place = first_divergence(network.net, lambda: network.answers(inputs), lambda: network.answers(inputs))
            return ChangedAnswer(network.exit_of(output), place)
    return None
