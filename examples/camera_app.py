"""Label frames from a camera or a video file, with early exit.

    pip install opencv-python-headless
    python examples/camera_app.py model.eebundle --source 0            # the first camera
    python examples/camera_app.py model.eebundle --source street.mp4 --deadline-ms 30

One line per frame on stdout: its number, label, confidence, exit and latency.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import eetool_runtime as ee


def main(arguments: "list[str] | None" = None) -> int:
    """Label frames until the source ends."""
    parser = argparse.ArgumentParser(description="Label frames from a camera or a video file.")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--source", default="0", help="number of a camera, or a video file")
    parser.add_argument("--frames", type=int, help="stop after so many")
    parser.add_argument("--deadline-ms", type=float, help="of every frame")
    options = parser.parse_args(arguments)
    try:
        import cv2
    except ImportError:
        print("error: OpenCV is missing\n       pip install opencv-python-headless", file=sys.stderr)
        return 5
    try:
        model = ee.load(options.bundle)
        shape = image_shape(model)
        for number, frame in enumerate(frames(cv2, options.source)):
            if number == options.frames:
                break
            x = model.preprocess(fit(cv2, frame, *shape))
            result = model(x, deadline_ms=options.deadline_ms)
            cut = "" if result.gated else "  (cut short)"
            print(
                f"{number:6d}  {result.label:20s} {result.confidence:6.3f}  exit {result.exit}  "
                f"{result.latency_ms:7.2f} ms{cut}"
            )
    except ee.EarlyExitError as error:
        print(f"error: {error.message}" + (f"\n       {error.hint}" if error.hint else ""), file=sys.stderr)
        return error.exit_code
    return 0


def image_shape(model: ee.Model) -> "tuple[int, int, int]":
    """Return channels, height and width of the image that is the model's only input."""
    spec = model.bundle.manifest.inputs[0]
    if len(model.bundle.manifest.inputs) != 1 or spec.preprocess is None:
        raise SystemExit("this bundle does not take images")
    channels, height, width = (int(size) for size in spec.shape[1:])
    return channels, height, width


def frames(cv2: Any, source: str) -> Iterator[np.ndarray]:
    """Yield frames of the source, uint8 (H, W, 3), in the order blue, green, red of OpenCV."""
    capture = cv2.VideoCapture(int(source) if source.isdecimal() else source)
    if not capture.isOpened():
        raise SystemExit(f"cannot open the video source {source!r}")
    try:
        while True:
            success, frame = capture.read()
            if not success:
                return
            yield frame
    finally:
        capture.release()


def fit(cv2: Any, frame: np.ndarray, channels: int, height: int, width: int) -> np.ndarray:
    """Return the middle square of a frame in the model's size: uint8 (H, W) or (H, W, 3), red first."""
    side = min(frame.shape[:2])
    top, left = (frame.shape[0] - side) // 2, (frame.shape[1] - side) // 2
    square = np.ascontiguousarray(frame[top : top + side, left : left + side])
    small = cv2.resize(square, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_BGR2GRAY if channels == 1 else cv2.COLOR_BGR2RGB)


if __name__ == "__main__":
    sys.exit(main())
