"""Arguments of any type: a public call succeeds or raises a documented error."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import eetool_runtime as ee
from eetool_runtime.argument_checks import as_float, as_int, short_repr
from eetool_runtime.errors import BundleError, InputError, UsageError
from tests.helpers.tiny_bundle import image, pixels, write_tiny_bundle

HUGE = 10**400  # no float holds it
ENDLESS = 10**6000  # nor may Python 3.11 write it in decimals
LOOP: list[Any] = []
LOOP.append(LOOP)


class Unwritable:
    """An object without repr, which numpy cannot convert."""

    def __repr__(self) -> str:
        raise OSError("no repr")

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise LookupError("no array")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("junk"))


@pytest.fixture(scope="module")
def model(path: Path) -> ee.Model:
    return ee.load(path)


@pytest.fixture(scope="module")
def model_of_two(tmp_path_factory: pytest.TempPathFactory) -> ee.Model:
    """Return a model with an input `ids` of any length and without preprocessing."""
    return ee.load(write_tiny_bundle(tmp_path_factory.mktemp("junk"), ids=True))


ODD: list[Any] = [
    *(HUGE, -HUGE, ENDLESS, 2**63, 2**70, 1e300, 1e308, -0.0, float("nan"), float("inf"), 1j),
    *(Decimal("1e999"), Decimal("nan"), Fraction(HUGE, 3), Fraction(1, HUGE)),
    *("", "fast", "custom", "\0", "x" * 5000, "\ud800", "auto", "onnx", "onnx/fp32", "process", "input", "..", b"x"),
    *(object(), Unwritable(), int, ..., range(3), {1}, frozenset(), memoryview(b"ab"), LOOP, slice(1), Path("\0")),
    *(np.float16(2), np.float32("nan"), np.int64(3), np.bool_(True), np.str_("fast"), np.datetime64("2020-01-01")),
    *(np.array(3), np.array(0.5), np.array([1, 2]), np.array([0.2, 0.9]), np.array(["a"]), np.zeros(0)),
    *(np.array([None, [1]], object), np.zeros(1, [("a", "f4")]), np.zeros((1, 1, 4, 4)), np.full((4, 4), 300)),
    *(np.zeros((1, 1, 4, 4), ">f4"), np.full((1, 1, 4, 4), 3e38, np.float32), np.ones((2, 3, 4, 4, 5), np.uint8)),
    *(image(0, 1.0), np.ma.masked_array(image(0, 1.0), True), pixels(0, 1.0), np.ones((1, 3), np.int64)),
    *([[1, 2], [3]], [[1e300]], [[HUGE]], [["a"]], [None], {"input": None}, {1: 2}, {ENDLESS: 1}, {"input": [[1], 2]}),
]
WRITABLE = [
    junk for junk in ODD if not short_repr(junk).startswith("a value of the type")
]  # hypothesis shows what it draws
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.sampled_from(WRITABLE)
)
JUNK = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(st.sampled_from(["input", "ids", 0]), inner, max_size=3),
    ),
    max_leaves=8,
)

X = image(0, 1.0)
CALLS: dict[str, Callable[[ee.Model, Any], object]] = {
    "call": lambda model, junk: model(junk),
    "call by name": lambda model, junk: model({"input": junk}),
    "deadline_ms": lambda model, junk: model(X, deadline_ms=junk),
    "min_exit": lambda model, junk: model(X, min_exit=junk),
    "both": lambda model, junk: model(X, deadline_ms=5, min_exit=junk),
    "preprocess": lambda model, junk: model.preprocess(junk),
    "preprocess by name": lambda model, junk: model.preprocess({"input": junk, "ids": junk}),
    "use": lambda model, junk: model.use(junk),
    "threshold": lambda model, junk: model.use(threshold=junk),
    "thresholds": lambda model, junk: model.use(threshold=(junk, junk)),
    "watch": lambda model, junk: model.use("full", watch=junk),
    "band": lambda model, junk: model.use("full", watch=(0, junk)),
    "batch": lambda model, junk: model.batch(junk),
    "batch by name": lambda model, junk: model.batch({"input": X, "ids": junk}),
    "every_exit": lambda model, junk: model.every_exit(junk),
    "recent_ms": lambda model, junk: model.recent_ms(junk),
    "variant": lambda model, junk: model.bundle.variant(junk),
    "file": lambda model, junk: model.bundle.file(junk),
    "arrays": lambda model, junk: model.bundle.arrays(junk),
    "recheck": lambda model, junk: model.bundle.recheck(junk),
    "open_bundle": lambda _, junk: ee.open_bundle(junk),
    "load": lambda _, junk: ee.load(junk),
    "load pool": lambda model, junk: ee.load(model.bundle, pool=junk),
    "load backend": lambda model, junk: ee.load(model.bundle, backend=junk),
    "load variant": lambda model, junk: ee.load(model.bundle, variant=junk),
    "load preload": lambda model, junk: ee.load(model.bundle, preload=junk),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
@settings(max_examples=60)
@given(junk=JUNK)
def test_public_calls_any_argument_raise_documented_errors_only(
    model: ee.Model, model_of_two: ee.Model, call: Callable[[ee.Model, Any], object], junk: Any
) -> None:
    for asked in (model, model_of_two):
        with contextlib.suppress(ee.EarlyExitError):
            call(asked, junk)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_public_calls_each_odd_value_raise_documented_errors_only(
    model: ee.Model, model_of_two: ee.Model, call: Callable[[ee.Model, Any], object]
) -> None:
    for asked in (model, model_of_two):
        for junk in ODD:
            with contextlib.suppress(ee.EarlyExitError):
                call(asked, junk)
    model.use("balanced")
    assert model(image(0, 2.0)).exit == 0  # and none of it left a trace


@given(junk=JUNK.filter(lambda junk: not (as_int(junk) is not None and 1 < as_int(junk) <= 1024)))  # type: ignore
@settings(max_examples=60)
def test_load_any_threads_raises_documented_errors_only(path: Path, junk: Any) -> None:
    with contextlib.suppress(ee.EarlyExitError):
        ee.load(path, threads=junk)


def wrong() -> Iterator[tuple[str, Any, type[ee.EarlyExitError], str]]:
    """Yield cases of wrong arguments: the call, the argument, the expected error, and a part of its message."""
    ragged, positive, exits = [[1, 2], [3]], "deadline_ms must be a positive number, not ", "this model has the exits"
    yield from [("deadline_ms", junk, UsageError, positive) for junk in ("5", [5], HUGE, ENDLESS, 1j, np.array([1, 2]))]
    yield from [("min_exit", junk, UsageError, exits) for junk in ("1", 1.5, None, [0], HUGE, ENDLESS, np.ones(2))]
    yield from [("preprocess", junk, InputError, "different lengths") for junk in (ragged, [[1, 2], 3])]
    yield from [("preprocess", junk, InputError, "found") for junk in (Unwritable(), [[HUGE]], LOOP, 10**30)]
    yield from [("use", junk, UsageError, "unknown operating point") for junk in ([], {}, 3, ENDLESS, np.zeros(2))]
    yield from [("threshold", junk, UsageError, "out of range") for junk in (HUGE, -HUGE, ENDLESS, "0.5", np.ones(2))]
    yield from [("band", junk, UsageError, "a band") for junk in (HUGE, ENDLESS, "1", None, np.ones(2))]
    yield from [("watch", junk, UsageError, "a band") for junk in (5, "ab", [0, 1, 2], Unwritable())]
    yield from [("load", junk, UsageError, "the path of a bundle") for junk in (None, 3, b"x", [], {})]
    yield from [
        ("load", junk, BundleError, "is not a directory|does not exist|cannot be read|manifest.json")
        for junk in ("x" * 5000, "\0", "\ud800", "")
    ]
    yield from [("load pool", junk, UsageError, "pool") for junk in (None, 3, [], np.ones(2))]
    yield from [("load variant", junk, UsageError, "variant") for junk in (None, 3, [], np.ones(2))]
    yield from [("load backend", junk, UsageError, "backend") for junk in (None, 3, {}, np.ones(2))]
    yield from [("load preload", junk, UsageError, "preload") for junk in ("no", np.ones(2), 2)]
    yield from [("recent_ms", junk, UsageError, "calls must be") for junk in (None, "5", 0, -1, 2.5, np.ones(2))]
    yield from [("variant", junk, UsageError, "has no variant") for junk in (None, [], ENDLESS)]
    yield from [("recheck", junk, UsageError, "file") for junk in (None, [], "nothing.onnx")]
    yield from [("arrays", junk, UsageError, "the name of a file must be a string") for junk in (None, [])]
    yield ("call", {ENDLESS: 1}, InputError, "expected inputs")


@pytest.mark.parametrize(("call", "junk", "error", "message"), list(wrong()), ids=range(sum(1 for _ in wrong())))
def test_public_calls_wrong_value_raise_error_of_its_kind(
    model: ee.Model, call: str, junk: Any, error: type[ee.EarlyExitError], message: str
) -> None:
    with pytest.raises(error, match=message):
        CALLS[call](model, junk)


@pytest.mark.parametrize("threads", ["2", 2.0, 0, -1, 1025, HUGE, ENDLESS, [], np.ones(2)], ids=range(9))
def test_load_impossible_threads_raises_usage_error(path: Path, threads: Any) -> None:
    with pytest.raises(UsageError, match="threads must be"):
        ee.load(path, threads=threads)


@pytest.mark.parametrize("deadline_ms", [1e308, np.float32(5), Fraction(10**300, 3), 2**60])
def test_call_deadline_of_any_real_type_is_accepted(model: ee.Model, deadline_ms: Any) -> None:
    model.use("balanced")
    assert model(image(0, 2.0), deadline_ms=deadline_ms).gated


@pytest.mark.parametrize("min_exit", [-1, 2, np.int8(-1), np.array(2)])
def test_call_min_exit_of_any_integer_type_is_accepted(model: ee.Model, min_exit: Any) -> None:
    assert model(image(0, 2.0), min_exit=min_exit).exit == 2


def test_conversions_various_values_return_numbers_or_none() -> None:
    assert [as_float(v) for v in (1, 0.5, Fraction(1, 4), np.float32(2), HUGE, "1", 1j)] == [
        1,
        0.5,
        0.25,
        2,
        *[None] * 3,
    ]
    assert [as_int(v) for v in (1, True, np.int64(5), HUGE, 1.0, "1")] == [1, 1, 5, HUGE, None, None]
    assert (short_repr("a"), short_repr(Unwritable())) == ("'a'", "a value of the type Unwritable")
    assert len(short_repr("x" * 5000)) == 80
