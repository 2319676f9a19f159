"""The pool of the process can be set once, so each case runs in its own process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

HAS_POOL = hasattr(onnxruntime, "set_global_thread_pool_sizes")
needs_pool = pytest.mark.skipif(not HAS_POOL, reason="needs onnxruntime 1.32")

PROGRAM = """
import json, os, sys, warnings
import numpy as np
import eetool_runtime as ee

x = np.zeros((1, 1, 4, 4), np.float32)
warnings.simplefilter('ignore')  # of Python 3.12, that a process with threads forks
for options in json.loads(sys.argv[2]):
    if options == "fork":
        sys.stdout.flush()
        if child := os.fork():
            os.waitpid(child, 0)
            break
        continue
    try:
        model = ee.load(sys.argv[1], **options)
        figures = (model(x), model.stats())[1]
        print(json.dumps([figures["threads"], figures["pool"], figures["calls"]]))
    except ee.EarlyExitError as error:
        print(json.dumps([type(error).__name__, error.message, error.hint]))
sys.stdout.flush()
os._exit(0)  # onnxruntime 1.32 waits for threads of its own when a forked child exits
"""
SHARED = {"threads": 2, "pool": "process"}


def in_a_process(bundle: Path, *loads: Any) -> list[Any]:
    """Load the bundle with each option in turn, after "fork" in a child; return threads, pool, calls or the error."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(bundle), json.dumps(loads)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return [json.loads(line) for line in done.stdout.splitlines()]


@needs_pool
def test_load_process_pool_two_threads_share_it(tiny_bundle: Path) -> None:
    assert in_a_process(tiny_bundle, SHARED, SHARED) == [[2, "process", 1]] * 2


@needs_pool
def test_load_process_pool_other_count_raises_backend_error(tiny_bundle: Path) -> None:
    _, (kind, message, hint) = in_a_process(tiny_bundle, SHARED, {"threads": 3, "pool": "process"})
    assert kind == "BackendError"
    assert message == "this process has one pool of 2 threads, so 3 cannot be used"
    assert "pool='private' from the start" in hint


@needs_pool
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_load_process_pool_in_forked_child_raises_backend_error(tiny_bundle: Path) -> None:
    first, *others = in_a_process(tiny_bundle, SHARED, "fork", SHARED, {"threads": 1}, {"threads": 2})
    assert first == [2, "process", 1]
    assert len(others) == 3
    for kind, message, hint in others:
        assert kind == "BackendError"
        assert message.startswith("onnxruntime's pool of the process was created before this process was forked")
        assert "spawn" in hint


@needs_pool
def test_load_process_pool_then_one_thread_raises_backend_error(tiny_bundle: Path) -> None:
    _, (kind, message, _) = in_a_process(tiny_bundle, SHARED, {"threads": 1})
    assert (kind, message) == ("BackendError", "this process has one pool of 2 threads, so 1 cannot be used")


@needs_pool
def test_stats_pool_is_the_one_in_use(tiny_bundle: Path) -> None:
    private = {"threads": 2, "pool": "private"}
    assert in_a_process(tiny_bundle, private, SHARED, private) == [[2, p, 1] for p in ("private", "process", "process")]


def test_load_process_pool_one_thread_creates_none(tiny_bundle: Path) -> None:
    alone = {"threads": 1, "pool": "process"}
    assert in_a_process(tiny_bundle, alone, {"threads": 2}) == [[1, "private", 1], [2, "private", 1]]


@pytest.mark.skipif(HAS_POOL, reason="needs onnxruntime before 1.32")
def test_load_process_pool_older_onnxruntime_uses_private_pools(tiny_bundle: Path) -> None:
    assert in_a_process(tiny_bundle, SHARED, {"threads": 3, "pool": "process"}) == [
        [2, "private", 1],
        [3, "private", 1],
    ]
