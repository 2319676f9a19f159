"""A bundle to damage, and a loader that must refuse it before any backend is used."""

from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

import eetool_runtime as ee
from eetool_runtime import loading
from eetool_runtime.errors import BundleError
from tests.helpers.tiny_bundle import write_tiny_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path)


@pytest.fixture
def refusal(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], str]:
    """Return a function that loads a bundle and returns the message of its refusal."""

    def touched(graph_format: str) -> NoReturn:
        pytest.fail(f"a {graph_format} backend was asked for before the bundle was refused")

    monkeypatch.setattr(loading, "backend_for", touched)

    def load(path: Path) -> str:
        with pytest.raises(BundleError) as caught:
            ee.load(path)
        assert caught.value.exit_code == 3
        assert caught.value.message.isprintable()
        assert len(caught.value.message) < 500
        return caught.value.message

    return load
