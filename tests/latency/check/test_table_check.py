"""Check of a table: reference probes measured again, factors, and their application."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from eetool.api import checked_device
from eetool.errors import ArtefactError
from eetool.latency.build.profile_assembly import assemble_table, make_hw_profile
from eetool.latency.check.correction import check_remarks, correct_profile
from eetool.latency.check.table_check import check_table, reference_conditions
from eetool.latency.estimate.predictor import Predictor
from eetool.latency.kernels.speed_class import SPEED_CLASSES, speed_class
from eetool.latency.probes.probe_files import ProbeKind, kernels_of_probe
from eetool.latency.probes.probe_network import ProbeNetwork, parse_name
from eetool.latency.table.hw_profile import HwProfile, profile_document, read_profile
from eetool.progress import Advance
from eetool.records import canonical
from eetool_measure.probe_timing import ProbeTimes, read_probes
from tests.helpers.probe_times import DISPATCH_US, probe, times, true_us

FAMILIES = ("plain", "residual", "inverted", "dense", "wide", "tokens", "separable", "grouped")
NETWORKS = [ProbeNetwork(family, seed) for seed in range(2) for family in FAMILIES]
HOST = ("onnxruntime", "fp32", 1)


class Device:
    """A fake device that is slower than at building: by one factor, or by one for each speed class."""

    def __init__(self, factors: dict[str, float] | float = 1.0, mad: float = 0.01) -> None:
        self.factors = factors if isinstance(factors, dict) else dict.fromkeys(SPEED_CLASSES, factors)
        self.mad, self.runs = mad, 0
        self.machine = times([]).machine
        self.processor_share = 0.98

    def __call__(
        self, kind: type[ProbeTimes], path: Path, options: dict[str, object], *, advance: Advance | None = None
    ) -> ProbeTimes:
        self.runs += 1
        assert options["--times"] == "whole"
        names = [p.name for p in read_probes(path).probes]
        document = times([self._probe(name) for name in names])
        return replace(document, machine=self.machine, processor_share=self.processor_share)

    def _probe(self, name: str):  # type: ignore[no-untyped-def]
        net = parse_name(name)
        assert net is not None
        kernels = kernels_of_probe(net, ProbeKind(), 8)
        us = DISPATCH_US * self.factors["calls"] + sum(self.factors[speed_class(k)] * true_us(k) for k in kernels)
        plain = probe(net, self.mad)
        ms = us / 1e3
        return replace(plain, latency_ms=replace(plain.latency_ms, median=ms, mad=self.mad * ms))


@pytest.fixture(scope="module")
def profile() -> HwProfile:
    document = times([probe(net) for net in NETWORKS])
    return make_hw_profile("here", [assemble_table([document])], document.machine)


def test_references_cover_all_classes_and_survive_the_file(profile: HwProfile, tmp_path: Path) -> None:
    (references,) = profile.references
    assert reference_conditions(profile) == [HOST]
    assert 9 <= len(references.probes) <= 21
    largest = {max(p.shares, key=lambda name: p.shares[name]) for p in references.probes}
    assert {"compute", "memory"} <= largest
    assert max(p.shares["calls"] for p in references.probes) > 0.1
    assert len({p.name for p in references.probes}) == len(references.probes)
    path = tmp_path / "here.json"
    path.write_text(canonical({"schema": "hw_profile/1", **profile_document(profile)}))
    assert bool(read_profile(path) == profile)  # without a difference of a thousand lines


def test_check_of_unchanged_device_applies_nothing(profile: HwProfile) -> None:
    check = check_table(profile, [HOST], Device())
    (part,) = check.conditions
    assert not any(factor.applied for factor in part.factors)
    assert check_remarks(check) == ()
    assert bool(correct_profile(profile, check) == profile)


@pytest.mark.parametrize("factor", [0.8, 1.3])
def test_check_of_changed_device_corrects_predictions(profile: HwProfile, factor: float) -> None:
    check = check_table(profile, [HOST], Device(factor))
    corrected = correct_profile(profile, check)
    net = kernels_of_probe(ProbeNetwork("mixed", 77), ProbeKind(), 8)
    before, now = (Predictor(p, *HOST).graph("net", net).latency_ms for p in (profile, corrected))
    assert now / before == pytest.approx(factor, abs=0.03)
    assert any("applied" in remark and f"{factor - 1:+.0%}" in remark for remark in check_remarks(check))
    assert corrected.references == profile.references


def test_check_of_slower_memory_leaves_what_computes(profile: HwProfile) -> None:
    check = check_table(profile, [HOST], Device({"compute": 1.0, "memory": 1.5, "calls": 1.0}))
    factors = {f.kernels: f for f in check.conditions[0].factors}
    assert factors["memory"].applied
    assert factors["memory"].factor == pytest.approx(1.5, abs=0.1)
    assert not factors["compute"].applied


def test_check_under_load_is_rejected_and_widens_intervals(profile: HwProfile) -> None:
    check = check_table(profile, [HOST], Device(1.4, mad=0.2))
    assert "of the reference probes scattered" in check.reasons[0]
    assert not any(factor.applied for factor in check.conditions[0].factors)
    corrected = correct_profile(profile, check)
    net = kernels_of_probe(ProbeNetwork("mixed", 77), ProbeKind(), 8)
    before, now = (Predictor(p, *HOST).graph("net", net) for p in (profile, corrected))
    assert now.latency_ms == before.latency_ms
    assert now.interval_ms[0] < before.interval_ms[0]
    assert now.interval_ms[1] > before.interval_ms[1]
    assert corrected.compositions[0].speed_error == pytest.approx(0.4, abs=0.1)
    accepted = check_table(profile, [HOST], Device(1.4, mad=0.2), accept_unstable=True)
    assert any(factor.applied for factor in accepted.conditions[0].factors)


def test_check_beside_other_programs_is_rejected(profile: HwProfile) -> None:
    device = Device()
    device.processor_share = 0.6
    check = check_table(profile, [HOST], device)
    assert check.reasons == ("other programs took 40% of the processor",)


def test_check_of_another_machine_is_refused(profile: HwProfile) -> None:
    device = Device()
    device.machine = replace(device.machine, cpu="another processor", board=None)
    with pytest.raises(ArtefactError, match="this is another processor"):
        check_table(profile, [HOST], device)


def test_check_of_other_drawings_is_refused(profile: HwProfile) -> None:
    (references,) = profile.references
    changed = replace(references.probes[0], fingerprint="0" * 16)
    old = replace(profile, references=(replace(references, probes=(changed, *references.probes[1:])),))
    with pytest.raises(ArtefactError, match="another network in this version"):
        check_table(old, [HOST], Device())


def test_check_of_table_without_references_is_refused(profile: HwProfile) -> None:
    with pytest.raises(ArtefactError, match="holds no reference probes"):
        check_table(replace(profile, references=()), [HOST], Device())


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Device], None]:
    monkeypatch.setenv("EETOOL_CACHE", str(tmp_path))

    def use(device: Device) -> None:
        monkeypatch.setattr("eetool.profile.local_runner.run_measure", device)

    return use


def test_at_present_speed_measures_once_in_ten_minutes(
    profile: HwProfile, measure: Callable[[Device], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device(1.3)
    measure(device)
    first = checked_device.at_present_speed("here.json", profile, HOST)
    assert bool(checked_device.at_present_speed("here.json", profile, HOST) == first)
    assert (device.runs, len(first[1])) == (1, 1)
    monkeypatch.setattr(checked_device, "VALID_SECONDS", -1.0)
    checked_device.at_present_speed("here.json", profile, HOST)
    assert device.runs == 2


def test_at_present_speed_rejected_check_is_not_kept(profile: HwProfile, measure: Callable[[Device], None]) -> None:
    device = Device(1.3, mad=0.2)
    measure(device)
    for _ in range(2):
        checked_device.at_present_speed("here.json", profile, HOST)
    assert device.runs == 2


def test_at_present_speed_interrupted_leaves_nothing(
    profile: HwProfile, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupted(*arguments: object, **named: object) -> ProbeTimes:
        raise KeyboardInterrupt

    monkeypatch.setenv("EETOOL_CACHE", str(tmp_path))
    monkeypatch.setattr("eetool.profile.local_runner.run_measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        checked_device.at_present_speed("here.json", profile, HOST)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["rpi5", "elsewhere.json", "old.json"])
def test_at_present_speed_other_devices_are_not_measured(
    profile: HwProfile, measure: Callable[[Device], None], name: str
) -> None:
    """Not those that come with eetool, those of other machines, and those without reference probes."""
    device = Device()
    measure(device)
    other = {
        "rpi5": profile,
        "elsewhere.json": replace(profile, facts=replace(profile.facts, cpu="x", soc="x")),
        "old.json": replace(profile, references=()),
    }[name]
    assert bool(checked_device.at_present_speed(name, other, HOST) == (other, ()))
    assert device.runs == 0
