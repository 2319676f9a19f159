"""Draw a clip of numbered images: handwritten digits one after the other, shaken and noisy, some frames lost.

    python clip.py clip

Beside `0000.png` and so on, `labels.txt` has the digit of every frame.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

FRAMES_PER_S = 10
SIDE = 32


def main() -> int:
    """Draw the frames."""
    parser = argparse.ArgumentParser(description="Draw a clip of numbered images.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random = np.random.default_rng(options.seed)
    images, digits = load_digits(return_X_y=True)
    options.folder.mkdir(parents=True, exist_ok=True)
    labels: list[int] = []
    while len(labels) < options.frames:
        chosen = int(random.integers(len(images)))
        square = Image.fromarray((images[chosen].reshape(8, 8) * 15).astype(np.uint8)).resize((SIDE, SIDE), 2)
        for _ in range(int(random.integers(FRAMES_PER_S, 3 * FRAMES_PER_S))):
            write_frame(options.folder / f"{len(labels):04d}.png", square, random)
            labels.append(int(digits[chosen]))
    (options.folder / "labels.txt").write_text("\n".join(map(str, labels)) + "\n", encoding="utf-8")
    return 0


def write_frame(path: Path, square: Image.Image, random: np.random.Generator) -> None:
    """Write one frame: turned, moved and noisy; two of a hundred have no content, as after a broken transfer."""
    if random.random() < 0.02:
        path.write_bytes(b"")
        return
    turned = square.rotate(random.normal(0, 3), resample=2, translate=tuple(random.integers(-2, 3, 2).tolist()))
    noisy = np.asarray(turned, np.float64) + random.normal(0, random.choice((3, 15)), (SIDE, SIDE))
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path)


if __name__ == "__main__":
    sys.exit(main())
