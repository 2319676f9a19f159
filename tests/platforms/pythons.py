"""Test of the runtime on every supported Python, with the oldest and newest backends, and comparison of their results.

    make test-pythons               or    python -m tests.platforms.pythons [--only 3.9 --only 3.13]

It searches Python 3.9 to 3.13 on the PATH and in ~/.pyenv. For each pair of Python and onnxruntime, it makes a
temporary virtual environment with the wheels of the runtime and the instruments. It prints a table on stderr and one
JSON document on stdout. The exit code is 4 if a test fails or a result differs, 5 if no Python or package is available.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.platforms.commands import DISTRIBUTIONS, MissingError, ask, attempt, copy_tests, last_line, pip
from tests.platforms.decisions import SCRIPT, Trial, compare, prepare

NEWEST = "newest"
# The oldest release with wheels for each Python, the newest, and some in between.
ONNXRUNTIMES = {
    "3.9": ("1.14", NEWEST),
    "3.10": ("1.14", "1.16", NEWEST),
    "3.11": ("1.15", "1.19", NEWEST),
    "3.12": ("1.17", NEWEST),
    "3.13": ("1.20", NEWEST),
}
TOOLS = ("onnx", "pytest", "hypothesis")
LAST_WITH_NUMPY_1 = (1, 18)
# tflite-runtime needs numpy 1 and supports Python up to 3.11; LiteRT starts at 3.10.
TFLITE_RUNTIME, LITERT = ("3.9", "3.10", "3.11"), ("3.10", "3.11", "3.12", "3.13")


def main() -> int:
    """Test every pair, print the table and the document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", action="append", choices=ONNXRUNTIMES, help="this Python; repeatable")
    parser.add_argument("--onnxruntime", action="append", help=f"this release ('1.14', '{NEWEST}'); repeatable")
    parser.add_argument("--bundle", type=Path, help="by default a small one is trained and exported")
    parser.add_argument("--inputs", type=Path, help="an .npz with its input tensors; by default digits")
    parser.add_argument("--format", action="append", dest="formats", help="of the bundle made here; repeatable")
    parser.add_argument("--count", type=int, default=1000, help="of inputs")
    options = parser.parse_args()
    pythons = {version: find_python(version) for version in options.only or ONNXRUNTIMES}
    absent = [version for version, python in pythons.items() if python is None]
    if len(absent) == len(pythons):
        sys.stderr.write(f"test-pythons cannot run: found no Python {', '.join(absent)}\n")
        return 5
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        trial = prepare(folder / "trial", options.bundle, options.inputs, options.formats, options.count)
        try:
            wheels = build_wheels(folder)
            for version, python in pythons.items():
                for release in ONNXRUNTIMES[version] if python else ():
                    if release in (options.onnxruntime or ONNXRUNTIMES[version]):
                        rows.append(test(folder, python, version, release, wheels, trial))
                        sys.stderr.write(line(rows[-1]))
        except MissingError as missing:
            sys.stderr.write(f"test-pythons cannot run: {missing}\n")
            return 5
    ok = bool(rows) and all(row["ok"] for row in rows)
    sys.stdout.write(json.dumps({"schema": "platforms/1", "ok": ok, "absent": absent, "rows": rows}, indent=2) + "\n")
    return 0 if ok else 4


def find_python(version: str) -> Path | None:
    """Return an interpreter of this version that starts; one on the PATH may be a launcher without an interpreter."""
    on_path = shutil.which(f"python{version}")
    places = [Path(on_path)] if on_path else []
    places += sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}"))
    for place in places:
        if subprocess.run([place, "-c", "import venv"], capture_output=True, check=False).returncode == 0:
            return place
    return None


def build_wheels(folder: Path) -> list[Path]:
    """Build our own wheels, so that the installed packages are tested."""
    pip("our wheels", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, *DISTRIBUTIONS)
    return sorted(folder.glob("eetool_*.whl"))


def test(
    folder: Path, python: Path | None, version: str, release: str, wheels: list[Path], trial: Trial
) -> dict[str, Any]:
    """Run the tests and the comparison for one pair."""
    place = folder / f"{version}-{release}"
    attempt(f"Python {version}", str(python), "-m", "venv", place)
    inside = place / "bin/python"
    packages = requirements(version, release)
    pip(f"{' '.join(packages)} for Python {version}", "install", *wheels, *packages, python=inside)
    copy_tests(place / "runtime")
    tests = ask(place / "bin/pytest", "-q", "-p", "no:cacheprovider", cwd=place / "runtime")
    if tests.returncode != 0:
        sys.stderr.write(tests.stdout)
    files = (trial.bundle, trial.inputs, trial.thresholds, place / "there.npz")
    decided = ask(inside, SCRIPT, *files, cwd=place)
    row = {
        "python": version,
        "onnxruntime": release,
        "tests": {"ok": tests.returncode == 0, "summary": last_line(tests.stdout)},
        "decisions": compare(trial, files[-1], json.loads(last_line(decided.stdout)))
        if decided.returncode == 0
        else {"ok": False, "error": decided.stdout.strip()},
    }
    shutil.rmtree(place)
    return {**row, "ok": row["tests"]["ok"] and row["decisions"]["ok"]}  # type: ignore[index]


def requirements(version: str, release: str) -> list[str]:
    """Return the requirements for one release of onnxruntime: matching numpy and TFLite engine."""
    if release == NEWEST:
        return ["onnxruntime", *TOOLS, *(["ai-edge-litert"] if version in LITERT else ["tflite-runtime", "numpy<2"])]
    if tuple(map(int, release.split("."))) > LAST_WITH_NUMPY_1:
        return [f"onnxruntime=={release}.*", *TOOLS]
    return [f"onnxruntime=={release}.*", "numpy<2", *TOOLS, *(["tflite-runtime"] if version in TFLITE_RUNTIME else [])]


def line(row: dict[str, Any]) -> str:
    """Return one row of the table."""
    pair = f"Python {row['python']:<5} onnxruntime {row['onnxruntime']:<7}"
    return f"{pair} {row['tests']['summary']}; {describe_results(row)}\n"


def describe_results(row: dict[str, Any]) -> str:
    """Return the results of one row as text."""
    if "error" in row["decisions"]:
        return "no decisions"
    parts = []
    for name, v in row["decisions"]["variants"].items():
        if v["ok"] is None:
            parts.append(f"{name} not compared: {v.get('not_run', 'it does not run here')}")
        else:
            parts.append(f"{name} on {v['backend']} {v['version']}: {v['same_exit']} of {v['inputs']} at the same exit")
    return ", ".join(parts)


if __name__ == "__main__":
    sys.exit(main())
