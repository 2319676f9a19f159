"""Input files of `run`: images and arrays as model inputs, and errors that name the file."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from eetool.data.input_files import read_inputs
from eetool.errors import ArtefactError
from eetool_runtime import Model, load
from eetool_runtime.manifest import UNICODE_17, Text
from tests.helpers.tiny_bundle import image, pixels, write_tiny_bundle


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(write_tiny_bundle(tmp_path_factory.mktemp("tiny")))


def saved(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


def test_read_inputs_image_is_preprocessed(model: Model, tmp_path: Path) -> None:
    Image.fromarray(pixels(2, 1.0)).save(tmp_path / "a.png")
    (array,) = read_inputs(tmp_path / "a.png", model)
    assert np.array_equal(array, image(2, 1.0))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "1"])
def test_read_inputs_image_of_any_mode_and_size_gets_model_shape(model: Model, tmp_path: Path, mode: str) -> None:
    Image.new(mode, (9, 5), (0, 0, 0, 255) if mode == "RGBA" else 0).save(tmp_path / "a.png")
    (array,) = read_inputs(tmp_path / "a.png", model)
    assert (array.shape, array.dtype) == ((1, 1, 4, 4), np.float32)


def test_read_inputs_array_with_or_without_batch_gives_single_inputs(model: Model, tmp_path: Path) -> None:
    batch = np.concatenate([image(0, 1.0), image(1, 2.0)])
    one, two = read_inputs(saved(tmp_path / "batch.npy", batch), model)
    assert np.array_equal(one, batch[:1])
    assert np.array_equal(two, batch[1:])
    (alone,) = read_inputs(saved(tmp_path / "one.npy", batch[0]), model)
    assert np.array_equal(alone, one)


def test_read_inputs_uint8_array_is_preprocessed(model: Model, tmp_path: Path) -> None:
    (array,) = read_inputs(saved(tmp_path / "a.npy", pixels(3, 2.0)[None]), model)
    assert np.array_equal(array, image(3, 2.0))


@pytest.mark.parametrize("shape", [(4, 4), (1, 5, 4), (3, 4, 4), (0, 1, 4, 4), (2, 1, 4, 4, 1), ()])
def test_read_inputs_array_of_another_shape_raises_artefact_error(
    model: Model, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    with pytest.raises(ArtefactError, match=r"a.npy: expected shape \(batch, 1, 4, 4\) for input 'input', found"):
        read_inputs(saved(tmp_path / "a.npy", np.zeros(shape, np.float32)), model)


@pytest.mark.parametrize("name", ["a.npy", "a.png", "a"])
@pytest.mark.parametrize(
    "content", [None, b"", b"text", b"PK\x03\x04", b"\x89PNG\r\n\x1a\n\x00\x00", b"\x93NUMPY\x01\x00"]
)
def test_read_inputs_missing_or_damaged_file_raises_artefact_error(
    model: Model, tmp_path: Path, name: str, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ArtefactError, match=name):
        read_inputs(tmp_path / name, model)


def test_read_inputs_truncated_image_raises_artefact_error(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.effect_noise((64, 64), 50).save(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ArtefactError, match=r"a\.png: cannot be read"):
        read_inputs(path, model)


def test_read_inputs_archive_or_object_array_raises_artefact_error(model: Model, tmp_path: Path) -> None:
    with (tmp_path / "zip.npy").open("wb") as file:
        np.savez(file, a=np.zeros(3))
    with pytest.raises(ArtefactError, match="an archive"):
        read_inputs(tmp_path / "zip.npy", model)
    with pytest.raises(ArtefactError, match="not a readable"):
        read_inputs(saved(tmp_path / "objects.npy", np.array([{}, []], dtype=object)), model)


@pytest.mark.parametrize("content", ["one\ntwo", "\ufeffone\r\n\r\ntwo\r\n", "one\n \ntwo\n"])
def test_read_inputs_lines_of_a_text_are_what_a_table_has(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.txt").write_bytes(content.encode())
    lines: list[str] = []

    class Texts:
        """The part of a model for texts that reads them."""

        spec = SimpleNamespace(text=Text((), UNICODE_17), shape=("batch", 9))
        bundle = SimpleNamespace(manifest=SimpleNamespace(inputs=[spec]))

        def preprocess(self, line: str) -> np.ndarray:
            lines.append(line)
            return np.full((1, 9), 3)

    read_inputs(tmp_path / "a.txt", Texts())  # type: ignore[arg-type]
    assert [line.rstrip("\r") for line in lines] == ["one", "two"]


def test_read_inputs_values_outside_of_normalised_pixels_are_refused(model: Model, tmp_path: Path) -> None:
    (array,) = read_inputs(saved(tmp_path / "a.npy", np.full((1, 1, 4, 4), 6.97, np.float32)), model)
    assert array.max() == np.float32(6.97), "as far as rounding goes"
    with pytest.raises(
        ArtefactError, match=r"values from -1\.1 to -1.1, where pixels of this model are normalised to -1"
    ):
        read_inputs(saved(tmp_path / "a.npy", np.full((1, 1, 4, 4), -1.1, np.float32)), model)


@pytest.mark.parametrize(("shape", "axes"), [((2, 4, 4, 1), "0, 3, 1, 2"), ((4, 4, 1), "2, 0, 1")])
def test_read_inputs_channels_last_get_the_transposition_as_hint(
    model: Model, tmp_path: Path, shape: tuple[int, ...], axes: str
) -> None:
    with pytest.raises(ArtefactError) as caught:
        read_inputs(saved(tmp_path / "a.npy", np.zeros(shape, np.uint8)), model)
    assert caught.value.hint == f"Channels come first: store array.transpose({axes})."


@pytest.mark.parametrize("dtype", [np.float64, np.int64, np.float16])
def test_read_inputs_array_of_another_type_has_the_line_to_type(model: Model, tmp_path: Path, dtype: type) -> None:
    with pytest.raises(ArtefactError, match=r"a\.npy: expected float32, found") as caught:
        read_inputs(saved(tmp_path / "a.npy", np.zeros((1, 1, 4, 4), dtype)), model)
    assert str(caught.value.hint).startswith("Store array.astype(np.float32).")


def test_read_inputs_text_for_a_model_of_images_raises_artefact_error(model: Model, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a film\n")
    with pytest.raises(ArtefactError, match=r"a\.txt: this model takes no texts"):
        read_inputs(tmp_path / "a.txt", model)
