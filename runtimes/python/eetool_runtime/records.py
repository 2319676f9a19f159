"""Frozen dataclasses, and strict decoding of JSON into them; errors name the path of the field.

Unknown keys, wrong types and non-finite numbers are refused. Written by hand because the runtime depends on numpy
alone. The standard decorator compiles six functions per class; sharing them takes a tenth of the time, which counts
where a device starts the runtime for a single prediction.
"""

from __future__ import annotations

import dataclasses
import math
import reprlib
import types
from functools import cache
from typing import TYPE_CHECKING, Any, Callable, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
Refuse = Callable[[str], Exception]

# `int | None` has its own type from Python 3.10 on.
_UNIONS = (Union, getattr(types, "UnionType", Union))
_MAX_DIGITS = 18  # every integer fits 64 bits, and parsing stays fast

# Messages quote values; unlike repr() this stays short and works for deeply nested values.
_quote = reprlib.Repr()
_quote.maxstring = _quote.maxother = 60

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(*, frozen):
        """Return a class decorator: fields from annotations, compared by value, hashable and immutable."""
        assert frozen

        def decorate(cls):
            cls = dataclasses.dataclass(init=False, repr=False, eq=False)(cls)
            for name, method in _METHODS.items():
                setattr(cls, name, method)
            return cls

        return decorate


def _init(self: Any, *values: Any, **named: Any) -> None:
    fields, missing = self.__dataclass_fields__, dataclasses.MISSING
    arguments = dict(zip(fields, values))
    if len(values) > len(fields) or not named.keys() <= fields.keys() - arguments.keys():
        raise TypeError(f"{type(self).__name__} takes {', '.join(fields)}, once each")
    arguments.update(named)
    for name, field in fields.items():
        if name not in arguments:
            if field.default is field.default_factory is missing:
                raise TypeError(f"{type(self).__name__}: {name!r} is missing")
            arguments[name] = field.default_factory() if field.default is missing else field.default
    self.__dict__.update((name, arguments[name]) for name in fields)


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


def parse_json(text: str, refuse: Refuse) -> Any:
    """Parse `text`.

    Raises:
        Exception: `refuse(reason)` for invalid JSON, duplicate keys, numbers beyond float, long integers, deep nesting.
    """
    import json  # slow to import

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for key, item in pairs:
            if key in seen:
                raise refuse(f"the key {_quote.repr(key)} occurs twice in one object")
            seen[key] = item
        return seen

    def integer(digits: str) -> int:
        if len(digits.lstrip("-")) > _MAX_DIGITS:
            raise refuse(f"the integer {digits[:_MAX_DIGITS]}… is too long")
        return int(digits)

    def fraction(digits: str) -> float:
        number = float(digits)
        if math.isinf(number):  # refused here, because unknown fields are not decoded
            raise refuse(f"the number {_quote.repr(digits)} is too large")
        return number

    def constant(name: str) -> Any:
        raise refuse(f"{name} is not a JSON number")

    try:
        return json.loads(
            text, object_pairs_hook=unique, parse_int=integer, parse_float=fraction, parse_constant=constant
        )
    except RecursionError:
        raise refuse("it is nested too deeply") from None
    except ValueError as error:
        raise refuse(f"it is not valid JSON: {error}") from None


def decode(cls: type[T], value: Any, refuse: Refuse, *, ignore_unknown: bool = False) -> T:
    """Build the dataclass `cls` from parsed JSON.

    Args:
        cls: a frozen dataclass.
        value: parsed JSON.
        refuse: makes an exception of a message.
        ignore_unknown: ignore unknown fields.

    Raises:
        Exception: `refuse("field.path: reason")` where `value` does not match.
    """
    decoded: T = _decode(cls, value, "", refuse, ignore_unknown)
    return decoded


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _decode(kind: Any, value: Any, path: str, refuse: Refuse, lenient: bool) -> Any:
    origin = get_origin(kind)
    if dataclasses.is_dataclass(kind):
        return _decode_record(kind, value, path, refuse, lenient)
    if origin in _UNIONS:
        return _decode_union(get_args(kind), value, path, refuse, lenient)
    if origin is tuple:
        item = get_args(kind)[0]
        _expect(isinstance(value, list), "a list", value, path, refuse)
        return tuple(_decode(item, v, f"{path}[{i}]", refuse, lenient) for i, v in enumerate(value))
    if origin is dict:
        item = get_args(kind)[1]
        _expect(isinstance(value, dict), "an object", value, path, refuse)
        return {k: _decode(item, v, _join(path, k), refuse, lenient) for k, v in value.items()}
    return _decode_scalar(kind, value, path, refuse)


def _decode_record(cls: Any, value: Any, path: str, refuse: Refuse, lenient: bool) -> Any:
    _expect(isinstance(value, dict), "an object", value, path, refuse)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    unknown = [key for key in value if key not in fields]
    if unknown and not lenient:
        raise refuse(f"{_join(path, unknown[0])}: unknown field")
    arguments = {}
    for name, field in fields.items():
        if name in value:
            arguments[name] = _decode(_hints(cls)[name], value[name], _join(path, name), refuse, lenient)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise refuse(f"{_join(path, name)}: missing field")
    return cls(**arguments)


def _decode_union(options: tuple[Any, ...], value: Any, path: str, refuse: Refuse, lenient: bool) -> Any:
    if value is None and type(None) in options:
        return None
    concrete = [option for option in options if option is not type(None)]
    if len(concrete) == 1:
        return _decode(concrete[0], value, path, refuse, lenient)
    for option in concrete:  # unions of scalars only, distinguished by their JSON type
        if type(value) is option:
            return value
    names = " or ".join(option.__name__ for option in concrete)
    raise refuse(_expected(names, value, path))


def _decode_scalar(kind: Any, value: Any, path: str, refuse: Refuse) -> Any:
    if kind is Any:
        return value
    if kind is float:
        _expect(type(value) in (int, float), "a number", value, path, refuse)
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        _expect(math.isfinite(number), "a finite number", value, path, refuse)
        return number
    words = {int: "an integer", str: "a string", bool: "true or false"}
    _expect(type(value) is kind, words[kind], value, path, refuse)
    return value


def _expect(holds: bool, expected: str, value: Any, path: str, refuse: Refuse) -> None:
    if not holds:
        raise refuse(_expected(expected, value, path))


def _expected(expected: str, value: Any, path: str) -> str:
    return f"{path or 'the document'}: expected {expected}, found {_quote.repr(value)}"


def _join(path: str, name: str) -> str:
    printable = name if name.isprintable() else ascii(name)  # messages reach terminals
    return f"{path}.{printable}" if path else printable
