"""Views of the same examples: images in several sizes, of which a model reads one for each input."""

import math
from collections.abc import Sequence

import numpy as np

from eetool.data.model_inputs import model_inputs
from eetool.data.rows import Examples, Key, take
from eetool.data.source import Source
from eetool.errors import UsageError
from eetool.wording import counted
from eetool_runtime.manifest import Input


class Views:
    """Images of the same examples in several sizes, indexed together; `arrays` holds one (N, C, H, W) for each."""

    def __init__(self, arrays: Sequence[Examples]) -> None:
        self.arrays = tuple(arrays)

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, key: Key) -> "Views":
        return Views([array[key] for array in self.arrays])

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (N, C, H, W) of the largest images."""
        return max((array.shape for array in self.arrays), key=math.prod)


def take_examples(source: Source, indices: np.ndarray) -> Examples | Views:
    """Return examples of a source in every size that it has; images of a memory-mapped file stay there until used."""
    if not source.views:
        return take(source.inputs, indices)
    return Views([take(array, indices) for array in (source.inputs, *source.views)])


def inputs_by_name(examples: Examples | Views, specs: Sequence[Input]) -> dict[str, np.ndarray]:
    """Return a chunk of examples as the inputs of a model, normalised.

    Raises:
        UsageError: the model reads more inputs than the examples have sizes.
        ArtefactError: the model takes inputs of another kind or size.
    """
    arrays = examples.arrays if isinstance(examples, Views) else (examples,)
    if len(arrays) != len(specs):
        sizes = ", ".join("x".join(map(str, spec.shape[1:])) for spec in specs)
        raise UsageError(
            f"the model reads {counted(len(specs), 'input')} ({sizes}), and the data has {len(arrays)}",
            "Where they are sizes of one photograph, give the folder: --data folder:DIR.",
        )
    return {spec.name: model_inputs(np.asarray(array[:]), spec) for array, spec in zip(arrays, specs, strict=True)}
