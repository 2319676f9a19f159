"""Recognise the word in a WAV file, on the device, with numpy, a backend and `features.py`.

python device.py words.eebundle word.wav
"""

import sys
from pathlib import Path

from features import log_mel, read_wav

import eetool_runtime as ee


def main() -> int:
    """Print the word, the confidence and the exit that was taken."""
    model = ee.load(sys.argv[1])
    result = model(log_mel(read_wav(Path(sys.argv[2])))[None])  # (frames, bands) -> (1, frames, bands)
    print(f"{result.label}  {result.confidence:.3f}  exit {result.exit}  {result.latency_ms:.2f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
