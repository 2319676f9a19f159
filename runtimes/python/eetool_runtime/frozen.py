"""`@dataclass(frozen=True)` at a tenth of the import time.

The library's decorator compiles six functions for every class, and a device may be started for a single answer. Here
the six are written once, for all classes.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass"]

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(*, frozen):
        """Class decorator: fields from annotations; equal by value, hashable, never changed."""
        assert frozen

        def decorate(cls):
            cls = dataclasses.dataclass(init=False, repr=False, eq=False)(cls)
            for name, method in _METHODS.items():
                setattr(cls, name, method)
            return cls

        return decorate


def _init(self: Any, *values: Any, **named: Any) -> None:
    fields, kind = self.__dataclass_fields__, type(self).__name__
    if len(values) > len(fields):
        raise TypeError(f"{kind}: {len(values)} values given; it has {len(fields)} fields")
    found = dict(zip(fields, values))
    for name, value in named.items():
        if name not in fields or name in found:
            raise TypeError(f"{kind}: {name!r} is no field, or given twice")
        found[name] = value
    for name, field in fields.items():
        if name not in found:
            if field.default is not dataclasses.MISSING:
                found[name] = field.default
            elif field.default_factory is not dataclasses.MISSING:
                found[name] = field.default_factory()
            else:
                raise TypeError(f"{kind}: {name!r} is missing")
    self.__dict__.update((name, found[name]) for name in fields)


def _repr(self: Any) -> str:
    return f"{type(self).__qualname__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"


def _eq(self: Any, other: Any) -> Any:
    return vars(self) == vars(other) if type(other) is type(self) else NotImplemented


def _hash(self: Any) -> int:
    return hash(tuple(vars(self).values()))


def _refuse(self: Any, name: str, *value: Any) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot change {name!r} of a {type(self).__name__}")


_METHODS = {
    "__init__": _init,
    "__repr__": _repr,
    "__eq__": _eq,
    "__hash__": _hash,
    "__setattr__": _refuse,
    "__delattr__": _refuse,
}
