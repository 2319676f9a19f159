"""Augmentation: shifts, mirroring and erasing of images."""

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
    """Shift an image (C, H, W) with zero padding, pixel by pixel."""
    moved = torch.zeros_like(image)
    _, height, width = image.shape
    for row in range(height):
        for column in range(width):
            if 0 <= row - down < height and 0 <= column - right < width:
                moved[:, row, column] = image[:, row - down, column - right]
    return moved


def matching_shifts(before: Tensor, after: Tensor) -> list[tuple[int, int]]:
    return [(d, r) for d in SHIFTS for r in SHIFTS if torch.equal(shifted(before, d, r), after)]


@pytest.mark.parametrize("mirror", [False, True])
def test_augment_images_are_shifted_and_mirrored_only_if_allowed(mirror: bool) -> None:
    straight = flipped = 0
    for before, after in zip(IMAGES[:40], augmented(mirror)[:40], strict=True):
        is_straight, is_flipped = bool(matching_shifts(before, after)), bool(matching_shifts(before.flip(2), after))
        assert is_straight or is_flipped
        straight, flipped = straight + is_straight, flipped + is_flipped
    assert straight > 10
    assert (flipped > 10) == mirror


def test_draw_augmentation_many_images_every_shift_occurs(digit_of_one: Tensor) -> None:
    digits = digit_of_one.expand(2000, -1, -1, -1)
    many = augment(digits, draw_augmentation(digits, torch.Generator().manual_seed(0), mirror=False))
    positions = {tuple(image[0].nonzero()[0].tolist()) for image in many}
    assert positions == {(row, column) for row in range(9) for column in range(9)}


@pytest.fixture
def digit_of_one() -> Tensor:
    image = torch.zeros(1, 1, 9, 9)
    image[0, 0, 4, 4] = 1
    return image


def test_draw_augmentation_same_generator_seed_gives_same_images() -> None:
    assert torch.equal(augmented(True, seed=3), augmented(True, seed=3))
    assert not torch.equal(augmented(True, seed=3), augmented(True, seed=4))


def test_augment_input_images_stay_unchanged() -> None:
    before = IMAGES.clone()
    assert augmented(True).shape == IMAGES.shape
    assert torch.equal(IMAGES, before)


@pytest.mark.parametrize("side", [1, 2, 3, 20])
def test_augment_erase_side_square_is_zero_and_clipped_at_edges(side: int) -> None:
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


def test_draw_augmentation_with_erasing_other_draws_stay_equal() -> None:
    plain, erasing = (draw_augmentation(IMAGES, torch.Generator().manual_seed(5), True, erase) for erase in (0, 3))
    assert plain.erased is None
    assert torch.equal(plain.shifts, erasing.shifts)
    assert torch.equal(plain.mirrored, erasing.mirrored)


def test_augmentation_draw_indexed_gives_draws_of_those_images() -> None:
    moves = draw_augmentation(IMAGES, torch.Generator().manual_seed(5), True, erase=2)
    chosen = torch.tensor([7, 3, 100])
    assert torch.equal(augment(IMAGES[chosen], moves[chosen]), augment(IMAGES, moves)[chosen])
