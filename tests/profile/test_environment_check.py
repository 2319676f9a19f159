"""Environment check: libraries in child processes, notes, and the document of `eetool doctor`."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner

from eetool.cli.app import cli
from eetool.profile import environment_check
from eetool.profile.environment_check import (
    EnvironmentReport,
    LibraryCheck,
    check_environment,
    environment_notes,
    power_save_notes,
    probe_library,
)
from eetool_measure.machine import Machine, read_machine

SCHEMA = json.loads((Path(__file__).parents[2] / "eetool/schemas/doctor-1.schema.json").read_text())


@pytest.fixture(scope="module")
def report() -> EnvironmentReport:
    return check_environment()


def test_check_environment_this_machine_has_required_libraries(report: EnvironmentReport) -> None:
    assert report.missing == ()
    checks = {check.name: check for check in report.checks}
    assert (checks["onnx backend"].version or "").startswith("onnxruntime ")
    assert (checks["torch"].threads or 0) >= 1
    assert all(check.problem is None for check in report.checks if check.ok)


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "illegal instruction"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("import no_such_module", "No module named 'no_such_module'"),
        ("raise SystemExit('error: it computes wrongly')", "it computes wrongly"),
        ("import sys; sys.exit(3)", "it ended with 3"),
    ],
)
def test_probe_library_failing_child_is_reported(code: str, problem: str) -> None:
    check = probe_library("library", code, (), True, "pip install library")
    assert not check.ok
    assert problem in (check.problem or "")
    assert check.hint


def test_probe_library_timeout_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment_check, "_TIMEOUT_S", 0.2)
    assert "no answer" in (probe_library("slow", "import time; time.sleep(60)", (), False, "").problem or "")


def test_probe_library_ignores_modules_in_the_users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('hijacked')")
    monkeypatch.chdir(tmp_path)
    assert probe_library("x", 'import json; print(json.dumps({"version": "1", "threads": None}))', (), True, "").ok


def test_doctor_document_matches_its_schema(report: EnvironmentReport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment_check, "check_environment", lambda: report)
    result = CliRunner().invoke(cli, ["doctor", "--json"])
    assert result.exit_code == 0, result.stderr
    jsonschema.validate(json.loads(result.stdout), SCHEMA)
    assert "onnxruntime" in CliRunner().invoke(cli, ["doctor"]).stdout


def test_doctor_missing_required_library_exits_with_5(
    report: EnvironmentReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = LibraryCheck(
        "onnx backend", True, False, problem="an illegal instruction", hint="Install an older version."
    )
    without_backend = replace(report, checks=(broken, *report.checks[1:]))
    monkeypatch.setattr(environment_check, "check_environment", lambda: without_backend)
    result = CliRunner().invoke(cli, ["doctor"])
    assert (result.exit_code, result.stderr.splitlines()[0]) == (5, "error: onnx backend: an illegal instruction")
    assert "missing" in result.stdout
    result = CliRunner().invoke(cli, ["doctor", "--json"])
    document = json.loads(result.stdout)
    jsonschema.validate(document, SCHEMA)
    assert (result.exit_code, document["ok"], document["error"]["code"]) == (5, False, 5)


def test_doctor_missing_optional_library_exits_with_0(
    report: EnvironmentReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = LibraryCheck("tflite backend", False, False, problem="not installed", hint="pip install eetool[tflite]")
    monkeypatch.setattr(environment_check, "check_environment", lambda: replace(report, checks=(absent,)))
    result = CliRunner().invoke(cli, ["doctor"])
    assert result.exit_code == 0
    assert "pip install eetool[tflite]" in result.stdout


def test_environment_notes_name_governor_and_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment_check, "power_save_notes", list)  # of this machine's own interfaces
    machine: Machine = read_machine()
    calm = replace(machine, governor="performance", clock_mhz=2400.0, max_clock_mhz=2400.0, cores=10_000)
    assert environment_notes(calm) == ()
    assert "'ondemand'" in environment_notes(replace(calm, governor="ondemand"))[0]
    assert environment_notes(replace(calm, clock_mhz=600.0)) == ("the clock is at 600 of 2400 MHz",)


def test_doctor_warns_of_a_wifi_interface_that_saves_power(
    report: EnvironmentReport, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, saves in (("wlan0", "Y"), ("wlan1", "N")):
        parameters = tmp_path / "sys/class/net" / name / "device/driver/module/parameters"
        parameters.mkdir(parents=True)
        (parameters / "power_save").write_text(saves)
        (parameters.parents[3] / "wireless").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path))  # without iw
    (note,) = power_save_notes(tmp_path)
    assert "the Wi-Fi interface wlan0 saves power" in note
    assert "`sudo iw dev wlan0 set power_save off`" in note
    monkeypatch.setattr(environment_check, "power_save_notes", lambda: [note])
    assert note in environment_notes(read_machine())
    monkeypatch.setattr(environment_check, "check_environment", lambda: replace(report, notes=(note,)))
    assert f"note: {note}" in CliRunner().invoke(cli, ["doctor"]).stdout


def test_check_environment_reads_versions_without_import(report: EnvironmentReport) -> None:
    assert report.packages["tflite"].keys() == {"litert_torch", "ai_edge_litert", "ai_edge_quantizer"}
    assert "litert_torch" not in sys.modules or report.packages["tflite"]["litert_torch"]
