"""Profile of a bundle: the document, steadiness, and sustained calls."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from eetool.profile.local_runner import measure_in_process
from eetool.profile.profiler import SCHEMA, Profile, profile_bundle, stability_problem
from eetool.profile.protocol import MeasurementProtocol
from eetool.records import read_record
from eetool_measure.records import encode
from eetool_measure.results import Measurement
from eetool_runtime import open_bundle
from tests.helpers.tiny_bundle import VARIANT, write_tiny_bundle

ROOT = Path(__file__).parents[2]
QUICK = MeasurementProtocol(runs=10, min_seconds=0)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path)


def test_profile_bundle_document_matches_schema_and_round_trips(bundle: Path, tmp_path: Path) -> None:
    profile = profile_bundle(open_bundle(bundle), VARIANT, (1, 2), QUICK)
    assert [t.threads for t in profile.thread_counts] == [1, 2]
    assert profile.chosen.threads == profile.threads
    assert profile.pool == {1: "private", 2: "process"}[profile.threads]
    assert (profile.device, profile.provenance, profile.energy_mj.value) == ("host", "measured", None)
    document = {"eetool": "0", "command": "profile", "schema": SCHEMA, "ok": True, **encode(profile)}
    jsonschema.validate(document, json.loads((ROOT / "eetool/schemas/profile-1.schema.json").read_text()))
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(document))
    assert read_record(Profile, path, SCHEMA) == profile


def test_profile_bundle_without_references_matches_schema(tmp_path: Path) -> None:
    bundle = open_bundle(write_tiny_bundle(tmp_path, references=False))
    document = encode(profile_bundle(bundle, VARIANT, (1,), QUICK))
    document |= {"eetool": "0", "command": "profile", "schema": SCHEMA, "ok": True}
    jsonschema.validate(document, json.loads((ROOT / "eetool/schemas/profile-1.schema.json").read_text()))


def test_profile_golden_document_is_readable() -> None:
    path = ROOT / "tests/golden/profile-1.json"
    profile = read_record(Profile, path, SCHEMA)
    jsonschema.validate(
        json.loads(path.read_text()), json.loads((ROOT / "eetool/schemas/profile-1.schema.json").read_text())
    )
    assert [t.threads for t in profile.thread_counts] == [1, 2]
    assert len(profile.chosen.cascade) == 3


def scattering(
    path: Path, variant: str, threads: int, protocol: MeasurementProtocol, *rest: Any, **more: Any
) -> Measurement:
    """Measure, and mark the times of two threads as scattering."""
    profile = measure_in_process(path, variant, threads, protocol, *rest, **more)
    steadiness = replace(profile.steadiness, ci95_share=0.2 if threads == 2 else 0.0, drift=0.0, p90_to_median=1.0)
    return replace(profile, steadiness=steadiness)


def test_profile_bundle_scattering_times_are_kept_with_their_error(bundle: Path) -> None:
    scattered = profile_bundle(open_bundle(bundle), VARIANT, (2,), QUICK, measure=scattering)
    assert scattered.unstable == ("a median is known to ±20% only",)
    problem = stability_problem(scattered)
    assert problem is not None
    assert problem.exit_code == 7
    assert "threads 2: a median is known to ±20% only" in str(problem)
    assert stability_problem(profile_bundle(open_bundle(bundle), VARIANT, (1,), QUICK, measure=scattering)) is None


def test_profile_bundle_sustained_uses_the_chosen_thread_count(bundle: Path) -> None:
    profile = profile_bundle(open_bundle(bundle), VARIANT, (1,), replace(QUICK, sustained_s=0.5))
    assert profile.sustained is not None
    assert profile.sustained.operating_point == open_bundle(bundle).manifest.default_operating_point
    assert profile.sustained.windows[0].latency_ms.runs > 0
    document = {"eetool": "0", "command": "profile", "schema": SCHEMA, "ok": True, **encode(profile)}
    jsonschema.validate(document, json.loads((ROOT / "eetool/schemas/profile-1.schema.json").read_text()))
