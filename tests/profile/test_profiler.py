"""Profiling on this machine: children, the choice of a thread count, the document."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from tiny import VARIANT, write_tiny_bundle

from eetool.errors import ArtefactError, EarlyExitError, UnstableError, UsageError
from eetool.profile.local_runner import measure_in_process
from eetool.profile.profiler import (
    SCHEMA,
    Profile,
    candidate_threads,
    choose_threads,
    profile_bundle,
)
from eetool.profile.protocol import MeasurementProtocol
from eetool.records import read_record
from eetool_measure.bundle_timing import measure_bundle
from eetool_measure.records import encode
from eetool_measure.results import Measurement, ThreadTimes
from eetool_runtime import open_bundle

ROOT = Path(__file__).parents[2]
QUICK = MeasurementProtocol(runs=10, min_seconds=0)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path)


@pytest.fixture
def times(bundle: Path) -> ThreadTimes:
    return measure_bundle(open_bundle(bundle), VARIANT, runs=1, min_seconds=0).times


def with_medians(times: ThreadTimes, threads: int, exits: list[float], full: float) -> ThreadTimes:
    cascade = tuple(
        replace(at, latency_ms=replace(at.latency_ms, median=ms)) for at, ms in zip(times.cascade, exits, strict=True)
    )
    return replace(times, threads=threads, cascade=cascade, full=replace(times.full, median=full))


def test_the_document_keeps_its_schema_and_comes_back(bundle: Path, tmp_path: Path) -> None:
    found = profile_bundle(open_bundle(bundle), VARIANT, (1, 2), QUICK)
    assert [t.threads for t in found.thread_counts] == [1, 2]
    assert found.chosen.threads == found.threads
    assert found.pool == {1: "private", 2: "process"}[found.threads]
    assert (found.device, found.provenance, found.energy_mj.value) == ("host", "measured", None)
    document = {"eetool": "0", "command": "profile", "schema": SCHEMA, "ok": True, **encode(found)}
    jsonschema.validate(document, json.loads((ROOT / "eetool/schemas/profile-1.schema.json").read_text()))
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(document))
    assert read_record(Profile, path, SCHEMA) == found


def test_a_stripped_bundle_keeps_the_schema_too(tmp_path: Path) -> None:
    bundle = open_bundle(write_tiny_bundle(tmp_path, references=False))
    document = encode(profile_bundle(bundle, VARIANT, (1,), QUICK))
    document |= {"eetool": "0", "command": "profile", "schema": SCHEMA, "ok": True}
    jsonschema.validate(document, json.loads((ROOT / "eetool/schemas/profile-1.schema.json").read_text()))


@pytest.mark.parametrize(
    ("cores", "counts"),
    [(1, (1,)), (2, (1, 2)), (4, (1, 2, 3, 4)), (6, (1, 2, 3, 4, 6)), (16, (1, 2, 3, 4, 8, 16)), (8, (1, 2, 3, 4, 8))],
)
def test_thread_counts_worth_measuring(cores: int, counts: tuple[int, ...]) -> None:
    assert candidate_threads(cores) == counts


def test_the_choice_weighs_exits_as_inputs_do(times: ThreadTimes) -> None:
    """Two threads help deep down and hurt at the first exit, where nearly all inputs leave."""
    measured = [with_medians(times, 1, [1.0, 2.0, 4.0], 3.8), with_medians(times, 2, [1.2, 1.8, 2.5], 2.4)]
    assert choose_threads(measured, "balanced", (0.9, 0.1, 0.0))[0] == 1
    assert choose_threads(measured, "balanced", (0.1, 0.1, 0.8))[0] == 2
    assert choose_threads(measured, None, None) == (2, "latency at full depth")


def test_more_threads_must_be_worth_it(times: ThreadTimes) -> None:
    exits = [1.0, 2.0, 4.0]
    measured = [with_medians(times, n, exits, full) for n, full in ((1, 1.00), (2, 0.98), (4, 0.60), (8, 0.59))]
    assert choose_threads(measured, None, None)[0] == 4
    assert choose_threads(measured[:2], None, None)[0] == 1


def test_a_childs_error_is_told_as_its_own(bundle: Path, tmp_path: Path) -> None:
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
def test_a_child_that_breaks(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, code: int, out: str, err: str, message: str
) -> None:
    ended = subprocess.CompletedProcess([], code, out, err)
    monkeypatch.setattr(subprocess, "run", lambda *args, **options: ended)
    with pytest.raises(EarlyExitError, match=message) as failed:
        measure_in_process(bundle, VARIANT, 1, QUICK)
    assert failed.value.exit_code == 1


def test_a_module_of_the_users_folder_is_not_imported(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('hijacked')")
    monkeypatch.chdir(tmp_path)
    assert measure_in_process(Path(bundle.name), VARIANT, 1, QUICK).bundle.name == "tiny"


def test_the_golden_document_reads() -> None:
    path = ROOT / "tests/golden/profile-1.json"
    found = read_record(Profile, path, SCHEMA)
    jsonschema.validate(
        json.loads(path.read_text()), json.loads((ROOT / "eetool/schemas/profile-1.schema.json").read_text())
    )
    assert [t.threads for t in found.thread_counts] == [1, 2]
    assert len(found.chosen.cascade) == 3


def shaky(
    path: Path, variant: str, threads: int, protocol: MeasurementProtocol, *rest: Any, **more: Any
) -> Measurement:
    """Measures, and says that the times of two threads scatter."""
    found = measure_in_process(path, variant, threads, protocol, *rest, **more)
    steadiness = replace(found.steadiness, ci95_share=0.2 if threads == 2 else 0.0, drift=0.0)
    return replace(found, steadiness=steadiness)


def test_times_that_scatter_are_refused(bundle: Path) -> None:
    with pytest.raises(UnstableError, match=r"threads 2: a median is known to ±20% only") as caught:
        profile_bundle(open_bundle(bundle), VARIANT, (2,), QUICK, measure=shaky)
    assert caught.value.exit_code == 7
    accepted = profile_bundle(open_bundle(bundle), VARIANT, (2,), QUICK, measure=shaky, accept_unstable=True)
    assert accepted.unstable == ("a median is known to ±20% only",)
    assert profile_bundle(open_bundle(bundle), VARIANT, (1,), QUICK, measure=shaky).unstable == ()


def test_what_is_held_out_is_measured_with_the_chosen_count(bundle: Path) -> None:
    found = profile_bundle(open_bundle(bundle), VARIANT, (1,), replace(QUICK, sustained_s=0.5), accept_unstable=True)
    assert found.sustained is not None
    assert found.sustained.operating_point == open_bundle(bundle).manifest.default_operating_point
    assert found.sustained.windows[0].latency_ms.runs > 0
    document = {"eetool": "0", "command": "profile", "schema": SCHEMA, "ok": True, **encode(found)}
    jsonschema.validate(document, json.loads((ROOT / "eetool/schemas/profile-1.schema.json").read_text()))
