"""Check that the same input gets the same answer again: neither noise nor a memory of earlier inputs."""

from dataclasses import dataclass

from eetool.model.network_check.divergence import first_divergence
from eetool.model.network_check.probe import Inputs, Probe, largest, largest_difference, rows_of


@dataclass(frozen=True)
class ChangedAnswer:
    """An exit that answers the same inputs differently again, and the first operation that does."""

    exit_index: int
    place: str


def find_changed_answer(probe: Probe, inputs: Inputs) -> ChangedAnswer | None:
    """Run inputs (n, …), others, and the first ones again; return the shallowest exit that changed its answer."""
    others = rows_of(inputs, [len(inputs[0]) - 1] * len(inputs[0]))
    before = probe.answers(inputs)
    probe.answers(others)
    after = probe.answers(inputs)
    for output in sorted(range(len(before)), key=probe.exit_of):
        if largest_difference(after[output], before[output]) > probe.least * largest(before[output]):
            probe.answers(others)
            place = first_divergence(probe.net, lambda: probe.answers(inputs), lambda: probe.answers(inputs))
            return ChangedAnswer(probe.exit_of(output), place)
    return None
