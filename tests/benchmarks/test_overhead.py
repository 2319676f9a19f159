"""`benchmarks/runtime/overhead.py`: its document; times are not tested."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.native_build import build
from tests.helpers.scripts import run_script
from tests.helpers.tiny_bundle import write_tiny_bundle

SCRIPT = "benchmarks/runtime/overhead.py"


FAST = ("--runs", "10", "--min-seconds", "0", "--processes", "2")


def check(figures: dict[str, Any]) -> None:
    """Check the figures of one runtime at one thread count, for a bundle of two early exits."""
    ms = {name: figure["median"] for name, figure in figures["ms"].items()}
    parts = [ms[f"component {name}"] for name in ("seg0", "exit0", "seg1", "exit1", "exit2")]
    assert ms["sum"] == pytest.approx(sum(parts), rel=0.5)  # medians of sums are not sums of medians
    assert {"in_turn", "exit 2", "full", "reference unsplit", "reference all_exits"} < set(ms)
    assert {"least 0", "least 1", "least 2"} < set(ms)
    ratios = {name: figure["processes"] for name, figure in figures["ratios"].items()}
    both = ratios["both: cascade / all exits"]
    for below, above in (
        ("split: in turn / all exits", "runtime: cascade / in turn"),
        ("least: checked, handed over, in turn / all exits", "runtime: cascade / least"),
    ):
        for one, two, product in zip(ratios[below], ratios[above], both, strict=True):
            assert one * two == pytest.approx(product, rel=0.5)
    assert [at["exit"] for at in figures["exits"]] == [0, 1, 2]
    for at in figures["exits"]:
        low, high = sorted(at["cascade / components alone"]["processes"])
        assert low <= at["cascade / components alone"]["median"] <= high


def test_overhead_tiny_bundle_prints_one_and_two_threads(tmp_path: Path) -> None:
    ended = run_script(SCRIPT, write_tiny_bundle(tmp_path), *FAST)
    assert ended.returncode == 0, ended.stderr
    document = json.loads(ended.stdout)
    assert document["first_answer"] is None
    assert [(t["threads"], t.keys()) for t in document["threads"]] == [(n, {"threads", "python"}) for n in (1, 2)]
    for count in document["threads"]:
        check(count["python"])


@pytest.mark.usefixtures("native")  # skips where it cannot be built
def test_overhead_native_prints_both_runtimes_and_their_loading(tmp_path: Path) -> None:
    ended = run_script(SCRIPT, write_tiny_bundle(tmp_path), *FAST, "--native", build("overhead"))
    assert ended.returncode == 0, ended.stderr
    document = json.loads(ended.stdout)
    for count in document["threads"]:
        assert count.keys() == {"threads", "python", "native"}
        check(count["python"])
        check(count["native"])
    loaded = document["first_answer"]
    assert loaded["load_ms"]["native"] > 0
    assert 0 < loaded["resident_bytes"]["native"] < loaded["resident_bytes"]["python"]


def test_overhead_missing_bundle_exits_3() -> None:
    ended = run_script(SCRIPT, "nothing.eebundle")
    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr.startswith("error: ")


def test_overhead_failing_child_exits_3(tmp_path: Path) -> None:
    path = write_tiny_bundle(tmp_path)
    (path / "components/exit2/onnx-fp32/model.onnx").unlink()
    ended = run_script(SCRIPT, path, "--runs", "10", "--min-seconds", "0", "--processes", "1")
    assert (ended.returncode, ended.stdout) == (3, "")
