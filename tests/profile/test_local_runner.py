"""Measurement in a child process: errors and isolation."""

import subprocess
from pathlib import Path

import pytest

from eetool.errors import ArtefactError, EarlyExitError, UsageError
from eetool.profile.local_runner import measure_in_process
from eetool.profile.protocol import MeasurementProtocol
from tests.helpers.tiny_bundle import VARIANT, write_tiny_bundle

QUICK = MeasurementProtocol(runs=10, min_seconds=0)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path)


def test_measure_in_process_error_keeps_its_class(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no variant 'tflite/fp32'") as wrong:
        measure_in_process(bundle, "tflite/fp32", 1, QUICK)
    assert wrong.value.hint is not None
    with pytest.raises(ArtefactError, match="does not exist"):
        measure_in_process(tmp_path / "nothing", VARIANT, 1, QUICK)


@pytest.mark.parametrize(
    ("code", "out", "err", "message"),
    [
        (-9, "", "", "the process ended with -9"),
        (1, "", "Traceback:\nMemoryError", "MemoryError"),
        (0, "{}", "", "missing field"),
        (0, "hello", "", "not valid JSON"),
    ],
)
def test_measure_in_process_broken_child_raises_early_exit_error(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, code: int, out: str, err: str, message: str
) -> None:
    ended = subprocess.CompletedProcess([], code, out, err)
    monkeypatch.setattr(subprocess, "run", lambda *args, **options: ended)
    with pytest.raises(EarlyExitError, match=message) as failed:
        measure_in_process(bundle, VARIANT, 1, QUICK)
    assert failed.value.exit_code == 1


def test_measure_in_process_ignores_modules_in_the_users_folder(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('hijacked')")
    monkeypatch.chdir(tmp_path)
    assert measure_in_process(Path(bundle.name), VARIANT, 1, QUICK).bundle.name == "tiny"
