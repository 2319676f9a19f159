"""Functions of the user by reference: `package.module:function`, imported with the current folder and called.

This runs code that is installed here or lies in the current folder. A reference that stands in a file is used only
where the user repeats it: see `eetool.model.references.reference_check`.
"""

import importlib
import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from eetool.errors import ArtefactError, UsageError
from eetool.model.user_code import user_code


class UnknownModuleError(UsageError):
    """A reference names a module that does not exist."""


def call_function(reference: str, arguments: Mapping[str, Any], hint: str) -> Any:
    """Import the function in `reference`, and return what it returns.

    Args:
        reference: `package.module:function`, where the function may have dots.
        arguments: by name.
        hint: remedy where the reference names no function.

    Raises:
        UsageError: there is no such module or function.
        ArtefactError: the function cannot be called with these arguments, or it failed.
    """
    name, _, attribute = reference.partition(":")
    here = str(Path.cwd())
    sys.path.insert(0, here)  # as for `python -m`
    try:
        with user_code(reference), _torch_settings_kept():
            found = _find(importlib.import_module(name), name, attribute, hint)
            if not callable(found):
                raise UsageError(f"{reference} is {type(found).__name__}, not a function", hint)
            _check_call(found, arguments, reference)
            return found(**arguments)
    except ArtefactError as failure:
        cause = failure.__cause__
        if not isinstance(cause, ModuleNotFoundError) or not f"{name}.".startswith(f"{cause.name}."):
            raise
        raise UnknownModuleError(
            f"there is no module {cause.name!r}", "It must be installed or lie in this folder."
        ) from None
    finally:
        if here in sys.path:  # the user's code may change it
            sys.path.remove(here)


@contextmanager
def _torch_settings_kept() -> Iterator[None]:
    """Undo what the user's code sets for the whole process: a default type, or no gradients."""
    dtype, gradients = torch.get_default_dtype(), torch.is_grad_enabled()
    try:
        yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(gradients)


def _check_call(function: Any, arguments: Mapping[str, Any], reference: str) -> None:
    """Raise ArtefactError where the function cannot be called with these arguments."""
    try:
        inspect.signature(function).bind(**arguments)
    except TypeError as error:
        hint = f"Write its arguments by name, as in {reference}(name=value)."
        raise ArtefactError(f"{reference}{inspect.signature(function)} fails: TypeError: {error}", hint) from None
    except ValueError:  # a builtin without a signature
        return


def _find(module: Any, name: str, attribute: str, hint: str) -> Any:
    """Return the object called `attribute`, with dots, in the module `name`."""
    found = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise UsageError(f"the module {name!r} has no {attribute!r}", hint)
        found = getattr(found, part)
    return found
