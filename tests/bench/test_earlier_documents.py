"""Documents of earlier versions."""

import json
from pathlib import Path

import jsonschema
import pytest

from eetool.bench.benchmark import Bench
from eetool.bench.earlier_documents import EARLIER, upgrade
from eetool.errors import ArtefactError
from eetool_runtime.records import decode

ROOT = Path(__file__).parents[2]
GOLDEN = json.loads((ROOT / "tests/golden/bench-1.json").read_text())


def test_upgrade_golden_document_keeps_its_figures() -> None:
    jsonschema.validate(GOLDEN, json.loads((ROOT / "eetool/schemas/bench-1.schema.json").read_text()))
    fields = {k: v for k, v in GOLDEN.items() if k not in ("eetool", "command", "schema", "ok")}
    bench = decode(Bench, upgrade(fields, ArtefactError), ArtefactError)
    assert [way.name for way in bench.ways] == ["unsplit", "full", "balanced", "fast", "resnet8.onnx"]
    assert [way.kind for way in bench.ways] == ["unsplit", *["early_exit"] * 3, "against"]
    assert (bench.verdict.pays, bench.verdict.way, bench.variants) == (False, "balanced", ("onnx/fp32",))
    assert bench.ways[2].latency_ratio == pytest.approx(bench.verdict.latency_ratio)
    assert bench.ways[2].accuracy_difference == pytest.approx(-0.556, abs=1e-3)
    assert {way.front for way in bench.ways} == {None}


@pytest.mark.parametrize("field", ["points", "verdict", "variant", "data", "machine"])
def test_upgrade_incomplete_document_is_refused(field: str) -> None:
    broken = {k: v for k, v in GOLDEN.items() if k != field}
    with pytest.raises(ArtefactError, match=f"is no complete {EARLIER} document; run `eetool bench` again"):
        upgrade(broken, ArtefactError)
