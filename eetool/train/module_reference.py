"""Reference by which commands build a module of the user's own again: `package.module:factory`."""

import inspect
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from torch import nn

from eetool.errors import UsageError
from eetool.model.references.factory_call import is_factory, parse_factory

_NO_FILE = ("__main__", "builtins", "<run_path>")
Code = str | Callable[..., Any]  # a reference, or the factory itself


def module_reference(module: nn.Module, code: Code | None) -> str:
    """Return the reference of `module`.

    Args:
        module: the network.
        code: the reference, or the factory, as the user gives it; None for the module's own class.

    Raises:
        UsageError: no command could find that code, or the class needs arguments.
    """
    if isinstance(code, str):
        return code
    if code is not None and (not callable(code) or isinstance(code, nn.Module)):
        raise UsageError(f"reference is {type(code).__name__}, not the code that builds the network", _example("mynet"))
    found = type(module) if code is None else code
    reference = code_reference(found)
    if code is None:
        _check_signature(found, reference)
    return reference


def code_reference(code: Callable[..., Any]) -> str:
    """Return `package.module:name` of a class or a function.

    Raises:
        UsageError: it has no such name: it was defined in a notebook, in the program that runs, or inside a function.
    """
    place, name = str(getattr(code, "__module__", "")), str(getattr(code, "__qualname__", ""))
    if place in _NO_FILE or not place:
        raise UsageError(
            f"{name or repr(code)} is defined in the program or notebook that runs ({place}), where no other program "
            "finds it, and the saved model names the code of its network",
            f"Put it into a file of its own, such as mynet.py, and write: from mynet import {name or 'make'}.",
        )
    if "<" in name or not name:
        raise UsageError(
            f"{name or repr(code)} of {place} is defined inside a function, where no other program finds it",
            f"Define it at the top of {place}, or give reference='{place}:make', a function there that builds it.",
        )
    return f"{place}:{name}"


def named_references(reference: Code | Sequence[Code] | None) -> tuple[str, ...]:
    """Return the references that a user permits to run, for `eetool.model.checkpoint.load_checkpoint`."""
    if reference is None:
        return ()
    given: Sequence[Code] = (reference,) if isinstance(reference, str) or callable(reference) else reference
    return tuple(code if isinstance(code, str) else code_reference(code) for code in given)


def folder_of_commands(reference: str) -> str | None:
    """Return the only folder in which commands find the code of a reference; None where they find it elsewhere too.

    Python adds the folder of the program that runs to those that it imports from, and not the working folder. Commands
    have the working folder instead.
    """
    package = reference.partition(":")[0].partition(".")[0]
    program = getattr(sys.modules.get("__main__"), "__file__", None)
    if ":" not in reference or program is None:
        return None
    own = Path(program).resolve().parent
    others = [str(Path.cwd()), *(place for place in sys.path if Path(place or ".").resolve() != own)]
    if PathFinder.find_spec(package, others) is not None or PathFinder.find_spec(package, [str(own)]) is None:
        return None
    return str(own)


def split_reference(reference: str) -> tuple[str, dict[str, Any]]:
    """Return the name and the arguments of a reference; those of eetool and of libraries have no arguments."""
    return parse_factory(reference) if is_factory(reference) else (reference, {})


def _check_signature(kind: Any, reference: str) -> None:
    """Refuse a class that cannot be called without arguments: a file holds no objects to call it with."""
    try:
        inspect.signature(kind).bind()
    except TypeError as error:
        parameters = [p.name for p in inspect.signature(kind).parameters.values() if p.default is p.empty]
        raise UsageError(
            f"{reference} cannot be called without arguments ({error}), as commands do to build the network again",
            f"Give them: reference='{reference}({parameters[0]}=…)' with plain values, or reference=make, a function "
            "without arguments that builds the network.",
        ) from None
    except ValueError:  # a builtin without a signature
        return


def _example(module: str) -> str:
    return f"Give a function that builds it, or its name: reference='{module}:make'."
