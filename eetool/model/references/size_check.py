"""A bound on the size of a network, kept while it is built: whoever writes its name does not decide on the memory."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import Any

import torch
from torch import nn

from eetool.errors import UsageError

MAX_PARAMETERS = 1 << 31
MAX_TENSORS = 1 << 17


class TooLargeError(UsageError):
    """A network has more parameters than it may have."""


@contextmanager
def at_most(parameters: int = MAX_PARAMETERS, tensors: int = MAX_TENSORS) -> Iterator[None]:
    """Stop the building of networks in the block, in this thread, that have more parameters in all.

    Raises:
        TooLargeError: the bound is passed.
    """
    thread, found = get_ident(), [0, 0]

    def count(module: nn.Module, name: str, parameter: Any) -> None:
        if get_ident() != thread or parameter is None:
            return
        found[0] += parameter.numel() if not nn.parameter.is_lazy(parameter) else 0
        found[1] += 1
        if found[0] > parameters or found[1] > tensors:
            raise TooLargeError(f"the network has more than {parameters} parameters, or {tensors} tensors of them")

    handle = nn.modules.module.register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()


def check_size(build: Callable[[], nn.Module], parameters: int = MAX_PARAMETERS, tensors: int = MAX_TENSORS) -> None:
    """Build once without memory for the weights; raises TooLargeError where the network is larger than the bound."""
    with at_most(parameters, tensors), torch.device("meta"):
        build()
