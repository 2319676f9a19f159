"""The stream example on a clip of rows; its page runs with the others in tests/docs."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.helpers.tiny_bundle import LABELS, pixels, with_stream, write_tiny_bundle

EXAMPLE = Path(__file__).parents[2] / "examples/stream/camera.py"


def camera() -> Any:
    spec = importlib.util.spec_from_file_location("camera", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Eleven frames, without leading zeros: five of one row, one lost, five of another one."""
    folder = tmp_path / "clip"
    folder.mkdir()
    rows = [1] * 6 + [2] * 5
    for number, row in enumerate(rows):
        Image.fromarray(pixels(row, 2.0)).save(folder / f"frame{number}.png")
    (folder / "frame5.png").write_bytes(b"")
    (folder / "labels.txt").write_text("\n".join(LABELS[row] for row in rows))
    return folder


@pytest.mark.parametrize("edit", [with_stream, None], ids=["policy of the bundle", "own policy"])
def test_camera_answers_frames_in_order_and_lost_ones_too(
    tmp_path: Path, clip: Path, capsys: pytest.CaptureFixture[str], edit: Any
) -> None:
    bundle = write_tiny_bundle(tmp_path, edit=edit)
    assert camera().main([str(bundle), str(clip)]) == 0
    *lines, summary = capsys.readouterr().out.splitlines()
    assert [int(line.split()[0]) for line in lines] == list(range(11))
    assert lines[5].split()[1] == LABELS[1]
    assert "no frame" in lines[5]
    assert summary.startswith("11 frames, 1 lost")
    assert "reaction" in summary


def test_camera_alone_forgets_the_frames_before(tmp_path: Path, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert camera().main([str(write_tiny_bundle(tmp_path)), str(clip), "--alone"]) == 0
    assert ", 0 held" in capsys.readouterr().out.splitlines()[-1]


def test_camera_bad_bundle_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert camera().main([str(tmp_path / "absent.eebundle"), str(tmp_path)]) == 3
    assert "does not exist" in capsys.readouterr().err
