"""Parts of `benchmarks/offload.py`: the rule of the break-even, its tables and chart, and the slower device."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.helpers.scripts import load_script
from tests.helpers.tiny_bundle import write_tiny_bundle

ROOT = Path(__file__).parents[2]
LINKS = {"near": (2.0, 50.0), "far": (40.0, 5.0)}


@pytest.fixture(scope="module")
def chart() -> ModuleType:
    return load_script("benchmarks/offload_chart.py")


@pytest.fixture
def rows(chart: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Return the break-even of a network whose calls take 3 ms beyond the link's own time."""
    cases = [chart.Case(chart.SMALL, "0", "uint8"), chart.Case(chart.LARGE, "input", "uint8")]
    monkeypatch.setattr(chart, "BREAK_EVEN", cases)
    for case in cases:
        write_tiny_bundle(tmp_path, name=case.name)
    links: dict[str, Any] = {
        name: {
            "round_trip_ms": trip,
            "rate_mbit_s": rate,
            "calls": {
                case.name: {"bytes": 10_000, "p50_ms": trip + 10_000 * 8e-3 / rate + 3 + number}
                for case in cases
                for number in [len(name) - 3]  # the call over the far link takes no longer beyond it
            },
        }
        for name, (trip, rate) in LINKS.items()
    }
    predicted = dict.fromkeys(("seg0", "exit0", "seg1", "exit1", "exit2"), 15.0)
    settings = SimpleNamespace(out=tmp_path)
    return list(chart.break_even(settings, links, dict.fromkeys((chart.SMALL, chart.LARGE), predicted)))


def test_break_even_charges_what_lies_behind_the_cut(rows: list[dict[str, Any]]) -> None:
    assert [row["tail_ms"] for row in rows] == [45.0, 75.0]
    assert [row["server_ms"] for row in rows] == [pytest.approx(3.0)] * 2
    assert [[link["pays"] for link in row["links"].values()] for row in rows] == [[True, False], [True, True]]
    assert all(link["pays"] == link["rule_pays"] for row in rows for link in row["links"].values())


def test_chart_has_every_cut_and_link_of_both_networks(chart: ModuleType, rows: list[dict[str, Any]]) -> None:
    values = chart.chart_spec(rows)["data"]["values"]
    assert {value.get("cut") for value in values} == {"behind exit 0, uint8", "input, uint8", None}
    assert {(v["rate"], v["round_trip"]) for v in values if "link" in v} == {(50.0, 2.0), (5.0, 40.0)}
    assert min(value["round_trip"] for value in values) >= 1


def test_tables_have_a_row_for_every_cut(rows: list[dict[str, Any]]) -> None:
    tables = load_script("benchmarks/offload_tables.py")
    table = tables._break_even(rows)
    assert [row["cells"][:3] for row in table["rows"]] == [
        ["resnet56", "behind exit 0, uint8", 10_000],
        ["mobilenetv2", "input, uint8", 10_000],
    ]
    assert len(table["columns"]) == len(table["rows"][0]["cells"])


def test_tables_have_the_points_that_ask_and_the_reasons_of_all(tmp_path: Path) -> None:
    tables = load_script("benchmarks/offload_tables.py")
    asking = {"offloads": True, "local": 20.0, "link_up": 9.5, "share": 0.25, "wait": 12.0, "break_even": 30.0}
    never = {**asking, "offloads": False, "link_up": None, "share": None, "break_even": None}
    way = {"name": "full + server", "predicted_ms": 9.5, "measured_ms": 10.0, "wanted": 0.3, "error": -0.05}
    bench = {"mean_ms": {"full": 21.0, "fast": 15.0}, "accuracy": {"full": 0.9, "full + server": 0.89}, "ways": [way]}
    row = {"device": "rpi4", "slowdown": 18.1, "choice": {"choices": {"full": asking, "fast": never}}}
    links = {"near": {"devices": [{**row, "bench": {**bench, "tuned": True}}]}}
    assert [r["cells"] for r in tables._latency(links)["rows"]] == [
        ["near", "rpi4", 18.1, "full", 25.0, 30.0, 21.0, 9.5, 10.0, -5.0, 90.0, 89.0]
    ]
    assert [r["cells"] for r in tables._choices(links)["rows"]] == [
        ["near", "rpi4", "full", 25.0, 12.0, 30.0, "yes", 20.0, 21.0, 10.0],
        ["near", "rpi4", "fast", None, 12.0, None, "no", 20.0, 15.0, None],
    ]
    forced = {"near": {"devices": [{**row, "bench": {**bench, "tuned": False}}]}}
    assert tables._latency(forced)["rows"] == []
    decided = {"case": "a", "n": 5, "equal": 5, "share": 0.5}
    accuracy = {"local": 0.9, "offloaded": 0.9, "local, thresholds of offloading": 0.9}
    document = {name: {**decided, "accuracy": accuracy} for name in ("fp32", "uint8", "features")}
    tables.write_tables(document, tmp_path / "offload.json")
    written = json.loads((tmp_path / "offload.json").read_text(encoding="utf-8"))["tables"]
    assert {name: len(table["rows"]) for name, table in written.items() if table["rows"]} == {"decisions": 3}


def test_slowed_call_takes_as_many_times_as_long() -> None:
    slow = load_script("benchmarks/slow_device/sitecustomize.py")
    begun = time.perf_counter()
    assert slow.slowed(lambda x: (time.sleep(0.005), x)[1], 4.0)(7) == 7
    assert time.perf_counter() - begun >= 0.02


def test_slow_device_gives_the_same_answers(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path)
    program = (
        "import json, sys, eetool_runtime as ee; from tests.helpers.tiny_bundle import IMAGES, image; "
        "from eetool_runtime.backends.onnx import OnnxGraph; m = ee.load(sys.argv[1]); "
        "print(json.dumps([OnnxGraph.bind.__name__, [m(image(*p)).exit for p in IMAGES]]))"
    )
    answers = []
    for slow in (False, True):
        paths = [str(ROOT / "benchmarks/slow_device")] * slow + os.environ.get("PYTHONPATH", "").split(os.pathsep)
        paths += [str(ROOT), str(ROOT / "runtimes/python"), str(ROOT / "runtimes/measure")]
        variables = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **({"EETOOL_SLOWDOWN": "3"} if slow else {})}
        command = [sys.executable, "-c", program, str(bundle)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=variables, cwd=ROOT)
        answers.append(json.loads(done.stdout))
    assert [name for name, _ in answers] == ["bind", "bind_slowly"]
    assert answers[0][1] == answers[1][1]
