"""What is said about a user's examples: constant channels, dark images, copies."""

from dataclasses import replace

import numpy as np
import pytest

from eetool.data.odd_examples import odd_examples
from eetool.data.source import Source

IMAGES = np.random.default_rng(0).integers(0, 256, (8, 3, 4, 4), np.uint8)
SOURCE = Source("npz:a", IMAGES, np.arange(8) % 2, ("0", "1"), mirror=False)


def changed(**rows: int) -> np.ndarray:
    """Return the images with copies: `to_3=0` puts image 0 in the place of image 3."""
    images = IMAGES.copy()
    for name, source in rows.items():
        images[int(name.removeprefix("to_"))] = IMAGES[source]
    return images


def test_odd_examples_sound_images_say_nothing() -> None:
    assert list(odd_examples(SOURCE)) == []


def test_odd_examples_constant_channel_and_dark_images_are_said() -> None:
    images = IMAGES // 20
    images[:, 1] = 4
    assert list(odd_examples(replace(SOURCE, inputs=images))) == [
        "warning: channel 1 has the value 4 in every pixel of all training images",
        "warning: the largest value of all images is 12, where white is 255",
    ]


@pytest.mark.parametrize(
    ("images", "sets", "expected"),
    [
        (changed(to_2=0), {}, ["warning: 1 copy of other examples; training and test can both have one"]),
        (
            changed(to_3=0),
            {},
            ["warning: 1 copy of other examples; training", "1 copy of other examples with another"],
        ),
        (
            changed(to_6=0, to_7=1),
            {"official_test": 3},
            ["warning: of 3 test examples 2 are also among the"],
        ),
        (
            changed(to_6=0, to_4=2),
            {"official_test": 2, "official_validation": 2},
            ["of 2 validation examples 1 is also among", "of 2 test examples 1 is also among the training examples"],
        ),
        (changed(to_2=0), {"official_test": 3}, []),
        (np.zeros_like(IMAGES) + 99, {}, ["channel 0", "channel 1", "channel 2", "all 8 examples are alike"]),
    ],
)
def test_odd_examples_copies_are_counted_by_set(images: np.ndarray, sets: dict[str, int], expected: list[str]) -> None:
    lines = list(odd_examples(replace(SOURCE, inputs=images, **sets)))
    assert len(lines) == len(expected)
    assert all(words in line for words, line in zip(expected, lines, strict=True))


def test_odd_examples_channel_that_is_constant_in_the_training_set_alone_is_said() -> None:
    images = IMAGES.copy()
    images[:6, 2] = 0
    lines = list(odd_examples(replace(SOURCE, inputs=images, official_test=2)))
    assert lines == ["warning: channel 2 has the value 0 in every pixel of all training images"]
