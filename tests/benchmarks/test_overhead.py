"""`benchmarks/runtime/overhead.py`: its document; times are not tested."""

import json
from pathlib import Path

import pytest

from tests.helpers.native_build import build
from tests.helpers.scripts import run_script
from tests.helpers.tiny_bundle import write_tiny_bundle

SCRIPT = "benchmarks/runtime/overhead.py"


@pytest.mark.parametrize("runtime", ["python", "native"])
def test_overhead_tiny_bundle_prints_one_and_two_threads(
    tmp_path: Path, runtime: str, request: pytest.FixtureRequest
) -> None:
    words = ["--runs", "10", "--min-seconds", "0", "--processes", "2"]
    if runtime == "native":
        request.getfixturevalue("native")  # skips where it cannot be built
        words += ["--native", str(build("overhead") / "overhead")]
    ended = run_script(SCRIPT, write_tiny_bundle(tmp_path), *words)
    assert ended.returncode == 0, ended.stderr
    document = json.loads(ended.stdout)
    assert document["runtime"] == runtime
    assert [t["threads"] for t in document["threads"]] == [1, 2]
    for count in document["threads"]:
        ms = {name: figure["median"] for name, figure in count["ms"].items()}
        parts = [ms[f"component {name}"] for name in ("seg0", "exit0", "seg1", "exit1", "exit2")]
        assert ms["sum"] == pytest.approx(sum(parts), rel=0.5)  # medians of sums are not sums of medians
        assert {"in_turn", "exit 2", "full", "reference unsplit", "reference all_exits"} < set(ms)
        assert {"least 0", "least 1", "least 2"} < set(ms)
        ratios = {name: figure["processes"] for name, figure in count["ratios"].items()}
        both = ratios["both: cascade / all exits"]
        for below, above in (
            ("split: in turn / all exits", "runtime: cascade / in turn"),
            ("least: checked, handed over, in turn / all exits", "runtime: cascade / least"),
        ):
            for one, two, product in zip(ratios[below], ratios[above], both, strict=True):
                assert one * two == pytest.approx(product, rel=0.5)
        assert [at["exit"] for at in count["exits"]] == [0, 1, 2]
        for at in count["exits"]:
            low, high = sorted(at["cascade / components alone"]["processes"])
            assert low <= at["cascade / components alone"]["median"] <= high


def test_overhead_missing_bundle_exits_3() -> None:
    ended = run_script(SCRIPT, "nothing.eebundle")
    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr.startswith("error: ")


def test_overhead_failing_child_exits_3(tmp_path: Path) -> None:
    path = write_tiny_bundle(tmp_path)
    (path / "components/exit2/onnx-fp32/model.onnx").unlink()
    ended = run_script(SCRIPT, path, "--runs", "10", "--min-seconds", "0", "--processes", "1")
    assert (ended.returncode, ended.stdout) == (3, "")
