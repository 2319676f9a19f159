"""Levels of augmentation: what each does to images, features and texts."""

from dataclasses import replace

import numpy as np
import pytest

from eetool.data.augmentation import NO_AUGMENTATION, Augmentation
from eetool.data.augmentation_levels import choose_augmentation
from eetool.data.source import Source
from eetool.errors import UsageError


def images(channels: int = 3, side: int = 32, mirror: bool | None = None) -> Source:
    return Source("a", np.zeros((4, channels, side, side), np.uint8), np.arange(4) % 2, ("x", "y"), mirror)


FEATURES = replace(images(), inputs=np.zeros((4, 5), np.float32))
TEXTS = replace(images(), inputs=np.zeros((4, 5), np.int64))


@pytest.mark.parametrize(
    ("source", "level", "expected"),
    [
        (images(mirror=True), "none", NO_AUGMENTATION),
        (images(mirror=True), "light", Augmentation(mirror=True)),
        (images(), "light", Augmentation()),
        (images(side=224), "light", Augmentation()),
        (images(), "standard", Augmentation(4, mirror=True, colour=0.2)),
        (images(mirror=False), "standard", Augmentation(4, colour=0.2)),
        (images(channels=4, side=16), "standard", Augmentation(2, mirror=True)),
        (images(side=96), "standard", Augmentation(0, 0.5, mirror=True, colour=0.2)),
        (images(), "strong", Augmentation(4, mirror=True, colour=0.4, erase=8, mixup=0.2)),
        (images(side=96), "strong", Augmentation(0, 0.25, True, 0.4, 24, 0.2)),
        (FEATURES, "light", NO_AUGMENTATION),
        (FEATURES, "strong", Augmentation(0, mixup=0.2)),
        (TEXTS, "light", NO_AUGMENTATION),
    ],
)
def test_choose_augmentation_level_depends_on_the_data(source: Source, level: str, expected: Augmentation) -> None:
    assert choose_augmentation(source, level) == expected


def test_choose_augmentation_own_choice_replaces_that_of_the_level() -> None:
    assert choose_augmentation(images(mirror=True), "light", mirror=False) == Augmentation()
    assert choose_augmentation(images(mirror=False), "none", mirror=True) == replace(NO_AUGMENTATION, mirror=True)
    assert choose_augmentation(images(), "strong", erase=3).erase == 3


@pytest.mark.parametrize(
    ("source", "level", "options", "words"),
    [
        (FEATURES, "standard", {}, "standard of augmentation changes nothing in features; features are mixed by"),
        (TEXTS, "strong", {}, "changes nothing in texts"),
        (TEXTS, "light", {"erase": 2}, "no pixels to erase"),
        (FEATURES, "strong", {"mirror": True}, "no pixels to mirror"),
    ],
)
def test_choose_augmentation_that_changes_nothing_is_refused(
    source: Source, level: str, options: dict[str, int], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        choose_augmentation(source, level, **options)  # type: ignore[arg-type]


def test_augmentation_text_names_every_change() -> None:
    assert str(NO_AUGMENTATION) == "none"
    assert str(Augmentation(0, 0.25, True, 0.4, 24, 0.2)) == (
        "crops of 25 to 100 % of the area, mirroring, colours changed by up to 40 %, squares of 24 pixels erased, "
        "pairs mixed (alpha 0.2)"
    )
