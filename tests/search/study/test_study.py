"""Studies in the embedded storage: the same candidates, each once, for any workers and interruptions."""

import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import RDBStorage

from eetool.errors import ArtefactError, UsageError
from eetool.search.methods.methods import METHODS
from eetool.search.space.space import Genome
from eetool.search.study.storage import Storage
from eetool.search.study.study import Study
from tests.helpers import small_spaces
from tests.helpers.fake_work import HEARTBEAT, SETTINGS, candidate, take_part

TRIALS = 20
ALONE = replace(HEARTBEAT, timeout_seconds=1)  # of one worker, which takes no pause for an end


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'study.db'}"


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Ids of a study that one worker completed without interruption."""
    candidates = take_part(f"sqlite:///{tmp_path_factory.mktemp('uninterrupted') / 'study.db'}", TRIALS)
    return [c.id for c in candidates]


def test_work_one_worker_evaluates_every_candidate_once(uninterrupted: list[str], url: str) -> None:
    calls: list[str] = []

    def counted(genome: Genome) -> object:
        calls.append(json.dumps(genome))
        return candidate(genome)

    candidates = take_part(url, TRIALS, counted)
    assert [c.id for c in candidates] == uninterrupted
    assert len(calls) == len(set(calls)) == len(set(uninterrupted)) == TRIALS
    assert take_part(url, TRIALS, lambda genome: pytest.fail("the study was complete")) == candidates


def test_study_concurrent_start_reads_settings_again(url: str) -> None:
    class Late(Study):
        """Reads the settings just before another worker stores them and queues trials."""

        looks = 0

        def _stored_settings(self) -> str | None:
            self.looks += 1
            return super()._stored_settings() if self.looks > 1 else None

    take_part(url, TRIALS)
    assert Late(Storage(url, HEARTBEAT), "shared", small_spaces.mobile(), SETTINGS).looks == 2


@pytest.mark.parametrize("cut", [1, 9, 14])
def test_work_resumed_equals_uninterrupted(uninterrupted: list[str], url: str, cut: int) -> None:
    calls = 0

    def interrupted(genome: Genome) -> object:
        nonlocal calls
        calls += 1
        if calls == cut:
            raise KeyboardInterrupt
        return candidate(genome)

    with pytest.raises(KeyboardInterrupt):
        take_part(url, TRIALS, interrupted)
    assert [c.id for c in take_part(url, TRIALS)] == uninterrupted


def test_work_several_workers_find_same_candidates(uninterrupted: list[str], url: str) -> None:
    calls: list[str] = []

    def slow(genome: Genome) -> object:
        calls.append(json.dumps(genome))
        time.sleep(0.02)
        return candidate(genome)

    candidates: list[list[str]] = []
    workers = [
        threading.Thread(target=lambda: candidates.append([c.id for c in take_part(url, TRIALS, slow)])) for _ in "123"
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert candidates == [uninterrupted] * 3
    assert len(calls) == len(set(calls)) == TRIALS


def test_work_silent_trial_is_repeated(uninterrupted: list[str], url: str) -> None:
    """Two trials run without heartbeats: one worker ended before its first, the other after it."""
    first, second = _open(url), _open(url)
    for number, study in enumerate((first, second)):
        genome = METHODS["random"].planner(study.space, 0, TRIALS, lambda genome: True).plan([])[number]
        study._enqueue(number, genome)
        trial = study.study.ask()
        if number:
            trial.set_user_attr("beat", 3)
    assert [c.id for c in take_part(url, TRIALS, heartbeat=ALONE)] == uninterrupted


def test_work_silent_trial_that_two_workers_fail_at_once_is_repeated(
    uninterrupted: list[str], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = _open(url)
    study._enqueue(0, METHODS["random"].planner(study.space, 0, TRIALS, lambda genome: True).plan([])[0])
    silent = study.study.ask()._trial_id
    end = RDBStorage.set_trial_state_values

    def end_second(storage: RDBStorage, trial_id: int, **outcome: Any) -> bool:
        if trial_id == silent:
            end(storage, trial_id, **outcome)  # the other worker, after this one saw the trial running
        return end(storage, trial_id, **outcome)

    monkeypatch.setattr(RDBStorage, "set_trial_state_values", end_second)
    assert [c.id for c in take_part(url, TRIALS, heartbeat=ALONE)] == uninterrupted


def test_work_candidate_failing_workers_raises_artefact_error(url: str) -> None:
    first = METHODS["random"].planner(small_spaces.mobile(), 0, TRIALS, lambda genome: True).plan([])[0]

    def deadly(genome: Genome) -> object:
        if genome == first:
            raise MemoryError
        return candidate(genome)

    for _ in range(5):
        with pytest.raises(MemoryError):
            take_part(url, TRIALS, deadly)
    with pytest.raises(ArtefactError, match="failed 5 workers"):
        take_part(url, TRIALS, deadly)


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ({"space": "another"}, "of another space"),
        ({"seed": 7}, "of another seed"),
        ({"limits": {}}, "of another limits"),
    ],
)
def test_study_other_settings_raise_usage_error(url: str, terms: dict[str, object], words: str) -> None:
    _open(url)
    with pytest.raises(UsageError, match=words):
        Study(Storage(url, HEARTBEAT), "shared", small_spaces.mobile(), {**SETTINGS, **terms})


def test_study_of_a_space_that_has_changed_says_so(url: str) -> None:
    Study(Storage(url, HEARTBEAT), "old", small_spaces.mobile(), {**SETTINGS, "space": "resnet 0123456789abcdef"})
    for space, words in (
        ("resnet fedcba9876543210", "same name and other genes"),
        ("mine 01234567", "Repeat its options"),
    ):
        with pytest.raises(UsageError, match=r"'old' in .* is of another space .*resnet 0123456789abcdef") as refused:
            Study(Storage(url, HEARTBEAT), "old", small_spaces.mobile(), {**SETTINGS, "space": space})
        assert words in str(refused.value.hint)


def test_work_studies_of_one_storage_are_independent(uninterrupted: list[str], url: str) -> None:
    take_part(url, 3)
    assert [c.id for c in take_part(url, TRIALS, name="another")] == uninterrupted


def _open(url: str) -> Study:
    return Study(Storage(url, HEARTBEAT), "shared", small_spaces.mobile(), SETTINGS)
