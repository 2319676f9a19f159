"""The thread of a link: when it probes, and that nothing ends it but `stop`."""

from __future__ import annotations

import logging
import threading
import time

import pytest

from eetool_runtime.offload.breaker import CircuitBreaker
from eetool_runtime.offload.client import InferReply, InferRequest
from eetool_runtime.offload.errors import BUSY, UNREACHABLE, OffloadError, ServerRefused
from eetool_runtime.offload.keeper import LinkKeeper
from tests.helpers.offload_bundle import wait_for


class ScriptedClient:
    """A client whose answers to probes are given; the last one is repeated."""

    def __init__(self, *answers: bool | Exception) -> None:
        self._answers = list(answers)
        self.asked = 0
        self.closed = threading.Event()

    def ready(self, model: str, timeout_s: float) -> bool:
        self.asked += 1
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def infer(self, request: InferRequest, timeout_s: float) -> InferReply:
        raise AssertionError("no probe sends a request")

    def close(self) -> None:
        self.closed.set()


def start(client: ScriptedClient) -> LinkKeeper:
    keeper = LinkKeeper(client, "tiny-01234567", CircuitBreaker())
    keeper.start()
    return keeper


@pytest.mark.parametrize(
    ("problem", "kind"),
    [(ServerRefused(UNREACHABLE, "x"), UNREACHABLE), (False, BUSY), (ZeroDivisionError("x"), "client_error")],
)
def test_keeper_probes_until_the_server_is_ready(quick_probes: None, problem: bool | Exception, kind: str) -> None:
    client = ScriptedClient(problem, problem, problem, True)
    keeper = LinkKeeper(client, "tiny-01234567", CircuitBreaker())
    kinds = set()
    keeper.start()
    while client.asked < 4:
        if keeper.last_problem is not None:
            kinds.add(keeper.last_problem.kind)
    wait_for(lambda: keeper.last_problem is None)
    assert kinds == {kind}
    assert keeper.is_running
    keeper.stop()


def test_keeper_asks_once_where_the_server_is_ready(quick_probes: None) -> None:
    client = ScriptedClient(True)
    keeper = start(client)
    wait_for(lambda: client.asked == 1)
    time.sleep(0.1)
    assert (client.asked, keeper.probes) == (1, 1)
    keeper.stop()


def test_keeper_probes_after_failed_requests(quick_probes: None) -> None:
    client = ScriptedClient(True)
    keeper = start(client)
    wait_for(lambda: client.asked == 1)
    for _ in range(3):
        keeper.request_failed()
    wait_for(lambda: client.asked == 2)
    keeper.stop()


def test_keeper_check_that_fails_begins_to_probe(quick_probes: None) -> None:
    client = ScriptedClient(True, False, True)
    keeper = start(client)
    wait_for(lambda: client.asked == 1)
    with pytest.raises(OffloadError, match="not ready"):
        keeper.check(1.0)
    wait_for(lambda: client.asked == 3)
    keeper.stop()


def test_keeper_job_that_fails_is_logged_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    keeper, done = start(ScriptedClient(True)), threading.Event()
    with caplog.at_level(logging.WARNING, "eetool_runtime"):
        keeper.do(lambda: 1 / 0)
        keeper.do(done.set)
        assert done.wait(20)
    assert "in the background" in caplog.text
    keeper.stop()


def test_keeper_stop_ends_the_thread_and_closes_the_client() -> None:
    client = ScriptedClient(ServerRefused(UNREACHABLE, "x"))  # it waits for its next probe
    keeper = start(client)
    wait_for(lambda: client.asked == 1)
    keeper.stop()
    wait_for(lambda: not keeper.is_running)
    assert client.closed.is_set()
    with pytest.raises(OffloadError, match="was closed"):
        keeper.check(1.0)
