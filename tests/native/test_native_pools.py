"""Pools of threads of the native runtime; the pool of the process is set once, so each case has its own process."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.helpers.native_build import onnxruntime_library
from tests.helpers.native_runtime import Library
from tests.helpers.tiny_bundle import write_tiny_bundle

ROOT = Path(__file__).parents[2]
PROGRAM = """
import json, sys
from pathlib import Path
import numpy as np
from eetool_runtime import EarlyExitError
from tests.helpers.native_runtime import Library

path, library, engine, loads = sys.argv[1:]
for options in json.loads(loads):
    try:
        model = Library(Path(library)).load(path, engine=Path(engine), **options)
        label = model(np.ones((1, 1, 4, 4), np.float32)).label
        print(json.dumps([model.stats()["threads"], model.stats()["pool"], label]))
    except EarlyExitError as error:
        print(json.dumps([type(error).__name__, error.message, error.hint]))
"""
SHARED, PRIVATE = {"threads": 2, "pool": "process"}, {"threads": 2, "pool": "private"}


def in_a_process(native: Library, folder: Path, *loads: dict[str, Any]) -> list[list[Any]]:
    """Load a bundle with each option in turn; return threads, pool and a label, or the error."""
    words = [write_tiny_bundle(folder), native.path, onnxruntime_library(), json.dumps(loads)]
    command = [sys.executable, "-c", PROGRAM, *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_process_pool_is_shared_and_keeps_its_count(native: Library, tmp_path: Path) -> None:
    other = {"threads": 3, "pool": "process"}
    *same, (kind, message, hint) = in_a_process(native, tmp_path, SHARED, SHARED, PRIVATE, other)
    assert same == [[2, "process", "top"]] * 3
    assert kind == "BackendError"
    assert message == "this process has one pool of 2 threads, so 3 cannot be used"
    assert "private pools from the start" in hint


def test_process_pool_after_private_ones_is_refused(native: Library, tmp_path: Path) -> None:
    private, (kind, message, _), again = in_a_process(native, tmp_path, PRIVATE, SHARED, PRIVATE)
    assert private == again == [2, "private", "top"]
    assert (kind, message.split(",")[0]) == ("BackendError", "this process began with private pools")


def test_process_pool_of_one_thread_creates_none(native: Library, tmp_path: Path) -> None:
    alone = {"threads": 1, "pool": "process"}
    assert in_a_process(native, tmp_path, alone, PRIVATE) == [[1, "private", "top"], [2, "private", "top"]]
