"""A bundle as a microcontroller runs it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eetool.errors import ArtefactError, MissingError, UsageError
from eetool.microcontroller.cascade import VARIANT, read_cascade
from eetool_runtime import open_bundle
from tests.helpers.int8_cascade import POINTS, SIZES, TEMPERATURES, write_int8_cascade
from tests.helpers.tiny_bundle import write_tiny_bundle

pytest.importorskip("ai_edge_litert")


def edited(root: Path, change: Callable[[Any], object]) -> Path:
    """The bundle with another manifest."""
    path = root / "manifest.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    return root


def test_read_cascade_has_ports_exits_and_points(tmp_path: Path) -> None:
    cascade = read_cascade(open_bundle(write_int8_cascade(tmp_path, skips=True)))
    seg1 = cascade.components[2]
    assert [(p.tensor, p.position, p.size_bytes) for p in seg1.reads] == [
        (name, i, SIZES[name]) for i, name in enumerate(("h0", "input", "g0"))
    ]
    assert [c.exit.temperature for c in cascade.components if c.exit] == list(TEMPERATURES)
    assert cascade.components[1].exit is not None
    assert cascade.components[1].exit.logits.scale == pytest.approx(0.11)
    full, balanced, _ = cascade.points
    assert (full.thresholds, full.runs, full.never_early) == ((2.0, 0.0), (0, 2, 3), True)
    assert (balanced.thresholds, balanced.runs) == ((POINTS["balanced"], 0.0), (0, 1, 2, 3))
    assert cascade.n_exits == 2


def test_read_cascade_of_another_bundle_tells_how_to_make_one(tmp_path: Path) -> None:
    bundle = open_bundle(write_tiny_bundle(tmp_path))
    with pytest.raises(MissingError, match=f"no variant {VARIANT}, only onnx/fp32") as raised:
        read_cascade(bundle)
    assert raised.value.hint is not None
    assert "--target mcu" in raised.value.hint
    with pytest.raises(UsageError, match="onnx/fp32 does not run"):
        read_cascade(bundle, "onnx/fp32")


def test_read_cascade_other_gate_score_is_refused(tmp_path: Path) -> None:
    root = edited(write_int8_cascade(tmp_path), lambda d: d.update(score="entropy"))
    with pytest.raises(UsageError, match="the gate score entropy"):
        read_cascade(open_bundle(root))


def test_read_cascade_tensor_of_no_component_is_refused(tmp_path: Path) -> None:
    def rename(document: Any) -> None:
        document["components"][2]["inputs"] = ["input"]

    with pytest.raises(ArtefactError, match="'h0' is no tensor of seg1"):
        read_cascade(open_bundle(edited(write_int8_cascade(tmp_path), rename)))


@pytest.mark.parametrize("joined", [False, True])
def test_read_cascade_float_graph_is_refused(tmp_path: Path, joined: bool) -> None:
    from hashlib import sha256

    from tests.helpers.backend_contract import GOLDEN

    root = write_int8_cascade(tmp_path, joined=joined)
    graph = (GOLDEN / "contract.tflite").read_bytes()
    path = "components/seg0/tflm-int8/model.tflm"
    (root / path).write_bytes(graph)

    def exchange(document: Any) -> None:
        document["files"][path] = {"sha256": sha256(graph).hexdigest(), "size_bytes": len(graph)}

    with pytest.raises(ArtefactError, match=r"is (float32|int64); on"):
        read_cascade(open_bundle(edited(root, exchange)))
