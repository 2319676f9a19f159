"""Sizes that are tried, and what is said where they cannot be."""

from dataclasses import replace

import numpy as np
import pytest

from eetool.advise.sizes import check_sizes, described, proposed_sizes, remark
from eetool.data.source import Source
from eetool.errors import UsageError
from eetool_runtime.manifest import Resize


def photographs(height: int, width: int) -> Source:
    inputs = np.zeros((4, 3, height, width), np.uint8)
    return Source("folder:p", inputs, np.array([0, 1, 0, 1]), ("a", "b"), None, resize=Resize("crop"))


def test_check_sizes_gives_those_below_the_full_one_in_order() -> None:
    assert check_sizes((224, 160, 128, 160), photographs(224, 224), is_folder=True) == [128, 160]


@pytest.mark.parametrize(
    ("sizes", "source", "words"),
    [
        ((256,), photographs(224, 224), "larger than the 224 pixels"),
        ((224,), photographs(224, 224), "no size below 224"),
        ((96,), photographs(96, 128), "are of squares"),
        ((96,), replace(photographs(224, 224), resize=None), "examples of one size"),
    ],
)
def test_check_sizes_that_cannot_be_tried_are_refused(sizes: tuple[int, ...], source: Source, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        check_sizes(sizes, source, is_folder=True)
    assert caught.value.hint
    with pytest.raises(UsageError, match="examples of one size"):
        check_sizes((8,), source, is_folder=False)


def test_proposed_sizes_are_multiples_of_32_below_large_photographs() -> None:
    assert proposed_sizes(photographs(224, 224)) == [128, 160, 192]
    assert proposed_sizes(photographs(64, 64)) == []
    assert proposed_sizes(photographs(224, 160)) == []
    assert proposed_sizes(replace(photographs(224, 224), resize=None)) == []
    assert "--sizes 128,160,192" in remark([128, 160, 192])


def test_described_names_the_sizes() -> None:
    assert described((96, 128, 224)) == "a cascade of 96, 128 and 224 px"
