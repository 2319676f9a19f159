"""Costs of making views: model inputs of several sizes that are made of one picture.

The first view is made before a call, as is the input of every other network. A later one is made when a component first
reads it, inside the latency of the call; it is charged to that component.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from eetool_runtime.manifest import Input
from eetool_runtime.preprocess import are_views

VIEWS_NOTE = (
    "the model reads every picture in several sizes; no time here includes decoding and resizing, which a device does "
    "for each size that is reached"
)


def views_warnings(inputs: Sequence[Input]) -> tuple[str, ...]:
    """Return what costs leave out of a model that reads one picture in several sizes."""
    return (VIEWS_NOTE,) if are_views(inputs) else ()


def later_views(inputs: Sequence[Input]) -> tuple[str, ...]:
    """Return the names of the inputs that are made during a call; none where every input is given."""
    return tuple(item.name for item in inputs[1:]) if are_views(inputs) else ()


def first_readers(views: Sequence[str], components: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return for each view the component that reads it first; a view that none reads is left out.

    Args:
        views: names of inputs.
        components: inputs of each component, in running order.
    """
    readers: dict[str, str] = {}
    for name, read in components.items():
        for view in views:
            if view in read:
                readers.setdefault(view, name)
    return readers
