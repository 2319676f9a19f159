"""Tensors of a module by name, loaded without what torch keeps beside them."""

from collections import OrderedDict
from collections.abc import Mapping

from torch import Tensor, nn


def load_state(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Load tensors into a module; raises RuntimeError as `load_state_dict` does.

    `state_dict` keeps versions of the modules beside its tensors, and files and copies lose them. Some modules refuse
    tensors without a version, or read them as those of an old one. They are of the version that is installed.
    """
    state = OrderedDict(tensors)
    state._metadata = getattr(module.state_dict(), "_metadata", None)  # type: ignore[attr-defined]
    module.load_state_dict(state)
