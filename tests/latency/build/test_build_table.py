"""Building a table: even, then where it errs, interrupted and resumed, refused where times scatter."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from test_assemble import probe, times

from eetool.errors import ArtefactError, UnstableError
from eetool.latency.build import build_table
from eetool.latency.build.build_table import BuildPlan, NoProbeWrittenError, build_profile, make_hw_profile, read_times
from eetool.latency.probes.probe_files import ProbeKind, write_probes
from eetool.latency.probes.probe_network import ProbeNetwork, parse_name, probe_networks
from eetool.latency.table.hw_profile import profile_document, read_profile
from eetool.records import canonical
from eetool_measure.machine_state import MachineState
from eetool_measure.probe_timing import ProbeTimes, measure_probes, read_probes

PLAN = BuildPlan(probes=15, runs=5)


class Bench:
    """In the place of a device: times that follow from the kernels."""

    def __init__(self, mad: float = 0.01, stop_after: int = 99) -> None:
        self.mad, self.left, self.asked = mad, stop_after, list[ProbeNetwork]()

    def __call__(self, chosen: Sequence[ProbeNetwork], kind: ProbeKind, threads: int, runs: int) -> ProbeTimes:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        self.asked += chosen
        return dataclasses.replace(times([probe(net, self.mad) for net in chosen]), threads=threads)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench()
    monkeypatch.setattr(build_table, "measure_nets", made)
    monkeypatch.setattr(build_table, "_BATCH", 5)
    return made


def test_a_profile_is_built_and_can_be_read_again(bench: Bench, tmp_path: Path) -> None:
    partial = tmp_path / "my.json.partial"
    made = build_profile("my-board", [1], PLAN, partial)
    assert not partial.exists()
    assert len(bench.asked) == len(set(bench.asked)) == PLAN.probes
    path = tmp_path / "my.json"
    path.write_text(canonical({"schema": "hw_profile/1", **profile_document(made)}))
    assert read_profile(path) == made
    assert {entry.kind for entry in made.table} == {"measured"}
    assert "onnxruntime" in {composition.backend for composition in made.compositions}


def test_the_last_networks_are_those_of_which_the_table_is_unsure(bench: Bench, tmp_path: Path) -> None:
    build_profile("my-board", [1], PLAN, tmp_path / "p")
    seeds = [net.seed for net in bench.asked]
    even = [net.seed for net, _ in zip(probe_networks(), range(10), strict=False)]
    assert seeds[:10] == even
    assert max(seeds) > PLAN.probes - 1  # some were looked at and not chosen


def test_an_interrupted_build_goes_on(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    partial = tmp_path / "my.json.partial"
    whole = build_profile("b", [1], PLAN, tmp_path / "other")
    first, second = Bench(stop_after=2), Bench()
    monkeypatch.setattr(build_table, "measure_nets", first)
    with pytest.raises(KeyboardInterrupt):
        build_profile("b", [1], PLAN, partial)
    assert partial.exists()
    monkeypatch.setattr(build_table, "measure_nets", second)
    resumed = build_profile("b", [1], PLAN, partial, resume=True)
    assert first.asked + second.asked == bench.asked
    assert resumed.table == whole.table


def test_every_thread_count_has_its_own_entries(bench: Bench, tmp_path: Path) -> None:
    made = build_profile("b", [1, 2], BuildPlan(probes=6), tmp_path / "p")
    assert {entry.threads for entry in made.table} == {1, 2}
    assert [composition.threads for composition in made.compositions] == [1, 2]


def test_times_that_scatter_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_table, "measure_nets", Bench(mad=0.5))
    with pytest.raises(UnstableError, match="100% of the onnx/fp32 probes scattered") as refused:
        build_profile("b", [1], BuildPlan(probes=8), tmp_path / "p")
    assert refused.value.exit_code == 7
    assert "--accept-unstable" in str(refused.value.hint)


def test_a_throttled_device_is_refused(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hot = MachineState("ondemand", 600.0, 85.0, True)

    def measured(chosen: Sequence[ProbeNetwork], kind: ProbeKind, threads: int, runs: int) -> ProbeTimes:
        return dataclasses.replace(bench(chosen, kind, threads, runs), after=hot)

    monkeypatch.setattr(build_table, "measure_nets", measured)
    with pytest.raises(UnstableError, match=r"slowed down .* around 2 of 2 batches"):
        build_profile("b", [1], BuildPlan(probes=6), tmp_path / "p")
    assert build_profile("b", [1], BuildPlan(probes=6), tmp_path / "p", accept_unstable=True, force=True).table


def test_a_partial_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    partial = tmp_path / "p"
    partial.write_text('{"a": 1}')
    with pytest.raises(ArtefactError, match="expected a list"):
        build_profile("b", [1], PLAN, partial, resume=True)


def test_probes_are_measured_by_the_runtime_alone(tmp_path: Path) -> None:
    chosen = [ProbeNetwork("plain", 0), ProbeNetwork("tokens", 1)]
    write_probes(tmp_path / "probes", chosen)
    assert [parse_name(p.name) for p in read_probes(tmp_path / "probes").probes] == chosen
    found = measure_probes(tmp_path / "probes", runs=1)
    for timed in found.probes:
        assert timed.latency_ms.runs >= 1
        assert len(timed.kernels) >= 5
        assert all(kernel.mean_us > 0 for kernel in timed.kernels)
    path = tmp_path / "times.json"
    path.write_text(canonical(found))
    assert read_times(path) == found
    path.write_text(json.dumps({**json.loads(canonical(found)), "schema": "probe_times/9"}))
    with pytest.raises(ArtefactError, match="expected schema 'probe_times/1'"):
        read_times(path)


def test_the_same_network_has_the_same_bytes(tmp_path: Path) -> None:
    one, two = (net.model().SerializeToString(deterministic=True) for net in (ProbeNetwork("mixed", 3),) * 2)
    assert one == two


def test_a_profile_says_where_it_was_measured() -> None:
    made = times([probe(ProbeNetwork("plain", 0))])
    said = make_hw_profile("b", [], made.machine, 0.25).sources[0].title
    assert "eetool profile --build-table" in said
    assert "unstable accepted: 25% of the probes scattered" in said


def test_a_batch_of_which_nothing_can_be_written_is_passed_over(bench: Bench, tmp_path: Path) -> None:
    refused: list[ProbeNetwork] = []

    def measured(chosen: Sequence[ProbeNetwork], kind: ProbeKind, threads: int, runs: int) -> ProbeTimes:
        if not refused:
            refused.extend(chosen)
            raise NoProbeWrittenError("none")
        return bench(chosen, kind, threads, runs)

    build_profile("my-board", [1], PLAN, tmp_path / "p", measure=measured)
    assert len(bench.asked) == PLAN.probes
    assert refused
    assert not set(refused) & set(bench.asked)

    def never(chosen: Sequence[ProbeNetwork], kind: ProbeKind, threads: int, runs: int) -> ProbeTimes:
        raise NoProbeWrittenError("none of them could be written")

    with pytest.raises(NoProbeWrittenError, match="could be written"):
        build_profile("my-board", [1], PLAN, tmp_path / "q", measure=never)
