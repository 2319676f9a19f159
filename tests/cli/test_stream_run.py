"""`eetool run --stream`: frames in order."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from eetool_runtime import load
from tests.helpers.tiny_bundle import LABELS, X, image, pixels, with_stream, write_tiny_bundle


@pytest.fixture
def with_streams(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path, edit=with_stream)


def test_run_stream_frames_equal_the_runtime(cli: Any, with_streams: Path, tmp_path: Path) -> None:
    frames = np.concatenate([X[:3], X[:2], image(2, 0.5), X[9:12]])
    np.save(tmp_path / "clip.npy", frames)
    document = cli("run", with_streams, tmp_path / "clip.npy", "--stream", "--json").document
    stream = load(with_streams).stream()
    expected = [stream(frame[None]) for frame in frames]
    assert (document["schema"], document["ok"]) == ("run_stream/1", True)
    for shown, result in zip(document["results"], expected, strict=True):
        assert (shown["label"], shown["exit"], shown["held"]) == (result.label, result.exit, result.held)
        assert shown["posterior"] == pytest.approx(result.posterior.tolist())
    assert any(shown["held"] for shown in document["results"])
    assert document["stats"]["operating_point"] == "stream-balanced"


def test_run_stream_lost_frame_is_answered_and_named(cli: Any, with_streams: Path, tmp_path: Path) -> None:
    clip = tmp_path / "clip"
    clip.mkdir()
    for number in range(3):
        Image.fromarray(pixels(1, 2.0)).save(clip / f"{number:04d}.png")
    (clip / "0001.png").write_bytes(b"cut off")
    result = cli("run", with_streams, clip, "--stream", "--json")
    assert result.code == 3
    lost = result.document["results"][1]
    assert (lost["label"], lost["exit"], lost["raw_label"]) == (LABELS[1], None, None)
    assert result.document["stats"]["without_evidence"] == 1
    assert "0001.png" in result.document["error"]["message"]
    assert "no frame" in cli("run", with_streams, clip, "--stream").stdout


def test_run_stream_folders_are_sequences_and_name_classes(cli: Any, with_streams: Path, tmp_path: Path) -> None:
    for label in (0, 1):
        (tmp_path / "clips" / LABELS[label]).mkdir(parents=True)
        for number in range(2):
            file = tmp_path / "clips" / LABELS[label] / f"{number}.png"
            Image.fromarray(pixels(label, 2.0)).save(file)
    document = cli("run", with_streams, tmp_path / "clips", "--stream", "--json").document
    stats = document["stats"]
    assert (stats["restarts"], stats["switches"], stats["reaction"]["accuracy"]) == (1, 0, 1.0)
    assert "accuracy 100.00 %, of 4 frames" in cli("run", with_streams, tmp_path / "clips", "--stream").stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--threshold", "0.5"], "--stream takes an --operating-point of streams"),
        (["--operating-point", "balanced"], "unknown operating point of streams 'balanced'"),
    ],
)
def test_run_stream_invalid_options_are_refused(
    cli: Any, with_streams: Path, tmp_path: Path, options: list[str], words: str
) -> None:
    np.save(tmp_path / "x.npy", X[:1])
    result = cli("run", with_streams, tmp_path / "x.npy", "--stream", *options)
    assert result.code == 2
    assert words in result.stderr


def test_run_stream_bundle_without_policies_is_refused(cli: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X[:1])
    result = cli("run", write_tiny_bundle(tmp_path), tmp_path / "x.npy", "--stream")
    assert result.code == 2
    assert "the bundle has no policy for streams" in result.stderr
