"""Models in forked children: a model of the parent is refused, a new one works."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from eetool_runtime.testing import ScriptedAnswer, scripted
from tests.helpers.tiny_bundle import write_tiny_bundle
from tests.helpers.tiny_litert_bundle import write_litert_bundle

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
HAS_LITERT = any(map(importlib.util.find_spec, ("ai_edge_litert", "tflite_runtime")))
LITERT = pytest.param(write_litert_bundle, marks=pytest.mark.skipif(not HAS_LITERT, reason="LiteRT is not installed"))

# Forks while other threads are in calls, `use` and `stats`, and prints the outcome of each child. A child that hangs is
# ended by its own alarm, which Python need not be awake for.
PROGRAM = """
import json, os, signal, sys, threading, warnings
import numpy as np
import eetool_runtime as ee

warnings.simplefilter("ignore")  # of Python 3.12, that a process with threads forks
path, threads, action, children = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
bundle = ee.open_bundle(path)
model = ee.load(bundle, threads=threads)
x = bundle.arrays(bundle.manifest.samples)
x = {name: array[:1] for name, array in x.items()}
begun, over = threading.Semaphore(0), False

def work(call):
    call()
    begun.release()
    while not over:
        call()

def tell(call):
    try:
        call()
        return "answered"
    except Exception as error:
        return f"{type(error).__name__}: {error} {getattr(error, 'hint', None)}"

def act():
    global model
    calls = {
        "call": lambda: model(x), "batch": lambda: model.batch(x), "every_exit": lambda: model.every_exit(x),
        "limited": lambda: model(x, deadline_ms=100), "use": lambda: model.use("full"), "stats": lambda: model.stats(),
        "prometheus": lambda: model.prometheus(), "recent_ms": lambda: model.recent_ms(),
    }
    if action == "refuse":
        return [tell(call) for call in calls.values()]
    if action == "load":
        model = ee.load(bundle, threads=threads)  # which drops the parent's
        return [tell(call) for call in calls.values()]

busy = [lambda: model(x), lambda: model.use("full"), model.stats][: int(sys.argv[5])]
workers = [threading.Thread(target=work, args=(call,)) for call in busy]
for worker in workers:
    worker.start()
for _ in workers:
    begun.acquire()
said = []
for _ in range(children):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(60)
        os.write(write, json.dumps(act()).encode())
        os._exit(0)
    os.close(write)
    with open(read) as file:
        said.append(json.loads(file.read() or '"it hung"'))
    os.waitpid(child, 0)
over = True
for worker in workers:
    worker.join()
print(json.dumps([said, tell(lambda: model(x))]))
"""


def outcomes_in_children(bundle: Path, threads: int, action: str, busy: int = 3, children: int = 10) -> list[Any]:
    """Return the outcome of every call in each child, forked beside `busy` threads; the parent must keep working."""
    command = [sys.executable, "-c", PROGRAM, str(bundle), *map(str, (threads, action, children, busy))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    replies, parent = json.loads(done.stdout)
    assert parent == "answered"
    assert len(replies) == children
    return list(replies)


@pytest.mark.parametrize("write", [write_tiny_bundle, LITERT], ids=["onnx", "litert"])
def test_model_in_forked_child_raises_backend_error(tmp_path: Path, write: Any) -> None:
    for answers in outcomes_in_children(write(tmp_path), 1, "refuse"):
        assert len(answers) == 8
        for answer in answers:
            assert answer.startswith("BackendError: this model was loaded before this process was forked")
            assert "Load it in every worker, after the fork" in answer


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("write", [write_tiny_bundle, LITERT], ids=["onnx", "litert"])
def test_model_loaded_after_fork_runs(tmp_path: Path, write: Any, threads: int) -> None:
    for answers in outcomes_in_children(write(tmp_path), threads, "load"):
        assert answers == ["answered"] * 8


def test_model_with_threads_dropped_in_forked_child_does_not_hang(tmp_path: Path) -> None:
    """Without a running call, nothing else keeps the parent's model alive in the child."""
    for answers in outcomes_in_children(write_tiny_bundle(tmp_path), 2, "load", busy=0):
        assert answers == ["answered"] * 8


CALLS = """
import sys
import eetool_runtime as ee

bundle = ee.open_bundle(sys.argv[1])
model = ee.load(bundle)
x = {name: array[:1] for name, array in bundle.arrays(bundle.manifest.samples).items()}
loaded = set(sys.modules)
model(x), model.batch(x), model.every_exit(x), model(x, deadline_ms=100), model.use("full"), model.stats()
model.prometheus(), model.recent_ms()
print(sorted(set(sys.modules) - loaded))
"""


@pytest.mark.parametrize("write", [write_tiny_bundle, LITERT], ids=["onnx", "litert"])
def test_calls_of_loaded_model_import_nothing(tmp_path: Path, write: Any) -> None:
    """A module that another thread imports during a fork can never be imported in the child."""
    command = [sys.executable, "-c", CALLS, str(write(tmp_path))]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"


def test_scripted_model_in_forked_child_raises_backend_error() -> None:
    model = scripted([ScriptedAnswer("cat")])
    model._fork_guard._forks -= 1  # as if this were a child
    for call in (model.stats, model.prometheus, lambda: model.use("full"), lambda: model.batch([])):
        with pytest.raises(Exception, match="loaded before this process was forked"):
            call()
