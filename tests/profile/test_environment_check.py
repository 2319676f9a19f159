"""What `eetool doctor` finds, and that what kills a process does not kill it."""

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
    probe_library,
)
from eetool_measure.machine import Machine, read_machine

SCHEMA = json.loads((Path(__file__).parents[2] / "eetool/schemas/doctor-1.schema.json").read_text())


@pytest.fixture(scope="module")
def found() -> EnvironmentReport:
    return check_environment()


def test_this_machine_is_able(found: EnvironmentReport) -> None:
    assert found.missing == ()
    checks = {check.name: check for check in found.checks}
    assert (checks["onnx backend"].version or "").startswith("onnxruntime ")
    assert (checks["torch"].threads or 0) >= 1
    assert all(check.problem is None for check in found.checks if check.ok)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "illegal instruction"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("import no_such_module", "No module named 'no_such_module'"),
        ("raise SystemExit('error: it computes wrongly')", "it computes wrongly"),
        ("import sys; sys.exit(3)", "it ended with 3"),
    ],
)
def test_what_kills_a_process_is_a_finding(code: str, said: str) -> None:
    check = probe_library("library", code, (), True, "pip install library")
    assert not check.ok
    assert said in (check.problem or "")
    assert check.hint


def test_no_answer_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment_check, "_PATIENCE_S", 0.2)
    assert "no answer" in (probe_library("slow", "import time; time.sleep(60)", (), False, "").problem or "")


def test_a_module_of_the_users_folder_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('hijacked')")
    monkeypatch.chdir(tmp_path)
    assert probe_library("x", 'import json; print(json.dumps({"version": "1", "threads": None}))', (), True, "").ok


def test_the_document_keeps_to_its_schema(found: EnvironmentReport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment_check, "examine", lambda: found)
    result = CliRunner().invoke(cli, ["doctor", "--json"])
    assert result.exit_code == 0, result.stderr
    jsonschema.validate(json.loads(result.stdout), SCHEMA)
    assert "onnxruntime" in CliRunner().invoke(cli, ["doctor"]).stdout


def test_what_is_missing_ends_with_its_exit_code(found: EnvironmentReport, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = LibraryCheck(
        "onnx backend", True, False, problem="an illegal instruction", hint="Install an older version."
    )
    ill = replace(found, checks=(broken, *found.checks[1:]))
    monkeypatch.setattr(environment_check, "examine", lambda: ill)
    result = CliRunner().invoke(cli, ["doctor"])
    assert (result.exit_code, result.stderr.splitlines()[0]) == (5, "error: onnx backend: an illegal instruction")
    assert "missing" in result.stdout
    result = CliRunner().invoke(cli, ["doctor", "--json"])
    document = json.loads(result.stdout)
    jsonschema.validate(document, SCHEMA)
    assert (result.exit_code, document["ok"], document["error"]["code"]) == (5, False, 5)


def test_what_is_not_needed_may_be_absent(found: EnvironmentReport, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = LibraryCheck("tflite backend", False, False, problem="not installed", hint="pip install eetool[tflite]")
    monkeypatch.setattr(environment_check, "examine", lambda: replace(found, checks=(absent,)))
    result = CliRunner().invoke(cli, ["doctor"])
    assert result.exit_code == 0
    assert "pip install eetool[tflite]" in result.stdout


def test_notes_name_what_disturbs() -> None:
    machine: Machine = read_machine()
    calm = replace(machine, governor="performance", clock_mhz=2400.0, max_clock_mhz=2400.0, cores=10_000)
    assert environment_notes(calm) == ()
    assert "'ondemand'" in environment_notes(replace(calm, governor="ondemand"))[0]
    assert environment_notes(replace(calm, clock_mhz=600.0)) == ("the clock is at 600 of 2400 MHz",)


def test_versions_are_found_without_an_import(found: EnvironmentReport) -> None:
    assert found.packages["tflite"].keys() == {"litert_torch", "ai_edge_litert", "ai_edge_quantizer"}
    assert "litert_torch" not in sys.modules or found.packages["tflite"]["litert_torch"]
