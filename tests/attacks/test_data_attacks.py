"""Hostile data files: endless, expanding, or of another kind than their names."""

import io
import os
import re
import socket
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

import eetool.data.readers.numpy_arrays
from eetool.data.file_notes import FileNotes
from eetool.data.input_files import read_inputs
from eetool.data.readers.cifar_pickle import read_cifar_pickle
from eetool.data.readers.image_files import read_image
from eetool.data.registry import load_source
from eetool.errors import ArtefactError
from eetool.graphs.onnx_graph import read_graph
from eetool.graphs.tflite_graph import read_tflite
from eetool.model.checkpoint import load_checkpoint
from eetool.model.weight_files import read_weights_file
from eetool.records import read_text, sha256_file
from eetool_runtime import load
from eetool_runtime.image_files import FORMATS
from eetool_runtime.pixel_conversion import Pixels
from tests.attacks import fuzz_data, fuzz_sources
from tests.helpers.tiny_bundle import write_tiny_bundle

IMAGES, LABELS = np.zeros((40, 1, 4, 4), np.uint8), np.arange(40) % 2


@pytest.fixture
def bounded() -> Iterator[None]:
    """Fail a test that would hang."""
    with fuzz_data.bounded():
        yield


def listen(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the names of sockets must be short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


NOT_REGULAR: dict[str, tuple[Callable[[Path], object], str]] = {
    "pipe": (os.mkfifo, "not a regular file"),
    "socket": (listen, "not a regular file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
    "folder": (Path.mkdir, "Is a directory"),
    "link to nothing": (lambda path: path.symlink_to("nothing"), "No such file"),
}
CIFAR = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]


def read_binary_cifar(path: Path) -> None:
    """Read `path` as the last file of CIFAR-10."""
    for name in CIFAR[:-1]:
        (path.parent / name).write_bytes(bytes(3073))
    path.rename(path.parent / CIFAR[-1])
    load_source(f"cifar10:{path.parent}")


def read_picture(path: Path) -> Image.Image:
    return read_image(path, FileNotes()).image


READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "image": ("a.png", read_picture),
    "folder of images": ("a.png", lambda path: load_source(f"folder:{path.parents[1]}")),
    "archive": ("a.npz", lambda path: load_source(f"npz:{path}")),
    "pickled CIFAR": ("batch", read_cifar_pickle),
    "binary CIFAR": ("b", read_binary_cifar),
    "SVHN": ("train_32x32.mat", lambda path: load_source(f"svhn:{path.parent}")),
    "text": ("a.json", read_text),
    "hash": ("a.bin", sha256_file),
    "checkpoint": ("a.pt", load_checkpoint),
    "weights": ("a.safetensors", read_weights_file),
    "ONNX": ("a.onnx", read_graph),
    "TFLite": ("a.tflite", read_tflite),
}


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize(("make", "words"), list(NOT_REGULAR.values()), ids=list(NOT_REGULAR))
@pytest.mark.parametrize(("name", "read"), list(READERS.values()), ids=list(READERS))
def test_readers_not_a_regular_file_is_refused(
    tmp_path: Path, name: str, read: Callable[[Path], object], make: Callable[[Path], object], words: str
) -> None:
    path = tmp_path / "class" / name
    path.parent.mkdir()
    make(path)
    with pytest.raises((ArtefactError, OSError)) as caught:
        read(path)
    if (name, words) == ("a.png", "Is a directory") and "a.png" not in str(caught.value):
        words = "no images were found"  # in the folder of a class, it is one more folder
    assert words in str(caught.value) or (words == "No such file" and "does not exist" in str(caught.value))


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("name", ["a.tsv", "train.tsv"])
def test_read_table_pipe_is_refused(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    place = tmp_path if name == "train.tsv" else tmp_path / name
    with pytest.raises(ArtefactError, match=rf"{name}: cannot be read: not a regular file"):
        load_source(f"tsv:{place}")


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("name", ["a.png", "a.npy", "a.txt"])
def test_read_input_pipe_is_refused(tmp_path: Path, name: str) -> None:
    model = load(write_tiny_bundle(tmp_path))
    os.mkfifo(tmp_path / name)
    with pytest.raises(ArtefactError, match=rf"{name}: .*not a regular file"):
        read_inputs(tmp_path / name, model)


@pytest.mark.parametrize("form", FORMATS)
def test_read_image_known_format_with_any_name_is_read(tmp_path: Path, form: str) -> None:
    Image.new("RGB", (6, 5), (200, 200, 200)).save(tmp_path / "a.png", form)
    assert read_picture(tmp_path / "a.png").size == (6, 5)


def test_read_image_eps_is_refused_without_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was started"))
    Image.new("RGB", (6, 5)).save(tmp_path / "a.png", "EPS")
    with pytest.raises(ArtefactError, match=r"a\.png: cannot be read as an image: it is none of PNG"):
        read_picture(tmp_path / "a.png")


@pytest.mark.parametrize("side", [9_500, 40_000], ids=["warned about", "refused by Pillow"])
def test_read_image_too_many_pixels_is_refused(tmp_path: Path, side: int) -> None:
    header = struct.pack(">II5B", side, side, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    parts = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    with pytest.raises(ArtefactError, match=r"a\.png: an image of more than \d+ pixels"):
        read_picture(tmp_path / "a.png")


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "GIF", "TIFF", "PPM"])
def test_read_image_truncated_names_file(tmp_path: Path, form: str) -> None:
    Image.effect_noise((64, 64), 50).save(tmp_path / "a.png", form)
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(ArtefactError, match=r"a\.png: cannot be read as an image"):
        read_picture(tmp_path / "a.png")


def saved(path: Path, **arrays: Any) -> Path:
    np.savez_compressed(path, **{"images": IMAGES, "labels": LABELS, **arrays})
    return path


def test_read_npz_too_many_members_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npz")
    with zipfile.ZipFile(path, "a") as archive:
        for i in range(1_000):
            archive.writestr(f"{i}.npy", b"")
    with pytest.raises(ArtefactError, match="it holds 1002 members; at most 1000 are allowed"):
        load_source(f"npz:{path}")


def test_read_npz_only_needed_arrays_are_read(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npz")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("notes.npy", b"no array at all")
    assert len(load_source(f"npz:{path}").labels) == 40


def test_read_npz_zip_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "a.npz", images=np.zeros((40, 1, 200, 200), np.uint8))
    assert len(load_source(f"npz:{path}").labels) == 40, "a small one may"
    monkeypatch.setattr(eetool.data.readers.numpy_arrays, "_FREE_BYTES", 1 << 16)
    with pytest.raises(ArtefactError, match=r"it unpacks to \d+ bytes; at most \d+ are allowed for its size"):
        load_source(f"npz:{path}")


@pytest.mark.parametrize("shape", ["(9999999999999,)", "(-1,)", "(40, 9999999)"])
def test_read_npy_header_beyond_data_is_refused(tmp_path: Path, shape: str) -> None:
    fields = f"{{'descr': '<i8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    array = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(fields)) + fields.encode() + bytes(320)
    path = saved(tmp_path / "a.npz")
    with zipfile.ZipFile(path) as archive:
        images = archive.read("images.npy")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", images)
        archive.writestr("labels.npy", array)
    with pytest.raises(ArtefactError, match="its header declares the shape"):
        load_source(f"npz:{path}")


@pytest.mark.parametrize("label", [5 * 10**8, 2**40, np.iinfo(np.int64).max])
def test_load_source_giant_label_is_refused_before_allocation(tmp_path: Path, label: int) -> None:
    labels = LABELS.copy()
    labels[3] = label
    for more in ({}, {"classes": ["a", "b"]}):
        path = saved(tmp_path / "a.npz", labels=labels, **more)
        with pytest.raises(ArtefactError, match=rf"label {label} of example 3 is out of range: there are"):
            load_source(f"npz:{path}")


def test_load_source_labels_beyond_int64_are_refused_with_value(tmp_path: Path) -> None:
    labels = LABELS.astype(np.uint64)
    labels[3] = 2**64 - 1
    path = saved(tmp_path / "a.npz", labels=labels)
    with pytest.raises(ArtefactError, match="label 18446744073709551615 of example 3 is out of range"):
        load_source(f"npz:{path}")


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (np.array("ab"), "classes are one value, 'ab', not a list"),
        (np.array(10), "classes are one value, '10', not a list"),
        (np.array(["a", "a"]), "the classes 0 and 1 have one name, 'a'"),
        (np.array(["é", "e\u0301"]), "the classes 0 and 1 have one name, 'é'"),
        (np.array([True, False]), "not texts"),
        (np.zeros((2, 2), int), "not texts"),
        (np.array([1.5, 2.5]), "not texts"),
        (np.array([b"a", b"\xff"]), "no text of Unicode"),
        (np.arange(100), "100 classes and 40 labels"),
        (np.frombuffer(b"\xff\xff\xff\x7f" * 2, "<U1"), "no text of Unicode"),
    ],
)
def test_load_source_classes_of_other_type_are_refused(tmp_path: Path, classes: np.ndarray, words: str) -> None:
    path = saved(tmp_path / "a.npz", classes=classes)
    with pytest.raises(ArtefactError, match=words):
        load_source(f"npz:{path}")


def test_load_source_images_without_pixels_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npz", images=np.zeros((40, 1, 0, 4), np.uint8))
    with pytest.raises(ArtefactError, match="hold nothing"):
        load_source(f"npz:{path}")


SHARED = b")" + b"q\x00h\x00\x86" * 40  # a tuple of two tuples of two tuples …: 2 ** 40 parts


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x80\x02}" + SHARED + b"K\x01s.", "a key that is no text"),
        (b"\x80\x02cnumpy\ndtype\n" + SHARED + b"\x85R.", "something else than a text"),
        (b"\x80\x02" + SHARED + b".", "holds no dictionary"),
        (b"\x80\x02}" + b"N0" * 3 + b".", "holds POP"),
        (b"\x80\x02" + b"N" * 2_000_001 + b".", "holds more than 2000000 steps"),
        (b"\x80\x02" + b"N" * 300_000 + b"(l" * 300_000 + b".", "holds no dictionary"),
        (b"\x80\x02" + b"(" * 1_000_000 + b"t" * 900_000 + b".", "holds no dictionary"),
    ],
    ids=["key", "dtype", "alone", "opcode", "steps", "marks", "depth"],
)
def test_read_cifar_pickle_endless_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "batch").write_bytes(content)
    with pytest.raises(ArtefactError, match=words):
        read_cifar_pickle(tmp_path / "batch")


def test_read_cifar_pickle_repeated_bytes_are_refused(tmp_path: Path) -> None:
    text = b"X" + struct.pack("<I", 1 << 22) + b"x" * (1 << 22)
    again = b"c_codecs\nencode\nh\x00\x85R"
    (tmp_path / "batch").write_bytes(b"\x80\x02" + text + b"q\x00" + again * 200 + b".")
    with pytest.raises(ArtefactError, match=r"holds more than \d+ bytes"):
        read_cifar_pickle(tmp_path / "batch")


def test_read_cifar_terabyte_file_is_refused(tmp_path: Path) -> None:
    for name in CIFAR:
        with (tmp_path / name).open("wb") as file:
            file.truncate(1 << 40)
    with pytest.raises(ArtefactError, match=r"data_batch_1\.bin: 1099511627776 bytes; no file of CIFAR"):
        load_source(f"cifar10:{tmp_path}")


def test_fuzz_data_short_run_finds_nothing() -> None:
    document = fuzz_data.fuzz(runs=600, seed=1)
    assert document["uncaught"] == []
    assert document["runs"] == sum(document["outcomes"].values()) == 600
    assert len(document["outcomes"]) == 14, "every kind is read at times, and at times refused"


def test_fuzz_data_careless_reader_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(path: Path) -> object:
        return np.load(io.BytesIO(path.read_bytes()))

    monkeypatch.setitem(fuzz_data._KINDS, "archive", (fuzz_sources.archive, careless))
    assert {item["kind"] for item in fuzz_data.fuzz(runs=200, seed=1)["uncaught"]} == {"archive"}


@pytest.mark.parametrize(
    ("careless", "finding"),
    [
        (lambda image: image.convert("RGB" if len(image.getbands()) > 1 else "L"), "a value became another pixel"),
        (lambda image: Image.new("L", image.size, 7), "became one colour|another pixel|shape|for \\("),
    ],
    ids=["Pillow's conversion", "one colour"],
)
def test_fuzz_data_careless_conversion_is_reported(
    monkeypatch: pytest.MonkeyPatch, careless: Callable[[Image.Image], Image.Image], finding: str
) -> None:
    monkeypatch.setattr("eetool_runtime.image_files.convert_pixels", lambda stored, *_: Pixels(careless(stored.image)))
    found = fuzz_data.fuzz(runs=100, seed=1, kinds=["picture"])["uncaught"]
    assert any(re.search(finding, item["error"]) for item in found)


def test_fuzz_data_out_of_memory_is_not_a_refusal(tmp_path: Path) -> None:
    def greedy(path: Path) -> None:
        try:
            raise MemoryError
        except Exception:
            raise ArtefactError("damaged") from None

    with pytest.raises(MemoryError):
        fuzz_data.judge(greedy, tmp_path / "a")
