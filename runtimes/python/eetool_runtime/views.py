"""Views of one picture: model inputs of several sizes, each made when a component first reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Callable, Optional

import numpy as np

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

    def array(self) -> np.ndarray:
        """Return the array, which is made by the first call. Raises InputError as `preprocess` does."""
        if self._array is None:
            self._array = self._make()
        return self._array


def made(inputs: Mapping[str, object]) -> dict[str, object]:
    """Return inputs with every view as an array."""
    return {name: value.array() if isinstance(value, View) else value for name, value in inputs.items()}


class PendingViews:
    """The views of one call that no component has read yet.

    Args:
        inputs: inputs of the call, views among them.
        components: of the model, in order.
        enter: begins or continues a call with arrays.
    """

    def __init__(
        self,
        inputs: Mapping[str, object],
        components: tuple[Component, ...],
        enter: Callable[[Mapping[str, np.ndarray]], None],
    ) -> None:
        self._waiting = {name: value for name, value in inputs.items() if isinstance(value, View)}
        self._components, self._enter = components, enter
        enter({name: value for name, value in inputs.items() if isinstance(value, np.ndarray)})

    def prepare(self, position: int) -> None:
        """Make the views that the component at `position` reads."""
        for name in self._components[position].inputs if self._waiting else ():
            view = self._waiting.pop(name, None)
            if view is not None:
                self._enter({name: view.array()})
