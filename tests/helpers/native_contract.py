"""The tests of the Python runtime against the native one: a pytest plugin that replaces `load` and `scripted`.

    EETOOL_NATIVE=libeetool_runtime.so EETOOL_SCRIPTED=libeetool_scripted.so \
        pytest -p tests.helpers.native_contract runtimes/python/tests/test_model.py ...

The adapter only converts. What both runtimes must do is in those tests; what the C interface cannot express is in
`DIFFERENT`, with a reason. An error must be of the same class; its words may be those of C.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import eetool_runtime as ee
from eetool_measure.records import encode
from eetool_runtime import testing
from eetool_runtime.manifest import File, OperatingPoint
from eetool_runtime.testing import FakeClock, ScriptedAnswer
from tests.helpers.native_build import onnxruntime_library
from tests.helpers.native_runtime import Library, NativeModel
from tests.helpers.tiny_bundle import write_manifest

FILES = ("deadline", "lazy_loading", "loading", "model", "prometheus", "stats", "concurrent_use")

# Why tests are of the Python runtime alone, and patterns of their names.
DIFFERENT: dict[str, tuple[str, ...]] = {
    "it tests a class or a function of the Python package, or reads its private fields": (
        r"test_latency_estimator_(slower|late|fits).*",
        r"test_(snapshot|record|confidence_drift|start_window|softmax|probabilities|recorded_threads|lazy_graph_bound)_.*",
        r"test_(lazy_graph_bound_inputs|resident_bytes|open_graphs_small)_.*",
        r"test_stats_confidences_(after_skipped_gate|not_finite)_.*",
        r"test_call_(failing_engine|runs_needed|deadline_and_watchdog_any_wiring)_.*",
        r"test_load_variant_for_microcontrollers_.*",
    ),
    "it replaces a part of the Python package while it runs; test_session.cpp has threads that call `use` meanwhile": (
        r"test_latency_estimator_uses_recorded_latencies_.*",
        r"test_(stats|prometheus|batch_with_watchdog|governor)_.*during_use_.*",
    ),
    "batches, every_exit, recent_ms and the governor are not in the C interface": (
        r"test_every_exit_.*",
        r"test_call_several_inputs_are_bound_by_name",
        r"test_stats_points_are_separate_.*",
        r"test_(onnx|litert)_sixteen_threads_.*",
    ),
    "the pixels become tensors inside a session; test_native_decisions.py compares the answers": (
        r"test_preprocess_pixels_use_bundle_rule",
    ),
    "the C interface has no channel for warnings": (r"test_call_pixels_that_were_not_converted_are_warned_of_once",),
    "the types of C do not allow the argument": (
        r"test_use_invalid_band_.*\[(ab|0\.5)\]",
        r"test_use_invalid_arguments_.*\[arguments[124]-.*",
        r"test_load_unavailable_variant_.*unknown pool.*",
        r"test_call_bad_input_.*\[inputs[269]-.*",
    ),
}


class ContractModel:
    """A model of the native runtime with the interface of `eetool_runtime.Model`; each thread has its own session."""

    def __init__(self, library: Library, first: NativeModel, bundle: ee.Bundle) -> None:
        self.bundle = bundle
        self._library, self._first, self._free = library, first, deque([first])

    @contextmanager
    def _session(self) -> Iterator[NativeModel]:
        try:
            session = self._free.pop()
        except IndexError:
            session = _Session(self._library, self._first)
        try:
            yield session
        finally:
            self._free.append(session)

    @property
    def info(self) -> dict[str, Any]:
        return self._first.info

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.info["labels"])

    @property
    def variant(self) -> str:
        return str(self.info["variant"])

    @property
    def operating_points(self) -> dict[str, OperatingPoint]:
        return {name: OperatingPoint(tuple(p["thresholds"])) for name, p in self.info["operating_points"].items()}

    @property
    def operating_point(self) -> str | None:
        name: str | None = self.info["operating_point"]
        return name

    @property
    def thresholds(self) -> tuple[float | None, ...]:
        return tuple(self.info["thresholds"])

    def use(self, operating_point: str | None = None, *, threshold: Any = None, watch: Any = None) -> None:
        self._first.use(operating_point, threshold=threshold, watch=watch)

    def __call__(
        self, inputs: np.ndarray | Mapping[str, np.ndarray], *, deadline_ms: float | None = None, min_exit: int = 0
    ) -> ee.Result:
        if deadline_ms == 0:
            raise ee.errors.UsageError("a deadline of 0 is none in C")
        with self._session() as session:
            native = session(inputs, deadline_ms=deadline_ms, min_exit=min_exit)
            result = ee.Result(
                native.exit,
                native.confidence,
                native.logits,
                native.temperature,
                self.labels,
                native.latency_ms,
                native.gated,
            )
        assert (result.index, result.label) == (native.index, native.label)
        return result

    def stats(self) -> dict[str, Any]:
        return self._first.stats()

    def prometheus(self) -> str:
        return self._first.prometheus()

    def memory(self) -> dict[str, Any]:
        info = self.info
        names = [c.name for c in self.bundle.manifest.components if c.name not in info["not_loaded"]]
        kept = ("not_loaded", "loaded_bytes", "total_bytes", "process_bytes")
        return {"loaded": names, **{name: info[name] for name in kept}}


class _Session(NativeModel):
    """One more session of a model, which does not close it."""

    def __init__(self, library: Library, model: NativeModel) -> None:
        self._model = model
        super().__init__(library, model.handle)

    def close(self) -> None:
        pass


def native_load(
    path: Any,
    *,
    threads: int | None = None,
    pool: str = "private",
    backend: str = "auto",
    variant: str = "auto",
    preload: bool = True,
) -> ContractModel:
    """Load as `eetool_runtime.load`, by the native runtime."""
    _MADE.append("load")
    library = Library(Path(os.environ["EETOOL_NATIVE"]))
    bundle = path if isinstance(path, ee.Bundle) else None
    where = path if bundle is None else bundle.path
    count = 0 if threads is None else threads if threads else -1  # 0 is the default in C
    first = library.load(
        where,
        threads=count,
        pool=pool,
        backend=backend,
        variant=variant,
        preload=preload,
        engine=onnxruntime_library(),
    )
    return ContractModel(library, first, bundle or ee.open_bundle(where))


_MADE: list[str] = []  # calls of the native runtime by the test that runs
_FOLDERS: list[tempfile.TemporaryDirectory[str]] = []  # of scripted bundles, until the end of the process
_PYTHON_SCRIPTED = testing.scripted


def native_scripted(
    script: Sequence[ScriptedAnswer],
    *,
    component_ms: Mapping[str, float] | None = None,
    clock: FakeClock | None = None,
    **options: Any,
) -> ContractModel:
    """Make a scripted model as `eetool_runtime.testing.scripted`, by the native runtime with a scripted engine."""
    _MADE.append("scripted")
    manifest = _PYTHON_SCRIPTED(script, **options).bundle.manifest
    _FOLDERS.append(tempfile.TemporaryDirectory(prefix="scripted-"))
    root = Path(_FOLDERS[-1].name)
    files = {manifest.samples: "", next(iter(manifest.variants.values())).samples: ""}
    for name, graph in next(iter(manifest.variants.values())).components.items():
        lines = [f"{(component_ms or {}).get(name, 0.0)} {len(script)}"]
        for end, e in enumerate(manifest.exits):
            if e.component == name:
                lines += [_line(answer, end, manifest.labels) for answer in script]
        files[graph.path] = "\n".join(lines)
    records = {name: File(hashlib.sha256(text.encode()).hexdigest(), len(text)) for name, text in files.items()}
    for name, text in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    write_manifest(root, encode(replace(manifest, files=records)))
    library, handle = Library(Path(os.environ["EETOOL_SCRIPTED"])), ctypes.c_void_p()
    library.call("ee_test_open_scripted", str(root).encode(), int(clock is not None), ctypes.byref(handle))
    return ContractModel(library, NativeModel(library, handle), ee.open_bundle(root))


def _line(answer: ScriptedAnswer, end: int, labels: Sequence[str]) -> str:
    """Return the confidence and logits of a prediction at exit `end`."""
    logits = answer.logits or [5.0 if label == answer.label else 0.0 for label in labels]
    return " ".join(map(repr, (answer.confidence if end >= answer.exit else 0.0, *logits)))


_raises = pytest.raises


def raises_of_class(expected: Any, *arguments: Any, match: Any = None, **options: Any) -> Any:
    """Check the class of an error and not its words, which name functions of C."""
    return _raises(expected, *arguments, **options)


def pytest_configure() -> None:
    """Put the native runtime in place of the Python one."""
    ee.load = native_load  # type: ignore[assignment]
    testing.scripted = native_scripted  # type: ignore[assignment]
    pytest.raises = raises_of_class  # type: ignore[assignment]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that differ; a pattern without a test is an error."""
    left_out: list[pytest.Item] = []
    for pattern in (pattern for patterns in DIFFERENT.values() for pattern in patterns):
        found = [item for item in items if re.fullmatch(pattern, item.name)]
        if not found:
            raise pytest.UsageError(f"there is no test {pattern}")
        left_out += [item for item in found if item not in left_out]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Begin to count the native models of a test."""
    _MADE.clear()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Fail a test that passes without the native runtime: it proves nothing here."""
    outcome = yield
    if not _MADE:
        pytest.fail("it used no native model or bundle; name it in DIFFERENT")
    return outcome
