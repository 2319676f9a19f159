"""Tensors that a network takes from a file of weights."""

from dataclasses import dataclass

from torch import nn

from eetool.model.backbones.published_names import PublishedNames, published_names
from eetool.model.weight_names import State


@dataclass(frozen=True)
class NeededTensors:
    """Tensors that a network takes from a file.

    Attributes:
        tensors: by name.
        published: names that files of others have for them.
        classes: number of classes, for the hint of an error; 0 where no tensor depends on it.
        keeps_classes: the number of classes is that of the file if the user wishes, because there are no data.
        any_shape: shapes are not compared, because the size of the input is not known.
    """

    tensors: State
    published: tuple[PublishedNames, ...] = ()
    classes: int = 0
    keeps_classes: bool = False
    any_shape: bool = False

    def is_known(self, name: str) -> bool:
        """Return whether a file may call one of the tensors so."""
        return name in self.tensors or any(name in names.own for names in self.published)


def needed_tensors(
    backbone: nn.Module, classes: int, without: str | None = None, keeps_classes: bool = False
) -> NeededTensors:
    """Return the tensors that a backbone takes from a file, without those of the module `without`."""
    tensors = {name: x for name, x in backbone.state_dict().items() if not is_inside(name, without)}
    own_classes = classes if without is None else 0  # nothing else depends on them
    return NeededTensors(tensors, published_names(backbone), own_classes, keeps_classes)


def is_inside(name: str, module: str | None) -> bool:
    """Return whether a tensor belongs to the module, which may be None for no module."""
    return module is not None and name.startswith(f"{module}.")
