"""Addition of conditions to a hw profile."""

from dataclasses import replace

import pytest

from eetool.errors import ArtefactError, OutputError
from eetool.latency.build.extend_table import check_extension, extend_hw_profile
from eetool.latency.table.hw_profile import HwProfile
from tests.helpers.latency_tables import COMPOSITION, conv, entry, profile, table

FIRST, SECOND = conv(8, 8), conv(8, 16)


def board(*entries: object, threads: int = 1, precision: str = "fp32") -> HwProfile:
    made = profile(table(entries=entries))  # type: ignore[arg-type]  # entries, as `entry` makes them
    return replace(made, compositions=(replace(COMPOSITION, threads=threads, precision=precision),))


def test_extend_other_threads_keeps_both_tables() -> None:
    extended = extend_hw_profile(board(entry(FIRST)), board(entry(FIRST, threads=2), threads=2))
    assert [e.threads for e in extended.table] == [1, 2]
    assert [c.threads for c in extended.compositions] == [1, 2]
    assert [e.source for e in extended.table] == ["lab", "lab-2"]
    assert [source.id for source in extended.sources] == ["lab", "lab-2"]


def test_extend_int8_keeps_first_float_entries() -> None:
    known = board(entry(FIRST, median_ms=1.0))
    added = board(entry(FIRST, median_ms=2.0), entry(SECOND, precision="int8"), precision="int8")
    extended = extend_hw_profile(known, added)
    assert [(e.precision, e.source) for e in extended.table] == [("fp32", "lab"), ("int8", "lab-2")]
    assert extended.table[0].median_ms == 1.0


def test_extend_same_conditions_replaces_them() -> None:
    known = board(entry(FIRST, median_ms=1.0), entry(SECOND, median_ms=1.0))
    extended = extend_hw_profile(known, board(entry(FIRST, median_ms=2.0)))
    assert [(e.median_ms, e.source) for e in extended.table] == [(2.0, "lab-2")]
    assert len(extended.compositions) == 1


def test_extend_other_device_raises_artefact_error() -> None:
    known, added = board(entry(FIRST)), board(entry(FIRST, threads=2), threads=2)
    other = replace(added, title="Another", facts=replace(added.facts, cpu="another"))
    with pytest.raises(ArtefactError, match="the new times are of Another"):
        extend_hw_profile(known, other)
    named = replace(other, title="Board Rev 1.2")  # a device tree names the board, and the facts may differ
    assert len(extend_hw_profile(known, named).table) == 2


def test_check_extension_present_conditions_raise_unless_replaced() -> None:
    known = board(entry(FIRST))
    check_extension(known, {("onnxruntime", "fp32", 2)}, replaces=False)
    check_extension(known, {("onnxruntime", "fp32", 1)}, replaces=True)
    with pytest.raises(OutputError, match="has a table for onnxruntime fp32, threads 1 already"):
        check_extension(known, {("onnxruntime", "fp32", 1)}, replaces=False)
