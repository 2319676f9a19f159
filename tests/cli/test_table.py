"""`eetool table`, and `eetool profile --build-table`, its earlier spelling."""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from eetool.latency.table.hw_profile import HwProfile, profile_document, read_profile
from eetool.latency.table.weight_streaming import WeightStreaming
from eetool.records import canonical
from eetool_measure.__main__ import main as measure

SCHEMAS = Path(__file__).parents[2] / "eetool/schemas"
SCHEMA = json.loads((SCHEMAS / "hw_profile-1.schema.json").read_text())
BUILD = [("table", "build"), ("profile", "--build-table")]
Measured = Callable[..., Path]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, cli: Any) -> Measured:
    """`measured(capsys, threads)` is a document that a device printed for 8 probes."""
    folder = tmp_path_factory.mktemp("device")
    probes = folder / "probes"
    assert cli("table", "build", "--probes", 8, "--write-probes", probes).code == 0

    def times(capsys: pytest.CaptureFixture[str], threads: int = 1) -> Path:
        path = folder / f"times-{threads}.json"
        if not path.exists():
            capsys.readouterr()
            assert measure([str(probes), "--runs", "1", "--min-seconds", "0"]) == 0
            document = {**json.loads(capsys.readouterr().out), "threads": threads}  # a process keeps its first pool
            for probe in document["probes"]:  # a busy machine must not fail these tests
                probe["latency_ms"]["mad"] = 0.0
                kernels_us = sum(kernel["mean_us"] for kernel in probe["kernels"])
                probe["latency_ms"]["median"] = (kernels_us - 0.5 * len(probe["kernels"]) + 5) / 1e3
            path.write_text(json.dumps(document))
        return path

    return times


@pytest.fixture
def built(cli: Any, measured: Measured, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Path:
    """A table of those times for one thread, `pi.json`, which a test may change."""
    times = measured(capsys)
    kept = times.with_name("pi.json")
    if not kept.exists():
        assert cli("table", "build", "--device", "my-pi", "--times", times, "-o", kept).code == 0
    return Path(shutil.copy(kept, tmp_path / "pi.json"))


@pytest.mark.parametrize("verb", BUILD, ids=" ".join)
def test_write_probes_of_several_kinds_makes_a_folder_each(cli: Any, tmp_path: Path, verb: tuple[str, ...]) -> None:
    probes = tmp_path / "probes"
    options = ("--precision", "fp32", "--precision", "int8", "--probes", 8, "--write-probes", probes, "--json")
    result = cli(*verb, *options)
    assert (result.code, json.loads(result.stdout)["probes"]) == (0, {"onnx/fp32": 8, "onnx/int8": 8}), result
    for name in ("onnx-fp32", "onnx-int8"):
        assert json.loads((probes / name / "probes.json").read_text())["precision"] == name[-4:]


def test_write_probes_existing_folder_is_never_replaced(cli: Any, tmp_path: Path) -> None:
    probes, photos = tmp_path / "probes", tmp_path / "photos"
    photos.mkdir()
    (photos / "cat.jpg").touch()
    options = ("table", "build", "--probes", 8, "--write-probes")
    assert [cli(*options, probes).code for _ in range(2)] == [0, 2]
    assert [cli(*options, folder, "--force").code for folder in (probes, photos)] == [2, 2]
    assert (photos / "cat.jpg").exists()


@pytest.mark.parametrize("verb", BUILD, ids=" ".join)
def test_build_from_times_of_another_device_makes_its_profile(
    cli: Any, tmp_path: Path, measured: Measured, capsys: pytest.CaptureFixture[str], verb: tuple[str, ...]
) -> None:
    made = tmp_path / "pi.json"
    result = cli(*verb, "--device", "my-pi", "--times", measured(capsys), "-o", made)
    assert result.code == 0, result
    document = json.loads(made.read_text())
    assert document["name"] == "my-pi"
    jsonschema.validate(document, SCHEMA)
    assert cli("profile", "--device", made).code == 0
    assert "latency table: " in cli("table", "show", made).stdout


def test_both_spellings_of_build_print_the_same(
    cli: Any, tmp_path: Path, measured: Measured, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--device", "my-pi", "--times", measured(capsys), "-o", tmp_path / "pi.json", "--force")
    results = [cli(*verb, *options) for verb in BUILD]
    assert (results[0].stdout, results[0].stderr) == (results[1].stdout, results[1].stderr)
    first, second = (cli(*verb, *options, "--json").document for verb in BUILD)
    assert (first.pop("command"), second.pop("command")) == ("table build", "profile")
    assert first == second


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--device", "rpi4", "-o", "{out}"], 2, "is not to be called rpi4"),
        (["--times", "{out}", "-o", "{out}"], 3, "cannot be read"),
        (["--format", "coreml", "-o", "{out}"], 2, "unknown 'coreml'"),
        (["--precision", "fp16", "-o", "{out}"], 2, "unknown 'fp16'"),
        (["--device", "ssh://pi@-oProxyCommand=x", "-o", "{out}"], 2, "is no address of a device"),
    ],
)
@pytest.mark.parametrize("verb", BUILD, ids=" ".join)
def test_build_wrong_arguments_are_refused(
    cli: Any, tmp_path: Path, verb: tuple[str, ...], arguments: list[str], code: int, message: str
) -> None:
    result = cli(*verb, *(a.format(out=tmp_path / "out.json") for a in arguments))
    assert (result.code, message in result.stderr) == (code, True), result


def test_build_without_output_is_refused(cli: Any, refused: Any) -> None:
    refused(2, "--build-table takes no INPUT and needs -o", "profile", "--build-table")
    result = cli("table", "build")
    assert (result.code, "a table needs -o" in result.stderr) == (2, True)


def test_extend_adds_another_thread_count_in_place(
    cli: Any, built: Path, measured: Measured, capsys: pytest.CaptureFixture[str]
) -> None:
    before = read_profile(built)
    result = cli("table", "extend", built, "--times", measured(capsys, threads=2))
    assert result.code == 0, result
    after = read_profile(built)
    assert (after.name, [c.threads for c in after.compositions]) == ("my-pi", [1, 2])
    assert after.table[: len(before.table)] == before.table
    assert {entry.threads for entry in after.table[len(before.table) :]} == {2}
    assert [source.id for source in after.sources] == ["measured-here", "measured-here-2"]
    assert {entry.source for entry in after.table if entry.threads == 2} == {"measured-here-2"}


def test_extend_conditions_that_are_there_needs_force(
    cli: Any, built: Path, measured: Measured, capsys: pytest.CaptureFixture[str]
) -> None:
    path, times = built, measured(capsys)
    bytes_before = path.read_bytes()
    result = cli("table", "extend", path, "--times", times)
    assert result.code == 2
    assert "my-pi has a table for onnxruntime fp32, threads 1 already" in result.stderr
    assert path.read_bytes() == bytes_before
    started = time.monotonic()
    assert cli("table", "extend", path).code == 2  # before anything is measured
    assert time.monotonic() - started < 10
    assert cli("table", "extend", path, "--times", times, "--force").code == 0
    assert {entry.source for entry in read_profile(path).table} == {"measured-here-2"}


def test_extend_profile_of_another_device_is_refused(
    cli: Any, tmp_path: Path, measured: Measured, capsys: pytest.CaptureFixture[str]
) -> None:
    result = cli("table", "extend", "rpi4", "--times", measured(capsys), "-o", tmp_path / "out.json")
    assert result.code == 3
    assert "rpi4 is the profile of Raspberry Pi 4 Model B" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_extend_known_device_without_output_is_refused(cli: Any) -> None:
    result = cli("table", "extend", "rpi4")
    assert result.code == 2
    assert "rpi4 comes with eetool and is not changed" in result.stderr


def test_extend_into_another_file_leaves_the_first(
    cli: Any, built: Path, tmp_path: Path, measured: Measured, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = built, tmp_path / "out.json"
    bytes_before = path.read_bytes()
    assert cli("table", "extend", path, "--times", measured(capsys, threads=2), "-o", out).code == 0
    assert path.read_bytes() == bytes_before
    assert read_profile(out).name == "out"
    assert cli("table", "extend", path, "--times", measured(capsys, threads=2), "-o", out).code == 2


def test_show_prints_table_and_sources(cli: Any, tmp_path: Path) -> None:
    result = cli("table", "show", "rpi4")
    assert result.code == 0
    for words in ("rpi4: Raspberry Pi 4 Model B", "latency table: 5 fitted kinds", "ms/MMAC", "source hw-nas-bench"):
        assert words in result.stdout
    empty = replace(read_first(), name="empty", table=(), regressions=(), compositions=())
    path = tmp_path / "empty.json"
    path.write_text(canonical({"schema": "hw_profile/1", **profile_document(empty)}))
    assert "latency table: empty" in cli("table", "show", path).stdout
    jsonschema.validate(cli("table", "show", path, "--json").document, SCHEMA)
    assert cli("table", "show", "nowhere.json").code == 3


def test_show_tells_what_heavy_networks_cost(cli: Any, tmp_path: Path) -> None:
    first, streaming = read_first(), WeightStreaming(resident_mb=8.0, ms_per_mb=0.02, ms_per_kernel=0.0005)
    heavy = replace(first, name="heavy", compositions=(replace(first.compositions[0], streaming=streaming),))
    path = tmp_path / "heavy.json"
    path.write_text(canonical({"schema": "hw_profile/1", **profile_document(heavy)}))
    assert "networks of more than 8 MB of weights" in cli("table", "show", path).stdout
    assert read_profile(path).compositions[0].streaming == streaming
    jsonschema.validate(cli("table", "show", path, "--json").document, SCHEMA)
    broken = json.loads(path.read_text())
    broken["compositions"][0]["streaming"]["resident_mb"] = 0
    path.write_text(json.dumps(broken))
    refused = cli("table", "show", path)
    assert (refused.code, "streaming.resident_mb" in refused.stderr) == (3, True)


def read_first() -> HwProfile:
    from eetool.latency.table.hw_profile import load_device

    return load_device("rpi4")


def test_write_probes_into_a_folder_without_probes_is_refused(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "wedding.jpg").touch()
    for more in ((), ("--force",), ("--precision", "fp32", "--precision", "int8", "--force")):
        result = cli("table", "build", "--probes", 8, "--write-probes", tmp_path / "photos", *more)
        assert (result.code, "photos" in result.stderr) == (2, True), result
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["wedding.jpg"]


def test_build_beside_an_interrupted_measurement_is_refused(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "my.json.partial").write_text("precious")
    result = cli("table", "build", "--probes", 8, "-o", tmp_path / "my.json")
    assert (result.code, "--resume continues" in result.stderr) == (2, True), result
    assert (tmp_path / "my.json.partial").read_text() == "precious"


@pytest.fixture
def here(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table of this machine, from times that were not measured here and now."""
    monkeypatch.setenv("EETOOL_CACHE", str(tmp_path / "cache"))
    return built


def test_check_measures_reference_probes_and_prints_factors(cli: Any, here: Path, tmp_path: Path) -> None:
    written = tmp_path / "check.json"
    result = cli("table", "check", here, "-o", written)
    assert result.code == 0, result
    for words in ("reference probes in", "compute", "memory", "calls"):
        assert words in result.stdout
    document = json.loads(written.read_text())
    jsonschema.validate(document, json.loads((SCHEMAS / "table_check-1.schema.json").read_text()))
    (part,) = document["conditions"]
    assert all(probe["now_ms"] > 0 for probe in part["probes"])


def test_check_under_load_ends_with_exit_code_7_and_is_written(
    cli: Any, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eetool.latency.check.table_check.MAX_UNSTEADY", -1.0)
    written = tmp_path / "check.json"
    result = cli("table", "check", here, "-o", written, "--no-accept-unstable")
    assert (result.code, "of the reference probes scattered" in result.stderr) == (7, True), result
    document = json.loads(written.read_text())
    assert (document["ok"], document["error"]["code"]) == (False, 7)
    jsonschema.validate(document, json.loads((SCHEMAS / "table_check-1.schema.json").read_text()))
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("device", "arguments", "code", "message"),
    [
        ("elsewhere", (), 3, "is the table of"),
        ("here", ("--precision", "int8"), 3, "holds no reference probes of these conditions"),
        ("here", ("--device", "rpi4"), 2, "is checked on its own machine"),
        ("old", (), 3, "holds no reference probes, so nothing shows whether it still holds"),
        ("rpi5", (), 3, "is the table of Raspberry Pi 5"),
    ],
)
def test_check_of_what_cannot_be_checked_is_refused(
    cli: Any, here: Path, tmp_path: Path, device: str, arguments: tuple[str, ...], code: int, message: str
) -> None:
    profile = read_profile(here)
    changed = {
        "here": profile,
        "elsewhere": replace(profile, facts=replace(profile.facts, soc="other", cpu="other")),
        "old": replace(profile, references=()),
    }
    path = tmp_path / f"{device}.json"
    if device in changed:
        path.write_text(canonical({"schema": "hw_profile/1", **profile_document(changed[device])}))
    result = cli("table", "check", path if device in changed else device, *arguments)
    assert (result.code, message in result.stderr) == (code, True), result


def test_estimate_checks_a_table_of_this_machine_unless_told_otherwise(cli: Any, here: Path, tmp_path: Path) -> None:
    from eetool.latency.probes.probe_network import ProbeNetwork

    net = tmp_path / "net.onnx"
    net.write_bytes(ProbeNetwork("plain", 500).model().SerializeToString())
    profile = read_profile(here)
    (references,) = profile.references
    slow = tuple(replace(probe, latency_ms=probe.latency_ms / 100) for probe in references.probes)
    path = tmp_path / "slow.json"
    faster = replace(profile, references=(replace(references, probes=slow),))  # as if the machine were slower now
    path.write_text(canonical({"schema": "hw_profile/1", **profile_document(faster)}))
    plain, checked = (
        cli("estimate", net, "--device", path, option) for option in ("--no-check-table", "--check-table")
    )
    assert "reference probes" not in plain.stderr
    assert "checking the table of my-pi by its reference probes" in checked.stderr
    assert "warning: " in checked.stdout
    assert checked.stdout != plain.stdout
