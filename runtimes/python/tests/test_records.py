"""Decoding of JSON into dataclasses, and equivalence with standard dataclasses."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Optional, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eetool_measure.records import encode
from eetool_runtime import records
from eetool_runtime.records import decode, parse_json


class RefusedError(Exception):
    pass


@dataclass(frozen=True)
class Inner:
    number: float
    words: tuple[str, ...]


@dataclass(frozen=True)
class Everything:
    count: int
    number: float
    text: str
    flag: bool
    inner: Inner
    sizes: tuple[Union[int, str], ...]
    table: dict[str, Inner]
    maybe: Optional[float]
    later: Optional[Inner] = None
    extra: dict[str, int] = field(default_factory=dict)


numbers = st.floats(allow_nan=False, allow_infinity=False)
integers = st.integers(-(10**18) + 1, 10**18 - 1)
inners = st.builds(Inner, number=numbers, words=st.lists(st.text()).map(tuple))
everything = st.builds(
    Everything,
    count=integers,
    number=numbers,
    text=st.text(),
    flag=st.booleans(),
    inner=inners,
    sizes=st.lists(integers | st.text()).map(tuple),
    table=st.dictionaries(st.text(), inners, max_size=3),
    maybe=st.none() | numbers,
    later=st.none() | inners,
    extra=st.dictionaries(st.text(), integers, max_size=3),
)
SAMPLE: dict[str, Any] = encode(
    Everything(3, 0.5, "text", True, Inner(1.0, ("a",)), (1, "batch"), {"key": Inner(2.0, ())}, 0.25, None, {"n": 1})
)


def read(text: str) -> Any:
    return parse_json(text, RefusedError)


def build(value: Any, **options: bool) -> Everything:
    return decode(Everything, value, RefusedError, **options)


@given(everything)
def test_decode_encoded_record_is_equal(record: Everything) -> None:
    assert build(read(json.dumps(encode(record)))) == record


def test_encode_record_gives_json_types() -> None:
    assert encode((Inner(1.0, ("a",)), {"k": (1, None)})) == [{"number": 1.0, "words": ["a"]}, {"k": [1, None]}]


def places(value: Any, path: str = "", keys: tuple[Any, ...] = ()) -> Iterator[tuple[str, tuple[Any, ...], Any]]:
    """Yield every value of a document: its path as in messages, its keys, and the value."""
    yield path, keys, value
    if isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, f"{path}.{key}" if path else key, (*keys, key))
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from places(item, f"{path}[{index}]", (*keys, index))


def put(document: Any, keys: tuple[Any, ...], value: Any) -> Any:
    if not keys:
        return value
    changed = copy.deepcopy(document)
    target = changed
    for key in keys[:-1]:
        target = target[key]
    target[keys[-1]] = value
    return changed


def fits(old: Any, new: Any, path: str) -> bool:
    """Return whether `new` is valid in place of `old`, by the types of `Everything`."""
    if new is None:
        return path in ("maybe", "later")
    if path == "later" or path.startswith("later."):
        return False
    if path.startswith("sizes["):
        return type(new) in (int, str)
    if type(old) is float:
        return type(new) in (int, float)
    return type(old) is type(new)


@pytest.mark.parametrize(("path", "keys", "old"), list(places(SAMPLE)), ids=lambda p: p if isinstance(p, str) else "")
def test_decode_wrong_type_names_path(path: str, keys: tuple[Any, ...], old: Any) -> None:
    for new in (None, True, 7, 1.5, "words", [], {}):
        if fits(old, new, path) or (new == {} and (old is None or isinstance(old, dict))):
            continue
        with pytest.raises(RefusedError) as refusal:
            build(put(SAMPLE, keys, new))
        assert str(refusal.value).startswith(f"{path or 'the document'}: expected "), (new, refusal.value)


@pytest.mark.parametrize("name", ["count", "inner", "maybe"])
def test_decode_missing_field_is_refused(name: str) -> None:
    with pytest.raises(RefusedError, match=f"^{name}: missing field$"):
        build({k: v for k, v in SAMPLE.items() if k != name})


def test_decode_missing_field_with_default_is_accepted() -> None:
    assert build({k: v for k, v in SAMPLE.items() if k not in ("later", "extra")}).extra == {}


def test_decode_unknown_field_is_refused_unless_ignored() -> None:
    newer = put(SAMPLE, ("inner", "colour"), "red")
    with pytest.raises(RefusedError, match=r"^inner\.colour: unknown field$"):
        build(newer)
    assert build(newer, ignore_unknown=True) == build(SAMPLE)


def test_parse_json_integer_of_18_digits_is_read() -> None:
    assert read("[-999999999999999999, 999999999999999999]") == [1 - 10**18, 10**18 - 1]


def test_decode_integer_for_float_becomes_float() -> None:
    number = build(put(SAMPLE, ("number",), 2)).number
    assert type(number) is float
    assert number == 2.0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": NaN}', "NaN is not a JSON number"),
        ('{"a": -Infinity}', "-Infinity is not a JSON number"),
        ('{"a": {"b": 1, "c": 2, "b": 3}}', "the key 'b' occurs twice in one object"),
        ('{"a": 1', "it is not valid JSON: .*"),
        ("", "it is not valid JSON: .*"),
        ("[" * 200_000, "it is nested too deeply"),
        ('{"a":' * 100_000, "it is nested too deeply"),
        ("9" * 1_000_000, "the integer 999999999999999999… is too long"),
        ("[-1234567890123456789]", "the integer -12345678901234567… is too long"),
    ],
    ids=lambda text: text[:16],
)
def test_parse_json_invalid_text_is_refused(text: str, reason: str) -> None:
    with pytest.raises(RefusedError, match=f"^{reason}$"):
        read(text)


@pytest.mark.parametrize("value", [math.inf, math.nan, 10**400])
def test_parse_json_not_finite_number_is_refused(value: float) -> None:
    with pytest.raises(RefusedError, match=r"^number: expected a finite number, found "):
        build(put(SAMPLE, ("number",), value))


def test_parse_json_exponent_beyond_float_is_refused() -> None:
    with pytest.raises(RefusedError, match=r"^the number '1e999' is too large$"):
        read("1e999")


@pytest.mark.parametrize("depth", [10, 300, 600, 800, 900, 930, 950, 970, 980, 990, 1000, 3000])
def test_decode_deeply_nested_value_is_refused_without_overflow(depth: int) -> None:
    with pytest.raises(RefusedError):
        build({**SAMPLE, "count": read("[" * depth + "]" * depth)})


def test_parse_json_many_duplicate_keys_are_refused_fast() -> None:
    twice = ",".join(f'"k{i}":0' for i in range(30_000))
    with pytest.raises(RefusedError, match="occurs twice"):
        read("{" + twice + "," + twice + "}")


def test_decode_messages_are_short_and_printable() -> None:
    for wrong in ({**SAMPLE, "\x1b[31m" + "x" * 10_000: 1}, {**SAMPLE, "text": ["y" * 10_000]}):
        with pytest.raises(RefusedError) as refusal:
            build(wrong)
        assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 200


def make(decorator: Any) -> Any:
    @decorator(frozen=True)
    class Point:
        """A record with every kind of default."""

        x: int
        y: int = 2
        names: dict[str, int] = field(default_factory=dict)

    return Point


OURS, THEIRS = make(records.dataclass), make(dataclasses.dataclass)


@pytest.mark.parametrize("arguments", [((1,), {}), ((1, 3), {}), ((), {"y": 5, "x": 4}), ((1,), {"names": {"a": 1}})])
def test_dataclass_equals_standard_dataclass(arguments: Any) -> None:
    values, named = arguments
    ours, theirs = OURS(*values, **named), THEIRS(*values, **named)
    assert repr(ours) == repr(theirs)
    assert dataclasses.asdict(ours) == dataclasses.asdict(theirs)
    assert list(vars(ours)) == ["x", "y", "names"]
    assert ours == OURS(*values, **named) == copy.deepcopy(ours)
    assert ours != theirs
    assert dataclasses.replace(ours, y=9) == OURS(ours.x, 9, ours.names)
    assert dataclasses.is_dataclass(ours)


@pytest.mark.parametrize("arguments", [((), {}), ((1, 2, {}, 4), {}), ((1,), {"x": 2}), ((1,), {"z": 2})])
def test_dataclass_wrong_arguments_raise_as_standard_dataclass(arguments: Any) -> None:
    for cls in (OURS, THEIRS):
        with pytest.raises(TypeError):
            cls(*arguments[0], **arguments[1])


def test_dataclass_assignment_raises_frozen_error() -> None:
    for cls in (OURS, THEIRS):
        point = cls(1)
        with pytest.raises(dataclasses.FrozenInstanceError):
            point.x = 3
        with pytest.raises(dataclasses.FrozenInstanceError):
            del point.x
        assert point.x == 1
        assert cls(1).names is not cls(1).names


def test_dataclass_equal_records_have_same_hash() -> None:
    @records.dataclass(frozen=True)
    class Pair:
        a: int
        b: str

    assert len({Pair(1, "x"), Pair(1, "x"), Pair(2, "x")}) == 2
    with pytest.raises(TypeError):
        hash(OURS(1))
