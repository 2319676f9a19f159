"""Programs that use the native runtime from C, C++, JavaScript and Rust: the exits of the bundle in Python."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import eetool_runtime as ee
from tests.helpers.native_build import build, onnxruntime_library
from tests.helpers.native_runtime import Library
from tests.helpers.tiny_bundle import IMAGES, pixels, write_tiny_bundle

EXAMPLES = Path(__file__).parents[2] / "examples"
# Packages in npm's cache are not asked for again, and nothing is tried twice.
INSTALL = "npm install --ignore-scripts --no-audit --no-fund --prefer-offline --fetch-retries=0 --fetch-timeout=30000"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path)


@pytest.fixture
def answers(bundle: Path) -> list[tuple[str, int]]:
    """Return label and exit of every image in Python."""
    model = ee.load(bundle)
    return [(result.label, result.exit) for result in (model(model.preprocess(pixels(*i))) for i in IMAGES)]


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{n:02}.pgm" for n in range(len(IMAGES))]
    for path, which in zip(paths, IMAGES, strict=True):
        path.write_bytes(b"P5\n4 4\n255\n" + pixels(*which).tobytes())
    return paths


def environment(native: Library) -> dict[str, str]:
    own = {"EETOOL_RUNTIME": native.path, "EETOOL_LIBRARY_DIR": native.path.parent}
    return {**os.environ, **{k: str(v) for k, v in own.items()}, "EETOOL_ONNXRUNTIME": str(onnxruntime_library())}


def run(
    native: Library, *words: object, given: bytes = b"", cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    command, env = [str(word) for word in words], environment(native)
    done = subprocess.run(command, env=env, cwd=cwd, input=given, capture_output=True, check=False)
    return subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode())


def test_ee_run_takes_pictures_and_raw_pixels(
    native: Library, bundle: Path, pictures: list[Path], answers: list[tuple[str, int]], tmp_path: Path
) -> None:
    program = build("ee-run") / "ee-run"
    for number in (0, 5, 15):
        raw = tmp_path / "frame.raw"
        raw.write_bytes(pixels(*IMAGES[number]).tobytes())
        for source in (pictures[number], f"{raw}:4x4x1"):
            done = run(native, program, bundle, source)
            assert re.match(r"(\w+)  exit (\d)", done.stdout), done
            label, exit_index = done.stdout.split()[0], int(done.stdout.split()[2])
            assert (label, exit_index) == answers[number]
    assert "exit 2" in run(native, program, bundle, pictures[-1], "full").stdout


@pytest.mark.parametrize(
    ("source", "code", "message"),
    [
        ("{raw}:4x4", 3, "'4x4' is no size of raw pixels such as 480x640x3"),
        ("{raw}:4x4x1x", 3, "'4x4x1x' is no size of raw pixels"),
        ("{raw}:-4x4x1", 3, r"expected raw pixels uint8 \(4, 4, 1\), found uint8 \(-4, 4, 1\)"),
        ("{raw}:4x4x3", 3, r"expected raw pixels uint8 \(4, 4, 1\), found uint8 \(4, 4, 3\)"),
        ("nothing.raw:4x4x1", 3, "nothing.raw cannot be read"),
        ("{raw}", 3, "is no binary PGM or PPM file"),
    ],
)
def test_ee_run_bad_image_is_refused(
    native: Library, bundle: Path, tmp_path: Path, source: str, code: int, message: str
) -> None:
    raw = tmp_path / "frame.raw"
    raw.write_bytes(bytes(16))
    done = run(native, build("ee-run") / "ee-run", bundle, source.format(raw=raw))
    assert (done.returncode, done.stdout) == (code, "")
    assert re.search(f"^error: .*{message}", done.stderr), done.stderr


def test_camera_loop_answers_every_frame_in_time(native: Library, bundle: Path, answers: list[tuple[str, int]]) -> None:
    frames = b"".join(pixels(*which).tobytes() for which in IMAGES)
    loop = build("camera-loop") / "camera-loop"
    slow = run(native, loop, bundle, 4, 4, 1, 0.001, given=frames + bytes(3))
    found = [line.split() for line in slow.stdout.splitlines()]
    assert [(words[1], int(words[3])) for words in found] == answers
    assert "the last frame has 3 bytes of 16" in slow.stderr
    fast = run(native, loop, bundle, 4, 4, 1, 1e9, given=frames)
    assert fast.stdout.count("exit 0") == len(IMAGES)  # nothing is in time, and the first exit always answers
    ended = fast.stdout.count("ended by the deadline")
    assert ended == sum(exit_index > 0 for _, exit_index in answers)
    assert json.loads(fast.stderr)["ungated"] == ended
    for words in ((bundle, 4, 4, 1, 0), (bundle,), (bundle, 4, 4, 3, 30)):
        assert run(native, loop, *words, given=bytes(48)).returncode in (2, 3)


def test_node_example_takes_same_exits(
    native: Library, bundle: Path, pictures: list[Path], answers: list[tuple[str, int]], tmp_path: Path
) -> None:
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node or npm is not installed")
    folder = Path(shutil.copytree(EXAMPLES / "node-native", tmp_path / "node"))
    if not (folder / "node_modules/koffi").is_dir():
        try:
            done = subprocess.run(INSTALL.split(), cwd=folder, capture_output=True, timeout=120, check=False)
        except subprocess.TimeoutExpired:
            pytest.skip("npm did not answer in time")
        if done.returncode:
            pytest.skip("npm could not install koffi: is its registry within reach?")
    ran = run(native, "node", "classify.mjs", bundle, *pictures, cwd=folder)
    assert ran.returncode == 0, ran.stderr
    *found, last = map(json.loads, ran.stdout.splitlines())
    assert [(f["label"], f["exit"]) for f in found] == answers
    assert sum(last["exit_counts"]) == len(IMAGES)
    refused = run(native, "node", "classify.mjs", tmp_path / "nothing", *pictures, cwd=folder)
    assert refused.returncode == 3
    assert refused.stderr.startswith(f"error: {tmp_path}/nothing: does not exist\nhint: A bundle is a directory")


def test_rust_example_takes_same_exits(
    native: Library, bundle: Path, pictures: list[Path], answers: list[tuple[str, int]], tmp_path: Path
) -> None:
    cargo = shutil.which("cargo", path=f"{os.environ['PATH']}:{Path.home() / '.cargo/bin'}")
    if cargo is None:
        pytest.skip("cargo is not installed")
    folder = shutil.copytree(EXAMPLES / "rust", tmp_path / "rust", ignore=shutil.ignore_patterns("target"))
    built = run(native, cargo, "build", "--offline", "--quiet", cwd=folder)
    assert (built.returncode, built.stderr) == (0, "")
    program = folder / "target/debug/classify"
    ran = run(native, program, bundle, *pictures)
    assert ran.returncode == 0, ran.stderr
    found = re.findall(r": (\w+) at exit (\d)", ran.stdout)
    assert [(label, int(index)) for label, index in found] == answers
    assert json.loads(ran.stderr)["calls"] == len(IMAGES)
    refused = run(native, program, tmp_path / "nothing", pictures[0])
    assert (refused.returncode, refused.stderr.startswith("error: ")) == (3, True)
