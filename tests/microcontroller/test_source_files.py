"""Source folders: the same bytes for the same bundle, and what cannot be written."""

from dataclasses import replace
from pathlib import Path

import pytest

from eetool.errors import ArtefactError, OutputError
from eetool.latency.probes.tflite_builder import TfliteBuilder
from eetool.microcontroller.arena_measurement import ArenaNeed
from eetool.microcontroller.cascade import DeviceCascade, read_cascade
from eetool.microcontroller.footprint import Footprint, footprint, graph_memory
from eetool.microcontroller.memory_plan import plan_memory
from eetool.microcontroller.source_files import operators, write_source
from eetool_runtime import open_bundle
from tests.helpers.int8_cascade import write_int8_cascade

pytest.importorskip("ai_edge_litert")


@pytest.fixture
def cascade(tmp_path: Path) -> DeviceCascade:
    return read_cascade(open_bundle(write_int8_cascade(tmp_path, skips=True)))


def memory(cascade: DeviceCascade) -> Footprint:
    graphs = [graph_memory(c.graph, c.file, ArenaNeed(512, 1024)) for c in cascade.components]
    return footprint(plan_memory(cascade), graphs, 400)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_write_source_same_bundle_same_bytes(cascade: DeviceCascade, tmp_path: Path) -> None:
    first = write_source(cascade, memory(cascade), "0" * 64, tmp_path / "a")
    write_source(cascade, memory(cascade), "0" * 64, tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert set(first.files) == set(contents(tmp_path / "a"))
    assert not any(b"$" in data for name, data in contents(tmp_path / "a").items() if name != "CMakeLists.txt")


def test_write_source_tells_the_memory_of_every_component(cascade: DeviceCascade, tmp_path: Path) -> None:
    own = memory(cascade)
    write_source(cascade, own, "0" * 64, tmp_path / "a")
    readme = (tmp_path / "a/README.md").read_text()
    for c, graph, waiting in zip(cascade.components, own.graphs, own.waiting_bytes, strict=True):
        row = f"| {c.name} | {len(c.graph)} | {graph.working_bytes + waiting} | {graph.persistent_bytes} |"
        assert row in readme.splitlines()


def test_write_source_replaces_only_its_own_folder(cascade: DeviceCascade, tmp_path: Path) -> None:
    folder = tmp_path / "firmware"
    folder.mkdir()
    (folder / "main.c").write_text("int main(void) { return 0; }")
    with pytest.raises(OutputError):
        write_source(cascade, memory(cascade), "0" * 64, folder, force=True)
    (folder / "main.c").rename(tmp_path / "main.c")
    write_source(cascade, memory(cascade), "0" * 64, folder, force=True)
    write_source(cascade, memory(cascade), "1" * 64, folder, force=True)
    assert b"1" * 64 in (folder / "eetool-source.json").read_bytes()


def test_write_source_of_another_prefix_names_everything_after_it(cascade: DeviceCascade, tmp_path: Path) -> None:
    write_source(cascade, memory(cascade), "0" * 64, tmp_path / "a", prefix="other")
    assert (tmp_path / "a/src/other.h").exists()
    assert not any(b"tiny_mcu" in data for data in contents(tmp_path / "a").values())


def test_write_source_points_with_one_name_in_c_are_refused(cascade: DeviceCascade, tmp_path: Path) -> None:
    twice = replace(cascade, points=(*cascade.points, replace(cascade.points[0], name="most.eager")))
    with pytest.raises(ArtefactError, match="same name in C"):
        write_source(twice, memory(cascade), "0" * 64, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_operators_that_tflm_lacks_are_named(cascade: DeviceCascade) -> None:
    assert operators(cascade) == ("ADD", "FULLY_CONNECTED")
    builder = TfliteBuilder()
    end = builder.tensor((1, 4))
    graph = builder.pack("x", end, builder.add("GELU", [end], (1, 4), "GeluOptions"))
    odd = replace(cascade, components=(replace(cascade.components[0], graph=graph),))
    with pytest.raises(ArtefactError, match="TFLM has no operator GELU"):
        operators(odd)
