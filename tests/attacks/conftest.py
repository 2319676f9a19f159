"""A bundle to damage, and a loader of both runtimes that must refuse it before any backend is used."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NoReturn

import pytest

import eetool_runtime as ee
from eetool_runtime import loading
from eetool_runtime.errors import BackendError, BundleError
from tests.helpers.native_build import litert_library, onnxruntime_library
from tests.helpers.native_runtime import Library
from tests.helpers.tiny_bundle import write_tiny_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path)


@pytest.fixture
def refusal(monkeypatch: pytest.MonkeyPatch, native_or_none: Library | None) -> Callable[[Path], str]:
    """Return a function that loads a bundle and returns the message of its refusal.

    The native runtime, where it is built, must refuse the bundle too, and before it looks for an engine.
    """

    def touched(graph_format: str) -> NoReturn:
        pytest.fail(f"a {graph_format} backend was asked for before the bundle was refused")

    monkeypatch.setattr(loading, "backend_for", touched)

    def load(path: Path) -> str:
        loads: list[Callable[[Path], object]] = [ee.load]
        if native_or_none is not None:
            loads.insert(0, partial(native_or_none.load, engine=Path("/no/engine")))
        for load_with in loads:
            with pytest.raises(BundleError) as caught:
                load_with(path)
            check(caught.value)
        return caught.value.message

    def check(error: BundleError) -> None:
        assert error.exit_code == 3
        assert error.message.isprintable()
        assert len(error.message) < 500

    return load


@pytest.fixture
def refuse_graph(native_or_none: Library | None) -> Callable[[Path, str], None]:
    """Return a function that loads a bundle with a hostile graph, and checks that it is refused with matching words.

    The native runtime, where it is built, must refuse the graph with an error of the same class.
    """

    def load(path: Path, words: str) -> None:
        with pytest.raises(BackendError, match=words):
            ee.load(path)
        is_tflite = "tflite" in next(iter(ee.open_bundle(path).manifest.variants))
        engine = litert_library() if is_tflite else onnxruntime_library()
        if native_or_none is not None and engine is not None:
            with pytest.raises(BackendError, match=words):
                native_or_none.load(path, engine=engine)

    return load
