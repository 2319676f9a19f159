"""CIFAR in its official binary and Python layouts, from files made here."""

from pathlib import Path

import numpy as np
import pytest

from eetool.data.registry import load_source
from eetool.errors import ArtefactError

PER_FILE = 20


def records(seed: int, classes: int, label_bytes: int, n: int = PER_FILE) -> np.ndarray:
    """Return random records uint8 (n, label bytes + 3072); the fine label is the last label byte."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (n, 3072), np.uint8)
    fine = (np.arange(n) % classes).astype(np.uint8)[:, None]
    return np.concatenate([fine // 2, fine, pixels][2 - label_bytes :], axis=1)


@pytest.fixture
def cifar10(tmp_path: Path) -> Path:
    """The folder above the one with the files."""
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for i in range(1, 6):
        (folder / f"data_batch_{i}.bin").write_bytes(records(i, 4, 1).tobytes())
    (folder / "test_batch.bin").write_bytes(records(6, 4, 1, n=8).tobytes())
    (folder / "batches.meta.txt").write_text("ant\nbee\ncat\ndog\n\n")
    return tmp_path


def test_read_cifar10_binary_files_are_read_in_order(cifar10: Path) -> None:
    for place in (cifar10, cifar10 / "cifar-10-batches-bin"):
        source = load_source(f"cifar10:{place}")
        assert (source.name, source.classes, source.mirror) == ("cifar10", ("ant", "bee", "cat", "dog"), True)
        assert (source.inputs.shape, source.inputs.dtype) == ((5 * PER_FILE + 8, 3, 32, 32), np.uint8)
        assert source.official_test == 8
        third = records(3, 4, 1)
        assert np.array_equal(source.inputs[2 * PER_FILE].ravel(), third[0, 1:])
        assert np.array_equal(source.labels[2 * PER_FILE : 3 * PER_FILE], third[:, 0])
        assert np.array_equal(source.inputs[-1].ravel(), records(6, 4, 1, n=8)[-1, 1:])


def test_read_cifar100_binary_files_give_fine_labels(tmp_path: Path) -> None:
    for name, seed in (("train", 1), ("test", 2)):
        (tmp_path / f"{name}.bin").write_bytes(records(seed, 6, 2).tobytes())
    (tmp_path / "fine_label_names.txt").write_text("a\nb\nc\nd\ne\nf\n")
    source = load_source(f"cifar100:{tmp_path}")
    assert (source.classes, source.official_test) == (tuple("abcdef"), PER_FILE)
    assert np.array_equal(source.labels[:PER_FILE], np.arange(PER_FILE) % 6)
    assert np.array_equal(source.inputs[0].ravel(), records(1, 6, 2)[0, 2:])


def test_read_cifar10_folder_without_files_raises_artefact_error(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="neither the files of cifar-10-batches-bin nor"):
        load_source(f"cifar10:{tmp_path}")


@pytest.mark.parametrize("file", ["data_batch_4.bin", "test_batch.bin"])
@pytest.mark.parametrize("kept", [None, 0, 3073 * 3 - 1])
def test_read_cifar10_missing_or_truncated_file_raises_artefact_error(
    cifar10: Path, file: str, kept: int | None
) -> None:
    path = cifar10 / "cifar-10-batches-bin" / file
    path.write_bytes(path.read_bytes()[:kept]) if kept is not None else path.unlink()
    with pytest.raises(ArtefactError, match=file):
        load_source(f"cifar10:{cifar10}")


def test_read_cifar10_label_without_class_raises_artefact_error(cifar10: Path) -> None:
    path = cifar10 / "cifar-10-batches-bin" / "data_batch_2.bin"
    spoiled = records(2, 4, 1)
    spoiled[7, 0] = 9
    path.write_bytes(spoiled.tobytes())
    with pytest.raises(ArtefactError, match=f"label 9 of example {PER_FILE + 7} is out of range: there are 4 classes"):
        load_source(f"cifar10:{cifar10}")


def short(text: bytes) -> bytes:
    """Return the opcode SHORT_BINSTRING, in which Python 2 writes text and bytes."""
    return b"U" + bytes([len(text)]) + text


def python2_batch(data: np.ndarray, labels: list[int], key: bytes = b"labels") -> bytes:
    """Return the opcodes of an official file, written by Python 2: a dictionary of labels and one array of bytes."""
    n, width = data.shape
    numbers = b"".join(b"K" + bytes([label]) for label in labels)
    array = b"cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85U\x01b\x87Rq\x03"
    shape = b"J" + n.to_bytes(4, "little") + b"M" + width.to_bytes(2, "little") + b"\x86"
    dtype = b"cnumpy\ndtype\nq\x04U\x02u1K\x00K\x01\x87Rq\x05(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    raw = b"T" + data.nbytes.to_bytes(4, "little") + data.tobytes()
    state = b"(K\x01" + shape + dtype + b"\x89" + raw + b"tb"
    return b"\x80\x02}q\x00(" + short(key) + b"](" + numbers + b"e" + short(b"data") + array + state + b"u."


@pytest.fixture
def python_layout(tmp_path: Path) -> Path:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name, seed in [*((f"data_batch_{i}", i) for i in range(1, 6)), ("test_batch", 6)]:
        data = records(seed, 4, 1)
        (folder / name).write_bytes(python2_batch(data[:, 1:], data[:, 0].tolist()))
    names = b"".join(short(name) for name in (b"ant", b"bee", b"cat", b"dog"))
    (folder / "batches.meta").write_bytes(b"\x80\x02}(" + short(b"label_names") + b"](" + names + b"eu.")
    return tmp_path


def test_read_cifar10_python_layout_gives_the_same(python_layout: Path) -> None:
    source = load_source(f"cifar10:{python_layout}")
    assert (source.classes, source.official_test) == (("ant", "bee", "cat", "dog"), PER_FILE)
    assert np.array_equal(source.inputs[2 * PER_FILE].ravel(), records(3, 4, 1)[0, 1:])
    assert np.array_equal(source.labels[:PER_FILE], records(1, 4, 1)[:, 0])


@pytest.mark.parametrize(
    "content",
    [
        b"cposix\nsystem\n(S'touch escaped'\ntR.",
        b"\x80\x02cbuiltins\neval\nU\x011\x85R.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
        b"(S'x'\ni__main__\nThing\n.",
        b"\x80\x02cnumpy\ndtype\nU\x02O8\x85R.",
    ],
    ids=["system", "eval", "stack global", "instance", "objects"],
)
def test_read_cifar_pickle_with_code_raises_artefact_error_and_runs_nothing(
    python_layout: Path, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (python_layout / "cifar-10-batches-py" / "data_batch_3").write_bytes(content)
    with pytest.raises(ArtefactError, match=r"data_batch_3: holds .*; it was not run"):
        load_source(f"cifar10:{python_layout}")
    assert not (tmp_path / "escaped").exists()


@pytest.mark.parametrize("content", [b"", b"text", b"\x80\x02}.", b"\x80\x02](.", b"\x80\x02e.", b"\x80\x02h\x07."])
def test_read_cifar_pickle_damaged_raises_artefact_error(python_layout: Path, content: bytes) -> None:
    (python_layout / "cifar-10-batches-py" / "data_batch_3").write_bytes(content)
    with pytest.raises(ArtefactError, match="data_batch_3"):
        load_source(f"cifar10:{python_layout}")


def test_read_cifar10_pickled_labels_of_another_kind_raise_artefact_error(python_layout: Path) -> None:
    folder = python_layout / "cifar-10-batches-py"
    data = records(3, 4, 1)
    sound = python2_batch(data[:, 1:], data[:, 0].tolist())
    for label in (b"J\xff\xff\xff\xff", b"J\x00\x00\x00\x7f", b"\x8a\x0a" + b"\x7f" * 10, b"N", b"U\x01x"):
        (folder / "data_batch_3").write_bytes(sound.replace(b"](K\x00", b"](" + label))
        with pytest.raises(ArtefactError, match="data_batch_3: its labels are no numbers from 0 to 255"):
            load_source(f"cifar10:{python_layout}")
    (folder / "data_batch_3").write_bytes(sound)
    for names in (b"K\x05", b"](K\x01K\x02e", b"N"):
        (folder / "batches.meta").write_bytes(b"\x80\x02}(" + short(b"label_names") + names + b"u.")
        with pytest.raises(ArtefactError, match=r"batches\.meta: the names of the classes are missing"):
            load_source(f"cifar10:{python_layout}")
