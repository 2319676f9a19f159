"""Views of one picture: model inputs of several sizes, each made when a component first reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Callable, Optional

import numpy as np

from .backends.base import ExecutionContext
from .manifest import Component, Input


class View:
    """A model input at batch 1 that is made from a picture when it is first needed.

    Attributes:
        spec: the input.
    """

    def __init__(self, spec: Input, make: Callable[[], np.ndarray]) -> None:
        """Make nothing yet; `make` returns the array of `spec`."""
        self.spec = spec
        self._make = make
        self._array: Optional[np.ndarray] = None

    @property
    def is_made(self) -> bool:
        """True where the array exists."""
        return self._array is not None

    def again(self) -> View:
        """Return the same view, not made yet."""
        return View(self.spec, self._make)

    def array(self) -> np.ndarray:
        """Return the array, which is made by the first call. Raises InputError as `preprocess` does."""
        if self._array is None:
            self._array = self._make()
        return self._array


def made(inputs: Mapping[str, object]) -> dict[str, object]:
    """Return inputs with every view as an array."""
    return {name: value.array() if isinstance(value, View) else value for name, value in inputs.items()}


def make_lazily(
    context: ExecutionContext, inputs: Mapping[str, object], components: Sequence[Component]
) -> ExecutionContext:
    """Begin a call with the arrays among `inputs`, and return a context that makes each view before its first reader.

    Args:
        context: context of the call.
        inputs: arrays and views by name.
        components: of the model, in order.
    """
    waiting = {name: value for name, value in inputs.items() if isinstance(value, View)}
    context.enter({name: value for name, value in inputs.items() if isinstance(value, np.ndarray)})

    def after_views(component: Component, call: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            for name in component.inputs:
                view = waiting.pop(name, None)
                if view is not None:
                    context.enter({name: view.array()})
            call()

        return run

    calls = [after_views(component, call) for component, call in zip(components, context.calls)]
    return ExecutionContext(context.read, calls, context.enter)
