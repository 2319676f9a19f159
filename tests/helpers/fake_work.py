"""A worker whose candidates are computed from their genes at no cost; `work` is a process that tests can kill."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from eetool.search.methods.methods import METHODS
from eetool.search.search_results import Candidate, CandidateFigures
from eetool.search.space.space import Genome, genome_key
from eetool.search.study.storage import HeartbeatSettings, Storage
from eetool.search.study.study import Study
from tests.helpers import small_spaces

OBJECTIVE, LIMITS = "macs", {"macs": 40.0}
HEARTBEAT = HeartbeatSettings(interval_seconds=1, timeout_seconds=4, retry_seconds=60)
PATIENT = HeartbeatSettings(
    interval_seconds=1, timeout_seconds=12, retry_seconds=120
)  # on a busy machine a process may pause for seconds
SPACE = small_spaces.mobile()
SETTINGS = {"space": SPACE.hash, "seed": 0, "objective": OBJECTIVE, "limits": LIMITS}


def candidate(genome: Genome) -> Candidate:
    """Return a candidate whose cost is the sum of the choices and whose error falls with it."""
    cost = float(SPACE.vector(genome).sum())
    noise = np.random.default_rng(int(genome_key(genome)[:8], 16)).random()
    figures = CandidateFigures(1 - 0.5 / (1 + cost) - 0.1 * noise, 10, (1.0,), cost, None, None, cost, None, 1, None)
    network = SPACE.network(genome)
    branches = tuple(branch or "by rule" for branch in network.branches)
    return Candidate(
        *(genome_key(genome)[:12], genome, network.backbone, None, network.taps, branches),
        *(network.score, (1.0,), (), figures, {}),
    )


def take_part(
    url: str,
    trials: int,
    evaluate: Callable[[Genome], Any] = candidate,
    name: str = "shared",
    heartbeat: HeartbeatSettings = HEARTBEAT,
) -> list[Candidate]:
    """Run one worker of a study and return all candidates."""
    study = Study(Storage(url, heartbeat), name, SPACE, SETTINGS)
    return study.work(
        METHODS["random"].planner(SPACE, 0, trials, lambda genome: True), evaluate, trials, OBJECTIVE, LIMITS
    )


def work(url: str, trials: int, seconds: float, log: Path) -> None:
    """Take part, with seconds for every candidate; write to `log` what is begun, and to `found_by(log)` all found."""

    def slow(genome: Genome) -> Candidate:
        with log.open("a") as file:
            file.write(f"{genome_key(genome)[:12]}\n")
        time.sleep(seconds)
        return candidate(genome)

    found = take_part(url, trials, slow, heartbeat=PATIENT)
    found_by(log).write_text("\n".join(c.id for c in found))


def found_by(log: Path) -> Path:
    return log.with_suffix(".found")
