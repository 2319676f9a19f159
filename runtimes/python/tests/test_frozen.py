"""Our frozen dataclasses do what the library's do."""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import field
from typing import Any

import pytest

from eetool_runtime import frozen


def make(decorator: Any) -> Any:
    @decorator(frozen=True)
    class Point:
        """A record with every kind of default."""

        x: int
        y: int = 2
        names: dict[str, int] = field(default_factory=dict)

    return Point


OURS, THEIRS = make(frozen.dataclass), make(dataclasses.dataclass)


@pytest.mark.parametrize("arguments", [((1,), {}), ((1, 3), {}), ((), {"y": 5, "x": 4}), ((1,), {"names": {"a": 1}})])
def test_the_same_records(arguments: Any) -> None:
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
def test_the_same_refusals(arguments: Any) -> None:
    for cls in (OURS, THEIRS):
        with pytest.raises(TypeError):
            cls(*arguments[0], **arguments[1])


def test_nothing_changes() -> None:
    for cls in (OURS, THEIRS):
        point = cls(1)
        with pytest.raises(dataclasses.FrozenInstanceError):
            point.x = 3
        with pytest.raises(dataclasses.FrozenInstanceError):
            del point.x
        assert point.x == 1
        assert cls(1).names is not cls(1).names


def test_records_are_hashed_by_value() -> None:
    @frozen.dataclass(frozen=True)
    class Pair:
        a: int
        b: str

    assert len({Pair(1, "x"), Pair(1, "x"), Pair(2, "x")}) == 2
    with pytest.raises(TypeError):
        hash(OURS(1))
