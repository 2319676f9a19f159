"""Examples of a benchmark as the inputs of its networks, which may take images of different sizes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import numpy as np

from eetool.data.image_form import ImageForm, model_form
from eetool.data.rows import Examples
from eetool.data.source import Source
from eetool.data.views import Views, inputs_by_name, take_examples
from eetool.errors import ArtefactError
from eetool.wording import counted
from eetool_runtime.bundle import Bundle
from eetool_runtime.manifest import Input
from eetool_runtime.preprocess import are_views, preprocess_all
from eetool_runtime.views import View

# Reads the data of a benchmark again, with its images in another form.
Reread = Callable[[ImageForm], Source]
ModelInput = np.ndarray | Mapping[str, np.ndarray]  # at batch 1; by name where a model has several
_IMAGE_AXES = 4


class PictureViews(dict[str, np.ndarray]):
    """Inputs that are views of one picture, by name; those behind the first can be made anew from the picture.

    A device makes the first view before a call, as the input of every other network, and a later one in the call.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], later: Mapping[str, View]) -> None:
        super().__init__(arrays)
        self._later = later

    def for_call(self) -> dict[str, Any]:
        """Return the views as `Model.preprocess` does: later ones are made when they are first read."""
        return {name: self._later[name].again() if name in self._later else x for name, x in self.items()}

    def read(self, names: Sequence[str]) -> list[np.ndarray]:
        """Return some views, each of which but the first is made now."""
        first, *others = names
        return [self[first], *(self._later[name].again().array() for name in others)]


class BenchInputs(Sequence[ModelInput]):
    """Examples as inputs of batch 1, made when they are read: all of many photographs as floats fill the memory.

    Args:
        examples: (N, …) of a source.
        specs: the inputs of the network.
        files: photographs of the examples, of which later views are made; empty where there are none.
    """

    def __init__(self, examples: Examples | Views, specs: Sequence[Input], files: Sequence[Path] = ()) -> None:
        self._examples, self._specs = examples, specs
        self._files = files if len(specs) > 1 else ()
        self._ready: dict[int, ModelInput] = {}

    def __len__(self) -> int:
        return len(self._examples)

    @overload
    def __getitem__(self, index: int) -> ModelInput: ...
    @overload
    def __getitem__(self, index: slice) -> list[ModelInput]: ...
    def __getitem__(self, index: int | slice) -> ModelInput | list[ModelInput]:
        """Return the input (1, …) of one example, or those of some."""
        if isinstance(index, slice):
            return [self._make(i) for i in range(*index.indices(len(self)))]
        ready = self._ready.get(index)
        return self._make(index) if ready is None else ready

    def prepare(self, indices: Sequence[int]) -> None:
        """Make these inputs now, so that reading them later is not a part of what is timed."""
        if self._ready.keys() != set(indices):
            self._ready = {index: self._with_picture(index) for index in indices}

    def _with_picture(self, index: int) -> ModelInput:
        made = self._make(index)
        if not self._files or isinstance(made, np.ndarray):
            return made
        views = preprocess_all(self._files[index], self._specs)
        return PictureViews(made, {name: view for name, view in views.items() if isinstance(view, View)})

    def _make(self, index: int) -> ModelInput:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        inputs = inputs_by_name(self._examples[np.array([index])], self._specs)
        return inputs if len(inputs) > 1 else next(iter(inputs.values()))


def prepare_inputs(inputs: Sequence[ModelInput], indices: Sequence[int]) -> None:
    """Make the inputs `indices` now, where they are made when they are read."""
    if isinstance(inputs, BenchInputs):
        inputs.prepare(indices)


def bench_inputs(bundle: Bundle, examples: Examples | Views, files: Sequence[Path] = ()) -> BenchInputs:
    """Return examples (N, …) of a source, whose photographs are `files`, as N inputs of `bundle` at batch 1.

    Raises:
        ArtefactError: the bundle does not take one example of this kind and shape.
    """
    specs = bundle.manifest.inputs
    if len(specs) != 1 and not are_views(specs):
        raise ArtefactError(f"{bundle.path}: it has {counted(len(specs), 'input')}, but a benchmark provides one")
    return _checked_inputs(examples, specs, str(bundle.path), files)


def _checked_inputs(
    examples: Examples | Views, specs: Sequence[Input], where: str, files: Sequence[Path] = ()
) -> BenchInputs:
    try:
        inputs_by_name(examples[np.arange(1)], specs)
    except ArtefactError as error:
        raise ArtefactError(f"{where}: {error.message}", error.hint) from None
    return BenchInputs(examples, specs, files)


@dataclass(frozen=True)
class ExampleForms:
    """Examples of a benchmark in the form of its bundle, and in those of the networks that it is compared with.

    Attributes:
        examples: (N, …) as the bundle takes them, in each size that it takes.
        form: of these images; None where they have their own size.
        reread: gives the same N examples in another form; None where they are not photographs, or not read by name.
        files: photographs of the N examples; empty where they are not known.
    """

    examples: Examples | Views
    form: ImageForm | None = None
    reread: Callable[[ImageForm], Examples | Views] | None = None
    files: tuple[Path, ...] = ()

    def of_bundle(self, other: Bundle) -> BenchInputs:
        """Return the inputs of another bundle, from the photographs in its own form.

        Raises:
            ArtefactError: it takes other inputs, or images in another form than these data can be read in.
        """
        form = model_form(other.manifest.inputs, str(other.path))
        if form is None or form.same_pixels(self.form):
            return bench_inputs(other, self.examples, self.files)
        return bench_inputs(other, self._in_form(form, str(other.path)), self.files)

    def of_graph(self, specs: Sequence[Input], shape: Sequence[int | str], where: str) -> BenchInputs | None:
        """Return the inputs of a graph without manifest, by the preprocessing of the bundle's inputs at its own size.

        None where it takes images of a size that the bundle takes, or no photographs.
        """
        taken = [tuple(spec.shape[1:]) for spec in specs]
        if self.form is None or len(shape) != _IMAGE_AXES or tuple(shape[1:]) in taken:
            return None
        channels, *sizes = shape[1:]
        if channels != taken[0][0] or not all(isinstance(size, int) for size in sizes):
            return None
        height, width = map(int, sizes)
        form = replace(self.form, height=height, width=width, owner=where, views=())
        own = replace(specs[0], shape=(specs[0].shape[0], channels, height, width))
        return _checked_inputs(self._in_form(form, where), [own], where)

    def _in_form(self, form: ImageForm, where: str) -> Examples | Views:
        if isinstance(self.examples, Views) and self.form is not None:
            own = zip((replace(self.form, views=()), *self.form.views), self.examples.arrays, strict=True)
            found = next((array for view, array in own if form.same_pixels(view)), None)
            if found is not None:
                return found
        if self.reread is None:
            raise ArtefactError(
                f"{where}: takes images of {form}, and these are {self.form or 'of their own size'}",
                "Photographs are read again in its size where data are given by the name of their folder: folder:DIR.",
            )
        return self.reread(form)


def example_forms(bundle: Bundle, source: Source, indices: np.ndarray, reread: Reread | None) -> ExampleForms:
    """Return the examples `indices` of a source for the networks of a benchmark.

    Args:
        bundle: that of the benchmark.
        source: the data, in the form of the bundle.
        indices: int64 (N,).
        reread: reads the same data in another form.
    """

    def read(form: ImageForm) -> Examples | Views:
        assert reread is not None
        other = reread(form)
        if not np.array_equal(other.labels, source.labels):
            raise ArtefactError(f"{source.name}: its files have changed meanwhile", "Run it again.")
        return take_examples(other, indices)

    form = model_form(bundle.manifest.inputs, str(bundle.path)) if source.resize is not None else None
    files = tuple(source.files[i] for i in indices) if source.files else ()
    return ExampleForms(take_examples(source, indices), form, None if reread is None else read, files)
