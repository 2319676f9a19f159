"""`eetool run`: files in, answers out."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from eetool.data.source import Source
from eetool.data.splits import TEST, split_source
from eetool.metrics import exits_taken
from eetool_runtime import load


@pytest.fixture(scope="module")
def held_out_images(digits: Source) -> np.ndarray:
    """uint8 (20, 1, 32, 32)."""
    return digits.inputs[split_source(digits)[TEST][:20]]


@pytest.fixture
def batch(held_out_images: np.ndarray, tmp_path: Path) -> Path:
    np.save(tmp_path / "batch.npy", held_out_images)
    return tmp_path / "batch.npy"


def test_run_images_and_arrays_agree(
    cli: Any, bundle: Path, batch: Path, held_out_images: np.ndarray, tmp_path: Path
) -> None:
    Image.fromarray(held_out_images[3, 0]).save(tmp_path / "3.png")
    document = cli("run", bundle, tmp_path / "3.png", batch, "--json").document
    assert (document["schema"], document["ok"]) == ("run/1", True)
    image, *arrays = document["results"]
    assert [r["input"] for r in arrays] == [f"{batch}[{i}]" for i in range(20)]
    assert {**image, "input": 0, "latency_ms": 0} == {**arrays[3], "input": 0, "latency_ms": 0}
    for result in (image, *arrays):
        assert result["label"] == str(result["index"])
        assert np.argmax(result["probabilities"]) == result["index"]
        assert max(result["probabilities"]) == pytest.approx(result["confidence"], abs=1e-5)
        assert sum(result["probabilities"]) == pytest.approx(1, abs=1e-5)
        assert result["latency_ms"] > 0


def test_run_operating_point_sets_exits(cli: Any, bundle: Path, batch: Path, held_out_images: np.ndarray) -> None:
    model = load(bundle)
    x = np.concatenate([model.preprocess(image[0]) for image in held_out_images])
    confidences = np.stack([confidence for _, confidence in model.every_exit(x)])
    for name, point in model.operating_points.items():
        document = cli("run", bundle, batch, "--operating-point", name, "--json").document
        assert [r["exit"] for r in document["results"]] == exits_taken(confidences, point.thresholds).tolist()
        assert document["stats"]["operating_point"] == name
        assert document["stats"]["calls"] == 20


@pytest.mark.parametrize(("threshold", "exit_index"), [(0, 0), (2, 2)])
def test_run_threshold_applies_to_every_exit(
    cli: Any, bundle: Path, batch: Path, threshold: float, exit_index: int
) -> None:
    document = cli("run", bundle, batch, "--threshold", threshold, "--json").document
    assert {r["exit"] for r in document["results"]} == {exit_index}


def test_run_text_has_table_and_summary(cli: Any, bundle: Path, batch: Path) -> None:
    result = cli("run", bundle, batch).stdout
    assert result.count("batch.npy[") == 20
    assert "20 inputs, mean exit depth" in result.splitlines()[-1]


ONE = (1, 1, 32, 32)


@pytest.mark.parametrize(
    ("words", "array"),
    [
        (
            "expected shape (batch, 1, 32, 32) for input 'input', found (1, 3, 32, 32)",
            np.zeros((1, 3, 32, 32), np.float32),
        ),
        ("expected shape", np.zeros((32, 32), np.uint8)),
        ("expected float32, found float64", np.zeros(ONE)),
        ("expected float32, found int64", np.zeros(ONE, np.int64)),
        ("holds NaN or infinite values", np.full(ONE, np.nan, np.float32)),
        ("holds NaN or infinite values", np.full(ONE, np.inf, np.float32)),
    ],
)
def test_run_unfitting_arrays_are_refused(
    refused: Any, bundle: Path, tmp_path: Path, words: str, array: np.ndarray
) -> None:
    np.save(tmp_path / "x.npy", array)
    refused(3, words, "run", bundle, tmp_path / "x.npy")


@pytest.mark.parametrize(
    ("code", "words", "arguments"),
    [
        (2, "Missing argument 'INPUTS...'", ["BUNDLE"]),
        (2, "unknown operating point 'turbo'", ["BUNDLE", "BATCH", "--operating-point", "turbo"]),
        (2, "has no variant 'onnx/int8'", ["BUNDLE", "BATCH", "--variant", "onnx/int8"]),
        (2, "not both", ["BUNDLE", "BATCH", "--operating-point", "fast", "--threshold", 0.5]),
        (2, "threshold", ["BUNDLE", "BATCH", "--threshold", "nan"]),
        (2, "threshold", ["BUNDLE", "BATCH", "--threshold", 3]),
        (2, "is not in the range", ["BUNDLE", "BATCH", "--threads", 0]),
        (3, "does not exist", ["nowhere.eebundle", "BATCH"]),
        (3, "nowhere.npy: does not exist", ["BUNDLE", "nowhere.npy"]),
        (3, "nowhere.png: does not exist", ["BUNDLE", "nowhere.png"]),
        (3, "is a Python file; run takes images", ["BUNDLE", __file__]),
    ],
)
def test_run_wrong_arguments_are_refused(
    refused: Any, bundle: Path, batch: Path, code: int, words: str, arguments: list[object]
) -> None:
    named = [str(a).replace("BUNDLE", str(bundle)).replace("BATCH", str(batch)) for a in arguments]
    refused(code, words, "run", *named)


def test_run_folder_with_broken_files_answers_the_others(cli: Any, refused: Any, bundle: Path, tmp_path: Path) -> None:
    for name in ("1.png", "2.png"):
        Image.effect_noise((32, 32), 80).save(tmp_path / name)
    for name in ("3.png", "4.png"):
        (tmp_path / name).write_bytes(b"nonsense")
    result = cli("run", bundle, tmp_path)
    assert result.code == 3
    assert all(name in result.stdout for name in ("1.png", "2.png"))
    assert "error: 2 of 4 files cannot be used: " in result.stderr
    assert all(name in result.stderr for name in ("3.png", "4.png"))
    document = cli("run", bundle, tmp_path, "--json").document
    assert ([r["input"] for r in document["results"]], document["ok"]) == (
        [str(tmp_path / name) for name in ("1.png", "2.png")],
        False,
    )
    refused(3, "cannot be read", "run", bundle, tmp_path / "3.png")


def test_run_what_was_converted_is_said_once_with_the_number_of_files(cli: Any, bundle: Path, tmp_path: Path) -> None:
    for name in ("1.png", "2.png"):
        Image.effect_noise((48, 40), 80).convert("RGB").save(tmp_path / name)
    result = cli("run", bundle, tmp_path / "1.png", tmp_path / "2.png")
    assert result.stderr.splitlines() == [
        f"colour was converted to grey, which is what the model takes: 2 files, the first is {tmp_path / '1.png'}",
        "resized to 32×32 (crop: a guess, because the bundle has no rule of resizing): 2 files, the first is "
        f"{tmp_path / '1.png'}, 48×40",
    ]
    assert cli("run", bundle, tmp_path / "1.png", "--quiet").stderr == ""
