"""Building a table: selection of probes, resumption, and refusal of unstable times."""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from eetool.errors import ArtefactError, UnstableError
from eetool.latency.build import probe_selection
from eetool.latency.build.build_table import BuildPlan, build_profile
from eetool.latency.build.probe_measurement import NoProbeWrittenError, measure_probe_networks
from eetool.latency.build.profile_assembly import make_hw_profile, read_times
from eetool.latency.probes.probe_files import ProbeKind, write_probes
from eetool.latency.probes.probe_network import ProbeNetwork, parse_name, probe_networks
from eetool.latency.table.hw_profile import profile_document, read_profile
from eetool.progress import Advance
from eetool.records import canonical
from eetool_measure.machine_state import MachineState
from eetool_measure.probe_timing import ProbeTimes, measure_probes, read_probes
from tests.helpers.probe_times import probe, times

PLAN = BuildPlan(probes=15, runs=5)


class Bench:
    """A fake device whose times follow from the kernels."""

    def __init__(self, mad: float = 0.01, stop_after: int = 99) -> None:
        self.mad, self.left, self.asked = mad, stop_after, list[ProbeNetwork]()

    def __call__(
        self, chosen: Sequence[ProbeNetwork], kind: ProbeKind, threads: int, runs: int, advance: Advance
    ) -> ProbeTimes:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        self.asked += chosen
        return dataclasses.replace(times([probe(net, self.mad) for net in chosen]), threads=threads)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(probe_selection, "_BATCH", 5)
    return Bench()


def test_build_profile_writes_a_readable_profile(bench: Bench, tmp_path: Path) -> None:
    partial = tmp_path / "my.json.partial"
    result = build_profile("my-board", [1], PLAN, partial, bench)
    assert not partial.exists()
    assert len(bench.asked) == len(set(bench.asked)) == PLAN.probes
    path = tmp_path / "my.json"
    path.write_text(canonical({"schema": "hw_profile/1", **profile_document(result)}))
    assert read_profile(path) == result
    assert {entry.kind for entry in result.table} == {"measured"}
    assert "onnxruntime" in {composition.backend for composition in result.compositions}


def test_build_profile_last_networks_are_selected_by_uncertainty(bench: Bench, tmp_path: Path) -> None:
    build_profile("my-board", [1], PLAN, tmp_path / "p", bench)
    seeds = [net.seed for net in bench.asked]
    even = [net.seed for net, _ in zip(probe_networks(), range(10), strict=False)]
    assert seeds[:10] == even
    assert max(seeds) > PLAN.probes - 1  # some candidates were not selected


def test_build_profile_interrupted_resumes(bench: Bench, tmp_path: Path) -> None:
    partial = tmp_path / "my.json.partial"
    whole = build_profile("b", [1], PLAN, tmp_path / "other", bench)
    first, second = Bench(stop_after=2), Bench()
    with pytest.raises(KeyboardInterrupt):
        build_profile("b", [1], PLAN, partial, first)
    assert partial.exists()
    resumed = build_profile("b", [1], PLAN, partial, second, resume=True)
    assert first.asked + second.asked == bench.asked
    assert resumed.table == whole.table


def test_build_profile_two_thread_counts_have_own_entries(bench: Bench, tmp_path: Path) -> None:
    result = build_profile("b", [1, 2], BuildPlan(probes=6), tmp_path / "p", bench)
    assert {entry.threads for entry in result.table} == {1, 2}
    assert [composition.threads for composition in result.compositions] == [1, 2]


def test_build_profile_scattering_times_raises_unstable_error(tmp_path: Path) -> None:
    with pytest.raises(UnstableError, match="100% of the onnx/fp32 probes scattered") as refused:
        build_profile("b", [1], BuildPlan(probes=8), tmp_path / "p", Bench(mad=0.5))
    assert refused.value.exit_code == 7
    assert "--accept-unstable" in str(refused.value.hint)


def test_build_profile_throttled_device_raises_unstable_error(bench: Bench, tmp_path: Path) -> None:
    hot = MachineState("ondemand", 600.0, 85.0, True)

    def measured(
        chosen: Sequence[ProbeNetwork], kind: ProbeKind, threads: int, runs: int, advance: Advance
    ) -> ProbeTimes:
        return dataclasses.replace(bench(chosen, kind, threads, runs, advance), after=hot)

    with pytest.raises(UnstableError, match=r"throttled .* around 2 of 2 batches"):
        build_profile("b", [1], BuildPlan(probes=6), tmp_path / "p", measured)
    assert build_profile(
        "b", [1], BuildPlan(probes=6), tmp_path / "p", measured, accept_unstable=True, force=True
    ).table


def test_build_profile_foreign_partial_file_raises_artefact_error(tmp_path: Path) -> None:
    partial = tmp_path / "p"
    partial.write_text('{"a": 1}')
    with pytest.raises(ArtefactError, match="expected a list"):
        build_profile("b", [1], PLAN, partial, Bench(), resume=True)


def test_read_times_of_measured_probes_round_trips(tmp_path: Path) -> None:
    chosen = [ProbeNetwork("plain", 0), ProbeNetwork("tokens", 1)]
    write_probes(tmp_path / "probes", chosen)
    assert [parse_name(p.name) for p in read_probes(tmp_path / "probes").probes] == chosen
    document = measure_probes(tmp_path / "probes", runs=1)
    for timed in document.probes:
        assert timed.latency_ms.runs >= 1
        assert len(timed.kernels) >= 5
        assert all(kernel.mean_us > 0 for kernel in timed.kernels)
    path = tmp_path / "times.json"
    path.write_text(canonical(document))
    assert read_times(path) == document
    path.write_text(json.dumps({**json.loads(canonical(document)), "schema": "probe_times/9"}))
    with pytest.raises(ArtefactError, match="expected schema 'probe_times/1'"):
        read_times(path)


def test_make_hw_profile_source_names_command_and_unsteady_share() -> None:
    document = times([probe(ProbeNetwork("plain", 0))])
    title = make_hw_profile("b", [], document.machine, 0.25).sources[0].title
    assert "eetool table build" in title
    assert "unstable accepted: 25% of the probes scattered" in title


def test_build_profile_unwritable_batch_is_skipped(bench: Bench, tmp_path: Path) -> None:
    refused: list[ProbeNetwork] = []

    def measured(
        chosen: Sequence[ProbeNetwork], kind: ProbeKind, threads: int, runs: int, advance: Advance
    ) -> ProbeTimes:
        if not refused:
            refused.extend(chosen)
            raise NoProbeWrittenError("none")
        return bench(chosen, kind, threads, runs, advance)

    build_profile("my-board", [1], PLAN, tmp_path / "p", measure=measured)
    assert len(bench.asked) == PLAN.probes
    assert refused
    assert not set(refused) & set(bench.asked)

    def never(chosen: Sequence[ProbeNetwork], kind: ProbeKind, threads: int, runs: int, advance: Advance) -> ProbeTimes:
        raise NoProbeWrittenError("none of them could be written")

    with pytest.raises(NoProbeWrittenError, match="could be written"):
        build_profile("my-board", [1], PLAN, tmp_path / "q", measure=never)


def test_measure_probe_networks_scattering_network_is_measured_twice() -> None:
    network, steps = ProbeNetwork("plain", 0), [0.5, 0.01]
    folders: list[Path] = []

    def run(
        kind: type[ProbeTimes], folder: Path, options: dict[str, object], *, advance: Advance | None = None
    ) -> ProbeTimes:
        folders.append(folder)
        assert (advance is not None) == (len(folders) == 1), "the second measurement is no progress"
        assert [p.name for p in read_probes(folder).probes] == [network.name]
        assert options == {"--threads": 2, "--runs": 7, "--min-seconds": 0}
        return times([probe(network, steps[len(folders) - 1])])

    measured = measure_probe_networks([network], ProbeKind(), 2, 7, lambda steps: None, run)
    assert len(folders) == 2
    assert not any(folder.exists() for folder in folders)
    latency = measured.probes[0].latency_ms
    assert latency.mad == pytest.approx(0.01 * latency.median)


class Bar:
    """Counts the steps of a bar, and keeps each of them."""

    def __init__(self) -> None:
        self.total, self.steps = 0, list[int]()

    @contextmanager
    def __call__(self, what: str, total: int) -> Iterator[Advance]:
        self.total = total
        yield self.steps.append

    def note(self, line: str) -> None:
        raise AssertionError(line)


@pytest.mark.usefixtures("bench")
@pytest.mark.parametrize("groups", [(), (2, 2), (2, 2, 1)])
def test_build_profile_bar_moves_by_groups_and_ends_at_its_total(tmp_path: Path, groups: tuple[int, ...]) -> None:
    fake, bar = Bench(), Bar()

    def measured(
        chosen: Sequence[ProbeNetwork], kind: ProbeKind, threads: int, runs: int, advance: Advance
    ) -> ProbeTimes:
        for count in groups:
            advance(count)
        return fake(chosen, kind, threads, runs, advance)

    build_profile("my-board", [1], PLAN, tmp_path / "p", measured, bar)
    assert sum(bar.steps) == bar.total == PLAN.probes
    assert bar.steps.count(2) == groups.count(2) * 3
