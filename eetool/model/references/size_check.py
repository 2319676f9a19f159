"""Limit on the size of a network while it is built, so that a name in a file cannot exhaust the memory."""

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
    """A network has more parameters than allowed."""


@contextmanager
def limit_size(parameters: int = MAX_PARAMETERS, tensors: int = MAX_TENSORS) -> Iterator[None]:
    """Limit the networks that this thread builds in the block, all together.

    Raises:
        TooLargeError: the limit is exceeded.
    """
    thread, counts = get_ident(), [0, 0]  # parameters, tensors

    def count(module: nn.Module, name: str, parameter: Any) -> None:
        if get_ident() != thread or parameter is None:
            return
        counts[0] += parameter.numel() if not nn.parameter.is_lazy(parameter) else 0
        counts[1] += 1
        if counts[0] > parameters or counts[1] > tensors:
            raise TooLargeError(f"the network has more than {parameters} parameters, or {tensors} tensors of them")

    handle = nn.modules.module.register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()


def check_size(build: Callable[[], nn.Module], parameters: int = MAX_PARAMETERS, tensors: int = MAX_TENSORS) -> None:
    """Build a network once without memory for its weights.

    Raises:
        TooLargeError: the network is larger than the limit.
    """
    with limit_size(parameters, tensors), torch.device("meta"):
        build()
