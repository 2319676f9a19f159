"""Costs of a cascade on a device, for thresholds that minimise them."""

from pathlib import Path

import pytest

from eetool.errors import ArtefactError, MissingError
from eetool.export.temporary_bundle import temporary_bundle
from eetool.latency.estimate.prediction_target import open_target
from eetool.profile.profiler import Profile, profile_bundle
from eetool.profile.protocol import MeasurementProtocol
from eetool.tune.device_costs import measured_costs, predicted_costs
from eetool_runtime import open_bundle
from tests.helpers.onnx_graphs import model, save
from tests.helpers.tiny_bundle import write_tiny_bundle


@pytest.fixture(scope="module")
def measured(bundle: Path) -> Profile:
    return profile_bundle(open_bundle(bundle), "onnx/fp32", (1,), MeasurementProtocol(5, 0))


def test_measured_costs_of_checkpoint_equal_those_of_its_bundle(tuned: Path, bundle: Path, measured: Profile) -> None:
    opened = open_bundle(bundle)
    of_bundle = measured_costs(measured, Path("p.json"), opened)
    with open_target(tuned, temporary_bundle) as recorded:
        of_checkpoint = measured_costs(measured, Path("p.json"), recorded)  # type: ignore[arg-type]  # it is recorded
    assert of_checkpoint == of_bundle
    times = {c.name: c.latency_ms.median for c in measured.chosen.components}
    gate_ms = max(measured.chosen.cascade[-1].runtime_us_per_component.median, 0.0) / 1e3
    everything = sum(times.values()) + len(times) * gate_ms
    assert of_bundle.costs.leaving((0.0, 0.0))[-1] == pytest.approx(everything)
    assert of_bundle.costs.cache is None


def test_measured_costs_of_other_components_raises_artefact_error(tmp_path: Path, measured: Profile) -> None:
    with pytest.raises(ArtefactError, match="of other components"):
        measured_costs(measured, Path("p.json"), open_bundle(write_tiny_bundle(tmp_path)))


def test_measured_costs_without_energies_raises_missing_error(bundle: Path, measured: Profile) -> None:
    with pytest.raises(MissingError, match="no energy of every component"):
        measured_costs(measured, Path("p.json"), open_bundle(bundle), "energy_mj")


def test_predicted_costs_of_onnx_file_raises_artefact_error(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"neither a model\.pt nor a bundle"):
        predicted_costs(save(model(), tmp_path / "net.onnx"), "rpi4", temporary_bundle)


def test_predicted_costs_unknown_energy_raises_missing_error(tuned: Path) -> None:
    with pytest.raises(MissingError, match="nothing is known of the energy"):
        predicted_costs(tuned, "pixel3", temporary_bundle, unit="energy_mj")
