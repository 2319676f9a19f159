"""The examples run, on the tiny bundle."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tests.helpers.tiny_bundle import pixels, write_tiny_bundle

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("options", [{}, {"ids": True}], ids=str)
def test_service_predicts_and_reports_metrics(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: dict[str, bool]
) -> None:
    bundle, metrics = write_tiny_bundle(tmp_path, **options), tmp_path / "eetool.prom"
    arguments = [str(bundle), "--calls", "40", "--every", "0", "--deadline-ms", "1000", "--metrics", str(metrics)]
    assert example("service").main([*arguments, "--max-latency-ms", "500"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 40
    assert sum(line["calls"] for line in lines[-1:]) >= 1
    assert lines[-1]["next_operating_point"] in ("full", "balanced", "fast")
    assert "eetool_exits_total" in metrics.read_text()
    assert [p.name for p in tmp_path.glob("*.new")] == []


def test_service_bad_request_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert example("service").main([str(tmp_path / "absent.eebundle")]) == 3
    assert "does not exist" in capsys.readouterr().err


def test_camera_without_opencv_reports_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert example("camera_app").main([str(write_tiny_bundle(tmp_path))]) == 5
    assert "pip install opencv-python-headless" in capsys.readouterr().err


def test_camera_labels_frames_of_video(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cv2 = pytest.importorskip("cv2", reason="the extra eetool[examples] is not installed")
    video = tmp_path / "rows.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*"MJPG"), 10, (128, 96))
    assert writer.isOpened()
    for label in (0, 2, 1):
        square = np.kron(pixels(label, 4.0), np.ones((24, 24), np.uint8))  # 4 x 4 to 96 x 96
        frame = np.zeros((96, 128, 3), np.uint8)
        frame[:, 16:112] = square[:, :, None]
        writer.write(frame)
    writer.release()
    assert example("camera_app").main([str(write_tiny_bundle(tmp_path)), "--source", str(video)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["top", "lower", "upper"]
    assert example("camera_app").main([str(tmp_path / "tiny.eebundle"), "--source", str(video), "--frames", "1"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
