"""Folders of images, one per class."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eetool.data.image_form import ImageForm
from eetool.data.registry import load_source
from eetool.errors import ArtefactError, UsageError
from eetool.progress import Silent
from eetool_runtime.manifest import FITS, Resize
from eetool_runtime.resize import resize
from tests.helpers.input_rows.row import Listener


def put(path: Path, shade: int, mode: str = "RGB", size: tuple[int, int] = (6, 5)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, shade if mode == "L" else (shade, 1, 2)).save(path)


def test_read_image_folder_every_subfolder_is_a_class(tmp_path: Path) -> None:
    for shade, name in enumerate(("b/1.png", "a/2.png", "a/1.png", "b/0.PNG")):
        put(tmp_path / name, shade)
    (tmp_path / "a" / "notes.txt").write_text("not an image")
    source = load_source(f"folder:{tmp_path}")
    assert (source.name, source.classes, source.official_test) == (f"folder:{tmp_path.name}", ("a", "b"), 0)
    assert source.inputs.shape == (4, 3, 5, 6)
    assert source.labels.tolist() == [0, 0, 1, 1]
    assert source.inputs[:, 0, 0, 0].tolist() == [2, 1, 3, 0], "in the order of their names"


def test_read_image_folder_train_and_test_give_official_test_set_in_grey(tmp_path: Path) -> None:
    for name in ("train/x/1.png", "train/y/1.png", "test/y/1.png"):
        put(tmp_path / name, 7, "L")
    source = load_source(f"folder:{tmp_path}")
    assert (source.inputs.shape, source.official_test) == ((3, 1, 5, 6), 1)
    assert source.labels.tolist() == [0, 1, 1]


def test_read_image_folder_unusable_folder_raises_artefact_error(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="cannot be read"):
        load_source(f"folder:{tmp_path / 'nowhere'}")
    with pytest.raises(ArtefactError, match="no images were found"):
        load_source(f"folder:{tmp_path}")
    put(tmp_path / "a" / "1.png", 1)
    put(tmp_path / "b" / "1.png", 1, size=(6, 6))
    with pytest.raises(ArtefactError, match=r"the images have 2 sizes \(width×height\): 6×5 \(1\), 6×6 \(1\)"):
        load_source(f"folder:{tmp_path}")
    (tmp_path / "b" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(ArtefactError, match=r"1\.png: cannot be read as an image"):
        load_source(f"folder:{tmp_path}")
    (tmp_path / "b" / "1.png").unlink()
    (tmp_path / "b" / "1.png").symlink_to("nowhere")
    with pytest.raises(ArtefactError, match=r"1\.png: cannot be read: No such file"):
        load_source(f"folder:{tmp_path}@8")
    (tmp_path / "b" / "1.png").unlink()
    with pytest.raises(ArtefactError, match="no training example is of class 'b'"):
        load_source(f"folder:{tmp_path}")


def test_read_image_folder_class_in_test_only_raises_artefact_error(tmp_path: Path) -> None:
    put(tmp_path / "train" / "a" / "1.png", 1)
    put(tmp_path / "test" / "b" / "1.png", 1)
    with pytest.raises(ArtefactError, match="holds a class that is not in"):
        load_source(f"folder:{tmp_path}")


def put_noise(path: Path, width: int, height: int, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Return a folder of colour images of four sizes."""
    for number, size in enumerate([(9, 7), (20, 6), (5, 30), (4, 4)]):
        put_noise(tmp_path / "mixed" / "ab"[number % 2] / f"{number}.png", *size, number)
    return tmp_path / "mixed"


def test_read_image_folder_mixed_sizes_name_the_sizes_and_what_to_write(mixed: Path) -> None:
    with pytest.raises(ArtefactError, match="the images have 4 sizes") as caught:
        load_source(f"folder:{mixed}")
    assert f"folder:{mixed}@96" in (caught.value.hint or "")


@pytest.mark.parametrize("fit", FITS)
def test_read_image_folder_mixed_sizes_have_the_pixels_of_the_runtime(mixed: Path, fit: str) -> None:
    source = load_source(f"folder:{mixed}", form=ImageForm(6, 8, fit))
    assert (source.inputs.shape, source.resize) == ((4, 3, 6, 8), Resize(fit))
    for pixels, name in zip(source.inputs, ("a/0", "a/2", "b/1", "b/3"), strict=True):
        given = np.asarray(Image.open(mixed / f"{name}.png"))
        expected = resize(given, (6, 8), fit).transpose(2, 0, 1)
        assert abs(pixels.astype(int) - expected).max() <= 1


def test_load_source_size_in_the_name_is_height_and_width(mixed: Path) -> None:
    assert load_source(f"folder:{mixed}@6x8").inputs.shape == (4, 3, 6, 8)
    assert load_source(f"folder:{mixed}@6").name == "folder:mixed"
    assert load_source(f"folder:{mixed}", form=ImageForm(6, 6, channels=1)).inputs.shape == (4, 1, 6, 6)


@pytest.mark.parametrize(
    ("name", "message"),
    [("@0", "sides are 1 to 4096"), ("@99999", "sides are 1 to 4096"), ("@8", r"asks for images of 8x8, and m\.pt")],
)
def test_load_source_impossible_or_other_size_raises_usage_error(mixed: Path, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_source(f"folder:{mixed}{name}", form=ImageForm(6, 6, owner="m.pt"))


def test_load_source_folder_whose_name_ends_in_a_size_is_read(tmp_path: Path) -> None:
    for name in ("set@8/a/1.png", "set@8/b/1.png"):
        put(tmp_path / name, 1, size=(4, 4))
    assert load_source(f"folder:{tmp_path}/set@8").inputs.shape == (2, 3, 4, 4)
    (tmp_path / "set").mkdir()
    with pytest.raises(UsageError, match="is a folder, and also"):
        load_source(f"folder:{tmp_path}/set@8")
    assert load_source(f"folder:{tmp_path}/set@8/").inputs.shape == (2, 3, 4, 4)


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with enough bytes for the cache, and use a cache of its own."""
    monkeypatch.setenv("EETOOL_CACHE", str(tmp_path / "cache"))
    for number in range(40):  # noise cannot be compressed: 60 kB each
        put_noise(tmp_path / "large" / "ab"[number % 2] / f"{number:02}.png", 160, 125, number)
    return tmp_path / "large"


@pytest.mark.parametrize("size", ["@12", ""])
def test_read_image_folder_broken_files_are_all_named(large: Path, size: str) -> None:
    files = sorted(large.glob("*/*.png"))
    for path in files[3:15]:
        path.write_bytes(b"nonsense")
    with pytest.raises(ArtefactError, match="12 of 40 files cannot be used: ") as caught:
        load_source(f"folder:{large}{size}")
    named = [path.name for path in files if str(path) in caught.value.message]
    assert named == [path.name for path in files[3:13]]
    assert caught.value.message.endswith("; and 2 more")
    files[3].unlink()
    for path in files[4:15]:
        path.unlink()
    assert len(load_source(f"folder:{large}{size}").labels) == 28


def test_read_image_folder_large_folder_is_decoded_once(large: Path, tmp_path: Path) -> None:
    name = f"folder:{large}@12"
    first = load_source(name)
    expected = load_source(f"folder:{large}", form=ImageForm(12, 12, owner="m.pt"))
    assert isinstance(first.inputs, np.memmap)
    assert first.inputs.filename == expected.inputs.filename
    damaged = large / "a" / "00.png"
    state, data = damaged.stat(), damaged.read_bytes()
    damaged.write_bytes(b"\0" * state.st_size)
    os.utime(damaged, ns=(state.st_atime_ns, state.st_mtime_ns))
    np.testing.assert_array_equal(load_source(name).inputs, first.inputs)
    os.utime(damaged)
    with pytest.raises(ArtefactError, match=r"00\.png: cannot be read as an image"):
        load_source(name)
    damaged.write_bytes(data)
    np.testing.assert_array_equal(load_source(name).inputs, first.inputs)
    (entry,) = (tmp_path / "cache" / "images").iterdir()  # that of the earlier state is gone
    other_size = np.zeros((40, 3, 6, 6), np.uint8)
    for write in (
        lambda: (entry / "pixels.npy").write_bytes(b"damaged"),
        lambda: (entry / "pixels.npy").write_bytes(b""),  # after a power failure
        lambda: np.save(entry / "pixels.npy", other_size),
        lambda: (entry / "notes.json").write_text("5"),
        lambda: (entry / "odd.json").write_text("5"),
    ):
        write()
        np.testing.assert_array_equal(load_source(name).inputs, first.inputs)


def test_read_image_folder_without_cache_gives_the_same_pixels(
    large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = load_source(f"folder:{large}@12").inputs
    (tmp_path / "file").touch()
    monkeypatch.setenv("EETOOL_CACHE", str(tmp_path / "file"))
    listener = Listener()
    np.testing.assert_array_equal(load_source(f"folder:{large}@12", listener).inputs, cached)
    assert any("decoded again by each command" in line for line in listener.lines)


def test_read_image_folder_next_command_removes_what_a_killed_one_left(large: Path, tmp_path: Path) -> None:
    killed = subprocess.Popen([sys.executable, "-c", _WAITING_DECODER, str(large)], stdout=subprocess.PIPE)
    assert killed.stdout is not None
    killed.stdout.readline()
    killed.kill()
    killed.wait()
    killed.stdout.close()
    images = tmp_path / "cache" / "images"
    assert [path.name[0] for path in images.iterdir()] == ["."]
    load_source(f"folder:{large}@10")  # of another size: another entry
    assert [path.name[0] == "." for path in images.iterdir()] == [False]


# Decodes a folder, and waits after the first image.
_WAITING_DECODER = """
import sys, time
from eetool.data.readers import image_folder

def decode(paths, form, resizes, notes, folder, progress, write):
    print(flush=True)
    time.sleep(600)

image_folder.decode_images = decode
from eetool.data.registry import load_source
load_source(f"folder:{sys.argv[1]}@12")
"""


def test_read_image_folder_large_grey_folder_has_one_channel(large: Path) -> None:
    for path in large.rglob("*.png"):
        Image.open(path).convert("L").resize((400, 400)).save(path, compress_level=0)
    grey = load_source(f"folder:{large}@12").inputs
    assert isinstance(grey, np.memmap)
    assert grey.shape == (40, 1, 12, 12)
    colour = load_source(f"folder:{large}", form=ImageForm(12, 12, channels=3)).inputs
    assert (colour == grey).all()
    assert colour.shape[1] == 3


def test_read_image_folder_slips_in_the_name_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for role in ("train", "test"):
        for name in "ab":
            put(Path("photos", role, name, "1.png"), 1)
    with pytest.raises(UsageError, match="'6x' is no size of images"):
        load_source("folder:photos@6x")
    with pytest.raises(ArtefactError) as caught:
        load_source("folder:photos/train/a@6")
    assert "give folder:photos. " in (caught.value.hint or "")


def test_load_source_class_without_test_examples_is_noted(tmp_path: Path) -> None:
    for place in ("train/a", "train/b", "test/a"):
        put(tmp_path / place / "1.png", 1)
    notes = Notes()
    load_source(f"folder:{tmp_path}", notes)
    assert [line for line in notes.lines if "no test example is of class 'b'" in line]


class Notes(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, line: str) -> None:
        self.lines.append(line)
