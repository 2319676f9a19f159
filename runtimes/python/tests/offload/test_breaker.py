"""The circuit breaker: when it opens, closes, and how long it waits."""

from __future__ import annotations

import threading

import pytest

from eetool_runtime.offload import breaker as module
from eetool_runtime.offload.breaker import FIRST_WAIT_S, LONGEST_WAIT_S, MAX_FAILURES, CircuitBreaker


@pytest.fixture
def breaker(monkeypatch: pytest.MonkeyPatch) -> CircuitBreaker:
    monkeypatch.setattr(module.random, "uniform", lambda low, high: 1.0)
    return CircuitBreaker()


def test_breaker_opens_after_three_failures_in_a_row(breaker: CircuitBreaker) -> None:
    for _ in range(2):
        breaker.request_failed()
        breaker.request_failed()
        breaker.request_succeeded()
    assert not breaker.is_open
    for _ in range(MAX_FAILURES):
        assert not breaker.is_open
        breaker.request_failed()
    assert (breaker.is_open, breaker.times_opened, MAX_FAILURES) == (True, 1, 3)


def test_breaker_failures_while_open_count_once(breaker: CircuitBreaker) -> None:
    for _ in range(9):
        breaker.request_failed()
    breaker.probe_failed()
    assert breaker.times_opened == 1


def test_breaker_closes_by_a_probe_and_opens_again(breaker: CircuitBreaker) -> None:
    breaker.probe_failed()
    assert breaker.is_open
    breaker.probe_succeeded()
    assert not breaker.is_open
    breaker.request_failed()
    breaker.request_failed()
    assert not breaker.is_open  # the failures before the probe do not count
    breaker.request_failed()
    assert (breaker.is_open, breaker.times_opened) == (True, 2)


def test_breaker_waits_double_until_a_request_succeeds(breaker: CircuitBreaker) -> None:
    waits = []
    for _ in range(9):
        breaker.probe_failed()
        waits.append(breaker.next_wait_s())
        breaker.probe_succeeded()  # ready, but its requests fail
    assert waits == [min(FIRST_WAIT_S * 2**i, LONGEST_WAIT_S) for i in range(9)]
    breaker.request_succeeded()
    assert breaker.next_wait_s() == FIRST_WAIT_S


def test_breaker_waits_are_spread() -> None:
    waits = set()
    for _ in range(20):
        waits.add(CircuitBreaker().next_wait_s())
    assert len(waits) > 1
    assert all(0.8 * FIRST_WAIT_S <= wait <= 1.2 * FIRST_WAIT_S for wait in waits)


def test_breaker_many_threads_open_it_once(breaker: CircuitBreaker) -> None:
    threads = [threading.Thread(target=breaker.request_failed) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert breaker.times_opened == 1


def test_breaker_that_was_shut_stays_open(breaker: CircuitBreaker) -> None:
    breaker.shut()
    breaker.probe_succeeded()
    assert breaker.is_open
