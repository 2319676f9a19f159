"""Energy in a profile: measured by a meter, estimated from watts, or unknown."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner

from eetool.cli.app import cli
from eetool.errors import MissingError
from eetool.latency.estimate.energy import UNKNOWN, Energy
from eetool.profile import zeus_meters
from eetool.profile.profiler import mean_energy_mj, profile_bundle
from eetool.profile.protocol import METERS, MeasurementProtocol, PowerOptions
from eetool_measure.bundle_timing import measure_bundle
from eetool_measure.energy import estimate_energy
from eetool_measure.results import EnergyFigure, EnergyTimes
from eetool_runtime import open_bundle
from tests.helpers.tiny_bundle import VARIANT, write_tiny_bundle

ROOT = Path(__file__).parents[2]
QUICK = ["--threads", "1", "--runs", "10", "--min-seconds", "0"]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "trace.csv"
    path.write_text("time,power_w\n" + "".join(f"{n / 1000:.3f},{2 + n % 2 / 100}\n" for n in range(60_000)))
    return path


def test_profile_bundle_with_meter_measures_with_chosen_threads(bundle: Path, trace: Path) -> None:
    power = PowerOptions(f"replay:{trace}", window_s=0.02, scope="gross")
    found = profile_bundle(open_bundle(bundle), VARIANT, (1,), MeasurementProtocol(10, 0), power=power)
    assert found.energy is not None
    assert (found.energy.threads, found.energy.scope) == (found.threads, "board_gross")
    # On a machine that does other work the windows may scatter too much, and then no figure is given.
    resolved = None not in [at.value for at in found.energy.cascade]
    assert found.energy_mj.provenance == ("measured" if resolved else None)
    assert (found.energy_mj.value is not None) is resolved


def test_profile_command_watts_estimates_energy(bundle: Path) -> None:
    result = CliRunner().invoke(cli, ["profile", str(bundle), *QUICK, "--watts", "5", "--json"])
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    jsonschema.validate(document, json.loads((ROOT / "eetool/schemas/profile-1.schema.json").read_text()))
    assert document["energy_mj"]["provenance"] == "estimated"
    assert document["energy_mj"]["scope"] == "board_gross"
    full = document["thread_counts"][0]["full"]["median"]
    assert document["energy"]["full"] == {"value": pytest.approx(5 * full), "ci95": None}


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--power", "hwmon", "--watts", "5"], 2, "--power measures and --watts estimates"),
        (["--power", "shunt"], 2, "unknown power meter 'shunt'"),
        (["--power", "log:/nowhere.csv"], 5, "/nowhere.csv: cannot be read"),
        (["--watts", "0"], 2, "--watts"),
        (["--power-seconds", "nan"], 2, "--power-seconds"),
    ],
)
def test_profile_command_bad_power_option_is_refused(bundle: Path, options: list[str], code: int, said: str) -> None:
    result = CliRunner().invoke(cli, ["profile", str(bundle), *QUICK, *options])
    assert result.exit_code == code, result.stderr
    assert said in result.stderr


def test_profile_command_without_meter_prints_unknown_energy(bundle: Path) -> None:
    for options in ([], ["--power", "none"]):
        result = CliRunner().invoke(cli, ["profile", str(bundle), *QUICK, *options])
        assert "energy: not known" in result.stdout


@pytest.fixture
def five_watts(bundle: Path) -> EnergyTimes:
    return estimate_energy(measure_bundle(open_bundle(bundle), VARIANT, runs=1, min_seconds=0).times, 5.0)


def test_mean_energy_mj_weighs_exits_by_their_shares(five_watts: EnergyTimes) -> None:
    exits = tuple(EnergyFigure(mj, None) for mj in (1.0, 2.0, 4.0))
    energy = replace(five_watts, cascade=exits, full=EnergyFigure(3.5, None))
    assert mean_energy_mj(energy, (0.5, 0.25, 0.25)) == Energy(2.0, "estimated", "board_gross")
    assert mean_energy_mj(energy, None).value == 3.5


def test_mean_energy_mj_unknown_exit_is_unknown(five_watts: EnergyTimes) -> None:
    exits = (EnergyFigure(None, (-1.0, 1.0)), EnergyFigure(2.0, None), EnergyFigure(4.0, None))
    assert mean_energy_mj(replace(five_watts, cascade=exits), (0.5, 0.25, 0.25)) == UNKNOWN
    assert mean_energy_mj(None, (0.5, 0.25, 0.25)) == UNKNOWN


@pytest.mark.parametrize("name", sorted(METERS))
def test_zeus_meters_without_library_raise_missing_error_with_install_hint(name: str) -> None:
    if importlib.util.find_spec("zeus") is not None:
        pytest.skip("zeus is installed")
    with pytest.raises(MissingError, match="zeus") as missing:
        getattr(zeus_meters, METERS[name].rpartition(":")[2])()
    assert missing.value.hint == "pip install eetool[power]"
