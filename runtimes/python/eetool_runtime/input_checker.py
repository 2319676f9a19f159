"""Check of the arrays that a model is called with."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Union

import numpy as np

from .errors import InputError
from .manifest import Input
from .preprocess import check_array, check_symbols, has_shared_symbols, is_finite, name_inputs, normalise
from .views import View, made

_WATCHED = 8  # first inputs whose values are compared with those of pixels
_MARGIN = 1.0  # ranges beyond that of pixels: noise is let pass, and pixels that were not converted are far outside
Arrays = Union[np.ndarray, Mapping[str, np.ndarray]]
Tensors = dict[str, np.ndarray]


class InputChecker:
    """Check of model inputs against the manifest, with a fast path for inputs that look like the previous ones.

    The first inputs take the slow path: floats far from those that the preprocessing makes of pixels are warned of,
    once.
    """

    def __init__(self, specs: Sequence[Input]) -> None:
        self._specs = specs
        self._first_input = specs[0].name
        self._accepted: list[tuple[str, tuple[int, ...], np.dtype]] = []
        self._limits = {s.name: _pixel_limits(s) for s in specs if s.preprocess is not None and s.dtype == "float32"}
        self._watched = _WATCHED if self._limits else 0  # inputs whose values are still compared with the limits
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
        if not self._watched:
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
        if self._watched:
            self._watched = 0 if self._warn(tensors) else self._watched - 1
        return tensors

    def _warn(self, tensors: Tensors) -> bool:
        """Warn where values are no normalised pixels, and return whether some are none."""
        for name, (darkest, brightest) in self._limits.items():
            array, room = tensors[name], _MARGIN * (brightest - darkest)
            if ((array < darkest - room) | (array > brightest + room)).any():
                warnings.warn(
                    f"input {name!r}: values from {array.min():g} to {array.max():g}, where pixels of this model "
                    f"become {darkest.min():g} to {brightest.max():g}; model.preprocess(pixels) converts uint8 pixels",
                    stacklevel=4,
                )
                return True
        return False


def _pixel_limits(spec: Input) -> tuple[np.ndarray, np.ndarray]:
    """Return what the darkest and the brightest pixel of each channel become, (1, C, 1, 1) each."""
    assert spec.preprocess is not None
    shape = (1, len(spec.preprocess.mean), 1, 1)
    return normalise(np.zeros(shape, np.uint8), spec), normalise(np.full(shape, 255, np.uint8), spec)
