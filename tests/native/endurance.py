"""The long checks of the native runtime: sanitizers, valgrind, fuzzers, 2,000 models and 1,000,000 calls.

    make test-native-long           or    python -m tests.native.endurance [--fuzz-seconds 600]

It builds the library with clang under the address, undefined-behaviour and thread sanitizers, and runs the tests in C++
with each; runs them and a bundle of ONNX Runtime under valgrind; opens and closes models; and fuzzes manifests and
whole bundles from the corpus in the tree. It prints one JSON document. The exit code is 4 if a check fails, 5 if a tool
is missing. The builds are kept in build/native-long.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.helpers.native_build import BUILD, SOURCE, build, onnxruntime_library
from tests.helpers.tiny_bundle import write_tiny_bundle

TOOLS = ("cmake", "clang++", "ctest", "valgrind")
FOLDER = BUILD.with_name("native-long")
ADDRESS, THREAD = "address,undefined", "thread"
FUZZERS = ("fuzz_manifest", "fuzz_bundle")
MAX_INPUT_BYTES = 7000


def main() -> int:
    """Run every check and print the document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--fuzz-seconds", type=int, default=600, help="of the fuzzer of bundles; a tenth of manifests")
    parser.add_argument("--models", type=int, default=2_000)
    parser.add_argument("--calls", type=int, default=1_000_000)
    options = parser.parse_args()
    absent = [tool for tool in TOOLS if find(tool) is None]
    if absent:
        sys.stderr.write(f"test-native-long cannot run: {', '.join(absent)} not found\n")
        return 5
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = write_tiny_bundle(folder)
        checks = {
            "endurance": endurance(bundle, options.models, options.calls),
            "valgrind": valgrind(bundle),
            ADDRESS: sanitized(ADDRESS, "-DEETOOL_BUILD_FUZZER=ON"),
            THREAD: sanitized(THREAD),
        }
        for fuzzer, seconds in zip(FUZZERS, (options.fuzz_seconds // 10, options.fuzz_seconds), strict=True):
            checks[fuzzer] = fuzz(fuzzer, seconds, folder)
    ok = all(check["ok"] for check in checks.values())
    sys.stdout.write(json.dumps({"schema": "native-endurance/1", "ok": ok, "checks": checks}, indent=2) + "\n")
    return 0 if ok else 4


def find(tool: str) -> str | None:
    """Return the path of a tool; Debian 12 calls its clang `clang++-14`."""
    return shutil.which(tool) or shutil.which(f"{tool}-14")


def run(*words: object, **variables: str) -> tuple[int, str]:
    """Run a command; return its exit code and all its output."""
    environment = {**os.environ, "EETOOL_ONNXRUNTIME": str(onnxruntime_library()), **variables}
    command = [str(word) for word in words]
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return done.returncode, done.stdout


def result(code: int, output: str, **facts: Any) -> dict[str, Any]:
    """Return the entry of a check; a failed one has the end of its output, on stderr all of it."""
    if code != 0:
        sys.stderr.write(output)
    return {"ok": code == 0, **facts, **({} if code == 0 else {"output": output[-2000:]})}


def endurance(bundle: Path, models: int, calls: int) -> dict[str, Any]:
    """Open and close models and make calls with ONNX Runtime, whose memory must not grow."""
    code, output = run(build("endurance") / "endurance", bundle, models, calls)
    return result(code, output, **(json.loads(output) if code in (0, 2) else {}))


def valgrind(bundle: Path) -> dict[str, Any]:
    """Run the tests in C++, and some models and calls of ONNX Runtime, under valgrind.

    What onnxruntime itself keeps until the end is not reported: only blocks that nothing points to are leaks.
    """
    place = build("all")
    words = ["valgrind", "--quiet", "--error-exitcode=9", "--leak-check=full", "--errors-for-leak-kinds=definite"]
    words.append(f"--suppressions={SOURCE / 'tests/valgrind.supp'}")
    for command in ((place / "eetool_tests",), (place / "testing_tests",), (place / "endurance", bundle, 6, 300)):
        code, output = run(*words, *command)
        if code not in (0, 2):  # under valgrind, memory grows
            return result(code, output)
    return result(0, "")


def sanitized(sanitizer: str, *options: str) -> dict[str, Any]:
    """Build with a sanitizer and run the tests in C++."""
    place = folder_of(sanitizer)
    wanted = [f"-DEETOOL_SANITIZE={sanitizer}", "-DEETOOL_BUILD_TESTS=ON", "-DCMAKE_BUILD_TYPE=RelWithDebInfo"]
    compiler = f"-DCMAKE_CXX_COMPILER={find('clang++')}", f"-DCMAKE_C_COMPILER={find('clang')}"
    for command in (
        ("cmake", "-S", SOURCE, "-B", place, *wanted, *options, *compiler),
        ("cmake", "--build", place),
        ("ctest", "--test-dir", place, "--output-on-failure"),
    ):
        code, output = run(*command)
        if code != 0:
            return result(code, output)
    return result(0, "")


def folder_of(sanitizer: str) -> Path:
    """Return the build folder; a comma in its name would end an option of the linker."""
    return FOLDER / sanitizer.replace(",", "-")


def fuzz(fuzzer: str, seconds: int, folder: Path) -> dict[str, Any]:
    """Fuzz from the corpus in the tree; what is found new stays out of it."""
    program = folder_of(ADDRESS) / fuzzer
    if not program.exists():
        return {"ok": False, "output": "it was not built"}
    corpus = Path(shutil.copytree(SOURCE / "tests/corpus" / fuzzer, folder / fuzzer))
    limits = (f"-max_total_time={seconds}", f"-max_len={MAX_INPUT_BYTES}", "-timeout=60", "-rss_limit_mb=2000")
    code, output = run(program, *limits, f"-artifact_prefix={FOLDER}/", "-print_final_stats=1", corpus)
    runs = [line.split()[-1] for line in output.splitlines() if "number_of_executed_units" in line]
    return result(code, output, runs=int(runs[0]) if runs else 0, seconds=seconds)


if __name__ == "__main__":
    sys.exit(main())
