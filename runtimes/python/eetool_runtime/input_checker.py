"""Check of the arrays that a model is called with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Union

import numpy as np

from .errors import InputError
from .manifest import Input
from .preprocess import check_array, check_symbols, has_shared_symbols, is_finite, name_inputs
from .views import View, made

Arrays = Union[np.ndarray, Mapping[str, np.ndarray]]
Tensors = dict[str, np.ndarray]


class InputChecker:
    """Check of model inputs against the manifest, with a fast path for inputs that look like the previous ones."""

    def __init__(self, specs: Sequence[Input]) -> None:
        self._specs = specs
        self._first_input = specs[0].name
        self._accepted: list[tuple[str, tuple[int, ...], np.dtype]] = []
        self._symbols_shared = has_shared_symbols(specs)

    def accept(self, inputs: Arrays) -> Tensors:
        """Return checked inputs at batch 1 by name; raises InputError.

        Where names, shapes and dtypes are those of the previous call, only the values are checked.
        """
        tensors = {self._first_input: inputs} if type(inputs) is np.ndarray else inputs
        last = self._accepted
        if last and type(tensors) is dict and len(tensors) == len(last):
            for name, shape, dtype in last:
                array = tensors.get(name)
                if (
                    type(array) is not np.ndarray
                    or array.shape != shape
                    or array.dtype != dtype
                    or not is_finite(array)
                ):
                    break
            else:
                return tensors
        if type(tensors) is dict and any(isinstance(value, View) for value in tensors.values()):
            return self._check_views(tensors)
        checked = self.check(inputs, any_batch=False)
        self._accepted = [(name, array.shape, array.dtype) for name, array in checked.items()]
        return checked

    def _check_views(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return inputs by name, views as they are: pixels that were normalised are finite."""
        named = name_inputs(inputs, self._specs)
        for s in self._specs:
            value = named[s.name]
            if not isinstance(value, View):
                check_array(value, s)
            elif value.spec != s:
                raise InputError(f"input {s.name!r}: is a view for another model or another input")
        return dict(named)

    def check(self, inputs: Arrays, any_batch: bool) -> Tensors:
        """Return checked inputs by name; raises InputError. `any_batch` allows batch sizes other than 1."""
        named = name_inputs(inputs, self._specs)
        if any(isinstance(value, View) for value in named.values()):
            named = made(named)
        tensors = {s.name: check_array(named[s.name], s, any_batch=any_batch) for s in self._specs}
        if self._symbols_shared:
            check_symbols(tensors, self._specs)
        return tensors
