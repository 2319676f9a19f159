"""Models with a server: statistics, memory, threads, forks, loading and the end."""

from __future__ import annotations

import gc
import itertools
import json
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

import eetool_runtime as ee
from eetool_runtime.errors import BackendError, UsageError
from eetool_runtime.governor import Governor, Rule
from eetool_runtime.offload import Offload, OffloadError
from eetool_runtime.offload.readings import round_trip_ms
from tests.helpers.inference_server import InferenceServer, Refusal
from tests.helpers.offload_bundle import EASY, HARD, seen, write_offload_bundle
from tests.helpers.tiny_bundle import X, with_stream

Load = Callable[..., Any]
LONG_MS = 20_000.0


def test_stats_count_every_input_once(model: Any, server: InferenceServer) -> None:
    for _ in range(4):
        model(HARD)
    model(EASY)
    server.behaviour.refusal = Refusal(401, "UNAUTHENTICATED", "x")
    for _ in range(5):
        model(HARD)
    figures = model.stats()
    link = figures["offload"]
    assert figures["calls"] == 10
    assert link["inputs"] == {"ok": 4, "timeout": 0, "refused": 3, "open": 2, "skipped": 0}
    assert (link["requests"], link["failures"], link["share"]) == (7, {"unauthorised": 3}, 0.4)
    assert link["link"] == "down"
    assert link["model"] == model.bundle.manifest.offload.model
    assert set(link["round_trip_ms"]) == {"mean", "p50", "p95", "p99"}
    assert json.loads(json.dumps(link)) == link
    device_macs = sum(c.macs for c in model.bundle.manifest.components[:2])
    all_macs = sum(c.macs for c in model.bundle.manifest.components)
    assert figures["mean_macs"] == pytest.approx((5 * device_macs + 5 * all_macs) / 10)


def test_prometheus_has_the_figures_of_the_link(model: Any) -> None:
    model(HARD)
    text = model.prometheus()
    for line in ('eetool_offload_inputs_total{model="tiny"', 'outcome="ok"} 1', "eetool_offload_link_up{", "} 1.0"):
        assert line in text
    assert 'eetool_offload_round_trip_ms{model="tiny",variant="onnx/fp32",quantile="0.95"}' in text
    assert 'direction="sent"' in text


def test_round_trip_reading_needs_some_requests_and_an_open_link(model: Any) -> None:
    read = round_trip_ms(model)
    for _ in range(19):
        model(HARD)
    assert read() is None
    model(HARD)
    assert 0 < (read() or 0) < LONG_MS
    model.close()
    assert read() is None


def test_governor_follows_the_link(model: Any, server: InferenceServer) -> None:
    rule = Rule("link", round_trip_ms(model, requests=20), tighten=300.0, relax=150.0)
    seconds = itertools.count(0.0, 1000.0)
    governor = Governor(model, [rule], points=("full", "balanced"), clock=lambda: next(seconds))
    model.use("full")
    for _ in range(20):
        model(HARD)
    assert governor.update() == "full"
    server.behaviour.delay_s = 0.5
    for _ in range(3):  # the 90th percentile of 20
        model(HARD)
    assert governor.update() == "balanced"


def test_memory_tail_is_loaded_when_it_is_first_needed(load: Load, server: InferenceServer) -> None:
    model = load(server.url)
    model.check_server()
    model(HARD)
    assert model.memory()["not_loaded"] == ["seg1", "exit1", "exit2"]
    model.close()
    assert seen(model(HARD)) == (2, "upper", "device", "open")
    assert model.memory()["not_loaded"] == []
    assert load(server.url, preload=True).memory()["not_loaded"] == []


def test_close_leaves_a_model_of_the_device(model: Any, server: InferenceServer) -> None:
    model.close()
    model.close()
    assert seen(model(HARD)) == (2, "upper", "device", "open")
    assert server.behaviour.requests == 0
    with pytest.raises(OffloadError):
        model.check_server(1.0)


def test_thread_ends_with_the_model(pair: tuple[Path, Path], server: InferenceServer) -> None:
    before = {thread.ident for thread in threading.enumerate()}
    model = ee.load(pair[0], offload=Offload(server.url, timeout_ms=LONG_MS))
    own = [t for t in threading.enumerate() if t.ident not in before and t.name == "eetool-offload"]
    assert len(own) == 1
    del model
    gc.collect()
    own[0].join(20)
    assert not own[0].is_alive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Python 3.12 warns of forks while threads run
@pytest.mark.filterwarnings(  # JAX, which converters of other tests load, warns at every fork
    "ignore:os.fork:RuntimeWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_forked_child_is_refused_and_harms_nothing(model: Any) -> None:
    assert model(HARD).offload == "ok"
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        text = "no error"
        try:
            model(HARD)
        except BackendError as error:
            text = str(error)
        os.write(writing, text.encode())
        model._end()  # what the end of a child does
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert b"forked" in pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    assert model(HARD).offload == "ok"


def test_stream_and_every_exit_run_on_the_device(tmp_path: Path, load: Load, server: InferenceServer) -> None:
    bundle, _ = write_offload_bundle(tmp_path, edit=with_stream)
    model = load(server.url, bundle)
    result = model.stream()(HARD)
    assert (result.where, result.offload) == ("device", None)
    assert len(model.every_exit(X)) == 3
    assert server.behaviour.requests == 0


def test_load_bundle_without_a_part_for_a_server_is_refused(tiny_bundle: Path) -> None:
    with pytest.raises(UsageError, match="has no part for a server"):
        ee.load(tiny_bundle, offload=Offload("http://127.0.0.1:1"))


@pytest.mark.parametrize("junk", ["http://127.0.0.1:1", 7, {"url": "x"}])
def test_load_offload_of_another_type_is_refused(pair: tuple[Path, Path], junk: Any) -> None:
    with pytest.raises(UsageError, match="offload must be an Offload"):
        ee.load(pair[0], offload=junk)


def test_load_without_the_libraries_of_grpc_names_the_extra(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "grpc", None)
    monkeypatch.delitem(sys.modules, "eetool_runtime.offload.grpc_client", raising=False)
    with pytest.raises(BackendError, match="gRPC needs a library") as caught:
        ee.load(pair[0], offload=Offload("grpc://127.0.0.1:1"))
    assert "eetool-runtime[offload]" in (caught.value.hint or "")


def test_call_client_that_breaks_is_answered_and_logged(
    model: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*arguments: object) -> Iterator[None]:
        raise ZeroDivisionError("a fault of a library")

    monkeypatch.setattr(model._tail._client, "infer", broken)
    with caplog.at_level(logging.WARNING, "eetool_runtime"):
        assert seen(model(HARD)) == (2, "upper", "device", "refused")
    assert model.stats()["offload"]["failures"] == {"client_error": 1}
    assert "ZeroDivisionError" in caplog.text
