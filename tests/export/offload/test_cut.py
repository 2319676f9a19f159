"""Cuts of a cascade: what lies behind, what travels, and how many bytes that is."""

from pathlib import Path
from typing import Any

import pytest

from eetool.errors import UsageError
from eetool.export.offload.cut import candidate_cuts, find_cut, parse_cut, sent_bytes
from eetool_runtime import open_bundle
from eetool_runtime.manifest import Manifest
from tests.helpers.tiny_bundle import with_offload, write_tiny_bundle


def manifest_of(folder: Path, **tweaks: Any) -> Manifest:
    return open_bundle(write_tiny_bundle(folder, **tweaks)).manifest


def test_candidate_cuts_divide_the_components_and_their_macs(tmp_path: Path) -> None:
    m = manifest_of(tmp_path)
    cuts = candidate_cuts(m)
    assert [cut.name for cut in cuts] == ["input", "0", "1"]
    assert [list(cut.tensors) for cut in cuts] == [["input"], ["features0"], ["features1"]]
    for cut in cuts:
        assert (*cut.before, *cut.behind) == m.components
        assert cut.macs_behind == sum(c.macs for c in cut.behind)
        assert [e.logits for e in cut.later_exits(m)] == [f"exit{k}_logits" for k in range(cut.exits_here, 3)]


@pytest.mark.parametrize("joined", [False, True])
def test_find_cut_of_exits_that_read_earlier_ones_sends_their_outputs(tmp_path: Path, joined: bool) -> None:
    cut = find_cut(manifest_of(tmp_path, chained=True, joined=joined), 0)
    assert set(cut.tensors) == {"features0", "exit0_logits"}


def test_find_cut_of_a_later_reader_sends_the_other_input_as_well(tmp_path: Path) -> None:
    m = manifest_of(tmp_path, ids=True)
    assert set(find_cut(m, None).tensors) == {"input", "ids"}
    assert find_cut(m, None).wire_bytes("uint8") is None, "the number of tokens is free"


def test_wire_bytes_are_those_of_the_numbers(tmp_path: Path) -> None:
    cut = find_cut(manifest_of(tmp_path), None)  # 1 x 4 x 4 numbers
    assert [cut.wire_bytes(wire) for wire in ("fp32", "fp16", "uint8")] == [64, 32, 16]


@pytest.mark.parametrize(("wire", "count"), [("fp32", 64), ("fp16", 32), ("uint8", 16)])
def test_sent_bytes_follow_the_manifest(tmp_path: Path, wire: str, count: int) -> None:
    m = manifest_of(tmp_path, edit=lambda document: with_offload(document, None, wire))
    assert sent_bytes(m) == count


@pytest.mark.parametrize(("after", "words"), [(2, "is the last one"), (3, "there is no exit 3"), (-1, "no exit -1")])
def test_find_cut_without_anything_behind_is_refused(tmp_path: Path, after: int, words: str) -> None:
    with pytest.raises(UsageError, match=words) as refusal:
        find_cut(manifest_of(tmp_path), after)
    assert refusal.value.hint == "Cut at: --offload 0, 1 or input."


def test_parse_cut_other_text_is_refused() -> None:
    assert (parse_cut("input"), parse_cut("0"), parse_cut("12")) == (None, 0, 12)
    for text in ("-1", "last", "", "1.0"):
        with pytest.raises(UsageError, match="neither the number of an exit nor input"):
            parse_cut(text)
