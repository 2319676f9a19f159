"""Augmentation moves pixels and does nothing else."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from eetool.data.augmentation import augment, draw_augmentation

IMAGES = torch.rand(200, 2, 5, 6, generator=torch.Generator().manual_seed(0)) + 1  # no pixel looks like padding
SHIFTS = range(-4, 5)


def augmented(mirror: bool, seed: int = 0) -> Tensor:
    return augment(IMAGES, draw_augmentation(IMAGES, torch.Generator().manual_seed(seed), mirror))


def shifted(image: Tensor, down: int, right: int) -> Tensor:
    """(C, H, W) moved over a ground of zeros, pixel by pixel."""
    moved = torch.zeros_like(image)
    _, height, width = image.shape
    for row in range(height):
        for column in range(width):
            if 0 <= row - down < height and 0 <= column - right < width:
                moved[:, row, column] = image[:, row - down, column - right]
    return moved


def ways(before: Tensor, after: Tensor) -> list[tuple[int, int]]:
    return [(d, r) for d in SHIFTS for r in SHIFTS if torch.equal(shifted(before, d, r), after)]


@pytest.mark.parametrize("mirror", [False, True])
def test_every_image_is_itself_shifted_or_mirrored_where_that_is_allowed(mirror: bool) -> None:
    straight = flipped = 0
    for before, after in zip(IMAGES[:40], augmented(mirror)[:40], strict=True):
        is_straight, is_flipped = bool(ways(before, after)), bool(ways(before.flip(2), after))
        assert is_straight or is_flipped
        straight, flipped = straight + is_straight, flipped + is_flipped
    assert straight > 10
    assert (flipped > 10) == mirror


def test_every_shift_is_drawn(digit_of_one: Tensor) -> None:
    digits = digit_of_one.expand(2000, -1, -1, -1)
    many = augment(digits, draw_augmentation(digits, torch.Generator().manual_seed(0), mirror=False))
    found = {tuple(image[0].nonzero()[0].tolist()) for image in many}
    assert found == {(row, column) for row in range(9) for column in range(9)}


@pytest.fixture
def digit_of_one() -> Tensor:
    image = torch.zeros(1, 1, 9, 9)
    image[0, 0, 4, 4] = 1
    return image


def test_the_generator_decides_alone() -> None:
    assert torch.equal(augmented(True, seed=3), augmented(True, seed=3))
    assert not torch.equal(augmented(True, seed=3), augmented(True, seed=4))


def test_the_images_given_stay_as_they_are() -> None:
    before = IMAGES.clone()
    assert augmented(True).shape == IMAGES.shape
    assert torch.equal(IMAGES, before)


@pytest.mark.parametrize("side", [1, 2, 3, 20])
def test_a_square_is_erased_that_may_reach_over_an_edge(side: int) -> None:
    ones = torch.ones(3000, 2, 5, 6)
    moves = draw_augmentation(ones, torch.Generator().manual_seed(0), mirror=False, erase=side)
    still = torch.full_like(moves.shifts, 4)
    after = augment(ones, replace(moves, shifts=still))
    middles = set()
    for image, (row, column) in zip(after, moves.erased.tolist(), strict=True):  # type: ignore[union-attr]
        expected = torch.ones(2, 5, 6)
        top, left = row - side // 2, column - side // 2
        expected[:, max(top, 0) : top + side, max(left, 0) : left + side] = 0
        assert torch.equal(image, expected)
        middles.add((row, column))
    assert len(middles) == 30


def test_erasing_changes_no_other_move() -> None:
    plain, erasing = (draw_augmentation(IMAGES, torch.Generator().manual_seed(5), True, erase) for erase in (0, 3))
    assert plain.erased is None
    assert torch.equal(plain.shifts, erasing.shifts)
    assert torch.equal(plain.mirrored, erasing.mirrored)


def test_moves_of_some_images_are_theirs() -> None:
    moves = draw_augmentation(IMAGES, torch.Generator().manual_seed(5), True, erase=2)
    chosen = torch.tensor([7, 3, 100])
    assert torch.equal(augment(IMAGES[chosen], moves[chosen]), augment(IMAGES, moves)[chosen])
