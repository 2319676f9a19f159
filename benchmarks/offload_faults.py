"""Calls of an offloading model while link and server fail: their duration, their answers, and the counters."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import eetool_runtime as ee
from eetool_runtime.offload import Offload
from eetool_runtime.offload.model import OffloadingModel
from tests.helpers.faulty_server import FAULTS, FaultyServer, faulty_server

LATE_MS = 5.0  # beyond the budget, at the 99.9th percentile
_BURST = 2.0  # mean calls under one fault
_AFTERMATH = 10  # calls after a burst that may meet an open circuit breaker; then the run waits for the link
_UP_SECONDS = 30.0
_TOLERANCE = 2e-4  # of logits, against those computed here


@dataclass(frozen=True)
class FaultyCalls:
    """Bundle, servers and number of calls.

    Attributes:
        bundle: with a block `offload`.
        repository: of its server.
        inputs: by example, arrays at batch 1.
        calls: number of calls; the inputs are repeated.
        share: of the calls that are made under a fault.
        budget_ms: deadline of a call.
        timeout_ms: budget of an attempt.
        protocol: `grpc` or `http`.
        fallback: `local` or `best`.
        point: operating point; at full depth every input is sent.
        seed: of the plan of faults.
    """

    bundle: Path
    repository: Path
    inputs: Sequence[np.ndarray]
    calls: int = 10_000
    share: float = 0.05
    budget_ms: float = 60.0
    timeout_ms: float = 30.0
    protocol: str = "grpc"
    fallback: str = "local"
    point: str = "full"
    seed: int = 0


def run_faulty_calls(setup: FaultyCalls) -> dict[str, Any]:
    """Make the calls and return what became of them."""
    reference = ee.load(setup.bundle)
    expected = [reference.every_exit(x) for x in setup.inputs]
    with faulty_server(setup.repository, setup.protocol) as server:
        offload = Offload(
            f"{setup.protocol}://127.0.0.1:{server.port}", timeout_ms=setup.timeout_ms, fallback=setup.fallback
        )
        model = ee.load(setup.bundle, offload=offload)
        assert isinstance(model, OffloadingModel)
        model.use(setup.point)
        model.load_tail()
        _await_link(model)
        model.check_server()
        record = list(_calls(setup, server, model, expected))
        figures = model.stats()
        model.close()
    return summarise(setup, record, figures)


@dataclass(frozen=True)
class Call:
    """One call: the fault it was made under, its duration, where it was answered, and whether rightly."""

    fault: str | None
    latency_ms: float
    outcome: str | None
    is_right: bool
    gated: bool


def _calls(setup: FaultyCalls, server: FaultyServer, model: OffloadingModel, expected: Sequence[Any]) -> Iterator[Call]:
    faults = plan_faults(setup.calls, setup.share, setup.seed)
    since = 0  # calls since the last fault
    for number, fault in enumerate(faults):
        before = faults[number - 1] if number else None
        since = since + 1 if fault is None else 0
        if since == _AFTERMATH:
            _await_link(model)
        if fault != before:
            if before is None:
                _await_link(model)
            server.set(fault)
        example = number % len(setup.inputs)
        start = time.perf_counter()
        result = model(setup.inputs[example], deadline_ms=setup.budget_ms)
        latency_ms = (time.perf_counter() - start) * 1000
        yield Call(fault, latency_ms, result.offload, is_right(model, result, expected[example]), result.gated)


def plan_faults(calls: int, share: float, seed: int = 0) -> list[str | None]:
    """Return the fault of every call: bursts of one kind each, all kinds alike, in `share` of the calls."""
    rng = np.random.default_rng(seed)
    lengths: list[int] = []
    while sum(lengths) < round(share * calls):
        lengths.append(int(rng.geometric(1 / _BURST)))
    starts = np.sort(rng.choice(calls // 8, len(lengths), replace=False)) * 8  # apart from each other
    plan: list[str | None] = [None] * calls
    for number, (start, length) in enumerate(zip(starts.tolist(), lengths, strict=True)):
        for position in range(start, min(start + min(length, 7), calls)):
            plan[position] = FAULTS[number % len(FAULTS)]
    return plan


def _await_link(model: OffloadingModel) -> None:
    """Wait until the link is up: a fault is only met by requests that are sent."""
    end = time.monotonic() + _UP_SECONDS
    while not model.link_is_up and time.monotonic() < end:
        time.sleep(0.01)


def is_right(model: ee.Model, result: ee.Result, every_exit: Sequence[tuple[np.ndarray, np.ndarray]]) -> bool:
    """Return whether a result is that of the exit it names, and that exit the one where the gates let it leave."""
    logits = every_exit[result.exit][0][0]
    if not np.allclose(result.logits, logits, atol=_TOLERANCE * max(1.0, float(np.abs(logits).max()))):
        return False
    if not result.gated:
        return True
    thresholds = [2.0 if t is None else t for t in model.thresholds]
    passed = [float(confidence[0]) >= t for (_, confidence), t in zip(every_exit, thresholds, strict=False)]
    close = [abs(float(c[0]) - t) < 1e-5 for (_, c), t in zip(every_exit, thresholds, strict=False)]
    return result.exit == (passed.index(True) if any(passed) else len(thresholds)) or any(close)


def summarise(setup: FaultyCalls, record: Sequence[Call], figures: dict[str, Any]) -> dict[str, Any]:
    """Return durations, wrong and lost answers, and whether the counters of the model add up."""
    latencies = np.array([call.latency_ms for call in record])
    link, seen = figures["offload"], Counter(call.outcome for call in record)
    counted = {outcome: count for outcome, count in link["inputs"].items() if count}
    outcomes = {outcome: seen[outcome] for outcome in counted}
    failed = seen["timeout"] + seen["refused"]
    return {
        "calls": setup.calls,
        "protocol": setup.protocol,
        "fallback": setup.fallback,
        "budget_ms": setup.budget_ms,
        "timeout_ms": setup.timeout_ms,
        "under_fault": sum(call.fault is not None for call in record),
        "lost": setup.calls - len(record),
        "wrong": sum(not call.is_right for call in record),
        "ungated": sum(not call.gated for call in record),
        "latency_ms": {f"p{q:g}": round(float(np.percentile(latencies, q)), 3) for q in (50, 95, 99, 99.9, 100)},
        "over_budget": int((latencies > setup.budget_ms).sum()),
        "in_time": bool(np.percentile(latencies, 99.9) <= setup.budget_ms + LATE_MS),
        "outcomes": {str(outcome): count for outcome, count in sorted(seen.items(), key=str)},
        "failures": link["failures"],
        "times_opened": link["times_opened"],
        "counters_add_up": outcomes == counted
        and sum(link["failures"].values()) == failed
        and sum(figures["exit_counts"]) == setup.calls,
        "by_fault": _by_fault(record),
    }


def _by_fault(record: Sequence[Call]) -> dict[str, Any]:
    groups: dict[str, list[Call]] = {}
    for call in record:
        groups.setdefault(call.fault or "none", []).append(call)
    return {
        name: {
            "calls": len(calls),
            "outcomes": dict(Counter(str(call.outcome) for call in calls)),
            "longest_ms": round(max(call.latency_ms for call in calls), 3),
        }
        for name, calls in sorted(groups.items())
    }
