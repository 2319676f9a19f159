"""Augmentation: shifts, mirroring and erasing of images."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta
from torch import Tensor

from eetool.data.augmentation import NO_AUGMENTATION, Augmentation, augment, draw_augmentation, mix

IMAGES = torch.rand(200, 2, 5, 6, generator=torch.Generator().manual_seed(0)) + 1  # no pixel looks like padding
SHIFTS = range(-4, 5)
ALL = Augmentation(mirror=True, erase=2, area=0.5, colour=0.3, mixup=0.2)


def augmented(mirror: bool, seed: int = 0) -> Tensor:
    return augment(IMAGES, draw_augmentation(IMAGES, torch.Generator().manual_seed(seed), Augmentation(mirror=mirror)))


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
    many = augment(digits, draw_augmentation(digits, torch.Generator().manual_seed(0)))
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
    moves = draw_augmentation(ones, torch.Generator().manual_seed(0), Augmentation(erase=side))
    still = torch.full((3000, 2), 4)
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
    settings = (Augmentation(mirror=True), Augmentation(mirror=True, erase=3, area=0.5, colour=0.2, mixup=0.2))
    plain, erasing = (draw_augmentation(IMAGES, torch.Generator().manual_seed(5), s) for s in settings)
    assert plain.erased is None
    for one, other in ((plain.shifts, erasing.shifts), (plain.mirrored, erasing.mirrored)):
        assert one is not None
        assert other is not None
        assert torch.equal(one, other)


def test_augmentation_draw_indexed_gives_draws_of_those_images() -> None:
    images = (100 * IMAGES).to(torch.uint8)
    moves = draw_augmentation(images, torch.Generator().manual_seed(5), ALL)
    chosen = torch.tensor([7, 3, 100])
    assert torch.equal(augment(images[chosen], moves[chosen]), augment(images, moves)[chosen])
    assert moves[chosen].shares is not None
    assert len(moves[chosen].shares) == 3


def test_augment_without_changes_images_stay_as_they_are() -> None:
    assert augment(IMAGES, draw_augmentation(IMAGES, torch.Generator(), NO_AUGMENTATION)) is IMAGES


def test_augment_crops_show_a_part_of_the_image_at_its_size() -> None:
    """Of an image whose pixels are their own positions, a crop is a smaller range of them, monotonous, inside."""
    row = torch.linspace(0, 255, 32).round()
    images = torch.stack([row.expand(32, 32), row[:, None].expand(32, 32)])[None].expand(500, -1, -1, -1)
    draw = draw_augmentation(images, torch.Generator().manual_seed(1), Augmentation(shift=0, area=0.5))
    crops = augment(images.to(torch.uint8), draw).float()
    assert crops.shape == images.shape
    across, down = crops[:, 0, 16], crops[:, 1, :, 16]
    kept = []
    for line in (across, down):
        assert (line.diff(dim=1) >= 0).all()
        kept.append((line[:, -1] - line[:, 0]) / 255)
    area = kept[0] * kept[1] * (32 / 31) ** 2
    assert 0.4 < area.min() < 0.6
    assert 0.85 < area.max() < 1.1
    assert (across[:, 0] == 0).any() or across[:, 0].min() < 5, "crops reach the edges"


def test_augment_colours_change_within_their_limits() -> None:
    grey, colour = torch.full((300, 3, 4, 4), 100, dtype=torch.uint8), torch.zeros(300, 3, 4, 4, dtype=torch.uint8)
    colour[:, 0], colour[:, 2] = 200, 40
    draw = draw_augmentation(grey, torch.Generator().manual_seed(1), Augmentation(shift=0, colour=0.2))
    after = augment(grey, draw).float()
    assert (after == after[:, :1]).all(), "grey stays grey"
    assert (after.amin() >= 80, after.amax() <= 120, after.unique().numel() > 30) == (True, True, True)
    spread = augment(colour, draw).float()
    spread = spread[:, 0, 0, 0] - spread[:, 2, 0, 0]
    assert spread.min() < 120 < 160 < 180 < spread.max(), "saturation changes too"


@given(st.integers(1, 9), st.floats(0.05, 1.0), st.integers(0, 9))
def test_mix_law_batches_keep_their_sum_where_shares_are_equal(n: int, share: float, seed: int) -> None:
    inputs = torch.rand(n, 2, 3, generator=torch.Generator().manual_seed(seed))
    mixed = mix(inputs, torch.full((n,), share))
    assert torch.allclose(mixed.sum(0), inputs.sum(0), atol=1e-4)
    assert torch.allclose(mixed[0], share * inputs[0] + (1 - share) * inputs[-1], atol=1e-6)


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_draw_augmentation_shares_follow_the_beta_distribution(alpha: float) -> None:
    draw = draw_augmentation(torch.zeros(20_000, 1), torch.Generator().manual_seed(2), Augmentation(0, mixup=alpha))
    assert draw.shares is not None
    expected = beta(alpha, alpha).cdf(0.9) - beta(alpha, alpha).cdf(0.1)
    assert float((draw.shares < 0.9).float().mean()) == pytest.approx(expected, abs=0.015)
    assert draw.shares.min() >= 0.5
