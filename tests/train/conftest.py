"""A source so small that an epoch takes a moment."""

from dataclasses import replace

import pytest

from eetool.data.source import Source


@pytest.fixture(scope="session")
def little(digits: Source) -> Source:
    """300 digits of 8×8 pixels."""
    return replace(digits, name="little", inputs=digits.inputs[:300, :, 1::4, 1::4], labels=digits.labels[:300])
