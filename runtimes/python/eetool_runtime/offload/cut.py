"""Components that have to run on the device before tensors can travel, or before it can answer by itself."""

from __future__ import annotations

from collections.abc import Sequence

from ..execution_plan import Gate
from ..manifest import NEVER, Manifest


def makers(m: Manifest, tensors: Sequence[str]) -> list[int]:
    """Return the positions of the components that `tensors` depend on, directly or through others, in order."""
    needed, positions = set(tensors), []
    for position in reversed(range(len(m.components))):
        if needed.intersection(m.components[position].outputs):
            needed.update(m.components[position].inputs)
            positions.append(position)
    return positions[::-1]


def shortest_exit(m: Manifest) -> tuple[Gate, list[int]]:
    """Return the exit that answers where nothing else does, and the positions of the components it depends on.

    It is the last exit before the cut, or exit 0 where the model's inputs travel. Its gate never fires.
    """
    assert m.offload is not None
    index = 0 if m.offload.after_exit is None else m.offload.after_exit
    e = m.exits[index]
    return Gate(index, NEVER, e.logits, e.confidence), makers(m, [e.logits, e.confidence])
