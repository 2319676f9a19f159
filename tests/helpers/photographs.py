"""Folders of small photographs of two classes in many sizes."""

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("dark", "light")


def write_photographs(folder: Path, count: int = 60, spread: int = 160) -> None:
    """Write `count` noisy pictures of each class; the wider the noise is spread, the harder they are."""
    random = np.random.default_rng(0)
    for number, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            height, width = random.integers(20, 50, 2)
            pixels = random.integers(0, spread, (height, width, 3)) + (250 - spread) * number
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{i}.png")
