"""C++ source of a cascade, compiled: the same answers as LiteRT and numpy give, no heap, no warnings."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from eetool.microcontroller.arena_measurement import ArenaNeed
from eetool.microcontroller.cascade import DeviceCascade, read_cascade
from eetool.microcontroller.footprint import footprint, graph_memory
from eetool.microcontroller.memory_plan import aligned, plan_memory
from eetool.microcontroller.source_files import write_source
from eetool_runtime import open_bundle
from tests.helpers.device_code import SHIM, DeviceCode, compile_objects, expected_answer, missing_compiler, run
from tests.helpers.int8_cascade import SIZES, write_int8_cascade

pytest.importorskip("ai_edge_litert")
pytestmark = pytest.mark.skipif(missing_compiler() is not None, reason=str(missing_compiler()))

FULL, BALANCED, EAGER = range(3)
NEED = ArenaNeed(256, 1024)  # of the stand-in
INSIDE = 64  # bytes that its graphs need beside their ends
NO_HEAP = {"memmove", "expf", "floorf", "fmaxf", "fminf", "memcpy", "memset", "_GLOBAL_OFFSET_TABLE_"}


def prepared(folder: Path, skips: bool, joined: bool = False) -> tuple[DeviceCascade, Path]:
    cascade = read_cascade(open_bundle(write_int8_cascade(folder, skips, joined=joined)))
    memory = footprint(plan_memory(cascade), [graph_memory(c.graph, c.file, NEED) for c in cascade.components], 256)
    write_source(cascade, memory, "0" * 64, folder / "source")
    return cascade, folder / "source"


def planned_bytes(cascade: DeviceCascade) -> list[int]:
    """Return the memory in which the stand-in plans the tensors of every component."""
    return [sum(aligned(p.size_bytes) for p in (*c.reads, *c.writes)) + INSIDE for c in cascade.components]


@pytest.fixture(scope="module", params=["chain", "skips", "joined"])
def compiled(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[DeviceCascade, DeviceCode]:
    folder = tmp_path_factory.mktemp("device")
    cascade, source = prepared(folder, request.param == "skips", request.param == "joined")
    code = DeviceCode(source, "tiny_mcu", cascade, folder)
    assert code.init() == 0
    return cascade, code


@pytest.mark.parametrize("point", [FULL, BALANCED, EAGER])
def test_device_code_answers_as_litert(compiled: tuple[DeviceCascade, DeviceCode], point: int) -> None:
    cascade, code = compiled
    assert code.select(point) == 0
    inputs = np.random.default_rng(0).normal(0, 2, (60, SIZES["input"])).astype(np.float32)
    answers = [code.answer(x) for x in inputs]
    expected = [expected_answer(cascade, point, x) for x in inputs]
    assert [(a.label, a.exit) for a in answers] == [(a.label, a.exit) for a in expected]
    np.testing.assert_allclose([a.confidence for a in answers], [a.confidence for a in expected], rtol=1e-5)
    exits = {a.exit for a in answers}
    assert exits == ({1} if point == FULL else {0, 1})


def test_device_code_skips_exits_whose_gate_cannot_fire(compiled: tuple[DeviceCascade, DeviceCode]) -> None:
    cascade, code = compiled
    code.select(FULL)
    code.answer(np.zeros(SIZES["input"], np.float32))
    assert code.ran == ["seg0", "seg1", "exit1"]
    code.select(EAGER)
    code.answer(np.full(SIZES["input"], 6, np.float32))
    assert code.ran[: len(cascade.components) - 2] == [c.name for c in cascade.components[:-2]]


def test_device_code_quantises_as_the_runtime(compiled: tuple[DeviceCascade, DeviceCode]) -> None:
    from eetool_runtime.tflite_signature import Quantization

    cascade, code = compiled
    own = Quantization(cascade.inputs[0].scale, cascade.inputs[0].zero_point)
    values = np.concatenate([np.arange(-10, 10, 0.025), [1e30, -1e30, np.inf]]).astype(np.float32)
    np.testing.assert_array_equal(code.quantize(values), own.quantize(values))


def test_device_code_tells_used_memory(compiled: tuple[DeviceCascade, DeviceCode]) -> None:
    cascade, code = compiled
    working, persistent = code.used()
    plan = plan_memory(cascade)
    own = planned_bytes(cascade)
    assert working == max(size + waiting for size, waiting in zip(own, plan.waiting_bytes, strict=True))
    count = len(cascade.components)
    assert count * 512 <= persistent <= count * NEED.persistent_bytes


def test_device_code_unknown_point_keeps_the_old_one(compiled: tuple[DeviceCascade, DeviceCode]) -> None:
    _, code = compiled
    assert code.select(FULL) == 0
    assert code.select(3) != 0
    assert code.answer(np.zeros(SIZES["input"], np.float32)).exit == 1


@pytest.mark.parametrize("flag", ["-DTINY_MCU_WORKING_BYTES=64", "-DTINY_MCU_PERSISTENT_BYTES=1024"])
def test_device_code_small_arena_is_an_error(tmp_path: Path, flag: str) -> None:
    cascade, source = prepared(tmp_path, False)
    code = DeviceCode(source, "tiny_mcu", cascade, tmp_path, [flag])
    assert code.init() == 1  # TINY_MCU_ERROR_MEMORY
    assert code.select(FULL) != 0


def test_device_code_tensor_that_waits_beside_a_component_needs_room(tmp_path: Path) -> None:
    cascade, source = prepared(tmp_path, True)
    waiting = plan_memory(cascade).waiting_bytes
    least = max(own + beside for own, beside in zip(planned_bytes(cascade), waiting, strict=True))
    assert max(planned_bytes(cascade)) < least  # every component alone would fit into less
    for working, status in ((least, 0), (least - 16, 1)):
        folder = tmp_path / str(working)
        folder.mkdir()
        code = DeviceCode(source, "tiny_mcu", cascade, folder, [f"-DTINY_MCU_WORKING_BYTES={working}"])
        assert code.init() == status


def test_device_code_uses_no_heap(tmp_path: Path) -> None:
    _, source = prepared(tmp_path, True)
    objects = compile_objects(source, tmp_path)
    symbols = run("nm", "--undefined-only", "--format=posix", *map(str, objects)).splitlines()
    undefined = {line.split()[0] for line in symbols if line.endswith((" U", " U  ")) or " U" in line}
    assert {name for name in undefined if "tiny_mcu" not in name and name != "tflm_shim"} <= NO_HEAP


def test_header_is_plain_c(tmp_path: Path) -> None:
    _, source = prepared(tmp_path, False)
    (tmp_path / "main.c").write_text(
        '#include "tiny_mcu.h"\nint main(void) { return tiny_mcu_init() == TINY_MCU_OK ? TINY_MCU_FULL : 1; }\n'
    )
    flags = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only")
    run("gcc", *flags, "-I", str(source / "src"), str(tmp_path / "main.c"))


@pytest.mark.skipif(shutil.which("cmake") is None, reason="no cmake")
def test_cmake_builds_the_library(tmp_path: Path) -> None:
    _, source = prepared(tmp_path, False)
    build = tmp_path / "build"
    run("cmake", "-S", str(source), "-B", str(build), f"-DTFLM_ROOT={SHIM}", "-DTFLM_LIBRARY=none")
    run("cmake", "--build", str(build))
    assert (build / "libtiny_mcu.a").exists()


def test_library_files_name_the_header(tmp_path: Path) -> None:
    _, source = prepared(tmp_path, False)
    properties = (source / "library.properties").read_text().splitlines()
    assert {"name=tiny_mcu", "includes=tiny_mcu.h"} <= set(properties)
    assert json.loads((source / "library.json").read_text())["name"] == "tiny_mcu"
    assert "tiny_mcu_init() != TINY_MCU_OK" in (source / "examples/classify/classify.ino").read_text()


def test_gate_loop_has_under_120_lines(tmp_path: Path) -> None:
    _, source = prepared(tmp_path, True)
    assert len((source / "src/tiny_mcu.cc").read_text().splitlines()) < 120
