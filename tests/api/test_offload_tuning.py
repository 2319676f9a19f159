"""A bundle that asks a server keeps one calibration of the device's exits, however it is tuned."""

from dataclasses import replace
from pathlib import Path

import pytest

from eetool.api.offload_tuning import keep_server
from eetool_runtime import open_bundle
from tests.helpers.tiny_bundle import VARIANT, with_offload, write_tiny_bundle


@pytest.mark.parametrize(("after", "kept"), [(None, 0), (0, 1), (1, 2)])
def test_keep_server_takes_the_new_calibration_of_the_devices_exits(
    tmp_path: Path, after: int | None, kept: int
) -> None:
    m = open_bundle(write_tiny_bundle(tmp_path, edit=lambda document: with_offload(document, after))).manifest
    tuned = replace(m, variants={VARIANT: replace(m.variants[VARIANT], temperatures=(2.0, 3.0, 4.0))})
    changed, warnings = keep_server(tuned, VARIANT)
    assert changed.offload is not None
    before = m.variants[VARIANT].temperatures
    assert changed.offload.variants[VARIANT].temperatures == ((2.0, 3.0, 4.0)[:kept] + before[kept:])
    assert warnings == (
        f"the points of {VARIANT} with a server keep their earlier thresholds: tune them with --link link.json",
    )


def test_keep_server_of_a_bundle_without_one_changes_nothing(tmp_path: Path) -> None:
    m = open_bundle(write_tiny_bundle(tmp_path)).manifest
    assert keep_server(m, VARIANT) == (m, ())
