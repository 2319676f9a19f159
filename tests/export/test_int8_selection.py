"""Selection of int8 variants: conditions for rejection."""

from pathlib import Path

import numpy as np
import onnx.parser
import pytest

from eetool.export.int8_selection import Int8Judge, Speed, measure_speed, reason_to_keep_float
from eetool_measure.timing import Spread

CASES = [{"x": np.array([[1.0, 2.0]], np.float32), "y": np.array([[2.0, 4.0]], np.float32)}]


def graph(path: Path, factor: float, padding: int = 0, output: str = "float[batch, 2] y") -> Path:
    last = "y = Cast <to = 7> (product)" if "int64" in output else "y = Identity (product)"
    text = f"""<ir_version: 8, opset_import: ["" : 18]>
    g (float[batch, 2] x) => ({output}) {{
        factor = Constant <value = float {{{factor}}}> ()
        product = Mul (x, factor)
        {last}
    }}"""
    model = onnx.parser.parse_model(text)
    model.doc_string = " " * padding
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def exact(tmp_path: Path) -> Path:
    return graph(tmp_path / "float.onnx", 2.0, padding=1000)


def test_reason_to_keep_float_smaller_and_accurate_returns_none(exact: Path, tmp_path: Path) -> None:
    assert reason_to_keep_float(exact, graph(tmp_path / "q.onnx", 2.1), CASES) is None


def test_reason_to_keep_float_larger_file_returns_a_reason(exact: Path, tmp_path: Path) -> None:
    made = graph(tmp_path / "q.onnx", 2.0, padding=1000)
    assert reason_to_keep_float(exact, made, CASES) == "its int8 file is no smaller"


def test_reason_to_keep_float_unloadable_file_returns_a_reason(exact: Path, tmp_path: Path) -> None:
    made = tmp_path / "q.onnx"
    made.write_bytes(b"no graph")
    reason = reason_to_keep_float(exact, made, CASES)
    assert reason is not None
    assert reason.startswith("its int8 file does not load: ")


@pytest.mark.parametrize(("factor", "loss"), [(2.5, "25 %"), (-2.0, "200 %")])
def test_reason_to_keep_float_large_error_returns_a_reason(
    exact: Path, tmp_path: Path, factor: float, loss: str
) -> None:
    reason = reason_to_keep_float(exact, graph(tmp_path / "q.onnx", factor), CASES)
    assert reason == f"int8 is off by {loss} (at most 10 % are allowed)"


def test_reason_to_keep_float_other_boundary_returns_a_reason(exact: Path, tmp_path: Path) -> None:
    made = graph(tmp_path / "q.onnx", 2.0, output="int64[batch, 2] y")
    assert reason_to_keep_float(exact, made, CASES) == "its inputs or outputs are not floats"


@pytest.mark.parametrize(
    ("ratio", "scatter", "reason"),
    [
        (Spread(1.5, (1.4, 1.6)), (), "int8 takes 1.50 times as long here; --no-judge-speed ignores that"),
        (Spread(1.1, (0.9, 1.2)), (), None),
        (Spread(1.5, (1.4, 1.6)), ("a median is known to ±20% only",), None),
    ],
)
def test_speed_reason_needs_a_sure_ratio_of_steady_times(
    ratio: Spread, scatter: tuple[str, ...], reason: str | None
) -> None:
    assert Speed(ratio, scatter).reason_to_keep_float == reason


def test_measure_speed_compares_both_graphs(exact: Path, tmp_path: Path) -> None:
    speed = measure_speed(exact, graph(tmp_path / "q.onnx", 2.0), CASES[0])
    assert speed.ratio.median > 0
    assert all("median" in reason for reason in speed.scatter)


def test_int8_judge_notes_graphs_whose_times_scatter(
    exact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = graph(tmp_path / "q.onnx", 2.0)
    slow = Spread(1.5, (1.4, 1.6))
    monkeypatch.setattr("eetool.export.int8_selection.measure_speed", lambda *_: Speed(slow, ("it scatters",)))
    judge = Int8Judge(CASES, CASES[0], judges_speed=True)
    assert judge.reason_to_keep_float("components/seg0", exact, made) is None
    (note,) = judge.notes()
    assert note.startswith("the speed of seg0 was not judged, and they are int8: it scatters; ")
    unasked = Int8Judge(CASES, CASES[0], judges_speed=False)
    assert (unasked.reason_to_keep_float("components/seg0", exact, made), unasked.notes()) == (None, [])
    monkeypatch.setattr("eetool.export.int8_selection.measure_speed", lambda *_: Speed(slow))
    reason = judge.reason_to_keep_float("components/seg0", exact, made)
    assert reason == "int8 takes 1.50 times as long here; --no-judge-speed ignores that"
