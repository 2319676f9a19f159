"""Predicted costs with a server, in a file of a bundle."""

import json
from pathlib import Path

import pytest

from eetool.errors import ArtefactError
from eetool.export.bundle_files import write_manifest
from eetool.export.offload.costs_file import COSTS, read_forecasts, write_forecasts
from eetool_runtime import Bundle, open_bundle
from tests.helpers.tiny_bundle import VARIANT, replace_file, with_offload, write_tiny_bundle

GOLDEN = Path(__file__).parents[2] / "golden/offload_costs-1.json"


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A bundle with the golden file."""
    root = write_tiny_bundle(tmp_path, edit=with_offload)
    (root / COSTS).write_bytes(GOLDEN.read_bytes())
    write_manifest(root, open_bundle(root).manifest)
    return open_bundle(root)


def test_write_forecasts_writes_what_was_read(bundle: Bundle) -> None:
    forecasts = read_forecasts(bundle)
    assert forecasts[VARIANT].points["fast"].break_even == 46.0
    write_forecasts(bundle.path, forecasts)
    assert (bundle.path / COSTS).read_bytes() == GOLDEN.read_bytes()
    write_forecasts(bundle.path, {})
    assert not (bundle.path / COSTS).exists()


def test_read_forecasts_of_a_bundle_without_them_is_empty(tmp_path: Path) -> None:
    assert read_forecasts(open_bundle(write_tiny_bundle(tmp_path))) == {}


def test_read_forecasts_damaged_is_refused(bundle: Bundle) -> None:
    document = json.loads((bundle.path / COSTS).read_text(encoding="utf-8"))
    document["variants"][VARIANT]["wait"] = "long"
    replace_file(bundle.path, COSTS, json.dumps(document).encode())
    with pytest.raises(ArtefactError, match="offload_costs"):
        read_forecasts(open_bundle(bundle.path))
