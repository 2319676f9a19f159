"""Factories on the command line: `package.module:factory`, or with arguments `package.module:factory(width=8)`."""

import ast
import re
import shlex
from collections.abc import Mapping
from typing import Any

from eetool.errors import UsageError

_LIBRARIES = ("hf", "timm", "torchvision")
_DOTTED = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*"
_FACTORY = re.compile(rf"({_DOTTED}:{_DOTTED})(?:\((.*)\))?", re.ASCII | re.DOTALL)
_HINT = "Write package.module:factory, or with arguments package.module:factory(width=8)."


def is_factory(model: str) -> bool:
    """Return True where `model` refers to code of the user: neither a built-in name nor a model of a library."""
    scheme, colon, _ = model.partition(":")
    return bool(colon) and scheme not in _LIBRARIES


def parse_factory(model: str) -> tuple[str, dict[str, Any]]:
    """Split `package.module:factory(width=8)` into the factory and its arguments.

    Raises:
        UsageError: `model` has another form, or an argument is not a plain value with a name.
    """
    match = _FACTORY.fullmatch(model)
    if match is None:
        raise UsageError(f"{model!r} names no factory", _HINT)
    try:
        call = ast.parse(f"f({match[2] or ''})", mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
            raise ValueError("arguments have names")
        arguments = {word.arg: ast.literal_eval(word.value) for word in call.keywords if word.arg}
        if len(arguments) < len(call.keywords):
            raise ValueError("every argument has a name of its own")
        return match[1], arguments
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        raise UsageError(f"{model!r}: its arguments are no plain values by name", _HINT) from None


def write_factory(name: str, arguments: Mapping[str, Any] | None) -> str:
    """Return the text that `parse_factory` splits into `name` and `arguments`."""
    if not arguments:
        return name
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"


def shell_quoted(model: str) -> str:
    """Return `model` quoted for a shell, with control characters escaped."""
    return shlex.quote(model if model.isprintable() else ascii(model))
