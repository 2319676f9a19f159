"""Models with a server: decisions, fallbacks, deadlines and batches."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest

import eetool_runtime as ee
from eetool_runtime.errors import UsageError
from eetool_runtime.offload import OffloadError
from eetool_runtime.result import softmax
from eetool_runtime.views import View
from tests.helpers.fault_proxy import Fault, FaultProxy
from tests.helpers.inference_server import Arrays, InferenceServer, Refusal
from tests.helpers.offload_bundle import EASY, HARD, seen, wait_for, write_offload_bundle
from tests.helpers.tiny_bundle import X, pixels

Load = Callable[..., Any]
LONG_MS = 20_000.0


@pytest.mark.parametrize("wire", ["fp32", "fp16", "uint8"])
@pytest.mark.parametrize("after_exit", [None, 0, 1])
def test_call_and_batch_decisions_equal_those_of_the_device(
    tmp_path: Path, load: Load, plain: ee.Model, protocol: str, after_exit: int | None, wire: str
) -> None:
    bundle, repository = write_offload_bundle(tmp_path, after_exit=after_exit, wire=wire)
    with InferenceServer(repository, protocol) as server:
        model = load(server.url, bundle)
        model.check_server()
        for point in ("balanced", "full", "fast"):
            model.use(point)
            plain.use(point)
            expected, single, batch = plain.batch(X), [model(X[i : i + 1]) for i in range(len(X))], model.batch(X)
            for a, b, c in zip(expected, single, batch):
                assert (a.exit, a.label) == (b.exit, b.label) == (c.exit, c.label)
                is_servers = after_exit is None or a.exit > after_exit
                assert b.where == c.where == ("server" if is_servers else "device")
                assert b.offload == c.offload == ("ok" if is_servers else None)
                np.testing.assert_allclose([b.confidence, c.confidence], a.confidence, atol=1e-3)
                np.testing.assert_allclose(b.logits, a.logits, atol=1e-2)
        figures = model.stats()["offload"]
        assert figures["inputs"]["ok"] == sum(figures["inputs"].values()) > 0
        assert figures["bytes_sent"] > 0 < figures["bytes_received"]
    plain.use("balanced")


def test_call_result_has_where_and_outcome(model: Any) -> None:
    assert seen(model(EASY)) == (0, "upper", "device", None)
    assert seen(model(HARD)) == (2, "upper", "server", "ok")
    assert "where='server'" in repr(model(HARD))
    assert "where" not in repr(model(EASY))


def test_call_server_exits_have_the_temperatures_of_the_policy(tmp_path: Path, load: Load, protocol: str) -> None:
    """The temperature of exit 2 is 6 with a server, and 1.5 without."""

    def warm(document: Any) -> None:
        document["offload"]["variants"]["onnx/fp32"]["temperatures"][2] = 6.0

    bundle, repository = write_offload_bundle(tmp_path, edit=warm)
    with InferenceServer(repository, protocol) as server:
        model = load(server.url, bundle)
        model.check_server()
        result = model(HARD)
        np.testing.assert_allclose(result.probabilities, softmax(result.logits, 6.0))
        np.testing.assert_allclose(result.confidence, result.probabilities.max(), rtol=1e-5)
        model.close()
        alone = model(HARD)
        np.testing.assert_allclose(alone.confidence, softmax(alone.logits, 1.5).max(), rtol=1e-5)


def test_call_thresholds_are_those_of_the_policy_whether_or_not_a_server_answers(
    tmp_path: Path, load: Load, protocol: str
) -> None:
    def early(document: Any) -> None:
        document["offload"]["variants"]["onnx/fp32"]["operating_points"]["balanced"]["thresholds"] = [2.0, 0.3]

    bundle, repository = write_offload_bundle(tmp_path, edit=early)
    with InferenceServer(repository, protocol) as server:
        model = load(server.url, bundle)
        model.check_server()
        assert model.thresholds == (2.0, 0.3)
        assert seen(model(EASY)) == (1, "upper", "server", "ok")
        model.close()
        assert seen(model(EASY)) == (1, "upper", "device", "open")


def test_call_operating_point_without_a_policy_is_never_offloaded(tmp_path: Path, load: Load, protocol: str) -> None:
    def without(document: Any) -> None:
        del document["offload"]["variants"]["onnx/fp32"]["operating_points"]["balanced"]

    bundle, repository = write_offload_bundle(tmp_path, edit=without)
    with InferenceServer(repository, protocol) as server:
        model = load(server.url, bundle, fallback="best")
        model.check_server()
        assert seen(model(HARD)) == (2, "upper", "device", "skipped")
        assert seen(model.batch(HARD)[0]) == (2, "upper", "device", "skipped")
        model.use("full")
        assert seen(model(HARD)) == (2, "upper", "server", "ok")
        model.use(threshold=0.99)  # of no name
        assert seen(model(HARD)) == (2, "upper", "server", "ok")
        assert server.behaviour.requests == 2


@pytest.mark.parametrize("fallback", ["local", "best"])
@pytest.mark.parametrize("point", ["balanced", "full"])
@pytest.mark.parametrize("after_exit", [None, 0, 1])
def test_call_server_that_fails_is_answered_by_the_fallback(
    tmp_path: Path, load: Load, plain: ee.Model, after_exit: int | None, point: str, fallback: str
) -> None:
    bundle, repository = write_offload_bundle(tmp_path, after_exit=after_exit)
    with InferenceServer(repository, "http") as server:
        model = load(server.url, bundle, fallback=fallback)
        model.check_server()
        server.behaviour.refusal = Refusal(500, "INTERNAL", "x")
        model.use(point)
        plain.use(point)
        expected = plain(HARD)
        for result in (model(HARD), model.batch(HARD)[0], model(HARD)):
            if fallback == "local":
                assert seen(result) == (expected.exit, expected.label, "device", "refused")
                np.testing.assert_array_equal(result.logits, expected.logits)
                assert result.gated
            else:
                assert (result.exit, result.where, result.offload) == (after_exit or 0, "device", "refused")
                assert not result.gated
                np.testing.assert_array_equal(result.logits, plain.every_exit(HARD)[after_exit or 0][0][0])
        assert model(HARD).offload == "open"
    plain.use("balanced")


def test_call_reply_that_is_wrong_is_refused_and_counted(model: Any, server: InferenceServer, plain: ee.Model) -> None:
    def renamed(name: str, outputs: Arrays) -> tuple[str, Arrays]:
        return "tiny-ffffffff", outputs

    def changed(change: Callable[[np.ndarray], np.ndarray], output: str) -> Any:
        return lambda name, outputs: (name, {**outputs, output: change(outputs[output])})

    def without(name: str, outputs: Arrays) -> tuple[str, Arrays]:
        return name, {key: value for key, value in outputs.items() if key != "exit1_logits"}

    changes = {
        "wrong_model": [renamed],
        "wrong_shape": [
            changed(lambda a: a[:, :3], "exit2_logits"),
            changed(lambda a: a.astype(np.float16), "exit1_confidence"),
            changed(lambda a: np.concatenate([a, a]), "exit1_confidence"),
            without,
            changed(lambda a: a.astype(np.int64), "exit1_logits"),
        ],
        "not_finite": [
            changed(lambda a: a * np.float32(np.nan), "exit2_confidence"),
            changed(lambda a: a + np.float32(np.inf), "exit1_logits"),
        ],
    }
    expected = plain(HARD)
    for kind, wrong in changes.items():
        for change in wrong:
            server.behaviour.change = change
            before = model.stats()["offload"]["failures"].get(kind, 0)
            result = model(HARD)
            assert seen(result) == (expected.exit, expected.label, "device", "refused")
            assert model.stats()["offload"]["failures"][kind] == before + 1
            server.behaviour.change = None
            assert model(HARD).offload == "ok"


@pytest.mark.parametrize("refusal", [Refusal(503, "UNAVAILABLE", "x"), Refusal(500, "INTERNAL", "x")], ids=str)
def test_call_that_fails_asks_once(model: Any, server: InferenceServer, refusal: Refusal) -> None:
    server.behaviour.refusal = refusal
    before = server.behaviour.requests
    assert model(HARD).offload == "refused"
    assert server.behaviour.requests == before + 1


def test_call_breaker_opens_after_three_failures_and_a_probe_closes_it(
    load: Load, proxy: FaultProxy, server: InferenceServer, quick_probes: None
) -> None:
    model = load(server.url.replace(str(server.port), str(proxy.port)), timeout_ms=60.0)
    model.check_server()
    proxy.fault = Fault(black_hole=True)
    outcomes = [model(HARD).offload for _ in range(6)]
    assert outcomes[:3] == ["timeout"] * 3
    assert outcomes[3:] == ["open"] * 3
    assert not model.link_is_up
    proxy.fault = Fault()
    proxy.reset_all()
    wait_for(lambda: bool(model.link_is_up))
    figures = model.stats()["offload"]
    assert (figures["link"], figures["times_opened"], figures["last_problem"]) == ("up", 1, None)
    wait_for(lambda: model(HARD).offload == "ok")


def test_load_server_that_is_down_answers_at_once(load: Load, protocol: str, plain: ee.Model) -> None:
    model = load(f"{protocol}://127.0.0.1:1")
    wait_for(lambda: not model.link_is_up)
    assert seen(model(HARD)) == (2, "upper", "device", "open")
    assert model.stats()["offload"]["last_problem"] == "connection_refused"
    with pytest.raises(OffloadError, match="connection was refused") as caught:
        model.check_server(2.0)
    assert (caught.value.kind, caught.value.exit_code) == ("connection_refused", 5)


def test_check_server_with_another_export_is_wrong_model(tmp_path: Path, load: Load, server: InferenceServer) -> None:
    other, _ = write_offload_bundle(tmp_path, after_exit=1)
    model = load(server.url, other)
    with pytest.raises(OffloadError) as caught:
        model.check_server()
    assert caught.value.kind == "wrong_model"
    assert model(HARD).offload == "open"


def test_call_deadline_that_allows_a_request_is_answered_by_the_server(model: Any) -> None:
    for _ in range(20):
        assert seen(model(HARD, deadline_ms=LONG_MS * 2)) == (2, "upper", "server", "ok")
    assert seen(model(EASY, deadline_ms=LONG_MS)) == (0, "upper", "device", None)


def test_call_deadline_shorter_than_the_link_is_answered_by_the_device(model: Any, server: InferenceServer) -> None:
    """The delay of the server is known after some requests; a deadline below it sends nothing."""
    model.load_tail()
    server.behaviour.delay_s = 0.1
    for _ in range(8):
        assert model(HARD).offload == "ok"
    before = server.behaviour.requests
    result = model(HARD, deadline_ms=80.0)
    assert (result.where, result.offload) == ("device", "skipped")
    assert server.behaviour.requests == before


def test_call_deadline_ends_a_request_and_the_deepest_exit_answers(load: Load, server: InferenceServer) -> None:
    """The link is not known yet: the attempt ends with the deadline, and the rest is not loaded."""
    model = load(server.url, timeout_ms=100.0)
    model.check_server()
    server.behaviour.delay_s = 2.0
    result = model(HARD, deadline_ms=400.0)
    assert (result.exit, result.where, result.offload, result.gated) == (0, "device", "timeout", False)
    assert result.latency_ms < 1500
    wait_for(lambda: model.memory()["not_loaded"] == [])  # loaded in the background for later calls


def test_call_that_a_deadline_ends_at_the_cut_is_counted(load: Load, protocol: str, server: InferenceServer) -> None:
    """With fallback="best" nothing runs behind the cut: `open` while nothing is sent, `skipped` where it is late."""
    model = load(f"{protocol}://127.0.0.1:1", fallback="best")
    wait_for(lambda: not model.link_is_up)
    result = model(HARD, deadline_ms=LONG_MS)
    assert (result.exit, result.where, result.offload, result.gated) == (0, "device", "open", False)
    assert model(EASY, deadline_ms=LONG_MS).offload is None
    assert model.stats()["offload"]["inputs"]["open"] == 1
    slow = load(server.url, fallback="best", timeout_ms=LONG_MS)
    slow.check_server()
    assert slow(HARD, deadline_ms=LONG_MS / 2).offload == "skipped"
    assert slow.stats()["offload"]["inputs"]["skipped"] == 1


def test_call_min_exit_and_watch_hold_for_exits_of_the_server(model: Any) -> None:
    assert seen(model(EASY, min_exit=1)) == (1, "upper", "server", "ok")
    assert seen(model(EASY, min_exit=-1)) == (2, "upper", "server", "ok")
    model.use("balanced", watch=(0.0, 1.0))
    assert seen(model(EASY)) == (2, "upper", "server", "ok")
    assert [seen(result) for result in model.batch(EASY)] == [(2, "upper", "server", "ok")]
    with pytest.raises(UsageError, match="min_exit"):
        model(EASY, min_exit=3)


@pytest.mark.parametrize("fallback", ["local", "best"])
def test_call_min_exit_and_watch_without_a_server(load: Load, server: InferenceServer, fallback: str) -> None:
    model = load(server.url, fallback=fallback)
    model.close()
    assert seen(model(EASY, min_exit=1)) == (1, "upper", "device", "open")  # there is nothing earlier to answer with
    model.use("balanced", watch=(0.0, 1.0))
    result = model(EASY)
    assert (result.exit, result.gated) == ((2, True) if fallback == "local" else (0, False))


def test_call_features_that_are_not_finite_are_not_sent(model: Any, server: InferenceServer) -> None:
    huge = np.full((1, 1, 4, 4), 3e38, np.float32)  # doubled by the first segment
    with pytest.warns(UserWarning, match="values from"):
        result = model(huge)
    assert (result.where, result.offload) == ("device", "skipped")
    assert server.behaviour.requests == 0


def test_call_view_that_travels_is_made_for_it(tmp_path: Path, load: Load, protocol: str) -> None:
    bundle, repository = write_offload_bundle(tmp_path, after_exit=None, wire="uint8")
    with InferenceServer(repository, protocol) as server:
        model = load(server.url, bundle)
        model.check_server()
        spec = model.bundle.manifest.inputs[0]
        assert seen(model({spec.name: View(spec, lambda: HARD)})) == (2, "upper", "server", "ok")
        (sent,) = (array for array in server.behaviour.seen[-1].values() if array.dtype == np.uint8)
        np.testing.assert_array_equal(sent[0, 0], pixels(1, 0.25))
        model.close()
        assert seen(model({spec.name: View(spec, lambda: HARD)})) == (2, "upper", "device", "open")


def test_call_several_threads_share_a_model(model: Any, plain: ee.Model) -> None:
    expected = [(r.exit, r.label) for r in plain.batch(X)]
    found: dict[int, list[tuple[int, str]]] = {}

    def work(number: int) -> None:
        found[number] = [(r.exit, r.label) for r in (model(X[i : i + 1]) for i in range(len(X)))]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(found.values()) == [expected] * 6
    figures = model.stats()
    assert sum(figures["offload"]["inputs"].values()) == 6 * sum(1 for k, _ in expected if k > 0)


def test_batch_is_one_request_for_the_inputs_that_go_on(model: Any, server: InferenceServer, plain: ee.Model) -> None:
    exits = [result.exit for result in plain.batch(X)]
    assert [result.exit for result in model.batch(X)] == exits
    assert server.behaviour.requests == 1
    assert len(server.behaviour.seen[-1]["features0"]) == sum(k > 0 for k in exits)


def test_batch_of_easy_inputs_sends_nothing(model: Any, server: InferenceServer) -> None:
    assert [seen(r) for r in model.batch(np.concatenate([EASY, EASY]))] == [(0, "upper", "device", None)] * 2
    assert server.behaviour.requests == 0


@pytest.mark.parametrize("tweaks", [{"chained": True}, {"joined": True}], ids=str)
def test_call_other_wiring_runs_what_the_rest_needs(tmp_path: Path, load: Load, tweaks: dict[str, bool]) -> None:
    """Without a server, exits that read earlier exits, and joined components, are computed after the failure."""
    bundle, _ = write_offload_bundle(tmp_path, **tweaks)
    model, alone = load("http://127.0.0.1:1", bundle), ee.load(bundle)
    model.close()
    for point in ("balanced", "full"):
        model.use(point)
        alone.use(point)
        for a, b, c in zip(alone.batch(X), (model(X[i : i + 1]) for i in range(len(X))), model.batch(X)):
            assert (a.exit, a.label) == (b.exit, b.label) == (c.exit, c.label)
