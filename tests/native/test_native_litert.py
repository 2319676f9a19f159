"""LiteRT in the native runtime: decisions of the Python runtime, bit by bit, and libraries that are refused."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

import eetool_runtime as ee
from eetool_runtime.errors import BackendError
from tests.helpers.native_build import SOURCE, litert_library
from tests.helpers.native_runtime import Library
from tests.helpers.tiny_bundle import replace_file
from tests.helpers.tiny_litert_bundle import INPUTS, write_litert_bundle
from tests.platforms.decisions import digits, spread_thresholds

pytestmark = pytest.mark.skipif(litert_library() is None, reason="LiteRT is not installed")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_litert_bundle(tmp_path)


@pytest.mark.parametrize("preload", [True, False])
@pytest.mark.parametrize("shared", [False, True], ids=["file per component", "one file"])
@pytest.mark.parametrize("threads", [1, 2])
def test_run_equals_python(tmp_path: Path, native: Library, threads: int, shared: bool, preload: bool) -> None:
    path = write_litert_bundle(tmp_path, shared)
    python = ee.load(path, threads=threads, preload=preload)
    model = native.load(path, threads=threads, preload=preload, engine=litert_library())
    assert model.info["engine"]["name"] == "ai-edge-litert"
    for row in range(len(INPUTS["x"])):
        given = {name: array[row : row + 1] for name, array in INPUTS.items()}
        mine, theirs = model(given), python(given)
        assert (mine.exit, mine.index, mine.confidence) == (theirs.exit, theirs.index, theirs.confidence)
        assert mine.logits.tobytes() == theirs.logits.tobytes()
    expected, actual = python.memory(), model.info
    for name in ("not_loaded", "loaded_bytes", "total_bytes"):
        assert actual[name] == expected[name]


@pytest.mark.parametrize("variant", ["tflite/fp32", "tflite/int8"])
def test_run_thousand_digits_equal_python(all_variants: Path, tmp_path: Path, native: Library, variant: str) -> None:
    opened = ee.open_bundle(all_variants)
    if variant not in opened.manifest.variants:
        pytest.skip("litert-torch is not installed")
    assert opened.variant(variant).shared_file is not None
    inputs = digits(all_variants, 1000)
    (array,) = inputs.values()
    np.savez(tmp_path / "inputs.npz", **dict.fromkeys(inputs, array[:200]))  # type: ignore[arg-type]
    policy = spread_thresholds(all_variants, tmp_path / "inputs.npz")[variant]
    for threads in (1, 2):
        python = ee.load(opened, threads=threads, variant=variant)
        model = native.load(all_variants, threads=threads, variant=variant, engine=litert_library())
        python.use(threshold=tuple(policy))
        model.use(threshold=policy)
        for i in range(len(array)):
            mine, theirs = model(array[i : i + 1]), python(array[i : i + 1])
            assert (mine.exit, mine.index, mine.confidence) == (theirs.exit, theirs.index, theirs.confidence)
            assert mine.logits.tobytes() == theirs.logits.tobytes()
        assert min(python.stats()["exit_counts"]) > 0  # inputs leave at every exit


def test_two_models_with_sessions_in_turns_keep_their_inputs(path: Path, native: Library) -> None:
    one, other = (native.load(path, engine=litert_library()) for _ in range(2))
    given = {name: array[:1] for name, array in INPUTS.items()}
    changed = {**given, "x": given["x"] + np.float32(5)}
    first, second = one(given), other(changed)
    assert first.logits.tobytes() != second.logits.tobytes()
    assert one(given).logits.tobytes() == first.logits.tobytes()
    assert other(changed).logits.tobytes() == second.logits.tobytes()


def compile_library(folder: Path, code: str) -> Path:
    source, library = folder / "library.c", folder / "libLiteRt.so"
    source.write_text(code)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    return library


def test_load_library_of_unknown_release_is_refused(path: Path, native: Library, tmp_path: Path) -> None:
    api = (SOURCE / "source/engines/litert_api.hpp").read_text(encoding="utf-8")
    names = [word for word in api.split('"') if word.startswith("LiteRt")]
    library = compile_library(tmp_path, "".join(f"int {name}(void) {{ return 1; }}\n" for name in names))
    with pytest.raises(BackendError, match="a release of LiteRT that this library was not tried with"):
        native.load(path, engine=library)


def test_load_library_that_is_not_litert_is_refused(path: Path, native: Library) -> None:
    with pytest.raises(BackendError, match=r"libm\.so\.6 is not LiteRT 2\.1\.6 or later"):
        native.load(path, engine=Path("libm.so.6"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-40], "cannot be read as a TFLite file|cannot load this graph"),
        (lambda data: b"\0" * len(data), "it has no TFLite header"),
        (lambda data: b"", "it is empty"),
    ],
    ids=["truncated", "zeros", "empty"],
)
def test_load_damaged_graph_is_refused(path: Path, native: Library, damage: object, message: str) -> None:
    name = "components/contract/tflite-fp32/model.tflite"
    replace_file(path, name, damage((path / name).read_bytes()))  # type: ignore[operator]
    with pytest.raises(BackendError, match=message):
        native.load(path, engine=litert_library())
