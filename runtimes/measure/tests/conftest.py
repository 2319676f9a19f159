"""The tiny bundle, for every test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.tiny_bundle import write_tiny_bundle


@pytest.fixture
def tiny_bundle(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path)
