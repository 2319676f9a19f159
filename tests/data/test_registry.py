"""Data sources by name, and the digits."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from eetool.data.registry import load_source
from eetool.data.source import Source
from eetool.errors import UsageError


def test_load_source_digits_are_grey_images_of_32_by_32(digits: Source) -> None:
    assert (digits.inputs.shape, digits.inputs.dtype) == ((1797, 1, 32, 32), np.uint8)
    assert (digits.inputs.min(), digits.inputs.max()) == (0, 255)
    assert not digits.mirror, "a mirrored 2 is not a 2"


def test_load_source_digits_keep_labels_and_content(digits: Source) -> None:
    small, labels = load_digits(return_X_y=True)
    assert np.array_equal(digits.labels, labels)
    assert digits.labels.dtype == np.int64
    assert digits.classes == tuple("0123456789")
    shrunk = digits.inputs.reshape(-1, 8, 4, 8, 4).mean((2, 4))
    assert np.corrcoef(shrunk.ravel(), small.ravel())[0, 1] > 0.95


def test_load_source_unknown_name_raises_usage_error_with_known_names() -> None:
    with pytest.raises(UsageError, match="unknown data source 'mnist'") as refused:
        load_source("mnist")
    assert "digits" in (refused.value.hint or "")


@pytest.mark.parametrize("name", ["folder", "cifar10:", "npz", "digits:somewhere"])
def test_load_source_missing_or_superfluous_path_raises_usage_error(name: str) -> None:
    with pytest.raises(UsageError, match=r"needs the path|takes no path"):
        load_source(name)
