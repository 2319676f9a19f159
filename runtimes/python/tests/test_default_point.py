"""A warning where the default operating point costs as much as the network without early exits."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest

import eetool_runtime
from eetool_runtime import open_bundle
from eetool_runtime.default_point import default_point_warning
from eetool_runtime.manifest import Manifest
from tests.helpers.tiny_bundle import VARIANT


@pytest.fixture
def manifest(tiny_bundle: Path) -> Manifest:
    return open_bundle(tiny_bundle).manifest


def with_default(manifest: Manifest, name: str, **expected: object) -> Manifest:
    """The manifest with another default point and changed expected figures."""
    variant = manifest.variants[VARIANT]
    point = variant.operating_points[name]
    assert point.expected is not None
    points = {**variant.operating_points, name: replace(point, expected=replace(point.expected, **expected))}
    variants = {VARIANT: replace(variant, operating_points=points)}
    return replace(manifest, variants=variants, default_operating_point=name, unsplit_macs=1000)


def test_default_point_warning_compares_expected_macs_with_the_unsplit_network(manifest: Manifest) -> None:
    assert default_point_warning(with_default(manifest, "fast", mean_macs=999.0), VARIANT) is None
    text = default_point_warning(with_default(manifest, "fast", mean_macs=1000.0), VARIANT)
    assert text is not None
    assert "'fast' does not pay" in text


def test_default_point_warning_measured_latencies_come_before_macs(manifest: Manifest) -> None:
    cheap = with_default(manifest, "fast", mean_macs=1.0, exit_shares=(0.5, 0.0, 0.5))
    kinds = {c.name: c.kind for c in manifest.components}
    dear_exits = {name: 1.0 if kind == "segment" else 10.0 for name, kind in kinds.items()}
    text = default_point_warning(cheap, VARIANT, dear_exits)
    assert text is not None
    assert "ms of components measured on this machine" in text
    free_exits = {name: 1.0 if kind == "segment" else 0.0 for name, kind in kinds.items()}
    assert default_point_warning(cheap, VARIANT, free_exits) is None
    some = dict(list(dear_exits.items())[:1])
    assert default_point_warning(cheap, VARIANT, some) is None, "of part of the components nothing follows"


def test_load_default_point_that_does_not_pay_warns_once(
    caplog: pytest.LogCaptureFixture, tiny_bundle: Path, manifest: Manifest
) -> None:
    bundle = replace(open_bundle(tiny_bundle), manifest=with_default(manifest, "full", mean_macs=1000.0))
    with caplog.at_level(logging.WARNING, "eetool_runtime"):
        model = eetool_runtime.load(bundle)
        model.use("full")
        eetool_runtime.load(tiny_bundle)
    assert [record.getMessage().count("'full' does not pay") for record in caplog.records] == [1]
