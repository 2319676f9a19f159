"""The tiny bundle, for every test."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.helpers.tiny_bundle import write_tiny_bundle

# No test may depend on how fast a machine is; an emulated one is thirty times slower.
settings.register_profile(
    "eetool", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("eetool")


@pytest.fixture
def tiny_bundle(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path)
