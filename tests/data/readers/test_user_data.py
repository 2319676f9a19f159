"""Examples of a function of the user: every form that it may return, its errors, and what is refused."""

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from eetool.data.registry import is_local, load_source
from eetool.data.source import Source
from eetool.errors import ArtefactError, EarlyExitError, UsageError

CODE = """
import numpy as np, torch, random
from PIL import Image
from torch.utils.data import Dataset, TensorDataset, IterableDataset

RGB = np.arange(4 * 3 * 6 * 6, dtype=np.uint8).reshape(4, 3, 6, 6)
LABELS = np.array([0, 1, 0, 1])

class Own(Dataset):
    classes = ["cat", "dog"]
    def __init__(self, images=RGB, fails=None):
        self.images, self.fails = images, fails
    def __len__(self):
        return len(self.images)
    def __getitem__(self, index):
        if index == self.fails:
            raise KeyError("photo 2 is gone")
        return self.images[index], int(LABELS[index])

class Endless(IterableDataset):
    def __iter__(self):
        yield RGB[0], 0

def own(): return Own()
def tensors(): return TensorDataset(torch.from_numpy(RGB), torch.from_numpy(LABELS))
def pillow(): return [(Image.fromarray(x.transpose(1, 2, 0)), y) for x, y in zip(RGB, LABELS.tolist())]
def grey(): return [(Image.fromarray(x[0]), y) for x, y in zip(RGB, LABELS)]
def arrays(): return torch.from_numpy(RGB), LABELS.tolist()
def named(): return RGB, LABELS, ["cat", "dog"]
def pairs_named(): return Own(), ["eins", "zwei"]
def sets(): return {"train": Own(), "test": (RGB[:2] + 1, [1, 0]), "val": (RGB[:1] + 2, [1]), "classes": ["a", "b"]}
def half(): return {"train": Own(), "val": (RGB[:2] + 1, [1, 0])}
def floats(): return [(x / np.float64(255), y) for x, y in zip(RGB, LABELS)]
def features(size=5): return torch.arange(4.0 * size).reshape(4, size).bfloat16(), LABELS
def shuffled(): return [(RGB[i], LABELS[i]) for i in random.sample(range(4), 4)]

def failing(): return Own(fails=2)
def endless(): return Endless()
def text(): return "photos"
def nothing(): return None
def empty(): return []
def sizes(): return [(RGB[0], 0), (RGB[1, :, :4], 1)]
def last(): return RGB.transpose(0, 2, 3, 1), LABELS
def onehot(): return RGB, np.eye(2)[LABELS]
def strings(): return [("a text", 0), ("another", 1)]
def singles(): return list(RGB)
def ids(): return np.zeros((4, 7), np.int64), LABELS
def transparent(): return [(Image.new("RGBA", (6, 6)), y) for y in LABELS]
def fewer(): return RGB, LABELS[:3]
def twice(): return RGB, LABELS, ["cat", "cat"]
def bad_names(): return RGB, LABELS, 2
def keys(): return {"train": Own(), "tset": Own()}
def other(): return {"train": Own(), "test": (RGB[:, :1], LABELS)}
def gap(): return RGB, LABELS * 2
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "mydata.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("mydata", None)


class Notes:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, what: str, total: int) -> Any:
        from eetool.progress import SILENT

        return SILENT(what, total)

    def note(self, line: str) -> None:
        self.lines.append(line)


def load(function: str, notes: Notes | None = None) -> Source:
    return load_source(f"mydata:{function}", notes or Notes())


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("function", "classes"),
    [
        *((name, ("cat", "dog")) for name in ("own", "named")),
        *((name, ("0", "1")) for name in ("tensors", "pillow", "arrays")),
        ("pairs_named", ("eins", "zwei")),
    ],
)
def test_read_user_data_every_form_gives_the_same_source(function: str, classes: tuple[str, ...]) -> None:
    source = load(function)
    assert (source.name, source.classes, source.labels.tolist()) == (f"mydata:{function}", classes, [0, 1, 0, 1])
    assert np.array_equal(source.inputs, np.arange(432, dtype=np.uint8).reshape(4, 3, 6, 6))
    assert (source.mirror, source.official_test, source.official_validation) == (None, 0, 0)


@pytest.mark.usefixtures("folder")
def test_read_user_data_sets_are_kept_apart() -> None:
    source = load("sets")
    assert (source.classes, source.official_validation, source.official_test) == (("a", "b"), 1, 2)
    assert source.labels.tolist() == [0, 1, 0, 1, 1, 1, 0]
    assert source.inputs[:, 0, 0, 0].tolist() == [0, 108, 216, 68, 2, 1, 109]
    notes = Notes()
    half = load("half", notes)
    assert (half.classes, half.official_validation, half.official_test) == (("cat", "dog"), 0, 2)
    assert any("val is the test set" in line for line in notes.lines)


@pytest.mark.usefixtures("folder")
def test_read_user_data_floats_are_finished_inputs() -> None:
    notes = Notes()
    source = load("floats", notes)
    assert (source.inputs.dtype, source.are_pixels) == (np.float32, False)
    assert any("neither normalised nor augmented" in line for line in notes.lines)
    assert load("features(size=3)").inputs.tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
    assert load("features(size = 3)").name == "mydata:features(size=3)"
    assert load("grey").inputs.shape == (4, 1, 6, 6)


@pytest.mark.usefixtures("folder")
def test_read_user_data_random_order_is_the_same_in_every_call() -> None:
    random.seed(7)
    before, state = random.getstate(), torch.get_rng_state()
    first, second = load("shuffled"), load("shuffled")
    assert np.array_equal(first.inputs, second.inputs)
    assert random.getstate() == before
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("function", "error", "words"),
    [
        ("failing", ArtefactError, r"mydata:failing: example 2 fails in mydata.py:17: KeyError: 'photo 2 is gone'"),
        ("endless", UsageError, "returns Endless, not examples of known number"),
        ("text", UsageError, "returns str, not examples"),
        ("nothing", UsageError, "returns NoneType"),
        ("empty", ArtefactError, "holds no examples"),
        ("sizes", ArtefactError, r"example 1 is uint8 \(3, 4, 6\), and example 0 is uint8 \(3, 6, 6\)"),
        ("last", ArtefactError, "the channels seem to be last"),
        ("onehot", ArtefactError, r"labels are float64 \(4, 2\), not integers"),
        ("strings", ArtefactError, "example 0: its input is str"),
        ("singles", UsageError, "example 0 is ndarray, not a pair"),
        ("ids", ArtefactError, r"inputs are int64 \(4, 7\), not uint8"),
        ("transparent", ArtefactError, "has the mode RGBA"),
        ("fewer", ArtefactError, "differ in number"),
        ("twice", ArtefactError, "two classes have one name, 'cat'"),
        ("bad_names", ArtefactError, "classes are '2', not a list of texts"),
        ("keys", UsageError, "a dict of unknown keys such as 'tset'"),
        ("other", ArtefactError, "examples of test and train differ"),
        ("gap", ArtefactError, "no training example is of class '1'"),
        ("features(width=3)", ArtefactError, "unexpected keyword argument|got an unexpected"),
        ("missing", UsageError, "the module 'mydata' has no 'missing'"),
        ("RGB", UsageError, "is ndarray, not a function"),
    ],
)
def test_read_user_data_what_is_wrong_is_told_as_the_users(
    function: str, error: type[EarlyExitError], words: str
) -> None:
    with pytest.raises(error, match=words) as told:
        load(function)
    assert told.value.hint


def test_load_source_unknown_module_lists_the_sources(folder: Path) -> None:
    with pytest.raises(UsageError, match="unknown data source 'fodler:photos': there is no module 'fodler'") as told:
        load_source("fodler:photos")
    assert "folder:DIR" in str(told.value.hint)
    with pytest.raises(UsageError, match="unknown data source 'fodler:my photos/1'"):
        load_source("fodler:my photos/1")


def test_is_local_code_of_the_user_is_not_run_by_a_recorded_name(folder: Path) -> None:
    assert not is_local("mydata:own")
    assert is_local("npz:a.npz")
    assert "mydata" not in sys.modules


def test_read_user_data_image_of_pillow_keeps_its_pixels() -> None:
    from eetool.data.readers.user_data import _array

    pixels = np.arange(108, dtype=np.uint8).reshape(6, 6, 3)
    assert np.array_equal(_array(Image.fromarray(pixels)), pixels.transpose(2, 0, 1))
