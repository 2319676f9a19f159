"""Contents of a source: examples are known again under another name, and those of the model are not new."""

from dataclasses import replace

import numpy as np
import pytest

from eetool.data.contents import as_recorded, new_examples, source_contents
from eetool.data.source import Source
from eetool.data.splits import split_record
from eetool.errors import ArtefactError
from eetool.model.spec import CONTENTS
from eetool.progress import Silent
from eetool_runtime.manifest import Data


class Notes(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, line: str) -> None:
        self.lines.append(line)


def source(seed: int, n: int = 40, name: str = "folder:photos") -> Source:
    inputs = np.random.default_rng(seed).integers(0, 256, (n, 3, 4, 4)).astype(np.uint8)
    return Source(name, inputs, np.arange(n) % 2, ("cat", "dog"), None)


RECORDED = source(0)
CONTENT = source_contents(RECORDED)
DATA = Data(RECORDED.name, split_record({"test": np.arange(40)}))


def test_source_contents_is_what_files_may_hold_and_bounded() -> None:
    assert CONTENTS.fullmatch(CONTENT)
    assert CONTENTS.fullmatch(source_contents(source(1, 5000)))
    assert len(CONTENT) == 40 * 16


def test_as_recorded_copy_under_another_name_has_the_recorded_one() -> None:
    notes = Notes()
    assert as_recorded(replace(RECORDED, name="folder:copy"), DATA, CONTENT, notes).name == "folder:photos"
    assert as_recorded(source(1, name="folder:copy"), DATA, CONTENT, notes).name == "folder:copy"
    assert notes.lines == []
    as_recorded(source(1), DATA, CONTENT, notes)
    assert "differ from those that the model records" in notes.lines[0]


def test_new_examples_one_of_the_model_is_refused() -> None:
    other = source(1)
    assert new_examples(other, CONTENT).tolist() == list(range(40))
    mixed = replace(other, inputs=np.concatenate([other.inputs[:-1], RECORDED.inputs[5:6]]))
    with pytest.raises(ArtefactError, match=r"1 example of 40 are not new.*number 39, of class 'dog'"):
        new_examples(mixed, CONTENT)
    notes = Notes()
    assert len(new_examples(mixed, None, notes)) == 40
    assert "does not record its examples" in notes.lines[0]


def test_source_contents_of_texts_does_not_depend_on_the_vocabulary() -> None:
    ids = np.zeros((40, 4), np.int64)
    one = replace(RECORDED, inputs=ids, texts=tuple(map(str, range(40))))
    assert source_contents(one) == source_contents(replace(one, inputs=ids + 1))
