"""Log-mel features of spoken words, in numpy only, for training data here and for inputs on the device.

    python features.py RECORDINGS words.npz

RECORDINGS holds WAV files of one channel at 8 kHz, named as in the Free Spoken Digit Dataset: WORD_SPEAKER_NUMBER.wav.
Recordings 0 to 4 of every speaker and word are the official test set of that data set.
"""

import sys
import wave
from pathlib import Path

import numpy as np

RATE_HZ, WINDOW, HOP, BANDS, FRAMES = 8000, 256, 128, 40, 61  # a frame every 16 ms, one second in all
_FIRST_HZ, _LAST_HZ = 60.0, 3800.0
_TEST = 5


def log_mel(samples: np.ndarray) -> np.ndarray:
    """Return the energy of mel bands in decibels, float32 (FRAMES, BANDS), of int16 (samples,), padded with silence."""
    wanted = WINDOW + (FRAMES - 1) * HOP
    sound = np.zeros(wanted, np.float32)
    kept = samples[:wanted].astype(np.float32) / 32768
    sound[: len(kept)] = kept
    frames = np.lib.stride_tricks.sliding_window_view(sound, WINDOW)[::HOP]  # (samples,) -> (FRAMES, WINDOW)
    power = np.abs(np.fft.rfft(frames * np.hanning(WINDOW).astype(np.float32))) ** 2  # (FRAMES, WINDOW / 2 + 1)
    return (10 * np.log10(power @ mel_bands().T + 1e-6)).astype(np.float32)


def mel_bands() -> np.ndarray:
    """Return half-overlapping triangles, equally wide in mel: float (BANDS, WINDOW / 2 + 1)."""
    ends = 2595 * np.log10(1 + np.array([_FIRST_HZ, _LAST_HZ]) / 700)
    corners = 700 * (10 ** (np.linspace(*ends, BANDS + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(WINDOW, 1 / RATE_HZ)
    low, middle, high = (corners[i : i + BANDS, None] for i in range(3))
    return np.maximum(0, np.minimum((bins - low) / (middle - low), (high - bins) / (high - middle)))


def read_wav(path: Path) -> np.ndarray:
    """Return int16 (samples,); raise ValueError for other kinds of files."""
    with wave.open(str(path)) as file:
        if (file.getnchannels(), file.getsampwidth(), file.getframerate()) != (1, 2, RATE_HZ):
            raise ValueError(f"{path}: not one channel of 16 bit at {RATE_HZ} Hz")
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


def main() -> int:
    """Write the archive for `--data npz:FILE`."""
    files = sorted(Path(sys.argv[1]).glob("*.wav"))
    names = [path.stem.rsplit("_", 2) for path in files]
    words = sorted({word for word, _, _ in names})
    features = np.stack([log_mel(read_wav(path)) for path in files])  # (N, FRAMES, BANDS)
    labels = np.array([words.index(word) for word, _, _ in names])
    test = np.array([int(number) < _TEST for _, _, number in names])
    np.savez(
        sys.argv[2],
        features=features[~test],
        labels=labels[~test],
        test_features=features[test],
        test_labels=labels[test],
        classes=words,
    )
    print(f"{(~test).sum()} training words, {test.sum()} test words, {len(words)} classes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
