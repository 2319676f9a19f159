"""The audio example from WAV files to a word: tones in the place of recordings."""

import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np

EXAMPLE = Path(__file__).parents[2] / "examples/audio"
WORDS = {"low": 300, "middle": 900, "high": 2500}  # Hz


def write_tone(path: Path, hz: float, seed: int) -> None:
    """Half a second of a tone in noise, 8 kHz."""
    random = np.random.default_rng(seed)
    sound = 8000 * np.sin(2 * np.pi * hz * np.arange(4000) / 8000 + seed) + random.normal(0, 800, 4000)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(sound.astype("<i2").tobytes())


def run(*arguments: object) -> str:
    done = subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_audio_example_classifies_recordings(cli: Any, tmp_path: Path) -> None:
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    for word, hz in WORDS.items():
        for number in range(45):
            write_tone(recordings / f"{word}_ann_{number}.wav", hz, number)
    archive, model = tmp_path / "words.npz", tmp_path / "words.pt"
    assert run(EXAMPLE / "features.py", recordings, archive) == "120 training words, 15 test words, 3 classes\n"
    with np.load(archive) as arrays:
        assert arrays["features"].shape == (120, 61, 40)
        assert sorted(arrays["classes"]) == sorted(WORDS)
        loudest = {
            w: arrays["features"][arrays["labels"] == i].mean((0, 1)).argmax() for i, w in enumerate(arrays["classes"])
        }
    assert loudest["low"] < loudest["middle"] < loudest["high"]
    data = f"npz:{archive}"
    for command in (
        ("train", "tcresnet8", "--data", data, "--exits", 1, "--epochs", 4, "--batch-size", 16, "-o", model),
        ("tune", model, "--data", data, "--max-accuracy-drop", 5),
        ("export", model, "--no-reference"),
    ):
        result = cli(*command)
        assert result.code == 0, result
    printed = run(EXAMPLE / "device.py", tmp_path / "words.eebundle", recordings / "high_ann_0.wav")
    assert printed.startswith("high ")
